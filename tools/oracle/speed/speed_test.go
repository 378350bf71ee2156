package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// measured returns results in which every promise just holds.
func measured() results {
	r := results{}
	for name, ns := range map[string]float64{
		"decode": 100, "valid": 71, "refuse": 2000, "encode": 50, "syntax": 40, "json.Valid": 150, "encoding/json": 500,
		"santhosh": 1000, "go-jsonschema": 3000, "node": 250,
	} {
		r[name] = map[string]cost{}
		for _, f := range frameNames {
			r[name][f] = cost{Nanoseconds: ns}
		}
	}
	return r
}

// TestPromises breaks one promise at a time.
func TestPromises(t *testing.T) {
	require.NoError(t, promises(measured()))
	for name, c := range map[string]struct {
		row  string
		ns   float64
		want string
	}{
		"oracle":        {"santhosh", 990, "decode is faster than santhosh: 9.9 times"},
		"go-jsonschema": {"go-jsonschema", 2900, "own code: 29.0 times"},
		"Node":          {"node", 240, "decode is faster than Node with ajv: 2.4 times"},
		"validation":    {"valid", 72, "validation is faster than Node with ajv: 3.5 times"},
		"refusing":      {"refuse", 2100, "refusing costs more than accepting: 21.0 times"},
		"not measured":  {"decode", 0, "santhosh"},
	} {
		r := measured()
		for _, f := range frameNames {
			r[c.row][f] = cost{Nanoseconds: c.ns}
		}
		if c.ns == 0 {
			r["decode"] = nil
		}
		require.ErrorContains(t, promises(r), c.want, name)
	}
	r := measured()
	r["valid"]["agent"] = cost{71, 1}
	require.EqualError(t, promises(r), "valid of agent allocates 1 times")
	r = measured()
	delete(r, "node")
	require.NoError(t, promises(r), "Node need not be there")
	require.Contains(t, table(r, "it was out"), "decode is faster than Node with ajv: not measured, it was out.\n")
}

// TestRatio is a geometric mean: twice as fast and half as fast are equal.
func TestRatio(t *testing.T) {
	r := measured()
	r["decode"]["connect"] = cost{Nanoseconds: 200}
	r["decode"]["agent"] = cost{Nanoseconds: 50}
	require.InDelta(t, 10, r.ratio("santhosh", "decode"), 1e-9)
}

// TestTake keeps the best of each figure, so that a second try can only help.
func TestTake(t *testing.T) {
	best := results{}
	best.take(results{"decode": {"agent": {3, 0}, "health": {5, 1}}})
	best.take(results{"decode": {"agent": {4, 0}, "health": {2, 2}}, "node": {"agent": {9, 0}}})
	require.Equal(t, results{"decode": {"agent": {3, 0}, "health": {2, 2}}, "node": {"agent": {9, 0}}}, best)
}

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "README.md")
	require.NoError(t, os.WriteFile(path, []byte("before\n"+markBegin+"\nold\n"+markEnd+"\nafter\n"), 0o644))
	require.NoError(t, replace(path, "new\n"))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "before\n"+markBegin+"\nnew\n"+markEnd+"\nafter\n", string(text))
	require.NoError(t, os.WriteFile(path, []byte("nothing"), 0o644))
	require.ErrorContains(t, replace(path, "new\n"), "has no marks")
}

// TestBuild proves that the module below .cache can be made of the schema as it is. That
// every contestant reads every frame is checked by the program, before it measures.
func TestBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles a module")
	}
	root, err := filepath.Abs("../../..")
	require.NoError(t, err)
	_, err = build(root)
	require.NoError(t, err)
}
