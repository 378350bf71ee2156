package durable

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task"
)

// Submit implements task.Engine.
func (e *Engine) Submit(ctx context.Context, q task.Request, also ...task.Also) (t task.Task, replayed bool, err error) {
	if err := q.Check(); err != nil {
		return t, false, err
	}
	if q.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return t, false, unavailable(err)
		}
		q.ID = id.String()
	} else if id, err := uuid.Parse(q.ID); err != nil || id.String() != q.ID {
		return t, false, fmt.Errorf("%w: the id %q is not a UUID in its usual form", task.ErrInvalid, q.ID)
	}
	e.mu.Lock()
	openMax := e.Limits().OpenMax
	closed, full := e.closed, len(e.open) >= openMax
	e.mu.Unlock()
	switch {
	case closed:
		return t, false, unavailable(errClosed)
	case full:
		// What the key says comes first: a known request is answered, full or not.
		known, err := e.ByKey(ctx, q.Key)
		if err == nil && bytes.Equal(known.ParamsHash, q.ParamsHash) {
			return known, true, nil
		}
		return t, false, fmt.Errorf("%w: the limit is %d", task.ErrFull, openMax)
	}
	err = e.update(ctx, func(c *change) error {
		replayed = false
		known, err := c.known(&q)
		if err != nil {
			return err
		}
		if known != nil {
			if t, err = whole(c.tx, known); err != nil {
				return err
			}
			if replayed = bytes.Equal(known.ParamsHash, q.ParamsHash) && q.Key.Key != ""; !replayed {
				return fmt.Errorf("task %s: %w", known.ID, task.ErrExists)
			}
			return nil
		}
		rec, err := c.create(&q)
		if err != nil {
			return err
		}
		if err := all(c.tx, also); err != nil {
			return err
		}
		t = rec.Task
		t.Input, t.Payload = q.Input, q.Payload
		return nil
	})
	if err != nil && !errors.Is(err, task.ErrExists) {
		t = task.Task{}
	}
	return t, replayed && err == nil, err
}

// known returns the record that a request's key or id has already, or nil.
func (c *change) known(q *task.Request) (*record, error) {
	if rec, ok, err := tasks.Get(c.tx, q.ID); err != nil || ok {
		return &rec, err
	}
	if q.Key.Key == "" {
		return nil, nil
	}
	own := keyID(q.Key)
	for row, err := range keys.Scan(c.tx, store.Range{Prefix: runPrefix(q.Key.Key)}) {
		if err != nil {
			return nil, err
		}
		rec, ok, err := tasks.Get(c.tx, row.Value)
		switch {
		case err != nil:
			return nil, err
		case !ok || c.e.keyExpired(&rec, c.now):
			continue
		case row.Key == own:
			return &rec, nil
		case !rec.Status.Terminal():
			return nil, fmt.Errorf("key %q: %w", q.Key.Key, task.ErrConflict)
		}
	}
	return nil, nil
}

// keyExpired reports whether a task has ended so long ago that its key is free.
func (e *Engine) keyExpired(rec *record, now time.Time) bool {
	return rec.Status.Terminal() && now.Sub(rec.CompletedAt) >= e.Limits().KeyRetention
}

// create writes a new task. A dependency that has failed already decides at once.
func (c *change) create(q *task.Request) (*record, error) {
	rec := &record{Task: task.Task{
		ID: q.ID, Status: task.Pending, Description: q.Description, InputBytes: int64(len(q.Input)),
		AgentID: q.AgentID, Model: q.Model, Thinking: q.Thinking, SessionID: q.SessionID, Concurrent: q.Concurrent,
		ParentTaskID: q.ParentTaskID, RootID: q.ID, Detach: q.Detach, OnFailure: q.OnFailure, CreatedAt: c.now,
		NotBefore: utc(q.NotBefore), Deadline: utc(q.Deadline), TimeoutMs: q.Timeout.Milliseconds(), Priority: q.Priority,
		MaxAttempts: q.MaxAttempts, Key: q.Key, ParamsHash: slices.Clone(q.ParamsHash), RequestedBy: q.RequestedBy,
		RetryOf: q.RetryOf, Repo: q.Repo, Capabilities: slices.Clone(q.Capabilities), Metadata: slices.Clone(q.Metadata),
	}, PayloadBytes: int64(len(q.Payload))}
	if rec.MaxAttempts == 0 {
		rec.MaxAttempts = task.AttemptsDefault
	}
	for _, id := range q.DependsOn {
		if !slices.Contains(rec.DependsOn, id) {
			rec.DependsOn = append(rec.DependsOn, id)
		}
	}
	if len(rec.DependsOn) > 0 && rec.OnFailure == "" {
		rec.OnFailure = task.OnFailureFail
	}
	c.add(rec)
	c.added++
	parent, err := c.under(rec)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		putBody(c.tx, rec.ID, inputBody, []byte(q.Input)),
		putBody(c.tx, rec.ID, payloadBody, q.Payload),
	)
	if err == nil && q.Key.Key != "" {
		err = keys.Put(c.tx, keyID(q.Key), rec.ID)
	}
	if err == nil && rec.SessionID != "" {
		err = sessionTasks.Put(c.tx, pair(rec.SessionID, rec.ID), struct{}{})
	}
	if err != nil {
		return nil, err
	}
	ev := task.Event{Event: task.EventCreated, NewStatus: task.Pending, Message: rec.Description, Actor: q.Key.Principal}
	if err := c.tell(rec, ev); err != nil {
		return nil, err
	}
	if err := openTasks.Put(c.tx, store.SeqKey("", rec.Order), rec.ID); err != nil {
		return nil, err
	}
	if parent != nil {
		data, _ := json.Marshal(map[string]string{"childId": rec.ID})
		if err := c.tell(parent, task.Event{Event: task.EventChildAdded, Data: data, Actor: q.Key.Principal}); err != nil {
			return nil, err
		}
	}
	return rec, c.after(rec)
}

// under puts a task below its parent, which it returns, or nil.
func (c *change) under(rec *record) (*record, error) {
	if rec.ParentTaskID == "" {
		return nil, nil
	}
	parent, err := c.load(rec.ParentTaskID)
	switch {
	case err != nil:
		return nil, fmt.Errorf("parent: %w", err)
	case parent.Status.Terminal():
		return nil, fmt.Errorf("parent %s is %s: %w", parent.ID, parent.Status, task.ErrTerminal)
	case parent.Depth >= task.DepthMax:
		return nil, fmt.Errorf("%w: tasks nest at most %d deep", task.ErrInvalid, task.DepthMax)
	}
	rec.Depth, rec.RootID = parent.Depth+1, parent.RootID
	rec.Above = append(slices.Clone(parent.Above), parent.ID)
	if rec.Place, err = c.placeAmong(rec); err != nil {
		return nil, err
	}
	return parent, children.Put(c.tx, pair(parent.ID, rec.ID), struct{}{})
}

// placeAmong returns the place that a child shares: that of its nearest parent in the
// same line, or 0. A parent may wait for its children, so they must not stand behind
// those who wait for it.
func (c *change) placeAmong(rec *record) (uint64, error) {
	if rec.SessionID == "" || rec.Concurrent {
		return 0, nil
	}
	for _, id := range slices.Backward(rec.Above) {
		above, ok, err := tasks.Get(c.tx, id)
		if err != nil {
			return 0, err
		}
		if ok && above.SessionID == rec.SessionID && above.Place != 0 {
			return above.Place, nil
		}
	}
	return 0, nil
}

// after lets a task wait for those that it depends on. They exist already, so that no
// two tasks can wait for each other.
func (c *change) after(rec *record) error {
	for _, id := range rec.DependsOn {
		on, ok, err := tasks.Get(c.tx, id)
		switch {
		case err != nil:
			return err
		case !ok || id == rec.ID:
			return fmt.Errorf("task %q, which it depends on: %w", id, task.ErrNotFound)
		case !on.Status.Terminal():
			err = dependents.Put(c.tx, pair(id, rec.ID), struct{}{})
		case on.Status != task.Completed:
			err = c.dependencyFailed(rec, &on)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// utc is a time as records keep it.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Millisecond)
}
