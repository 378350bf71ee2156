package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRelease freezes a schema, lets it grow, and refuses to take something back until
// the version is raised.
func TestRelease(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("../../testdata/gen/shapes/schema")))
	promised := filepath.Join(dir, "released", "v9.json")
	edit := func(from, to string) {
		path := filepath.Join(dir, "base.json")
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Contains(t, string(text), from)
		require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(text), from, to, 1)), 0o644))
	}
	read := func() string {
		text, err := os.ReadFile(promised)
		require.NoError(t, err)
		return string(text)
	}

	require.NoError(t, release(dir))
	first := read()
	edit(`"look": {"doc": "Look."}`, `"look": {"doc": "Look."}, "taste": {"doc": "Taste."}`)
	require.NoError(t, release(dir))
	second := read()
	require.NotEqual(t, first, second)

	edit(`, "taste": {"doc": "Taste."}`, ``)
	err := release(dir)
	require.ErrorContains(t, err, "base.json#/x-scopes/taste: scope-removed")
	require.ErrorContains(t, err, "nothing written")
	require.Equal(t, second, read())

	edit(`"x-protocol": 9`, `"x-protocol": 10`)
	require.NoError(t, release(dir))
	require.Equal(t, second, read(), "what was promised for 9 stays")
	require.FileExists(t, filepath.Join(dir, "released", "v10.json"))

	edit(`"title": "base"`, `"title": "bass"`)
	require.Error(t, release(dir), "a schema that does not generate is not promised")
}
