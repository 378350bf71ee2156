package main

import (
	"bytes"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/tools/protogen/internal/load"
)

// ownWords are words of the generator that happen to be names of the protocol.
var ownWords = map[string]string{
	"StateVersion": "wire.EventInfo has a field for the stateVersion of x-events",
}

// TestNoProtocolNames greps the generator for names of the protocol: a special case
// for one type or method would be a second place that declares it.
func TestNoProtocolNames(t *testing.T) {
	model, err := load.Dir(os.DirFS(root + "/schema"))
	require.NoError(t, err)
	names := map[string]*regexp.Regexp{}
	for _, f := range model.Files {
		for _, d := range f.Defs {
			names[d.Name] = regexp.MustCompile(`\b` + d.Name + `\b`)
		}
		for _, m := range f.Methods {
			names[m.Name] = wireName(m.Name)
		}
		for _, e := range f.Events {
			names[e.Name] = wireName(e.Name)
		}
	}
	require.Greater(t, len(names), 100)
	n := 0
	err = fs.WalkDir(os.DirFS("."), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		n++
		source, err := os.ReadFile(path)
		require.NoError(t, err)
		for name, re := range names {
			require.False(t, bytes.Contains(source, []byte(name)) && re.Match(source) && ownWords[name] == "", "%s knows %s", path, name)
		}
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, n, 10)
}

// wireName matches a name as a Go string; a name with a dot or dash, anywhere.
func wireName(name string) *regexp.Regexp {
	if strings.ContainsAny(name, ".-") {
		return regexp.MustCompile(regexp.QuoteMeta(name))
	}
	return regexp.MustCompile(`["` + "`]" + regexp.QuoteMeta(name) + `["` + "`]")
}
