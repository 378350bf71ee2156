package turn

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/task"
	"github.com/coderclaw/gateway/pkg/wire"
)

// deltaInterval is the least time between two chat deltas of a run (the
// original's throttle). A stream that pauses for as long is flushed, and so is what
// is left when the answer is whole.
const deltaInterval = 150 * time.Millisecond

// silentReply is the token by which an agent declines to answer.
const silentReply = "NO_REPLY"

// stream is what a run has said so far. Only the run's goroutine touches it.
type stream struct {
	seq       int64 // of the run's last agent event
	startedAt int64
	heard     bool // the backend has told of anything
	raw       strings.Builder
	text      string // what clients have seen of raw
	deltaAt   time.Time
	deltaText string // the text of the last chat delta
	flush     *time.Timer
	verbose   string // the session's verbose level when the turn began
}

// turnResult is what a backend returned.
type turnResult struct {
	agent.Result
	err error
}

// execute runs the turn at the head of its lane, from the model's context to the
// terminal event. The backend streams from a goroutine of its own, so that an
// abort or the expiry is answered at once even when the backend is slow to
// return; the lane is given up only after it has.
func (run *Run) execute() {
	turn, err := run.prepare()
	if err == nil {
		err = run.begin()
	}
	if errors.Is(err, task.ErrTerminal) {
		run.cancel(run.endedElsewhere())
		run.cut()
		return
	}
	if err != nil {
		run.fail(protocol.DetailInternal, err)
		return
	}
	events := make(chan agent.Event)
	result := make(chan turnResult, 1)
	go run.call(turn, events, result)

	run.emitStart()
	run.stream.flush = time.NewTimer(deltaInterval)
	run.stream.flush.Stop()
	defer run.stream.flush.Stop()
	for {
		select {
		case e := <-events:
			run.take(e)
		case <-run.stream.flush.C:
			run.emitDelta()
		case res := <-result:
			run.end(res)
			return
		case <-run.ctx.Done():
			run.cut()
			<-result
			return
		}
	}
}

// begin lets the engine know that the backend is about to be asked. What cannot be
// written now could not be answered later.
func (run *Run) begin() error {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	if err := run.lease.Begin(ctx, run.question()...); err != nil {
		return fmt.Errorf("the run could not be recorded: %w", err)
	}
	return nil
}

// call drives the backend. Once the run is cancelled its events go nowhere.
func (run *Run) call(turn agent.Turn, events chan<- agent.Event, result chan<- turnResult) {
	var res turnResult
	defer func() {
		if p := recover(); p != nil {
			run.runs.log.Error("agent backend panicked", "runId", run.ID(),
				"backend", run.provider(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			res.err = errInternal(run.ID())
		}
		result <- res
	}()
	res.Result, res.err = run.converse(turn, func(e agent.Event) {
		select {
		case events <- e:
		case <-run.ctx.Done():
		}
	})
}

// take handles one event of the backend.
func (run *Run) take(e agent.Event) {
	run.stream.heard = true
	if e.Tool != nil {
		run.emitTool(e.Tool)
		return
	}
	if e.Compaction != nil {
		run.emitCompaction(e.Compaction)
		return
	}
	if e.Text != "" {
		run.say(e.Text)
	}
}

// say adds to the reply and tells of it: every addition as an agent event, the
// text so far as a chat delta when the last one is long enough ago.
func (run *Run) say(addition string) {
	s := &run.stream
	s.raw.WriteString(addition)
	text := visible(s.raw.String())
	if text == s.text {
		return // blanks only, so far
	}
	delta := text[len(s.text):]
	s.text = text
	run.emitAssistant(text, delta)
	if time.Since(s.deltaAt) >= deltaInterval {
		run.emitDelta()
	} else {
		s.flush.Reset(deltaInterval)
	}
}

// end closes the run that the backend has returned from.
func (run *Run) end(res turnResult) {
	if res.err != nil {
		if run.ctx.Err() != nil {
			run.cut()
			return
		}
		if res.Text == "" && run.postpone(res.err) {
			return
		}
		detail := protocol.DetailModelUnavailable
		if errors.As(res.err, new(internalError)) {
			detail = protocol.DetailInternal
		}
		run.fail(detail, res.err)
		return
	}
	// A backend that does not stream leaves its reply in the result alone.
	if run.stream.raw.Len() == 0 && res.Text != "" {
		run.say(res.Text)
	}
	run.complete(res.Result)
}

// complete stores the reply, then tells the world. The system events that the turn
// was told are told no more.
func (run *Run) complete(res agent.Result) {
	text := res.Text
	if text == "" {
		text = run.stream.raw.String()
	}
	out := Outcome{
		State:      StateFinal,
		Text:       visible(text),
		StopReason: res.StopReason,
		Provider:   orElse(res.Provider, run.provider()),
		Model:      orElse(res.Model, "default"),
		Usage:      res.Usage,
	}
	out.Silent = IsSilent(out.Text)
	e := ending{outcome: out, notes: run.notes, message: &session.Message{
		Role:       "assistant",
		Text:       text,
		API:        orElse(res.API, out.Provider),
		Provider:   out.Provider,
		Model:      out.Model,
		StopReason: res.StopReason,
		Usage:      messageUsage(res.Usage),
	}}
	e.change = func(e *session.Entry) {
		e.SystemSent = true
		e.AbortedLastRun = false
		e.ModelProvider, e.Model = out.Provider, out.Model
		run.noteWindow(e, out.Provider, out.Model)
		countTokens(e, res.Usage)
	}
	if err := run.persist(&e); errors.Is(err, task.ErrTerminal) {
		run.cancel(run.endedElsewhere())
		run.cut()
		return
	} else if err != nil {
		run.fail(protocol.DetailInternal, fmt.Errorf("the answer could not be stored: %w", err))
		return
	}
	defer close(run.terminal)
	out = run.settle(e.outcome)
	if !out.Silent {
		// What the interval held back: some clients, such as the original's bridge for
		// editors, make the answer of deltas alone.
		run.emitDelta()
	}
	run.emitFinal(out)
}

// cut ends a run whose context is over: as aborted, what was said staying in the
// transcript, marked. When it is the gateway that stops, a run that has said
// something ends as an error, and one that has not is left for the next start.
func (run *Run) cut() {
	said := visible(run.stream.raw.String()) != ""
	var cause abortCause
	if !errors.As(context.Cause(run.ctx), &cause) {
		if said {
			run.fail(protocol.DetailShuttingDown, errShutdown)
		} else {
			run.suspend()
		}
		return
	}
	e := ending{outcome: Outcome{State: StateAborted, Text: run.stream.text, StopReason: cause.reason}}
	if said {
		e.change = func(e *session.Entry) { e.AbortedLastRun = true }
		e.message = &session.Message{
			Role:           "assistant",
			Text:           run.stream.raw.String(),
			Provider:       run.provider(),
			StopReason:     stopAborted,
			IdempotencyKey: run.ID() + ":assistant",
			Aborted:        true,
			AbortOrigin:    cause.reason,
		}
	}
	run.persistOrKeep(&e)
	defer close(run.terminal)
	run.settle(e.outcome)
	run.emitAborted(cause.reason)
}

// fail ends the run with an error that the client is told. What was said before
// stays in the transcript, with the error.
func (run *Run) fail(detail string, cause error) {
	run.endAsError(detail, cause, &session.Message{
		Role:         "assistant",
		Text:         run.stream.raw.String(),
		Provider:     run.provider(),
		StopReason:   stopError,
		ErrorMessage: errorText(cause),
	})
}

// endWithError is fail without a word in the transcript.
func (run *Run) endWithError(detail string, cause error) { run.endAsError(detail, cause, nil) }

func (run *Run) endAsError(detail string, cause error, msg *session.Message) {
	e := ending{message: msg, outcome: Outcome{
		State:  StateError,
		Text:   run.stream.text,
		Error:  errorText(cause),
		Detail: detail,
	}}
	run.persistOrKeep(&e)
	defer close(run.terminal)
	out := run.settle(e.outcome)
	if out.State == StateAborted { // by others, meanwhile
		run.emitAborted(out.StopReason)
		return
	}
	run.emitError(out.Error, out.EndedAt)
}

// errorText is an error in words for people: a refusal without its code.
func errorText(err error) string {
	var refused *wire.Error
	if errors.As(err, &refused) {
		return refused.Message
	}
	return err.Error()
}

// countTokens puts a turn's usage on the session: the counters are the last
// turn's and the total is the size of its prompt, as upstream's sessions.list
// shows them.
func countTokens(e *session.Entry, u agent.Usage) {
	prompt := u.Input + u.CacheRead + u.CacheWrite
	e.TotalTokensFresh = prompt > 0
	if prompt > 0 || u.Output > 0 {
		e.InputTokens, e.OutputTokens, e.TotalTokens = u.Input, u.Output, prompt
	}
}

// messageUsage is a turn's usage as a transcript keeps it.
func messageUsage(u agent.Usage) *session.Usage {
	if u == (agent.Usage{}) {
		return nil
	}
	return &session.Usage{Input: u.Input, Output: u.Output, CacheRead: u.CacheRead, CacheWrite: u.CacheWrite, Total: u.Total}
}

// agentUsage is the way back.
func agentUsage(u *session.Usage) agent.Usage {
	if u == nil {
		return agent.Usage{}
	}
	return agent.Usage{Input: u.Input, Output: u.Output, CacheRead: u.CacheRead, CacheWrite: u.CacheWrite, Total: u.Total}
}
