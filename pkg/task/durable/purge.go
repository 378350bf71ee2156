package durable

import (
	"context"
	"errors"
	"time"

	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task"
)

// The steps of forgetting: how many tasks one transaction removes (a larger tree goes
// whole all the same), and how many places it looks at.
const (
	purgeStep = 32
	purgeLook = 512
)

// Purge implements task.Store.
func (e *Engine) Purge(ctx context.Context, before time.Time) (n int, err error) {
	return e.purge(ctx, func(row *endedRow, _ *total) bool { return row.At.Before(before) })
}

// forget removes what is too old or too much.
func (e *Engine) forget(ctx context.Context) {
	l := e.Limits()
	_, err := e.purge(ctx, func(row *endedRow, t *total) bool {
		return time.Since(row.At) >= l.Retention || t.Count > 1 && (t.Count > int64(l.CountMax) || t.Cost > int64(l.BytesMax))
	})
	if err != nil && ctx.Err() == nil && !errors.Is(err, task.ErrUnavailable) {
		e.log.Warn("ended tasks not forgotten", "err", err)
	}
}

// purge removes the trees of the ended tasks that old selects, in the order in which
// they ended, one transaction for each step. A tree of which a part is open, or not
// old, stays whole.
func (e *Engine) purge(ctx context.Context, old func(*endedRow, *total) bool) (n int, err error) {
	after := ""
	for {
		step, more := 0, false
		next := after
		err := e.update(ctx, func(c *change) error {
			step, more, next = 0, false, after
			t, _, err := totals.Get(c.tx, totalsKey)
			if err != nil {
				return err
			}
			rows, err := c.endedAfter(after)
			if err != nil {
				return err
			}
			for _, row := range rows {
				if !old(&row.Value, &t) {
					return totalsPut(c.tx, t, step)
				}
				next = row.Key
				has, err := endedTasks.Has(c.tx, row.Key)
				if err != nil {
					return err
				}
				if !has {
					continue // went with its tree
				}
				tree, err := c.endedTree(row.Value.Root, old, &t)
				if err != nil {
					return err
				}
				for _, rec := range tree {
					if err := c.erase(rec, &t); err != nil {
						return err
					}
				}
				if step += len(tree); step >= purgeStep {
					more = true
					return totalsPut(c.tx, t, step)
				}
			}
			more = len(rows) == purgeLook
			return totalsPut(c.tx, t, step)
		})
		n += step
		if err != nil || !more {
			return n, err
		}
		after = next
	}
}

// totalsPut writes the totals if something has changed.
func totalsPut(tx *store.Tx, t total, step int) error {
	if step == 0 {
		return nil
	}
	return totals.Put(tx, totalsKey, t)
}

// endedAfter returns the next places in the order of forgetting.
func (c *change) endedAfter(after string) (rows []store.Row[endedRow], err error) {
	for row, err := range endedTasks.Scan(c.tx, store.Range{After: after, Limit: purgeLook}) {
		if err != nil && row.Key == "" {
			return nil, err
		}
		if err != nil {
			c.e.log.Warn("order of ended tasks unreadable", "err", err)
			continue
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// endedTree returns all of a tree, or nothing when a part of it is to stay.
func (c *change) endedTree(root string, old func(*endedRow, *total) bool, t *total) (tree []*record, err error) {
	ids := []string{root}
	for i := 0; i < len(ids); i++ {
		rec, ok, err := tasks.Get(c.tx, ids[i])
		if err != nil || !ok {
			return nil, err
		}
		if !rec.Status.Terminal() || !old(&endedRow{ID: rec.ID, Root: root, At: rec.CompletedAt}, t) {
			return nil, nil
		}
		tree = append(tree, &rec)
		for key, err := range children.Keys(c.tx, store.Range{Prefix: pair(rec.ID, "")}) {
			if err != nil {
				return nil, err
			}
			ids = append(ids, key[len(rec.ID)+1:])
		}
	}
	return tree, nil
}

// erase removes a task and everything that is kept of it.
func (c *change) erase(rec *record, t *total) error {
	var places []string
	for row, err := range events.Scan(c.tx, store.Range{Prefix: pair(rec.ID, "")}) {
		if err != nil {
			return err
		}
		t.PurgedTo = max(t.PurgedTo, uint64(row.Value.Cursor))
		places = append(places, store.SeqKey("", uint64(row.Value.Cursor)))
	}
	for _, place := range places {
		if err := eventLog.Delete(c.tx, place); err != nil {
			return err
		}
	}
	t.Count--
	t.Cost -= rec.Cost
	t.Ended[rec.Status]--
	_, err := events.DeleteRange(c.tx, store.Range{Prefix: pair(rec.ID, "")})
	errs := []error{err,
		tasks.Delete(c.tx, rec.ID),
		endedTasks.Delete(c.tx, store.SeqKey("", rec.EndSeq)),
		dropBody(c.tx, rec.ID, inputBody), dropBody(c.tx, rec.ID, outputBody), dropBody(c.tx, rec.ID, payloadBody),
	}
	for _, on := range rec.DependsOn {
		errs = append(errs, dependents.Delete(c.tx, pair(on, rec.ID)))
	}
	if rec.ParentTaskID != "" {
		errs = append(errs, children.Delete(c.tx, pair(rec.ParentTaskID, rec.ID)))
	}
	if rec.SessionID != "" {
		errs = append(errs, sessionTasks.Delete(c.tx, pair(rec.SessionID, rec.ID)))
	}
	if rec.Key.Key != "" {
		id, _, err := keys.Get(c.tx, keyID(rec.Key))
		if errs = append(errs, err); id == rec.ID { // a later task may have the key now
			errs = append(errs, keys.Delete(c.tx, keyID(rec.Key)))
		}
	}
	return errors.Join(errs...)
}
