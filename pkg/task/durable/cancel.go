package durable

import (
	"context"
	"fmt"
	"time"

	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task"
)

// Cancel implements task.Engine.
func (e *Engine) Cancel(ctx context.Context, id, reason, actor string) (res task.CancelResult, err error) {
	err = e.update(ctx, func(c *change) error {
		res = task.CancelResult{}
		rec, err := c.load(id)
		if err != nil {
			return err
		}
		if res.AlreadyTerminal = rec.Status.Terminal(); res.AlreadyTerminal {
			res.Task = rec.Task
			return nil
		}
		// The children first, so that none of them outlives the parent in any history.
		if res.Descendants, err = c.cancelChildren(rec, reason, actor); err != nil {
			return err
		}
		f := &task.Failure{Code: task.CodeCancelled, Message: cut(reason)}
		if err := c.end(rec, task.Cancelled, f, task.Output{}, actor); err != nil {
			return err
		}
		res.Cancelled, res.Task = true, rec.Task
		return nil
	})
	if err != nil {
		return task.CancelResult{}, err
	}
	return res, nil
}

// cancelChildren cancels what is below a task and not detached, the deepest first.
func (c *change) cancelChildren(rec *record, reason, actor string) (ids []string, err error) {
	var below []string
	for key, err := range children.Keys(c.tx, store.Range{Prefix: pair(rec.ID, "")}) {
		if err != nil {
			return nil, err
		}
		below = append(below, key[len(rec.ID)+1:])
	}
	for _, id := range below {
		child, err := c.load(id)
		if err != nil {
			return nil, err
		}
		if child.Detach {
			continue
		}
		deeper, err := c.cancelChildren(child, reason, actor)
		if err != nil {
			return nil, err
		}
		ids = append(ids, deeper...)
		if child.Status.Terminal() {
			continue
		}
		f := &task.Failure{Code: task.CodeParentCancelled, Message: cut(reason)}
		if err := c.end(child, task.Cancelled, f, task.Output{}, actor); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// Withdraw implements task.Engine.
func (e *Engine) Withdraw(ctx context.Context, id string, f task.Failure, out task.Output, also ...task.Also) error {
	if err := checkOutput(out); err != nil {
		return err
	}
	return e.update(ctx, func(c *change) error {
		rec, err := c.load(id)
		switch {
		case err != nil:
			return err
		case rec.Status.Terminal():
			return fmt.Errorf("task %s is %s: %w", id, rec.Status, task.ErrTerminal)
		case rec.Leased && e.leased(id):
			return fmt.Errorf("task %s has a worker: %w", id, task.ErrFenced)
		}
		status := task.Failed
		if f.Code == task.CodeCancelled {
			status = task.Cancelled
			if _, err := c.cancelChildren(rec, f.Message, actorEngine); err != nil {
				return err
			}
		}
		f.Message = cut(f.Message)
		if err := c.end(rec, status, &f, out, actorEngine); err != nil {
			return err
		}
		return all(c.tx, also)
	})
}

// leased reports whether a worker of this life has, or is getting, a task. The leases
// of an earlier life, which the record still tells of, are void.
func (e *Engine) leased(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	en := e.open[id]
	return en != nil && (en.lease != nil || en.claiming)
}

// atOnce is the past for every clock: what was resumed must not wait for one that was
// set back.
var atOnce = time.Unix(0, 0).UTC()

// Resume implements task.Engine.
func (e *Engine) Resume(ctx context.Context, id, actor string) (t task.Task, err error) {
	err = e.update(ctx, func(c *change) error {
		rec, err := c.load(id)
		if err != nil {
			return err
		}
		if rec.Status != task.Waiting {
			return rec.Status.Move(id, task.Running)
		}
		if rec.Wait != nil {
			rec.Wait = &task.Condition{Until: atOnce}
		}
		rec.NotBefore, rec.RetryDelayMs = time.Time{}, 0
		t = rec.Task
		return c.tell(rec, task.Event{Event: task.EventRetryScheduled, Message: "resumed", Actor: actor})
	})
	return t, err
}
