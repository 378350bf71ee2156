package chat

import (
	"context"
	"crypto/sha256"
	"strings"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/turn"
	"github.com/coderclaw/gateway/pkg/wire"
)

// ChatSend accepts a message. The checks come in the original's order: what the
// message is, whether the session takes messages, stop words, then the key.
func (s *Service) ChatSend(ctx context.Context, peer *wire.Peer, params protocol.ChatSendParams) (protocol.ChatSendResult, error) {
	key, err := s.key(protocol.MethodChatSend.Name, params.SessionKey)
	if err != nil {
		return protocol.ChatSendResult{}, err
	}
	message, images, err := content(params)
	if err != nil {
		return protocol.ChatSendResult{}, err
	}
	entry, _, err := s.sessions.Get(key.Full)
	if err != nil {
		return protocol.ChatSendResult{}, err
	}
	if entry.SendPolicy == turn.SendPolicyDeny {
		return protocol.ChatSendResult{}, wire.Errorf(protocol.ErrorInvalidRequest, "send blocked by session policy")
	}
	if turn.IsStop(message) {
		ids, err := s.runs.AbortSession(ctx, key.Full, turn.StopCommand)
		if err != nil {
			return protocol.ChatSendResult{}, err
		}
		return protocol.ChatSendResult{ChatAbortResult: aborted(ids)}, nil
	}
	if s.agents != nil && !s.agents.Exists(key.AgentID) {
		return protocol.ChatSendResult{}, wire.Errorf(protocol.ErrorInvalidRequest, "unknown agent id %q", key.AgentID)
	}
	run, replayed, err := s.runs.Start(ctx, request(peer, params, key, message, images))
	if err != nil {
		return protocol.ChatSendResult{}, err
	}
	status := protocol.ChatRunStatus{RunID: run.ID(), Status: protocol.ChatRunStateStarted}
	if replayed {
		status.Status, status.Summary = replay(run)
	} else {
		wire.AfterReply(ctx, run.Release)
	}
	return protocol.ChatSendResult{ChatRunStatus: &status}, nil
}

// content returns what the message says, cleaned, with its images.
func content(params protocol.ChatSendParams) (string, []session.Image, error) {
	message, err := turn.CleanMessage(params.Message)
	if err != nil {
		return "", nil, err
	}
	images, err := turn.Attachments(params.Attachments)
	if err != nil {
		return "", nil, err
	}
	if strings.TrimSpace(message) == "" && len(images) == 0 {
		return "", nil, wire.Errorf(protocol.ErrorInvalidRequest, "message or attachment required")
	}
	return message, images, nil
}

// request is the run that a message asks for.
func request(peer *wire.Peer, params protocol.ChatSendParams, key session.Key, message string, images []session.Image) turn.Request {
	req := turn.Request{
		Principal:     peer.Principal,
		Namespace:     turn.NamespaceChat,
		Key:           params.IdempotencyKey,
		ParamsHash:    sha256.Sum256(params.AppendJSON(nil)),
		SessionKey:    key.Full,
		RawSessionKey: params.SessionKey,
		AgentID:       key.AgentID,
		Message:       message,
		Images:        images,
		Timeout:       time.Duration(min(params.TimeoutMs.Or(0), timeoutMsMax)) * time.Millisecond,
		ToolConnID:    turn.ToolConnID(peer),
		Touch:         touch,
	}
	// The original puts "/think <level>" before the text, unless it is a command.
	if !strings.HasPrefix(message, "/") {
		req.Thinking = turn.Thinking(params.Thinking.Or(""))
	}
	return req
}

// timeoutMsMax keeps a client's timeout within what a Duration holds; the run's
// own limit is far below.
const timeoutMsMax = int64(7 * 24 * time.Hour / time.Millisecond)

// surface is how sessions name the way chat.send comes in.
const surface = "webchat"

// touch notes on the session where the message came from.
func touch(e *session.Entry) {
	e.LastChannel = surface
	e.Delivery = &session.Delivery{Channel: surface}
	if e.ChatType == "" {
		e.ChatType = "direct"
	}
	if e.Origin == nil {
		e.Origin = &session.Origin{Provider: surface, Surface: surface, ChatType: "direct"}
	}
}

// replay is the answer to a key that was used before. An aborted run counts as
// answered, as with the original.
func replay(run *turn.Run) (status protocol.ChatRunState, summary wire.Opt[string]) {
	out, ended := run.Outcome()
	switch {
	case !ended:
		return protocol.ChatRunStateInFlight, summary
	case out.State == turn.StateError:
		return protocol.ChatRunStateError, wire.Some(out.Error)
	}
	return protocol.ChatRunStateOk, summary
}
