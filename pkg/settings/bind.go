package settings

import (
	"errors"
	"fmt"
	"net/netip"
)

// Addrs returns where to listen. Bind "loopback" gives 127.0.0.1 and ::1, "lan"
// gives 0.0.0.0 and ::, an IP address gives itself. Listen on v4 addresses with
// "tcp4" and on v6 with "tcp6", so that the pairs do not collide; of a pair, the
// v6 address may be missing on a host without IPv6.
//
// Beyond loopback plain text is refused: unless the gateway speaks TLS, a configured
// proxy on another machine has to encrypt for it, or gateway.tls.allowPlaintextLan
// accepts the cost.
func (g Gateway) Addrs() ([]netip.AddrPort, error) {
	var addrs []netip.Addr
	switch g.Bind {
	case BindLoopback:
		addrs = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	case BindLAN:
		addrs = []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	default:
		addr, err := netip.ParseAddr(g.Bind)
		if err != nil || addr.IsMulticast() {
			return nil, fmt.Errorf("gateway.bind must be %q, %q or an IP address", BindLoopback, BindLAN)
		}
		addrs = []netip.Addr{addr.Unmap()}
	}
	open := g.TLS.Enabled || g.TLS.AllowPlaintextLan || g.proxyElsewhere()
	out := make([]netip.AddrPort, 0, len(addrs))
	for _, addr := range addrs {
		if !addr.IsLoopback() && !open {
			return nil, errors.New("gateway.bind reaches beyond loopback, and the connection would not be encrypted: " +
				"set gateway.tls.enabled to true, " +
				"or gateway.tls.allowPlaintextLan to accept that anybody who can watch the network reads the token and every message, " +
				"or keep gateway.bind at \"loopback\" and come in through an SSH tunnel or Tailscale")
		}
		out = append(out, netip.AddrPortFrom(addr, uint16(g.Port)))
	}
	return out, nil
}
