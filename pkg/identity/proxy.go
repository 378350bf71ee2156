package identity

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/coderclaw/gateway/pkg/settings"
)

// TrustedProxy says how a proxy vouches for its users in mode trusted-proxy.
type TrustedProxy struct {
	// UserHeader carries the user's name.
	UserHeader string
	// RequiredHeaders must all be there and not empty.
	RequiredHeaders []string
	// AllowUsers are the users that may connect; empty lets all of them.
	AllowUsers []string
}

// ProxySecret is what a proxy on this host proves itself with: there its address says
// only that some program of this machine calls.
type ProxySecret struct {
	// Header carries the secret. Empty asks for none.
	Header string
	// Secret is what it must hold.
	Secret settings.Secret
}

// proxyProof is ProxySecret without the text.
type proxyProof struct {
	header string
	secret *sharedSecret
}

func newProxyProof(p ProxySecret) (proxyProof, error) {
	if p.Header == "" {
		return proxyProof{}, nil
	}
	secret, err := newSharedSecret(p.Secret)
	if err != nil {
		return proxyProof{}, fmt.Errorf("gateway.proxySecret %w", err)
	}
	return proxyProof{header: p.Header, secret: secret}, nil
}

// given reports whether the headers carry the secret, once.
func (p proxyProof) given(h http.Header) bool {
	values := h.Values(p.header)
	return len(values) == 1 && p.secret.matches(values[0])
}

// hopsMax bounds how far X-Forwarded-For is walked.
const hopsMax = 32

// origin is where a request comes from, as far as that is known.
type origin struct {
	// addr is the client's address; it is the proxy's own when that did not tell.
	addr netip.Addr
	// source is what the limiter calls it.
	source string
	// local reports whether the client is on this host and came directly.
	local bool
	// behind says that a proxy that nobody configured, or one that did not prove
	// itself, may have passed the request on: addr is not the client's.
	behind bool
	// unattributed says that a configured proxy did not say for whom it speaks.
	unattributed bool
}

// ip is the address to show to people: none for this host itself and for proxies that
// nobody configured, whose own address would mislead.
func (o origin) ip() string {
	if !o.addr.IsValid() || o.local || o.addr.IsLoopback() || o.behind || o.unattributed {
		return ""
	}
	return o.addr.String()
}

// originOf tells where a request comes from. What comes through a proxy is never
// local, whatever address it names: a proxy that passes the header of its client
// on would make every client one of this host.
func (d door) originOf(remote netip.Addr, host string, h http.Header) origin {
	remote = remote.Unmap().WithZone("")
	if !remote.IsValid() {
		return origin{source: "unknown"}
	}
	if !d.believes(remote, h) {
		// From the address of a proxy that does not prove itself nothing is local: it
		// may be the proxy, with a stranger behind it.
		o := origin{addr: remote, source: addressSource(remote), behind: forwarded(h) || d.isProxy(remote)}
		o.local = remote.IsLoopback() && !o.behind && loopbackName(host) || !o.behind && d.ownTailnet(remote, host)
		if o.local {
			o.source = fromLocal
		}
		if o.behind && o.source == fromLocal {
			o.source = fromProxy + o.source // not the owner's
		}
		return o
	}
	client, ok := d.walk(h)
	if !ok {
		return origin{addr: remote, source: fromProxy + addressSource(remote), unattributed: true}
	}
	o := origin{addr: client, source: addressSource(client)}
	if o.source == fromLocal {
		o.source = fromProxy + o.source
	}
	return o
}

func (d door) isProxy(addr netip.Addr) bool {
	return slices.ContainsFunc(d.proxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// believes reports whether a request comes from a configured proxy: by its address
// and, on this host, by its secret where one is set.
func (d door) believes(remote netip.Addr, h http.Header) bool {
	return d.isProxy(remote) && (!remote.IsLoopback() || d.proof.header == "" || d.proof.given(h))
}

// walk reads X-Forwarded-For from the right: each proxy adds the address that it
// was called from, so that the first one that is no proxy of ours is the last that
// somebody we trust has seen. What stands left of it the client may have written.
// Two headers that differ are refused, since proxies disagree about which counts.
func (d door) walk(h http.Header) (netip.Addr, bool) {
	lines := h.Values("X-Forwarded-For")
	if len(lines) == 0 || slices.ContainsFunc(lines, func(s string) bool { return s != lines[0] }) {
		return netip.Addr{}, false
	}
	var client netip.Addr
	rest, more := lines[0], true
	for range hopsMax {
		var hop string
		if i := strings.LastIndexByte(rest, ','); i >= 0 {
			rest, hop = rest[:i], rest[i+1:]
		} else {
			hop, more = rest, false
		}
		addr, ok := hopAddr(hop)
		if !ok {
			return netip.Addr{}, false
		}
		client = addr
		if !d.isProxy(addr) || !more {
			return client, true
		}
	}
	return netip.Addr{}, false
}

// hopAddr parses one entry of X-Forwarded-For: an address, or one with a port.
func hopAddr(hop string) (netip.Addr, bool) {
	hop = strings.Trim(hop, " \t")
	if withPort, err := netip.ParseAddrPort(hop); err == nil {
		hop = withPort.Addr().String()
	} else if inside, ok := strings.CutPrefix(hop, "["); ok {
		if hop, ok = strings.CutSuffix(inside, "]"); !ok {
			return netip.Addr{}, false
		}
	}
	return literal(hop)
}

// vouched returns the user whom a configured proxy names, and whether it may speak
// and the user may connect. The peer is told nothing of what is missing.
func (d door) vouched(t TrustedProxy, remote netip.Addr, h http.Header) (user string, ok bool) {
	if t.UserHeader == "" || !d.believes(remote.Unmap().WithZone(""), h) {
		return "", false
	}
	for _, name := range append([]string{t.UserHeader}, t.RequiredHeaders...) {
		if values := h.Values(name); len(values) != 1 || strings.TrimSpace(values[0]) == "" {
			return "", false
		}
	}
	user = clip(label(h.Get(t.UserHeader), nameBytesMax), nameBytesMax)
	if user == "" || user != strings.TrimSpace(h.Get(t.UserHeader)) {
		return "", false
	}
	return user, len(t.AllowUsers) == 0 || slices.ContainsFunc(t.AllowUsers, func(name string) bool { return sameText(name, user) })
}

// sameText compares in a time that tells neither text.
func sameText(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// addressText is an address for the record; empty when there is none.
func addressText(addr netip.Addr) string {
	if !addr.IsValid() {
		return ""
	}
	return addr.Unmap().WithZone("").String()
}
