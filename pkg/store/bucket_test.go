package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRange(t *testing.T) {
	d := open(t, t.TempDir())
	keys := []string{"a", "b\x00\x01", "b\x00\x02", "b\x00\x03", "ba", "c", "\xff\xff", "\xff\xffz"}
	require.NoError(t, d.Update(t.Context(), func(tx *Tx) error {
		for i, key := range keys {
			if err := numbers.Put(tx, key, i); err != nil {
				return err
			}
		}
		return nil
	}))
	for name, c := range map[string]struct {
		r    Range
		want []int
	}{
		"all":                            {Range{}, []int{0, 1, 2, 3, 4, 5, 6, 7}},
		"all reversed":                   {Range{Reverse: true}, []int{7, 6, 5, 4, 3, 2, 1, 0}},
		"limit":                          {Range{Limit: 2}, []int{0, 1}},
		"prefix":                         {Range{Prefix: "b\x00"}, []int{1, 2, 3}},
		"prefix reversed":                {Range{Prefix: "b\x00", Reverse: true}, []int{3, 2, 1}},
		"newest two of a prefix":         {Range{Prefix: "b\x00", Reverse: true, Limit: 2}, []int{3, 2}},
		"prefix of highest bytes":        {Range{Prefix: "\xff\xff"}, []int{6, 7}},
		"prefix of highest reversed":     {Range{Prefix: "\xff\xff", Reverse: true}, []int{7, 6}},
		"prefix behind all":              {Range{Prefix: "\xff\xff\xff", Reverse: true}, nil},
		"prefix before all":              {Range{Prefix: "A", Reverse: true}, nil},
		"after a key":                    {Range{Prefix: "b\x00", After: "b\x00\x01"}, []int{2, 3}},
		"after a key that is missing":    {Range{After: "b"}, []int{1, 2, 3, 4, 5, 6, 7}},
		"after a key reversed":           {Range{Prefix: "b\x00", After: "b\x00\x03", Reverse: true}, []int{2, 1}},
		"after a missing key reversed":   {Range{After: "bb", Reverse: true, Limit: 1}, []int{4}},
		"after a key before the prefix":  {Range{Prefix: "c", After: "a"}, []int{5}},
		"after a key behind it reversed": {Range{Prefix: "b\x00", After: "c", Reverse: true}, []int{3, 2, 1}},
		"after the last":                 {Range{After: "\xff\xffz"}, nil},
		"before the first":               {Range{After: "a", Reverse: true}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got, keyed []int
			require.NoError(t, d.View(func(tx *Tx) error {
				for row, err := range numbers.Scan(tx, c.r) {
					require.NoError(t, err)
					require.Equal(t, keys[row.Value], row.Key)
					got = append(got, row.Value)
				}
				for key, err := range numbers.Keys(tx, c.r) {
					require.NoError(t, err)
					keyed = append(keyed, slices.Index(keys, key))
				}
				return nil
			}))
			require.Equal(t, c.want, got)
			require.Equal(t, c.want, keyed)
		})
	}
}

func TestBucketOfNothing(t *testing.T) {
	d := open(t, t.TempDir())
	require.NoError(t, d.View(func(tx *Tx) error {
		_, ok, err := numbers.Get(tx, "a")
		require.NoError(t, err)
		require.False(t, ok)
		for range numbers.All(tx) {
			t.Error("an empty bucket has a row")
		}
		return nil
	}))
}

func TestBucketRefusals(t *testing.T) {
	d := open(t, t.TempDir())
	texts := NewBucket[string]("storetest.texts")
	for name, c := range map[string]struct {
		fn   func(tx *Tx) error
		want string
	}{
		"empty key":       {func(tx *Tx) error { return numbers.Put(tx, "", 1) }, "key has 0 bytes"},
		"long key":        {func(tx *Tx) error { return numbers.Put(tx, strings.Repeat("k", KeyBytesMax+1), 1) }, "key has 2049 bytes"},
		"large value":     {func(tx *Tx) error { return texts.Put(tx, "k", strings.Repeat("x", ValueBytesMax)) }, "value has 67108866 bytes"},
		"no JSON":         {func(tx *Tx) error { return NewBucket[func()]("storetest.funcs").Put(tx, "k", nil) }, "unsupported type"},
		"of another type": {func(tx *Tx) error { _, _, err := NewBucket[bool]("storetest.numbers").Get(tx, "n"); return err }, `bucket storetest.numbers key "n"`},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, d.Update(t.Context(), func(tx *Tx) error { return numbers.Put(tx, "n", 1) }))
			before := d.Stats().Commits
			require.ErrorContains(t, d.Update(t.Context(), c.fn), c.want)
			require.Equal(t, before, d.Stats().Commits)
		})
	}
	t.Run("write in View", func(t *testing.T) {
		require.ErrorIs(t, d.View(func(tx *Tx) error { return numbers.Put(tx, "n", 2) }), errReadOnly)
	})
	t.Run("after the function", func(t *testing.T) {
		var kept *Tx
		require.NoError(t, d.View(func(tx *Tx) error { kept = tx; return nil }))
		_, _, err := numbers.Get(kept, "n")
		require.ErrorIs(t, err, errTxEnded)
		require.NoError(t, d.Update(t.Context(), func(tx *Tx) error { kept = tx; return nil }))
		require.ErrorIs(t, numbers.Put(kept, "n", 2), errTxEnded)
	})
}

func TestDamagedRowDoesNotHideTheOthers(t *testing.T) {
	d := open(t, t.TempDir())
	raw := NewBucket[json.RawMessage]("storetest.numbers")
	require.NoError(t, d.Update(t.Context(), func(tx *Tx) error {
		return errors.Join(raw.Put(tx, "a", []byte("1")), raw.Put(tx, "b", []byte(`"x"`)), raw.Put(tx, "c", []byte("3")))
	}))
	require.NoError(t, d.View(func(tx *Tx) error {
		var good, bad []string
		for row, err := range numbers.All(tx) {
			if err != nil {
				bad = append(bad, row.Key)
				continue
			}
			good = append(good, row.Key)
		}
		require.Equal(t, []string{"a", "c"}, good)
		require.Equal(t, []string{"b"}, bad)
		return nil
	}))
}

// aliasing keeps its input, as generated types may.
type aliasing struct{ raw []byte }

func (a *aliasing) UnmarshalJSON(b []byte) error { a.raw = b; return nil }
func (a aliasing) MarshalJSON() ([]byte, error)  { return a.raw, nil }

func TestValuesOutliveTheTransaction(t *testing.T) {
	d := open(t, t.TempDir())
	keep := NewBucket[aliasing]("storetest.aliasing")
	// bbolt copies small buckets itself, so the value must be a large one.
	old := `"<` + strings.Repeat("x", 10_000) + `>"`
	require.NoError(t, d.Update(t.Context(), func(tx *Tx) error { return keep.Put(tx, "k", aliasing{[]byte(old)}) }))
	var v aliasing
	require.NoError(t, d.View(func(tx *Tx) (err error) {
		v, _, err = keep.Get(tx, "k")
		return err
	}))
	require.Equal(t, old, string(v.raw))
	v.raw[1] = '!' // memory of bbolt would fault here
}

func TestDeleteRangeAndSequence(t *testing.T) {
	d := open(t, t.TempDir())
	require.NoError(t, d.Update(t.Context(), func(tx *Tx) error {
		for range 10 {
			n, err := numbers.NextSequence(tx)
			if err != nil {
				return err
			}
			if err := numbers.Put(tx, SeqKey("s", n), int(n)); err != nil {
				return err
			}
		}
		n, err := numbers.DeleteRange(tx, Range{Prefix: "s\x00", Limit: 8})
		require.Equal(t, 8, n)
		return err
	}))
	require.NoError(t, d.View(func(tx *Tx) error {
		var left []int
		for row, err := range numbers.All(tx) {
			require.NoError(t, err)
			left = append(left, row.Value)
		}
		require.Equal(t, []int{9, 10}, left)
		return nil
	}))
}

// TestEveryBucketHasOneOwner reads the source of all packages: a bucket is named
// in one place, by a literal, and the name begins with its package's.
func TestEveryBucketHasOneOwner(t *testing.T) {
	owners := map[string]string{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, name := range bucketNames(file) {
			require.True(t, strings.HasPrefix(name, file.Name.Name+"."), "%s: bucket %q of package %s", path, name, file.Name.Name)
			require.Empty(t, owners[name], "bucket %q is declared twice", name)
			owners[name] = path
		}
		return nil
	})
	require.NoError(t, err)
	require.NotEmpty(t, owners, "the walk has found no bucket at all")
}

// bucketNames returns the argument of each call of store.NewBucket.
func bucketNames(file *ast.File) []string {
	var names []string
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 1 {
			return true
		}
		fn, ok := call.Fun.(*ast.IndexExpr)
		if !ok {
			return true
		}
		if sel, ok := fn.X.(*ast.SelectorExpr); !ok || sel.Sel.Name != "NewBucket" {
			return true
		}
		name := fmt.Sprintf("not a literal: %T", call.Args[0])
		if lit, ok := call.Args[0].(*ast.BasicLit); ok {
			if s, err := strconv.Unquote(lit.Value); err == nil {
				name = s
			}
		}
		names = append(names, name)
		return true
	})
	return names
}
