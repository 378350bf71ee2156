package turn

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/store"
)

// sweepStep is how many ended runs one transaction forgets.
const sweepStep = 64

// recordOverheadBytes is what a remembered run is taken to cost beside its
// strings.
const recordOverheadBytes = 512

// recordKey is the scope of an idempotency key: nobody can replay, or learn of,
// the run of another principal.
type recordKey struct {
	principal string
	namespace Namespace
	key       string
}

// id is where the record lies: by run id, so that the records of one run id stand
// together, then by owner. Hashes make it short whatever a client sends.
func (k recordKey) id() string {
	owner := sha256.Sum256([]byte(string(k.namespace) + "\x00" + k.principal))
	return runPrefix(k.key) + hex.EncodeToString(owner[:16])
}

// runPrefix is what the ids of all records of one run id begin with.
func runPrefix(runID string) string {
	run := sha256.Sum256([]byte(runID))
	return hex.EncodeToString(run[:16])
}

// recordState is how far a run has come, as the disk knows it.
type recordState string

// The states of a record: accepted with the user's message, running from before
// the backend is asked, done with the outcome.
const (
	recordAccepted recordState = "accepted"
	recordRunning  recordState = "running"
	recordDone     recordState = "done"
)

// record is what is kept of a run under its idempotency key. Times are Unix
// milliseconds.
type record struct {
	Principal string    `json:"principal"`
	Namespace Namespace `json:"namespace"`
	// Key is the idempotency key and thereby the run id.
	Key        string `json:"key"`
	ParamsHash []byte `json:"paramsHash"`
	// Seq numbers the runs in the order of their acceptance.
	Seq           uint64      `json:"seq"`
	State         recordState `json:"state"`
	AcceptedAt    int64       `json:"acceptedAt"`
	SessionKey    string      `json:"sessionKey"`
	RawSessionKey string      `json:"rawSessionKey"`
	// SessionID and MessageID say where the user's message stands.
	SessionID string `json:"sessionId"`
	MessageID string `json:"messageId"`
	// Command reports that the message is a slash command and not a turn.
	Command    bool  `json:"command,omitempty"`
	InputBytes int64 `json:"inputBytes,omitempty"`
	TimeoutMs  int64 `json:"timeoutMs,omitempty"`
	// Attempts counts the lives of the gateway that began the run and did not come
	// to its end.
	Attempts int `json:"attempts,omitempty"`

	// The rest is there when State is done.
	Outcome *Outcome       `json:"outcome,omitempty"`
	Usage   *session.Usage `json:"usage,omitempty"`
	EndSeq  uint64         `json:"endSeq,omitempty"`
	Cost    int64          `json:"cost,omitempty"`
}

func (rec *record) key() recordKey { return recordKey{rec.Principal, rec.Namespace, rec.Key} }

// outcome is the outcome of a record that is done.
func (rec *record) outcome() Outcome {
	out := *rec.Outcome
	out.Usage = agentUsage(rec.Usage)
	return out
}

// input is what a run needs to begin again, beside what its record says.
type input struct {
	AgentID  string          `json:"agentId,omitempty"`
	Message  string          `json:"message,omitempty"`
	Images   []session.Image `json:"images,omitempty"`
	Thinking string          `json:"thinking,omitempty"`
	System   string          `json:"system,omitempty"`
}

// endedRun is a record's place in the order of forgetting.
type endedRun struct {
	ID   string `json:"id"`
	At   int64  `json:"at"`
	Cost int64  `json:"cost"`
}

// endedTotal is what all ended runs cost together.
type endedTotal struct {
	Count int64 `json:"count"`
	Cost  int64 `json:"cost"`
}

var (
	// runRecords holds every run that is remembered, by id.
	runRecords = store.NewBucket[record]("turn.runs")
	// runInputs holds the inputs of the runs that have not ended, by id.
	runInputs = store.NewBucket[input]("turn.inputs")
	// liveRuns holds the ids of the runs that have not ended, by Seq.
	liveRuns = store.NewBucket[string]("turn.live")
	// endedRuns holds the others in the order in which they ended.
	endedRuns = store.NewBucket[endedRun]("turn.ended")
	// endedTotals has one row.
	endedTotals = store.NewBucket[endedTotal]("turn.totals")
)

const totalsKey = "ended"

// ledger is the persistent half of Runs: one record for each idempotency key,
// written in the transactions of those who append to the transcript. The durable
// engine takes its place; nothing else of this package touches its buckets.
type ledger struct {
	log *slog.Logger
	// An ended run is forgotten after retention, or earlier when there are more
	// than countMax of them or they cost more than costMax bytes, the oldest first.
	retention         time.Duration
	countMax, costMax int64
}

// find returns the record of a key that is not too old.
func (l *ledger) find(tx *store.Tx, key recordKey, now time.Time) (record, bool, error) {
	rec, ok, err := runRecords.Get(tx, key.id())
	if err != nil || !ok || l.expired(&rec, now) {
		return record{}, false, err
	}
	return rec, true, nil
}

// findRun returns the newest record of a run id, whoever owns it, if that run has
// ended.
func (l *ledger) findRun(tx *store.Tx, runID string, now time.Time) (newest record, ok bool, err error) {
	for row, err := range runRecords.Scan(tx, store.Range{Prefix: runPrefix(runID)}) {
		if err != nil {
			return record{}, false, err
		}
		if row.Value.Seq > newest.Seq {
			newest = row.Value
		}
	}
	if newest.State != recordDone || l.expired(&newest, now) {
		return record{}, false, nil
	}
	return newest, true, nil
}

// expired reports whether a record is older than retention. A run that has not
// ended never is.
func (l *ledger) expired(rec *record, now time.Time) bool {
	return rec.State == recordDone && now.Sub(time.UnixMilli(rec.Outcome.EndedAt)) >= l.retention
}

// accept writes the record of a new run, in place of one that is too old.
func (l *ledger) accept(tx *store.Tx, rec record, in input) error {
	id := rec.key().id()
	old, had, err := runRecords.Get(tx, id)
	if err != nil {
		return err
	}
	if had {
		if old.State != recordDone {
			return fmt.Errorf("run %s is recorded as %s", rec.Key, old.State)
		}
		if err := l.forget(tx, store.SeqKey("", old.EndSeq), endedRun{ID: id, Cost: old.Cost}); err != nil {
			return err
		}
	}
	if rec.Seq, err = liveRuns.NextSequence(tx); err != nil {
		return err
	}
	rec.State = recordAccepted
	return errors.Join(
		runRecords.Put(tx, id, rec),
		runInputs.Put(tx, id, in),
		liveRuns.Put(tx, store.SeqKey("", rec.Seq), id),
	)
}

// input returns what a run that has not ended needs to begin again.
func (l *ledger) input(tx *store.Tx, key recordKey) (input, error) {
	in, ok, err := runInputs.Get(tx, key.id())
	if err == nil && !ok {
		err = fmt.Errorf("run %s has no stored input", key.key)
	}
	return in, err
}

// begin notes that the backend is about to be asked.
func (l *ledger) begin(tx *store.Tx, key recordKey) error {
	return l.change(tx, key, func(rec *record) {
		rec.State = recordRunning
		rec.Attempts++
	})
}

// putBack notes that the gateway lives although the run did not come to its end: it
// is to be run again, and its attempts so far say nothing against it.
func (l *ledger) putBack(tx *store.Tx, key recordKey) error {
	return l.change(tx, key, func(rec *record) {
		rec.State = recordAccepted
		rec.Attempts = 0
	})
}

// change rewrites the record of a run that has not ended.
func (l *ledger) change(tx *store.Tx, key recordKey, fn func(*record)) error {
	rec, ok, err := runRecords.Get(tx, key.id())
	switch {
	case err != nil:
		return err
	case !ok || rec.State == recordDone:
		return fmt.Errorf("run %s is not recorded as live", key.key)
	}
	fn(&rec)
	return runRecords.Put(tx, key.id(), rec)
}

// finish writes the outcome, once: a second call changes nothing. It forgets a few
// old ended runs on the way, so that the ledger keeps its bounds under any load.
func (l *ledger) finish(tx *store.Tx, key recordKey, out Outcome) error {
	id := key.id()
	rec, ok, err := runRecords.Get(tx, id)
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("run %s is not recorded", key.key)
	case rec.State == recordDone:
		return nil
	}
	// Only the agent method ever answers with the text again; the transcript has it
	// in any case.
	if key.namespace != NamespaceAgent {
		out.Text = ""
	}
	rec.State, rec.Outcome, rec.Usage = recordDone, &out, messageUsage(out.Usage)
	rec.Cost = int64(recordOverheadBytes + len(rec.Key) + len(rec.Principal) + len(rec.SessionKey) +
		len(rec.RawSessionKey) + len(out.Text) + len(out.Error))
	if rec.EndSeq, err = endedRuns.NextSequence(tx); err != nil {
		return err
	}
	total, _, err := endedTotals.Get(tx, totalsKey)
	if err != nil {
		return err
	}
	err = errors.Join(
		runRecords.Put(tx, id, rec),
		runInputs.Delete(tx, id),
		liveRuns.Delete(tx, store.SeqKey("", rec.Seq)),
		endedRuns.Put(tx, store.SeqKey("", rec.EndSeq), endedRun{ID: id, At: out.EndedAt, Cost: rec.Cost}),
		endedTotals.Put(tx, totalsKey, endedTotal{total.Count + 1, total.Cost + rec.Cost}),
	)
	if err != nil {
		return err
	}
	_, err = l.sweep(tx, time.UnixMilli(out.EndedAt))
	return err
}

// sweep forgets at most sweepStep ended runs that are too old or too many, the
// oldest first, and reports whether there may be more. The newest always stays:
// its client may be about to ask.
func (l *ledger) sweep(tx *store.Tx, now time.Time) (more bool, err error) {
	total, _, err := endedTotals.Get(tx, totalsKey)
	if err != nil {
		return false, err
	}
	var drop []store.Row[endedRun]
	for row, err := range endedRuns.Scan(tx, store.Range{Limit: sweepStep}) {
		if err != nil && row.Key == "" {
			return false, err
		}
		if err != nil {
			l.log.Warn("order of ended runs unreadable", "key", fmt.Sprintf("%x", row.Key), "err", err)
			continue
		}
		old := now.Sub(time.UnixMilli(row.Value.At)) >= l.retention
		over := total.Count > 1 && (total.Count > l.countMax || total.Cost > l.costMax)
		if !old && !over {
			break
		}
		total.Count--
		total.Cost -= row.Value.Cost
		drop = append(drop, row)
	}
	for _, row := range drop {
		if err := l.forget(tx, row.Key, row.Value); err != nil {
			return false, err
		}
	}
	return len(drop) == sweepStep, nil
}

// forget removes an ended run.
func (l *ledger) forget(tx *store.Tx, place string, run endedRun) error {
	total, _, err := endedTotals.Get(tx, totalsKey)
	if err != nil {
		return err
	}
	return errors.Join(
		runRecords.Delete(tx, run.ID),
		endedRuns.Delete(tx, place),
		endedTotals.Put(tx, totalsKey, endedTotal{max(total.Count-1, 0), max(total.Cost-run.Cost, 0)}),
	)
}

// live returns the records of the runs that have not ended, in the order of their
// acceptance. One that cannot be read is logged and left where it is.
func (l *ledger) live(tx *store.Tx) ([]record, error) {
	var list []record
	for row, err := range liveRuns.All(tx) {
		if err != nil && row.Key == "" {
			return nil, err
		}
		var rec record
		ok := false
		if err == nil {
			rec, ok, err = runRecords.Get(tx, row.Value)
		}
		if err != nil || !ok {
			l.log.Error("accepted run unreadable: it is not run again", "record", row.Value, "err", err)
			continue
		}
		list = append(list, rec)
	}
	return list, nil
}
