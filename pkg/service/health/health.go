// Package health answers how the gateway is: the health summary, the status page
// of the command line, and the heartbeat, which is the agent's own clock.
//
// The summary is made by one goroutine (Run), at most once a second, and served
// from memory: asking for health costs a copy, however often it is asked. A call
// asks for a newer summary behind its answer; with probe it waits for one.
//
// mu guards the fields below it; no event is emitted under it.
package health

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

const (
	healthRecentMax = 5
	statusRecentMax = 10
)

// Sessions is what health wants to know of the conversations.
type Sessions interface {
	// Newest returns the n that changed last, all of them when n is negative, and how
	// many there are. They must not be written to.
	Newest(n int) (list []*session.Entry, total int, err error)
}

// Config is what the service needs.
type Config struct {
	Log      *slog.Logger
	Emitter  wire.Emitter
	Versions *wire.StateVersions
	Sessions Sessions
	// StorePath is where sessions are kept, for people to read.
	StorePath string
	// Agents returns the agents, the default one first. It must not block.
	Agents func() []Agent
	// Model returns the default model; what is not known of it is empty. It must not
	// block.
	Model func() Model
	// SessionModel returns the model of a session's next run. It must not block.
	SessionModel func(e *session.Entry) Model
	// QueuedEvents lists the system events that wait for the next agent turn.
	QueuedEvents func() []string
	// Degraded tells why the gateway does not run as it is told to; nil is never.
	Degraded func() []string
}

// Agent is an agent as health tells of it.
type Agent struct {
	ID, Name string
	// Workspace is its folder; the default agent's HEARTBEAT.md tells heartbeats what
	// to do.
	Workspace string
}

// Model is a model's id and its context window in tokens.
type Model struct {
	ID            string
	ContextTokens int64
}

// Service implements protocol.HealthService.
type Service struct {
	cfg    Config
	wanted chan struct{}
	beat   chan struct{}

	mu        sync.Mutex
	next      chan struct{} // closed at the end of the refresh that has not begun yet
	refreshed time.Time
	summary   protocol.HealthSummary
	encoded   []byte
	enabled   bool // heartbeats
	last      wire.Null[protocol.HeartbeatEvent]
}

var _ protocol.HealthService = (*Service)(nil)

// New returns a service without a summary: call Refresh once before serving, then
// Run and RunHeartbeats.
func New(cfg Config) *Service {
	return &Service{cfg: cfg, wanted: make(chan struct{}, 1), beat: make(chan struct{}, 1), next: make(chan struct{}), enabled: true}
}

// Health answers health from the last summary, or with probe from one that is
// made after the call. Either way it asks for a newer one.
func (s *Service) Health(ctx context.Context, _ *wire.Peer, p protocol.HealthParams) (protocol.HealthSummary, error) {
	if p.Probe.Or(false) {
		if err := s.probe(ctx); err != nil {
			return protocol.HealthSummary{}, fmt.Errorf("wait for a health refresh: %w", err)
		}
	} else {
		s.Want()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.summary, nil
}

// Encoded returns the last summary as JSON, for the snapshot of hello-ok. The
// bytes are shared and must not be changed.
func (s *Service) Encoded() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.encoded
}

func (s *Service) summarise(now time.Time) (protocol.HealthSummary, error) {
	all, _, err := s.cfg.Sessions.Newest(-1)
	if err != nil {
		return protocol.HealthSummary{}, fmt.Errorf("list sessions: %w", err)
	}
	list := s.cfg.Agents()
	first := list[0].ID
	byAgent := sessionsByAgent(all, first)
	var agents []protocol.HealthAgent
	for i, a := range list {
		sessions := protocol.HealthSessions{Path: s.cfg.StorePath, Count: int64(len(byAgent[a.ID])), Recent: []protocol.HealthRecentSession{}}
		for _, e := range newest(byAgent[a.ID], healthRecentMax) {
			sessions.Recent = append(sessions.Recent, protocol.HealthRecentSession{
				Key: e.Key, UpdatedAt: wire.NotNull(e.UpdatedAt), Age: wire.NotNull(age(now, e.UpdatedAt)),
			})
		}
		row := protocol.HealthAgent{AgentID: a.ID, IsDefault: i == 0, Sessions: sessions, Name: present(a.Name), Heartbeat: protocol.HealthHeartbeat{
			Every: heartbeatOff, Prompt: heartbeatPrompt, Target: "last", AckMaxChars: heartbeatAckMax,
		}}
		if i == 0 { // nobody else wakes by itself
			row.Heartbeat.Enabled, row.Heartbeat.Every, row.Heartbeat.EveryMs = s.heartbeats(), heartbeatEveryText, wire.NotNull(heartbeatEvery.Milliseconds())
		}
		agents = append(agents, row)
	}
	var degraded []string
	if s.cfg.Degraded != nil {
		degraded = s.cfg.Degraded()
	}
	return protocol.HealthSummary{
		Degraded: degraded,
		Ok:       true, Ts: now.UnixMilli(),
		Channels: wire.Object("{}"), ChannelOrder: []string{}, ChannelLabels: map[string]string{},
		HeartbeatSeconds: int64(heartbeatEvery.Seconds()), DefaultAgentID: first,
		Agents: agents, Sessions: agents[0].Sessions,
	}, nil
}

// sessionsByAgent sorts sessions, which keep their order, by the agent that they belong
// to; those of no agent are the default one's.
func sessionsByAgent(all []*session.Entry, defaultID string) map[string][]*session.Entry {
	out := map[string][]*session.Entry{}
	for _, e := range all {
		id := defaultID
		if rest, ok := strings.CutPrefix(e.Key, "agent:"); ok {
			id, _, _ = strings.Cut(rest, ":")
		}
		out[id] = append(out[id], e)
	}
	return out
}

// newest returns the first n of a list.
func newest(list []*session.Entry, n int) []*session.Entry { return list[:min(n, len(list))] }

func age(now time.Time, updatedAt int64) int64 { return max(0, now.UnixMilli()-updatedAt) }
