// Package presence knows who is here: the gateway itself, the clients that are
// connected or were a moment ago, and beacons that other programs report by
// system-event. What a beacon says is also left as a note for the next agent turn.
//
// Presence is a view of the living and is held in memory: a restart begins with
// the gateway alone. Entries expire after 5 minutes without news and at most 200
// are kept, the oldest dropped first (protocol 3, presence TTL and maximum).
//
// mu guards the fields below it; no event is emitted under it.
package presence

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

const (
	entryTTL    = 5 * time.Minute
	entriesMax  = 200
	reasonHere  = "connect"
	reasonLeft  = "disconnect"
	gatewayMode = "gateway"
)

// Notes keeps what the next agent turn will be told. AddNote returns when the
// note is on disk.
type Notes interface {
	AddNote(ctx context.Context, text string) error
}

// Config is what the service needs.
type Config struct {
	Log      *slog.Logger
	Emitter  wire.Emitter
	Versions *wire.StateVersions
	// Host, IP and Version describe the gateway's own entry. IP may be empty.
	Host, IP, Version string
	// Notes takes the text of system events for the next agent turn.
	Notes Notes
}

// Service implements protocol.PresenceService.
type Service struct {
	cfg Config

	mu      sync.Mutex
	entries map[string]protocol.PresenceEntry
}

var _ protocol.PresenceService = (*Service)(nil)

// New returns a service that knows the gateway alone.
func New(cfg Config) *Service {
	return &Service{cfg: cfg, entries: map[string]protocol.PresenceEntry{}}
}

// tracked reports whether a client's coming and going is presence. Command line
// tools connect for a moment each and would drown the rest.
func tracked(p *wire.Peer) bool {
	return p.Client.ID != string(protocol.GatewayClientIdCli) && p.Client.Mode != string(protocol.GatewayClientModeCli)
}

// PeerConnected adds the peer. The version grows, no event is sent: the original
// announces arrivals with the next presence event only.
func (s *Service) PeerConnected(p *wire.Peer) {
	if !tracked(p) {
		return
	}
	s.upsert(peerKey(p), entryOf(p, reasonHere))
	s.cfg.Versions.BumpPresence()
}

// PeerDisconnected marks the peer as gone and tells everybody.
func (s *Service) PeerDisconnected(p *wire.Peer) {
	if !tracked(p) {
		return
	}
	e := entryOf(p, reasonLeft)
	e.Roles, e.Scopes = nil, nil
	s.upsert(peerKey(p), e)
	s.announce()
}

// List returns the gateway's own entry and all others, newest first.
func (s *Service) List() []protocol.PresenceEntry {
	now := time.Now()
	s.mu.Lock()
	s.pruneLocked(now)
	list := make([]protocol.PresenceEntry, 0, len(s.entries)+1)
	for _, e := range s.entries {
		list = append(list, e)
	}
	s.mu.Unlock()
	list = append(list, s.self(now))
	slices.SortFunc(list, func(a, b protocol.PresenceEntry) int {
		if c := cmp.Compare(b.Ts, a.Ts); c != 0 {
			return c
		}
		return cmp.Compare(a.Text.V, b.Text.V) // "Gateway: ..." before "Node: ..."
	})
	return list
}

func (s *Service) announce() {
	s.cfg.Versions.BumpPresence()
	wire.Emit(s.cfg.Emitter, protocol.EventPresence, protocol.PresenceEvent{Presence: s.List()})
}

// upsert merges e into what is known under key: roles and scopes are united,
// absent members keep what an earlier report said.
func (s *Service) upsert(key string, e protocol.PresenceEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.entries[key]; ok {
		e = merge(old, e)
	}
	s.entries[key] = e
	s.pruneLocked(time.Now())
}

func (s *Service) pruneLocked(now time.Time) {
	oldest := now.Add(-entryTTL).UnixMilli()
	for key, e := range s.entries {
		if e.Ts < oldest {
			delete(s.entries, key)
		}
	}
	for len(s.entries) > entriesMax {
		var drop string
		for key, e := range s.entries {
			if drop == "" || e.Ts < s.entries[drop].Ts {
				drop = key
			}
		}
		delete(s.entries, drop)
	}
}

func peerKey(p *wire.Peer) string {
	return strings.ToLower(cmp.Or(p.DeviceID, p.Client.InstanceID, p.ConnID))
}

func entryOf(p *wire.Peer, reason string) protocol.PresenceEntry {
	host := cmp.Or(p.Client.DisplayName, p.Client.ID)
	return protocol.PresenceEntry{
		Host: text(host), IP: text(p.RemoteIP), Version: text(p.Client.Version), Platform: text(p.Client.Platform),
		DeviceFamily: text(p.Client.DeviceFamily), ModelIdentifier: text(p.Client.ModelIdentifier), Mode: text(p.Client.Mode),
		DeviceID: text(p.DeviceID), InstanceID: text(cmp.Or(p.DeviceID, p.Client.InstanceID)), Reason: text(reason),
		Roles: []string{p.Role}, Scopes: slices.Clone(p.Scopes), Ts: time.Now().UnixMilli(),
		Text: wire.Some("Node: " + host + " · mode " + p.Client.Mode),
	}
}

func (s *Service) self(now time.Time) protocol.PresenceEntry {
	at := s.cfg.Host
	if s.cfg.IP != "" {
		at += " (" + s.cfg.IP + ")"
	}
	return protocol.PresenceEntry{
		Host: text(s.cfg.Host), IP: text(s.cfg.IP), Version: text(s.cfg.Version), Platform: text(platform()),
		DeviceFamily: text(deviceFamily()), ModelIdentifier: text(modelIdentifier()), Mode: text(gatewayMode), Reason: text("self"),
		Text: wire.Some("Gateway: " + at + " · app " + s.cfg.Version + " · mode gateway · reason self"), Ts: now.UnixMilli(),
	}
}

// text is an optional member that is absent when empty.
func text(s string) wire.Opt[string] {
	if s == "" {
		return wire.Opt[string]{}
	}
	return wire.Some(s)
}

func merge(old, e protocol.PresenceEntry) protocol.PresenceEntry {
	keep := func(now *wire.Opt[string], before wire.Opt[string]) {
		if !now.Set {
			*now = before
		}
	}
	keep(&e.Host, old.Host)
	keep(&e.IP, old.IP)
	keep(&e.Version, old.Version)
	keep(&e.Platform, old.Platform)
	keep(&e.DeviceFamily, old.DeviceFamily)
	keep(&e.ModelIdentifier, old.ModelIdentifier)
	keep(&e.Mode, old.Mode)
	keep(&e.Reason, old.Reason)
	keep(&e.DeviceID, old.DeviceID)
	keep(&e.InstanceID, old.InstanceID)
	if !e.LastInputSeconds.Set {
		e.LastInputSeconds = old.LastInputSeconds
	}
	e.Roles, e.Scopes, e.Tags = union(old.Roles, e.Roles), union(old.Scopes, e.Scopes), union(old.Tags, e.Tags)
	return e
}

func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}
