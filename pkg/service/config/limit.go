package config

import (
	"fmt"
	"sync"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// The limits on writes. config.patch and config.apply, which restart a gateway,
// have the original's: three a minute together for one device at one address.
// config.set is what a person's editor uses, and bounded against loops only.
const (
	limitWindow    = time.Minute
	effectiveMost  = 3
	setMost        = 30
	limitKeysMost  = 4096
	effectiveGroup = "effective"
)

// limiter counts writes in fixed windows.
type limiter struct {
	mu      sync.Mutex // guards windows
	windows map[limitKey]window
}

type limitKey struct{ device, address, group string }

type window struct {
	since time.Time
	count int
}

// take counts a call, or refuses it and says when to come back.
func (l *limiter) take(peer *wire.Peer, method string, now time.Time) error {
	key, most := limitKey{peer.DeviceID, peer.RemoteIP, effectiveGroup}, effectiveMost
	if key.device == "" {
		key.device = peer.Principal
	}
	if method == protocol.MethodConfigSet.Name {
		key.group, most = method, setMost
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.windows[key]
	if now.Sub(w.since) >= limitWindow {
		w = window{since: now}
		l.sweep(now)
	}
	if w.count >= most {
		return rateLimited(method, most, w.since.Add(limitWindow).Sub(now))
	}
	w.count++
	l.windows[key] = w
	return nil
}

// sweep forgets windows that are over, when there are many; only operators with
// every scope can make any.
func (l *limiter) sweep(now time.Time) {
	if len(l.windows) < limitKeysMost {
		return
	}
	for key, w := range l.windows {
		if now.Sub(w.since) >= limitWindow {
			delete(l.windows, key)
		}
	}
}

func rateLimited(method string, most int, wait time.Duration) *wire.Error {
	ms := max(wait.Milliseconds(), 1)
	d := protocol.ErrorDetails{
		Code: wire.Some(protocol.DetailRateLimited), Method: wire.Some(method), Limit: wire.Some(fmt.Sprintf("%d per %ds", most, int(limitWindow.Seconds()))),
		RecommendedNextStep: wire.Some(protocol.DetailNextStep(protocol.DetailRateLimited)),
	}
	return &wire.Error{
		Code: protocol.ErrorUnavailable, Message: fmt.Sprintf("rate limit exceeded for %s; retry after %ds", method, (ms+999)/1000),
		Details: d.AppendJSON(nil), Retryable: new(true), RetryAfterMs: &ms,
	}
}
