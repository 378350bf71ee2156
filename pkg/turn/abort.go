package turn

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/task"
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
	run, ok := r.byID[runID]
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

// EndSession aborts every run of a session, waits until nothing of them is left,
// their backends included, and then calls then while the session takes no new run:
// requests that come meanwhile wait. It is how a session is reset or deleted. When
// a run does not end within 15 s the error is UNAVAILABLE and then is not called;
// otherwise it is then's.
func (r *Runs) EndSession(ctx context.Context, sessionKey string, then func() error) error {
	release, err := r.quiesce(ctx, sessionKey, nil)
	if err != nil {
		return err
	}
	defer release()
	return then()
}

// quiesce holds a session and ends all its runs but one.
func (r *Runs) quiesce(ctx context.Context, sessionKey string, except *Run) (release func(), err error) {
	waitCtx, cancel := context.WithTimeoutCause(ctx, abortWait, errStillActive)
	defer cancel()
	if release, err = r.hold(waitCtx, sessionKey); err != nil {
		return nil, stillActive(waitCtx, sessionKey)
	}
	if err := r.endOthers(ctx, sessionKey, except); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// endOthers ends all runs but one of a session that is held.
func (r *Runs) endOthers(ctx context.Context, sessionKey string, except *Run) error {
	ctx, cancel := context.WithTimeoutCause(ctx, abortWait, errStillActive)
	defer cancel()
	live, ended := r.cancelSession(sessionKey, StopRPC, except)
	for _, run := range slices.Concat(ended, live) {
		select {
		case <-run.done:
		case <-ctx.Done():
			return stillActive(ctx, sessionKey)
		}
	}
	return nil
}

// stillActive is the error of a wait for the end of a session's runs.
func stillActive(ctx context.Context, sessionKey string) error {
	if context.Cause(ctx) != errStillActive {
		return ctx.Err()
	}
	return unavailable(protocol.DetailSessionActive,
		"Session %s is still active; try again in a moment.", sessionKey)
}

// cancelSession cancels the runs of a session, the last in line first, so that
// none of them gets its turn while the others end. It returns, oldest first, those
// that it cancelled, and those whose end is told while something of them is left.
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
	return live, ended
}

// arrival is what waits for a run that has not come yet.
type arrival struct {
	arrived chan struct{}
	waiters int
}

// Wait blocks until the run with this id has ended or ctx ends. An unknown id is
// waited for as well: clients ask before the run is accepted. A run that ended in an
// earlier life is known for as long as its key is. ok is false when ctx ended first,
// or the gateway stops and the run is to begin again.
func (r *Runs) Wait(ctx context.Context, runID string) (out Outcome, ok bool) {
	for {
		r.mu.Lock()
		run, known := r.byID[runID]
		var a *arrival
		if !known {
			a = r.awaitLocked(runID)
		}
		r.mu.Unlock()
		if known {
			out, err := run.Wait(ctx)
			if err == nil && run.isPostponed() {
				select {
				case <-run.done: // then it is asked for like one that is not known yet
					continue
				case <-ctx.Done():
					return Outcome{}, false
				}
			}
			return out, err == nil && out.State != "" && out.State != StateSuspended
		}
		t, found := r.stored(ctx, runID)
		switch {
		case found && t.Status.Terminal():
			r.stopAwaiting(runID, a)
			return outcomeOf(&t), true
		case found && r.awaitEnd(ctx, t.ID, a.arrived):
			r.stopAwaiting(runID, a)
			continue
		}
		select {
		case <-a.arrived:
		case <-ctx.Done():
			r.stopAwaiting(runID, a)
			return Outcome{}, false
		}
	}
}

// isPostponed reports whether the run's task is tried again by another run.
func (run *Run) isPostponed() bool {
	run.runs.mu.Lock()
	defer run.runs.mu.Unlock()
	return run.postponed
}

// stored returns the task that the engine has of a run id.
func (r *Runs) stored(ctx context.Context, runID string) (t task.Task, found bool) {
	t, err := r.tasks.ByRunID(context.WithoutCancel(ctx), runID)
	if err != nil && !errors.Is(err, task.ErrNotFound) {
		r.log.Warn("outcome unreadable", "runId", runID, "err", err)
	}
	return t, err == nil
}

// awaitEnd waits for a task that has no run yet, until it has one or ctx ends. It
// reports true when it has ended without one: it was cancelled in line, say.
func (r *Runs) awaitEnd(ctx context.Context, id string, arrived <-chan struct{}) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := task.Filter{ID: id, Statuses: []task.Status{task.Failed, task.Completed, task.Cancelled}}
	s, err := r.tasks.Watch(ctx, ended, 0)
	if err != nil {
		return false
	}
	defer s.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-arrived:
			cancel()
		case <-ctx.Done():
		}
	})
	_, err = s.Next(ctx)
	cancel()
	wg.Wait()
	return err == nil
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
