// Package chat answers the chat.* methods: it reads a conversation for a screen,
// sends a person's message, aborts what answers it, and adds words without a run.
//
// It decides what may be sent and how history is cut; who runs a turn, in which
// order and with which events is the business of pkg/turn, and what is kept is
// that of pkg/session. It never asks a model.
//
// The rule that surprises: a stop word ("stop", "esc", "/stop") is not a message.
// It is obeyed before the idempotency key is looked at, so sending it twice stops
// twice.
//
// The service has no state of its own.
package chat

import (
	"context"
	"errors"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/turn"
	"github.com/coderclaw/gateway/pkg/wire"
)

// Sessions is what the service needs of the session store.
type Sessions interface {
	Canonical(raw string) (session.Key, error)
	Get(key string) (session.Entry, bool, error)
	History(key string, limit int) ([]session.Message, error)
	Append(ctx context.Context, key string, upd func(*session.Entry), msgs ...session.Message) (session.Entry, []session.Message, error)
}

// Runs is what the service needs of the run registry.
type Runs interface {
	Start(ctx context.Context, req turn.Request) (run *turn.Run, replayed bool, err error)
	AbortRun(ctx context.Context, sessionKey, runID, reason string) (bool, error)
	AbortSession(ctx context.Context, sessionKey, reason string) ([]string, error)
}

// Agents knows which agents there are.
type Agents interface {
	Exists(id string) bool
}

// Config says what the service works with. Sessions, Runs and Emitter are required.
type Config struct {
	Sessions Sessions
	Runs     Runs
	Emitter  wire.Emitter
	// Agents refuses messages to agents that do not exist; nil takes all.
	Agents Agents
}

// Service implements protocol.ChatService.
type Service struct {
	sessions Sessions
	runs     Runs
	emitter  wire.Emitter
	agents   Agents
}

var _ protocol.ChatService = (*Service)(nil)

// New returns the service.
func New(cfg Config) (*Service, error) {
	if cfg.Sessions == nil || cfg.Runs == nil || cfg.Emitter == nil {
		return nil, errors.New("chat: sessions, runs and emitter are required")
	}
	return &Service{sessions: cfg.Sessions, runs: cfg.Runs, emitter: cfg.Emitter, agents: cfg.Agents}, nil
}

// key returns the canonical form of a key that a client sent.
func (s *Service) key(method, raw string) (session.Key, error) {
	key, err := s.sessions.Canonical(raw)
	if err != nil {
		return session.Key{}, wire.Errorf(protocol.ErrorInvalidRequest,
			"invalid %s params: malformed session key %q", method, raw)
	}
	return key, nil
}
