package durable

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coderclaw/gateway/pkg/task"
)

// The rhythm of Run: the longest sleep, the time between two looks for what is to be
// forgotten, and the pause after a write that failed.
const (
	sleepMax   = time.Minute
	sweepEvery = time.Minute
	faultPause = time.Second
)

// fireMax is how many tasks one transaction takes from their workers, or ends.
const fireMax = 128

// fire does what is due and returns how long nothing will be.
func (e *Engine) fire(ctx context.Context) time.Duration {
	for {
		due, wait := e.due()
		if len(due) == 0 {
			return wait
		}
		err := e.update(ctx, func(c *change) error {
			for _, d := range due {
				if err := c.expire(d); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			if ctx.Err() == nil {
				e.log.Warn("leases and deadlines not written; they are tried again", "err", err)
			}
			e.mu.Lock()
			for _, d := range due {
				e.setTimerLocked(time.Now().Add(faultPause), d.id)
			}
			e.mu.Unlock()
			return faultPause
		}
	}
}

// dueTask is a task whose time is over in one way or another.
type dueTask struct {
	id                           string
	epoch                        uint64 // of the lease that is meant
	leaseLost, timeout, deadline bool
}

// due returns the tasks to be written, and when there are none how long to sleep.
// Tasks whose delay is over need no write: they are offered to the claimers.
func (e *Engine) due() (due []dueTask, wait time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	seen := map[string]bool{}
	for len(e.timers) > 0 && len(due) < fireMax {
		if at := e.timers[0].at; at.After(now) {
			return due, min(at.Sub(now), sleepMax)
		}
		t := heap.Pop(&e.timers).(timer)
		en := e.open[t.id]
		if en == nil || seen[t.id] {
			continue
		}
		seen[t.id] = true
		d := dueTask{id: t.id, deadline: passed(en.deadline, now)}
		if l := en.lease; l != nil {
			d.epoch, d.leaseLost, d.timeout = l.epoch, passed(l.expires, now), passed(l.timeout, now)
			if !d.leaseLost {
				e.setTimerLocked(l.expires, en.id)
			}
		}
		if d.deadline || d.leaseLost || d.timeout {
			due = append(due, d)
			continue
		}
		e.refreshLocked(en)
	}
	return due, sleepMax
}

func passed(t, now time.Time) bool { return !t.IsZero() && !t.After(now) }

// expire writes that a task's time is over. Whoever was faster stands.
func (c *change) expire(d dueTask) error {
	rec, err := c.load(d.id)
	if errors.Is(err, task.ErrNotFound) {
		return nil
	}
	if err != nil || rec.Status.Terminal() {
		return err
	}
	current := rec.Leased && rec.Epoch == d.epoch
	switch {
	case d.deadline:
		f := &task.Failure{Code: task.CodeDeadline, Message: "the deadline has passed"}
		return c.end(rec, task.Failed, f, task.Output{}, actorEngine)
	case d.timeout && current:
		f := &task.Failure{Code: task.CodeTimeout, Message: fmt.Sprintf("the attempt took longer than %s", time.Duration(rec.TimeoutMs)*time.Millisecond)}
		return c.end(rec, task.Failed, f, task.Output{}, actorEngine)
	case d.leaseLost && current:
		rec.Leased = false
		if err := c.tell(rec, task.Event{Event: task.EventHeartbeatLost, Message: "no heartbeat from " + rec.Worker}); err != nil {
			return err
		}
		if rec.Status == task.Running && rec.Attempt >= rec.MaxAttempts {
			return c.deadLetter(rec)
		}
	}
	return nil
}
