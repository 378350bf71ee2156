package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/wire"
)

// named sends requests under another Host header, and from a page if one is named.
type named struct{ host, origin string }

func (n named) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Host = n.host
	if n.origin != "" {
		r.Header.Set("Origin", n.origin)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// knock connects as n with the secret and tells what came of it. Under a name that is
// let in, a device of its own still has to be approved.
func (h *house) knock(n named) error {
	h.t.Helper()
	id, err := client.LoadIdentity(filepath.Join(h.t.TempDir(), "knocker"))
	require.NoError(h.t, err)
	ctx, cancel := context.WithTimeout(h.t.Context(), configPatience)
	defer cancel()
	conn, err := client.Dial(ctx, client.Options{
		URL: h.url(), Token: testToken, Identity: id, Scopes: []string{protocol.ScopeOperatorRead}, HTTPClient: &http.Client{Transport: n},
		Client: protocol.ConnectClient{ID: protocol.GatewayClientIdTest, Version: "1", Platform: "linux", Mode: protocol.GatewayClientModeTest},
	})
	if err == nil {
		_ = conn.Close()
		return errors.New("let in")
	}
	return err
}

// Who may enter, by which name and from which page, changes while the gateway runs;
// what was let in by rules that are gone has to come again.
func TestConfigEntryIsHot(t *testing.T) {
	h := serve(t, `{}`)
	v := h.visit("v")
	require.ErrorContains(t, h.knock(named{host: "gw.example"}), "host not allowed")
	got, err := v.patch(`{gateway: {allowedHosts: ["gw.example"], controlUi: {allowedOrigins: ["https://ui.example"]}}}`)
	require.NoError(t, err)
	require.Equal(t, "hot", got.Restart.Mode)
	h.logged("config changed", 1)
	require.ErrorContains(t, h.knock(named{host: "gw.example"}), "pairing required")
	require.ErrorContains(t, h.knock(named{host: "gw.example", origin: "https://ui.example"}), "pairing required")
	require.ErrorContains(t, h.knock(named{host: "gw.example", origin: "https://other.example"}), "origin not allowed")
	_, err = v.ConfigGet(t.Context(), protocol.ConfigGetParams{})
	require.NoError(t, err, "more rights close nobody")

	got, err = v.patch(`{gateway: {allowedHosts: null}}`)
	require.NoError(t, err, "who asks is answered first")
	require.Equal(t, "hot", got.Restart.Mode)
	<-v.Conn.Done()
	var closed *client.CloseError
	require.ErrorAs(t, v.Conn.Err(), &closed)
	require.Equal(t, protocol.CloseServiceRestartCode, closed.Code)
	require.ErrorContains(t, h.knock(named{host: "gw.example"}), "host not allowed")

	again := h.visit("again")
	h.write(`{gateway: {maxBufferedBytes: 70000, auth: {rateLimit: {maxAttempts: 2}}, trustedProxies: ["192.0.2.1"]}, tasks: {openMax: 300}}`)
	<-again.Conn.Done() // the proxies are others
	last := h.visit("last")
	require.EqualValues(t, 70000, last.Conn.Hello().Policy.MaxBufferedBytes)
	require.NotContains(t, h.logs.String(), "restarting in place")
}

// TestConfigRestartOnDemand asks for a restart that the change does not need, as
// clients of the original do.
func TestConfigRestartOnDemand(t *testing.T) {
	h := serve(t, `{hooks: {enabled: true}, ui: {seamColor: "#112233"}}`)
	h.logged("config key without effect", 1)
	v := h.visit("v")
	got, err := v.ConfigPatch(t.Context(), protocol.ConfigPatchParams{
		Raw: `{ui: {seamColor: "#445566"}, hooks: {enabled: false}}`, BaseHash: wire.Some(v.hash()), RestartDelayMs: wire.Some[int64](100), Note: wire.Some("a colour"),
	})
	require.NoError(t, err)
	require.Equal(t, []any{true, "restart", int64(100)}, []any{got.Restart.Ok, got.Restart.Mode, got.Restart.DelayMs})
	require.True(t, got.Sentinel.Path.Valid)
	require.Equal(t, "hooks", got.Warnings[0].Path)
	require.EqualValues(t, 1, got.Warnings[0].Line.V)
	<-v.Conn.Done()
	var closed *client.CloseError
	require.ErrorAs(t, v.Conn.Err(), &closed)
	require.Equal(t, 1012, closed.Code)
	require.FileExists(t, got.Sentinel.Path.V)
	again := h.come("again", 2)
	require.Empty(t, again.degraded())
	require.NoFileExists(t, filepath.Join(h.dir, "config-probation.json"), "nothing is on trial that changes nothing")
	s, err := again.ConfigGet(t.Context(), protocol.ConfigGetParams{})
	require.NoError(t, err)
	require.Equal(t, "hooks", s.Warnings[0].Path)
	h.logged("config key without effect", 3) // at the start, at the change, and at the start after it
}

// A change in an included file that the gateway does not come up with is taken back
// where it was made.
func TestConfigIncludeThatDoesNotComeUpIsRolledBack(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer busy.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := free.Addr().(*net.TCPAddr).Port
	require.NoError(t, free.Close())
	h := prepare(t, nil)
	const main = `{$include: "port.json5"} // port: see there`
	h.write(main)
	included := filepath.Join(h.dir, "port.json5")
	before := fmt.Sprintf("{gateway: {port: %d}} // before", port)
	require.NoError(t, os.WriteFile(included, []byte(before), 0o600))
	h.serve()
	h.visit("v")
	require.NoError(t, os.WriteFile(included, fmt.Appendf(nil, "{gateway: {port: %d}}", busy.Addr().(*net.TCPAddr).Port), 0o600))
	again := h.come("again", 2)
	require.Contains(t, again.degraded()[0], "the last config change was rolled back: the gateway did not start with it")
	raw, err := os.ReadFile(included)
	require.NoError(t, err)
	require.Equal(t, before, string(raw))
	require.Equal(t, main, h.text())
}
