// Package local is the transport adapter to the task engine of this process.
package local

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/coderclaw/gateway/pkg/task"
	"github.com/coderclaw/gateway/pkg/transport"
)

// Config says what is offered. Tasks is required.
type Config struct {
	Tasks   task.Engine
	Version string
	// Mode is the runtime's label; empty is local-only.
	Mode transport.Mode
	// Agents and Skills list what there is, without their load; nil is none.
	Agents func(ctx context.Context) ([]transport.AgentInfo, error)
	Skills func(ctx context.Context) ([]transport.SkillInfo, error)
}

// Adapter is a transport.Adapter.
type Adapter struct {
	cfg   Config
	meter transport.Meter

	mu      sync.Mutex // guards the fields below
	closed  bool
	streams map[*stream]bool
}

var _ transport.Adapter = (*Adapter)(nil)

// New returns an adapter.
func New(cfg Config) (*Adapter, error) {
	if cfg.Tasks == nil {
		return nil, errors.New("local: no task engine")
	}
	if cfg.Mode == "" {
		cfg.Mode = transport.ModeLocalOnly
	}
	return &Adapter{cfg: cfg, streams: map[*stream]bool{}}, nil
}

// open returns task.ErrUnavailable once the adapter is closed.
func (a *Adapter) open() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return task.ErrUnavailable
	}
	return nil
}

// call does one call, measured.
func call[T any](a *Adapter, fn func() (T, error)) (T, error) {
	began := time.Now()
	if err := a.open(); err != nil {
		var none T
		return none, err
	}
	out, err := fn()
	a.meter.Note(began, err)
	return out, err
}

// Submit implements transport.Adapter.
func (a *Adapter) Submit(ctx context.Context, q task.Request) (t task.Task, replayed bool, err error) {
	t, err = call(a, func() (t task.Task, err error) {
		t, replayed, err = a.cfg.Tasks.Submit(ctx, q)
		return t, err
	})
	return t, replayed, err
}

// Get implements transport.Adapter.
func (a *Adapter) Get(ctx context.Context, id string) (task.Task, error) {
	return call(a, func() (task.Task, error) { return a.cfg.Tasks.Get(ctx, id) })
}

// List implements transport.Adapter.
func (a *Adapter) List(ctx context.Context, f task.Filter, p task.Page) (tasks []task.Task, next string, err error) {
	tasks, err = call(a, func() (list []task.Task, err error) {
		list, next, err = a.cfg.Tasks.List(ctx, f, p)
		return list, err
	})
	return tasks, next, err
}

// Events implements transport.Adapter.
func (a *Adapter) Events(ctx context.Context, id string, after uint64, limit int) ([]task.Event, error) {
	return call(a, func() ([]task.Event, error) { return a.cfg.Tasks.Events(ctx, id, after, limit) })
}

// Cancel implements transport.Adapter.
func (a *Adapter) Cancel(ctx context.Context, id, reason, actor string) (task.CancelResult, error) {
	return call(a, func() (task.CancelResult, error) { return a.cfg.Tasks.Cancel(ctx, id, reason, actor) })
}

// FetchNext implements transport.Adapter.
func (a *Adapter) FetchNext(ctx context.Context, o task.ClaimOpts) (task.Lease, error) {
	return call(a, func() (task.Lease, error) { return a.cfg.Tasks.Claim(ctx, o) })
}

// Watch implements transport.Adapter.
func (a *Adapter) Watch(ctx context.Context, f task.Filter, after task.Cursor) (task.Stream, error) {
	return call(a, func() (task.Stream, error) {
		inner, err := a.cfg.Tasks.Watch(ctx, f, after)
		if err != nil {
			return nil, err
		}
		s := &stream{Stream: inner, a: a}
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.closed {
			inner.Close()
			return nil, task.ErrUnavailable
		}
		a.streams[s] = true
		return s, nil
	})
}

// stream is a watch that ends with its adapter.
type stream struct {
	task.Stream
	a *Adapter
}

// Close implements task.Stream.
func (s *stream) Close() {
	s.a.mu.Lock()
	delete(s.a.streams, s)
	s.a.mu.Unlock()
	s.Stream.Close()
}

// Agents implements transport.Adapter: what is configured, with its load.
func (a *Adapter) Agents(ctx context.Context) ([]transport.AgentInfo, error) {
	return call(a, func() ([]transport.AgentInfo, error) {
		if a.cfg.Agents == nil {
			return []transport.AgentInfo{}, nil
		}
		list, err := a.cfg.Agents(ctx)
		if err != nil {
			return nil, err
		}
		open, err := a.openByAgent(ctx)
		if err != nil {
			return nil, err
		}
		for i := range list {
			load := open[list[i].ID]
			list[i].Running, list[i].Open = load.running, load.open
		}
		return list, nil
	})
}

// load counts an agent's tasks.
type load struct{ running, open int }

// openByAgent counts the open tasks of each agent.
func (a *Adapter) openByAgent(ctx context.Context) (map[string]load, error) {
	out := map[string]load{}
	page := task.Page{Limit: 500, OldestFirst: true}
	open := task.Filter{Statuses: []task.Status{task.Pending, task.Planning, task.Running, task.Waiting}}
	for {
		list, next, err := a.cfg.Tasks.List(ctx, open, page)
		if err != nil {
			return nil, err
		}
		for _, t := range list {
			l := out[t.AgentID]
			l.open++
			if t.Status == task.Running {
				l.running++
			}
			out[t.AgentID] = l
		}
		if page.After = next; next == "" {
			return out, nil
		}
	}
}

// Skills implements transport.Adapter.
func (a *Adapter) Skills(ctx context.Context) ([]transport.SkillInfo, error) {
	return call(a, func() ([]transport.SkillInfo, error) {
		if a.cfg.Skills == nil {
			return []transport.SkillInfo{}, nil
		}
		return a.cfg.Skills(ctx)
	})
}

// Status implements transport.Adapter.
func (a *Adapter) Status(ctx context.Context) (transport.RuntimeStatus, error) {
	return call(a, func() (transport.RuntimeStatus, error) {
		s, err := a.cfg.Tasks.Stats(ctx)
		if err != nil {
			return transport.RuntimeStatus{}, err
		}
		out := transport.RuntimeStatus{
			Version: a.cfg.Version, Mode: a.cfg.Mode, Uptime: time.Since(s.StartedAt), Active: s.ByStatus[task.Running],
			Queued: s.ByStatus[task.Pending], Total: s.Submitted, Capacity: s.RunningMax, ByStatus: s.ByStatus, Healthy: s.Healthy,
			Adapter: a.meter.Health(),
		}
		if s.RunningMax > 0 {
			out.Load = float64(s.Leased) / float64(s.RunningMax)
		}
		if !s.OldestPending.IsZero() {
			out.OldestQueued = max(time.Since(s.OldestPending), 0)
		}
		return out, nil
	})
}

// Close implements transport.Adapter. It may be called more than once.
func (a *Adapter) Close() error {
	a.mu.Lock()
	a.closed = true
	streams := a.streams
	a.streams = map[*stream]bool{}
	a.mu.Unlock()
	for s := range streams {
		s.Stream.Close()
	}
	return nil
}
