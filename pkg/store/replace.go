package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// replacingDir holds, below a state directory, files that are to take the place of
// those beside it. Its name is the promise: whoever holds the lock next finishes
// what a crash has interrupted.
const replacingDir = "restore.commit"

// stagingPrefix begins the names of folders in which files wait to be put in place.
const stagingPrefix = ".restore-"

// Stage makes an empty folder in the state directory dir for Replace, and removes
// those that a crash has left. Whoever opens the store removes it as well.
func (l *Lock) Stage(dir string) (string, error) {
	if err := clearStaging(dir); err != nil {
		return "", err
	}
	return os.MkdirTemp(dir, stagingPrefix+"*")
}

// clearStaging removes folders that Stage has made. The caller holds the lock.
func clearStaging(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), stagingPrefix) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// Replace puts the files below staged, a folder inside the state directory dir, in
// the place of those of the same names, all or none: a crash before it has begun
// changes nothing, and one afterwards is finished by the next Open or FinishReplace.
// What was there before is kept in the folder aside, which must not exist; files that
// staged lacks stay.
func (l *Lock) Replace(dir, staged, aside string) error {
	names, err := filesBelow(staged)
	if err != nil {
		return fmt.Errorf("replace state: %w", err)
	}
	for _, name := range names {
		if err := replaceable(dir, name); err != nil {
			return fmt.Errorf("replace state: %w", err)
		}
	}
	if err := os.Mkdir(aside, 0o700); err != nil {
		return fmt.Errorf("replace state: %w", err)
	}
	for _, name := range names {
		if err := setAside(filepath.Join(dir, name), filepath.Join(aside, name)); err != nil {
			return fmt.Errorf("replace state: keep the old %s: %w", name, err)
		}
	}
	if err := errors.Join(syncDir(aside), os.Rename(staged, filepath.Join(dir, replacingDir)), syncDir(dir)); err != nil {
		return fmt.Errorf("replace state: %w", err)
	}
	return finishReplace(dir)
}

// replaceable refuses a name that a file could not be renamed to: a rename that fails
// after the point of no return would fail at every start from then on.
func replaceable(dir, name string) error {
	home, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	at := dir
	parts := strings.Split(filepath.ToSlash(name), "/")
	for i, part := range parts {
		at = filepath.Join(at, part)
		info, err := os.Lstat(at)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // and nothing below it
		}
		if err != nil {
			return err
		}
		switch last := i == len(parts)-1; {
		case last && info.IsDir():
			return fmt.Errorf("%s is in the way and a folder: move it away", at)
		case !last && info.Mode()&fs.ModeSymlink != 0:
			return fmt.Errorf("%s is a link to somewhere else: move it away", at)
		case !last && !info.IsDir():
			return fmt.Errorf("%s is in the way and no folder: move it away", at)
		case !last && deviceOf(info) != deviceOf(home):
			return fmt.Errorf("%s lies on another disk than %s: unmount it", at, dir)
		}
	}
	return nil
}

// deviceOf is the file system that a file lies on.
func deviceOf(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Dev)
	}
	return 0
}

// setAside gives a file a second name; one that is not there needs none.
func setAside(from, to string) error {
	if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if os.Link(from, to) != nil { // no hard links here
		if err := copyFile(from, to); err != nil {
			return err
		}
	}
	return syncDir(filepath.Dir(to))
}

// FinishReplace finishes a Replace that a crash has interrupted in dir, so that files
// besides the database are in place before somebody reads them.
func FinishReplace(dir string) error {
	if !replacing(dir) {
		return nil
	}
	l, err := LockDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(finishReplace(dir), l.Release())
}

func replacing(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, replacingDir))
	return err == nil
}

// finishReplace moves what is left of the new files into place. It may be called
// again after any crash. The caller holds the lock.
func finishReplace(dir string) error {
	from := filepath.Join(dir, replacingDir)
	names, err := filesBelow(from)
	if err != nil {
		return fmt.Errorf("finish restore: %w", err)
	}
	for _, name := range names {
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return fmt.Errorf("finish restore: %w", err)
		}
		if err := errors.Join(os.Rename(filepath.Join(from, name), to), syncDir(filepath.Dir(to))); err != nil {
			return fmt.Errorf("finish restore: %w", err)
		}
	}
	if err := errors.Join(os.RemoveAll(from), syncDir(dir)); err != nil {
		return fmt.Errorf("finish restore: %w", err)
	}
	return nil
}

// filesBelow lists the regular files below dir, relative to it.
func filesBelow(dir string) (names []string, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if !e.Type().IsRegular() {
			return fmt.Errorf("%s is no regular file", path)
		}
		name, err := filepath.Rel(dir, path)
		names = append(names, name)
		return err
	})
	return names, err
}

// Room reports as ErrNoRoom that n more bytes would leave too little free space on
// the disk of dir.
func Room(dir string, n int64) error { return roomFor(dir, n, freeBytesMin) }
