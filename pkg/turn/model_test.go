package turn

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/session"
)

// chooser is a backend with the providers one and two.
type chooser struct {
	*funcBackend
	windows map[string]int64
}

func (c chooser) Choose(_, model string) (agent.Choice, error) {
	if model == "" {
		model = "one/a"
	}
	provider, id, ok := strings.Cut(model, "/")
	if !ok {
		provider, id = "one", model
	}
	if provider != "one" && provider != "two" {
		return agent.Choice{}, errors.New("no provider " + provider)
	}
	return agent.Choice{Provider: provider, Model: id, ContextWindow: c.windows[provider+"/"+id]}, nil
}

// changeable is a backend whose configuration changes.
type changeable struct{ agent.Backend }

func (c *changeable) Current() agent.Backend { return c.Backend }

// A run asks, and is shown with, the model of its beginning; what a session has chosen
// of a provider that there is none of is left out.
func TestTheModelOfARun(t *testing.T) {
	var asked []string
	answer := func(_ context.Context, turn agent.Turn, _ func(agent.Event)) (agent.Result, error) {
		asked = append(asked, turn.Model)
		provider, id, _ := strings.Cut(turn.Model, "/")
		return agent.Result{Text: "ok", API: "some-api", Provider: provider, Model: id}, nil
	}
	b := chooser{&funcBackend{run: answer}, map[string]int64{"one/a": 100_000, "two/b": 7000}}
	g := newRig(t, &changeable{b})
	defer g.stop()
	choose := func(provider, model string) {
		_, err := g.sessions.Patch(t.Context(), "main", func(e *session.Entry) error {
			e.ProviderOverride, e.ModelOverride = provider, model
			return nil
		})
		require.NoError(t, err)
	}
	for i, c := range []struct {
		provider, model, own, want string
		window                     int64
	}{
		{"", "", "", "one/a", 100_000},
		{"two", "b", "", "two/b", 7000},
		{"", "c", "", "one/c", 0}, // not known
		{"gone", "x", "", "one/a", 100_000},
		{"two", "b", "one/own", "one/own", 0},
	} {
		choose(c.provider, c.model)
		out := g.finish(g.start(ask("k"+string(rune('a'+i)), "hi", func(q *Request) { q.Model = c.own })))
		require.Equal(t, c.want, asked[i])
		require.Equal(t, c.want, out.Provider+"/"+out.Model)
		e, _, err := g.sessions.Get("main")
		require.NoError(t, err)
		require.Equal(t, c.window, e.ContextTokens, c.want)
	}
	history, err := g.sessions.History("main", 1)
	require.NoError(t, err)
	require.Equal(t, "some-api", history[0].API)
}
