package prompt

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/agent"
)

// echo is a backend that answers with its system prompt.
type echo struct{ agent.Backend }

func (echo) Name() string { return "echo" }

func (echo) Run(_ context.Context, turn agent.Turn, _ func(agent.Event)) (agent.Result, error) {
	return agent.Result{Text: turn.System}, nil
}

func TestNewNeedsItsParts(t *testing.T) {
	_, err := New(Config{Backend: echo{}})
	require.EqualError(t, err, "prompt needs a backend and a text")
}

func TestRun(t *testing.T) {
	b, err := New(Config{Backend: echo{}, Text: func(turn agent.Turn) string { return turn.AgentID }})
	require.NoError(t, err)
	require.Equal(t, "echo", b.Name())
	for want, turn := range map[string]agent.Turn{
		"before\n\nops": {System: "before", AgentID: "ops"},
		"ops":           {AgentID: "ops"},
		"before":        {System: "before"},
	} {
		got, err := b.Run(t.Context(), turn, nil)
		require.NoError(t, err)
		require.Equal(t, want, got.Text)
	}
}
