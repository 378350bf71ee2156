package gateway

import (
	"context"
	"sync"
	"time"
)

// inflight bounds the requests of a connection that have not been answered. Only
// the reader acquires.
type inflight struct {
	freed chan struct{} // one token

	mu    sync.Mutex
	count int
	bytes int64
}

// acquire takes a place for a request of n bytes, waiting for it at most as long
// as the limits say. One request alone is always admitted.
func (f *inflight) acquire(ctx context.Context, n int64, l Limits) bool {
	if f.try(n, l) {
		return true
	}
	timer := time.NewTimer(l.RequestWait)
	defer timer.Stop()
	for {
		select {
		case <-f.freed:
			if f.try(n, l) {
				return true
			}
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

func (f *inflight) try(n int64, l Limits) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count > 0 && (f.count >= l.RequestsInFlight || f.bytes+n > l.RequestBytesInFlight) {
		return false
	}
	f.count++
	f.bytes += n
	return true
}

func (f *inflight) release(n int64) {
	f.mu.Lock()
	f.count--
	f.bytes -= n
	f.mu.Unlock()
	select {
	case f.freed <- struct{}{}:
	default:
	}
}
