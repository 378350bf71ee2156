package identity

import (
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/internal/tailscale"
	"github.com/coderclaw/gateway/pkg/wire"
)

// door knows the names by which this gateway may be addressed and the pages that
// may talk to it. It is immutable; what tailscaled says, it asks anew.
//
// Host is checked because a page can make its own name resolve to this machine
// (DNS rebinding); then its Origin equals its Host. An IP address cannot be made to
// mean another machine, so any is allowed. An allowed Host is not thereby local.
type door struct {
	own     map[string]bool // the names of this machine, which are among hosts too
	hosts   map[string]bool
	origins map[string]bool
	proxies []netip.Prefix
	proof   proxyProof
	rules   uint64           // how often they became stricter: see SetEntry
	tailnet *tailscale.Local // nil when there is none
}

func newDoor(c Config) (door, error) {
	proof, err := newProxyProof(c.ProxySecret)
	d := door{own: map[string]bool{"localhost": true}, origins: map[string]bool{}, proxies: c.TrustedProxies, proof: proof, tailnet: c.Tailnet}
	if name := strings.TrimSuffix(strings.ToLower(c.Hostname), "."); name != "" {
		short, _, _ := strings.Cut(name, ".")
		d.own[name] = true
		d.own[short+".local"] = true
	}
	d.hosts = maps.Clone(d.own)
	for _, name := range c.AllowedHosts {
		d.hosts[strings.ToLower(name)] = true
	}
	for _, origin := range c.AllowedOrigins {
		d.origins[strings.ToLower(origin)] = true
	}
	return d, err
}

func (d door) hostAllowed(host string) bool {
	name, _, ok := splitHost(host)
	if !ok {
		return false
	}
	if _, isIP := literal(name); isIP {
		return true
	}
	return d.hosts[name] || d.ownName(name)
}

// originAllowed judges the Origin headers of a request whose Host is allowed.
// needed says that a browser client must have one; others may come without.
func (d door) originAllowed(h http.Header, host string, needed bool) bool {
	values := h.Values("Origin")
	if len(values) == 0 {
		return !needed
	}
	if len(values) > 1 {
		return false
	}
	origin := strings.ToLower(values[0])
	u, err := url.Parse(origin)
	// The comparison with the parts refuses null, user names, paths and whatever
	// else an origin does not have.
	if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != origin {
		return false
	}
	return d.origins[origin] || sameAuthority(u, host)
}

// sameAuthority reports whether the page was served by the name and port that the
// request was sent to. A Host without port means the default of the page's scheme:
// behind a proxy that ends TLS only the page knows which.
func sameAuthority(origin *url.URL, host string) bool {
	standard := map[string]string{"http": "80", "https": "443"}[origin.Scheme]
	if standard == "" {
		return false
	}
	originName, originPort, ok := splitHost(origin.Host)
	if !ok {
		return false
	}
	hostName, hostPort, ok := splitHost(host)
	if !ok {
		return false
	}
	if originPort == "" {
		originPort = standard
	}
	if hostPort == "" {
		hostPort = standard
	}
	return originName == hostName && originPort == hostPort
}

// splitHost takes a Host header apart: the name in lower case without brackets and
// final dot, and the port or nothing.
func splitHost(host string) (name, port string, ok bool) {
	name = host
	switch colon := strings.LastIndexByte(host, ':'); {
	case strings.HasPrefix(host, "["):
		inside, rest, found := strings.Cut(host[1:], "]")
		if _, isIP := literal(inside); !found || !isIP || !strings.Contains(inside, ":") {
			return "", "", false
		}
		if rest != "" {
			if rest[0] != ':' || len(rest) == 1 {
				return "", "", false
			}
			port = rest[1:]
		}
		name = inside
	case colon >= 0:
		name, port = host[:colon], host[colon+1:]
		if port == "" || strings.Contains(name, ":") {
			return "", "", false
		}
	}
	if len(port) > 5 || strings.Trim(port, "0123456789") != "" {
		return "", "", false
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	return name, port, name != ""
}

// literal parses an IP address as a URL writes it: no zone, no short forms.
func literal(name string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(name)
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}

// loopbackName reports whether a Host header can mean nothing but this machine.
func loopbackName(host string) bool {
	name, _, ok := splitHost(host)
	if !ok {
		return false
	}
	if addr, isIP := literal(name); isIP {
		return addr.IsLoopback()
	}
	return name == "localhost"
}

// forwarded reports whether any header says that a proxy passed the request on.
// The names are those that proxies, content networks and Tailscale set; a value is
// not needed, since an empty one was still written by somebody in between.
func forwarded(h http.Header) bool {
	for key := range h {
		name := strings.ToLower(key)
		switch name {
		case "forwarded", "via", "x-real-ip", "true-client-ip", "client-ip", "x-client-ip",
			"x-cluster-client-ip", "fly-client-ip", "fastly-client-ip", "x-remote-addr", "x-remote-ip",
			"x-original-forwarded-for", "x-originating-ip", "x-appengine-user-ip", "x-azure-clientip", "x-arr-clientip":
			return true
		}
		for _, prefix := range []string{"x-forwarded", "forwarded-", "cf-", "tailscale-", "x-envoy-", "x-proxyuser-"} {
			if strings.HasPrefix(name, prefix) {
				return true
			}
		}
	}
	return false
}

// check refuses what comes by a wrong name or from a wrong page.
func (d door) check(a *Attempt, browser bool) *Refusal {
	if !d.hostAllowed(a.Host) {
		detail := detailCode(protocol.DetailHostNotAllowed)
		if a.Host != "" {
			detail.Host = wire.Some(echo(a.Host))
		}
		return refuse(protocol.ErrorInvalidRequest, detail, "host not allowed (add it to gateway.allowedHosts)")
	}
	if !d.originAllowed(a.Header, a.Host, browser) {
		detail := detailCode(protocol.DetailOriginNotAllowed)
		if origin := a.Header.Get("Origin"); origin != "" {
			detail.Origin = wire.Some(echo(origin))
		}
		return refuse(protocol.ErrorInvalidRequest, detail,
			"origin not allowed (open the Control UI from the gateway host or allow it in gateway.controlUi.allowedOrigins)")
	}
	return nil
}

// echo makes a header fit to be repeated.
func echo(s string) string { return clip(strings.ToValidUTF8(s, "?"), echoBytesMax) }
