package settings

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWriteToken(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, TokenFileName)
	require.NoError(t, os.WriteFile(path, []byte("old-secret\n"), 0o644))
	fresh := NewToken()
	require.Len(t, fresh.Reveal(), 2*generatedTokenBytes)
	require.NotEqual(t, fresh, NewToken())
	require.NoError(t, WriteToken(dir, fresh))
	got, err := ReadToken(dir, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.Equal(t, fresh, got)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())
	for _, text := range []string{"", " ", "undefined", "NULL", "null\n", " padded", "a\x00b"} {
		require.Error(t, WriteToken(dir, NewSecret(text)), "%q", text)
		require.Error(t, ReplaceSecret(path, "gateway.auth.token", NewSecret(text)), "%q", text)
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "no half-written file is left")

	// A link is replaced, not followed.
	other := filepath.Join(t.TempDir(), "other")
	require.NoError(t, os.WriteFile(other, []byte("x"), 0o600))
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Symlink(other, path))
	require.NoError(t, WriteToken(dir, fresh))
	raw, err := os.ReadFile(other)
	require.NoError(t, err)
	require.Equal(t, "x", string(raw))
}

func TestReplaceSecret(t *testing.T) {
	const key = "gateway.auth.token"
	for name, c := range map[string]struct{ file, want string }{
		"plain":          {`{gateway:{auth:{token:"old"}}}`, `{gateway:{auth:{token:"n\"ew"}}}`},
		"comments stay":  {"// top\n{ gateway: { auth: { // why\n\ttoken: 'old', /* tail */ }, port: 1, }, }\n", "// top\n{ gateway: { auth: { // why\n\ttoken: \"n\\\"ew\", /* tail */ }, port: 1, }, }\n"},
		"quoted keys":    {`{"gateway":{'auth':{"to\u006ben":"old"}}}`, `{"gateway":{'auth':{"to\u006ben":"n\"ew"}}}`},
		"others keep it": {`{token:"a",gateway:{token:"b",auth:{password:"token",token:"c"}},x:[{gateway:{auth:{token:"d"}}}]}`, `{token:"a",gateway:{token:"b",auth:{password:"token",token:"n\"ew"}},x:[{gateway:{auth:{token:"d"}}}]}`},
		"hidden in text": {`{x:"{gateway:{auth:{token:\"no\"}}}",gateway:{auth:{token:"c"}}}`, `{x:"{gateway:{auth:{token:\"no\"}}}",gateway:{auth:{token:"n\"ew"}}}`},
		"missing":        {`{gateway:{auth:{mode:"token"}}}`, ""},
		"in a list":      {`{gateway:[{auth:{token:"x"}}]}`, ""},
		"a variable":     {`{gateway:{auth:{token:"${TOKEN}"}}}`, ""},
		"no text":        {`{gateway:{auth:{token:12}}}`, ""},
		"empty":          {``, ""},
		"no JSON5":       {`{gateway:{auth:{token:"x"}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "coderclaw.json")
			require.NoError(t, os.WriteFile(path, []byte(c.file), 0o644))
			err := ReplaceSecret(path, key, NewSecret(`n"ew`))
			raw, readErr := os.ReadFile(path)
			require.NoError(t, readErr)
			if c.want == "" {
				require.ErrorIs(t, err, ErrNotLiteral)
				require.Equal(t, c.file, string(raw))
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, string(raw))
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.EqualValues(t, 0o600, info.Mode().Perm(), "a file that holds a secret is its owner's")
		})
	}
	link := filepath.Join(t.TempDir(), "link")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte(`{gateway:{auth:{token:"old"}}}`), 0o600))
	require.NoError(t, os.Symlink(file, link))
	require.NoError(t, ReplaceSecret(link, key, NewSecret("new")))
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink, "the link is still one")
	require.ErrorIs(t, ReplaceSecret(filepath.Join(t.TempDir(), "none"), key, NewSecret("new")), ErrNotLiteral)
}
