// Package agents answers agents.list: which agents the gateway has, which of them
// is meant when a request names none, and what the main session is called.
//
// The list is settled when the service is made; agents cannot be added while the
// gateway runs.
package agents

import (
	"context"
	"fmt"
	"slices"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// Config is what the service tells.
type Config struct {
	// DefaultID is the agent that is meant when a request names none.
	DefaultID string
	// MainKey is the short name of the main session, "main"; not the whole key.
	MainKey string
	// Agents are the agents; nil means one, with DefaultID and nothing else.
	Agents []protocol.AgentSummary
}

// Service implements protocol.AgentsService.
type Service struct {
	result protocol.AgentsListResult
}

var _ protocol.AgentsService = (*Service)(nil)

// New returns a service for cfg. It refuses a list without the default agent and
// one that has an id twice.
func New(cfg Config) (*Service, error) {
	if cfg.DefaultID == "" || cfg.MainKey == "" {
		return nil, fmt.Errorf("agents need a default id and a main session's name")
	}
	agents := slices.Clone(cfg.Agents)
	if agents == nil {
		agents = []protocol.AgentSummary{{ID: cfg.DefaultID}}
	}
	seen := map[string]bool{}
	for _, a := range agents {
		if a.ID == "" || seen[a.ID] {
			return nil, fmt.Errorf("agent id %q is empty or there twice", a.ID)
		}
		seen[a.ID] = true
	}
	if !seen[cfg.DefaultID] {
		return nil, fmt.Errorf("default agent %q is not among the agents", cfg.DefaultID)
	}
	slices.SortStableFunc(agents, func(a, b protocol.AgentSummary) int { // the default one first, the rest as configured
		return rank(b.ID == cfg.DefaultID) - rank(a.ID == cfg.DefaultID)
	})
	return &Service{result: protocol.AgentsListResult{
		DefaultID: cfg.DefaultID,
		MainKey:   cfg.MainKey,
		Scope:     protocol.SessionScopePerSender,
		Agents:    agents,
	}}, nil
}

func rank(first bool) int {
	if first {
		return 1
	}
	return 0
}

// AgentsList handles agents.list.
func (s *Service) AgentsList(context.Context, *wire.Peer, protocol.AgentsListParams) (protocol.AgentsListResult, error) {
	result := s.result
	result.Agents = slices.Clone(result.Agents)
	return result, nil
}
