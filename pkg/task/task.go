// Package task runs agent turns. Whatever asks for a turn (chat.send, agent)
// goes through Runs: it remembers the idempotency key, stores the user's
// message, waits for the session's turn, drives the backend, streams the agent
// and chat events, stores the reply and ends the run with exactly one terminal
// event.
//
// Runs are held in memory until the durable engine takes over: a restart forgets
// keys, queued turns and turns in flight. What people said and what was answered
// is on disk: the user's message before the request is acknowledged, the reply
// (or the part of it that an abort left) before the event that tells of it.
//
// The rule that surprises: a turn is accepted, then released. Start only accepts;
// nothing of the turn is emitted before its owner calls Release, so that the
// acknowledgement reaches the client ahead of the first event.
//
// Locking: Runs.mu guards the registry and the registry's view of each run. A
// run's stream state belongs to its one goroutine, which is also the only one
// that emits for it. No store access, backend call or event happens under mu.
package task

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// The limits that a zero Config field stands for.
const (
	runsMaxDefault        = 256
	sessionRunsMaxDefault = 32
	dedupeBytesMaxDefault = 16 << 20
	dedupeTTLDefault      = 24 * time.Hour
	drainTimeoutDefault   = 10 * time.Second
)

// Sessions is what Runs needs of the session store. *session.Sessions is one.
type Sessions interface {
	Get(key string) (session.Entry, bool, error)
	List() ([]session.Entry, error)
	Append(ctx context.Context, key string, upd func(*session.Entry), msgs ...session.Message) (session.Entry, []session.Message, error)
	History(key string, limit int) ([]session.Message, error)
	Patch(ctx context.Context, key string, fn func(*session.Entry) error) (session.Entry, error)
	Reset(ctx context.Context, key string) (session.Entry, error)
	MainKey() string
	TakeNotes(ctx context.Context) ([]session.Note, error)
}

// Config says what Runs works with. Sessions, Backend, Emitter and Log are
// required.
type Config struct {
	Sessions Sessions
	Backend  agent.Backend
	Emitter  wire.Emitter
	Log      *slog.Logger
	// Version is the program's version, shown by /status.
	Version string
	// ContextTokens is the size of the model's window that sessions show; 0 when
	// it is not known.
	ContextTokens int64
	// RunsMax limits the runs that are queued or running, over all sessions.
	RunsMax int
	// SessionRunsMax limits the runs that are queued or running in one session.
	SessionRunsMax int
	// DedupeTTL is how long the outcome of a finished run answers its key.
	DedupeTTL time.Duration
	// DedupeBytesMax limits the memory of remembered outcomes, in bytes; the
	// oldest finished ones are forgotten first, runs in flight never.
	DedupeBytesMax int
	// DrainTimeout is how long Close waits for cancelled turns to end.
	DrainTimeout time.Duration
}

// Runs is the registry of agent turns. All methods are safe for concurrent use.
type Runs struct {
	sessions      Sessions
	backend       agent.Backend
	emitter       wire.Emitter
	log           *slog.Logger
	version       string
	contextTokens int64
	startedAt     time.Time
	runsMax       int
	sessionMax    int
	drainTimeout  time.Duration

	// base is the lifetime of every run; stop ends it with a cause.
	base context.Context
	stop context.CancelCauseFunc
	wg   sync.WaitGroup

	mu       sync.Mutex // guards the fields below
	closed   bool
	dedupe   dedupe
	active   map[string][]*Run   // by canonical session key: accepted and not yet done
	total    int                 // how many runs active holds
	lanes    map[string][]*Run   // by canonical session key: the turns in line, the head running
	arrivals map[string]*arrival // by run id: who waits for a run that is not known yet
}

// New returns a registry that has started nothing.
func New(cfg Config) (*Runs, error) {
	switch {
	case cfg.Sessions == nil:
		return nil, errors.New("task: no session store")
	case cfg.Backend == nil:
		return nil, errors.New("task: no agent backend")
	case cfg.Emitter == nil:
		return nil, errors.New("task: no emitter")
	case cfg.Log == nil:
		return nil, errors.New("task: no logger")
	}
	base, stop := context.WithCancelCause(context.Background())
	return &Runs{
		sessions:      cfg.Sessions,
		backend:       cfg.Backend,
		emitter:       cfg.Emitter,
		log:           cfg.Log,
		version:       cfg.Version,
		contextTokens: cfg.ContextTokens,
		startedAt:     time.Now(),
		runsMax:       orDefault(cfg.RunsMax, runsMaxDefault),
		sessionMax:    orDefault(cfg.SessionRunsMax, sessionRunsMaxDefault),
		drainTimeout:  orDefault(cfg.DrainTimeout, drainTimeoutDefault),
		base:          base,
		stop:          stop,
		dedupe: dedupe{
			records:  map[recordKey]*Run{},
			byID:     map[string]*Run{},
			ttl:      orDefault(cfg.DedupeTTL, dedupeTTLDefault),
			bytesMax: orDefault(cfg.DedupeBytesMax, dedupeBytesMaxDefault),
		},
		active:   map[string][]*Run{},
		lanes:    map[string][]*Run{},
		arrivals: map[string]*arrival{},
	}, nil
}

// orDefault returns v, or def when v is not positive.
func orDefault[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// Run blocks until ctx ends, then closes the registry.
func (r *Runs) Run(ctx context.Context) error {
	<-ctx.Done()
	return r.Close()
}

// Close refuses new runs, cancels those in flight and waits for them: each
// stores what its reply had come to and emits its terminal event. It returns an
// error when a backend ignores its cancellation for longer than DrainTimeout.
// Calling it again waits again.
func (r *Runs) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.stop(errShutdown)

	drained := make(chan struct{})
	go func() {
		r.wg.Wait()
		close(drained)
	}()
	timer := time.NewTimer(r.drainTimeout)
	defer timer.Stop()
	select {
	case <-drained:
		return nil
	case <-timer.C:
		r.mu.Lock()
		left := r.total
		r.mu.Unlock()
		return fmt.Errorf("%d agent runs did not end within %s", left, r.drainTimeout)
	}
}

// inLine tells how many turns of a session run (one at most) and how many wait.
func (r *Runs) inLine(sessionKey string) (running, queued int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.lanes[sessionKey])
	if n == 0 {
		return 0, 0
	}
	return 1, n - 1
}
