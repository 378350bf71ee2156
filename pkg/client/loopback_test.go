package client

import (
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// TestANameThatIsTakenForLoopback: a name such as localhost counts as this host only
// while it leads here. Whatever the resolver says, nothing is sent elsewhere.
func TestANameThatIsTakenForLoopback(t *testing.T) {
	conn, err := dialLoopback(t.Context(), "tcp", listenOn(t, "127.0.0.1:0"))
	require.NoError(t, err)
	require.NoError(t, conn.Close())

	outward := ""
	addrs, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			outward = n.IP.String()
		}
	}
	if outward == "" {
		t.Skip("this machine has no address but loopback")
	}
	_, err = dialLoopback(t.Context(), "tcp", listenOn(t, net.JoinHostPort(outward, "0")))
	require.ErrorContains(t, err, "which is not loopback")
}

func listenOn(t *testing.T, addr string) string {
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// TestDialWaitsForTheChallenge: an event that is not the challenge gets no signature;
// one without the connection's nonce could be shown to another gateway.
func TestDialWaitsForTheChallenge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var nonce atomic.Value
		g := startGateway(t, func(c *fakeConn) {
			c.send(`{"type":"event","event":"tick","payload":{"nonce":"forged","ts":1}}`)
			_, got := c.challenge()
			nonce.Store(got.Device.Nonce)
			c.close(1008, "seen")
		})
		o := g.options(t)
		o.Identity, o.Tokens = testIdentity(t)
		_, err := Dial(t.Context(), o)
		require.ErrorContains(t, err, "seen")
		require.Equal(t, fakeNonce, nonce.Load())
	})
}
