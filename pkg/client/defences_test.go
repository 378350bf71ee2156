package client

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var defencesFlag = flag.Bool("defences", false, "remove each defence in turn and see that a test fails without it")

// defence is a piece of a package that keeps secrets and TLS safe, and what the package
// would be without it. The number is that of the entry in the catalogue of published
// vulnerabilities that it answers, where there is one.
type defence struct {
	name, pkg, file, with, without string
	// caughtBy is the pattern of the package's tests, one of which must fail.
	caughtBy string
}

var defences = []defence{
	{"15 hosts that look like loopback", "client", "address.go", `return err == nil && ip.Unmap().IsLoopback()`, `return err == nil && ip.Unmap().IsLoopback() || strings.HasPrefix(host, "127.")`, "TestPlaintextNeverLeavesThisHost"},
	{"18 a secret in plain text to another machine", "client", "client.go", `addr.plaintext() && !addr.Loopback && !o.AllowPlaintext`, `false`, "TestPlaintextNeverLeavesThisHost"},
	{"40 certificates that nobody vouches for", "client", "trust.go", `no.Err = chains(state.PeerCertificates, v.host); no.Err != nil`, `no.Err = chains(state.PeerCertificates, v.host); false`, "TestNothingIsSent"},
	{"40 a pin that is ignored", "client", "trust.go", `if !matches(v.pins.Accept, no.Got, no.GotKey) &&`, `if false &&`, "TestNothingIsSent"},
	{"40 a known key that changed", "client", "trust.go", `if known.Key != no.GotKey {`, `if false {`, "TestNothingIsSent"},
	{"40 another pin than what was met", "client", "trust.go", `!(met && known.Key == no.GotKey && slices.ContainsFunc(v.pins.Accept, known.has))`, `!(met && known.Key == no.GotKey)`, "TestRenewedCertificate"},
	{"40 a damaged list", "client", "trust.go", "	if err != nil {\n		return err\n	}\n	switch {\n	case len(v.pins.Accept) > 0:", "	_ = err\n	switch {\n	case len(v.pins.Accept) > 0:", "TestAuthorities"},
	{"a check after the first byte", "client", "trust.go", `		VerifyConnection:   v.verify,`, ``, "TestNothingIsSent"},
	{"a pin that plain text drops", "client", "client.go", `len(o.Pins.Accept) > 0 && addr.plaintext()`, `false`, "TestPlaintextNeverLeavesThisHost"},
	{"known gateways for the owner alone", "client", "known.go", `return replaceFile(k.path, append(data, '\n'))`, `return os.WriteFile(k.path, append(data, '\n'), 0o644)`, "TestKnownGatewaysFile"},
	{"a pin that was cut short", "certificate", "pin.go", ` || len(raw) != sha256.Size`, ` || len(raw) == 0`, "TestParsePin"},
	{"a key for the owner alone", "certificate", "own.go", `case info.Mode().Perm()&0o077 != 0:`, `case info == nil:`, "TestOwnCertificateIsMadeOnce"},
	{"a folder for the owner alone", "certificate", "own.go", "if err := os.Chmod(dir, 0o700); err != nil {\n\t\treturn nil, err\n\t}", "", "TestOwnCertificateIsMadeOnce"},
	{"a renewal that breaks pins", "certificate", "own.go", "case err == nil && !newKey:", "case false:", "TestRenew"},
	{"a bad file in place of a good one", "certificate", "certificate.go", `expired(fresh.Leaf) && !expired(old.Leaf)`, `false`, "TestAnExpiredFile"},
	{"old versions of TLS", "certificate", "certificate.go", `tls.VersionTLS12`, `tls.VersionTLS10`, "TestServerConfig"},
	{"session tickets", "certificate", "certificate.go", `SessionTicketsDisabled: true`, `SessionTicketsDisabled: false`, "TestServerConfig"},
	{"cryptography for too many", "gateway", "gateway.go", `g.secured(g.admission.listen(l))`, `g.admission.listen(g.secured(l))`, "TestTLS"},
	{"a deadline of its own for TLS", "gateway", "handshake.go", `time.Until(a.since.Add(c.g.limits.HandshakeTimeout))`, `c.g.limits.HandshakeTimeout`, "TestTLSSharesTheDeadline"},
	{"slow readers over TLS", "gateway", "tls.go", `		if written == 0 && !w.isClosing() {`, `		if false {`, "TestTLSSlowConsumer"},
	{"41 plain text beyond loopback", "settings", "bind.go", `if !addr.IsLoopback() && !open {`, `if !open && false {`, "TestAddrs"},
}

// TestDefencesAreThere keeps the list true: each piece stands where it says, once, and
// names a test that exists.
func TestDefencesAreThere(t *testing.T) {
	for _, d := range defences {
		raw, err := os.ReadFile(filepath.Join("..", d.pkg, d.file))
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(string(raw), d.with), "%s: %q in %s", d.name, d.with, d.file)
		files, err := filepath.Glob(filepath.Join("..", d.pkg, "*_test.go"))
		require.NoError(t, err)
		tests := ""
		for _, file := range files {
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			tests += string(raw)
		}
		require.Contains(t, tests, "func "+d.caughtBy, d.name)
	}
}

// TestDefences removes each defence in a copy of its file and requires the tests to fail.
// It builds a package for each, which takes a minute, and runs with -defences.
func TestDefences(t *testing.T) {
	if !*defencesFlag {
		t.Skip("runs with -defences")
	}
	for _, d := range defences {
		t.Run(d.name, func(t *testing.T) {
			file, err := filepath.Abs(filepath.Join("..", d.pkg, d.file))
			require.NoError(t, err)
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			dir := t.TempDir()
			weak := filepath.Join(dir, d.file)
			require.NoError(t, os.WriteFile(weak, []byte(strings.Replace(string(raw), d.with, d.without, 1)), 0o600))
			overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{file: weak}})
			require.NoError(t, err)
			list := filepath.Join(dir, "overlay.json")
			require.NoError(t, os.WriteFile(list, overlay, 0o600))
			out, err := exec.CommandContext(context.Background(), "go", "test", "-vet=off", "-count=1", "-failfast", "-timeout=120s",
				"-ldflags=-s -w", "-overlay", list, "-run", d.caughtBy, "../"+d.pkg).CombinedOutput()
			require.Error(t, err, "no test missed it")
			require.Contains(t, string(out), "--- FAIL", "a test failed, not the build:\n%s", out)
		})
	}
}
