package durable

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/coderclaw/gateway/pkg/task"
)

// lease is a task.Lease of this life.
type lease struct {
	e      *Engine
	en     *entry
	epoch  uint64
	worker string
	ttl    time.Duration
	task   task.Task
	done   chan struct{}

	// Engine.mu guards the rest.
	begun   bool
	expires time.Time
	timeout time.Time // zero is never
	ended   bool
	slot    bool // one of the engine's limits is held
	err     error
}

// Task implements task.Lease.
func (l *lease) Task() task.Task { return l.task }

// Epoch implements task.Lease.
func (l *lease) Epoch() uint64 { return l.epoch }

// Done implements task.Lease.
func (l *lease) Done() <-chan struct{} { return l.done }

// Err implements task.Lease.
func (l *lease) Err() error {
	l.e.mu.Lock()
	defer l.e.mu.Unlock()
	return l.err
}

// endLocked ends the lease in memory, once, and gives its slot back.
func (l *lease) endLocked(err error) {
	if l.ended {
		return
	}
	l.ended, l.err = true, err
	close(l.done)
	if l.en.lease == l {
		l.en.lease = nil
	}
	if l.slot {
		l.slot = false
		l.e.releaseLocked(l.en)
	}
}

// fence returns why a lease must not write to a task, or nil: the epoch in the record
// is that of the latest lease, and none once the task was taken from its worker.
func fence(rec *record, epoch uint64) error {
	switch {
	case rec.Status.Terminal():
		return fmt.Errorf("task %s is %s: %w", rec.ID, rec.Status, task.ErrTerminal)
	case !rec.Leased || rec.Epoch != epoch:
		return fmt.Errorf("task %s: %w", rec.ID, task.ErrFenced)
	}
	return nil
}

// write changes the task for as long as the lease is its latest. What ends a lease
// is written although the worker's own ctx is over; that is when it matters.
func (l *lease) write(ctx context.Context, fn func(c *change, rec *record) error) error {
	return l.e.update(ctx, func(c *change) error {
		c.lease = l
		rec, err := c.load(l.en.id)
		if err != nil {
			return err
		}
		if err := fence(rec, l.epoch); err != nil {
			return err
		}
		return fn(c, rec)
	})
}

// extend is a heartbeat.
func (l *lease) extend() {
	l.e.mu.Lock()
	defer l.e.mu.Unlock()
	l.expires = time.Now().Add(l.ttl)
}

// Heartbeat implements task.Lease. It writes nothing.
func (l *lease) Heartbeat(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.e.mu.Lock()
	defer l.e.mu.Unlock()
	if l.ended {
		if l.err != nil {
			return l.err
		}
		return task.ErrFenced
	}
	l.expires = time.Now().Add(l.ttl)
	return nil
}

// Begin implements task.Lease.
func (l *lease) Begin(ctx context.Context, also ...task.Also) error {
	l.e.mu.Lock()
	begun := l.begun
	l.e.mu.Unlock()
	if begun {
		return l.Heartbeat(ctx)
	}
	err := l.write(ctx, func(c *change, rec *record) error {
		if err := c.begin(rec); err != nil {
			return err
		}
		return all(c.tx, also)
	})
	if err != nil {
		return err
	}
	l.e.mu.Lock()
	defer l.e.mu.Unlock()
	l.expires = time.Now().Add(l.ttl)
	l.startTimeoutLocked()
	return nil
}

// startTimeoutLocked lets the attempt's time run.
func (l *lease) startTimeoutLocked() {
	if l.task.TimeoutMs > 0 && !l.ended {
		l.timeout = time.Now().Add(time.Duration(l.task.TimeoutMs) * time.Millisecond)
		l.e.setTimerLocked(l.timeout, l.en.id)
	}
}

// Progress implements task.Lease.
func (l *lease) Progress(ctx context.Context, percent int, message string) error {
	if _, err := task.CheckProgress(float64(percent)); err != nil {
		return err
	}
	err := l.write(ctx, func(c *change, rec *record) error {
		if rec.Progress != nil && rec.ProgressAttempt == rec.Attempt && *rec.Progress >= percent {
			return nil
		}
		rec.Progress, rec.ProgressAttempt = &percent, rec.Attempt
		return c.tell(rec, task.Event{Event: task.EventProgressUpdated, Progress: &percent, Message: cut(message), Actor: l.worker})
	})
	if err == nil {
		l.extend()
	}
	return err
}

// messageBytesMax bounds what a worker says in an event.
const messageBytesMax = 4096

// cut shortens a text to messageBytesMax bytes.
func cut(text string) string {
	if len(text) <= messageBytesMax {
		return text
	}
	n := messageBytesMax
	for n > 0 && text[n]&0xc0 == 0x80 {
		n--
	}
	return text[:n]
}

// Checkpoint implements task.Lease.
func (l *lease) Checkpoint(ctx context.Context, state []byte) error {
	if len(state) > task.CheckpointBytesMax {
		return fmt.Errorf("%w: the checkpoint has %d bytes; at most %d are allowed", task.ErrInvalid, len(state), task.CheckpointBytesMax)
	}
	err := l.write(ctx, func(c *change, rec *record) error {
		rec.Checkpoint = slices.Clone(state)
		data, _ := json.Marshal(map[string]int{"bytes": len(state)})
		return c.tell(rec, task.Event{Event: task.EventCheckpoint, Data: data, Actor: l.worker})
	})
	if err == nil {
		l.extend()
	}
	return err
}

// Wait implements task.Lease.
func (l *lease) Wait(ctx context.Context, until task.Condition) error {
	if len(until.Tasks) > task.DependsOnMax {
		return fmt.Errorf("%w: it waits for %d tasks; at most %d are allowed", task.ErrInvalid, len(until.Tasks), task.DependsOnMax)
	}
	return l.write(ctx, func(c *change, rec *record) error {
		for _, id := range until.Tasks {
			has, err := tasks.Has(c.tx, id)
			if err != nil {
				return err
			}
			if !has {
				return fmt.Errorf("task %q, which it waits for: %w", id, task.ErrNotFound)
			}
		}
		if rec.Status == task.Planning {
			if err := c.begin(rec); err != nil {
				return err
			}
		}
		rec.Leased, rec.Wait = false, &until
		return c.move(rec, task.Waiting, task.Event{Actor: l.worker})
	})
}

// checkOutput refuses an output that is too large.
func checkOutput(out task.Output) error {
	switch {
	case len(out.Text) > task.InputBytesMax:
		return fmt.Errorf("%w: the output has %d bytes; at most %d are allowed", task.ErrInvalid, len(out.Text), task.InputBytesMax)
	case len(out.Result) > task.CheckpointBytesMax:
		return fmt.Errorf("%w: the result has %d bytes; at most %d are allowed", task.ErrInvalid, len(out.Result), task.CheckpointBytesMax)
	}
	return nil
}

// Complete implements task.Lease.
func (l *lease) Complete(ctx context.Context, out task.Output, also ...task.Also) error {
	if err := checkOutput(out); err != nil {
		return err
	}
	return l.write(ctx, func(c *change, rec *record) error {
		if rec.Status != task.Running {
			if err := c.begin(rec); err != nil {
				return err
			}
		}
		if err := c.end(rec, task.Completed, nil, out, l.worker); err != nil {
			return err
		}
		return all(c.tx, also)
	})
}

// Fail implements task.Lease.
func (l *lease) Fail(ctx context.Context, f task.Failure, delay time.Duration, out task.Output, also ...task.Also) (retried bool, err error) {
	if err := checkOutput(out); err != nil {
		return false, err
	}
	f.Message = cut(f.Message)
	err = l.write(ctx, func(c *change, rec *record) error {
		retried = f.Retryable && rec.Status == task.Running && rec.Attempt < rec.MaxAttempts
		if !retried {
			if err := c.end(rec, task.Failed, &f, out, l.worker); err != nil {
				return err
			}
			return all(c.tx, also)
		}
		if delay <= 0 {
			delay = min(l.e.Limits().Backoff<<min(rec.Attempt-1, 16), backoffMax)
		}
		rec.Leased, rec.Error, rec.NotBefore, rec.RetryDelayMs = false, &f, c.now.Add(delay), delay.Milliseconds()
		data, _ := json.Marshal(map[string]any{"code": f.Code, "delayMs": delay.Milliseconds()})
		if err := c.tell(rec, task.Event{Event: task.EventRetryScheduled, Message: f.Message, Data: data, Actor: l.worker}); err != nil {
			return err
		}
		return c.move(rec, task.Waiting, task.Event{Actor: l.worker})
	})
	return retried && err == nil, err
}

// Cancel implements task.Lease.
func (l *lease) Cancel(ctx context.Context, reason string, out task.Output, also ...task.Also) error {
	if err := checkOutput(out); err != nil {
		return err
	}
	return l.write(ctx, func(c *change, rec *record) error {
		f := &task.Failure{Code: task.CodeCancelled, Message: cut(reason)}
		if err := c.end(rec, task.Cancelled, f, out, l.worker); err != nil {
			return err
		}
		if _, err := c.cancelChildren(rec, reason, l.worker); err != nil {
			return err
		}
		return all(c.tx, also)
	})
}

// Release implements task.Lease.
func (l *lease) Release(ctx context.Context) error {
	return l.write(ctx, func(c *change, rec *record) error {
		rec.Leased, rec.Attempt = false, 0
		return c.tell(rec, task.Event{Event: task.EventRetryScheduled, Message: "given back by its worker", Actor: l.worker})
	})
}
