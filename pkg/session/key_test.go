package session

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCanonical(t *testing.T) {
	db := openStore(t, t.TempDir())
	plain, err := New(Config{DB: db})
	require.NoError(t, err)
	named, err := New(Config{DB: db, DefaultAgentID: "Ops Team", MainKey: "Home"})
	require.NoError(t, err)
	require.Equal(t, "agent:main:main", plain.MainKey())
	require.Equal(t, "agent:ops-team:home", named.MainKey())

	for name, c := range map[string]struct {
		s    *Sessions
		raw  string
		want Key
	}{
		"main":                        {plain, "main", Key{"agent:main:main", "main", "main"}},
		"spaces and case":             {plain, "  MAIN ", Key{"agent:main:main", "main", "main"}},
		"bare name":                   {plain, "Notes", Key{"agent:main:notes", "main", "notes"}},
		"bare name with colons":       {plain, "group:42", Key{"agent:main:group:42", "main", "group:42"}},
		"full key":                    {plain, "agent:Main:Main", Key{"agent:main:main", "main", "main"}},
		"another agent":               {plain, "agent:ops:x:y", Key{"agent:ops:x:y", "ops", "x:y"}},
		"an agent id to normalise":    {plain, "agent:a b:x", Key{"agent:a b:x", "a-b", "x"}},
		"global":                      {plain, "Global", Key{"global", "main", "global"}},
		"unknown":                     {plain, "unknown", Key{"unknown", "main", "unknown"}},
		"main of a named default":     {named, "main", Key{"agent:ops-team:home", "ops-team", "home"}},
		"the configured main key":     {named, "HOME", Key{"agent:ops-team:home", "ops-team", "home"}},
		"its alias behind the agent":  {named, "agent:ops-team:main", Key{"agent:ops-team:home", "ops-team", "home"}},
		"another agent's main":        {named, "agent:x:main", Key{"agent:x:home", "x", "home"}},
		"a name that begins as agent": {plain, "agents", Key{"agent:main:agents", "main", "agents"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.s.Canonical(c.raw)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
			again, err := c.s.Canonical(got.Full)
			require.NoError(t, err)
			require.Equal(t, got, again, "a canonical key is its own")
		})
	}
	for name, c := range map[string]struct {
		raw  string
		want error
	}{
		"nothing":            {"", ErrEmptyKey},
		"blanks":             {" \t\n", ErrEmptyKey},
		"prefix alone":       {"agent:", ErrMalformedKey},
		"no rest":            {"agent:main", ErrMalformedKey},
		"empty rest":         {"agent:main:", ErrMalformedKey},
		"rest of separators": {"agent:main:: :", ErrMalformedKey},
		"empty agent":        {"agent::main", ErrMalformedKey},
		"blank agent":        {"agent: :main", ErrMalformedKey},
		"NUL":                {"a\x00b", ErrMalformedKey},
		"too long":           {strings.Repeat("k", KeyBytesMax+1), ErrMalformedKey},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := plain.Canonical(c.raw)
			require.ErrorIs(t, err, c.want)
		})
	}
}

func TestNormalizeAgentID(t *testing.T) {
	for raw, want := range map[string]string{
		"":                       "main",
		"Main":                   "main",
		"  Ops_1-x ":             "ops_1-x",
		"My Agent!":              "my-agent",
		"--x--":                  "x",
		"x-":                     "x-",
		"_x":                     "x",
		"???":                    "main",
		"äöü":                    "main",
		strings.Repeat("a", 100): strings.Repeat("a", 64),
	} {
		require.Equal(t, want, NormalizeAgentID(raw), "%q", raw)
	}
}
