package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/certificate"
	"github.com/coderclaw/gateway/pkg/daemon"
)

// TestRunOverTLS grades a gateway that has a certificate of its own.
func TestRunOverTLS(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	made, err := certificate.Renew(certificate.Config{Dir: filepath.Join(dir, certificate.DirName), Names: []string{"localhost"}}, false)
	require.NoError(t, err)
	config := filepath.Join(dir, "coderclaw.json")
	require.NoError(t, os.WriteFile(config, []byte(`{gateway: {port: 0, auth: {token: "conformance-over-tls"}, tls: {enabled: true}}}`), 0o600))
	d, err := daemon.New(daemon.Config{StateDir: dir, ConfigPath: config, Stdout: io.Discard, Version: "test", Getenv: func(string) string { return "" }})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
		require.NoError(t, d.Close())
	})

	run := func(url string, args ...string) *command {
		return start(t, append([]string{"run", url, "--token", "conformance-over-tls", "--only", "frames/connect.txtar"}, args...)...)
	}
	c := run(d.URL(), "--tls-fingerprint", certificate.KeyFingerprint(made).String())
	c.exits(0)
	require.Contains(t, c.stdout.String(), "1 passed")
	c = run(d.URL(), "--tls-fingerprint", strings.Repeat("0", 64))
	c.exits(1)
	require.Contains(t, c.stdout.String(), "is not the pinned one")
	c = run(d.URL())
	c.exits(1)
	require.Contains(t, c.stdout.String(), "x509: ")
	c = run("ws://127.0.0.1:1", "--tls-fingerprint", strings.Repeat("0", 64))
	c.exits(2)
	require.Contains(t, c.stderr.String(), "--tls-fingerprint needs a wss:// URL")
	c = run(d.URL(), "--tls-fingerprint", "12:34")
	c.exits(2)
	require.Contains(t, c.stderr.String(), "64 hexadecimal digits")
}
