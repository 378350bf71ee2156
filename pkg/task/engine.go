package task

import (
	"context"
	"encoding/json"
	"time"

	"github.com/coderclaw/gateway/pkg/store"
)

// Also is what a caller writes in the very transaction of a change: the message that
// begins a task, the reply that ends it. Either all of it is on disk or nothing. An
// error takes the change back and is returned as it is. It may run more than once; see
// store.DB.Update.
type Also func(*store.Tx) error

// Filter selects tasks, and the events of those tasks. Empty members select all.
type Filter struct {
	ID           string
	Statuses     []Status // of events: the task's status after the event
	SessionID    string
	AgentID      string
	ParentTaskID string
	RootID       string // a whole tree
	Namespace    Namespace
	// CreatedAfter and CreatedBefore bound CreatedAt; both are ignored for events.
	CreatedAfter, CreatedBefore time.Time
}

// Page selects a part of a list. Pages are stable while tasks come and go: each task
// that exists all the time is on exactly one page.
type Page struct {
	// After is the id that ended the page before; empty begins.
	After string
	// Limit is 1 to 500; 0 means 50.
	Limit int
	// OldestFirst turns the order round; the newest come first otherwise.
	OldestFirst bool
}

// Store is what can be read. Reads see all that was acknowledged before.
type Store interface {
	// Get returns a task with its input and output.
	Get(ctx context.Context, id string) (Task, error)
	// ByKey returns the task of an idempotency key that is still remembered.
	ByKey(ctx context.Context, key Key) (Task, error)
	// ByRunID returns the newest task that Task.RunID names, whoever owns it.
	ByRunID(ctx context.Context, runID string) (Task, error)
	// List returns a page and the After of the next one, empty at the end. Inputs,
	// outputs and payloads are left out.
	List(ctx context.Context, f Filter, p Page) (tasks []Task, next string, err error)
	// Events returns at most limit events of a task with a Seq above after, in order;
	// limit is 1 to 1000, 0 means 1000.
	Events(ctx context.Context, id string, after uint64, limit int) ([]Event, error)
	// Watch tells every event that f selects with a cursor above after: first those
	// that are stored, then those to come, each once, in order.
	Watch(ctx context.Context, f Filter, after Cursor) (Stream, error)
	// Head returns the cursor of the latest event.
	Head() Cursor
	// Purge removes trees of tasks that all ended before a time, oldest first, in
	// small steps, and returns how many tasks went.
	Purge(ctx context.Context, before time.Time) (n int, err error)
}

// Stream is a watch. One goroutine at a time may call Next; Close may be called by
// any, more than once, and ends a Next that waits.
type Stream interface {
	// Next returns the next event; one that is stored comes even if ctx has ended.
	// Otherwise it waits until ctx ends, the stream is closed (ErrUnavailable), or the
	// watcher is cut off: ErrSlow when it fell too far behind, ErrGone when the events
	// were purged.
	Next(ctx context.Context) (Event, error)
	Close()
}

// ClaimOpts says what to claim.
type ClaimOpts struct {
	// Worker names the claimer in the history.
	Worker string
	// TaskID claims this task and no other, as soon as it is its turn.
	TaskID string
	// Namespaces lists what a claim without a TaskID takes; none means NamespaceTask.
	Namespaces []Namespace
	// Capabilities is what the worker can do: it gets tasks that ask for a part of it.
	Capabilities []string
	// Wait is how long to wait for a task; 0 waits until ctx ends.
	Wait time.Duration
	// TTL is how long the lease holds without a heartbeat; 0 means the engine's.
	TTL time.Duration
	// Overtake leases a TaskID although the engine's limits are reached: for work that
	// takes no time, such as the command that stops another task.
	Overtake bool
	// Plan leaves the task in planning, and no attempt is counted, until Lease.Begin.
	Plan bool
}

// Queue hands tasks out, each to one worker at a time: higher priority first, then
// in the order of submission.
type Queue interface {
	// Claim waits for a task and leases it. ErrNone after Wait; ErrTerminal and
	// ErrNotFound for a TaskID that cannot be claimed any more.
	Claim(ctx context.Context, o ClaimOpts) (Lease, error)
}

// Output is what a completed task returns.
type Output struct {
	Text string
	// Result is for the gateway's own use; see Task.Result.
	Result json.RawMessage
}

// Condition is what a waiting task waits for: all of it. A zero one waits for
// Engine.Resume.
type Condition struct {
	// Until is a time.
	Until time.Time `json:"until,omitzero"`
	// Tasks must have ended, in whatever state.
	Tasks []string `json:"tasks,omitempty"`
}

// Lease is the right to work on a task, for as long as its worker sends heartbeats.
// Its methods are safe for concurrent use. Each that writes returns ErrFenced when
// the lease is not the task's latest, and ErrTerminal when the task has ended.
type Lease interface {
	// Task is the task as it was claimed, with input, payload and checkpoint.
	Task() Task
	// Epoch is the fencing token: constant in this lease, greater than in any earlier
	// lease of the task. Effects outside of the store should carry it.
	Epoch() uint64
	// Done is closed when the lease has ended: completed, lost, cancelled or expired.
	// Err then tells which: nil, ErrFenced or ErrTerminal; before, it is nil.
	Done() <-chan struct{}
	Err() error
	// Begin starts the attempt of a claim with Plan, and runs also in the same
	// transaction; an attempt that has begun is left as it is, without also.
	Begin(ctx context.Context, also ...Also) error
	// Heartbeat keeps the lease for another TTL.
	Heartbeat(ctx context.Context) error
	// Progress reports a percentage, 0 to 100. It may go back only with a new attempt;
	// a smaller one than the last is ignored. It is a heartbeat too.
	Progress(ctx context.Context, percent int, message string) error
	// Checkpoint keeps up to CheckpointBytesMax bytes for the next attempt. It is a
	// heartbeat too.
	Checkpoint(ctx context.Context, state []byte) error
	// Wait gives the lease up until the condition holds; then the task can be claimed
	// again.
	Wait(ctx context.Context, until Condition) error
	// Complete, Fail and Cancel end the task. Fail tries again later, if the failure
	// is retryable and attempts are left: after the delay, or after a back-off that
	// doubles when it is 0; also is not run then, and retried is true.
	Complete(ctx context.Context, out Output, also ...Also) error
	Fail(ctx context.Context, f Failure, delay time.Duration, out Output, also ...Also) (retried bool, err error)
	Cancel(ctx context.Context, reason string, out Output, also ...Also) error
	// Release gives the task back in good order: it can be claimed at once, and its
	// attempts so far say nothing against it.
	Release(ctx context.Context) error
}

// CancelResult tells what a cancellation did.
type CancelResult struct {
	// Cancelled reports that it ended the task.
	Cancelled bool
	// AlreadyTerminal reports that the task had ended before.
	AlreadyTerminal bool
	// Task is the task afterwards, without its input and output.
	Task Task
	// Descendants are the ids of the tasks below it that were cancelled with it,
	// the deepest first.
	Descendants []string
}

// Stats is how an engine is doing.
type Stats struct {
	// ByStatus counts the tasks in each state; ended ones until they are purged.
	ByStatus map[Status]int
	// Leased counts the tasks that a worker has.
	Leased int
	// Submitted counts the submissions since the engine was opened.
	Submitted uint64
	// OldestPending is when the oldest pending task came; zero when there is none.
	OldestPending time.Time
	// StartedAt is when the engine was opened.
	StartedAt time.Time
	// RunningMax is the limit on leased tasks, OpenMax on tasks that have not ended.
	RunningMax, OpenMax int
	// Healthy reports that the last write succeeded.
	Healthy bool
}

// Engine is a durable task engine. All methods are safe for concurrent use.
type Engine interface {
	Store
	Queue
	// Submit stores a task and returns it. A key that is remembered returns its task
	// with replayed true, and also is not run; with another ParamsHash the error is
	// ErrExists, and the task comes with it. A key that is live for somebody else is
	// ErrConflict.
	Submit(ctx context.Context, q Request, also ...Also) (t Task, replayed bool, err error)
	// Cancel ends a task, and its descendants that are not detached, at once and in
	// one transaction; the workers' leases end. The error is ErrNotFound or one of
	// the store; a task that has ended is no error.
	Cancel(ctx context.Context, id, reason, actor string) (CancelResult, error)
	// Withdraw ends a task that no worker has: as failed, or as cancelled when the
	// failure's code is CodeCancelled. A leased task is ErrFenced: its worker ends it.
	Withdraw(ctx context.Context, id string, f Failure, out Output, also ...Also) error
	// Resume lets a waiting task be claimed though its condition does not hold.
	Resume(ctx context.Context, id, actor string) (Task, error)
	Stats(ctx context.Context) (Stats, error)
	// Run drives leases, delays, deadlines and retention until ctx ends.
	Run(ctx context.Context) error
	// Close ends all leases, streams and claims. What is leased stays so on disk and
	// is handed out again by the next engine on the same store.
	Close() error
}
