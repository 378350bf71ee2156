package settings

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A patch changes the file itself, never what it includes: what it cannot bring about
// there is told, and nothing is written.
func TestPatchesAndIncludes(t *testing.T) {
	const (
		main = "{ // mine\n  $include: \"base.json5\",\n  gateway: {port: 3, /* why */ bind: \"loopback\"},\n}\n"
		base = "{gateway: {\n  port: 1, maxBufferedBytes: 70000, allowedHosts: [\"a\"]},\n  bindings: [{id: \"x\", n: 1}],\n  hooks: {enabled: true}}"
	)
	for name, c := range map[string]struct{ patch, want, text string }{
		"a key of the included file": {patch: `{gateway: {maxBufferedBytes: null}}`, want: "base.json5 line 2: gateway.maxBufferedBytes cannot be removed by a patch, because an included file has it: remove it there, or give it another value here"},
		"a key of both":              {patch: `{gateway: {port: null}}`, want: "base.json5 line 2: gateway.port cannot be removed"},
		"a group of both":            {patch: `{gateway: null}`, want: "gateway cannot be removed"},
		"a key without effect":       {patch: `{hooks: {enabled: null}}`, want: "base.json5 line 4: hooks.enabled cannot be removed"},
		"an entry of a list by id":   {patch: `{bindings: [{id: "x", n: 2}]}`, want: "bindings is a list of an included file, whose entries a patch cannot merge with"},
		"a key of the file alone":    {patch: `{gateway: {bind: null}}`, text: "{ // mine\n  $include: \"base.json5\",\n  gateway: {port: 3, /* why */ },\n}\n"},
		"a key of neither":           {patch: `{gateway: {tls: null}}`, text: main},
		"another value":              {patch: `{gateway: {maxBufferedBytes: 80000}}`, text: "{ // mine\n  $include: \"base.json5\",\n  gateway: {port: 3, /* why */ bind: \"loopback\", \"maxBufferedBytes\": 80000},\n}\n"},
		"a list is replaced":         {patch: `{gateway: {allowedHosts: ["b"]}}`, text: "{ // mine\n  $include: \"base.json5\",\n  gateway: {port: 3, /* why */ bind: \"loopback\", \"allowedHosts\": [\"b\"]},\n}\n"},
		"the line that includes":     {patch: `{$include: null, hooks: null}`, text: "{ // mine\n  gateway: {port: 3, /* why */ bind: \"loopback\"},\n}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			src := folder(t, map[string]string{configFileName: main, "base.json5": base})
			_, err := NewStore(src).Patch(HashOf([]byte(main)), []byte(c.patch))
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				c.text = main
			} else {
				require.NoError(t, err)
			}
			d := read(t, src)
			require.NoError(t, d.Err())
			require.Equal(t, c.text, string(d.Raw))
			raw, err := os.ReadFile(filepath.Join(filepath.Dir(src.Path), "base.json5"))
			require.NoError(t, err)
			require.Equal(t, base, string(raw))
		})
	}
}

// What a client was shown may be sent back as it is, includes, comments and secrets.
func TestReplaceRoundTripsIncludes(t *testing.T) {
	const main = "{ // mine\n  $include: [\"base.json5\"], gateway: {auth: {token: \"a-secret-of-mine\"}}, hooks: {token: \"a-hook-of-mine\"},\n}\n"
	src := folder(t, map[string]string{configFileName: main, "base.json5": `{gateway: {port: 5}}`})
	shown := read(t, src).View().Raw
	require.NotContains(t, string(shown), "of-mine")
	w, err := NewStore(src).Replace(HashOf([]byte(main)), shown)
	require.NoError(t, err)
	require.Equal(t, main, string(read(t, src).Raw))
	require.Equal(t, 5, w.After.Settings.Gateway.Port)
}

// Each write names what it changed; of writers that have read the same version one
// wins, whichever process they are in.
func TestWritersDoNotOverwriteEachOther(t *testing.T) {
	src := folder(t, map[string]string{configFileName: "{}"})
	var wait sync.WaitGroup
	results := make([]error, 8)
	for i := range results {
		wait.Go(func() { // a Store each, as processes have
			_, results[i] = NewStore(src).Replace(HashOf([]byte("{}")), fmt.Appendf(nil, "{gateway: {port: %d}}", i+1))
		})
	}
	wait.Wait()
	won := 0
	for _, err := range results {
		if err == nil {
			won++
			continue
		}
		require.True(t, errors.Is(err, ErrChanged), "%v", err)
	}
	require.Equal(t, 1, won)
	entries, err := os.ReadDir(filepath.Dir(src.Path))
	require.NoError(t, err)
	require.Len(t, entries, 2, "the file and its last version, nothing else")
}

// The version that an editor has replaced lies beside the file itself, also when the
// config is a link.
func TestKeepBackupBehindALink(t *testing.T) {
	src := folder(t, map[string]string{"real/config.json5": "{gateway: {port: 2}}"})
	require.NoError(t, os.Symlink("real/config.json5", src.Path))
	require.NoError(t, NewStore(src).KeepBackup([]byte("{gateway: {port: 1}}")))
	list, err := Backups(src.Path)
	require.NoError(t, err)
	require.Len(t, list, 1)
	raw, err := ReadBackup(list[0])
	require.NoError(t, err)
	require.Equal(t, "{gateway: {port: 1}}", string(raw))
}

func TestSetLeavesAloneWhatIsNotThere(t *testing.T) {
	for text, want := range map[string]string{
		`{$include: "a.json5"} // mine`:      `{$include: "a.json5"} // mine`,
		`{ui: {}}`:                           `{ui: {}}`,
		``:                                   ``,
		`{ui: {seamColor: "#111111"}, a: 1}`: `{ui: {}, a: 1}`,
	} {
		got, err := Set([]byte(text), []string{"ui", "seamColor"}, nil)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
	_, err := Set([]byte("{"), []string{"ui", "seamColor"}, nil)
	require.Error(t, err)
}
