package agent

import (
	"context"
	"strings"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
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
		id = s.agents.DefaultID()
	}
	if !s.agents.Exists(id) {
		return protocol.AgentIdentityResult{AgentID: id}, nil
	}
	who := s.agents.Present(id)
	return protocol.AgentIdentityResult{
		AgentID: session.NormalizeAgentID(id),
		Name:    present(who.Name),
		Avatar:  present(who.Avatar),
		Emoji:   present(who.Emoji),
	}, nil
}

// present is a member that is absent when there is nothing to say.
func present(s string) wire.Opt[string] {
	if s == "" {
		return wire.Opt[string]{}
	}
	return wire.Some(s)
}
