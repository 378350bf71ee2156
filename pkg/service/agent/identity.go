package agent

import (
	"context"
	"strings"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// AgentIdentityGet tells who an agent is: the one named, else the session's, else
// the default one. An agent that does not exist has its id and nothing else.
func (s *Service) AgentIdentityGet(_ context.Context, _ *wire.Peer, params protocol.AgentIdentityParams) (protocol.AgentIdentityResult, error) {
	id := strings.TrimSpace(params.AgentID.Or(""))
	if raw := strings.TrimSpace(params.SessionKey.Or("")); raw != "" {
		key, err := s.sessionOf(protocol.MethodAgentIdentityGet.Name, raw, id)
		if err != nil {
			return protocol.AgentIdentityResult{}, err
		}
		id = key.AgentID
	}
	if id == "" {
		id = s.agents[0].ID
	}
	a, ok := s.find(id)
	if !ok {
		a = Identity{ID: id}
	}
	return protocol.AgentIdentityResult{
		AgentID: a.ID,
		Name:    present(a.Name),
		Avatar:  present(a.Avatar),
		Emoji:   present(a.Emoji),
	}, nil
}

// present is a member that is absent when there is nothing to say.
func present(s string) wire.Opt[string] {
	if s == "" {
		return wire.Opt[string]{}
	}
	return wire.Some(s)
}
