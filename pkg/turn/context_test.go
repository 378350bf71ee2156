package turn

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/agent/agenttest"
	"github.com/coderclaw/gateway/pkg/session"
)

func TestConversation(t *testing.T) {
	user := func(run, text string) session.Message {
		return session.Message{Role: "user", RunID: run, Text: text}
	}
	reply := func(run, text string) session.Message {
		return session.Message{Role: "assistant", RunID: run, Text: text}
	}
	command := func(run, text string) session.Message {
		m := InjectedMessage(text)
		m.RunID = run
		return m
	}
	cases := []struct {
		name    string
		history []session.Message
		want    string
	}{
		{"plain", []session.Message{user("1", "a"), reply("1", "b")}, "a b"},
		{"answers follow their questions", []session.Message{user("1", "a"), user("2", "b"), reply("1", "A"), reply("2", "B")}, "a A b B"},
		{"the run's own question is not repeated", []session.Message{user("1", "a"), reply("1", "A"), user("self", "me")}, "a A"},
		{"questions in line come later", []session.Message{user("next", "later"), user("1", "a"), reply("1", "A")}, "a A"},
		{"commands are between the person and the gateway", []session.Message{user("1", "/status"), command("1", "fine"), user("2", "a"), reply("2", "A")}, "a A"},
		{"notes of an operator count", []session.Message{user("1", "a"), reply("1", "A"), InjectedMessage("note")}, "a A note"},
		{"a failed turn leaves its question", []session.Message{user("1", "a"), reply("1", ""), user("2", "b"), reply("2", "B")}, "a b B"},
		{"an answer without its question", []session.Message{reply("0", "A"), user("1", "b"), reply("1", "B")}, "A b B"},
		{"a lost turn leaves its question", []session.Message{user("1", "a"), user("2", "b"), reply("2", "B")}, "a b B"},
		{"a run id used again", []session.Message{user("1", "a"), reply("1", "A"), user("1", "b"), reply("1", "B")}, "a A b B"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, m := range conversation(c.history, "self", map[string]bool{"next": true}) {
				got = append(got, m.Text)
			}
			require.Equal(t, c.want, strings.Join(got, " "))
		})
	}
}

func TestFitKeepsTheNewest(t *testing.T) {
	big := agent.Message{Text: strings.Repeat("x", contextBytesMax/2)}
	small := agent.Message{Text: "small"}
	image := agent.Message{Images: []agent.Image{{Data: make([]byte, contextBytesMax)}}}
	require.Len(t, fit([]agent.Message{big, small, small}), 3)
	require.Len(t, fit([]agent.Message{big, big, small}), 2)
	require.Equal(t, []agent.Message{small}, fit([]agent.Message{image, small}))
	require.Equal(t, []agent.Message{image}, fit([]agent.Message{small, image}), "the question stays, whatever its size")
}

func TestTurnKnowsItsSession(t *testing.T) {
	var seen agent.Turn
	g := newRig(t, &agenttest.Script{Reply: func(turn agent.Turn) []string { seen = turn; return []string{"ok"} }})
	defer g.stop()
	_, err := g.sess.Patch(t.Context(), "main", func(e *session.Entry) error {
		e.ModelOverride, e.ProviderOverride, e.ThinkingLevel = "big", "Script", "low"
		return nil
	})
	require.NoError(t, err)
	require.NoError(t, g.sess.AddNote(t.Context(), "Node: mac joined"))

	g.finish(g.start(ask("0", "hi", in("other"))))
	require.NotContains(t, seen.System, "Node: mac", "notes are for the main session")
	require.Empty(t, seen.Model)

	image := session.Image{MimeType: "image/png", Data: []byte("png")}
	g.finish(g.start(ask("1", "look", func(q *Request) { q.Images, q.System = []session.Image{image}, "Be brief." })))
	entry, _, err := g.sess.Get("main")
	require.NoError(t, err)
	require.Equal(t, "1", seen.RunID)
	require.Equal(t, "agent:main:main", seen.SessionKey)
	require.Equal(t, entry.SessionID, seen.SessionID)
	require.Equal(t, "main", seen.AgentID)
	require.Equal(t, "big", seen.Model)
	require.Equal(t, "low", seen.Thinking)
	require.Contains(t, seen.System, "Node: mac joined")
	require.Contains(t, seen.System, "NO_REPLY")
	require.True(t, strings.HasSuffix(seen.System, "\n\nBe brief."))
	require.Equal(t, []agent.Message{{Role: "user", Text: "look", Images: []agent.Image{{MimeType: "image/png", Data: []byte("png")}}}}, seen.Messages)

	g.finish(g.start(ask("2", "again", func(q *Request) { q.Thinking = "high" })))
	require.Equal(t, "high", seen.Thinking)
	require.NotContains(t, seen.System, "Node: mac", "notes are told once")
}

// What another backend calls its models means nothing to this one.
func TestModelOfAnotherBackend(t *testing.T) {
	cases := []struct{ name, provider, model, want string }{
		{"no provider named", "", "big", "big"},
		{"this one", "script", "big", "big"},
		{"another", "openai", "big", ""},
		{"another, and no model", "openai", "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var turns []agent.Turn
			g := newRig(t, watching(&turns))
			defer g.stop()
			_, err := g.sess.Patch(t.Context(), "main", func(e *session.Entry) error {
				e.ModelOverride, e.ProviderOverride = c.model, c.provider
				return nil
			})
			require.NoError(t, err)
			g.finish(g.start(ask("1", "hi")))
			require.Equal(t, c.want, turns[0].Model)
			out := g.finish(g.start(ask("2", "/model", byAgent)))
			require.Contains(t, out.Text, "Model: "+orElse(c.want, "script-1 (default)"))
		})
	}
}

// A system event is told until a turn that was told it has been answered.
func TestNotesOutliveATurnThatFails(t *testing.T) {
	var turns []agent.Turn
	fault := errors.New("HTTP 500")
	g := newRig(t, &funcBackend{run: func(_ context.Context, turn agent.Turn, _ func(agent.Event)) (agent.Result, error) {
		turns = append(turns, turn)
		return agent.Result{Text: "ok"}, fault
	}})
	defer g.stop()
	require.NoError(t, g.sess.AddNote(t.Context(), "Node: mac joined"))
	g.finish(g.start(ask("1", "hi")))
	fault = nil
	g.finish(g.start(ask("2", "hi")))
	g.finish(g.start(ask("3", "hi")))
	told := []bool{}
	for _, turn := range turns {
		told = append(told, strings.Contains(turn.System, "Node: mac joined"))
	}
	require.Equal(t, []bool{true, true, false}, told)
}
