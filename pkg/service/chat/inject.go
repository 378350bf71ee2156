package chat

import (
	"context"
	"strings"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/turn"
	"github.com/coderclaw/gateway/pkg/wire"
)

// injectRunPrefix begins the run id of words that no run said.
const injectRunPrefix = "inject-"

// ChatInject adds words to an existing conversation as the assistant's, without a
// run. The event goes out before the answer.
func (s *Service) ChatInject(ctx context.Context, _ *wire.Peer, params protocol.ChatInjectParams) (protocol.ChatInjectResult, error) {
	key, err := s.key(protocol.MethodChatInject.Name, params.SessionKey)
	if err != nil {
		return protocol.ChatInjectResult{}, err
	}
	if _, ok, err := s.sessions.Get(key.Full); err != nil {
		return protocol.ChatInjectResult{}, err
	} else if !ok {
		return protocol.ChatInjectResult{}, wire.Errorf(protocol.ErrorInvalidRequest, "session not found").
			WithDetails(turn.Details(protocol.DetailSessionNotFound))
	}
	text := params.Message
	if label := strings.TrimSpace(params.Label.Or("")); label != "" {
		text = "[" + label + "]\n\n" + text
	}
	_, stored, err := s.sessions.Append(ctx, key.Full, nil, turn.InjectedMessage(text))
	if err != nil {
		return protocol.ChatInjectResult{}, wire.Errorf(protocol.ErrorUnavailable, "failed to write transcript: %s", err)
	}
	message := stored[0]
	wire.Emit(s.emitter, protocol.EventChat, protocol.ChatEvent{
		RunID:      injectRunPrefix + message.ID,
		SessionKey: params.SessionKey,
		Seq:        0,
		State:      protocol.ChatStateFinal,
		Message:    turn.InjectedChatMessage(message).AppendJSON(nil),
	})
	return protocol.ChatInjectResult{Ok: true, MessageID: message.ID}, nil
}
