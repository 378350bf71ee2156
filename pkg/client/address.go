package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// ErrPlaintext refuses a ws:// URL that leaves this host: the token and the
// conversation would cross the network readable.
var ErrPlaintext = errors.New("ws:// to another host is not encrypted")

// Address is a gateway's URL after the checks that every dial makes.
type Address struct {
	u *url.URL
	// Loopback reports whether the host is localhost or a loopback IP literal.
	// "127.example.com" is neither.
	Loopback bool
}

// ParseAddress reads a gateway URL. It accepts ws, wss and, as the same thing,
// http and https. User names, queries and fragments are refused: a secret in a
// URL ends up in histories and logs. The error never repeats the URL's user part
// or query.
func ParseAddress(raw string) (Address, error) {
	u, err := url.Parse(raw)
	if err != nil {
		// url.Error repeats its input, which may hold a secret.
		return Address{}, errors.New("gateway url does not parse: want ws://host:port or wss://host")
	}
	switch u.Scheme {
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	case "ws", "wss":
	default:
		return Address{}, fmt.Errorf("gateway url scheme %q: want ws://host:port or wss://host", u.Scheme)
	}
	switch {
	case u.Hostname() == "":
		return Address{}, errors.New("gateway url has no host: want ws://host:port or wss://host")
	case u.User != nil:
		return Address{}, errors.New("gateway url holds a user name: pass the token separately")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return Address{}, errors.New("gateway url holds a query or fragment: pass the token separately")
	}
	return Address{u: u, Loopback: isLoopback(u.Hostname())}, nil
}

// String returns the URL with a ws or wss scheme.
func (a Address) String() string { return a.u.String() }

// Origin names the gateway for the device token store: scheme, host and port,
// with every spelling of loopback as "localhost". A token that one origin issued
// is shown to no other.
func (a Address) Origin() string {
	return a.u.Scheme + "://" + a.HostPort()
}

// HostPort names the gateway without its scheme, with every spelling of loopback as
// "localhost".
func (a Address) HostPort() string {
	host := strings.TrimSuffix(strings.ToLower(a.u.Hostname()), ".")
	if a.Loopback {
		host = "localhost"
	}
	return net.JoinHostPort(host, a.Port())
}

// Secure reports whether the connection is encrypted: its scheme is wss.
func (a Address) Secure() bool { return !a.plaintext() }

// Port returns the port, which defaults to 80 or 443 as the scheme says.
func (a Address) Port() string {
	if p := a.u.Port(); p != "" {
		return p
	}
	if a.u.Scheme == "wss" {
		return "443"
	}
	return "80"
}

// plaintext reports whether frames travel unencrypted.
func (a Address) plaintext() bool { return a.u.Scheme == "ws" }

func isLoopback(host string) bool {
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// httpClient returns the client that performs the WebSocket upgrade. It follows
// no redirect, because the next frame it would send holds credentials, and it
// asks no proxy for a loopback address. A name that was taken for loopback must
// also resolve to loopback.
func (a Address) httpClient() *http.Client {
	t := &http.Transport{Proxy: http.ProxyFromEnvironment}
	if a.Loopback {
		t.Proxy = nil
		t.DialContext = dialLoopback
	}
	return &http.Client{Transport: t, CheckRedirect: refuseRedirect}
}

func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func dialLoopback(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if ap, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err != nil || !ap.Addr().Unmap().IsLoopback() {
		_ = conn.Close()
		return nil, fmt.Errorf("%s resolves to %s, which is not loopback", addr, conn.RemoteAddr())
	}
	return conn, nil
}
