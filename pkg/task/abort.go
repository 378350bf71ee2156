package task

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// abortWait is how long the end of an aborted session's runs is waited for; the
// original waits as long in sessions.reset.
const abortWait = 15 * time.Second

// errStillActive says that a cancelled run of the session did not end in time.
var errStillActive = errors.New("session is still active")

// IsStop reports whether a whole message is one of the words that stop a
// session's runs instead of starting one (chat.send of the original).
func IsStop(message string) bool {
	switch strings.ToLower(strings.TrimSpace(message)) {
	case "/stop", "stop", "esc", "abort", "wait", "exit", "interrupt":
		return true
	}
	return false
}

// AbortRun aborts one run, whoever started it, and returns when its terminal
// event is out. aborted is false when the run is unknown or has ended by itself.
// A run of another session than sessionKey (canonical) is refused.
func (r *Runs) AbortRun(ctx context.Context, sessionKey, runID, reason string) (aborted bool, err error) {
	r.mu.Lock()
	run, ok := r.dedupe.byID[runID]
	ok = ok && !run.settled
	r.mu.Unlock()
	if !ok {
		return false, nil
	}
	if run.req.SessionKey != sessionKey {
		return false, wire.Errorf(protocol.ErrorInvalidRequest, "runId does not match sessionKey")
	}
	run.cancel(abortCause{reason})
	out, err := run.Wait(ctx)
	return out.State == StateAborted, err
}

// AbortSession aborts every run of a session, queued ones included, and returns
// the ids of those that it aborted, oldest first, once their terminal events are
// out.
func (r *Runs) AbortSession(ctx context.Context, sessionKey, reason string) ([]string, error) {
	ids := []string{}
	live, _ := r.cancelSession(sessionKey, reason, nil)
	for _, run := range live {
		out, err := run.Wait(ctx)
		if err != nil {
			return ids, err
		}
		if out.State == StateAborted {
			ids = append(ids, run.ID())
		}
	}
	return ids, nil
}

// EndSession aborts every run of a session and waits until nothing of them is
// left, their backends included: at most 15 s. It is what must happen before a
// session is reset or deleted. The error is UNAVAILABLE.
func (r *Runs) EndSession(ctx context.Context, sessionKey string) error {
	return r.endSession(ctx, sessionKey, nil)
}

// endSession is EndSession for all runs but one.
func (r *Runs) endSession(ctx context.Context, sessionKey string, except *Run) error {
	ctx, cancel := context.WithTimeoutCause(ctx, abortWait, errStillActive)
	defer cancel()
	live, ended := r.cancelSession(sessionKey, StopRPC, except)
	for _, run := range slices.Concat(ended, live) {
		select {
		case <-run.done:
		case <-ctx.Done():
			if context.Cause(ctx) != errStillActive {
				return ctx.Err()
			}
			return unavailable(protocol.DetailSessionActive,
				"Session %s is still active; try again in a moment.", sessionKey)
		}
	}
	return nil
}

// cancelSession cancels the runs of a session, the last in line first, so that
// none of them gets its turn while the others end. It returns, oldest first, those
// that it cancelled, and those whose end is told while something of them is left.
// A run that is still being accepted is cancelled too but not returned: it ends
// by itself, and two resets that wait for each other would wait in vain.
func (r *Runs) cancelSession(sessionKey, reason string, except *Run) (live, ended []*Run) {
	r.mu.Lock()
	for _, run := range without(r.active[sessionKey], except) {
		if run.settled {
			ended = append(ended, run)
		} else {
			live = append(live, run)
		}
	}
	r.mu.Unlock()
	for _, run := range slices.Backward(live) {
		run.cancel(abortCause{reason})
	}
	live = slices.DeleteFunc(live, func(run *Run) bool {
		select {
		case <-run.accepted:
			return false
		default:
			return true
		}
	})
	return live, ended
}

// resetSession ends the session's other runs and gives it an empty transcript.
func (r *Runs) resetSession(ctx context.Context, sessionKey string, self *Run) (session.Entry, error) {
	if err := r.endSession(ctx, sessionKey, self); err != nil {
		return session.Entry{}, err
	}
	entry, ok, err := r.sessions.Get(sessionKey)
	if err != nil || !ok {
		return entry, err
	}
	return r.sessions.Reset(ctx, sessionKey)
}

// arrival is what waits for a run that has not come yet.
type arrival struct {
	arrived chan struct{}
	waiters int
}

// Wait blocks until the run with this id has ended or ctx ends. An unknown id is
// waited for as well: clients ask before the run is accepted. ok is false when
// ctx ended first.
func (r *Runs) Wait(ctx context.Context, runID string) (out Outcome, ok bool) {
	for {
		r.mu.Lock()
		run, known := r.dedupe.byID[runID]
		var a *arrival
		if !known {
			a = r.awaitLocked(runID)
		}
		r.mu.Unlock()
		if known {
			out, err := run.Wait(ctx)
			return out, err == nil && out.State != ""
		}
		select {
		case <-a.arrived:
		case <-ctx.Done():
			r.stopAwaiting(runID, a)
			return Outcome{}, false
		}
	}
}

// awaitLocked joins those who wait for a run id.
func (r *Runs) awaitLocked(runID string) *arrival {
	a, ok := r.arrivals[runID]
	if !ok {
		a = &arrival{arrived: make(chan struct{})}
		r.arrivals[runID] = a
	}
	a.waiters++
	return a
}

// stopAwaiting leaves them, and the last one clears the place.
func (r *Runs) stopAwaiting(runID string, a *arrival) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a.waiters--
	if a.waiters == 0 && r.arrivals[runID] == a {
		delete(r.arrivals, runID)
	}
}
