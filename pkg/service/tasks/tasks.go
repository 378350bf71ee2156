// Package tasks answers the tasks methods: it submits tasks to the engine, shows
// them and their histories, ends them, does them once more, and tells watchers what
// happens.
//
// It keeps no task: pkg/task has the rules and its engine the records. Its own are
// the watches of the connections that are open.
//
// The rule that surprises: tasks.watch answers with the stored events first, a page
// at a time, and is live only when the watcher has them all. What is old is thus
// pulled at the watcher's pace, and only what is new is pushed.
package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/task"
	"github.com/coderclaw/gateway/pkg/transport"
	"github.com/coderclaw/gateway/pkg/wire"
)

// Engine is what the service needs of the task engine beside its transport. Every
// task.Engine is one.
type Engine interface {
	ByRunID(ctx context.Context, runID string) (task.Task, error)
	Head() task.Cursor
}

// Sessions is what the service needs of the session store.
type Sessions interface {
	Canonical(raw string) (session.Key, error)
	FindByID(sessionID string) (session.Entry, bool, error)
}

// Agents knows which agents there are.
type Agents interface {
	Exists(id string) bool
}

// Config says what the service works with. Log and Agents may be nil; the rest is required.
type Config struct {
	// Transport carries requests to the engine.
	Transport transport.Adapter
	Engine    Engine
	Sessions  Sessions
	// Agents refuses tasks for agents that do not exist; nil takes all.
	Agents  Agents
	Emitter wire.Emitter
	Log     *slog.Logger
	// DefaultAgentID does what names no agent and no session.
	DefaultAgentID func() string
	// CheckModel tells, for people, why a model cannot be asked; nil takes any.
	CheckModel func(name string) error
}

// Service implements protocol.TasksService. It is safe for concurrent use.
type Service struct {
	Config
	mu      sync.Mutex
	watches map[string]map[string]*watch // by connection, then by id
	closed  bool
	running sync.WaitGroup
}

var _ protocol.TasksService = (*Service)(nil)

// New returns the service.
func New(cfg Config) (*Service, error) {
	if cfg.Transport == nil || cfg.Engine == nil || cfg.Sessions == nil || cfg.Emitter == nil || cfg.DefaultAgentID == nil {
		return nil, errors.New("tasks: transport, engine, sessions, emitter and default agent are required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{Config: cfg, watches: map[string]map[string]*watch{}}, nil
}

// refusal turns an error of the engine into what the caller is told.
func refusal(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(unknownTask)):
		return detailed(protocol.DetailTaskNotFound, "%s", err)
	case errors.Is(err, task.ErrNotFound):
		return detailed(protocol.DetailTaskNotFound, "unknown taskId")
	case errors.Is(err, task.ErrExists):
		return detailed(protocol.DetailIdempotencyConflict, "idempotencyKey was used before with other params")
	case errors.Is(err, task.ErrConflict):
		return detailed(protocol.DetailRunConflict, "%s", err)
	case errors.Is(err, task.ErrInvalid):
		return detailed(protocol.DetailInvalidParams, "%s", err)
	case errors.Is(err, task.ErrGone):
		return detailed(protocol.DetailEventsGone, "%s", err)
	case errors.Is(err, task.ErrFull):
		return later(protocol.DetailTooManyRequests, err)
	case errors.Is(err, task.ErrUnavailable):
		return later(protocol.DetailShuttingDown, err)
	}
	return err
}

// detailed is INVALID_REQUEST with a finer code.
func detailed(code, format string, args ...any) *wire.Error {
	return wire.Errorf(protocol.ErrorInvalidRequest, format, args...).WithDetails(details(code))
}

// retryAfterMs is when to come again after a refusal that says so.
const retryAfterMs = 1000

// later is UNAVAILABLE with a finer code and the advice to come again.
func later(code string, err error) *wire.Error {
	e := wire.Errorf(protocol.ErrorUnavailable, "%s", err).WithDetails(details(code))
	retryable, after := true, int64(retryAfterMs)
	e.Retryable, e.RetryAfterMs = &retryable, &after
	return e
}

func details(code string) []byte {
	return protocol.ErrorDetails{Code: wire.Some(code), RecommendedNextStep: wire.Some(protocol.DetailNextStep(code))}.AppendJSON(nil)
}

// sessionKey returns the session that a client names by key or by transcript id.
func (s *Service) sessionKey(raw string) (session.Key, error) {
	entry, ok, err := s.Sessions.FindByID(raw)
	if err != nil {
		return session.Key{}, err
	}
	if ok {
		raw = entry.Key
	}
	key, err := s.Sessions.Canonical(raw)
	if err != nil {
		return session.Key{}, detailed(protocol.DetailInvalidParams, "sessionId: %s", err)
	}
	return key, nil
}

// resolve returns the task that an id or a run id names.
func (s *Service) resolve(ctx context.Context, id string) (task.Task, error) {
	t, err := s.Transport.Get(ctx, id)
	if errors.Is(err, task.ErrNotFound) {
		t, err = s.Engine.ByRunID(ctx, id)
	}
	if errors.Is(err, task.ErrNotFound) {
		return task.Task{}, unknownTask(id)
	}
	if err != nil {
		return task.Task{}, fmt.Errorf("task %q: %w", id, err)
	}
	return t, nil
}

// unknownTask is an id that names no task. It is task.ErrNotFound.
type unknownTask string

// Error names the id, of which a request may hold several.
func (u unknownTask) Error() string { return fmt.Sprintf("unknown taskId %q", string(u)) }

// Unwrap returns task.ErrNotFound.
func (u unknownTask) Unwrap() error { return task.ErrNotFound }
