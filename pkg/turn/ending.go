package turn

import (
	"context"
	"errors"
	"time"

	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task"
)

// ending is all that the end of a run writes, in one transaction: a crash leaves
// the whole of it or nothing.
type ending struct {
	// reset begins the transcript anew before the message.
	reset bool
	// message goes into the transcript, with change to the session's entry; nil
	// writes neither.
	message *session.Message
	change  func(*session.Entry)
	// stored is the message as it was stored.
	stored *session.Message
	// notes are the system events that the run was told.
	notes []session.Note
	// outcome ends the task. persist fills in its times and its session.
	outcome Outcome
}

// persist writes the ending. The message is afterwards as it was stored. When the task
// was ended by others, the error is task.ErrTerminal and nothing is written.
func (run *Run) persist(e *ending) error {
	// It outlives the run's own context: that is when it matters.
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	now := run.stamp(e)
	return run.finish(ctx, &e.outcome, func(tx *store.Tx) error { return run.write(tx, e, now) })
}

// stamp fills in the times of an outcome, and its session as far as it is known.
func (run *Run) stamp(e *ending) time.Time {
	now := time.Now()
	e.outcome.EndedAt = now.UnixMilli()
	e.outcome.StartedAt = run.stream.startedAt
	e.outcome.SessionID = run.sessionID
	return now
}

// write puts what an ending says into the session.
func (run *Run) write(tx *store.Tx, e *ending, now time.Time) error {
	r := run.runs
	if e.reset {
		entry, err := r.sessions.ResetTx(tx, run.req.SessionKey)
		if err != nil {
			return err
		}
		e.outcome.SessionID = entry.SessionID
	}
	if e.message != nil {
		msg := *e.message
		msg.RunID, msg.Timestamp = run.ID(), now.UnixMilli()
		entry, stored, err := r.sessions.AppendTx(tx, run.req.SessionKey, e.change, msg)
		if err != nil {
			return err
		}
		e.stored, e.outcome.SessionID = &stored[0], entry.SessionID
	}
	return r.sessions.DropNotesTx(tx, e.notes)
}

// persistOrKeep writes the ending of a run that ends in any case. When its task was
// ended by others the words are kept all the same. When the disk refuses the words,
// the outcome alone is tried; when it refuses that too, the run is kept in memory until
// it can be written.
func (run *Run) persistOrKeep(e *ending) {
	err := run.persist(e)
	if err == nil {
		return
	}
	r := run.runs
	if errors.Is(err, task.ErrTerminal) {
		ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
		defer cancel()
		if t, err := r.tasks.Get(ctx, run.taskID); err == nil {
			theirs := foreignOutcome(&t)
			e.outcome.State, e.outcome.StopReason, e.outcome.Error, e.outcome.Detail = theirs.State, theirs.StopReason, theirs.Error, theirs.Detail
		}
		now := run.stamp(e)
		if err := r.db.Update(ctx, func(tx *store.Tx) error { return run.write(tx, e, now) }); err != nil {
			r.log.Error("words of the run not stored", "runId", run.ID(), "err", err)
		}
		return
	}
	r.log.Error("end of the run not stored", "runId", run.ID(), "state", e.outcome.State, "err", err)
	bare := ending{outcome: e.outcome}
	if e.message != nil {
		if err = run.persist(&bare); err == nil {
			e.outcome = bare.outcome
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	run.unsaved = true
	r.unsaved = append(r.unsaved, run)
	for _, other := range r.active[run.req.SessionKey] {
		if !other.isCommand && !other.claimed {
			other.noTurn(errNoRoom{err})
		}
	}
}

// errNoRoom is why those get no turn who stand behind a run whose end the disk
// refuses: its task is open, and holds their session's line.
type errNoRoom struct{ cause error }

// Error implements error.
func (e errNoRoom) Error() string { return e.cause.Error() }

// unblock writes what the disk has refused before, so that a run of the same session
// gets its turn. The error is that of the disk.
func (run *Run) unblock() error {
	r := run.runs
	r.mu.Lock()
	blocked := len(r.unsaved) > 0 && !run.isCommand
	r.mu.Unlock()
	if !blocked {
		return nil
	}
	r.saveOutcomes(run.ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, other := range r.unsaved {
		if other.req.SessionKey == run.req.SessionKey && !other.isCommand {
			return errNoRoom{errors.New("the end of the run before it is not stored yet")}
		}
	}
	return nil
}
