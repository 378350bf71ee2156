package store

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

// TestMain runs the process as a child of one of the tests when childEnv names a
// role, and otherwise fails if a test has left a goroutine of the store behind.
func TestMain(m *testing.M) {
	if role := os.Getenv(childEnv); role != "" {
		os.Exit(runChild(role))
	}
	if len(os.Args) == 3 && os.Args[1] == checkChild {
		if err := ServeCheck(os.Args[2], nil, os.Stdin, os.Stdout); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0") // else each child sleeps for a second at its end
	code := m.Run()
	if code == 0 {
		if left := leaked(); left != "" {
			fmt.Fprintln(os.Stderr, "goroutines left behind:\n"+left)
			code = 1
		}
	}
	os.Exit(code)
}

// checkChild is the argument that makes this program a checking child.
const checkChild = "check-child"

// leaked returns the stacks of goroutines that still run the writer. One that has
// just announced its end gets the processor a few times to reach it.
func leaked() string {
	var b strings.Builder
	for range 1000 {
		b.Reset()
		pprof.Lookup("goroutine").WriteTo(&b, 2)
		if !strings.Contains(b.String(), "(*DB).write") {
			return ""
		}
		runtime.Gosched()
	}
	return b.String()
}

// open opens a store that is closed when the test ends.
func open(t testing.TB, dir string) *DB {
	t.Helper()
	d, err := Open(Options{Dir: dir, Port: 18789})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

var numbers = NewBucket[int]("storetest.numbers")

func TestOpenMakesPrivateFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "deep")
	open(t, dir)
	for path, want := range map[string]os.FileMode{"": 0o700, FileName: 0o600, LockName: 0o600} {
		info, err := os.Stat(filepath.Join(dir, path))
		require.NoError(t, err)
		require.Equal(t, want, info.Mode().Perm(), path)
	}
}

func TestOpenTightensTheDatabaseFile(t *testing.T) {
	dir := t.TempDir()
	d, err := Open(Options{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, d.Close())
	require.NoError(t, os.Chmod(d.Path(), 0o644))
	open(t, dir)
	info, err := os.Stat(d.Path())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestOpenWarnsOfAWritableDirectory(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o777))
	var log strings.Builder
	d, err := Open(Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	require.NoError(t, d.Close())
	require.Contains(t, log.String(), "can be written by other users")
}

func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		content []byte
		want    string
	}{
		"a file that is no database": {[]byte(strings.Repeat("no database ", 2000)), "invalid database"},
		"a truncated database":       {make([]byte, 100), "gateway.db"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, FileName), c.content, 0o600))
			_, err := Open(Options{Dir: dir})
			require.ErrorContains(t, err, c.want)
			after, err := os.ReadFile(filepath.Join(dir, FileName))
			require.NoError(t, err)
			require.Equal(t, c.content, after, "the file must be left as it was")
		})
	}
	t.Run("no directory", func(t *testing.T) {
		_, err := Open(Options{})
		require.ErrorContains(t, err, "no state directory")
	})
	t.Run("another program's bbolt file", func(t *testing.T) {
		dir := t.TempDir()
		b, err := bolt.Open(filepath.Join(dir, FileName), 0o600, nil)
		require.NoError(t, err)
		require.NoError(t, b.Update(func(tx *bolt.Tx) error {
			_, err := tx.CreateBucket([]byte("theirs"))
			return err
		}))
		require.NoError(t, b.Close())
		_, err = Open(Options{Dir: dir})
		require.ErrorContains(t, err, "not a gateway's")
	})
}

func TestClosedStoreRefuses(t *testing.T) {
	d := open(t, t.TempDir())
	require.NoError(t, d.Close())
	require.ErrorIs(t, d.Update(t.Context(), func(*Tx) error { return nil }), ErrClosed)
	require.ErrorIs(t, d.View(func(*Tx) error { return nil }), ErrClosed)
	require.ErrorIs(t, d.Backup(filepath.Join(t.TempDir(), "copy")), ErrClosed)
	require.ErrorIs(t, d.Announce(1), ErrClosed)
	require.NoError(t, d.Close(), "a second Close is no error")
}

func TestCheckFindsAReplacedFile(t *testing.T) {
	for name, replace := range map[string]func(t *testing.T, d *DB){
		"database deleted":  func(t *testing.T, d *DB) { require.NoError(t, os.Remove(d.Path())) },
		"lock file deleted": func(t *testing.T, d *DB) { require.NoError(t, os.Remove(d.lock.path)) },
		"database replaced": func(t *testing.T, d *DB) {
			require.NoError(t, d.Backup(d.Path()+".copy"))
			require.NoError(t, os.Rename(d.Path()+".copy", d.Path()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, t.TempDir())
			require.NoError(t, d.Check())
			replace(t, d)
			require.ErrorIs(t, d.Check(), ErrReplaced)
		})
	}
}

func TestBackupIsACompleteStore(t *testing.T) {
	dir, copyDir := t.TempDir(), t.TempDir()
	d := open(t, dir)
	require.NoError(t, d.Update(t.Context(), func(tx *Tx) error { return numbers.Put(tx, "a", 1) }))
	path := filepath.Join(copyDir, FileName)
	require.NoError(t, os.WriteFile(path, []byte("older copy"), 0o644))
	require.NoError(t, d.Backup(path))
	require.NoError(t, d.Update(t.Context(), func(tx *Tx) error { return numbers.Put(tx, "a", 2) }))

	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.Equal(t, 1, number(t, open(t, copyDir), "a"), "the state at the time of the backup")
	require.Equal(t, 2, number(t, d, "a"))
	left, err := filepath.Glob(filepath.Join(copyDir, "*.tmp"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestBackupThatFailsLeavesTheOldCopy(t *testing.T) {
	d := open(t, t.TempDir())
	path := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.MkdirAll(filepath.Join(path, "not empty"), 0o700))
	require.Error(t, d.Backup(path), "a directory cannot be replaced by a file")
	require.DirExists(t, path)
	require.NoFileExists(t, path+".tmp")
}

func TestCompactShrinksAFileOfFreePages(t *testing.T) {
	dir := t.TempDir()
	d, err := Open(Options{Dir: dir})
	require.NoError(t, err)
	texts := NewBucket[string]("storetest.texts")
	require.NoError(t, d.Update(t.Context(), func(tx *Tx) error {
		for i := range 500 {
			if err := texts.Put(tx, SeqKey("x", uint64(i)), strings.Repeat("x", 10_000)); err != nil {
				return err
			}
		}
		return numbers.Put(tx, "kept", 7)
	}))
	require.NoError(t, d.Update(t.Context(), func(tx *Tx) error {
		n, err := texts.DeleteRange(tx, Range{})
		require.Equal(t, 500, n)
		return err
	}))
	require.NoError(t, d.Close())

	_, before, err := usageOf(t, dir)
	require.NoError(t, err)
	d, err = Open(Options{Dir: dir, compactBytesMin: 1 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	_, after, err := d.usage()
	require.NoError(t, err)
	require.Less(t, after, before/10)
	require.Equal(t, 7, number(t, d, "kept"))
	require.NoError(t, d.Update(t.Context(), func(tx *Tx) error { return numbers.Put(tx, "more", 8) }))
	require.NoError(t, d.Check(), "the compacted file is the one that is open")
}

func usageOf(t *testing.T, dir string) (used, total int64, err error) {
	d, err := Open(Options{Dir: dir})
	require.NoError(t, err)
	used, total, err = d.usage()
	require.NoError(t, d.Close())
	return used, total, err
}

// number reads a key that must exist.
func number(t testing.TB, d *DB, key string) int {
	t.Helper()
	var n int
	require.NoError(t, d.View(func(tx *Tx) error {
		v, ok, err := numbers.Get(tx, key)
		require.True(t, ok, "no value for %q", key)
		n = v
		return err
	}))
	return n
}
