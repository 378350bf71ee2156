package identity

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHostAllowed(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.Hostname = "Box.Corp.example"
		c.AllowedHosts = []string{"gw.example.com", "2001:db8::5"}
	})
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.0.0.1:18789": true, "[::1]": true, "[::1]:18789": true, "192.0.2.1:80": true, "[2001:db8::1]:1": true,
		"localhost": true, "LOCALHOST:18789": true, "localhost.": true, "gw.example.com": true, "GW.example.com.:443": true,
		"box.corp.example": true, "box.local": true, "box.local:18789": true,
		"": false, ":18789": false, "evil.example": false, "gw.example.com.evil.example": false, "evilgw.example.com": false,
		"localhost.evil.example": false, "127.0.0.1.evil.example": false, "127.1": false, "0x7f.1": false, "2130706433": false,
		"[::1": false, "[::1]x": false, "[::1]:": false, "[fe80::1%25eth0]": false, "[127.0.0.1]": false, "::1": false, "a:b:c": false,
		"localhost:": false, "localhost:x": false, "localhost:123456": false, "user@localhost": false, "localhost/x": false,
		"box": false, "box.corp": false, "other.local": false, "sub.localhost": false, "x.ts.net": false, "local host": false,
	} {
		require.Equal(t, want, f.HostAllowed(host), "HostAllowed(%q)", host)
	}
}

func TestOriginAllowed(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.AllowedOrigins = []string{"https://ui.example.com", "http://localhost:5173", "tauri://localhost"}
	})
	cases := []struct {
		origin, host string
		want         bool
	}{
		{"https://ui.example.com", "127.0.0.1:18789", true},
		{"HTTPS://UI.example.com", "127.0.0.1:18789", true},
		{"http://localhost:5173", "localhost:18789", true},
		{"tauri://localhost", "localhost:18789", true},
		{"http://127.0.0.1:18789", "127.0.0.1:18789", true},
		{"http://[::1]:18789", "[::1]:18789", true},
		{"http://localhost:18789", "LOCALHOST:18789", true},
		{"http://gw.example.com", "gw.example.com", true},
		{"http://gw.example.com", "gw.example.com:80", true},
		{"https://gw.example.com", "gw.example.com", true},
		{"https://gw.example.com:443", "gw.example.com", true},
		{"http://gw.example.com:8080", "gw.example.com:8080", true},

		{"http://localhost:3000", "localhost:18789", false},
		{"http://localhost:18789", "127.0.0.1:18789", false},
		{"http://127.0.0.1", "127.0.0.1:18789", false},
		{"https://gw.example.com:8443", "gw.example.com", false},
		{"http://ui.example.com", "127.0.0.1:18789", false},
		{"https://ui.example.com:8443", "127.0.0.1:18789", false},
		{"https://ui.example.com.evil.example", "127.0.0.1:18789", false},
		{"https://evil.example/https://ui.example.com", "127.0.0.1:18789", false},
		{"https://ui.example.com/", "127.0.0.1:18789", false},
		{"https://ui.example.com@evil.example", "127.0.0.1:18789", false},
		{"http://127.0.0.1:18789@evil.example", "127.0.0.1:18789", false},
		{"http://x@127.0.0.1:18789", "127.0.0.1:18789", false},
		{"null", "127.0.0.1:18789", false},
		{"", "127.0.0.1:18789", false},
		{"file://", "127.0.0.1:18789", false},
		{"chrome-extension://abcdef", "127.0.0.1:18789", false},
		{"ws://127.0.0.1:18789", "127.0.0.1:18789", false},
		{"127.0.0.1:18789", "127.0.0.1:18789", false},
		{"http://127.0.0.1:18789 http://evil.example", "127.0.0.1:18789", false},
		{"http://[::1]:1]", "[::1]:1", false},
	}
	for _, c := range cases {
		for _, needed := range []bool{false, true} {
			got := f.door().originAllowed(http.Header{"Origin": {c.origin}}, c.host, needed)
			require.Equal(t, c.want, got, "originAllowed(%q, host %q, needed %v)", c.origin, c.host, needed)
		}
	}
	require.True(t, f.door().originAllowed(http.Header{}, "localhost", false), "no Origin, no page")
	require.False(t, f.door().originAllowed(http.Header{}, "localhost", true), "a page has one")
	require.False(t, f.door().originAllowed(http.Header{"Origin": {"https://ui.example.com", "https://ui.example.com"}}, "localhost", false), "two are none")
}

// A page that names itself cli is held to its Origin like any other.
func TestOriginIsCheckedForEveryClient(t *testing.T) {
	f := newFixture(t, nil)
	d := newFakeDevice()
	for _, id := range []string{"cli", "test", "gateway-client", "openclaw-macos", "openclaw-android", "node-host", "webchat"} {
		a := attempt(withHeader("Origin", "http://localhost:3000"), func(a *Attempt) { withClient(clientID(id), "cli")(a) }, d.signs())
		require.Equal(t, originText, f.refusal(t, a).Err.Message, id)
	}
	_, paired := f.stored(t, d.id())
	require.False(t, paired)
	// Android names itself control page and sends the gateway's own origin.
	f.grant(t, attempt(withClient("openclaw-control-ui", "ui"), withHeader("Origin", "http://127.0.0.1:18789"), d.signs()))
}

func TestLocal(t *testing.T) {
	f := newFixture(t, nil)
	cases := []struct {
		name, remote, host string
		header             string
		want               bool
	}{
		{name: "loopback to localhost", remote: "127.0.0.1:5", host: "localhost:18789", want: true},
		{name: "anywhere in 127/8", remote: "127.9.9.9:5", host: "127.0.0.1", want: true},
		{name: "v6", remote: "[::1]:5", host: "[::1]:18789", want: true},
		{name: "v4 in v6", remote: "[::ffff:127.0.0.1]:5", host: "[::ffff:127.0.0.1]:1", want: true},
		{name: "other machine", remote: "192.0.2.1:5", host: "localhost"},
		{name: "lan host name", remote: "127.0.0.1:5", host: "192.0.2.1:18789"},
		{name: "allowed host is not local", remote: "127.0.0.1:5", host: "gw.example.com"},
		{name: "own name is not local", remote: "127.0.0.1:5", host: "workbench"},
		{name: "tailnet name", remote: "127.0.0.1:5", host: "box.tail1234.ts.net"},
		{name: "no host", remote: "127.0.0.1:5"},
		{name: "x-forwarded-for", remote: "127.0.0.1:5", host: "localhost", header: "X-Forwarded-For"},
		{name: "x-forwarded-host", remote: "127.0.0.1:5", host: "localhost", header: "X-Forwarded-Host"},
		{name: "x-forwarded-anything", remote: "127.0.0.1:5", host: "localhost", header: "X-Forwarded-Anything"},
		{name: "key not canonical", remote: "127.0.0.1:5", host: "localhost", header: "x-FORWARDED-proto"},
		{name: "forwarded", remote: "127.0.0.1:5", host: "localhost", header: "Forwarded"},
		{name: "x-real-ip", remote: "127.0.0.1:5", host: "localhost", header: "X-Real-Ip"},
		{name: "via", remote: "127.0.0.1:5", host: "localhost", header: "Via"},
		{name: "cf-connecting-ip", remote: "127.0.0.1:5", host: "localhost", header: "Cf-Connecting-Ip"},
		{name: "cf-ray", remote: "127.0.0.1:5", host: "localhost", header: "Cf-Ray"},
		{name: "true-client-ip", remote: "127.0.0.1:5", host: "localhost", header: "True-Client-Ip"},
		{name: "tailscale", remote: "127.0.0.1:5", host: "localhost", header: "Tailscale-User-Login"},
		{name: "other headers mean nothing", remote: "127.0.0.1:5", host: "localhost", header: "User-Agent", want: true},
	}
	for _, c := range cases {
		h := http.Header{}
		if c.header != "" {
			h[c.header] = []string{""}
		}
		require.Equal(t, c.want, f.Local(netip.MustParseAddrPort(c.remote), c.host, h), c.name)
	}
	require.False(t, f.Local(netip.AddrPort{}, "localhost", nil), "no address")
}

func TestClientIP(t *testing.T) {
	f := newFixture(t, nil)
	for _, c := range []struct {
		name string
		edit []func(*Attempt)
		want string
	}{
		{"local", nil, ""},
		{"another machine", []func(*Attempt){remotely}, "192.0.2.9"},
		{"v4 in v6", []func(*Attempt){withRemote("[::ffff:192.0.2.7]:1")}, "192.0.2.7"},
		{"zone is ours to know", []func(*Attempt){withRemote("[fe80::1%eth0]:1")}, "fe80::1"},
		{"behind a proxy", []func(*Attempt){remotely, withHeader("X-Forwarded-For", "203.0.113.1")}, ""},
		{"loopback by another name", []func(*Attempt){withHost("gw.example.com")}, ""},
	} {
		require.Equal(t, c.want, f.grant(t, attempt(c.edit...)).ClientIP, c.name)
	}
}

func FuzzSplitHost(f *testing.F) {
	for _, seed := range []string{"localhost:1", "[::1]:2", "[", "]:", "[]", ":", "a:b:c", "[::1]]:3"} {
		f.Add(seed, seed)
	}
	fx := newFixture(f, nil)
	f.Fuzz(func(t *testing.T, host, origin string) {
		if name, _, ok := splitHost(host); ok {
			require.NotEmpty(t, name)
		}
		if loopbackName(host) {
			require.True(t, fx.HostAllowed(host), "a loopback name is always allowed")
		}
		fx.door().originAllowed(http.Header{"Origin": {origin}}, host, false)
	})
}
