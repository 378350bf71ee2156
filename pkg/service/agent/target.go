package agent

import (
	"slices"
	"strings"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// mainRest is the rest of an agent's main session key; the session store resolves
// it to the configured one.
const mainRest = "main"

// channelIDs are the channels a request may name although none is loaded:
// existing clients send their default channel with every turn.
var channelIDs = [...]string{"last", "webchat", "whatsapp", "telegram", "discord", "slack", "signal", "imessage"}

// target is the session that a request means.
type target struct {
	key session.Key
	raw string // what the client called it
}

// checkChannels refuses a channel that nobody knows.
func checkChannels(params protocol.AgentParams) error {
	for _, channel := range []wire.Opt[string]{params.Channel, params.ReplyChannel} {
		name := strings.TrimSpace(channel.Or(""))
		if name != "" && !slices.Contains(channelIDs[:], strings.ToLower(name)) {
			return wire.Errorf(protocol.ErrorInvalidRequest, "invalid agent params: unknown channel: %s", name)
		}
	}
	return nil
}

// target finds the session that a request means: the one it names by key, by
// transcript id, by agent, or by the person's address, in this order. ok is false
// when it names none.
func (s *Service) target(params protocol.AgentParams) (t target, ok bool, err error) {
	method := protocol.MethodAgent.Name
	agentID := strings.TrimSpace(params.AgentID.Or(""))
	if agentID != "" {
		if err := s.known(agentID); err != nil {
			return target{}, false, err
		}
		agentID = session.NormalizeAgentID(agentID)
	}
	if raw := strings.TrimSpace(params.SessionKey.Or("")); raw != "" {
		key, err := s.sessionOf(method, raw, agentID)
		if err == nil {
			err = s.known(key.AgentID)
		}
		return target{key, raw}, err == nil, err
	}
	if id := strings.TrimSpace(params.SessionID.Or("")); id != "" {
		t, err := s.byID(id)
		if err == nil {
			err = s.known(t.key.AgentID)
		}
		return t, err == nil, err
	}
	switch to := strings.TrimSpace(params.To.Or("")); {
	case agentID != "":
	case to != "":
		agentID = s.agents.DefaultID() // direct messages of all people share the main session
	default:
		return target{}, false, nil
	}
	raw := "agent:" + agentID + ":" + mainRest
	key, err := s.sessions.Canonical(raw)
	return target{key, raw}, err == nil, err
}

// known refuses an agent that does not exist, or does not any more.
func (s *Service) known(agentID string) error {
	if s.agents.Exists(agentID) {
		return nil
	}
	return wire.Errorf(protocol.ErrorInvalidRequest, "invalid agent params: unknown agent id %q", agentID)
}

// sessionOf returns the canonical key of a session, which must belong to the
// agent when one is named.
func (s *Service) sessionOf(method, raw, agentID string) (session.Key, error) {
	key, err := s.sessions.Canonical(raw)
	if err != nil {
		return key, wire.Errorf(protocol.ErrorInvalidRequest, "invalid %s params: malformed session key %q", method, raw)
	}
	if agentID != "" && key.AgentID != agentID {
		return key, wire.Errorf(protocol.ErrorInvalidRequest,
			"invalid %s params: agent %q does not match session key agent %q", method, agentID, key.AgentID)
	}
	return key, nil
}

// byID returns the session whose transcript has the id. An id that no transcript
// has is taken as a key: the original's CLI says `--session-id main`, and a new
// name begins a session under which the next turn finds it again.
func (s *Service) byID(id string) (target, error) {
	entry, ok, err := s.sessions.FindByID(id)
	if err != nil {
		return target{}, err
	}
	raw := id
	if ok {
		raw = entry.Key
	}
	key, err := s.sessionOf(protocol.MethodAgent.Name, raw, "")
	return target{key, raw}, err
}
