package durable

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task"
)

// actorEngine is the actor of what nobody asked for.
const actorEngine = "engine"

// change is one transaction of the engine: the records it touches, in memory until
// flush, and the cursors of the events that it wrote.
type change struct {
	e           *Engine
	tx          *store.Tx
	now         time.Time
	recs        map[string]*record
	order       []string // of recs, as they were first touched
	first, last uint64   // cursors; 0 when there are no events
	lease       *lease   // whose write this is, or nil
	began       bool     // an attempt of lease
	added       int      // tasks that were submitted
	applied     chan struct{}
}

// update runs fn in a transaction and brings memory up to date with it. It returns
// when memory knows, and with it every change that was committed before.
func (e *Engine) update(ctx context.Context, fn func(c *change) error) error {
	var c *change
	var own error
	err := e.db.Update(ctx, func(tx *store.Tx) error {
		c = &change{e: e, tx: tx, now: time.Now().UTC().Truncate(time.Millisecond), recs: map[string]*record{}, applied: make(chan struct{})}
		own = errUnfinished
		own = fn(c)
		return own
	})
	if err != nil {
		return e.failed(ctx, err, own)
	}
	e.commit(c)
	<-c.applied
	return nil
}

// errUnfinished stands for a function that did not return.
var errUnfinished = errors.New("the function did not return")

// failed makes of a transaction's error what the port promises: own is what the
// function returned the last time that it ran.
func (e *Engine) failed(ctx context.Context, err, own error) error {
	if own != nil && errors.Is(err, own) || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return err
	}
	var panicked *store.PanicError
	if errors.As(err, &panicked) {
		return err
	}
	e.mu.Lock()
	e.unhealthy = true
	e.mu.Unlock()
	if errors.Is(err, store.ErrClosed) || errors.Is(err, store.ErrFull) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return unavailable(err)
	}
	return fault{task.ErrUnknown, err}
}

// fault is an error of the store that tells by its kind what it means for the task.
type fault struct{ kind, cause error }

// Error is the cause's: it says what happened, and the kind what to do.
func (f fault) Error() string { return f.cause.Error() }

// Unwrap returns both.
func (f fault) Unwrap() []error { return []error{f.kind, f.cause} }

// unavailable is a fault that changed nothing.
func unavailable(err error) error { return fault{task.ErrUnavailable, err} }

// load returns a record for changing. ErrNotFound when there is none.
func (c *change) load(id string) (*record, error) {
	if rec, ok := c.recs[id]; ok {
		return rec, nil
	}
	rec, ok, err := tasks.Get(c.tx, id)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, fmt.Errorf("task %q: %w", id, task.ErrNotFound)
	}
	c.add(&rec)
	return &rec, nil
}

// add takes a record among those that the change touches.
func (c *change) add(rec *record) {
	c.recs[rec.ID] = rec
	c.order = append(c.order, rec.ID)
}

// flush writes a record as it is now.
func (c *change) flush(rec *record) error {
	row := *rec
	row.Input, row.Output, row.Payload = "", "", nil
	return tasks.Put(c.tx, rec.ID, row)
}

// tell appends an event to a record's history and writes the record: the two never
// part. ev carries the kind and what is special; the rest is filled in.
func (c *change) tell(rec *record, ev task.Event) error {
	cursor, err := eventLog.NextSequence(c.tx)
	if err != nil {
		return err
	}
	if c.first == 0 {
		c.first = cursor
	}
	c.last = cursor
	if rec.Order == 0 {
		rec.Order = cursor
		if rec.Place == 0 && rec.SessionID != "" && !rec.Concurrent {
			rec.Place = cursor
		}
	}
	rec.Revision++
	ev.TaskID, ev.Seq, ev.Cursor, ev.Timestamp = rec.ID, rec.Revision, task.Cursor(cursor), c.now
	ev.Host, ev.Attempt, ev.Revision, ev.PrevHash = c.e.host, rec.Attempt, rec.Revision, rec.LastHash
	if ev.Actor == "" {
		ev.Actor = actorEngine
	}
	if ev.Hash, err = ev.Link(); err != nil {
		return err
	}
	rec.LastHash = ev.Hash
	rec.Cost += int64(eventOverheadBytes + len(ev.Message) + len(ev.Data))
	row := logRow{ID: rec.ID, Seq: ev.Seq, Status: rec.Status, SessionID: rec.SessionID, AgentID: rec.AgentID,
		Parent: rec.ParentTaskID, Root: rec.RootID, Namespace: rec.Key.Namespace}
	return errors.Join(
		events.Put(c.tx, store.SeqKey(rec.ID, ev.Seq), ev),
		eventLog.Put(c.tx, store.SeqKey("", cursor), row),
		c.flush(rec),
	)
}

// move changes a record's status and tells of it.
func (c *change) move(rec *record, next task.Status, ev task.Event) error {
	if err := rec.Status.Move(rec.ID, next); err != nil {
		return err
	}
	ev.OldStatus, ev.NewStatus = rec.Status, next
	rec.Status = next
	if rec.StartedAt.IsZero() && (next == task.Planning || next == task.Running) {
		rec.StartedAt = c.now
	}
	if ev.Event == "" {
		ev.Event = task.EventStatusChanged
	}
	return c.tell(rec, ev)
}

// end brings a task to its end and tells those that depend on it.
func (c *change) end(rec *record, status task.Status, f *task.Failure, out task.Output, actor string) error {
	if err := rec.Status.Move(rec.ID, status); err != nil {
		return err
	}
	if out.Text != "" {
		rec.OutputBytes = int64(len(out.Text))
		if err := putBody(c.tx, rec.ID, outputBody, []byte(out.Text)); err != nil {
			return err
		}
		data, _ := json.Marshal(map[string]int64{"bytes": rec.OutputBytes})
		if err := c.tell(rec, task.Event{Event: task.EventOutputAdded, Data: data, Actor: actor}); err != nil {
			return err
		}
	}
	message := ""
	if rec.Error = f; f != nil {
		message = f.Message
		data, _ := json.Marshal(map[string]string{"code": f.Code})
		kind := task.EventErrorSet
		if status == task.Cancelled {
			kind = task.EventCancelRequested
			rec.CancelRequestedAt = c.now
		}
		if err := c.tell(rec, task.Event{Event: kind, Message: message, Data: data, Actor: actor}); err != nil {
			return err
		}
	}
	rec.Result = out.Result
	if status == task.Completed {
		full := 100
		rec.Progress = &full
	}
	rec.Leased, rec.Wait, rec.NotBefore, rec.CompletedAt, rec.Checkpoint = false, nil, time.Time{}, c.now, nil
	seq, err := endedTasks.NextSequence(c.tx)
	if err != nil {
		return err
	}
	rec.EndSeq = seq
	rec.Cost += recordOverheadBytes + rec.InputBytes + rec.OutputBytes + rec.PayloadBytes + int64(len(rec.Metadata)+len(rec.Result)+len(rec.Description))
	if err := c.move(rec, status, task.Event{Message: message, Actor: actor}); err != nil {
		return err
	}
	t, _, err := totals.Get(c.tx, totalsKey)
	if err != nil {
		return err
	}
	if t.Ended == nil {
		t.Ended = map[task.Status]int{}
	}
	t.Ended[status]++
	t.Count++
	t.Cost += rec.Cost
	err = errors.Join(
		totals.Put(c.tx, totalsKey, t),
		openTasks.Delete(c.tx, store.SeqKey("", rec.Order)),
		endedTasks.Put(c.tx, store.SeqKey("", seq), endedRow{ID: rec.ID, Root: rec.RootID, At: c.now}),
	)
	if err != nil || status == task.Completed {
		return err
	}
	return c.endDependents(rec)
}

// endDependents does to the tasks that wait for one that did not complete what their
// policy says.
func (c *change) endDependents(rec *record) error {
	var ids []string
	for key, err := range dependents.Keys(c.tx, store.Range{Prefix: pair(rec.ID, "")}) {
		if err != nil {
			return err
		}
		ids = append(ids, key[len(rec.ID)+1:])
	}
	for _, id := range ids {
		dep, err := c.load(id)
		if err != nil {
			return err
		}
		if err := c.dependencyFailed(dep, rec); err != nil {
			return err
		}
	}
	return nil
}

// dependencyFailed ends dep, or not, because on did not complete.
func (c *change) dependencyFailed(dep, on *record) error {
	switch {
	case dep.Status != task.Pending:
		return nil
	case dep.OnFailure == task.OnFailureRun:
		return nil
	case dep.OnFailure == task.OnFailureSkip:
		f := &task.Failure{Code: task.CodeDependencySkip, Message: fmt.Sprintf("task %s, which it depends on, is %s", on.ID, on.Status)}
		return c.end(dep, task.Cancelled, f, task.Output{}, actorEngine)
	}
	f := &task.Failure{Code: task.CodeDependencyFailed, Message: fmt.Sprintf("task %s, which it depends on, is %s", on.ID, on.Status)}
	return c.end(dep, task.Failed, f, task.Output{}, actorEngine)
}

// commit brings memory up to date with a change that is on disk, as soon as it is
// with all that were committed before.
func (e *Engine) commit(c *change) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unhealthy = false
	if c.first == 0 {
		close(c.applied)
		return
	}
	e.pending[c.first] = c
	for {
		next, ok := e.pending[e.next]
		if !ok {
			return
		}
		delete(e.pending, e.next)
		e.next = next.last + 1
		for _, id := range next.order {
			e.applyLocked(next, next.recs[id])
		}
		e.submitted += uint64(next.added)
		close(e.news)
		e.news = make(chan struct{})
		close(next.applied)
	}
}

// all runs what callers want in the transaction.
func all(tx *store.Tx, also []task.Also) error {
	for _, fn := range also {
		if fn == nil {
			continue
		}
		if err := fn(tx); err != nil {
			return err
		}
	}
	return nil
}
