package settings

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestGeneratedTokensDiffer: a secret that every installation makes alike is none.
func TestGeneratedTokensDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 3 {
		token, err := Token(t.TempDir(), Secret{}, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		require.False(t, seen[token.Reveal()])
		seen[token.Reveal()] = true
	}
}
