package turn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/session"
)

// small is a backend with a small window, which refuses what does not fit it and
// keeps what it was given.
type small struct {
	window int64
	broken bool // it fails when it shall summarise

	mu    sync.Mutex
	turns []agent.Turn
	sums  int
}

func (b *small) backend() *funcBackend {
	return &funcBackend{run: func(_ context.Context, turn agent.Turn, emit func(agent.Event)) (agent.Result, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if turn.System == summaryInstructions {
			b.sums++
			if b.broken {
				return agent.Result{}, errors.New("no summary today")
			}
			return agent.Result{Text: fmt.Sprint("gist ", b.sums), Provider: "func", Model: "m", Usage: agent.Usage{Input: 7, Output: 3, Total: 10}}, nil
		}
		b.turns = append(b.turns, turn)
		if tokens(turn) > b.window {
			return agent.Result{}, fmt.Errorf("HTTP 400: %w", agent.ErrContextOverflow)
		}
		emit(agent.Event{Text: "done"})
		return agent.Result{Text: "done", StopReason: "stop"}, nil
	}}
}

// last is what the backend was given last.
func (b *small) last() agent.Turn {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.turns[len(b.turns)-1]
}

// fill stores n finished exchanges of some 100 tokens a message.
func (g *rig) fill(n int) {
	g.t.Helper()
	for i := range n {
		run := fmt.Sprint("old", i)
		_, _, err := g.sess.Append(context.Background(), "main", nil,
			session.Message{Role: "user", RunID: run, Text: fmt.Sprint("q", i, strings.Repeat(" word", 79))},
			session.Message{Role: "assistant", RunID: run, Text: fmt.Sprint("a", i, strings.Repeat(" word", 79))})
		require.NoError(g.t, err)
	}
}

func window(tokens int64) func(*Config) { return func(c *Config) { c.ContextTokens = tokens } }

// A conversation that outgrows the window is summarised before the turn; the
// transcript keeps all of it, and later turns begin with the summary.
func TestCompactionBeforeATurn(t *testing.T) {
	b := &small{window: 1500}
	g := newRig(t, b.backend(), window(2000)) // 500 of it for the answer
	defer g.stop()
	g.fill(10)
	require.Equal(t, StateFinal, g.finish(g.start(ask("k1", "and now?"))).State)
	require.LessOrEqual(t, tokens(b.last()), int64(1500))
	messages := b.last().Messages
	require.True(t, strings.HasPrefix(messages[0].Text, "[Summary of the conversation so far]\ngist "), messages[0].Text)
	require.Equal(t, "and now?", messages[len(messages)-1].Text)
	lines := g.rec.lines("k1")
	require.Equal(t, []string{"agent 1 lifecycle start", "agent 2 compaction start", "agent 3 compaction end", "agent 4 assistant done"}, lines[:4])
	require.Equal(t, 1, g.rec.terminals("k1"))

	history := g.history("main")
	require.Len(t, history, 10*2+1+2, "twenty old messages, the summary, question and answer")
	require.True(t, strings.HasPrefix(history[0], "user: q0"))

	sums := b.sums
	require.Equal(t, StateFinal, g.finish(g.start(ask("k2", "go on"))).State)
	require.Equal(t, sums, b.sums, "once is enough")
	require.Contains(t, b.last().Messages[0].Text, "gist")

	day := g.sess
	var used int64
	require.NoError(t, day.Usage("0000", "9999", func(u session.SessionUsage) {
		for _, m := range u.Models {
			used += m.Total
		}
	}))
	require.Equal(t, int64(10*sums), used, "summaries are accounted for")
}

// A backend that finds the conversation too long is asked once more, with less.
func TestOverflowIsTriedOnceMore(t *testing.T) {
	b := &small{window: 1500}
	g := newRig(t, b.backend()) // the window is not known
	defer g.stop()
	g.fill(10)
	require.Equal(t, StateFinal, g.finish(g.start(ask("k1", "and now?"))).State)
	require.Len(t, b.turns, 2)
	require.Contains(t, b.last().Messages[0].Text, "gist")
	require.Equal(t, []string{"agent 1 lifecycle start", "agent 2 compaction start", "agent 3 compaction end"}, g.rec.lines("k1")[:3])
	require.Equal(t, 1, g.rec.terminals("k1"))

	b.window = 10 // nothing will ever fit
	out := g.finish(g.start(ask("k2", "and now?")))
	require.Equal(t, StateError, out.State)
	require.Contains(t, out.Error, agent.ErrContextOverflow.Error())
	require.LessOrEqual(t, len(b.turns), 4)
	require.Equal(t, 1, g.rec.terminals("k2"))
}

// What has been said cannot be said again: a refusal after the first word is final.
func TestOverflowAfterAWordIsFinal(t *testing.T) {
	asked := 0
	g := newRig(t, &funcBackend{run: func(_ context.Context, _ agent.Turn, emit func(agent.Event)) (agent.Result, error) {
		asked++
		emit(agent.Event{Text: "half"})
		return agent.Result{}, agent.ErrContextOverflow
	}})
	defer g.stop()
	g.fill(10)
	require.Equal(t, StateError, g.finish(g.start(ask("k1", "and now?"))).State)
	require.Equal(t, 1, asked)
	require.NotContains(t, strings.Join(g.rec.lines("k1"), "\n"), "compaction")
}

// Without a summary the turn goes with what fits.
func TestCompactionThatFailsCostsOldMessagesOnly(t *testing.T) {
	b := &small{window: 1500, broken: true}
	g := newRig(t, b.backend(), window(2000))
	defer g.stop()
	g.fill(10)
	require.Equal(t, StateFinal, g.finish(g.start(ask("k1", "and now?"))).State)
	require.LessOrEqual(t, tokens(b.last()), int64(1500))
	require.Greater(t, len(b.last().Messages), 5)
	require.NotContains(t, b.last().Messages[0].Text, "Summary")
	require.Len(t, g.history("main"), 22)
}

// A short conversation is left alone, whatever the window.
func TestNoCompactionWithoutNeed(t *testing.T) {
	b := &small{window: 1 << 40}
	g := newRig(t, b.backend(), window(100_000))
	defer g.stop()
	g.fill(10)
	g.finish(g.start(ask("k1", "and now?")))
	require.Zero(t, b.sums)
	require.Len(t, b.last().Messages, 21)
	require.NotContains(t, strings.Join(g.rec.lines("k1"), "\n"), "compaction")
}

// An abort during the summary ends the run as any other abort does.
func TestAbortDuringCompaction(t *testing.T) {
	asked := make(chan struct{})
	backend := &funcBackend{run: func(ctx context.Context, turn agent.Turn, _ func(agent.Event)) (agent.Result, error) {
		if turn.System == summaryInstructions {
			close(asked)
		}
		<-ctx.Done()
		return agent.Result{}, ctx.Err()
	}}
	g := newRig(t, backend, window(2000))
	defer g.stop()
	g.fill(10)
	run := g.start(ask("k1", "and now?"))
	<-asked
	ok, err := g.AbortRun(t.Context(), "agent:main:main", "k1", StopRPC)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, StateAborted, g.finish(run).State)
	require.Equal(t, 1, g.rec.terminals("k1"))
	require.Len(t, g.history("main"), 21)
}
