package openai

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/agent"
)

// TestIndependentServer runs against a server that we did not write:
// tools/testclients/aimock.sh check starts it and names it here.
func TestIndependentServer(t *testing.T) {
	base := os.Getenv("CODERCLAW_TEST_AIMOCK")
	if base == "" {
		t.Skip("run tools/testclients/aimock.sh check")
	}
	const answer = "Hello from an independent server. This answer is long enough to come in several chunks: é, ü and 漢字 included."
	b := newBackend(t, Config{BaseURL: base, APIKey: "aimock-test-key"})

	t.Run("models", func(t *testing.T) {
		models, err := b.Models(t.Context())
		require.NoError(t, err)
		require.NotEmpty(t, models)
		require.Equal(t, "openai", models[0].Provider)
	})
	t.Run("a streamed answer", func(t *testing.T) {
		turn := ask("hello")
		turn.System, turn.Thinking = "Be brief.", "low"
		pieces, result, err := run(t.Context(), b, turn)
		require.NoError(t, err)
		require.Greater(t, len(pieces), 3)
		require.Equal(t, answer, result.Text)
		require.Equal(t, "stop", result.StopReason)
		require.Positive(t, result.Usage.Input)
		require.Positive(t, result.Usage.Output)
	})
	t.Run("cancel in mid-answer", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		result, err := b.Run(ctx, ask("hello"), func(agent.Event) { cancel() })
		require.ErrorIs(t, err, context.Canceled)
		require.NotEmpty(t, result.Text)
		require.Less(t, len(result.Text), len(answer))
	})
	t.Run("a tool that nobody offered", func(t *testing.T) {
		_, _, err := run(t.Context(), b, ask("which tool"))
		require.ErrorContains(t, err, `asked for the tool "clock"`)
	})
	t.Run("a failure of the service", func(t *testing.T) {
		_, _, err := run(t.Context(), b, ask("fail now"))
		require.EqualError(t, err, "HTTP 503: the mock is overloaded")
	})
	t.Run("a wrong key", func(t *testing.T) {
		wrong := newBackend(t, Config{BaseURL: base, APIKey: "wrong"})
		_, _, err := run(t.Context(), wrong, ask("hello"))
		require.EqualError(t, err, "HTTP 401: Invalid API key")
	})
}
