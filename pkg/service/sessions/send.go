package sessions

import (
	"context"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// Talk is the one way a message takes, whichever method brings it. *chat.Service is
// one.
type Talk interface {
	ChatSend(ctx context.Context, peer *wire.Peer, p protocol.ChatSendParams) (protocol.ChatSendResult, error)
	ChatAbort(ctx context.Context, peer *wire.Peer, p protocol.ChatAbortParams) (protocol.ChatAbortResult, error)
}

// SessionsSend is chat.send to a session that must exist (sessions.send): a mistyped
// key is told and does not begin a session.
func (s *Service) SessionsSend(ctx context.Context, peer *wire.Peer, p protocol.SessionsSendParams) (protocol.ChatSendResult, error) {
	k, err := s.key(protocol.MethodSessionsSend.Name, p.Key)
	if err != nil {
		return protocol.ChatSendResult{}, err
	}
	if _, ok, err := s.sessions.Get(k.Full); err != nil {
		return protocol.ChatSendResult{}, err
	} else if !ok {
		return protocol.ChatSendResult{}, detailed(wire.Errorf(protocol.ErrorInvalidRequest, "No session found: %s", p.Key), protocol.DetailSessionNotFound)
	}
	return s.talk.ChatSend(ctx, peer, protocol.ChatSendParams{
		SessionKey: p.Key, Message: p.Message, Thinking: p.Thinking, Attachments: p.Attachments,
		TimeoutMs: p.TimeoutMs, IdempotencyKey: p.IdempotencyKey,
	})
}

// SessionsAbort is chat.abort by session key (sessions.abort).
func (s *Service) SessionsAbort(ctx context.Context, peer *wire.Peer, p protocol.SessionsAbortParams) (protocol.ChatAbortResult, error) {
	if _, err := s.key(protocol.MethodSessionsAbort.Name, p.Key); err != nil {
		return protocol.ChatAbortResult{}, err
	}
	return s.talk.ChatAbort(ctx, peer, protocol.ChatAbortParams{SessionKey: p.Key, RunID: p.RunID})
}
