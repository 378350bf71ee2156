package durable

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task"
)

// The bounds of pages.
const (
	pageDefault   = 50
	pageMax       = 500
	eventsPageMax = 1000
)

// Get implements task.Store.
func (e *Engine) Get(ctx context.Context, id string) (t task.Task, err error) {
	err = e.view(ctx, func(tx *store.Tx) error {
		rec, ok, err := tasks.Get(tx, id)
		switch {
		case err != nil:
			return err
		case !ok:
			return fmt.Errorf("task %q: %w", id, task.ErrNotFound)
		}
		t, err = whole(tx, &rec)
		return err
	})
	return t, err
}

// view runs fn in a read transaction.
func (e *Engine) view(ctx context.Context, fn func(*store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := e.db.View(fn)
	if errors.Is(err, store.ErrClosed) {
		return unavailable(err)
	}
	return err
}

// ByKey implements task.Store.
func (e *Engine) ByKey(ctx context.Context, key task.Key) (task.Task, error) {
	return e.byKeys(ctx, key.Key, keyID(key))
}

// ByRunID implements task.Store.
func (e *Engine) ByRunID(ctx context.Context, runID string) (task.Task, error) {
	t, err := e.byKeys(ctx, runID, runPrefix(runID))
	if errors.Is(err, task.ErrNotFound) {
		return e.Get(ctx, runID)
	}
	return t, err
}

// byKeys returns the newest task that is remembered under a key's prefix.
func (e *Engine) byKeys(ctx context.Context, name, prefix string) (t task.Task, err error) {
	err = e.view(ctx, func(tx *store.Tx) error {
		var newest *record
		for row, err := range keys.Scan(tx, store.Range{Prefix: prefix}) {
			if err != nil {
				return err
			}
			rec, ok, err := tasks.Get(tx, row.Value)
			if err != nil {
				return err
			}
			if ok && !e.keyExpired(&rec, time.Now()) && (newest == nil || rec.Order > newest.Order) {
				newest = &rec
			}
		}
		if newest == nil {
			return fmt.Errorf("key %q: %w", name, task.ErrNotFound)
		}
		t, err = whole(tx, newest)
		return err
	})
	return t, err
}

// List implements task.Store.
func (e *Engine) List(ctx context.Context, f task.Filter, p task.Page) (list []task.Task, next string, err error) {
	if p.Limit == 0 {
		p.Limit = pageDefault
	}
	if p.Limit < 0 || p.Limit > pageMax {
		return nil, "", fmt.Errorf("%w: the limit of a page is 1 to %d", task.ErrInvalid, pageMax)
	}
	err = e.view(ctx, func(tx *store.Tx) error {
		list, next = nil, ""
		for id, err := range e.candidates(tx, &f, &p) {
			if err != nil {
				return err
			}
			rec, ok, err := tasks.Get(tx, id)
			if err != nil {
				e.log.Error("task unreadable: it is left out", "taskId", id, "err", err)
				continue
			}
			if !ok || !matches(&f, &rec) {
				continue
			}
			if len(list) == p.Limit {
				next = list[len(list)-1].ID
				return nil
			}
			list = append(list, rec.Task)
		}
		return nil
	})
	return list, next, err
}

// candidates visits the ids that a filter may select, in the order of the page: by the
// narrowest index there is.
func (e *Engine) candidates(tx *store.Tx, f *task.Filter, p *task.Page) func(yield func(string, error) bool) {
	return func(yield func(string, error) bool) {
		if f.ID != "" {
			if p.After == "" {
				yield(f.ID, nil)
			}
			return
		}
		r := store.Range{After: p.After, Reverse: !p.OldestFirst}
		index := func(b store.Bucket[struct{}], owner string) {
			prefix := pair(owner, "")
			r.Prefix = prefix
			if p.After != "" {
				r.After = prefix + p.After
			}
			for key, err := range b.Keys(tx, r) {
				if err != nil {
					yield("", err)
					return
				}
				if !yield(key[len(prefix):], nil) {
					return
				}
			}
		}
		switch {
		case len(f.Statuses) > 0 && !slices.ContainsFunc(f.Statuses, task.Status.Terminal):
			for _, id := range e.openIDs(p) {
				if !yield(id, nil) {
					return
				}
			}
		case f.ParentTaskID != "":
			index(children, f.ParentTaskID)
		case f.SessionID != "":
			index(sessionTasks, f.SessionID)
		default:
			for key, err := range tasks.Keys(tx, r) {
				if !yield(key, err) {
					return
				}
			}
		}
	}
}

// openIDs returns the ids of the open tasks that a page may show, in its order: memory
// knows them, however many have ended.
func (e *Engine) openIDs(p *task.Page) []string {
	e.mu.Lock()
	var list []string
	for id := range e.open {
		if p.After == "" || p.OldestFirst && id > p.After || !p.OldestFirst && id < p.After {
			list = append(list, id)
		}
	}
	e.mu.Unlock()
	slices.Sort(list)
	if !p.OldestFirst {
		slices.Reverse(list)
	}
	return list
}

// matches reports whether a filter selects a task.
func matches(f *task.Filter, rec *record) bool {
	return (len(f.Statuses) == 0 || slices.Contains(f.Statuses, rec.Status)) &&
		(f.SessionID == "" || f.SessionID == rec.SessionID) &&
		(f.AgentID == "" || f.AgentID == rec.AgentID) &&
		(f.ParentTaskID == "" || f.ParentTaskID == rec.ParentTaskID) &&
		(f.RootID == "" || f.RootID == rec.RootID) &&
		(f.Namespace == "" || f.Namespace == namespaceOf(rec)) &&
		(f.CreatedAfter.IsZero() || rec.CreatedAt.After(f.CreatedAfter)) &&
		(f.CreatedBefore.IsZero() || rec.CreatedAt.Before(f.CreatedBefore))
}

// Events implements task.Store.
func (e *Engine) Events(ctx context.Context, id string, after uint64, limit int) (list []task.Event, err error) {
	if limit == 0 {
		limit = eventsPageMax
	}
	if limit < 0 || limit > eventsPageMax {
		return nil, fmt.Errorf("%w: the limit is 1 to %d events", task.ErrInvalid, eventsPageMax)
	}
	err = e.view(ctx, func(tx *store.Tx) error {
		has, err := tasks.Has(tx, id)
		switch {
		case err != nil:
			return err
		case !has:
			return fmt.Errorf("task %q: %w", id, task.ErrNotFound)
		}
		list = nil
		for row, err := range events.Scan(tx, store.Range{Prefix: pair(id, ""), After: store.SeqKey(id, after), Limit: limit}) {
			if err != nil {
				return err
			}
			list = append(list, row.Value)
		}
		return nil
	})
	return list, err
}
