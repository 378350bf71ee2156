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

// Agents knows the agents. Ids come in any spelling.
type Agents interface {
	// DefaultID is the agent that is meant when a request names none.
	DefaultID() string
	Exists(id string) bool
	// Present tells how an agent that exists presents itself.
	Present(id string) Identity
}

// Identity is how an agent presents itself. Empty members are unknown.
type Identity struct {
	Name, Avatar, Emoji string
}

// Config says what the service works with. Sessions and Runs are required.
type Config struct {
	Sessions Sessions
	Runs     Runs
	// Agents knows the agents; nil means one agent "main" that presents itself as
	// Assistant.
	Agents Agents
}

// Service implements protocol.AgentService.
type Service struct {
	sessions Sessions
	runs     Runs
	agents   Agents
}

var _ protocol.AgentService = (*Service)(nil)

// New returns the service.
func New(cfg Config) (*Service, error) {
	if cfg.Sessions == nil || cfg.Runs == nil {
		return nil, errors.New("agent: sessions and runs are required")
	}
	if cfg.Agents == nil {
		cfg.Agents = solo{}
	}
	return &Service{sessions: cfg.Sessions, runs: cfg.Runs, agents: cfg.Agents}, nil
}

// solo is a gateway with one agent.
type solo struct{}

func (solo) DefaultID() string       { return "main" }
func (solo) Exists(id string) bool   { return session.NormalizeAgentID(id) == "main" }
func (solo) Present(string) Identity { return Identity{Name: "Assistant", Avatar: "A"} }
