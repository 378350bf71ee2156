package store

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

// put is a migration that writes one raw row.
func put(name, key, value string) migration {
	return migration{name: name, apply: func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("storetest.numbers"))
		if err != nil {
			return err
		}
		return b.Put([]byte(key), []byte(value))
	}}
}

// openAt opens dir with the given steps and closes it again.
func openAt(t *testing.T, dir string, steps ...migration) *DB {
	t.Helper()
	d, err := Open(Options{Dir: dir, migrations: append([]migration{}, steps...)})
	require.NoError(t, err)
	require.NoError(t, d.Close())
	return d
}

func TestMigrationsRunOnceWithASnapshotEach(t *testing.T) {
	dir := t.TempDir()
	one, two, three := put("one", "a", "1"), put("two", "a", "2"), put("three", "b", "3")
	openAt(t, dir, one) // a new file begins at the newest version: nothing to migrate
	require.NoFileExists(t, filepath.Join(dir, "gateway.db.before-v2"))

	openAt(t, dir, one, two, three)
	require.FileExists(t, filepath.Join(dir, "gateway.db.before-v3"))
	require.FileExists(t, filepath.Join(dir, "gateway.db.before-v4"))
	d := openAndKeep(t, dir, one, two, three)
	require.Equal(t, 2, number(t, d, "a"))
	require.Equal(t, 3, number(t, d, "b"))
	version, err := d.version()
	require.NoError(t, err)
	require.Equal(t, 4, version)

	for path, want := range map[string]int{"gateway.db.before-v3": 2, "gateway.db.before-v4": 3} {
		info, err := os.Stat(filepath.Join(dir, path))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		old := t.TempDir()
		require.NoError(t, os.Rename(filepath.Join(dir, path), filepath.Join(old, FileName)))
		d := openAndKeep(t, old, make([]migration, want-1)...)
		version, err := d.version()
		require.NoError(t, err)
		require.Equal(t, want, version, path)
	}
}

func openAndKeep(t *testing.T, dir string, steps ...migration) *DB {
	t.Helper()
	d, err := Open(Options{Dir: dir, migrations: append([]migration{}, steps...)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

func TestMigrationThatFailsChangesNothing(t *testing.T) {
	dir := t.TempDir()
	openAt(t, dir)
	broken := put("broken", "a", "1")
	apply := broken.apply
	broken.apply = func(tx *bolt.Tx) error { return errors.Join(apply(tx), errors.New("no way")) }
	_, err := Open(Options{Dir: dir, migrations: []migration{broken}})
	require.ErrorContains(t, err, "to version 2 (broken)")
	require.ErrorContains(t, err, "no way")

	d := openAndKeep(t, dir)
	require.NoError(t, d.View(func(tx *Tx) error {
		has, err := numbers.Has(tx, "a")
		require.False(t, has)
		return err
	}))
}

// The refusal of a newer file gives a command; the test runs it.
func TestNewerFileIsRefusedWithTheWayBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state dir")
	first := openAt(t, dir)
	openAt(t, dir, put("one", "a", "1"), put("two", "a", "2"))
	before, err := os.ReadFile(first.Path())
	require.NoError(t, err)

	_, err = Open(Options{Dir: dir, migrations: []migration{}})
	var newer *NewerError
	require.ErrorAs(t, err, &newer)
	require.Equal(t, 3, newer.Found)
	require.Equal(t, 1, newer.Known)
	require.Equal(t, first.Path()+".before-v2", newer.Snapshot)
	require.ErrorContains(t, err, "schema version 3, this build knows versions up to 1")
	after, err := os.ReadFile(first.Path())
	require.NoError(t, err)
	require.Equal(t, before, after, "a refused file is not touched")

	command := "mv '" + first.Path() + "' '" + first.Path() + ".v3' && cp -p '" + newer.Snapshot + "' '" + first.Path() + "'"
	require.ErrorContains(t, newer, command)
	require.NoError(t, exec.Command("sh", "-c", command).Run())
	openAt(t, dir)

	t.Run("without a snapshot", func(t *testing.T) {
		dir := t.TempDir()
		openAt(t, dir, put("one", "a", "1"))
		_, err := Open(Options{Dir: dir, migrations: []migration{}})
		require.ErrorContains(t, err, "there is no snapshot "+filepath.Join(dir, "gateway.db.before-v2"))
	})
}
