package identity

import (
	"context"
	"mime"
	"net/http"
	"net/netip"
	"strings"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/internal/tailscale"
)

// headerTailscaleUser is what Tailscale Serve writes the login of whoever it has signed
// in into. It removes what the client sent under this name.
const headerTailscaleUser = "Tailscale-User-Login"

// inTailnet reports whether an address can be one of a tailnet: 100.64.0.0/10 or
// fd7a:115c:a1e0::/48. Others are never asked about.
func inTailnet(addr netip.Addr) bool {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10).Contains(addr) ||
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0}), 48).Contains(addr)
}

// self is this host on its tailnet, as far as tailscaled says.
func (d door) self() (tailscale.Self, bool) {
	if d.tailnet == nil {
		return tailscale.Self{}, false
	}
	self, err := d.tailnet.Self(context.Background()) // bounded by the package
	return self, err == nil
}

// ownTailnet reports whether a connection came from this host's own tailnet address,
// to one of its own names. The kernel takes no packet from elsewhere that bears an
// address of its own, so that such a connection is as local as one over loopback.
func (d door) ownTailnet(remote netip.Addr, host string) bool {
	if !inTailnet(remote) {
		return false
	}
	self, ok := d.self()
	if !ok || !self.Has(remote) {
		return false
	}
	name, _, ok := splitHost(host)
	if addr, isIP := literal(name); isIP {
		return addr.IsLoopback() || self.Has(addr)
	}
	return ok && (name == "localhost" || name == self.Name)
}

// ownName reports whether a Host is the MagicDNS name of this host, which the
// tailnet's name server alone answers for.
func (d door) ownName(name string) bool {
	if !strings.Contains(name, ".") {
		return false
	}
	self, ok := d.self()
	return ok && name == self.Name
}

// servedUser returns the person whom Tailscale Serve on this host has signed in, and
// from which tailnet address, when tailscaled knows that address under the same login.
// Otherwise denied says what is missing.
func (g *Guard) servedUser(d *door, a *Attempt) (user string, from netip.Addr, denied *Refusal) {
	missing := func(code, text string) (string, netip.Addr, *Refusal) {
		return "", netip.Addr{}, invalid(code, "unauthorized: tailscale "+text)
	}
	const serve = " (use Tailscale Serve auth or gateway token/password)"
	claimed, ok := onlyValue(a.Header, headerTailscaleUser)
	if !ok || !a.RemoteAddr.Addr().Unmap().IsLoopback() {
		return missing(protocol.DetailAuthTailscaleIdentityMissing, "identity missing"+serve)
	}
	forwardedFor, ok := onlyValue(a.Header, "X-Forwarded-For")
	for _, name := range []string{"X-Forwarded-Proto", "X-Forwarded-Host"} {
		_, there := onlyValue(a.Header, name)
		ok = ok && there
	}
	if !ok {
		return missing(protocol.DetailAuthTailscaleProxyMissing, "proxy headers missing (use Tailscale Serve or gateway token/password)")
	}
	// Serve names the caller alone. What came through a chain is somebody else's word,
	// and any program of this host can write the headers.
	from, ok = hopAddr(forwardedFor)
	if !ok || d.tailnet == nil || d.tailnet.CalledBy(a.RemoteAddr, a.LocalAddr) != nil {
		return missing(protocol.DetailAuthTailscaleWhoisFailed, "identity check failed"+serve)
	}
	login, err := d.tailnet.Login(context.Background(), from)
	if err != nil {
		return missing(protocol.DetailAuthTailscaleWhoisFailed, "identity check failed"+serve)
	}
	if plain, err := new(mime.WordDecoder).DecodeHeader(claimed); err == nil {
		claimed = plain // Serve encodes what is not ASCII
	}
	if user = clip(label(login, nameBytesMax), nameBytesMax); user != login || !strings.EqualFold(claimed, login) {
		return missing(protocol.DetailAuthTailscaleIdentityMismatch, "identity mismatch"+serve)
	}
	return user, from, nil
}

// onlyValue returns the value of a header that is there once and not blank.
func onlyValue(h http.Header, name string) (string, bool) {
	values := h.Values(name)
	if len(values) != 1 {
		return "", false
	}
	value := strings.TrimSpace(values[0])
	return value, value != ""
}
