package daemon

import (
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/internal/tailscale/tailscaletest"
)

// sends adds headers to the upgrade of a visit, as a proxy would.
func sends(headers map[string]string) func(*client.Options) {
	return func(o *client.Options) {
		inner := http.DefaultTransport
		if o.HTTPClient != nil && o.HTTPClient.Transport != nil {
			inner = o.HTTPClient.Transport
		}
		o.HTTPClient = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			for name, value := range headers {
				if name == "Host" {
					r.Host = value
				} else {
					r.Header.Set(name, value)
				}
			}
			return inner.RoundTrip(r)
		})}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func withConfig(t *testing.T, config string) *house {
	t.Helper()
	h := prepare(t, nil)
	require.NoError(t, os.MkdirAll(h.dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "coderclaw.json"), []byte(config), 0o600))
	h.start()
	return h
}

// Whom Tailscale Serve has signed in gets in under the host's own name, when the
// setting allows it and tailscaled confirms both.
func TestTailscaleServe(t *testing.T) {
	node := func(addr, name, login string) tailscaletest.Node {
		return tailscaletest.Node{Addrs: []netip.Addr{netip.MustParseAddr(addr)}, DNSName: name, Login: login}
	}
	d, err := tailscaletest.Start("", node("100.64.0.1", "desk.tail1234.ts.net.", "me@example.com"), node("100.64.0.2", "phone.tail1234.ts.net.", "you@example.com"))
	require.NoError(t, err)
	t.Cleanup(func() { d.Close(); _ = os.RemoveAll(filepath.Dir(d.Socket)) })
	h := withConfig(t, `{gateway: {tailscale: {socket: "`+d.Socket+`"}, auth: {allowTailscale: true}}}`)
	serve := func(login string) func(*client.Options) {
		return sends(map[string]string{
			"Host": "desk.tail1234.ts.net", "X-Forwarded-For": "100.64.0.2", "X-Forwarded-Proto": "https",
			"X-Forwarded-Host": "desk.tail1234.ts.net", "Tailscale-User-Login": login,
		})
	}
	noToken := func(o *client.Options) { o.Token = "" }
	you := h.visit("phone", as(nil), noToken, serve("you@example.com"))
	require.False(t, you.Hello().Auth.Set, "a person is not a device")
	id := newIdentity(t)
	require.Equal(t, "pairing required", h.refused(as(id, protocol.ScopeOperatorRead), noToken, serve("you@example.com")).Message)
	no := h.refused(as(id, protocol.ScopeOperatorRead), noToken, serve("me@example.com"))
	require.Equal(t, "unauthorized: tailscale identity mismatch (use Tailscale Serve auth or gateway token/password)", no.Message)
	require.Contains(t, string(no.Details), protocol.DetailAuthTailscaleIdentityMismatch)
	require.Contains(t, h.refused(sends(map[string]string{"Host": "phone.tail1234.ts.net"})).Message, "host not allowed")

	h.restart()
	records, err := h.d.audit.List(audit.Query{})
	require.NoError(t, err)
	told := false
	for _, r := range records {
		told = told || r.Action == audit.ActionConnect && r.Decision == audit.Allowed && r.Actor == "user you@example.com" && r.Address == "100.64.0.2"
	}
	require.True(t, told, "%+v", records)
}

// A proxy on this host is believed by its secret, and beside it this host's own
// programs are served, as nobody local.
func TestProxyOnThisHost(t *testing.T) {
	h := withConfig(t, `{gateway: {trustedProxies: ["127.0.0.1"], proxySecret: {header: "X-Proof", secret: "canary-proxy-secret-5a2c"}}}`)
	proxy := sends(map[string]string{"X-Forwarded-For": "203.0.113.9", "X-Proof": "canary-proxy-secret-5a2c"})
	h.visit("guest", as(nil), proxy)
	h.visit("program", as(nil))
	require.Equal(t, "pairing required", h.refused(as(newIdentity(t), protocol.ScopeOperatorRead)).Message)
	h.restart()
	records, err := h.d.audit.List(audit.Query{})
	require.NoError(t, err)
	addresses := map[string]int{}
	for _, r := range records {
		addresses[r.Address]++
	}
	require.Equal(t, 1, addresses["203.0.113.9"])
	require.NotContains(t, h.logs.String(), "canary-proxy-secret")
}
