package task

import "errors"

// What callers branch on. Every method of an Engine and a Lease returns one of
// these, wrapped, or the error of its ctx, or the error of the caller's own Also.
var (
	// ErrNotFound says that there is no such task.
	ErrNotFound = errors.New("no such task")
	// ErrExists says that the idempotency key was used before with another request.
	// The earlier task comes with it.
	ErrExists = errors.New("the idempotency key was used before with another request")
	// ErrConflict says that the key is live for somebody else.
	ErrConflict = errors.New("the idempotency key is in flight for another request")
	// ErrFenced says that the lease is not the task's latest any more: whoever holds
	// it must stop, and what it did is not recorded.
	ErrFenced = errors.New("the lease was lost: another worker may have the task")
	// ErrTerminal says that the task has ended.
	ErrTerminal = errors.New("the task has ended")
	// ErrTransition says that the table of states forbids the step.
	ErrTransition = errors.New("the states of a task do not allow this")
	// ErrNone says that nothing could be claimed in the time given.
	ErrNone = errors.New("no task to claim")
	// ErrInvalid says that a request or an argument breaks a rule that the text names.
	ErrInvalid = errors.New("invalid task request")
	// ErrFull says that the engine's limit on open tasks is reached: try again later.
	ErrFull = errors.New("too many open tasks; try again when some have ended")
	// ErrSlow says that a watcher fell too far behind and was cut off. It may watch
	// again from the cursor of the last event that it got.
	ErrSlow = errors.New("the watcher is too slow; watch again from the last cursor")
	// ErrGone says that events after the cursor were purged: list, then watch from
	// the present.
	ErrGone = errors.New("events after this cursor were purged; list the tasks, then watch from the present")
	// ErrUnavailable says that the engine takes nothing now (it is closed, or the
	// disk is full) and that nothing was done.
	ErrUnavailable = errors.New("the task engine is not available")
	// ErrUnknown says that a write may or may not have happened: read the task again.
	ErrUnknown = errors.New("it is not known whether the write happened; read the task again")
)
