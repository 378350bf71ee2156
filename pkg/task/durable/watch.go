package durable

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task"
)

// watchBatch is how many places of the log a watcher looks at in one transaction.
const watchBatch = 256

// Head implements task.Store.
func (e *Engine) Head() task.Cursor {
	e.mu.Lock()
	defer e.mu.Unlock()
	return task.Cursor(e.next - 1)
}

// Watch implements task.Store. A watcher has no queue: it reads the log at its own
// pace and sleeps at the end of it, so that nothing can be lost or told twice between
// what is stored and what is to come.
func (e *Engine) Watch(ctx context.Context, f task.Filter, after task.Cursor) (task.Stream, error) {
	var purgedTo uint64
	err := e.view(ctx, func(tx *store.Tx) error {
		if f.ID != "" {
			has, err := tasks.Has(tx, f.ID)
			if err == nil && !has {
				err = fmt.Errorf("task %q: %w", f.ID, task.ErrNotFound)
			}
			return err
		}
		t, _, err := totals.Get(tx, totalsKey)
		purgedTo = t.PurgedTo
		if err == nil && after > 0 && uint64(after) < t.PurgedTo {
			err = task.ErrGone
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if head := e.Head(); after > head {
		return nil, fmt.Errorf("%w: the cursor %d is ahead of the latest event, %d", task.ErrInvalid, after, head)
	}
	return &stream{e: e, filter: f, from: uint64(after), at: uint64(after), purgedTo: purgedTo, closed: make(chan struct{})}, nil
}

// stream is a watch.
type stream struct {
	e      *Engine
	filter task.Filter
	from   uint64 // where it began
	at     uint64 // looked at
	seq    uint64 // looked at, of a watch of one task
	// purgedTo is what had been purged when it began.
	purgedTo uint64
	live     bool // has been at the end of the log
	ready    []task.Event
	err      error
	closed   chan struct{}
	once     sync.Once
}

// Close implements task.Stream.
func (s *stream) Close() { s.once.Do(func() { close(s.closed) }) }

// Next implements task.Stream.
func (s *stream) Next(ctx context.Context) (task.Event, error) {
	for {
		if s.err != nil {
			return task.Event{}, s.err
		}
		if len(s.ready) > 0 {
			ev := s.ready[0]
			s.ready = s.ready[1:]
			return ev, nil
		}
		s.e.mu.Lock()
		head, news := s.e.next-1, s.e.news
		s.e.mu.Unlock()
		if s.at < head {
			if s.live && head-s.at > uint64(s.e.Limits().LagMax) {
				s.err = fmt.Errorf("%d events behind: %w", head-s.at, task.ErrSlow)
				continue
			}
			if s.err = s.read(context.WithoutCancel(ctx), head); s.err != nil {
				return task.Event{}, s.err
			}
			continue
		}
		s.live = true
		select {
		case <-news:
		case <-s.closed:
			s.err = unavailable(errStreamClosed)
		case <-s.e.closing:
			s.err = unavailable(errClosed)
		case <-ctx.Done():
			return task.Event{}, ctx.Err()
		}
	}
}

var errStreamClosed = fmt.Errorf("the watch was closed")

// read looks at the next places of the log, up to head.
func (s *stream) read(ctx context.Context, head uint64) error {
	return s.e.view(ctx, func(tx *store.Tx) error {
		if s.filter.ID != "" {
			return s.readTask(tx, head)
		}
		t, _, err := totals.Get(tx, totalsKey)
		if err != nil {
			return err
		}
		if t.PurgedTo > s.purgedTo && s.at < t.PurgedTo {
			return task.ErrGone
		}
		n := 0
		for row, err := range eventLog.Scan(tx, store.Range{After: store.SeqKey("", s.at), Limit: watchBatch}) {
			if err != nil {
				return err
			}
			at := seqOf(row.Key)
			if at > head {
				break
			}
			s.at = at
			n++
			if !selects(&s.filter, &row.Value) {
				continue
			}
			if err := s.take(tx, row.Value.ID, row.Value.Seq); err != nil {
				return err
			}
		}
		if n < watchBatch {
			s.at = head
		}
		return nil
	})
}

// readTask looks at the next part of one task's history.
func (s *stream) readTask(tx *store.Tx, head uint64) error {
	has, err := tasks.Has(tx, s.filter.ID)
	if err != nil {
		return err
	}
	if !has {
		return task.ErrGone
	}
	n := 0
	for row, err := range events.Scan(tx, store.Range{Prefix: pair(s.filter.ID, ""), After: store.SeqKey(s.filter.ID, s.seq), Limit: watchBatch}) {
		if err != nil {
			return err
		}
		ev := row.Value
		if uint64(ev.Cursor) > head {
			break
		}
		n++
		s.seq = ev.Seq
		if uint64(ev.Cursor) <= s.from {
			continue
		}
		if len(s.filter.Statuses) > 0 {
			place, _, err := eventLog.Get(tx, store.SeqKey("", uint64(ev.Cursor)))
			if err != nil {
				return err
			}
			if !statusSelected(&s.filter, place.Status) {
				continue
			}
		}
		s.ready = append(s.ready, ev)
	}
	if n < watchBatch {
		s.at = head
	}
	return nil
}

// take adds an event to those that are ready.
func (s *stream) take(tx *store.Tx, id string, seq uint64) error {
	ev, ok, err := events.Get(tx, store.SeqKey(id, seq))
	if err == nil && ok {
		s.ready = append(s.ready, ev)
	}
	return err
}

// selects reports whether a filter selects an event.
func selects(f *task.Filter, row *logRow) bool {
	ns := row.Namespace
	if ns == "" {
		ns = task.NamespaceTask
	}
	return statusSelected(f, row.Status) &&
		(f.SessionID == "" || f.SessionID == row.SessionID) &&
		(f.AgentID == "" || f.AgentID == row.AgentID) &&
		(f.ParentTaskID == "" || f.ParentTaskID == row.Parent) &&
		(f.RootID == "" || f.RootID == row.Root) &&
		(f.Namespace == "" || f.Namespace == ns)
}

func statusSelected(f *task.Filter, s task.Status) bool {
	return len(f.Statuses) == 0 || slices.Contains(f.Statuses, s)
}
