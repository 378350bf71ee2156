package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lockWait is how long Open waits for another gateway to let go: a restart
	// starts the new process while the old one is still closing.
	lockWait  = time.Second
	lockRetry = 25 * time.Millisecond
	// ownerBytesMax bounds what is read of a lock file.
	ownerBytesMax = 4096
)

// Owner is who holds a state directory: the content of the lock file.
type Owner struct {
	// PID is the owner's process id, 0 when the lock file does not say.
	PID int `json:"pid"`
	// Port is the port the owner listens on, 0 when it had none yet.
	Port int `json:"port"`
	// StartedAt is when the owner opened the store.
	StartedAt time.Time `json:"startedAt"`
}

// LockedError says that another process holds the state directory.
type LockedError struct {
	// Dir is the state directory.
	Dir string
	// Owner is who holds it, as far as the lock file says.
	Owner Owner
}

// Error names the owner and the way out.
func (e *LockedError) Error() string {
	who := "another gateway"
	if e.Owner.PID != 0 {
		who += fmt.Sprintf(" (pid %d", e.Owner.PID)
		if e.Owner.Port != 0 {
			who += fmt.Sprintf(", port %d", e.Owner.Port)
		}
		who += ", since " + e.Owner.StartedAt.Format(time.DateTime) + ")"
	}
	return fmt.Sprintf("state directory %s is in use by %s: stop that one, or choose another directory with CODERCLAW_STATE_DIR", e.Dir, who)
}

// closed is what the lock file says of the database once it was closed in order.
// It is kept here and not in the database, because whoever starts must know it
// before they dare to open that.
type closed struct {
	Bytes int64 `json:"bytes"`
	// Modified is the file's time of last change in nanoseconds since 1970.
	Modified int64 `json:"modifiedNs"`
}

// closedAs describes the database file as it lies there.
func closedAs(info fs.FileInfo) closed {
	return closed{Bytes: info.Size(), Modified: info.ModTime().UnixNano()}
}

// lockNote is the whole content of the lock file.
type lockNote struct {
	Owner
	// Closed is absent while the owner runs, and after it was killed.
	Closed *closed `json:"closed,omitempty"`
}

// lockFile is the flocked gateway.lock.
type lockFile struct {
	path    string
	started time.Time
	info    fs.FileInfo
	// before is what the last owner left.
	before lockNote

	mu   sync.Mutex // guards file and its content
	file *os.File   // nil after release
}

// acquire takes the lock at path and writes its owner into it, or returns a
// *LockedError after lockWait.
func acquire(path string, port int) (*lockFile, error) {
	deadline := time.Now().Add(lockWait)
	for {
		l, err := tryLock(path)
		if err == nil {
			l.before = readNote(path)
			// Synced, or a power cut could bring the last owner's note back.
			if err := errors.Join(l.write(port), l.file.Sync()); err != nil {
				return nil, errors.Join(err, l.release())
			}
			return l, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if time.Now().After(deadline) {
			return nil, &LockedError{Dir: filepath.Dir(path), Owner: readOwner(path)}
		}
		time.Sleep(lockRetry)
	}
}

// tryLock takes the lock without waiting. A lock on a file that was unlinked
// between open and flock protects nothing; that case counts as not acquired.
func tryLock(path string) (*lockFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	l := &lockFile{path: path, started: time.Now(), file: f}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	if l.info, err = f.Stat(); err == nil && l.check() != nil {
		err = unix.EWOULDBLOCK
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

// write puts the owner into the lock file.
func (l *lockFile) write(port int) error { return l.put(port, nil) }

// close notes that the database was closed in order, as it lies there now.
func (l *lockFile) close(c closed) error {
	if err := l.put(0, &c); err != nil {
		return err
	}
	return l.file.Sync()
}

// put writes the note in place: a rename would move the lock to a file that nobody
// sees.
func (l *lockFile) put(port int, c *closed) error {
	b, err := json.Marshal(lockNote{Owner: Owner{PID: os.Getpid(), Port: port, StartedAt: l.started.UTC().Round(0)}, Closed: c})
	if err != nil {
		return fmt.Errorf("write %s: %w", l.path, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return ErrClosed
	}
	if _, err := l.file.WriteAt(append(b, '\n'), 0); err != nil {
		return fmt.Errorf("write %s: %w", l.path, err)
	}
	if err := l.file.Truncate(int64(len(b) + 1)); err != nil {
		return fmt.Errorf("write %s: %w", l.path, err)
	}
	return nil
}

// check reports as ErrReplaced that the lock file is not the locked one any more.
func (l *lockFile) check() error { return sameFile(l.path, l.info) }

// release unlocks. The file stays, with its last owner in it.
func (l *lockFile) release() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// readOwner reads who the lock file names. What cannot be read stays zero.
func readOwner(path string) Owner { return readNote(path).Owner }

// readNote reads the lock file's content. What cannot be read stays zero.
func readNote(path string) lockNote {
	f, err := os.Open(path)
	if err != nil {
		return lockNote{}
	}
	defer f.Close()
	var n lockNote
	b, err := io.ReadAll(io.LimitReader(f, ownerBytesMax))
	if err != nil || json.Unmarshal(b, &n) != nil {
		return lockNote{}
	}
	return n
}

// released reports whether release was called.
func (l *lockFile) released() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file == nil
}

// Lock holds a state directory without opening its database, for whoever replaces
// files in it.
type Lock struct{ file *lockFile }

// LockDir takes the lock of a state directory, which must exist, as Open does: another
// owner is told as a *LockedError.
func LockDir(dir string) (*Lock, error) {
	l, err := acquire(filepath.Join(dir, LockName), 0)
	if err != nil {
		return nil, err
	}
	return &Lock{l}, nil
}

// Release lets the directory go. Whoever opens the database next checks it first.
func (l *Lock) Release() error { return l.file.release() }
