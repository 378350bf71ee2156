package cli

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"github.com/coderclaw/gateway/pkg/store"
)

// lockOwner reads who holds a state directory. A lock file that nobody holds locked
// is left over: held is false then. The owner may be unknown, and its port 0 while
// it starts.
func lockOwner(stateDir string) (o store.Owner, held bool) {
	f, err := os.Open(filepath.Join(stateDir, store.LockName))
	if err != nil {
		return o, false
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
		return o, false
	}
	if err := json.NewDecoder(f).Decode(&o); err != nil || o.Port < 0 || o.Port > 65535 {
		return store.Owner{}, true
	}
	return o, true
}
