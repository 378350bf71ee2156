package task

import (
	"time"
)

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

// dedupe remembers runs by idempotency key. It is a part of Runs and guarded by
// its mutex.
type dedupe struct {
	records  map[recordKey]*Run
	byID     map[string]*Run // the newest run of each run id
	finished []*Run          // in the order they ended, oldest first
	bytes    int             // what finished costs
	ttl      time.Duration
	bytesMax int
}

// lookupLocked returns the run that already has the key.
func (d *dedupe) lookupLocked(k recordKey) (*Run, bool) {
	run, ok := d.records[k]
	return run, ok
}

// addLocked remembers a run in flight.
func (d *dedupe) addLocked(run *Run) {
	d.records[run.key] = run
	d.byID[run.key.key] = run
}

// forgetLocked drops a run, whether or not it has ended.
func (d *dedupe) forgetLocked(run *Run) {
	if d.records[run.key] == run {
		delete(d.records, run.key)
	}
	if d.byID[run.key.key] == run {
		delete(d.byID, run.key.key)
	}
}

// finishLocked moves a run that has its outcome under the limits of age and
// bytes.
func (d *dedupe) finishLocked(run *Run, now time.Time) {
	run.finishedAt = now
	run.cost = recordOverheadBytes + len(run.key.key) + len(run.key.principal) +
		len(run.outcome.Text) + len(run.outcome.Error)
	d.finished = append(d.finished, run)
	d.bytes += run.cost
	d.pruneLocked(now)
}

// pruneLocked forgets finished runs that are too old, then the oldest ones until
// the rest fits. The newest always stays: its client may be about to ask.
func (d *dedupe) pruneLocked(now time.Time) {
	n := 0
	for n < len(d.finished) {
		run := d.finished[n]
		old := now.Sub(run.finishedAt) >= d.ttl
		over := d.bytes > d.bytesMax && n < len(d.finished)-1
		if !old && !over {
			break
		}
		d.forgetLocked(run)
		d.bytes -= run.cost
		d.finished[n] = nil
		n++
	}
	if n > 0 {
		d.finished = append(d.finished[:0:0], d.finished[n:]...)
	}
}
