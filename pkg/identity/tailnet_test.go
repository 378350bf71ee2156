package identity

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/internal/tailscale"
	"github.com/coderclaw/gateway/pkg/internal/tailscale/tailscaletest"
	"github.com/coderclaw/gateway/pkg/settings"
)

const (
	ownTailnet  = "100.64.0.1"
	ownTailnet6 = "fd7a:115c:a1e0::1"
	ownMagicDNS = "desk.tail1234.ts.net"
)

// onTailnet is a gateway on a host of a tailnet that has a phone, too, and a robot
// that belongs to nobody.
func onTailnet(t *testing.T, change func(*Config)) (*fixture, *tailscaletest.Daemon) {
	t.Helper()
	addrs := func(texts ...string) (out []netip.Addr) {
		for _, text := range texts {
			out = append(out, netip.MustParseAddr(text))
		}
		return out
	}
	d, err := tailscaletest.Start("",
		tailscaletest.Node{Addrs: addrs(ownTailnet, ownTailnet6), DNSName: ownMagicDNS + ".", Login: "me@example.com"},
		tailscaletest.Node{Addrs: addrs("100.64.0.2"), DNSName: "phone.tail1234.ts.net.", Login: "You@Example.com"},
		tailscaletest.Node{Addrs: addrs("100.64.0.3"), DNSName: "robot.tail1234.ts.net.", Tags: []string{"tag:ci"}},
	)
	require.NoError(t, err)
	t.Cleanup(func() { d.Close(); _ = os.RemoveAll(filepath.Dir(d.Socket)) })
	return newFixture(t, func(c *Config) {
		c.Tailnet = tailscale.New(d.Socket)
		if change != nil {
			change(c)
		}
	}), d
}

// The host's own tailnet address is local when tailscaled says that it is its own.
func TestOwnTailnetAddressIsLocal(t *testing.T) {
	f, _ := onTailnet(t, nil)
	for _, c := range []struct {
		name, remote, host string
		edit               func(*Attempt)
		want               bool
	}{
		{name: "to itself", remote: "100.64.0.1:5", host: "100.64.0.1:18789", want: true},
		{name: "v6", remote: "[fd7a:115c:a1e0::1]:5", host: "[fd7a:115c:a1e0::1]:18789", want: true},
		{name: "v6 to v4", remote: "[fd7a:115c:a1e0::1]:5", host: "100.64.0.1", want: true},
		{name: "v4 in v6", remote: "[::ffff:100.64.0.1]:5", host: "100.64.0.1", want: true},
		{name: "by its name", remote: "100.64.0.1:5", host: "Desk.tail1234.ts.net.:18789", want: true},
		{name: "localhost", remote: "100.64.0.1:5", host: "localhost", want: true},
		{name: "another node", remote: "100.64.0.2:5", host: "100.64.0.1:18789"},
		{name: "an address of no node", remote: "100.64.0.9:5", host: "100.64.0.1:18789"},
		{name: "an address outside", remote: "192.0.2.9:5", host: "100.64.0.1:18789"},
		{name: "to another name that is allowed", remote: "100.64.0.1:5", host: "gw.example.com"},
		{name: "to another node's address", remote: "100.64.0.1:5", host: "100.64.0.2"},
		{name: "through a proxy", remote: "100.64.0.1:5", host: "100.64.0.1:18789", edit: withHeader("X-Forwarded-For", "1.2.3.4")},
		{name: "loopback by the tailnet's name is Serve without its headers", remote: "127.0.0.1:5", host: ownMagicDNS},
	} {
		d := newFakeDevice()
		edits := []func(*Attempt){withRemote(c.remote), withHost(c.host)}
		if c.edit != nil {
			edits = append(edits, c.edit)
		}
		a := attempt(append(edits, d.signs())...)
		require.Equal(t, c.want, f.Local(a.RemoteAddr, a.Host, a.Header), c.name)
		if !c.want {
			require.Equal(t, "pairing required", f.refusal(t, a).Err.Message, c.name)
			continue
		}
		g := f.grant(t, a)
		require.True(t, g.Local, c.name)
		require.Empty(t, g.ClientIP, c.name)
		require.Equal(t, fromLocal, f.door().originOf(a.RemoteAddr.Addr(), a.Host, a.Header).source, c.name)
	}
}

// What tailscaled does not say is not believed.
func TestWithoutTailscaledNothingOfATailnetIsLocal(t *testing.T) {
	stopped, d := onTailnet(t, nil)
	d.SetState("Stopped")
	gone := newFixture(t, func(c *Config) { c.Tailnet = tailscale.New(filepath.Join(t.TempDir(), "none")) })
	nameless, d := onTailnet(t, nil)
	d.SetMagicDNS(false)
	for name, f := range map[string]*fixture{"none configured": newFixture(t, nil), "not connected": stopped, "no socket": gone} {
		require.False(t, f.Local(netip.MustParseAddrPort("100.64.0.1:5"), "100.64.0.1", nil), name)
		require.False(t, f.HostAllowed(ownMagicDNS), name)
		require.True(t, f.HostAllowed("100.64.0.1"), name)
	}
	require.False(t, nameless.HostAllowed(ownMagicDNS), "the tailnet does not answer for its names")
	require.True(t, nameless.Local(netip.MustParseAddrPort("100.64.0.1:5"), "100.64.0.1", nil))
}

// The MagicDNS name of this host is a name to address it by, and no other is.
func TestOwnMagicDNSNameIsAllowed(t *testing.T) {
	f, d := onTailnet(t, nil)
	for host, want := range map[string]bool{
		ownMagicDNS: true, ownMagicDNS + ":443": true, "DESK.tail1234.ts.net.": true,
		"desk": false, "phone.tail1234.ts.net": false, "tail1234.ts.net": false, "x." + ownMagicDNS: false, ownMagicDNS + ".evil.example": false, "": false, ".": false,
	} {
		require.Equal(t, want, f.HostAllowed(host), host)
	}
	require.Equal(t, 1, d.Asked())
	page := attempt(withHost(ownMagicDNS), withHeader("Origin", "https://"+ownMagicDNS))
	f.grant(t, page)
	require.Equal(t, originText, f.refusal(t, attempt(withHost(ownMagicDNS), withHeader("Origin", "https://phone.tail1234.ts.net"))).Err.Message)
}

// served returns connects that came through Tailscale Serve: over a connection that a
// program of tailscaled's user has made, which here is the test's.
func served(t *testing.T) func(from, login string, edits ...func(*Attempt)) Attempt {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	caller, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	accepted, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _, _, _ = ln.Close(), caller.Close(), accepted.Close() })
	over := func(a *Attempt) {
		a.RemoteAddr = netip.MustParseAddrPort(accepted.RemoteAddr().String())
		a.LocalAddr = netip.MustParseAddrPort(accepted.LocalAddr().String())
	}
	return func(from, login string, edits ...func(*Attempt)) Attempt {
		base := []func(*Attempt){
			withoutAuth, over, withHost(ownMagicDNS), withHeader("X-Forwarded-For", from), withHeader("X-Forwarded-Proto", "https"),
			withHeader("X-Forwarded-Host", ownMagicDNS), withHeader(headerTailscaleUser, login),
		}
		return attempt(append(base, edits...)...)
	}
}

// Entry 38: the header counts when tailscaled knows the address under the same login.
func TestServedUsers(t *testing.T) {
	f, _ := onTailnet(t, func(c *Config) { c.AllowTailscale = true })
	serve := served(t)
	const (
		missing  = "unauthorized: tailscale identity missing (use Tailscale Serve auth or gateway token/password)"
		proxy    = "unauthorized: tailscale proxy headers missing (use Tailscale Serve or gateway token/password)"
		failed   = "unauthorized: tailscale identity check failed (use Tailscale Serve auth or gateway token/password)"
		mismatch = "unauthorized: tailscale identity mismatch (use Tailscale Serve auth or gateway token/password)"
	)
	drop := func(name string) func(*Attempt) { return func(a *Attempt) { a.Header.Del(name) } }
	twice := func(name string) func(*Attempt) { return func(a *Attempt) { a.Header.Add(name, a.Header.Get(name)) } }
	d := newFakeDevice()
	for _, c := range []struct {
		name       string
		attempt    Attempt
		want, code string
	}{
		{"nobody", serve("100.64.0.2", "", d.signs()), missing, "AUTH_TAILSCALE_IDENTITY_MISSING"},
		{"no header", serve("100.64.0.2", "x", drop(headerTailscaleUser), d.signs()), missing, "AUTH_TAILSCALE_IDENTITY_MISSING"},
		{"two of them", serve("100.64.0.2", "you@example.com", twice(headerTailscaleUser), d.signs()), missing, "AUTH_TAILSCALE_IDENTITY_MISSING"},
		{"no forwarded-for", serve("100.64.0.2", "you@example.com", drop("X-Forwarded-For"), d.signs()), proxy, "AUTH_TAILSCALE_PROXY_MISSING"},
		{"no forwarded-proto", serve("100.64.0.2", "you@example.com", drop("X-Forwarded-Proto"), d.signs()), proxy, "AUTH_TAILSCALE_PROXY_MISSING"},
		{"no forwarded-host", serve("100.64.0.2", "you@example.com", drop("X-Forwarded-Host"), d.signs()), proxy, "AUTH_TAILSCALE_PROXY_MISSING"},
		{"forwarded twice", serve("100.64.0.2", "you@example.com", twice("X-Forwarded-For"), d.signs()), proxy, "AUTH_TAILSCALE_PROXY_MISSING"},
		{"a chain", serve("100.64.0.2, 10.0.0.1", "you@example.com", d.signs()), failed, "AUTH_TAILSCALE_WHOIS_FAILED"},
		{"no address", serve("phone", "you@example.com", d.signs()), failed, "AUTH_TAILSCALE_WHOIS_FAILED"},
		{"an address of nobody", serve("100.64.0.9", "you@example.com", d.signs()), failed, "AUTH_TAILSCALE_WHOIS_FAILED"},
		{"a machine with tags", serve("100.64.0.3", "tagged-devices", d.signs()), failed, "AUTH_TAILSCALE_WHOIS_FAILED"},
		{"somebody else", serve("100.64.0.2", "me@example.com", d.signs()), mismatch, "AUTH_TAILSCALE_IDENTITY_MISMATCH"},
		{"over a connection that nobody holds", serve("100.64.0.2", "you@example.com", withRemote("127.0.0.1:1"), d.signs()), failed, "AUTH_TAILSCALE_WHOIS_FAILED"},
		{"from another host", serve("100.64.0.2", "you@example.com", withRemote("192.0.2.9:1"), d.signs()), "unauthorized: gateway token missing (provide gateway auth token)", "AUTH_TOKEN_MISSING"},
		{"a wrong token is told as one", serve("100.64.0.2", "me@example.com", withToken("wrong")), mismatchText, "AUTH_TOKEN_MISMATCH"},
		{"the right one needs approval", serve("100.64.0.2", "you@example.com", d.signs()), "pairing required", "PAIRING_REQUIRED"},
		{"this host's own person too", serve(ownTailnet, "me@example.com", d.signs()), "pairing required", "PAIRING_REQUIRED"},
		{"the page of Serve", serve("100.64.0.2", "you@example.com", withHeader("Origin", "https://evil.example"), d.signs()), originText, "ORIGIN_NOT_ALLOWED"},
	} {
		r := f.refusal(t, c.attempt)
		require.Equal(t, c.want, r.Err.Message, c.name)
		require.Equal(t, c.code, details(t, r)["code"], c.name)
		require.Equal(t, 1008, r.CloseCode, c.name)
		require.Equal(t, c.want[:min(len(c.want), 120)], r.CloseReason, c.name)
	}
	far := serve("100.64.0.2", "you@example.com", withRemote("192.0.2.9:1"))
	_, _, denied := f.servedUser(f.door(), &far)
	require.Equal(t, missing, denied.Err.Message, "Serve is on this host")
	g := f.grant(t, serve("100.64.0.2", "you@example.com"))
	require.Equal(t, "user You@Example.com", g.Principal, "as tailscaled writes it")
	require.Empty(t, g.Scopes, "a person is not a device")
	require.False(t, g.BySecret)
	require.False(t, g.Local)
	require.Equal(t, "100.64.0.2", g.ClientIP)
	f.grant(t, serve("100.64.0.2", "=?utf-8?q?you=40example.com?="))
	for _, p := range must(f.PendingRequests()) {
		_, err := f.Approve(t.Context(), local, p.RequestID)
		require.NoError(t, err)
	}
	require.Equal(t, fullScopes(), f.grant(t, serve("100.64.0.2", "you@example.com", d.signs())).Scopes)
	require.True(t, f.grant(t, attempt(withHost(ownMagicDNS), withHeader("X-Forwarded-For", "100.64.0.9"))).BySecret, "the secret is taken as well")

	for name, change := range map[string]func(*Config){
		"off": nil, "another mode": func(c *Config) {
			proxied(protocol.AuthModeTrustedProxy)(c)
			c.AllowTailscale = true
		},
	} {
		f, d := onTailnet(t, change)
		r := f.refusal(t, serve("100.64.0.2", "you@example.com", newFakeDevice().signs()))
		require.Contains(t, []string{"unauthorized", "unauthorized: gateway token missing (provide gateway auth token)"}, r.Err.Message, name)
		require.LessOrEqual(t, d.Asked(), 1, "%s: only the name is asked for", name)
	}
	p, _ := onTailnet(t, func(c *Config) {
		c.AllowTailscale, c.Mode, c.Password = true, protocol.AuthModePassword, settings.NewSecret("pw")
	})
	require.Equal(t, "user You@Example.com", p.grant(t, serve("100.64.0.2", "you@example.com")).Principal)
	none := newFixture(t, func(c *Config) { c.AllowTailscale = true })
	require.Equal(t, failed, none.refusal(t, serve("100.64.0.2", "you@example.com", withHost("localhost"), newFakeDevice().signs())).Err.Message)
}
