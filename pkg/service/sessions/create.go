package sessions

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// madeUpPrefix begins the keys of sessions that were created without one.
const madeUpPrefix = "chat-"

// SessionsCreate begins a session before its first message (sessions.create).
func (s *Service) SessionsCreate(ctx context.Context, _ *wire.Peer, p protocol.SessionsCreateParams) (protocol.SessionsCreateResult, error) {
	k, err := s.newKey(p)
	if err != nil {
		return protocol.SessionsCreateResult{}, err
	}
	patch := protocol.SessionsPatchParams{Key: k.Full}
	if p.Label.Set {
		patch.Label = wire.OptNull[string]{V: p.Label.V, Set: true}
	}
	if p.Model.Set {
		patch.Model = wire.OptNull[string]{V: p.Model.V, Set: true}
	}
	def := s.model(k.AgentID)
	e, err := s.sessions.Create(ctx, k.Full, func(e *session.Entry) error { return s.apply(patch, k, def, e) })
	if errors.Is(err, session.ErrExists) {
		return protocol.SessionsCreateResult{}, detailed(wire.Errorf(protocol.ErrorInvalidRequest, "%s", err), protocol.DetailSessionExists)
	}
	if err != nil {
		return protocol.SessionsCreateResult{}, refusal(err)
	}
	return protocol.SessionsCreateResult{Ok: true, Key: e.Key, Entry: s.entry(&e)}, nil
}

// newKey is the key of the session to be created, made up when none is given.
func (s *Service) newKey(p protocol.SessionsCreateParams) (session.Key, error) {
	raw, agentID := strings.TrimSpace(p.Key.Or("")), strings.TrimSpace(p.AgentID.Or(""))
	if raw == "" {
		raw = madeUpPrefix + strings.ToLower(rand.Text()[:12])
	}
	if agentID == "" {
		return s.key(protocol.MethodSessionsCreate.Name, raw)
	}
	agentID = session.NormalizeAgentID(agentID)
	if !strings.HasPrefix(strings.ToLower(raw), "agent:") {
		raw = "agent:" + agentID + ":" + raw
	}
	k, err := s.key(protocol.MethodSessionsCreate.Name, raw)
	if err == nil && k.AgentID != agentID {
		return k, wire.Errorf(protocol.ErrorInvalidRequest, "key %s does not belong to agent %s: leave agentId out or give a key without agent", k.Full, agentID)
	}
	return k, err
}
