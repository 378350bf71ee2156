package turn

import (
	"time"

	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/store"
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
	// notes are the system events that the run was told.
	notes []session.Note
	// outcome goes into the ledger. persist fills in its times and its session.
	outcome Outcome
}

// persist writes the ending. The message is afterwards as it was stored.
func (run *Run) persist(e *ending) error {
	now := time.Now()
	e.outcome.EndedAt = now.UnixMilli()
	e.outcome.StartedAt = run.stream.startedAt
	e.outcome.SessionID = run.sessionID
	r := run.runs
	return run.update(func(tx *store.Tx) error {
		if e.reset {
			if _, err := r.sessions.ResetTx(tx, run.req.SessionKey); err != nil {
				return err
			}
		}
		if e.message != nil {
			msg := *e.message
			msg.RunID, msg.Timestamp = run.ID(), now.UnixMilli()
			entry, stored, err := r.sessions.AppendTx(tx, run.req.SessionKey, e.change, msg)
			if err != nil {
				return err
			}
			*e.message, e.outcome.SessionID = stored[0], entry.SessionID
		}
		if err := r.sessions.DropNotesTx(tx, e.notes); err != nil {
			return err
		}
		return r.ledger.finish(tx, run.key, e.outcome)
	})
}

// persistOrKeep writes the ending of a run that ends in any case. When the disk
// refuses the words, the outcome alone is tried; when it refuses that too, the run
// is kept in memory until it can be written.
func (run *Run) persistOrKeep(e *ending) {
	err := run.persist(e)
	if err == nil {
		return
	}
	r := run.runs
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
}
