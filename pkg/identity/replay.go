package identity

import (
	"crypto/sha256"
	"sync"
	"time"
)

// replaysMax bounds the signatures that are remembered, 40 bytes each.
const replaysMax = 4096

// replays remembers the signatures without a challenge that were used, for as long
// as their time would let them in again. It forgets them at a restart: whoever reads
// the loopback interface and restarts the gateway within two minutes can use one again.
type replays struct {
	mu sync.Mutex // guards until
	// until is by the hash of what was signed when it is too old anyway. What was
	// signed names the device; signatures of the same text need not be the same.
	until map[[sha256.Size]byte]time.Time
}

// use reports whether this is the first use of a signature over text, which is valid
// until then. When there is no room to remember it, it is refused like a second use:
// only devices on this host come here, and they may sign the challenge instead.
func (r *replays) use(text string, until time.Time) bool {
	sum := sha256.Sum256([]byte(text))
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, used := r.until[sum]; used {
		return false
	}
	if len(r.until) >= replaysMax {
		for old, end := range r.until {
			if now.After(end) {
				delete(r.until, old)
			}
		}
	}
	if len(r.until) >= replaysMax {
		return false
	}
	if r.until == nil {
		r.until = map[[sha256.Size]byte]time.Time{}
	}
	r.until[sum] = until
	return true
}
