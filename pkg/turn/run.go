package turn

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/task"
)

// State is how a run ended.
type State string

// The ends of a run. StateSuspended is none: the gateway stops, and the run begins
// again when it is back.
const (
	StateFinal     State = "final"
	StateError     State = "error"
	StateAborted   State = "aborted"
	StateSuspended State = "suspended"
)

// The stop reasons of aborted runs, as the chat event tells them.
const (
	StopRPC     = "rpc"
	StopCommand = "stop"
	StopTimeout = "timeout"
)

// The stop reasons that transcripts show for replies which did not come to their
// end.
const (
	stopError   = "error"
	stopAborted = "aborted"
)

// abortCause is the end of a run's context by somebody's wish or by its expiry.
type abortCause struct{ reason string }

// Error names the reason.
func (c abortCause) Error() string { return "run aborted: " + c.reason }

// errShutdown is the end of a run's context because the gateway stops. Nobody
// wished for it, so a run that has said something ends as an error, whose text this
// is.
var errShutdown = errors.New("the gateway stopped before the answer was complete")

// errSuspended is what those are told who wait for a run that has said nothing yet.
var errSuspended = errors.New("the gateway is stopping; the run begins again when it is back, under the same idempotencyKey")

// Outcome is what became of a run. Its task keeps it as JSON.
type Outcome struct {
	State State `json:"state"`
	// Text is the reply, or as much of it as there was.
	Text string `json:"text,omitempty"`
	// Silent reports that the agent chose not to answer.
	Silent bool `json:"silent,omitempty"`
	// StopReason is the backend's for a final run, an abort's for an aborted one.
	StopReason string `json:"stopReason,omitempty"`
	// Error is what to tell the client when State is StateError or StateSuspended.
	Error string `json:"error,omitempty"`
	// Detail is the finer code that goes with Error.
	Detail string `json:"detail,omitempty"`
	// StartedAt is in ms since the epoch; 0 for a run that never had its turn.
	StartedAt int64 `json:"startedAt,omitempty"`
	// EndedAt is in ms since the epoch.
	EndedAt   int64  `json:"endedAt"`
	SessionID string `json:"sessionId,omitempty"`
	Provider  string `json:"provider,omitempty"`
	Model     string `json:"model,omitempty"`
	// Usage is kept beside the outcome.
	Usage agent.Usage `json:"-"`
}

// Run is one accepted turn. Its methods are safe for concurrent use.
type Run struct {
	runs       *Runs
	req        Request // of a resumed run: completed when it begins again
	key        task.Key
	paramsHash [sha256.Size]byte
	acceptedAt time.Time
	inputBytes int64
	taskID     string        // once accepted
	parent     string        // the task above it
	life       time.Duration // what the run may take
	sessionID  string        // as of the acceptance
	isCommand  bool
	command    command // when isCommand: to be performed instead of a turn
	resumed    bool    // left by an earlier life of the gateway
	adopted    bool    // taken from the engine, not brought by Start

	ctx      context.Context // the run's lifetime; its cause tells who ended it
	cancel   context.CancelCauseFunc
	turnCtx  context.Context // the wait for its turn, within ctx
	noTurn   context.CancelCauseFunc
	release  func()
	ready    chan struct{} // closed by Release
	accepted chan struct{} // closed when the user's message is stored, or not: acceptErr, earlier
	terminal chan struct{} // closed after the terminal event, or when there will be none in this life
	done     chan struct{} // closed when nothing of the run is left

	acceptErr error
	earlier   *Run // the run that has the key already

	// Guarded by runs.mu.
	settled   bool // the outcome is decided; the run can no longer be aborted
	suspended bool // left for the next life
	postponed bool // given back, to be tried again in this life
	unsaved   bool // settled, and the disk does not know
	left      bool // no longer in line
	claimed   bool // has had its turn
	toolConns []string
	outcome   Outcome

	// Owned by the run's goroutine.
	stream   stream
	backend  agent.Backend // as it was configured when the turn began
	choice   agent.Choice  // the model that it asks first
	lease    task.Lease    // nil until the run has its turn
	turnErr  error         // why it got none
	asked    bool          // the question of an adopted run is in the transcript
	admitted bool          // holds one of runs.resumeSlots
	notes    []session.Note
}

// newRun returns a run whose life ends with the registry. What is remembered for
// long is copied out of the frame that the request came in.
func newRun(r *Runs, req Request, key task.Key) *Run {
	key.Key, key.Principal = strings.Clone(key.Key), strings.Clone(key.Principal)
	req.Key = key.Key
	req.SessionKey, req.RawSessionKey = strings.Clone(req.SessionKey), strings.Clone(req.RawSessionKey)
	req.AgentID, req.Thinking = strings.Clone(req.AgentID), strings.Clone(req.Thinking)
	run := &Run{
		runs:       r,
		req:        req,
		key:        key,
		paramsHash: req.ParamsHash,
		acceptedAt: time.Now(),
		inputBytes: req.inputBytes(),
		life:       req.expiry(),
		ready:      make(chan struct{}),
		accepted:   make(chan struct{}),
		terminal:   make(chan struct{}),
		done:       make(chan struct{}),
	}
	run.release = sync.OnceFunc(func() { close(run.ready) })
	if req.command != nil {
		run.isCommand, run.command = true, *req.command
	}
	run.ctx, run.cancel = context.WithCancelCause(r.base)
	run.turnCtx, run.noTurn = context.WithCancelCause(run.ctx)
	return run
}

// endedRunOf returns the run of a task that has ended.
func endedRunOf(r *Runs, t *task.Task) *Run {
	past := make(chan struct{})
	close(past)
	return &Run{
		runs:       r,
		key:        t.Key,
		taskID:     t.ID,
		acceptedAt: t.CreatedAt,
		release:    func() {},
		accepted:   past,
		terminal:   past,
		done:       past,
		settled:    true,
		outcome:    outcomeOf(t),
	}
}

// TaskID is the id of the run's task.
func (run *Run) TaskID() string { return run.taskID }

// ID is the run id on the wire: the client's idempotency key, or the id of the task
// when it has none.
func (run *Run) ID() string { return run.key.Key }

// AcceptedAt is when the run was accepted.
func (run *Run) AcceptedAt() time.Time { return run.acceptedAt }

// Release lets an accepted run begin. Call it once its acknowledgement is on its
// way; calling it again does nothing.
func (run *Run) Release() { run.release() }

// Wait blocks until the run's terminal event is out and returns its outcome, or
// ctx's error. A run that has ended answers whatever ctx is. When the gateway stops
// and the run is to begin again, the state is StateSuspended.
func (run *Run) Wait(ctx context.Context) (Outcome, error) {
	select {
	case <-run.terminal:
		return run.outcome, nil
	default:
	}
	select {
	case <-run.terminal:
		return run.outcome, nil
	case <-ctx.Done():
		return Outcome{}, ctx.Err()
	}
}

// Outcome returns what became of the run; ok is false while it is in flight. It
// tells of the end no later than the terminal event does.
func (run *Run) Outcome() (out Outcome, ok bool) {
	run.runs.mu.Lock()
	defer run.runs.mu.Unlock()
	return run.outcome, run.settled
}

// loop is the run's goroutine, from acceptance to the end. The time that the run
// may take counts from here: the time in line belongs to it, the time that the
// gateway was down does not.
func (run *Run) loop() {
	expiry := time.AfterFunc(run.life, func() { run.cancel(abortCause{StopTimeout}) })
	defer run.runs.wg.Done()
	defer close(run.done)
	defer run.leave()
	defer run.dismiss()
	defer expiry.Stop()
	defer run.cancel(nil)
	defer run.rescue()

	switch {
	case !run.await(run.ready):
		run.cut()
	case !run.hasTurn():
		run.miss()
	case run.isCommand:
		if run.reopen() {
			run.perform()
		}
	case !run.behind(), !run.admit():
		run.cut()
	case run.reopen():
		run.execute()
	}
}

// miss ends a run that has not had its turn.
func (run *Run) miss() {
	if run.turnErr != nil {
		run.fail(protocol.DetailInternal, run.turnErr)
		return
	}
	run.cut()
}

// await waits for a step of the run; it reports false when the run is aborted
// first.
func (run *Run) await(step <-chan struct{}) bool {
	if run.ctx.Err() != nil {
		return false
	}
	select {
	case <-step:
		return run.ctx.Err() == nil
	case <-run.ctx.Done():
		return false
	}
}

// rescue gives a run that panics its terminal event all the same.
func (run *Run) rescue() {
	p := recover()
	if p == nil {
		return
	}
	run.runs.log.Error("agent run panicked", "runId", run.ID(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	select {
	case <-run.terminal:
	default:
		run.endWithError(protocol.DetailInternal, errInternal(run.ID()))
	}
}

// internalError is what a client learns of a defect: where to look.
type internalError struct{ runID string }

// errInternal returns an internalError.
func errInternal(runID string) error { return internalError{runID} }

// Error names the run to look for.
func (e internalError) Error() string {
	return fmt.Sprintf("the agent failed unexpectedly; the gateway's log has the details (run %s)", e.runID)
}

// settle decides the outcome, once: the run's goroutine calls it on the one way
// out that it takes, after the engine knows and right before the terminal event.
func (run *Run) settle(out Outcome) Outcome {
	r := run.runs
	r.mu.Lock()
	run.settled = true
	run.outcome = out
	// What was asked is not needed to answer the key, and would pin its frame.
	run.req.Message, run.req.Images, run.req.Touch, run.req.System, run.command = "", nil, nil, "", command{}
	r.mu.Unlock()
	r.log.Info("run ended", "runId", run.ID(), "state", out.State, "stopReason", out.StopReason,
		"durationMs", out.EndedAt-run.acceptedAt.UnixMilli(), "provider", out.Provider, "model", out.Model, "err", out.Error)
	return out
}

// visible is text as clients see it: the blank edges that models stream are left
// to the transcript.
func visible(text string) string { return strings.TrimSpace(text) }
