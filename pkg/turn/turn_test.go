package turn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/agent/agenttest"
)

// The order, the numbers and the throttle are those of the recorded conversation
// chat-send-stream: a word each 60 ms, deltas with the first, fourth and seventh. The
// delta with the eighth, which the interval held back, is ours.
func TestTurnTellsWhatTheRecordingTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, &agenttest.Script{Interval: 60 * time.Millisecond})
		defer g.stop()
		run := g.start(ask("c1", "hello there"))
		out := g.finish(run)

		w := func(n int) string { return strings.Join(agenttest.Words(n), "") }
		require.Equal(t, []string{
			"agent 1 lifecycle start",
			"agent 2 assistant word0",
			"chat 2 delta  word0",
			"agent 3 assistant  word1",
			"agent 4 assistant  word2",
			"agent 5 assistant  word3",
			"chat 5 delta  " + strings.TrimSpace(w(4)),
			"agent 6 assistant  word4",
			"agent 7 assistant  word5",
			"agent 8 assistant  word6",
			"chat 8 delta  " + strings.TrimSpace(w(7)),
			"agent 9 assistant  word7",
			"chat 9 delta  " + strings.TrimSpace(w(8)),
			"agent 10 lifecycle end",
			"chat 10 final  " + strings.TrimSpace(w(8)),
		}, g.rec.lines("c1"))
		for _, e := range g.rec.events() {
			require.Equal(t, e.chat.State == protocol.ChatStateDelta, e.Delta, "only deltas may be dropped")
			require.Nil(t, e.To)
			require.Equal(t, "agent:main:main", e.chat.SessionKey+e.agent.SessionKey.Or(""))
		}
		require.Equal(t, StateFinal, out.State)
		require.Equal(t, strings.TrimSpace(w(8)), out.Text)
		require.Equal(t, []string{"user: hello there", "assistant: " + w(8)}, g.history("main"))

		entry, ok, err := g.sess.Get("main")
		require.NoError(t, err)
		require.True(t, ok)
		require.EqualValues(t, 10, entry.InputTokens)
		require.EqualValues(t, 8, entry.OutputTokens)
		require.EqualValues(t, 10, entry.TotalTokens)
		require.True(t, entry.TotalTokensFresh)
		require.Equal(t, entry.SessionID, out.SessionID)
		require.Equal(t, "script-1", entry.Model)
	})
}

func TestNothingIsToldBeforeRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, &agenttest.Script{})
		defer g.stop()
		run, _, err := g.Start(t.Context(), ask("k", "hi"))
		require.NoError(t, err)
		require.Equal(t, []string{"user: hi"}, g.history("main"), "stored before the acknowledgement")
		time.Sleep(time.Minute)
		require.Empty(t, g.rec.lines("k"))
		run.Release()
		run.Release()
		g.finish(run)
		require.NotEmpty(t, g.rec.lines("k"))
	})
}

func TestDeltaThrottle(t *testing.T) {
	pause := func(pieces ...any) *funcBackend {
		return &funcBackend{run: func(_ context.Context, _ agent.Turn, emit func(agent.Event)) (agent.Result, error) {
			for _, p := range pieces {
				switch p := p.(type) {
				case string:
					emit(agent.Event{Text: p})
				case time.Duration:
					time.Sleep(p)
				}
			}
			return agent.Result{}, nil
		}}
	}
	const ms = time.Millisecond
	cases := []struct {
		name    string
		backend agent.Backend
		want    string // of each delta: ms since the start and text
	}{
		{"a pause is flushed", pause("a", 60*ms, "b", 1000*ms, "c"), "0:a 210:ab 1060:abc"},
		{"what came within 150 ms waits for the next word after it, or the end", pause("a", 100*ms, "b", 100*ms, "c", 100*ms, "d"), "0:a 200:abc 300:abcd"},
		{"blanks are no news", pause("a", 200*ms, " ", 200*ms, "\n", 200*ms, "b"), "0:a 600:a \nb"},
		{"silence is told nobody", pause("NO", 500*ms, "_REPLY"), ""},
		{"what only begins like silence is told late", pause("NO", 500*ms, " way"), "500:NO way"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, c.backend)
				defer g.stop()
				run := g.start(ask("k", "hi"))
				g.finish(run)
				var got []string
				began := g.rec.events()[0].at
				for _, e := range g.rec.events() {
					if e.chat.State == protocol.ChatStateDelta {
						got = append(got, fmt.Sprintf("%d:%s", e.at.Sub(began).Milliseconds(), messageText(e.chat.Message)))
					}
				}
				require.Equal(t, c.want, strings.Join(got, " "))
			})
		})
	}
}

func TestDeltasAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		words := func(agent.Turn) []string { return agenttest.Words(50) }
		g := newRig(t, &agenttest.Script{Reply: words, Interval: 50 * time.Millisecond})
		defer g.stop()
		g.finish(g.start(ask("k", "hi")))
		var last time.Time
		deltas := 0
		for _, e := range g.rec.events() {
			if e.chat.State != protocol.ChatStateDelta {
				continue
			}
			if messageText(e.chat.Message) != strings.TrimSpace(strings.Join(agenttest.Words(50), "")) {
				require.GreaterOrEqual(t, e.at.Sub(last), deltaInterval)
			}
			last = e.at
			deltas++
		}
		require.Equal(t, 18, deltas, "2450 ms at one in 150 ms, and the whole")
	})
}

func TestSilentReply(t *testing.T) {
	g := newRig(t, &agenttest.Script{Reply: func(agent.Turn) []string { return []string{" NO_", "REPLY\n"} }})
	defer g.stop()
	out := g.finish(g.start(ask("k", "hi")))
	require.True(t, out.Silent)
	lines := g.rec.lines("k")
	require.Equal(t, "chat 4 final", lines[len(lines)-1])
	for _, l := range lines {
		require.NotContains(t, l, "delta")
	}
}

func TestBackendThatDoesNotStream(t *testing.T) {
	g := newRig(t, &funcBackend{run: func(context.Context, agent.Turn, func(agent.Event)) (agent.Result, error) {
		return agent.Result{Text: "all at once"}, nil
	}})
	defer g.stop()
	out := g.finish(g.start(ask("k", "hi")))
	require.Equal(t, []string{
		"agent 1 lifecycle start",
		"agent 2 assistant all at once",
		"chat 2 delta  all at once",
		"agent 3 lifecycle end",
		"chat 3 final  all at once",
	}, g.rec.lines("k"))
	require.Equal(t, "func", out.Provider, "a backend that says nothing of itself is named")
	require.Equal(t, "default", out.Model)
}

// As recorded in chat-errors.
func TestFailure(t *testing.T) {
	g := newRig(t, &funcBackend{run: func(_ context.Context, turn agent.Turn, emit func(agent.Event)) (agent.Result, error) {
		switch turn.Messages[len(turn.Messages)-1].Text {
		case "panic":
			panic("secret of the backend")
		case "late":
			emit(agent.Event{Text: "half"})
		}
		return agent.Result{}, errors.New("HTTP 401: mock invalid api key")
	}})
	defer g.stop()

	out := g.finish(g.start(ask("e4", "fail")))
	require.Equal(t, []string{
		"agent 1 lifecycle start",
		"agent 2 lifecycle error HTTP 401: mock invalid api key",
		"chat 2 error  HTTP 401: mock invalid api key",
	}, g.rec.lines("e4"))
	require.Equal(t, StateError, out.State)
	require.Equal(t, protocol.DetailModelUnavailable, out.Detail)

	g.finish(g.start(ask("late", "late")))
	require.Contains(t, g.history("main"), "assistant: half", "what was said before the failure is kept")

	out = g.finish(g.start(ask("panic", "panic")))
	require.Equal(t, StateError, out.State)
	require.Equal(t, protocol.DetailInternal, out.Detail)
	require.NotContains(t, out.Error, "secret")
	require.Contains(t, out.Error, "panic)", "names the run")
	require.Equal(t, 1, g.rec.terminals("panic"))

	require.Equal(t, StateError, g.finish(g.start(ask("after", "fail"))).State, "the lane goes on")
}

func TestTokensOfAnUnknownSizeKeepTheCounters(t *testing.T) {
	usage := agent.Usage{Input: 7, Output: 3, CacheRead: 5}
	g := newRig(t, &funcBackend{run: func(context.Context, agent.Turn, func(agent.Event)) (agent.Result, error) {
		return agent.Result{Text: "x", Usage: usage}, nil
	}}, func(c *Config) { c.ContextTokens = 32000 })
	defer g.stop()
	g.finish(g.start(ask("1", "hi")))
	entry, _, err := g.sess.Get("main")
	require.NoError(t, err)
	require.EqualValues(t, 12, entry.TotalTokens)
	require.EqualValues(t, 32000, entry.ContextTokens)

	usage = agent.Usage{}
	g.finish(g.start(ask("2", "hi")))
	entry, _, err = g.sess.Get("main")
	require.NoError(t, err)
	require.EqualValues(t, 12, entry.TotalTokens)
	require.False(t, entry.TotalTokensFresh)
}

func TestToolEvents(t *testing.T) {
	tools := []agent.ToolEvent{
		{Phase: "start", ToolCallID: "t1", Name: "read", Args: []byte(`{"path":"a"}`)},
		{Phase: "result", ToolCallID: "t1", Name: "read", Result: []byte(`"secret"`)},
	}
	wants := func(conn string) func(*Request) { return func(q *Request) { q.ToolConnID = conn } }
	cases := []struct {
		name    string
		verbose string
		conn    string
		want    []string
		result  bool
	}{
		{"nobody asked", "", "", nil, false},
		{"the starter asked", "", "conn-1", []string{"agent 2 tool start read to [conn-1]", "agent 3 tool result read to [conn-1]"}, false},
		{"full verbose shows results", "full", "conn-1", []string{"agent 2 tool start read to [conn-1]", "agent 3 tool result read to [conn-1]"}, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g := newRig(t, &agenttest.Script{Tools: tools})
			defer g.stop()
			g.setVerbose("main", c.verbose)
			g.finish(g.start(ask("k", "hi", wants(c.conn))))
			var got []string
			for _, e := range g.rec.events() {
				if e.agent.Stream != string(protocol.AgentStreamTool) {
					continue
				}
				got = append(got, e.line())
				_, told := e.agent.Data.Get("result")
				require.Equal(t, c.result && strings.Contains(e.line(), "result"), told)
			}
			require.Equal(t, c.want, got)
			require.Contains(t, g.rec.lines("k"), "agent 4 assistant word0", "tool events count, whoever sees them")
		})
	}
}

// Who joins a conversation sees the tools of the turn that runs.
func TestToolEventsOfARunningTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, &funcBackend{run: func(_ context.Context, _ agent.Turn, emit func(agent.Event)) (agent.Result, error) {
			time.Sleep(time.Second)
			emit(agent.Event{Tool: &agent.ToolEvent{Phase: "start", ToolCallID: "t", Name: "read"}})
			return agent.Result{Text: "done"}, nil
		}})
		defer g.stop()
		first := g.start(ask("1", "hi"))
		second := g.start(ask("2", "and me", func(q *Request) { q.ToolConnID = "conn-2" }))
		other := g.start(ask("3", "elsewhere", in("other")))
		_, replayed, err := g.Start(t.Context(), ask("1", "hi", func(q *Request) { q.ToolConnID = "conn-1b" }))
		require.NoError(t, err)
		require.True(t, replayed)
		g.finish(first)
		g.finish(second)
		g.finish(other)
		require.Contains(t, g.rec.lines("1"), "agent 2 tool start read to [conn-2 conn-1b]", "who comes back with the key sees them too")
		require.NotContains(t, strings.Join(g.rec.lines("3"), "\n"), "tool")
	})
}
