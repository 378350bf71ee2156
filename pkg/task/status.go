package task

import "fmt"

// Status is how far a task has come. The words and the transitions are those of
// the original (transport/task-engine.ts), with pending to failed added.
type Status string

// The seven states. Failed, Completed and Cancelled are terminal: nothing leaves
// them, whoever writes.
const (
	Pending   Status = "pending"
	Planning  Status = "planning"
	Running   Status = "running"
	Waiting   Status = "waiting"
	Failed    Status = "failed"
	Completed Status = "completed"
	Cancelled Status = "cancelled"
)

// Statuses lists the seven states in the order of a task's life.
func Statuses() []Status {
	return []Status{Pending, Planning, Running, Waiting, Failed, Completed, Cancelled}
}

// Valid reports whether s is one of the seven.
func (s Status) Valid() bool {
	switch s {
	case Pending, Planning, Running, Waiting, Failed, Completed, Cancelled:
		return true
	}
	return false
}

// Terminal reports whether nothing leaves s.
func (s Status) Terminal() bool { return s == Failed || s == Completed || s == Cancelled }

// May reports whether a task in s may go to next. A task that is pending fails by
// its deadline, by a dependency, or by being given up.
func (s Status) May(next Status) bool {
	switch s {
	case Pending:
		return next == Planning || next == Failed || next == Cancelled
	case Planning:
		return next == Running || next == Failed || next == Cancelled
	case Running:
		return next == Waiting || next == Completed || next == Failed || next == Cancelled
	case Waiting:
		return next == Running || next == Failed || next == Cancelled
	}
	return false
}

// Move returns why the task id in s may not go to next, or nil: ErrTerminal when
// it has ended, else ErrTransition.
func (s Status) Move(id string, next Status) error {
	switch {
	case s.May(next):
		return nil
	case s.Terminal():
		return fmt.Errorf("task %s is %s and cannot become %s: %w", id, s, next, ErrTerminal)
	}
	return fmt.Errorf("invalid status transition from %s to %s for task %s: %w", s, next, id, ErrTransition)
}
