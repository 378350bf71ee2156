package transport

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/coderclaw/gateway/pkg/task"
)

// callsRemembered is how many calls Health.ErrorRate is about.
const callsRemembered = 100

// Meter measures an adapter's calls for its Health. Its zero value is ready, and its
// methods are safe for concurrent use.
type Meter struct {
	mu     sync.Mutex
	failed [callsRemembered]bool // a ring
	next   int
	calls  int // at most callsRemembered
	lastOK time.Time
	rtt    time.Duration
}

// Note takes a call that began at a time and came to err into account. A call that its
// caller gave up tells nothing.
func (m *Meter) Note(began time.Time, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	failed := err != nil && !isAnswer(err)
	m.failed[m.next] = failed
	m.next = (m.next + 1) % callsRemembered
	m.calls = min(m.calls+1, callsRemembered)
	if !failed {
		m.lastOK, m.rtt = time.Now(), time.Since(began)
	}
}

// isAnswer reports whether an error is what the other side decided.
func isAnswer(err error) bool {
	for _, e := range []error{task.ErrNotFound, task.ErrExists, task.ErrConflict, task.ErrFenced, task.ErrTerminal, task.ErrTransition,
		task.ErrNone, task.ErrInvalid, task.ErrFull, task.ErrSlow, task.ErrGone, ErrUnsupported} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Health returns what was measured.
func (m *Meter) Health() Health {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := Health{LastOK: m.lastOK, RTT: m.rtt}
	n := 0
	for _, failed := range m.failed[:m.calls] {
		if failed {
			n++
		}
	}
	if m.calls > 0 {
		h.ErrorRate = float64(n) / float64(m.calls)
	}
	return h
}
