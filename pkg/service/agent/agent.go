// Package agent answers the agent methods: it runs a turn of an agent for
// whoever names a session (agent), waits for a turn to end (agent.wait), and
// tells who an agent is (agent.identity.get).
//
// It decides which session is meant; how a turn runs is the business of pkg/turn.
// The agent method answers twice: when the turn is accepted, and when it has
// ended. A client that goes away loses the second answer, not the turn: the same
// key sent again joins the turn, or gets its result, for as long as pkg/turn keeps
// the key and whether or not the gateway was restarted in between.
//
// The service has no state of its own.
package agent

import (
	"context"
	"errors"
	"slices"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/turn"
)

// Sessions is what the service needs of the session store.
type Sessions interface {
	Canonical(raw string) (session.Key, error)
	Get(key string) (session.Entry, bool, error)
	FindByID(sessionID string) (session.Entry, bool, error)
}

// Runs is what the service needs of the run registry.
type Runs interface {
	Start(ctx context.Context, req turn.Request) (run *turn.Run, replayed bool, err error)
	Wait(ctx context.Context, runID string) (turn.Outcome, bool)
}

// Identity is how an agent presents itself. ID is required.
type Identity struct {
	ID, Name, Avatar, Emoji string
}

// Config says what the service works with. Sessions and Runs are required.
type Config struct {
	Sessions Sessions
	Runs     Runs
	// Agents are the agents that exist, the default one first. Empty means one
	// agent "main" that presents itself as Assistant.
	Agents []Identity
}

// Service implements protocol.AgentService.
type Service struct {
	sessions Sessions
	runs     Runs
	agents   []Identity
}

var _ protocol.AgentService = (*Service)(nil)

// New returns the service.
func New(cfg Config) (*Service, error) {
	if cfg.Sessions == nil || cfg.Runs == nil {
		return nil, errors.New("agent: sessions and runs are required")
	}
	agents := slices.Clone(cfg.Agents)
	if len(agents) == 0 {
		agents = []Identity{{ID: "main", Name: "Assistant", Avatar: "A"}}
	}
	return &Service{sessions: cfg.Sessions, runs: cfg.Runs, agents: agents}, nil
}

// find returns the agent that an id, in any spelling, names.
func (s *Service) find(id string) (Identity, bool) {
	id = session.NormalizeAgentID(id)
	i := slices.IndexFunc(s.agents, func(a Identity) bool { return a.ID == id })
	if i < 0 {
		return Identity{}, false
	}
	return s.agents[i], true
}
