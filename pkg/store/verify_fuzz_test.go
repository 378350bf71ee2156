package store_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/store"
)

// FuzzCheckFile overwrites bytes of a database anywhere: edits are eight bytes each,
// an offset and what to write there. The check may find what it will, but it ends,
// and it never takes the process with it.
func FuzzCheckFile(f *testing.F) {
	dir := f.TempDir()
	db, err := store.Open(store.Options{Dir: dir})
	require.NoError(f, err)
	rows := store.NewBucket[string]("storetest.rows")
	for i := range 40 {
		require.NoError(f, db.Update(f.Context(), func(tx *store.Tx) error {
			return rows.Put(tx, store.SeqKey("row", uint64(i)), string(bytes.Repeat([]byte("x"), 100+i*40)))
		}))
	}
	require.NoError(f, db.Close())
	base, err := os.ReadFile(db.Path())
	require.NoError(f, err)
	base = base[:16*pages]
	f.Add([]byte{})
	for _, at := range []uint32{8, 16, 24, 32, 56, 64, pages + 16, 2 * pages, 3*pages + 8, 4*pages + 10, 5*pages + 16, 5*pages + 24, 6*pages + 28} {
		edit := binary.LittleEndian.AppendUint32(nil, at)
		f.Add(slices.Concat(edit, []byte{0xff, 0xff, 0xff, 0x7f}))
		f.Add(slices.Concat(edit, []byte{3, 0, 0, 0}))
	}
	f.Fuzz(func(t *testing.T, edits []byte) {
		image := bytes.Clone(base)
		for ; len(edits) >= 8; edits = edits[8:] {
			at := int(binary.LittleEndian.Uint32(edits)) % (len(image) - 4)
			copy(image[at:], edits[4:8])
		}
		path := filepath.Join(t.TempDir(), "fuzzed.db")
		require.NoError(t, os.WriteFile(path, image, 0o600))
		r, err := store.CheckFile(path, nil)
		require.NoError(t, err)
		require.GreaterOrEqual(t, r.FaultCount, len(r.Faults))
	})
}
