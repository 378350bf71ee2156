package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/certificate"
)

// listener is a TLS server on a real port that notes what clients say to it above TLS.
type listener struct {
	cfg  certificate.Config
	keep *certificate.Keeper
	url  string

	mu   sync.Mutex
	said strings.Builder // guarded by mu
}

// listen serves the certificates of an own, fresh key. It answers nothing.
func listen(t *testing.T, maxVersion uint16) *listener {
	t.Helper()
	s := &listener{cfg: certificate.Config{Dir: filepath.Join(t.TempDir(), "tls"), Names: []string{"localhost", "127.0.0.1"}}}
	var err error
	s.keep, err = certificate.New(s.cfg)
	require.NoError(t, err)
	config := s.keep.ServerConfig()
	config.MaxVersion = maxVersion
	ln, err := tls.Listen("tcp", "127.0.0.1:0", config)
	require.NoError(t, err)
	s.url = "wss://" + ln.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { s.record(conn) })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); serving.Wait() })
	return s
}

func (s *listener) record(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		s.mu.Lock()
		s.said.Write(buf[:n])
		hung := strings.Contains(s.said.String(), "\r\n\r\n")
		s.mu.Unlock()
		if err != nil || hung {
			return
		}
	}
}

// heard returns what was said above TLS so far.
func (s *listener) heard() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.String()
}

func (s *listener) fingerprint() certificate.Pin {
	return certificate.Fingerprint(s.keep.Certificate())
}
func (s *listener) key() certificate.Pin { return certificate.KeyFingerprint(s.keep.Certificate()) }

// dial connects with pins. The server never answers, so there is always an error; it is
// returned when it is one about the certificate.
func (s *listener) dial(t *testing.T, url string, pins Pins) *CertificateError {
	t.Helper()
	err := Probe(t.Context(), Options{URL: url, Token: "canary-gateway-token-4f1d", Pins: pins})
	require.Error(t, err)
	var refused *CertificateError
	if errors.As(err, &refused) {
		return refused
	}
	require.Contains(t, s.heard(), "Upgrade: websocket", "%v", err)
	return nil
}

const wrongPin certificate.Pin = "00000000000000000000000000000000000000000000000000000000000000ff"

// TestNothingIsSentBeforeTheCertificateIsAccepted looks at it from the other side: the
// impostor's server hears nothing at all.
func TestNothingIsSentBeforeTheCertificateIsAccepted(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s := listen(t, version)
		known := OpenKnownGateways(t.TempDir())
		other := OpenKnownGateways(t.TempDir())
		addr, err := ParseAddress(s.url)
		require.NoError(t, err)
		require.NoError(t, other.Put(addr.HostPort(), wrongPin, wrongPin))
		for name, pins := range map[string]Pins{
			"pinned":  {Accept: []certificate.Pin{wrongPin}, From: "--tls-fingerprint", Known: known},
			"unknown": {Known: known},
			"nothing": {},
			"changed": {Known: other},
		} {
			refused := s.dial(t, s.url, pins)
			require.NotNil(t, refused, name)
			require.Equal(t, s.fingerprint(), refused.Got)
			require.Equal(t, name == "unknown" || name == "nothing", refused.Unknown(), name)
			require.Contains(t, refused.Error(), s.fingerprint().String(), "%s: it says what it saw", name)
			if !refused.Unknown() {
				require.Contains(t, refused.Error(), wrongPin.String(), "%s: and what it wants", name)
			}
		}
		require.Empty(t, s.heard(), "the impostor has heard something")
		_, met, err := known.Get(addr.HostPort())
		require.NoError(t, err)
		require.False(t, met, "what was refused is not remembered")
	}
}

func TestPinsAreAccepted(t *testing.T) {
	s := listen(t, 0)
	for name, pin := range map[string]certificate.Pin{"certificate": s.fingerprint(), "key": s.key()} {
		require.Nil(t, s.dial(t, s.url, Pins{Accept: []certificate.Pin{wrongPin, pin}}), name)
	}
}

// answering runs a server that upgrades, so that what an accepted connection leaves behind
// can be looked at.
func answering(t *testing.T) (*certificate.Keeper, certificate.Config, string) {
	t.Helper()
	cfg := certificate.Config{Dir: filepath.Join(t.TempDir(), "tls"), Names: []string{"localhost"}}
	keep, err := certificate.New(cfg)
	require.NoError(t, err)
	g := &fakeGateway{t: t, serve: func(c *fakeConn) {}}
	server := httptest.NewUnstartedServer(http.HandlerFunc(g.handle))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Listener = tls.NewListener(server.Listener, keep.ServerConfig())
	server.Start()
	t.Cleanup(server.Close)
	return keep, cfg, "wss://" + server.Listener.Addr().String()
}

func TestRenewedCertificateOfAKnownKey(t *testing.T) {
	keep, cfg, url := answering(t)
	known := OpenKnownGateways(t.TempDir())
	first := certificate.Fingerprint(keep.Certificate())
	probe := func(pins Pins) error { return Probe(t.Context(), Options{URL: url, Pins: pins}) }
	pinned := Pins{Accept: []certificate.Pin{first}, From: "--tls-fingerprint", Known: known}
	require.NoError(t, probe(pinned))

	renewed, err := certificate.Renew(cfg, false)
	require.NoError(t, err)
	require.NoError(t, probe(Pins{Known: known}), "the key is known")
	require.NoError(t, probe(pinned), "the pinned certificate, which was met, vouches for its key")
	require.Error(t, probe(Pins{Accept: []certificate.Pin{first}, Known: OpenKnownGateways(t.TempDir())}), "where it was not met, it does not")
	require.Error(t, probe(Pins{Accept: []certificate.Pin{wrongPin}, Known: known}), "another pin is not overruled by what was met")

	addr, err := ParseAddress(url)
	require.NoError(t, err)
	entry, met, err := known.Get(addr.HostPort())
	require.NoError(t, err)
	require.True(t, met)
	require.Equal(t, []certificate.Pin{first, certificate.Fingerprint(renewed)}, entry.Certificates)

	stranger, err := certificate.Renew(cfg, true)
	require.NoError(t, err)
	var refused *CertificateError
	require.ErrorAs(t, probe(Pins{Known: known}), &refused)
	require.Equal(t, certificate.Fingerprint(renewed), refused.Want[0])
	require.ErrorAs(t, probe(pinned), &refused)
	require.NoError(t, probe(Pins{Accept: []certificate.Pin{certificate.Fingerprint(stranger)}, Known: known}), "an explicit pin replaces what was known")
	require.NoError(t, probe(Pins{Known: known}))
}

// TestAuthoritiesVouchForNames: a chain to a trusted root is enough, if it is for the host
// and nothing else is known of it.
func TestAuthoritiesVouchForNames(t *testing.T) {
	keep, _, url := answering(t)
	state := tls.ConnectionState{PeerCertificates: []*x509.Certificate{keep.Certificate()}}
	var refused *CertificateError
	require.ErrorAs(t, verifier{host: "localhost"}.verify(state), &refused)
	var authority x509.UnknownAuthorityError
	require.ErrorAs(t, refused, &authority, "the roots of this system are asked")
	require.Error(t, verifier{host: "localhost"}.verify(tls.ConnectionState{}))
	require.Error(t, chains(state.PeerCertificates, "other.example"))

	// A damaged list of what is known opens no door.
	known := OpenKnownGateways(t.TempDir())
	require.NoError(t, known.Put("localhost:1", wrongPin, wrongPin))
	require.NoError(t, os.WriteFile(known.Path(), []byte("{"), 0o600))
	err := Probe(t.Context(), Options{URL: url, Pins: Pins{Known: known}})
	require.ErrorContains(t, err, "is damaged")
}

func TestKnownGatewaysFile(t *testing.T) {
	dir := t.TempDir()
	known := OpenKnownGateways(dir)
	require.NoError(t, known.Put("a:1", "01", "k1"))
	info, err := os.Stat(known.Path())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	for range 2 {
		for _, pin := range []certificate.Pin{"01", "02", "03", "04", "05", "06", "07", "08", "09", "10"} {
			require.NoError(t, known.Put("a:1", pin, "k1"))
		}
	}
	entry, _, err := OpenKnownGateways(dir).Get("a:1")
	require.NoError(t, err)
	require.Len(t, entry.Certificates, certificatesMax)
	require.Equal(t, certificate.Pin("10"), entry.last())
	require.NoError(t, known.Put("a:1", "11", "k2"))
	entry, _, err = known.Get("a:1")
	require.NoError(t, err)
	require.Equal(t, []certificate.Pin{"11"}, entry.Certificates, "another key begins anew")
	var nobody *KnownGateways
	require.NoError(t, nobody.Put("a:1", "1", "2"))
	_, met, err := nobody.Get("a:1")
	require.NoError(t, err)
	require.False(t, met)
}

// TestPlaintextNeverLeavesThisHost: no secret over ws:// to another machine, whatever its
// name looks like; and a pin is not silently dropped.
func TestPlaintextNeverLeavesThisHost(t *testing.T) {
	for _, url := range []string{
		"ws://127.evil.com", "ws://127.0.0.1.evil.com:18789", "ws://localhost.evil.com", "ws://192.0.2.1:18789", "http://gw.example",
		"ws://[::ffff:192.0.2.1]:1", "ws://0.0.0.0:1", "ws://[::]:1",
	} {
		_, err := New(Options{URL: url, Token: "canary-gateway-token-4f1d"})
		require.ErrorIs(t, err, ErrPlaintext, url)
	}
	for _, url := range []string{"ws://127.0.0.1:1", "ws://localhost:1", "ws://[::1]:1", "ws://[::ffff:127.0.0.1]:1"} {
		_, err := New(Options{URL: url})
		require.NoError(t, err, url)
		_, err = New(Options{URL: url, Pins: Pins{Accept: []certificate.Pin{wrongPin}}})
		require.ErrorContains(t, err, "use wss://", url)
	}
}

func TestSecureOrPlain(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "this gateway speaks TLS: use https:// or wss://", http.StatusBadRequest)
	}))
	defer plain.Close()
	url := "ws" + strings.TrimPrefix(plain.URL, "http")
	require.ErrorIs(t, Probe(t.Context(), Options{URL: url}), ErrSpeaksTLS)
	require.ErrorIs(t, Probe(t.Context(), Options{URL: "wss" + strings.TrimPrefix(url, "ws")}), ErrSpeaksPlain)
}

// TestReconnectsAreJudgedToo: a key that changes while a client is connected is refused
// when it comes back, and nothing is said to the new one.
func TestReconnectsAreJudgedToo(t *testing.T) {
	keep, cfg, url := answering(t)
	pins := Pins{Accept: []certificate.Pin{certificate.KeyFingerprint(keep.Certificate())}, From: "test"}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	losses := make(chan error, 16)
	c, err := New(Options{URL: url, Pins: pins, Log: slog.New(slog.DiscardHandler), OnDown: func(err error, _ time.Duration) { losses <- err }})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	require.Error(t, <-losses, "the fake gateway hangs up")
	_, err = certificate.Renew(cfg, true)
	require.NoError(t, err)
	var refused *CertificateError
	require.Eventually(t, func() bool { return errors.As(<-losses, &refused) }, 30*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}
