package settings

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// How long a writer waits for another process that writes the same config, which
// takes milliseconds, and how often it asks.
const (
	lockPatience = 5 * time.Second
	lockEvery    = 10 * time.Millisecond
)

// ErrBusy is told when another process has kept the config locked for seconds.
var ErrBusy = errors.New("another process is writing the config; try again")

// lockFile keeps other processes of ours from writing the config file between the
// comparison of its hash and the replacement. The lock is on the folder that the file
// lies in: the file itself is replaced, and a lock file of its own would stay behind.
// Where the file system has no locks, the hash alone has to do.
func lockFile(path string) (unlock func(), err error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("save config: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("save config: %w", err)
	}
	for until := time.Now().Add(lockPatience); ; {
		switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
		case err == nil, errors.Is(err, syscall.ENOTSUP), errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.ENOLCK):
			return func() { _ = f.Close() }, nil // which unlocks it
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			return nil, errors.Join(fmt.Errorf("lock config: %w", err), f.Close())
		case time.Now().After(until):
			return nil, errors.Join(ErrBusy, f.Close())
		}
		time.Sleep(lockEvery)
	}
}
