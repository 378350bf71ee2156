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

// lockFile is the flocked gateway.lock.
type lockFile struct {
	path    string
	started time.Time
	info    fs.FileInfo

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
			if err := l.write(port); err != nil {
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

// write puts the owner into the lock file, in place: a rename would move the
// lock to a file that nobody sees.
func (l *lockFile) write(port int) error {
	b, err := json.Marshal(Owner{PID: os.Getpid(), Port: port, StartedAt: l.started.UTC().Round(0)})
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

// readOwner reads the lock file's content. What cannot be read stays zero.
func readOwner(path string) Owner {
	var o Owner
	f, err := os.Open(path)
	if err != nil {
		return o
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, ownerBytesMax))
	if err != nil || json.Unmarshal(b, &o) != nil {
		return Owner{}
	}
	return o
}
