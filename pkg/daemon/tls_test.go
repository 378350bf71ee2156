package daemon

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent/agenttest"
	"github.com/coderclaw/gateway/pkg/certificate"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/conformance"
)

// secureHouse starts a gateway with a certificate of its own.
func secureHouse(t *testing.T, model *agenttest.Model) *house {
	t.Helper()
	h := prepare(t, model)
	require.NoError(t, os.MkdirAll(h.dir, 0o700))
	config := `{gateway: {tls: {enabled: true}, allowedHosts: ["gw.example.com"]}, agents: {defaults: {model: "openai/mock-1", contextTokens: 32000}}}`
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "coderclaw.json"), []byte(config), 0o600))
	h.start()
	return h
}

// pins are those of the certificate that the house shows now.
func (h *house) pins() client.Pins {
	return client.Pins{Accept: []certificate.Pin{certificate.Fingerprint(h.d.certificate.Certificate())}, From: "test"}
}

// over makes a visitor come by TLS.
func (h *house) over(pins client.Pins) func(*client.Options) {
	return func(o *client.Options) { o.URL, o.Pins = h.d.URL(), pins }
}

// TestWrittenConversationsOverTLS: conversations pass, whatever carries them.
func TestWrittenConversationsOverTLS(t *testing.T) {
	h := secureHouse(t, agenttest.StartModel(t, agenttest.ModelOptions{}))
	addr, err := client.ParseAddress(h.d.URL())
	require.NoError(t, err)
	target := conformance.Target{
		URL: addr.String(), Token: testToken, HTTPClient: addr.HTTPClient(h.pins()), Offers: []string{"llm"}, Patience: 20 * time.Second,
		Restart: func(ctx context.Context) error { h.restart(); return awaitPort(ctx, addr.HostPort()) },
		Stop: func(context.Context) error {
			stopped := make(chan struct{})
			go func() { defer close(stopped); h.stop() }()
			t.Cleanup(func() { <-stopped })
			return nil
		},
	}
	cases, err := conformance.LoadConversations(os.DirFS(conversationsDir))
	require.NoError(t, err)
	// The domains that lean on the connection most; the others would only take their time.
	cases = append(conformance.Select(cases, "frames/*"), conformance.Select(cases, "chat/*")...)
	report := conformance.Run(t.Context(), target, cases, nil)
	require.NoError(t, report.Err())
	require.Equal(t, len(cases), report.Count(conformance.Passed), report.String())
	require.Greater(t, len(cases), 10)
}

func TestNewCertificateWhileConnected(t *testing.T) {
	h := secureHouse(t, nil)
	require.True(t, strings.HasPrefix(h.d.URL(), "wss://127.0.0.1:"))
	old := h.pins()
	v := h.visit("one", h.over(old))
	fresh, err := certificate.Renew(certificate.For(h.dir, h.d.settings.Gateway, nil), true)
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	o := client.Options{URL: h.d.URL(), Token: testToken, Pins: old}
	_, err = client.Dial(ctx, o)
	var refused *client.CertificateError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, certificate.Fingerprint(fresh), refused.Got, "it is shown at once")
	h.visit("two", h.over(h.pins()))
	_, err = v.Health(ctx, protocol.HealthParams{})
	require.NoError(t, err, "who was connected stays connected")

	for _, secret := range []string{"PRIVATE KEY", testToken} {
		require.NotContains(t, h.logs.String(), secret)
	}
	require.Contains(t, h.logs.String(), old.Accept[0].String(), "the fingerprint is in the log, for whoever pins it")
}

func TestNoStartWithoutTheGivenCertificate(t *testing.T) {
	h := prepare(t, nil)
	h.stop = func() {}
	require.NoError(t, os.MkdirAll(h.dir, 0o700))
	config := `{gateway: {tls: {enabled: true, certPath: "absent.pem", keyPath: "absent.key"}}}`
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "coderclaw.json"), []byte(config), 0o600))
	_, err := New(h.config())
	require.ErrorContains(t, err, filepath.Join(h.dir, "absent.pem"))
}
