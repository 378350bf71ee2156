package durable

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task"
)

// Claim implements task.Queue.
func (e *Engine) Claim(ctx context.Context, o task.ClaimOpts) (task.Lease, error) {
	if len(o.Namespaces) == 0 {
		o.Namespaces = []task.Namespace{task.NamespaceTask}
	}
	if o.TTL <= 0 {
		o.TTL = e.Limits().LeaseTTL
	}
	var timeout <-chan time.Time
	if o.Wait > 0 {
		timer := time.NewTimer(o.Wait)
		defer timer.Stop()
		timeout = timer.C
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		en, gate, err := e.choose(&o)
		if errors.Is(err, errNotOpen) {
			err = e.notOpen(o.TaskID)
		}
		if err != nil {
			return nil, err
		}
		if en != nil {
			l, err := e.lease(ctx, en, &o)
			if err == nil {
				return l, nil
			}
			if !errors.Is(err, task.ErrTerminal) && !errors.Is(err, errGivenUp) || o.TaskID != "" {
				return nil, err
			}
			continue
		}
		select {
		case <-gate:
		case <-timeout:
			return nil, task.ErrNone
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-e.closing:
			return nil, unavailable(errClosed)
		}
	}
}

var (
	errClosed = errors.New("the engine is closed")
	// errNotOpen says that a task has ended, or never was.
	errNotOpen = errors.New("not an open task")
	// errGivenUp says that a task has failed instead of being leased once more.
	errGivenUp = fmt.Errorf("the task was given up: %w", task.ErrTerminal)
)

// choose reserves the task that a claim may have, or returns what to wait for.
func (e *Engine) choose(o *task.ClaimOpts) (*entry, <-chan struct{}, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, nil, unavailable(errClosed)
	}
	if o.TaskID == "" {
		en := e.pickLocked(o)
		if en != nil {
			h := e.ready[en.namespace]
			for i, other := range *h {
				if other == en {
					heap.Remove(h, i)
					break
				}
			}
			en.inHeap = false
			e.takeLocked(en)
		}
		return en, e.gate, nil
	}
	en, ok := e.open[o.TaskID]
	if !ok {
		return nil, nil, errNotOpen
	}
	if e.claimableLocked(en) && (o.Overtake || e.roomLocked(en)) {
		e.takeLocked(en)
		return en, nil, nil
	}
	gate, ok := e.gates[o.TaskID]
	if !ok {
		gate = make(chan struct{})
		e.gates[o.TaskID] = gate
	}
	return nil, gate, nil
}

// notOpen tells why a task cannot be claimed: it has ended, or it never was.
func (e *Engine) notOpen(id string) error {
	return e.db.View(func(tx *store.Tx) error {
		has, err := tasks.Has(tx, id)
		switch {
		case err != nil:
			return unavailable(err)
		case has:
			return fmt.Errorf("task %s: %w", id, task.ErrTerminal)
		}
		return fmt.Errorf("task %q: %w", id, task.ErrNotFound)
	})
}

// lease writes the claim of a reserved task.
func (e *Engine) lease(ctx context.Context, en *entry, o *task.ClaimOpts) (*lease, error) {
	l := &lease{e: e, en: en, worker: o.Worker, ttl: o.TTL, done: make(chan struct{})}
	givenUp := false
	err := e.update(context.WithoutCancel(ctx), func(c *change) error {
		givenUp = false
		c.lease = l
		rec, err := c.load(en.id)
		if err != nil {
			return err
		}
		if rec.Status.Terminal() {
			return fmt.Errorf("task %s is %s: %w", rec.ID, rec.Status, task.ErrTerminal)
		}
		if givenUp = rec.Status == task.Running && rec.Attempt >= rec.MaxAttempts; givenUp {
			return c.deadLetter(rec)
		}
		if rec.Epoch, err = tasks.NextSequence(c.tx); err != nil {
			return err
		}
		rec.Leased, rec.Worker, l.epoch = true, o.Worker, rec.Epoch
		if err := c.claim(rec, o); err != nil {
			return err
		}
		l.task, err = whole(c.tx, rec)
		return err
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	en.claiming = false
	if err == nil && givenUp {
		err = errGivenUp
	}
	if err != nil {
		e.releaseLocked(en)
		if e.open[en.id] == en {
			e.refreshLocked(en)
		}
		return nil, err
	}
	l.slot = true
	if e.closed || e.open[en.id] != en {
		l.endLocked(task.ErrTerminal)
		return l, nil
	}
	en.lease = l
	l.expires = time.Now().Add(l.ttl)
	e.setTimerLocked(l.expires, en.id)
	if l.begun {
		l.startTimeoutLocked()
	}
	return l, nil
}

// claim tells of a claim in the task's history, and begins the attempt unless the
// worker wants to plan first.
func (c *change) claim(rec *record, o *task.ClaimOpts) error {
	var err error
	switch rec.Status {
	case task.Pending:
		err = c.move(rec, task.Planning, task.Event{Event: task.EventClaimed, Actor: o.Worker})
	case task.Waiting:
		err = c.tell(rec, task.Event{Event: task.EventClaimed, Actor: o.Worker})
	default:
		err = c.tell(rec, task.Event{Event: task.EventLeaseTaken, Actor: o.Worker})
	}
	if err != nil || o.Plan {
		return err
	}
	return c.begin(rec)
}

// begin counts an attempt and lets the task run. A task that gave its lease up to
// wait goes on in the same attempt.
func (c *change) begin(rec *record) error {
	c.began = true
	if rec.Wait == nil {
		rec.Attempt++
	}
	rec.Wait, rec.NotBefore, rec.RetryDelayMs = nil, time.Time{}, 0
	if rec.Status == task.Running {
		return c.tell(rec, task.Event{Event: task.EventClaimed, Message: fmt.Sprintf("attempt %d", rec.Attempt), Actor: rec.Worker})
	}
	return c.move(rec, task.Running, task.Event{Actor: rec.Worker})
}

// deadLetter ends a task that was lost in as many attempts as it may have.
func (c *change) deadLetter(rec *record) error {
	f := &task.Failure{Code: task.CodeDeadLetter, Message: fmt.Sprintf("given up: its worker was lost in %d attempts", rec.Attempt)}
	return c.end(rec, task.Failed, f, task.Output{}, actorEngine)
}
