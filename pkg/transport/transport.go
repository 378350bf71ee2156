// Package transport is the port for running tasks somewhere: in this process (local),
// and, behind the same interface, on another gateway. It also says what can be found
// there: agents, skills, capacity and load.
//
// Rules for every adapter: a submission carries its idempotency key, so that sending it
// again is safe; errors are those of pkg/task, whatever travels between; a watch
// resumes at a cursor without loss or duplicates, and a slow watcher is cut with
// task.ErrSlow rather than buffered without bound. pkg/transport/transporttest holds an
// adapter to them. A list that cannot be had is an error, never an empty list.
package transport

import (
	"context"
	"errors"
	"time"

	"github.com/coderclaw/gateway/pkg/task"
)

// ErrUnsupported says that an adapter does not have this method.
var ErrUnsupported = errors.New("this transport cannot do that")

// Mode is what the runtime is part of. It is a label: nothing depends on it.
type Mode string

// The modes of the original.
const (
	ModeLocalOnly   Mode = "local-only"
	ModeRemote      Mode = "remote-enabled"
	ModeDistributed Mode = "distributed-cluster"
)

// AgentInfo is an agent that tasks can name.
type AgentInfo struct {
	ID, Name, Description string
	// Capabilities are words that a task may ask for.
	Capabilities []string
	// Model and Thinking are the defaults, empty when the backend decides.
	Model, Thinking string
	// Running and Open count its tasks that are leased, and that have not ended.
	Running, Open int
}

// SkillInfo is a skill that agents can use.
type SkillInfo struct {
	ID, Name, Description, Version string
	Enabled                        bool
}

// Health is how an adapter has been doing.
type Health struct {
	// LastOK is when a call last succeeded; zero is never.
	LastOK time.Time
	// RTT is how long that call took.
	RTT time.Duration
	// ErrorRate is the share of failed calls among the last 100: 0 to 1. Refusals
	// (task.ErrNotFound and the like) are answers and not failures.
	ErrorRate float64
}

// RuntimeStatus is how a runtime is doing.
type RuntimeStatus struct {
	Version string
	Mode    Mode
	Uptime  time.Duration
	// Active counts running tasks, Queued those that wait for their turn, Total the
	// submissions since the start.
	Active, Queued int
	Total          uint64
	// Capacity is how many tasks may run at a time; Load is the share in use: 0 to 1.
	Capacity int
	Load     float64
	// OldestQueued is how long the oldest pending task has waited.
	OldestQueued time.Duration
	// ByStatus counts the tasks in each state.
	ByStatus map[task.Status]int
	Healthy  bool
	// Adapter is how the way there has been doing.
	Adapter Health
}

// Adapter runs tasks somewhere. All methods are safe for concurrent use and return
// the errors of pkg/task.
type Adapter interface {
	// Submit is task.Engine.Submit without side effects.
	Submit(ctx context.Context, q task.Request) (t task.Task, replayed bool, err error)
	Get(ctx context.Context, id string) (task.Task, error)
	List(ctx context.Context, f task.Filter, p task.Page) (tasks []task.Task, next string, err error)
	Events(ctx context.Context, id string, after uint64, limit int) ([]task.Event, error)
	Watch(ctx context.Context, f task.Filter, after task.Cursor) (task.Stream, error)
	Cancel(ctx context.Context, id, reason, actor string) (task.CancelResult, error)
	Agents(ctx context.Context) ([]AgentInfo, error)
	Skills(ctx context.Context) ([]SkillInfo, error)
	Status(ctx context.Context) (RuntimeStatus, error)
	// FetchNext leases a task to a worker on this side, or is ErrUnsupported.
	FetchNext(ctx context.Context, o task.ClaimOpts) (task.Lease, error)
	// Close ends the watches. The tasks go on.
	Close() error
}
