// Package turn runs agent turns. Whatever asks for a turn (chat.send, agent,
// tasks.submit) goes through Runs: it makes a durable task of it (pkg/task), together
// with the user's message, waits for the task to be leased, drives the backend, streams
// the agent and chat events, stores the reply and ends the run with exactly one
// terminal event.
//
// What was acknowledged happens. The task of a run, with its idempotency key, the hash
// of its params and its input, is stored in the transaction that stores the user's
// message, and its end in the transaction that stores the reply, before the terminal
// event. After a crash a run without a stored reply therefore begins again from its
// stored input, without a second user message; one that has left words in the
// transcript is closed with what they say; and its key answers with that one outcome
// for as long as the engine keeps it. A run that was under way at attemptsMax crashes
// in a row is closed as interrupted, because it may be their cause.
//
// The engine says whose turn it is: the runs of a session are serial, in the order in
// which they were accepted. A task that somebody submitted without Start (tasks.submit)
// is taken by Run when its turn comes, and its question is stored when it begins. When
// a task is ended from elsewhere (tasks.cancel, a deadline), its run is aborted.
//
// A graceful stop is the same promise kept politely. A run that has said something
// ends as an error there and then, its words stored with it: half an answer must
// not be followed by another whole one. A run that has said nothing is left for the
// next start. Its clients see no terminal event before the shutdown event; those
// that wait for an answer are told UNAVAILABLE with SHUTTING_DOWN, and after the
// restart they see the run from its first event, numbered from 1, and then its one
// terminal event. What a client may have seen before a crash was not stored, so the
// same holds there. Only a full disk bends the rule: an outcome that cannot be
// written is told all the same and written later, and if the gateway dies before
// that, the run begins again.
//
// The rule that surprises: a turn is accepted, then released. Start only accepts;
// nothing of the turn is emitted before its owner calls Release, so that the
// acknowledgement reaches the client ahead of the first event.
//
// Locking: Runs.mu guards the registry and the registry's view of each run. A
// run's stream state belongs to its one goroutine, which is also the only one
// that emits for it. No store access, backend call or event happens under mu. A
// session that is being reset or deleted is held: requests for it wait, without mu,
// until that is over.
package turn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task"
	"github.com/coderclaw/gateway/pkg/wire"
)

// The limits that a zero Config field stands for.
const (
	runsMaxDefault        = 256
	sessionRunsMaxDefault = 32
	inputBytesMaxDefault  = 256 << 20
	resumeMaxDefault      = 4
	adoptMaxDefault       = 16
	drainTimeoutDefault   = 10 * time.Second
)

// sweepEvery is the time between two looks for outcomes that are still to be written.
const sweepEvery = time.Minute

// Store is what Runs needs of the database. *store.DB is one.
type Store interface {
	View(fn func(*store.Tx) error) error
	Update(ctx context.Context, fn func(*store.Tx) error) error
}

// Sessions is what Runs needs of the session store. *session.Sessions is one. The
// functions that take a transaction take one of Config.DB.
type Sessions interface {
	Get(key string) (session.Entry, bool, error)
	List() ([]session.Entry, error)
	AppendTx(tx *store.Tx, key string, upd func(*session.Entry), msgs ...session.Message) (session.Entry, []session.Message, error)
	History(key string, limit int) ([]session.Message, error)
	AppendCompaction(ctx context.Context, key string, kept, m session.Message) error
	Patch(ctx context.Context, key string, fn func(*session.Entry) error) (session.Entry, error)
	ResetTx(tx *store.Tx, key string) (session.Entry, error)
	MainKey() string
	Notes() ([]session.Note, error)
	DropNotesTx(tx *store.Tx, notes []session.Note) error
}

// Config says what Runs works with. DB, Tasks, Sessions, Backend, Emitter and Log are
// required.
type Config struct {
	// DB is the database that Sessions and Tasks are in.
	DB Store
	// Tasks is the engine of which every run is a task. It outlives Runs.
	Tasks    task.Engine
	Sessions Sessions
	Backend  agent.Backend
	Emitter  wire.Emitter
	Log      *slog.Logger
	// Version is the program's version, shown by /status.
	Version string
	// ContextTokens is the window of a Backend that is no agent.Chooser; 0 when it is
	// not known.
	ContextTokens int64
	// Timeout is how long a turn may take whose request does not say; nil means 10
	// minutes.
	Timeout func() time.Duration
	// RunsMax limits the runs that are queued or running, over all sessions.
	RunsMax int
	// SessionRunsMax limits the runs that are queued or running in one session.
	SessionRunsMax int
	// InputBytesMax limits the messages and images of these runs together.
	InputBytesMax int
	// ResumeMax limits the turns left by an earlier life that run at once.
	ResumeMax int
	// ResumeAfter is how long after its start Run begins what an earlier life has left,
	// so that its clients are back before the first event; 0 is at once. Without
	// anything left, nothing waits.
	ResumeAfter time.Duration
	// AdoptMax limits the turns of submitted tasks that run at once; the others wait in
	// the engine, where their priority counts.
	AdoptMax int
	// DrainTimeout is how long Close waits for cancelled turns to end.
	DrainTimeout time.Duration
}

// Runs is the registry of agent turns. All methods are safe for concurrent use.
type Runs struct {
	db            Store
	tasks         task.Engine
	sessions      Sessions
	backend       agent.Backend
	emitter       wire.Emitter
	log           *slog.Logger
	version       string
	contextTokens int64
	timeout       func() time.Duration
	startedAt     time.Time
	runsMax       int
	sessionMax    int
	inputMax      int64
	drainTimeout  time.Duration
	resumeAfter   time.Duration
	resumeSlots   chan struct{} // holds a token for each resumed turn that runs
	adoptSlots    chan struct{} // the same for each task that was taken

	// base is the lifetime of every run; stop ends it with a cause.
	base context.Context
	stop context.CancelCauseFunc
	wg   sync.WaitGroup

	mu         sync.Mutex // guards the fields below
	closed     bool
	known      map[task.Key]*Run        // accepted, and something of it left in memory
	byID       map[string]*Run          // the newest of known for each run id
	resumable  []*Run                   // left by an earlier life and not yet begun
	unsaved    []*Run                   // ended, with an outcome that the disk refused
	active     map[string][]*Run        // by canonical session key: accepted and not yet done
	total      int                      // how many runs active holds
	inputBytes int64                    // what their inputs take
	holds      map[string]chan struct{} // by canonical session key: closed when new runs may begin again
	arrivals   map[string]*arrival      // by run id: who waits for a run that is not known yet
}

// New returns a registry that has started nothing. It reads which runs an earlier
// life has left; they take their places in line, and Run begins them.
func New(cfg Config) (*Runs, error) {
	switch {
	case cfg.DB == nil:
		return nil, errors.New("turn: no database")
	case cfg.Tasks == nil:
		return nil, errors.New("turn: no task engine")
	case cfg.Sessions == nil:
		return nil, errors.New("turn: no session store")
	case cfg.Backend == nil:
		return nil, errors.New("turn: no agent backend")
	case cfg.Emitter == nil:
		return nil, errors.New("turn: no emitter")
	case cfg.Log == nil:
		return nil, errors.New("turn: no logger")
	}
	base, stop := context.WithCancelCause(context.Background())
	r := &Runs{
		db:            cfg.DB,
		tasks:         cfg.Tasks,
		sessions:      cfg.Sessions,
		backend:       cfg.Backend,
		emitter:       cfg.Emitter,
		log:           cfg.Log,
		version:       cfg.Version,
		contextTokens: cfg.ContextTokens,
		timeout:       cfg.Timeout,
		startedAt:     time.Now(),
		runsMax:       orDefault(cfg.RunsMax, runsMaxDefault),
		sessionMax:    orDefault(cfg.SessionRunsMax, sessionRunsMaxDefault),
		inputMax:      int64(orDefault(cfg.InputBytesMax, inputBytesMaxDefault)),
		drainTimeout:  orDefault(cfg.DrainTimeout, drainTimeoutDefault),
		resumeAfter:   cfg.ResumeAfter,
		resumeSlots:   make(chan struct{}, orDefault(cfg.ResumeMax, resumeMaxDefault)),
		adoptSlots:    make(chan struct{}, orDefault(cfg.AdoptMax, adoptMaxDefault)),
		base:          base,
		stop:          stop,
		known:         map[task.Key]*Run{},
		byID:          map[string]*Run{},
		active:        map[string][]*Run{},
		holds:         map[string]chan struct{}{},
		arrivals:      map[string]*arrival{},
	}
	if r.timeout == nil {
		r.timeout = func() time.Duration { return timeoutDefault }
	}
	if err := r.load(); err != nil {
		return nil, fmt.Errorf("read the runs that were left: %w", err)
	}
	return r, nil
}

// orDefault returns v, or def when v is not positive.
func orDefault[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// Run begins the runs that an earlier life has left, takes the tasks that somebody
// submits, and blocks until ctx ends or Close is called. It returns what Close returns.
func (r *Runs) Run(ctx context.Context) error {
	var adopting sync.WaitGroup
	defer adopting.Wait()
	begin := func() {
		r.resume()
		adopting.Go(func() { r.adopt(ctx) })
	}
	var later <-chan time.Time
	if r.resumeAfter > 0 && r.interrupted(ctx) {
		later = time.After(r.resumeAfter)
	} else {
		begin()
	}
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		r.saveOutcomes(ctx)
		select {
		case <-later:
			begin()
		case <-tick.C:
		case <-ctx.Done():
			return r.Close()
		case <-r.base.Done():
			return r.Close()
		}
	}
}

// Close refuses new runs, cancels those in flight and waits for them: those that
// have said something store it and emit their terminal event, the others are left
// for the next start. It returns an error when a backend ignores its cancellation
// for longer than DrainTimeout. Calling it again waits again.
func (r *Runs) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.stop(errShutdown)
	r.launch(false)

	drained := make(chan struct{})
	go func() {
		r.wg.Wait()
		close(drained)
	}()
	timer := time.NewTimer(r.drainTimeout)
	defer timer.Stop()
	select {
	case <-drained:
		r.saveOutcomes(context.Background())
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
	n := 0
	for _, run := range r.active[sessionKey] {
		if !run.isCommand {
			n++
		}
	}
	if n == 0 {
		return 0, 0
	}
	return 1, n - 1
}
