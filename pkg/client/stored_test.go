package client

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTokensList(t *testing.T) {
	tokens := OpenTokens(t.TempDir(), "device")
	list, err := tokens.List()
	require.NoError(t, err)
	require.Empty(t, list)

	require.NoError(t, tokens.Put("ws://localhost:1", "operator", "two", []string{"operator.read"}))
	require.NoError(t, tokens.Put("ws://localhost:1", "node", "one", []string{}))
	list, err = tokens.List()
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, "node", list[0].Role)
	require.Positive(t, list[1].UpdatedAtMs)
	list[1].UpdatedAtMs = 0
	require.Equal(t, StoredToken{Role: "operator", Scopes: []string{"operator.read"}, Origin: "ws://localhost:1", Token: "two"}, list[1])
}
