package turn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task"
)

// worker is what the history of a task calls this package.
const worker = "turn"

// engineGrace is how much later than the run itself the engine ends a turn that takes
// too long: it does so only when the run does not.
const engineGrace = 10 * time.Second

// resultTextMax bounds the error of a stored outcome, in bytes.
const resultTextMax = 16 << 10

// descriptionMax bounds the description that a task gets of its message, in runes.
const descriptionMax = 80

// payload is what a run needs to begin again, beside what its task says.
type payload struct {
	RawSessionKey string          `json:"rawSessionKey,omitempty"`
	Images        []session.Image `json:"images,omitempty"`
	System        string          `json:"system,omitempty"`
}

// result is an outcome as its task keeps it: the text is the task's output.
type result struct {
	Outcome
	Usage *session.Usage `json:"usage,omitempty"`
}

// submission is the task of a run.
func (run *Run) submission() task.Request {
	q := &run.req
	// Marshalling strings and bytes does not fail.
	private, _ := json.Marshal(payload{RawSessionKey: q.RawSessionKey, Images: q.Images, System: q.System})
	return task.Request{
		Description: describe(q.Message),
		Input:       q.Message,
		AgentID:     q.AgentID,
		Model:       q.Model,
		Thinking:    q.Thinking,
		SessionID:   q.SessionKey,
		Concurrent:  run.isCommand,
		Timeout:     run.life + engineGrace,
		MaxAttempts: attemptsMax + 1, // the last one is for closing the run
		Key:         run.key,
		ParamsHash:  run.paramsHash[:],
		RequestedBy: task.Actor{User: run.key.Principal},
		Payload:     private,
	}
}

// describe is the beginning of a message's first line.
func describe(message string) string {
	n := 0
	for i, c := range message {
		if n++; c == '\n' || n > descriptionMax {
			return message[:i]
		}
	}
	return message
}

// open completes the request of a run that did not come through Start from its task.
func (run *Run) open(t *task.Task) error {
	q := &run.req
	q.AgentID, q.Message, q.Thinking, q.Model = orElse(t.AgentID, q.AgentID), t.Input, t.Thinking, t.Model
	if len(t.Payload) == 0 {
		return nil
	}
	var private payload
	if err := json.Unmarshal(t.Payload, &private); err != nil {
		return fmt.Errorf("the stored message could not be read: %w", err)
	}
	q.RawSessionKey, q.Images, q.System = orElse(private.RawSessionKey, q.RawSessionKey), private.Images, private.System
	return nil
}

// outcomeOf is what became of the run of a task that has ended.
func outcomeOf(t *task.Task) Outcome {
	var res result
	if len(t.Result) == 0 || json.Unmarshal(t.Result, &res) != nil || res.State == "" {
		return foreignOutcome(t)
	}
	out := res.Outcome
	out.Usage = agentUsage(res.Usage)
	if t.Key.Namespace != NamespaceChat {
		out.Text = t.Output
	}
	return out
}

// foreignOutcome is the outcome of a run that was ended by others than its worker.
func foreignOutcome(t *task.Task) Outcome {
	out := Outcome{State: StateFinal, Text: t.Output, EndedAt: t.CompletedAt.UnixMilli()}
	switch t.Status {
	case task.Cancelled:
		out.State, out.StopReason = StateAborted, StopRPC
	case task.Failed:
		out.State, out.Detail = StateError, protocol.DetailInternal
		if t.Error == nil {
			break
		}
		out.Error = t.Error.Message
		if t.Error.Code == task.CodeTimeout || t.Error.Code == task.CodeDeadline {
			out.State, out.StopReason, out.Error, out.Detail = StateAborted, StopTimeout, "", ""
		}
	}
	return out
}

// output is an outcome as the engine takes it.
func (o *Outcome) output() task.Output {
	kept := *o
	kept.Text = ""
	if len(kept.Error) > resultTextMax {
		kept.Error = kept.Error[:resultTextMax]
	}
	// Marshalling strings and numbers does not fail.
	text, _ := json.Marshal(result{kept, messageUsage(o.Usage)})
	return task.Output{Text: o.Text, Result: text}
}

// finish ends the run's task as its outcome says, in one transaction with also. A
// task that has ended meanwhile is task.ErrTerminal.
func (run *Run) finish(ctx context.Context, out *Outcome, also ...task.Also) error {
	f := task.Failure{Code: orElse(out.Detail, protocol.DetailInternal), Message: out.Error}
	status := task.Failed
	switch {
	case out.State == StateFinal:
		status = task.Completed
	case out.State == StateAborted && out.StopReason == StopTimeout:
		f = task.Failure{Code: task.CodeTimeout, Message: "the run took too long"}
	case out.State == StateAborted:
		status, f = task.Cancelled, task.Failure{Code: task.CodeCancelled, Message: out.StopReason}
	}
	if run.lease == nil {
		return run.runs.tasks.Withdraw(ctx, run.taskID, f, out.output(), also...)
	}
	end := func() (err error) {
		switch status {
		case task.Completed:
			err = run.lease.Complete(ctx, out.output(), also...)
		case task.Failed:
			_, err = run.lease.Fail(ctx, f, 0, out.output(), also...)
		default:
			err = run.lease.Cancel(ctx, out.StopReason, out.output(), also...)
		}
		return err
	}
	err := end()
	if !errors.Is(err, task.ErrFenced) {
		return err
	}
	// The lease has run out, on a machine that stood still or a disk that was full. No
	// other worker takes this task, and it still has to end.
	l, claimErr := run.runs.tasks.Claim(ctx, task.ClaimOpts{Worker: worker, TaskID: run.taskID, Plan: true, Wait: reclaimWait})
	if claimErr != nil {
		return fmt.Errorf("%w, and it could not be leased again: %w", err, claimErr)
	}
	run.lease = l
	return end()
}

// reclaimWait is how long a run that has lost its lease waits for another.
const reclaimWait = time.Second

// hasTurn waits until it is the run's turn and leases its task. It reports false when
// the run is to end first.
func (run *Run) hasTurn() bool {
	if run.lease != nil {
		return true
	}
	if run.turnErr = run.unblock(); run.turnErr != nil {
		return false
	}
	l, err := run.runs.tasks.Claim(run.turnCtx, task.ClaimOpts{Worker: worker, TaskID: run.taskID, Plan: true, Overtake: run.isCommand})
	switch {
	case err == nil:
		run.hold(l)
		return run.ctx.Err() == nil
	case errors.Is(err, task.ErrTerminal):
		run.cancel(run.endedElsewhere())
	case run.ctx.Err() != nil:
	case errors.As(context.Cause(run.turnCtx), new(errNoRoom)):
		run.turnErr = fmt.Errorf("the run could not be recorded: %w", context.Cause(run.turnCtx))
	default:
		run.turnErr = fmt.Errorf("the run could not be recorded: %w", err)
	}
	return false
}

// hold makes the lease the run's own and keeps it until the run is over.
func (run *Run) hold(l task.Lease) {
	run.lease = l
	run.runs.wg.Go(func() { run.keep(l) })
}

// heartbeatEvery is a third of the shortest lease that the engine gives.
const heartbeatEvery = 5 * time.Second

// keep sends the lease's heartbeats, and aborts the run when its task is ended from
// elsewhere.
func (run *Run) keep(l task.Lease) {
	tick := time.NewTicker(heartbeatEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = l.Heartbeat(context.Background()) // Done tells of a lost one
		case <-run.done:
			return
		case <-l.Done():
			switch err := l.Err(); {
			case err == nil:
			case errors.Is(err, task.ErrTerminal):
				run.cancel(run.endedElsewhere())
			default:
				run.cancel(errShutdown)
			}
			return
		}
	}
}

// endedElsewhere is the cause of a run's end whose task was ended by others.
func (run *Run) endedElsewhere() error {
	t, err := run.runs.tasks.Get(context.Background(), run.taskID)
	if err == nil {
		if out := foreignOutcome(&t); out.StopReason != "" {
			return abortCause{out.StopReason}
		}
	}
	return abortCause{StopRPC}
}

// adopt takes the tasks that were not submitted by Start, each when its turn comes,
// until ctx ends or the registry closes.
func (r *Runs) adopt(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.base, cancel)()
	for {
		select {
		case r.adoptSlots <- struct{}{}: // the run gives it back
		case <-ctx.Done():
			return
		}
		l, err := r.tasks.Claim(ctx, task.ClaimOpts{Worker: worker, Namespaces: []task.Namespace{task.NamespaceTask}, Plan: true})
		if err == nil {
			if !r.adoptOne(ctx, l) {
				_ = l.Release(context.WithoutCancel(ctx)) // the next start takes it
				return
			}
			continue
		}
		<-r.adoptSlots
		if ctx.Err() != nil || errors.Is(err, task.ErrUnavailable) {
			return
		}
		r.log.Warn("no task could be claimed; it is tried again", "err", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return
		}
	}
}

// adoptOne makes a run of a leased task. It reports false when the registry closes.
func (r *Runs) adoptOne(ctx context.Context, l task.Lease) bool {
	t := l.Task()
	key := t.Key
	if key.Key == "" {
		key = task.Key{Principal: t.RequestedBy.User, Namespace: task.NamespaceTask, Key: t.ID}
	}
	req := Request{Principal: key.Principal, Namespace: key.Namespace, Key: key.Key, SessionKey: sessionOf(&t), AgentID: t.AgentID, Timeout: r.timeout()}
	req.RawSessionKey = req.SessionKey
	run := newRun(r, req, key)
	copy(run.paramsHash[:], t.ParamsHash)
	run.taskID, run.parent, run.acceptedAt, run.adopted = t.ID, t.ParentTaskID, t.CreatedAt, true
	run.inputBytes = t.InputBytes + int64(len(t.Payload))
	if t.TimeoutMs > 0 {
		run.life = min(time.Duration(t.TimeoutMs)*time.Millisecond, expiryMax)
	}
	close(run.accepted)
	for {
		r.mu.Lock()
		held, ok := r.holds[req.SessionKey]
		if r.closed {
			r.mu.Unlock()
			run.cancel(nil)
			return false
		}
		if !ok {
			r.enterLocked(run)
			r.mu.Unlock()
			break
		}
		r.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			run.cancel(nil)
			return false
		}
	}
	run.hold(l)
	run.Release()
	r.log.Info("task taken", "runId", run.ID(), "taskId", run.taskID, "sessionKey", req.SessionKey)
	go run.loop()
	return true
}

// sessionOf is the session whose transcript a task writes: its own when it names none.
func sessionOf(t *task.Task) string {
	if t.SessionID != "" {
		return t.SessionID
	}
	return "agent:" + orElse(t.AgentID, "main") + ":task:" + t.ID
}

// question is the user's message, to be stored with the beginning of an adopted run's
// first attempt; it is there already in the later ones.
func (run *Run) question() []task.Also {
	if !run.adopted || run.asked {
		return nil
	}
	return []task.Also{func(tx *store.Tx) error { return run.ask(tx, run.taskID) }}
}
