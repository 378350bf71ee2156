package fallback

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/agent/agenttest"
	"github.com/coderclaw/gateway/pkg/agent/builtin"
)

// scripted is a backend whose models do what the test says.
type scripted struct {
	models map[string]func(ctx context.Context, emit func(agent.Event)) (agent.Result, error)
	asked  []string
}

func (s *scripted) Name() string                                  { return "scripted" }
func (s *scripted) Models(context.Context) ([]agent.Model, error) { return nil, nil }

func (s *scripted) Run(ctx context.Context, turn agent.Turn, emit func(agent.Event)) (agent.Result, error) {
	s.asked = append(s.asked, turn.Model)
	return s.models[turn.Model](ctx, emit)
}

type step = func(ctx context.Context, emit func(agent.Event)) (agent.Result, error)

func fails(context.Context, func(agent.Event)) (agent.Result, error) {
	return agent.Result{}, errors.New("HTTP 500: overloaded")
}

func answers(_ context.Context, emit func(agent.Event)) (agent.Result, error) {
	emit(agent.Event{Text: "hello"})
	return agent.Result{Text: "hello", StopReason: "stop"}, nil
}

func breaksOff(_ context.Context, emit func(agent.Event)) (agent.Result, error) {
	emit(agent.Event{Text: "hel"})
	return agent.Result{Text: "hel"}, errors.New("broke off")
}

func callsATool(_ context.Context, emit func(agent.Event)) (agent.Result, error) {
	emit(agent.Event{Tool: &agent.ToolEvent{Phase: "start", Name: "mail"}})
	return agent.Result{}, errors.New("broke off")
}

func saysWithoutStreaming(context.Context, func(agent.Event)) (agent.Result, error) {
	return agent.Result{Text: "hel"}, errors.New("broke off")
}

func TestNewNeedsABackend(t *testing.T) {
	_, err := New(Config{})
	require.EqualError(t, err, "fallback needs a backend")
}

func TestRun(t *testing.T) {
	chain := func(string) (string, []string) { return "a", []string{"b", "a", "c"} }
	cases := []struct {
		name  string
		model string // that the turn names
		first step
		rest  step
		asked []string
		text  string
		err   string
	}{
		{"the first answers", "", answers, fails, []string{"a"}, "hello", ""},
		{"the second answers", "", fails, answers, []string{"a", "b"}, "hello", ""},
		{"all fail", "", fails, fails, []string{"a", "b", "c"}, "", "HTTP 500: overloaded (and its fallbacks: b: HTTP 500: overloaded; c: HTTP 500: overloaded)"},
		{"the turn names a model", "b", fails, fails, []string{"b", "a", "c"}, "", "HTTP 500: overloaded (and its fallbacks: a: HTTP 500: overloaded; c: HTTP 500: overloaded)"},
		{"half a reply is not begun again", "", breaksOff, answers, []string{"a"}, "hel", "broke off"},
		{"a tool is not called again", "", callsATool, answers, []string{"a"}, "", "broke off"},
		{"what is said in the result counts", "", saysWithoutStreaming, answers, []string{"a"}, "", "broke off"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := &scripted{models: map[string]step{"a": c.first, "b": c.rest, "c": c.rest}}
			b, err := New(Config{Backend: s, Chain: chain})
			require.NoError(t, err)
			var said string
			_, err = b.Run(t.Context(), agent.Turn{Model: c.model}, func(e agent.Event) { said += e.Text })
			if c.err == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, c.err)
			}
			require.Equal(t, c.asked, s.asked)
			require.Equal(t, c.text, said)
		})
	}
}

func TestAnAbortedTurnAsksNoFurtherModel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &scripted{models: map[string]step{"": func(ctx context.Context, _ func(agent.Event)) (agent.Result, error) {
		cancel()
		return agent.Result{}, ctx.Err()
	}}}
	b, err := New(Config{Backend: s, Chain: func(string) (string, []string) { return "", []string{"b"} }})
	require.NoError(t, err)
	_, err = b.Run(ctx, agent.Turn{}, func(agent.Event) {})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, []string{""}, s.asked)
}

func TestTheAgentDecides(t *testing.T) {
	s := &scripted{models: map[string]step{"": answers, "own": answers}}
	b, err := New(Config{Backend: s, Chain: func(id string) (string, []string) {
		if id == "ops" {
			return "own", nil
		}
		return "", nil
	}})
	require.NoError(t, err)
	for _, id := range []string{"main", "ops"} {
		_, err := b.Run(t.Context(), agent.Turn{AgentID: id}, func(agent.Event) {})
		require.NoError(t, err)
	}
	require.Equal(t, []string{"", "own"}, s.asked)
}

func TestContract(t *testing.T) {
	agenttest.Contract(t, func(t *testing.T) agent.Backend {
		nobody := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("nobody") }
		b, err := New(Config{Backend: builtin.New(builtin.Config{Dial: nobody}), Chain: func(string) (string, []string) { return "", []string{"other"} }})
		require.NoError(t, err)
		return b
	})
}
