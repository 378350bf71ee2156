package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStateVersionsStartAtOneAndCountApart(t *testing.T) {
	var v StateVersions
	require.EqualValues(t, 1, v.Presence())
	require.EqualValues(t, 1, v.Health())
	require.EqualValues(t, 2, v.BumpPresence())
	require.EqualValues(t, 3, v.BumpPresence())
	require.EqualValues(t, 2, v.BumpHealth())
	require.EqualValues(t, 3, v.Presence())
	require.EqualValues(t, 2, v.Health())
}
