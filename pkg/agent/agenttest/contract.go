package agenttest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/agent"
)

// promptly is how long a cancelled run may take to return. The clock of a
// synctest bubble stands still while anything can run, so the limit does not
// depend on the machine.
const promptly = time.Second

// Contract proves that a backend keeps the promises of agent.Backend. Each case
// runs in a synctest bubble of its own with a backend of its own, so a goroutine
// that outlives the test and its cleanups fails it. newBackend must return a
// backend whose answer to any message has at least two pieces of text; what it
// opens it releases with t.Cleanup.
func Contract(t *testing.T, newBackend func(t *testing.T) agent.Backend) {
	cases := []struct {
		name string
		run  func(t *testing.T, b agent.Backend)
	}{
		{"a catalogue with names", contractModels},
		{"text equals the pieces in order", contractText},
		{"each model of the catalogue runs", contractEachModel},
		{"cancel in mid-answer keeps the partial text", contractCancel},
		{"a context that has ended runs nothing", contractCancelledBefore},
		{"a deadline ends the run as a deadline", contractDeadline},
		{"runs at once do not mix", contractConcurrent},
		{"a second turn sees the first", contractSecondTurn},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.run(t, newBackend(t)) })
		})
	}
}

// recording collects what a run emits. It has no lock on purpose: emit is called
// from the goroutine that called Run, and the race detector sees a breach.
type recording struct {
	pieces []string
	ended  bool
	each   func(n int)
}

func (r *recording) emit(e agent.Event) {
	if r.ended {
		panic("agenttest: emit after Run returned")
	}
	if e.Tool != nil {
		return
	}
	r.pieces = append(r.pieces, e.Text)
	if r.each != nil {
		r.each(len(r.pieces))
	}
}

func (r *recording) text() string { return strings.Join(r.pieces, "") }

func (r *recording) run(ctx context.Context, b agent.Backend, turn agent.Turn) (agent.Result, error) {
	result, err := b.Run(ctx, turn, r.emit)
	r.ended = true
	return result, err
}

func ask(runID, text string) agent.Turn {
	return agent.Turn{
		RunID: runID, SessionKey: "agent:main:main", SessionID: "session", AgentID: "main",
		Messages: []agent.Message{{Role: "user", Text: text}},
	}
}

func contractModels(t *testing.T, b agent.Backend) {
	require.NotEmpty(t, b.Name())
	models, err := b.Models(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, models)
	seen := map[string]bool{}
	for _, m := range models {
		require.NotEmpty(t, m.ID)
		require.NotEmpty(t, m.Name)
		require.Equal(t, b.Name(), m.Provider)
		require.False(t, seen[m.ID], "model %s is listed twice", m.ID)
		seen[m.ID] = true
	}
}

func contractText(t *testing.T, b agent.Backend) {
	var rec recording
	result, err := rec.run(t.Context(), b, ask("r1", "hello"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(rec.pieces), 2, "an answer streams in pieces")
	require.Equal(t, rec.text(), result.Text)
	for _, piece := range rec.pieces {
		require.NotEmpty(t, piece)
		require.True(t, utf8.ValidString(piece), "piece %q splits a character", piece)
	}
	require.Equal(t, "stop", result.StopReason)
	require.Equal(t, b.Name(), result.Provider)
	require.NotEmpty(t, result.Model)
}

func contractEachModel(t *testing.T, b agent.Backend) {
	models, err := b.Models(t.Context())
	require.NoError(t, err)
	for _, m := range models {
		turn := ask("r-"+m.ID, "hello")
		turn.Model = m.ID
		var rec recording
		result, err := rec.run(t.Context(), b, turn)
		require.NoError(t, err)
		require.Equal(t, m.ID, result.Model)
	}
}

func contractCancel(t *testing.T, b agent.Backend) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var cancelled time.Time
	rec := recording{each: func(n int) {
		if n == 2 {
			cancelled = time.Now()
			cancel()
		}
	}}
	result, err := rec.run(ctx, b, ask("r1", "hello"))
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, time.Since(cancelled), promptly)
	require.Len(t, rec.pieces, 2, "nothing is emitted once ctx has ended")
	require.Equal(t, rec.text(), result.Text)
	require.NotEmpty(t, result.Text)
}

func contractCancelledBefore(t *testing.T, b agent.Backend) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	begin := time.Now()
	var rec recording
	result, err := rec.run(ctx, b, ask("r1", "hello"))
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, time.Since(begin), promptly)
	require.Empty(t, rec.pieces)
	require.Empty(t, result.Text)
}

func contractDeadline(t *testing.T, b agent.Backend) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	rec := recording{each: func(n int) {
		if n == 1 {
			<-ctx.Done() // a reader so slow that the deadline passes
		}
	}}
	result, err := rec.run(ctx, b, ask("r1", "hello"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, rec.text(), result.Text)
	require.Len(t, rec.pieces, 1)
}

func contractConcurrent(t *testing.T, b agent.Backend) {
	const runs = 8
	var wg sync.WaitGroup
	for i := range runs {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			rec := recording{each: func(n int) {
				if i%2 == 1 && n == 2 {
					cancel() // every other run leaves; the rest must not notice
				}
			}}
			result, err := rec.run(ctx, b, ask(fmt.Sprintf("r%d", i), fmt.Sprintf("hello number %d", i)))
			if i%2 == 1 {
				requireOn(t, err != nil && ctx.Err() != nil, "run %d: error %v, want cancelled", i, err)
			} else {
				requireOn(t, err == nil, "run %d: error %v", i, err)
			}
			requireOn(t, result.Text == rec.text(), "run %d: text %q, pieces %q", i, result.Text, rec.text())
		})
	}
	wg.Wait()
}

// requireOn is for goroutines other than the test's own, where require must not
// be used.
func requireOn(t *testing.T, ok bool, format string, args ...any) {
	t.Helper()
	if !ok {
		t.Errorf(format, args...)
	}
}

func contractSecondTurn(t *testing.T, b agent.Backend) {
	var first recording
	result, err := first.run(t.Context(), b, ask("r1", "hello"))
	require.NoError(t, err)

	turn := ask("r2", "hello")
	turn.System = "Be brief."
	turn.Messages = append(turn.Messages,
		agent.Message{Role: "assistant", Text: result.Text},
		agent.Message{Role: "user", Text: "and now?"})
	before := fmt.Sprint(turn)
	var second recording
	result, err = second.run(t.Context(), b, turn)
	require.NoError(t, err)
	require.Equal(t, second.text(), result.Text)
	require.Equal(t, before, fmt.Sprint(turn), "a backend does not write to its turn")
}
