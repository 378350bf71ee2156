package store

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNetworkFileSystems(t *testing.T) {
	for magic, want := range map[uint32]string{0x6969: "NFS", 0xff534d42: "SMB", 0xfe534d42: "SMB", 0x517b: "SMB", 0xef53: "", 0x01021994: ""} {
		require.Equal(t, want, networkName(magic), "%#x", magic)
	}
	require.NoError(t, refuseNetwork(t.TempDir()))
	require.Error(t, refuseNetwork("/no such directory"))
}
