package daemon

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
)

// TestReverseProxyOnTheSameMachine is the set-up that docs/remote.md describes: the proxy
// calls from an address of its own, so what it forwards is never local, and the commands
// of the machine still are.
func TestReverseProxyOnTheSameMachine(t *testing.T) {
	h := prepare(t, nil)
	require.NoError(t, os.MkdirAll(h.dir, 0o700))
	config := `{gateway: {trustedProxies: ["127.0.0.2"], allowedHosts: ["gw.example.com"]}}`
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "coderclaw.json"), []byte(config), 0o600))
	h.start()

	upstream, err := url.Parse("http://" + strings.TrimPrefix(h.url(), "ws://"))
	require.NoError(t, err)
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(upstream)
			r.Out.Host = "gw.example.com"
			r.Out.Header.Set("X-Forwarded-For", "198.51.100.7")
		},
		Transport: &http.Transport{DialContext: from.DialContext},
	})
	t.Cleanup(proxy.Close)

	h.visit("local") // approved by itself, as without a proxy
	id, err := client.LoadIdentity(filepath.Join(t.TempDir(), "outside"))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = client.Dial(ctx, client.Options{
		URL: "ws" + strings.TrimPrefix(proxy.URL, "http"), Token: testToken, Identity: id, Scopes: []string{protocol.ScopeOperatorRead},
		Client: protocol.ConnectClient{ID: protocol.GatewayClientIdTest, Version: "1", Platform: "linux", Mode: protocol.GatewayClientModeTest},
	})
	require.ErrorContains(t, err, "pairing required")
	pending, err := h.d.guard.PendingRequests()
	require.NoError(t, err)
	require.Len(t, pending, 1)
	require.Equal(t, "198.51.100.7", pending[0].RemoteIP, "told by the proxy")
}
