// Package durable is the task engine on the gateway's own store: one process, one
// file, everything that was acknowledged on disk.
//
// A change of a task is one transaction of pkg/store: the record, its events, the
// indexes, and whatever the caller writes along (task.Also). Transactions of callers
// that come at the same time share one sync. What is to be scheduled (the open tasks,
// their lines, leases and timers) is kept in memory beside that, and is brought up to
// date in the order of the commits, which the cursors of the events tell: a caller
// returns when memory knows what it did.
//
// Fencing is a fact of the record. Each claim draws an epoch that is greater than all
// before and writes it into the record; a lease writes only while its epoch stands
// there. The lock of the store makes this process the only engine on its file, so
// that leases of an earlier life are void and are taken over at once.
//
// Locking: Engine.mu guards what is in memory. No store access happens under it.
package durable

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task"
)

// The limits that a zero Config field stands for.
const (
	runningMaxDefault   = 256
	openMaxDefault      = 20_000
	leaseTTLDefault     = 30 * time.Second
	backoffDefault      = time.Second
	backoffMax          = 5 * time.Minute
	retentionDefault    = 7 * 24 * time.Hour
	keyRetentionDefault = 24 * time.Hour
	countMaxDefault     = 20_000
	bytesMaxDefault     = 128 << 20
	lagMaxDefault       = 10_000
)

// DB is what the engine needs of the database. *store.DB is one.
type DB interface {
	View(fn func(*store.Tx) error) error
	Update(ctx context.Context, fn func(*store.Tx) error) error
}

// Config says what the engine works with. DB and Log are required.
type Config struct {
	DB  DB
	Log *slog.Logger
	// RunningMax limits the tasks that are leased at a time, AgentMax those of one
	// agent (0 is no limit of its own), OpenMax those that have not ended.
	RunningMax, AgentMax, OpenMax int
	// LeaseTTL is how long a lease holds without a heartbeat.
	LeaseTTL time.Duration
	// Backoff is the delay before the first retry; it doubles up to five minutes.
	Backoff time.Duration
	// Retention is how long a tree of ended tasks is kept; CountMax and BytesMax
	// limit what is kept of ended tasks, the oldest going first.
	Retention          time.Duration
	CountMax, BytesMax int
	// KeyRetention is how long an ended task answers its idempotency key.
	KeyRetention time.Duration
	// LagMax is how many events a live watcher may be behind before it is cut off.
	LagMax int
}

// Engine is a task.Engine.
type Engine struct {
	db           DB
	log          *slog.Logger
	host         string
	agentMax     int
	openMax      int
	ttl          time.Duration
	backoff      time.Duration
	retention    time.Duration
	keyRetention time.Duration
	countMax     int64
	bytesMax     int64
	lagMax       uint64
	startedAt    time.Time
	closing      chan struct{}
	kick         chan struct{} // tells Run that an earlier timer was set

	mu         sync.Mutex // guards the fields below
	closed     bool
	next       uint64             // the cursor that is applied next
	pending    map[uint64]*change // committed, by first cursor, waiting for earlier ones
	news       chan struct{}      // closed, and made anew, when events are applied
	open       map[string]*entry
	lines      map[string]*line             // by session
	waitedFor  map[string]map[string]*entry // by the id that ends the wait
	ready      map[task.Namespace]*readyHeap
	gate       chan struct{}            // closed, and made anew, when something may be claimed
	gates      map[string]chan struct{} // the same for those who claim one task
	starved    bool                     // somebody was kept waiting by a limit
	running    int                      // leased or being claimed
	runningMax int
	byAgent    map[string]int
	timers     timerHeap
	submitted  uint64
	unhealthy  bool
}

var _ task.Engine = (*Engine)(nil)

// New reads the open tasks and returns an engine that has started nothing: it can be
// asked and given tasks, and hands them out, but time does not pass for it before Run.
func New(cfg Config) (*Engine, error) {
	switch {
	case cfg.DB == nil:
		return nil, errors.New("durable: no database")
	case cfg.Log == nil:
		return nil, errors.New("durable: no logger")
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	e := &Engine{
		db: cfg.DB, log: cfg.Log, host: host,
		runningMax: orDefault(cfg.RunningMax, runningMaxDefault), agentMax: cfg.AgentMax, openMax: orDefault(cfg.OpenMax, openMaxDefault),
		ttl: orDefault(cfg.LeaseTTL, leaseTTLDefault), backoff: orDefault(cfg.Backoff, backoffDefault),
		retention: orDefault(cfg.Retention, retentionDefault), keyRetention: orDefault(cfg.KeyRetention, keyRetentionDefault),
		countMax: int64(orDefault(cfg.CountMax, countMaxDefault)), bytesMax: int64(orDefault(cfg.BytesMax, bytesMaxDefault)),
		lagMax: uint64(orDefault(cfg.LagMax, lagMaxDefault)), startedAt: time.Now(),
		closing: make(chan struct{}), kick: make(chan struct{}, 1),
		pending: map[uint64]*change{}, news: make(chan struct{}),
		open: map[string]*entry{}, lines: map[string]*line{}, waitedFor: map[string]map[string]*entry{},
		ready: map[task.Namespace]*readyHeap{}, gate: make(chan struct{}), gates: map[string]chan struct{}{}, byAgent: map[string]int{},
	}
	if err := e.load(); err != nil {
		return nil, fmt.Errorf("read the open tasks: %w", err)
	}
	return e, nil
}

// orDefault returns v, or def when v is not positive.
func orDefault[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// load brings the open tasks into memory, in the order of their submission. A record
// that cannot be read is logged and left where it is.
func (e *Engine) load() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.db.View(func(tx *store.Tx) error {
		last, err := lastCursor(tx)
		if err != nil {
			return err
		}
		e.next = last + 1
		var recs []*record
		for row, err := range openTasks.All(tx) {
			var rec record
			ok := false
			if err == nil {
				rec, ok, err = tasks.Get(tx, row.Value)
			}
			if err != nil || !ok {
				e.log.Error("open task unreadable: it does not run", "taskId", row.Value, "err", err)
				continue
			}
			recs = append(recs, &rec)
		}
		for _, rec := range recs {
			e.setLocked(rec)
		}
		// Again, now that all are known: a task may wait for one that came later.
		for _, rec := range recs {
			e.setLocked(rec)
		}
		return nil
	})
}

// Run implements task.Engine.
func (e *Engine) Run(ctx context.Context) error {
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	e.forget(ctx)
	for {
		wait := e.fire(ctx)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-e.kick:
		case <-sweep.C:
			e.forget(ctx)
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-e.closing:
			timer.Stop()
			return nil
		}
		timer.Stop()
	}
}

// Close implements task.Engine.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	close(e.closing)
	for _, en := range e.open {
		if en.lease != nil {
			en.lease.endLocked(task.ErrFenced)
		}
	}
	return nil
}

// SetRunningMax changes how many tasks are leased at a time; 0 means the default. A
// lower limit ends nothing: it holds for the next claims.
func (e *Engine) SetRunningMax(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.runningMax = orDefault(n, runningMaxDefault)
	e.wakeStarvedLocked()
}

// Stats implements task.Engine.
func (e *Engine) Stats(ctx context.Context) (task.Stats, error) {
	if err := ctx.Err(); err != nil {
		return task.Stats{}, err
	}
	s := task.Stats{ByStatus: map[task.Status]int{}, OpenMax: e.openMax, StartedAt: e.startedAt}
	err := e.db.View(func(tx *store.Tx) error {
		t, _, err := totals.Get(tx, totalsKey)
		for status, n := range t.Ended {
			s.ByStatus[status] = n
		}
		return err
	})
	if err != nil {
		return s, unavailable(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, en := range e.open {
		s.ByStatus[en.status]++
		if en.lease != nil {
			s.Leased++
		}
		if en.status == task.Pending && (s.OldestPending.IsZero() || en.createdAt.Before(s.OldestPending)) {
			s.OldestPending = en.createdAt
		}
	}
	s.RunningMax = e.runningMax
	s.Submitted, s.Healthy = e.submitted, !e.unhealthy && !e.closed
	return s, nil
}
