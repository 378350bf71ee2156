package turn

import (
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
	"github.com/coderclaw/gateway/pkg/session"
)

func TestCommandIn(t *testing.T) {
	cases := []struct {
		text string
		want string // name and args, or empty
	}{
		{"/help", "help|"},
		{"  /HELP  ", "help|"},
		{"/model gpt-5  ", "model|gpt-5"},
		{"/new\nhello\nthere", "new|hello\nthere"},
		{"/no-such_one x", "no-such_one|x"},
		{"/etc/hosts looks odd", ""},
		{"/", ""},
		{"/ help", ""},
		{"/9", ""},
		{"help", ""},
		{"see /help", ""},
		{"", ""},
	}
	for _, c := range cases {
		t.Run(c.text, func(t *testing.T) {
			cmd, ok := commandIn(c.text)
			require.Equal(t, c.want != "", ok)
			if ok {
				require.Equal(t, c.want, cmd.name+"|"+cmd.args)
			}
		})
	}
}

func TestIsStop(t *testing.T) {
	for _, word := range []string{"/stop", "stop", "esc", "abort", "wait", "exit", "interrupt", " STOP\n", "Esc"} {
		require.True(t, IsStop(word), word)
	}
	for _, text := range []string{"", "stop it", "please stop", "/stop now", "stop!", "waiting", "/new"} {
		require.False(t, IsStop(text), text)
	}
}

// As recorded in chat-errors: one event, under the key that the client wrote, and
// no agent events.
func TestCommandIsOneEvent(t *testing.T) {
	g := newRig(t, blocked())
	defer g.stop()
	g.start(ask("turn", "hi"))
	run := g.start(ask("e5", "/status"))
	out := g.finish(run)
	require.Equal(t, StateFinal, out.State, "a command does not wait for the turn")

	events := g.rec.lines("e5")
	require.Len(t, events, 1)
	require.True(t, strings.HasPrefix(events[0], "chat 1 final  CoderClaw 1.2.3, up "), events[0])
	for _, e := range g.rec.events() {
		if e.runID() != "e5" {
			continue
		}
		require.Equal(t, "main", e.chat.SessionKey)
		m, err := protocol.DecodeChatMessage(e.chat.Message)
		require.NoError(t, err)
		require.Equal(t, protocol.ChatRoleAssistant, m.Role)
		require.Equal(t, "coderclaw", m.Provider.V)
		require.Equal(t, "gateway-injected", m.Model.V)
		require.Equal(t, "openai-responses", m.API.V)
		require.Equal(t, "stop", m.StopReason.V)
		require.Equal(t, protocol.ChatUsage{Cost: m.Usage.V.Cost}, m.Usage.V)
		require.Equal(t, protocol.ChatUsageCost{}, m.Usage.V.Cost.V)
		require.Positive(t, m.Timestamp.V)
	}
	require.Equal(t, []string{"user: hi", "user: /status", "assistant: " + out.Text}, g.history("main"))
}

func TestCommands(t *testing.T) {
	models := func() ([]agent.Model, error) {
		return []agent.Model{{ID: "small", Provider: "p"}, {ID: "Big", Provider: "p"}}, nil
	}
	silent := func() ([]agent.Model, error) { return nil, errors.New("connection refused") }
	override := func(t *testing.T, g *rig, want string) {
		t.Helper()
		entry, _, err := g.sess.Get("main")
		require.NoError(t, err)
		require.Equal(t, want, entry.ProviderOverride+"/"+entry.ModelOverride)
	}
	cases := []struct {
		text   string
		models func() ([]agent.Model, error)
		want   []string // parts of the answer
		check  func(t *testing.T, g *rig)
	}{
		{"/help", nil, []string{"/status", "/sessions", "/model", "/new", "/stop"}, nil},
		{"/nonsense now", nil, []string{"There is no command /nonsense. /help lists the commands."}, nil},
		{"/status", nil, []string{
			"CoderClaw 1.2.3, up ", "Backend: func", "Model: last-model (default)", "Thinking: off",
			"Session: agent:main:main, 3 messages", "Last turn: 11 tokens in, 7 out; context 11 of 1000",
		}, nil},
		{"/sessions", nil, []string{"Sessions: 2\n", "agent:main:other - 1 messages", "agent:main:main - 3 messages, 0 s ago, this one"}, nil},
		{"/model", models, []string{"Model: last-model (default)\n- small\n- Big"}, nil},
		{"/model", silent, []string{"The list of models did not answer: connection refused"}, nil},
		{"/model big", models, []string{"This session now uses Big."}, func(t *testing.T, g *rig) { override(t, g, "p/Big") }},
		{"/model p/small", models, []string{"This session now uses small."}, func(t *testing.T, g *rig) { override(t, g, "p/small") }},
		{"/model huge", models, []string{"There is no model huge here."}, func(t *testing.T, g *rig) { override(t, g, "/") }},
		{"/model huge", silent, []string{"This session now uses huge.", "nobody has checked"}, func(t *testing.T, g *rig) { override(t, g, "/huge") }},
		{"/model default", models, []string{"default model again"}, func(t *testing.T, g *rig) { override(t, g, "/") }},
		{"/think", nil, []string{"Thinking: off"}, nil},
		{"/think HIGH", nil, []string{"Thinking: high"}, func(t *testing.T, g *rig) {
			entry, _, err := g.sess.Get("main")
			require.NoError(t, err)
			require.Equal(t, "high", entry.ThinkingLevel)
		}},
		{"/think hard", nil, []string{"There is no thinking level hard. The levels are off, minimal, low, medium, high."}, nil},
		{"/stop", nil, []string{"Nothing was running here."}, nil},
	}
	for _, c := range cases {
		t.Run(c.text, func(t *testing.T) {
			g := newRig(t, &funcBackend{models: c.models})
			defer g.stop()
			g.say("main", session.Message{Role: "user", Text: "hello"}, session.Message{Role: "assistant", Text: "hi"})
			g.say("other", session.Message{Role: "user", Text: "elsewhere"})
			_, err := g.sess.Patch(t.Context(), "main", func(e *session.Entry) error {
				e.Model, e.InputTokens, e.OutputTokens, e.TotalTokens, e.ContextTokens = "last-model", 11, 7, 11, 1000
				return nil
			})
			require.NoError(t, err)
			out := g.finish(g.start(ask("k", c.text)))
			require.Equal(t, StateFinal, out.State)
			for _, part := range c.want {
				require.Contains(t, out.Text, part)
			}
			if c.check != nil {
				c.check(t, g)
			}
		})
	}
}

// say appends to a transcript.
func (g *rig) say(key string, msgs ...session.Message) {
	g.t.Helper()
	_, _, err := g.sess.Append(g.t.Context(), key, nil, msgs...)
	require.NoError(g.t, err)
}

func TestNewSession(t *testing.T) {
	for _, word := range []string{"/new", "/reset"} {
		t.Run(word, func(t *testing.T) {
			g := newRig(t, blocked())
			defer g.stop()
			old := g.start(ask("old", "hi"))
			before, _, err := g.sess.Get("main")
			require.NoError(t, err)
			out := g.finish(g.start(ask("k", word)))
			require.Equal(t, StateFinal, out.State)
			require.Equal(t, StateAborted, g.finish(old).State, "what ran is stopped")
			require.NotEqual(t, before.SessionID, out.SessionID)
			require.Equal(t, []string{"assistant: " + out.Text}, g.history("main"))
		})
	}
}

func TestNewSessionWithAMessage(t *testing.T) {
	var seen []agent.Message
	g := newRig(t, &agenttest.Script{Reply: func(turn agent.Turn) []string {
		seen = turn.Messages
		return []string{"fresh"}
	}})
	defer g.stop()
	g.finish(g.start(ask("1", "old")))
	run := g.start(ask("2", "/new  what is up?"))
	require.Equal(t, StateFinal, g.finish(run).State)
	require.Equal(t, []agent.Message{{Role: "user", Text: "what is up?"}}, seen)
	require.Equal(t, []string{"user: what is up?", "assistant: fresh"}, g.history("main"))
	require.Equal(t, "agent 1 lifecycle start", g.rec.lines("2")[0], "it is a turn like any other")

	known, replayed, err := g.Start(t.Context(), ask("2", "/new  what is up?"))
	require.NoError(t, err)
	require.True(t, replayed, "a replay does not reset again")
	_, ended := known.Outcome()
	require.True(t, ended)
	require.Len(t, g.history("main"), 2)
}

func TestStopCommand(t *testing.T) {
	g := newRig(t, blocked())
	defer g.stop()
	first, second := g.start(ask("1", "hi")), g.start(ask("2", "hi"))
	out := g.finish(g.start(ask("stop", "/stop", func(q *Request) { q.Namespace = NamespaceAgent })))
	require.Equal(t, "Stopped: 2.", out.Text)
	for _, run := range []*Run{first, second} {
		require.Equal(t, StopCommand, g.finish(run).StopReason)
	}
}

// Two resets at the same moment abort each other and do not wait in vain.
func TestResetsDoNotBlockEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, blocked())
		defer g.stop()
		began := time.Now()
		var runs []*Run
		for i := range 4 {
			run, _, err := g.Start(t.Context(), ask(fmt.Sprint(i), "/new"))
			require.NoError(t, err)
			runs = append(runs, run)
		}
		for _, run := range runs {
			run.Release()
		}
		for _, run := range runs {
			g.finish(run)
			require.Equal(t, 1, g.rec.terminals(run.ID()))
		}
		require.Less(t, time.Since(began), time.Second)
	})
}

func TestThinking(t *testing.T) {
	for word, want := range map[string]string{
		"": "", "off": "off", " High ": "high", "min": "minimal", "on": "low", "mid": "medium", "xhigh": "high", "banana": "",
	} {
		require.Equal(t, want, Thinking(word), "%q", word)
	}
}
