package tailscale

import (
	"bufio"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSocketOwner(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells whose a socket is")
	}
	dir, err := os.MkdirTemp("", "ts")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l := New(filepath.Join(dir, "d.sock"))
	socket, err := net.Listen("unix", l.Socket())
	require.NoError(t, err)
	defer socket.Close()
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			continue // no IPv6 here
		}
		defer ln.Close()
		caller, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		defer caller.Close()
		accepted, err := ln.Accept()
		require.NoError(t, err)
		defer accepted.Close()
		remote := netip.MustParseAddrPort(accepted.RemoteAddr().String())
		local := netip.MustParseAddrPort(accepted.LocalAddr().String())
		uid, err := socketOwner(remote, local)
		require.NoError(t, err)
		require.EqualValues(t, os.Geteuid(), uid)
		require.NoError(t, l.CalledBy(remote, local))
		require.NoError(t, l.CalledBy(netip.AddrPortFrom(netip.AddrFrom16(remote.Addr().As16()), remote.Port()), local), "mapped")
		require.Error(t, l.CalledBy(netip.AddrPortFrom(remote.Addr(), 1), local), "no such connection")
		require.Error(t, l.CalledBy(remote, netip.AddrPortFrom(local.Addr(), 1)))
		require.Error(t, New(filepath.Join(dir, "none")).CalledBy(remote, local))
	}
}

func TestScanSockets(t *testing.T) {
	const page = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:4965 00000000:0000 0A 00000000:00000000 00:00000000 00000000     7        0 1 1 0 100 0 0 10 0
   1: 0100007F:4965 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 2 1 0 20 4 30 10 -1
   2: 0100007F:9C40 0100007F:4965 01 00000000:00000000 00:00000000 00000000   107        0 3 1 0 20 4 30 10 -1
   3: short
   4: 0000000000000000FFFF00000100007F:9C41 0000000000000000FFFF00000100007F:4965 01 00000000:00000000 00:00000000 00000000   108 0 4
   5: zz:9C42 0100007F:4965 01 00000000:00000000 00:00000000 00000000   109        0 3 1 0 20 4 30 10 -1
`
	for remote, want := range map[string]uint32{"127.0.0.1:40000": 107, "127.0.0.1:40001": 108} {
		uid, ok := scanSockets(bufio.NewScanner(strings.NewReader(page)), netip.MustParseAddrPort(remote), netip.MustParseAddrPort("127.0.0.1:18789"))
		require.True(t, ok)
		require.Equal(t, want, uid)
	}
	for _, remote := range []string{"127.0.0.1:40002", "127.0.0.1:40003", "127.0.0.2:40000"} {
		_, ok := scanSockets(bufio.NewScanner(strings.NewReader(page)), netip.MustParseAddrPort(remote), netip.MustParseAddrPort("127.0.0.1:18789"))
		require.False(t, ok, remote)
	}
}
