package health

import (
	"context"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

const (
	// refreshInterval is the longest a summary may get without anybody asking.
	refreshInterval = time.Minute
	// refreshGap is the shortest time between two refreshes: whatever is asked
	// for within it is answered by one refresh at its end.
	refreshGap = time.Second
)

// Run refreshes the summary when somebody asked for it, at most once a second,
// and once a minute in any case. It returns when ctx ends.
func (s *Service) Run(ctx context.Context) error {
	idle := time.NewTicker(refreshInterval)
	defer idle.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-idle.C:
		case <-s.wanted:
			if !sleep(ctx, refreshGap-time.Since(s.refreshedAt())) {
				return nil
			}
		}
		s.Refresh()
	}
}

// sleep waits for d and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// Want asks for a refresh soon and returns at once.
func (s *Service) Want() {
	select {
	case s.wanted <- struct{}{}:
	default: // one is already asked for
	}
}

// Refresh makes a new summary, stores it and broadcasts it. Only Run calls it
// while the gateway serves; the daemon calls it once before the first client.
func (s *Service) Refresh() {
	s.mu.Lock()
	waiters := s.next
	s.next = make(chan struct{})
	s.mu.Unlock()

	start := time.Now()
	summary, err := s.summarise(start)
	if err != nil {
		s.cfg.Log.Warn("health refresh failed, the last summary stays", "err", err)
	}
	s.mu.Lock()
	s.refreshed = time.Now()
	if err == nil {
		summary.DurationMs = s.refreshed.Sub(start).Milliseconds()
		s.summary = summary
		s.encoded = summary.AppendJSON(nil)
	}
	s.mu.Unlock()
	if err == nil {
		s.cfg.Versions.BumpHealth()
		wire.Emit(s.cfg.Emitter, protocol.EventHealth, summary)
	}
	close(waiters)
}

// probe waits for a refresh that begins after the call.
func (s *Service) probe(ctx context.Context) error {
	s.mu.Lock()
	next := s.next
	s.mu.Unlock()
	s.Want()
	select {
	case <-next:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Service) refreshedAt() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refreshed
}
