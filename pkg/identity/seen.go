package identity

import (
	"context"
	"fmt"
	"time"

	"github.com/coderclaw/gateway/pkg/store"
)

const (
	seenInterval = time.Minute
	// seenFlushMax bounds the last write at shutdown.
	seenFlushMax = 5 * time.Second
	// sightingsMax bounds what waits for the next write; more is not remembered.
	sightingsMax = devicesMax
)

// sighting is that a device was here, not yet written down.
type sighting struct {
	at int64 // ms
	ip string
	// tokens are the hashes of the tokens it used, at most tokensMax per role,
	// and when.
	tokens map[string]int64
}

// Run writes down once a minute which devices were seen and which tokens they
// used, and once more when ctx ends. Without it nothing else is missing.
func (g *Guard) Run(ctx context.Context) error {
	tick := time.NewTicker(seenInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := g.flush(ctx); err != nil {
				g.log.Warn("device sightings not written", "err", err)
			}
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), seenFlushMax)
			defer cancel()
			if err := g.flush(last); err != nil {
				g.log.Warn("device sightings not written", "err", err)
			}
			return nil
		}
	}
}

// sight notes that a device used a token.
func (g *Guard) sight(deviceID, tokenHash, ip string) {
	now := time.Now().UnixMilli()
	g.mu.Lock()
	defer g.mu.Unlock()
	s, ok := g.seen[deviceID]
	if !ok {
		if len(g.seen) >= sightingsMax {
			return
		}
		s.tokens = map[string]int64{}
	}
	s.at, s.ip = now, ip
	if _, ok := s.tokens[tokenHash]; ok || len(s.tokens) < 2*tokensMax {
		s.tokens[tokenHash] = now
	}
	g.seen[deviceID] = s
}

// overlay applies what waits for Run to a record that is about to be used, so that
// the least recently used token really is.
func (g *Guard) overlay(deviceID string, d *device) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen[deviceID].apply(d)
}

// apply is called with g.mu held: tokens is shared.
func (s sighting) apply(d *device) {
	if s.at > d.LastSeenAtMs {
		d.LastSeenAtMs, d.RemoteIP = s.at, s.ip
	}
	for _, a := range d.Roles {
		for i := range a.Tokens {
			a.Tokens[i].LastUsedAtMs = max(a.Tokens[i].LastUsedAtMs, s.tokens[a.Tokens[i].SHA256])
		}
	}
}

// flush writes the sightings in one transaction. They are forgotten first: losing
// one to a failed write costs nothing that matters.
func (g *Guard) flush(ctx context.Context) error {
	g.mu.Lock()
	seen := g.seen
	g.seen = map[string]sighting{}
	g.mu.Unlock()
	if len(seen) == 0 {
		return nil
	}
	err := g.db.Update(ctx, func(tx *store.Tx) error {
		for id, s := range seen {
			d, ok, err := devices.Get(tx, id)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			s.apply(&d)
			if err := devices.Put(tx, id, d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write device sightings: %w", err)
	}
	return nil
}
