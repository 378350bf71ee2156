package cli

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// runOffline runs a command that needs no gateway.
func runOffline(t *testing.T, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	a := New(Config{Stdout: &out, Stderr: &err, Getenv: func(string) string { return "" }})
	code = a.Run(t.Context(), append([]string{"coderclaw"}, args...))
	return code, out.String(), err.String()
}

func TestEveryCodeIsExplained(t *testing.T) {
	for _, e := range protocol.Errors() {
		for _, name := range []string{e.Name, strings.ToLower(e.Name), strings.ToUpper(e.Name)} {
			code, out, errOut := runOffline(t, "explain", name)
			require.Zero(t, code, errOut)
			require.True(t, strings.HasPrefix(out, e.Name+"\n"), out)
			require.Contains(t, out, e.Fix)
		}
	}
}

// TestTheFixesCanBeTyped looks up the commands that the catalogue tells people to run.
func TestTheFixesCanBeTyped(t *testing.T) {
	app := New(Config{Getenv: func(string) string { return "" }}).root
	commands := 0
	for _, e := range protocol.Errors() {
		for _, quoted := range regexp.MustCompile("`[^`]*`").FindAllString(e.Fix, -1) {
			args := strings.Fields(strings.Trim(quoted, "`"))
			require.Equal(t, "coderclaw", args[0], "%s: %s", e.Name, quoted)
			given, rest, _ := split(args[1:], app.Flags, true)
			require.NotEmpty(t, rest, "%s: %s", e.Name, quoted)
			next := find(app.Commands, rest[0])
			require.NotNil(t, next, "%s: there is no command %s", e.Name, rest[0])
			flags, words, _ := split(rest[1:], next.Flags, len(next.Subcommands) > 0)
			if len(next.Subcommands) > 0 && len(words) > 0 { // some do something by themselves
				next = find(next.Subcommands, words[0])
				require.NotNil(t, next, "%s: there is no command %s", e.Name, strings.Join(rest, " "))
				flags, _, _ = split(words[1:], next.Flags, false)
			}
			for _, flag := range append(given, flags...) {
				if isFlag(flag) {
					known := false
					for _, f := range next.Flags { // each command has the global ones too
						known = known || slices.Contains(f.Names(), strings.TrimLeft(flag, "-"))
					}
					require.True(t, known, "%s: %s has no flag %s", e.Name, next.Name, flag)
				}
			}
			commands++
		}
	}
	require.Greater(t, commands, 10)
}

// TestRefusalsPointToTheCatalogue tells apart what the catalogue knows from what only
// this command knows.
func TestRefusalsPointToTheCatalogue(t *testing.T) {
	for name, one := range map[string]struct {
		code, details, explain, hint string
	}{
		"a details code":       {protocol.ErrorInvalidRequest, `{"code":"SESSION_NOT_FOUND"}`, protocol.DetailSessionNotFound, "`coderclaw sessions`"},
		"a telling code":       {protocol.ErrorNotPaired, ``, protocol.ErrorNotPaired, "coderclaw devices approve REQUEST"},
		"finer than its code":  {protocol.ErrorNotPaired, `{"code":"PAIRING_REQUIRED"}`, protocol.DetailPairingRequired, "coderclaw devices approve REQUEST"},
		"a broad code":         {protocol.ErrorInvalidRequest, ``, "", ""},
		"another's code":       {protocol.ErrorUnavailable, `{"code":"OUT_OF_COFFEE"}`, "", ""},
		"a code of no refusal": {"slow", `{"code":""}`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := describe(&wire.Error{Code: one.code, Message: "no", Details: []byte(one.details)})
			require.Equal(t, one.explain, f.explain)
			require.Contains(t, f.Hint, one.hint)
			if one.hint == "" {
				require.Empty(t, f.Hint)
			}
		})
	}
}
