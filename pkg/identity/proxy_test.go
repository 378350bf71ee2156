package identity

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/wire"
)

const (
	attributionText = "unauthorized: proxy attribution required (the proxy in gateway.trustedProxies must send one X-Forwarded-For)"
	proxyUser       = "X-Forwarded-User"
)

// proxied is a gateway behind a proxy on this host and others in two networks.
func proxied(mode protocol.AuthMode) func(*Config) {
	return func(c *Config) {
		c.Mode, c.Password = mode, settings.NewSecret("pw")
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:f::/48")}
		c.TrustedProxy = TrustedProxy{UserHeader: proxyUser, RequiredHeaders: []string{"X-Sig"}, AllowUsers: []string{"me@example.com"}}
	}
}

func withPassword(password string) func(*Attempt) {
	return func(a *Attempt) {
		a.Params.Auth = wire.Some(protocol.ConnectAuth{Password: wire.Some(password)})
	}
}

// Entry 37: the address that counts is the last one that somebody we trust has seen.
func TestForwardedForIsWalkedFromTheRight(t *testing.T) {
	f := newFixture(t, proxied(""))
	for _, c := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"one", []string{"203.0.113.9"}, "203.0.113.9"},
		{"spoofed on the left", []string{"127.0.0.1, 203.0.113.9"}, "203.0.113.9"},
		{"past our own hops", []string{"1.1.1.1,203.0.113.9 , 10.1.1.1,2001:db8:f::1"}, "203.0.113.9"},
		{"garbage left of the client", []string{"<script>,,203.0.113.9, 10.0.0.1"}, "203.0.113.9"},
		{"all hops are ours", []string{"10.0.0.7, 10.0.0.1"}, "10.0.0.7"},
		{"port", []string{"203.0.113.9:5000"}, "203.0.113.9"},
		{"v6", []string{"2001:db8::9"}, "2001:db8::9"},
		{"v6 in brackets", []string{"[2001:db8::9]"}, "2001:db8::9"},
		{"v6 with port", []string{"[2001:db8::9]:443"}, "2001:db8::9"},
		{"mapped", []string{"::ffff:203.0.113.9"}, "203.0.113.9"},
		{"twice the same", []string{"203.0.113.9", "203.0.113.9"}, "203.0.113.9"},
		{"missing", nil, ""},
		{"empty", []string{""}, ""},
		{"unknown", []string{"unknown"}, ""},
		{"name", []string{"localhost"}, ""},
		{"empty hop on the right", []string{"203.0.113.9,"}, ""},
		{"short form", []string{"127.1"}, ""},
		{"zone", []string{"fe80::1%eth0"}, ""},
		{"unclosed", []string{"[2001:db8::9"}, ""},
		{"contradiction", []string{"203.0.113.9", "203.0.113.10"}, ""},
		{"endless", []string{strings.Repeat("10.0.0.1,", 100) + "10.0.0.1"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := http.Header{"X-Forwarded-For": c.lines}
			if c.lines == nil {
				h = http.Header{}
			}
			addr, ok := f.ClientAddr(netip.MustParseAddrPort("127.0.0.1:1"), h)
			require.Equal(t, c.want != "", ok)
			if ok {
				require.Equal(t, c.want, addr.String())
			}
			require.False(t, f.Local(netip.MustParseAddrPort("127.0.0.1:1"), "localhost", h))
		})
	}
	addr, ok := f.ClientAddr(netip.MustParseAddrPort("192.0.2.9:1"), http.Header{"X-Forwarded-For": {"203.0.113.9"}})
	require.True(t, ok)
	require.Equal(t, "192.0.2.9", addr.String(), "nobody configured this proxy")
	_, ok = f.ClientAddr(netip.AddrPort{}, http.Header{})
	require.False(t, ok)
}

// Entry 36, and what comes through a proxy is never local.
func TestConfiguredProxy(t *testing.T) {
	f := newFixture(t, proxied(""))
	d := newFakeDevice()
	forwardedFor := func(text string) func(*Attempt) { return withHeader("X-Forwarded-For", text) }
	require.Equal(t, "pairing required", f.refusal(t, attempt(d.signs())).Err.Message, "password-ok-device: it is not local")
	require.Equal(t, attributionText, f.refusal(t, attempt()).Err.Message)
	require.Equal(t, attributionText, f.refusal(t, attempt(forwardedFor("garbage"))).Err.Message)
	require.Equal(t, mismatchText, f.refusal(t, attempt(withToken("wrong"))).Err.Message, "a stranger is told of the secret first")
	for _, addr := range []string{"203.0.113.9", "127.0.0.1", "::1", "10.0.0.1"} {
		r := f.refusal(t, attempt(forwardedFor(addr), d.signs()))
		require.Equal(t, "pairing required", r.Err.Message, addr)
	}
	f.grant(t, attempt(withRemote("[::1]:1"), withHost("[::1]:18789"), d.signs())) // this one is no proxy
	g := f.grant(t, attempt(forwardedFor("203.0.113.9"), d.signs()))
	require.Equal(t, "203.0.113.9", g.ClientIP)
	require.False(t, g.Local)
	require.Equal(t, attributionText, f.refusal(t, attempt(d.signs())).Err.Message, "what is paired is refused as well")
	r := f.refusal(t, attempt(withToken(g.Auth.V.DeviceToken), d.signs()))
	require.Equal(t, attributionText, r.Err.Message, "by device token too")
}

// Who comes through one proxy is not counted as another client of it.
func TestProxiedClientsAreCountedApart(t *testing.T) {
	f := newFixture(t, proxied(""))
	f.guesses(t, DefaultAttemptsMax+reserveMax, withHeader("X-Forwarded-For", "203.0.113.9"))
	require.Equal(t, []string{rateLimitedText}, f.guesses(t, 1, withHeader("X-Forwarded-For", "203.0.113.9")))
	require.Equal(t, []string{rateLimitedText}, f.guesses(t, 1, withHeader("X-Forwarded-For", "6.6.6.6, 203.0.113.9")))
	f.grant(t, attempt(withHeader("X-Forwarded-For", "203.0.113.10")))

	g := newFixture(t, nil)
	g.guesses(t, DefaultAttemptsMax+reserveMax, withHeader("X-Forwarded-For", "203.0.113.9"))
	require.Equal(t, []string{rateLimitedText}, g.guesses(t, 1, withHeader("X-Forwarded-For", "6.6.6.6")), "without the setting the header chooses no count")
	require.Equal(t, []string{mismatchText}, g.guesses(t, 1), "and the owner on this host is counted apart from what a proxy brings")
}

// password-*.jsonl and the hints for each kind of client.
func TestPasswordMode(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		c.Mode, c.Token, c.Password = protocol.AuthModePassword, settings.Secret{}, settings.NewSecret("pw")
	})
	d := newFakeDevice()
	for _, c := range []struct {
		name, want, code string
		edits            []func(*Attempt)
	}{
		{"password-bad", "unauthorized: gateway password mismatch (provide gateway auth password)", "AUTH_PASSWORD_MISMATCH", []func(*Attempt){withPassword("no"), d.signs0()}},
		{"password-missing-cli", "unauthorized: gateway password missing (set gateway.remote.password to match gateway.auth.password)", "AUTH_PASSWORD_MISSING", []func(*Attempt){withClient("cli", "cli"), withoutAuth, d.signs0()}},
		{"page", "unauthorized: gateway password mismatch (enter the password in Control UI settings)", "AUTH_PASSWORD_MISMATCH", []func(*Attempt){withClient("webchat", "webchat"), withHeader("Origin", "https://ui.example.com"), withPassword("no")}},
		{"a token is no password", "unauthorized: gateway password missing (provide gateway auth password)", "AUTH_PASSWORD_MISSING", []func(*Attempt){withToken("pw")}},
		{"nor is it beside a device", tokenText, "AUTH_DEVICE_TOKEN_MISMATCH", []func(*Attempt){withToken("pw"), d.signs0()}},
	} {
		r := f.refusal(t, attempt(c.edits...))
		require.Equal(t, c.want, r.Err.Message, c.name)
		require.Equal(t, c.want, r.CloseReason, c.name)
		require.Equal(t, 1008, r.CloseCode, c.name)
		require.Equal(t, c.code, details(t, r)["code"], c.name)
	}
	require.Equal(t, protocol.AuthModePassword, f.AuthMode())
	require.True(t, f.isSecret("pw"))
	require.False(t, f.isSecret(testToken))
	require.Equal(t, "pairing required", f.refusal(t, attempt(remotely, withPassword("pw"), d.signs())).Err.Message)
	g := f.grant(t, attempt(withPassword("pw"), d.signs()))
	require.True(t, g.BySecret)
	f.grant(t, attempt(withToken(g.Auth.V.DeviceToken), d.signs()))
	f.grant(t, attempt(withPassword("pw")))

	// A device token in hand does not make guesses at the password free.
	both := func(a *Attempt) {
		a.Params.Auth = wire.Some(protocol.ConnectAuth{Token: wire.Some(g.Auth.V.DeviceToken), Password: wire.Some("no")})
		d.signs()(a)
	}
	for range DefaultAttemptsMax + reserveMax {
		require.False(t, f.grant(t, attempt(both)).BySecret)
	}
	require.Equal(t, rateLimitedText, f.refusal(t, attempt(withPassword("pw"), d.signs())).Err.Message)
}

func TestTrustedProxyMode(t *testing.T) {
	f := newFixture(t, proxied(protocol.AuthModeTrustedProxy))
	d := newFakeDevice()
	vouch := func(edits ...func(*Attempt)) Attempt {
		base := []func(*Attempt){withoutAuth, withHeader("X-Forwarded-For", "203.0.113.9"), withHeader(proxyUser, "me@example.com"), withHeader("X-Sig", "1")}
		return attempt(append(base, edits...)...)
	}
	drop := func(name string) func(*Attempt) { return func(a *Attempt) { a.Header.Del(name) } }
	set := func(name string, values ...string) func(*Attempt) {
		return func(a *Attempt) { a.Header[name] = values }
	}
	for name, a := range map[string]Attempt{
		"from elsewhere":        vouch(withRemote("192.0.2.9:1"), d.signs()),
		"loopback that is none": vouch(withRemote("127.0.0.2:1"), d.signs()),
		"no user":               vouch(drop(proxyUser), d.signs()),
		"blank user":            vouch(set(proxyUser, " "), d.signs()),
		"two users":             vouch(set(proxyUser, "me@example.com", "me@example.com"), d.signs()),
		"another user":          vouch(set(proxyUser, "you@example.com"), d.signs()),
		"user in another case":  vouch(set(proxyUser, "ME@example.com"), d.signs()),
		"user with a control":   vouch(set(proxyUser, "me@example.com\x7f"), d.signs()),
		"required header":       vouch(drop("X-Sig"), d.signs()),
		"blank required header": vouch(set("X-Sig", ""), d.signs()),
		"the right password":    attempt(withPassword("pw"), d.signs()),
		"the right token":       attempt(d.signs()),
		"a token beside a user": attempt(withHeader("X-Forwarded-For", "203.0.113.9"), withHeader(proxyUser, "me@example.com"), d.signs()),
	} {
		r := f.refusal(t, a)
		require.Equal(t, "unauthorized", r.Err.Message, name)
		require.Equal(t, "unauthorized", r.CloseReason, name)
	}
	require.Equal(t, attributionText, f.refusal(t, vouch(drop("X-Forwarded-For"))).Err.Message)
	require.Equal(t, "pairing required", f.refusal(t, vouch(d.signs())).Err.Message, "a user is not a device")
	require.Equal(t, "pairing required", f.refusal(t, vouch(set("X-Forwarded-For", "127.0.0.1"), d.signs())).Err.Message, "nor the owner of this host")
	g := f.grant(t, vouch())
	require.Equal(t, "user me@example.com", g.Principal)
	require.Empty(t, g.Scopes)
	require.False(t, g.BySecret)
	list, err := f.PendingRequests()
	require.NoError(t, err)
	_, err = f.Approve(t.Context(), local, list[0].RequestID)
	require.NoError(t, err)
	require.Equal(t, fullScopes(), f.grant(t, vouch(d.signs())).Scopes)
}

// Entry 39: on this host an address does not tell the proxy from any other program.
func TestProxySecret(t *testing.T) {
	const header, secret = "X-Proxy-Secret", "0123456789abcdef"
	withSecret := func(c *Config) {
		proxied("")(c)
		c.ProxySecret = ProxySecret{Header: header, Secret: settings.NewSecret(secret)}
	}
	f := newFixture(t, withSecret)
	forwardedFor, proof := withHeader("X-Forwarded-For", "203.0.113.9"), withHeader(header, secret)
	d := newFakeDevice()
	require.Equal(t, "203.0.113.9", f.grant(t, attempt(forwardedFor, proof)).ClientIP)
	require.Equal(t, attributionText, f.refusal(t, attempt(proof)).Err.Message, "the proxy has to tell for whom")
	for name, edits := range map[string][]func(*Attempt){
		"no secret":          {forwardedFor},
		"another secret":     {forwardedFor, withHeader(header, secret+"x")},
		"empty":              {forwardedFor, withHeader(header, "")},
		"twice":              {forwardedFor, func(a *Attempt) { a.Header[header] = []string{secret, secret} }},
		"no header at all":   nil,
		"the gateway's word": {withHeader(header, testToken)},
	} {
		require.Empty(t, f.grant(t, attempt(edits...)).ClientIP, name)
		require.Equal(t, "pairing required", f.refusal(t, attempt(append(edits, d.signs())...)).Err.Message, "%s: never local", name)
		a := attempt(edits...)
		require.Equal(t, fromProxy+fromLocal, f.door().originOf(a.RemoteAddr.Addr(), a.Host, a.Header).source, name)
	}
	require.Equal(t, "203.0.113.9", f.grant(t, attempt(withRemote("10.0.0.1:1"), forwardedFor)).ClientIP, "an address of another machine is proof enough")
	f.grant(t, attempt(withRemote("[::1]:1"), withHost("[::1]:18789"), d.signs())) // which is no proxy, and so is local
	require.Empty(t, f.grant(t, attempt(withRemote("[::1]:1"), withHost("[::1]:18789"), forwardedFor, proof)).ClientIP, "the secret alone makes no proxy")

	g := newFixture(t, func(c *Config) { withSecret(c); c.Mode = protocol.AuthModeTrustedProxy })
	vouched := []func(*Attempt){withoutAuth, forwardedFor, withHeader(proxyUser, "me@example.com"), withHeader("X-Sig", "1")}
	require.Equal(t, "unauthorized", g.refusal(t, attempt(append(vouched, d.signs())...)).Err.Message, "any program of this host could say so")
	require.Equal(t, "user me@example.com", g.grant(t, attempt(append(vouched, proof)...)).Principal)

	cfg := f.cfg
	cfg.ProxySecret.Secret = settings.NewSecret("null")
	_, err := New(cfg)
	require.ErrorContains(t, err, "gateway.proxySecret is a word")
}

func TestNewRefusesHalfAMode(t *testing.T) {
	f := newFixture(t, nil)
	for want, change := range map[string]func(*Config){
		"gateway password":    func(c *Config) { c.Mode, c.Password = protocol.AuthModePassword, settings.Secret{} },
		"needs gateway.trust": func(c *Config) { c.Mode = protocol.AuthModeTrustedProxy },
		"auth mode \"none\"":  func(c *Config) { c.Mode = protocol.AuthModeNone },
	} {
		cfg := f.cfg
		change(&cfg)
		_, err := New(cfg)
		require.ErrorContains(t, err, want)
	}
}

// FuzzForwarded feeds headers that a stranger can choose. What comes through a
// proxy is never local, and an address that is believed is a real one.
func FuzzForwarded(f *testing.F) {
	f.Add("127.0.0.1", "203.0.113.9, 10.0.0.1", "", "localhost", uint8(1))
	f.Add("::ffff:127.0.0.1", "[::1]:1", "for=1", "[::1]", uint8(7))
	fx := newFixture(f, proxied(""))
	f.Fuzz(func(t *testing.T, remote, first, second, host string, which uint8) {
		addr, err := netip.ParseAddr(remote)
		if err != nil {
			addr = netip.MustParseAddr("127.0.0.1")
		}
		h := http.Header{}
		if which&1 != 0 {
			h.Add("X-Forwarded-For", first)
		}
		if which&2 != 0 {
			h.Add("X-Forwarded-For", second)
		}
		if which&4 != 0 {
			h.Add("Forwarded", second)
		}
		o := fx.door().originOf(addr, host, h)
		if o.local {
			require.Empty(t, h)
			require.True(t, addr.Unmap().IsLoopback())
			require.True(t, fx.HostAllowed(host))
		}
		if o.unattributed {
			require.Empty(t, o.ip())
		}
		require.NotEmpty(t, o.source)
		if len(h) > 0 {
			require.NotEqual(t, fromLocal, o.source, "nobody behind a proxy is counted as the owner")
		}
		if ip := o.ip(); ip != "" {
			_, ok := literal(ip)
			require.True(t, ok, ip)
		}
	})
}

// FuzzOriginAndHost: an origin that is allowed without being listed is the very
// authority that the request was sent to, and one that may be spoken to.
func FuzzOriginAndHost(f *testing.F) {
	f.Add("http://127.0.0.1:18789", "127.0.0.1:18789")
	f.Add("https://[::1]", "[::1]:443")
	f.Add("http://x@localhost:1", "localhost:1")
	fx := newFixture(f, nil)
	f.Fuzz(func(t *testing.T, origin, host string) {
		if fx.HostAllowed(host) {
			name, _, ok := splitHost(host)
			require.True(t, ok)
			_, isIP := literal(name)
			require.True(t, isIP || fx.door().hosts[name], name)
		}
		if fx.door().originAllowed(http.Header{"Origin": {origin}}, host, false) && !fx.door().origins[strings.ToLower(origin)] {
			scheme, authority, ok := strings.Cut(strings.ToLower(origin), "://")
			require.True(t, ok)
			require.Contains(t, []string{"http", "https"}, scheme)
			require.NotContains(t, authority, "@")
			require.NotContains(t, authority, "/")
			a, _, _ := splitHost(authority)
			b, _, _ := splitHost(host)
			require.Equal(t, a, b)
		}
	})
}
