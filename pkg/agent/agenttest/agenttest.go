// Package agenttest holds what proves a model backend: the contract that every
// implementation of agent.Backend passes (Contract), a backend in memory for the
// tests of those who run turns (Script), and the counterpart of a real service,
// an OpenAI-compatible model server that counts words at a steady pace (Model).
//
// It is linked into tests and into the command beside it, never into the
// daemon. Whatever waits here waits on timers and channels alone, so that it
// runs inside a testing/synctest bubble; only StartModel opens a socket.
package agenttest

import (
	"context"
	"strings"
	"time"

	"github.com/coderclaw/gateway/pkg/agent"
)

// Script is an agent.Backend in memory that streams fixed pieces of text. The
// zero value answers "word0 word1 ... word7" without a pause. Its fields must not
// change once it runs.
type Script struct {
	// Reply returns the pieces for a turn; nil means Words(DefaultTokens).
	Reply func(agent.Turn) []string
	// Interval is the pause before each piece but the first, and before the end.
	Interval time.Duration
	// Tools are emitted before the text.
	Tools []agent.ToolEvent
	// Err ends each run after its text; nil means success.
	Err error
}

// Name returns "script".
func (s *Script) Name() string { return "script" }

// Models lists the one model "script-1".
func (s *Script) Models(context.Context) ([]agent.Model, error) {
	return []agent.Model{{ID: "script-1", Name: "script-1", Provider: s.Name()}}, nil
}

// Run emits the tools, then the pieces at their pace.
func (s *Script) Run(ctx context.Context, turn agent.Turn, emit func(agent.Event)) (agent.Result, error) {
	pieces := Words(DefaultTokens)
	if s.Reply != nil {
		pieces = s.Reply(turn)
	}
	result := agent.Result{StopReason: "stop", Provider: s.Name(), Model: "script-1"}
	var text strings.Builder
	stopped := func() bool { result.Text = text.String(); return ctx.Err() != nil }
	for i := range s.Tools {
		if stopped() {
			return result, ctx.Err()
		}
		emit(agent.Event{Tool: &s.Tools[i]})
	}
	for i, piece := range pieces {
		if i > 0 {
			s.pause(ctx)
		}
		if stopped() {
			return result, ctx.Err()
		}
		text.WriteString(piece)
		emit(agent.Event{Text: piece})
	}
	s.pause(ctx)
	if stopped() {
		return result, ctx.Err()
	}
	result.Usage = agent.Usage{Input: promptTokens, Output: int64(len(pieces)), Total: promptTokens + int64(len(pieces))}
	return result, s.Err
}

// pause waits for the interval or the end of ctx.
func (s *Script) pause(ctx context.Context) {
	if s.Interval <= 0 {
		return
	}
	timer := time.NewTimer(s.Interval)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
