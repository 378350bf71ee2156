package turn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/task"
)

// attemptsMax is how many lives of the gateway may end with the same run under way
// before it is closed as interrupted.
const attemptsMax = 10

// load takes the runs that an earlier life has left into the registry, in the order
// of their acceptance. From then on they can be asked for, waited for and aborted;
// their inputs stay on disk until their turn.
func (r *Runs) load() error {
	list, err := r.openTasks()
	if err != nil {
		return err
	}
	for _, t := range list {
		run := newRun(r, Request{
			Principal:     t.Key.Principal,
			Namespace:     t.Key.Namespace,
			Key:           t.Key.Key,
			SessionKey:    t.SessionID,
			RawSessionKey: t.SessionID,
		}, t.Key)
		copy(run.paramsHash[:], t.ParamsHash)
		run.acceptedAt, run.taskID, run.parent = t.CreatedAt, t.ID, t.ParentTaskID
		run.isCommand, run.inputBytes = t.Concurrent, t.InputBytes
		run.life = min(max(time.Duration(t.TimeoutMs)*time.Millisecond-engineGrace, expiryMin), expiryMax)
		run.resumed = true
		close(run.accepted)
		r.mu.Lock()
		r.enterLocked(run)
		r.resumable = append(r.resumable, run)
		r.mu.Unlock()
	}
	return nil
}

// openTasks returns the tasks of the runs that have not ended, in the order of their
// acceptance.
func (r *Runs) openTasks() ([]task.Task, error) {
	var list []task.Task
	page := task.Page{Limit: 500, OldestFirst: true}
	open := task.Filter{Statuses: []task.Status{task.Pending, task.Planning, task.Running, task.Waiting}}
	for {
		part, next, err := r.tasks.List(context.Background(), open, page)
		if err != nil {
			return nil, err
		}
		for _, t := range part {
			if t.Key.Namespace == NamespaceChat || t.Key.Namespace == NamespaceAgent {
				list = append(list, t)
			}
		}
		if page.After = next; next == "" {
			break
		}
	}
	slices.SortFunc(list, func(a, b task.Task) int { return cmp.Compare(a.Order, b.Order) })
	return list, nil
}

// interrupted reports whether an earlier life has left anything of which clients may
// have heard: runs, or submitted tasks that had begun.
func (r *Runs) interrupted(ctx context.Context) bool {
	r.mu.Lock()
	n := len(r.resumable)
	r.mu.Unlock()
	if n > 0 {
		return true
	}
	begun := task.Filter{Statuses: []task.Status{task.Planning, task.Running}, Namespace: task.NamespaceTask}
	list, _, err := r.tasks.List(ctx, begun, task.Page{Limit: 1})
	return err == nil && len(list) > 0
}

// resume begins the runs that an earlier life has left.
func (r *Runs) resume() {
	if n := r.launch(true); n > 0 {
		r.log.Info("runs of an earlier life begin again", "count", n)
	}
}

// launch gives each run that an earlier life has left its goroutine, once, and
// releases it unless the registry is closing: then it only ends.
func (r *Runs) launch(release bool) int {
	r.mu.Lock()
	runs := r.resumable
	r.resumable = nil
	r.mu.Unlock()
	for _, run := range runs {
		if release {
			run.Release()
		}
		go run.loop()
	}
	return len(runs)
}

// admit waits until few enough resumed turns run, so that a start after a crash
// does not ask the model for everything at once. Turns of this life need no
// admission. It reports false when the run is aborted first.
func (run *Run) admit() bool {
	if !run.resumed {
		return true
	}
	select {
	case run.runs.resumeSlots <- struct{}{}:
		run.admitted = true
		return run.ctx.Err() == nil
	case <-run.ctx.Done():
		return false
	}
}

// dismiss gives the run's admission back.
func (run *Run) dismiss() {
	if run.admitted {
		<-run.runs.resumeSlots
	}
	if run.adopted {
		<-run.runs.adoptSlots
	}
}

// reopen makes a run of an earlier life ready to begin again. It reports false when
// the run must not, and has ended it then.
func (run *Run) reopen() bool {
	if !run.resumed && !run.adopted {
		return true
	}
	t := run.lease.Task()
	if err := run.open(&t); err != nil {
		run.fail(protocol.DetailInternal, err)
		return false
	}
	if run.adopted && t.Attempt == 0 {
		return true
	}
	said, found, err := run.leftBehind()
	switch {
	case errors.Is(err, errGone):
		run.endWithError(protocol.DetailShuttingDown, err) // the new transcript is not its place
		return false
	case err != nil:
		run.fail(protocol.DetailInternal, err)
		return false
	case found:
		run.closeWith(said)
		return false
	case t.Attempt >= attemptsMax && !run.adopted: // the engine counts those of the others
		run.runs.log.Error("run given up: the gateway has died during each of its attempts",
			"runId", run.ID(), "attempts", t.Attempt)
		run.fail(protocol.DetailShuttingDown, errShutdown)
		return false
	}
	if run.isCommand {
		run.command, _ = commandIn(run.req.Message)
	}
	run.runs.log.Info("run begins again", "runId", run.ID(), "sessionKey", run.req.SessionKey, "attempts", t.Attempt)
	return true
}

// errGone says that the transcript which holds the run's question has left its
// session. Sessions end their runs before they are reset, so this takes a backup or
// a hand in the database.
var errGone = errors.New("the session has begun anew since this message")

// leftBehind returns what an earlier attempt has put into the transcript. This
// package stores a reply together with the outcome, so there is none after a
// crash of its own; whoever stores parts of a reply as they come finds them closed
// here.
func (run *Run) leftBehind() (said session.Message, found bool, err error) {
	entry, _, err := run.runs.sessions.Get(run.req.SessionKey)
	if err != nil {
		return said, false, fmt.Errorf("the session could not be read: %w", err)
	}
	run.sessionID = entry.SessionID
	history, err := run.runs.sessions.History(run.req.SessionKey, contextMessagesMax)
	if err != nil {
		return said, false, fmt.Errorf("the conversation could not be read: %w", err)
	}
	// Another run may have had the id before: only what follows the question counts.
	asked := -1
	for i, m := range slices.Backward(history) {
		if m.Role == "user" && m.RunID == run.ID() {
			asked = i
			break
		}
	}
	if run.asked = asked >= 0; !run.asked && !run.adopted {
		return said, false, errGone
	}
	for _, m := range history[asked+1:] {
		if m.Role == "assistant" && m.RunID == run.ID() {
			return m, true, nil
		}
	}
	return said, false, nil
}

// closeWith ends the run with what an earlier attempt has said.
func (run *Run) closeWith(m session.Message) {
	run.stream.text = visible(m.Text)
	out := Outcome{
		State: StateFinal, Text: run.stream.text, StopReason: m.StopReason, Provider: m.Provider, Model: m.Model,
		Usage: agentUsage(m.Usage), Silent: IsSilent(m.Text), SessionID: run.sessionID,
	}
	switch {
	case m.Aborted:
		out.State, out.StopReason = StateAborted, m.AbortOrigin
	case m.ErrorMessage != "" || m.StopReason == stopError:
		out.State, out.StopReason = StateError, ""
		out.Error, out.Detail = orElse(m.ErrorMessage, errShutdown.Error()), protocol.DetailShuttingDown
	}
	e := ending{outcome: out}
	run.persistOrKeep(&e)
	defer close(run.terminal)
	out = run.settle(e.outcome)
	switch {
	case out.State == StateAborted:
		run.emitAborted(out.StopReason)
	case out.State == StateError:
		run.emitError(out.Error, out.EndedAt)
	case m.Injected:
		run.emitCommandFinal(m)
	default:
		run.emitFinal(out)
	}
}

// suspend leaves a run that has said nothing to the next life of the gateway. It
// has no terminal event in this one.
func (run *Run) suspend() {
	r := run.runs
	if run.lease != nil {
		ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
		defer cancel()
		if err := run.lease.Release(ctx); err != nil {
			r.log.Warn("run not given back; it begins again all the same", "runId", run.ID(), "err", err)
		}
	}
	r.mu.Lock()
	run.suspended = true
	run.outcome = Outcome{State: StateSuspended, Error: errSuspended.Error(), Detail: protocol.DetailShuttingDown, SessionID: run.sessionID}
	r.mu.Unlock()
	r.log.Info("run left for the next start", "runId", run.ID(), "sessionKey", run.req.SessionKey)
	close(run.terminal)
}

// postpone gives a submitted task back, to be tried again after a delay, whose backend
// could not be had for now and has done nothing yet. It reports false when the run has
// to end. Runs of chats end at once: somebody waits for them and can send again.
func (run *Run) postpone(cause error) bool {
	if !run.adopted || run.stream.heard || !errors.Is(cause, agent.ErrPassing) {
		return false
	}
	if t := run.lease.Task(); t.Attempt+1 >= t.MaxAttempts {
		return false // this was the last
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	f := task.Failure{Code: protocol.DetailModelUnavailable, Message: errorText(cause), Retryable: true}
	if retried, err := run.lease.Fail(ctx, f, 0, task.Output{}); err != nil || !retried {
		return false
	}
	r := run.runs
	r.mu.Lock()
	run.postponed = true
	run.outcome = Outcome{State: StateSuspended, Error: errorText(cause), Detail: protocol.DetailModelUnavailable, SessionID: run.sessionID}
	r.mu.Unlock()
	r.log.Info("run tried again later", "runId", run.ID(), "sessionKey", run.req.SessionKey, "err", cause)
	close(run.terminal)
	return true
}

// saveOutcomes writes the outcomes that the disk has refused so far.
func (r *Runs) saveOutcomes(ctx context.Context) {
	r.mu.Lock()
	unsaved := r.unsaved
	r.mu.Unlock()
	for _, run := range unsaved {
		out, _ := run.Outcome()
		if err := run.finish(ctx, &out); err != nil && !errors.Is(err, task.ErrTerminal) {
			r.log.Warn("outcome still not stored", "runId", run.ID(), "err", err)
			return
		}
		r.mu.Lock()
		r.unsaved = without(r.unsaved, run)
		run.unsaved = false
		if run.left {
			r.forgetLocked(run)
		}
		r.mu.Unlock()
	}
}
