package settings

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// BackupsMax is how many earlier versions of the file are kept beside it:
// coderclaw.json.bak is the last one, .bak.4 the oldest.
const BackupsMax = 5

const (
	backupSuffix = ".bak"
	tempPattern  = ".tmp-*"
)

// writer replaces a file so that a crash at any moment leaves the old text or the
// new one, never half of either, and keeps the old one as a backup. at, which may
// be nil, is called before each step; tests fail there as a crash would.
type writer struct {
	at func(step string) error
}

// replace writes text to path with mode 0600. A symbolic link keeps pointing where
// it points. With backup set, the old text becomes the newest backup.
func (w writer) replace(path string, text []byte, backup bool) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := w.step("create"); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, filepath.Base(path)+tempPattern) // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	renamed := false
	defer func() {
		if !renamed && w.at == nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	if err := w.fill(tmp, text); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), tmp.Close())
	}
	if err := tmp.Close(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if backup {
		if err := w.rotate(path); err != nil {
			return err
		}
	}
	if err := w.step("rename"); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	renamed = true
	if err := w.step("sync folder"); err != nil {
		return err
	}
	return syncDir(dir)
}

// fill writes text in two halves, so that a test can crash between them.
func (w writer) fill(tmp *os.File, text []byte) error {
	for _, half := range [][]byte{text[:len(text)/2], text[len(text)/2:]} {
		if err := w.step("write"); err != nil {
			return err
		}
		if _, err := tmp.Write(half); err != nil {
			return err
		}
	}
	if err := w.step("sync"); err != nil {
		return err
	}
	return tmp.Sync()
}

// rotate makes the current text the newest backup, by a copy under a name of its
// own: the file itself stays in its place until it is replaced.
func (w writer) rotate(path string) error {
	raw, err := readFile(path)
	if err != nil || raw == nil {
		return err
	}
	if newest, err := readFile(backupPath(path, 1)); err == nil && newest != nil && string(newest) == string(raw) {
		return nil // a crash came between this and the last step
	}
	for n := BackupsMax - 1; n >= 1; n-- {
		if err := w.step("rotate"); err != nil {
			return err
		}
		if err := moveBackup(path, n); err != nil {
			return err
		}
	}
	return w.replace(backupPath(path, 1), raw, false)
}

// moveBackup makes the n-th version the one after it.
func moveBackup(path string, n int) error {
	err := os.Rename(backupPath(path, n), backupPath(path, n+1))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keep backup: %w", err)
	}
	return nil
}

func (w writer) step(name string) error {
	if w.at == nil {
		return nil
	}
	return w.at(name)
}

// backupPath returns the file of the n-th version before the current one, from 1.
func backupPath(path string, n int) string {
	if n == 1 {
		return path + backupSuffix
	}
	return fmt.Sprintf("%s%s.%d", path, backupSuffix, n-1)
}

// Backup is an earlier version of the config file.
type Backup struct {
	// N counts back from the current file; the last version before it is 1.
	N    int
	Path string
	Hash string
	// At is when the version was put aside.
	At time.Time
}

// Backups lists the earlier versions of a config file, the last one first.
func Backups(path string) ([]Backup, error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	var out []Backup
	for n := 1; n <= BackupsMax; n++ {
		file := backupPath(path, n)
		raw, err := readFile(file)
		if err != nil {
			return nil, err
		}
		if raw == nil {
			continue
		}
		info, err := os.Stat(file)
		if err != nil {
			return nil, err
		}
		out = append(out, Backup{N: n, Path: file, Hash: HashOf(raw), At: info.ModTime()})
	}
	return out, nil
}

// ReadBackup returns the text of an earlier version.
func ReadBackup(b Backup) ([]byte, error) {
	raw, err := readFile(b.Path)
	if err == nil && raw == nil {
		err = fmt.Errorf("%s is gone", b.Path)
	}
	return raw, err
}

// HashOf names a text: its SHA-256 in lower-case hex.
func HashOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}
