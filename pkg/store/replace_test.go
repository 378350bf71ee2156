package store

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func write(t *testing.T, dir string, files map[string]string) {
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
}

func holds(t *testing.T, dir string, files map[string]string) {
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, want, string(got), name)
	}
}

func TestReplaceKeepsTheOldFilesAside(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a": "old a", "deep/b": "old b", "untouched": "x"})
	write(t, dir, map[string]string{"staged/a": "new a", "staged/deep/b": "new b", "staged/c": "new c"})
	l, err := LockDir(dir)
	require.NoError(t, err)
	require.NoError(t, l.Replace(dir, filepath.Join(dir, "staged"), filepath.Join(dir, "aside")))
	require.NoError(t, l.Release())
	holds(t, dir, map[string]string{"a": "new a", "deep/b": "new b", "c": "new c", "untouched": "x", "aside/a": "old a", "aside/deep/b": "old b"})
	require.NoDirExists(t, filepath.Join(dir, replacingDir))
	require.NoFileExists(t, filepath.Join(dir, "aside", "c"))
}

// Wherever a crash interrupts the moves, the next start finishes them.
func TestInterruptedReplaceIsFinished(t *testing.T) {
	for _, moved := range []int{0, 1, 2} {
		for name, finish := range map[string]func(t *testing.T, dir string){
			"by itself": func(t *testing.T, dir string) { require.NoError(t, FinishReplace(dir)) },
			"by Open": func(t *testing.T, dir string) {
				d, err := Open(Options{Dir: dir})
				require.NoError(t, err)
				require.NoError(t, d.Close())
			},
		} {
			t.Run(name, func(t *testing.T) {
				dir := t.TempDir()
				write(t, dir, map[string]string{"a": "old", "deep/b": "old"})
				write(t, dir, map[string]string{replacingDir + "/a": "new", replacingDir + "/deep/b": "new"})
				for _, name := range []string{"a", "deep/b"}[:moved] {
					require.NoError(t, os.Rename(filepath.Join(dir, replacingDir, name), filepath.Join(dir, name)))
				}
				finish(t, dir)
				holds(t, dir, map[string]string{"a": "new", "deep/b": "new"})
				require.NoDirExists(t, filepath.Join(dir, replacingDir))
			})
		}
	}
}

func TestReplaceRefusesToLoseWhatIsAside(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a": "old", "staged/a": "new", "aside/a": "older"})
	l, err := LockDir(dir)
	require.NoError(t, err)
	require.Error(t, l.Replace(dir, filepath.Join(dir, "staged"), filepath.Join(dir, "aside")))
	require.NoError(t, l.Release())
	holds(t, dir, map[string]string{"a": "old", "aside/a": "older"})
}

// A rename that fails once the old files are given up would fail at every start.
func TestReplaceRefusesWhatItCouldNotFinish(t *testing.T) {
	for name, prepare := range map[string]func(dir string) error{
		"a folder is a link":       func(dir string) error { return os.Symlink(t.TempDir(), filepath.Join(dir, "deep")) },
		"a folder is a file":       func(dir string) error { return os.WriteFile(filepath.Join(dir, "deep"), nil, 0o600) },
		"a file is a folder":       func(dir string) error { return os.MkdirAll(filepath.Join(dir, "deep", "b"), 0o700) },
		"a file in the first name": func(dir string) error { return os.Mkdir(filepath.Join(dir, "a"), 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, prepare(dir))
			write(t, dir, map[string]string{"staged/a": "new a", "staged/deep/b": "new b", "kept": "old"})
			l, err := LockDir(dir)
			require.NoError(t, err)
			require.ErrorContains(t, l.Replace(dir, filepath.Join(dir, "staged"), filepath.Join(dir, "aside")), "move it away")
			require.NoDirExists(t, filepath.Join(dir, "aside"))
			require.NoDirExists(t, filepath.Join(dir, replacingDir))
			require.NoError(t, l.Release())
		})
	}
}

func TestALinkInThePlaceOfAFileIsReplaced(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"elsewhere": "theirs", "staged/a": "new a"})
	require.NoError(t, os.Symlink(filepath.Join(dir, "elsewhere"), filepath.Join(dir, "a")))
	l, err := LockDir(dir)
	require.NoError(t, err)
	require.NoError(t, l.Replace(dir, filepath.Join(dir, "staged"), filepath.Join(dir, "aside")))
	require.NoError(t, l.Release())
	holds(t, dir, map[string]string{"a": "new a", "elsewhere": "theirs"})
}

func TestWhatAKilledRestoreHasUnpackedIsRemoved(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{".restore-1/gateway.db": "half", "kept/.restore-2/x": "not here"})
	db, err := Open(Options{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, db.Close())
	require.NoDirExists(t, filepath.Join(dir, ".restore-1"))
	holds(t, dir, map[string]string{"kept/.restore-2/x": "not here"})
	write(t, dir, map[string]string{".restore-3/gateway.db": "half"})
	l, err := LockDir(dir)
	require.NoError(t, err)
	staged, err := l.Stage(dir)
	require.NoError(t, err)
	require.DirExists(t, staged)
	require.NoDirExists(t, filepath.Join(dir, ".restore-3"))
	require.NoError(t, l.Release())
}
