package certificate

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/settings"
)

const day = 24 * time.Hour

// own is the Config of an own certificate in an empty state directory.
func own(t *testing.T) Config {
	return Config{Dir: filepath.Join(t.TempDir(), "state", DirName), Names: []string{"localhost", "127.0.0.1"}}
}

func keep(t *testing.T, cfg Config) *Keeper {
	t.Helper()
	k, err := New(cfg)
	require.NoError(t, err)
	return k
}

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Mode().Perm()
}

// shown performs a TLS handshake and returns the certificate that the server shows.
func shown(t *testing.T, k *Keeper, edit func(*tls.Config)) (*x509.Certificate, tls.ConnectionState, error) {
	t.Helper()
	near, far := net.Pipe()
	server := tls.Server(far, k.ServerConfig())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if server.Handshake() == nil {
			_, _ = io.WriteString(server, "x") // session tickets would come in front of it
		}
		_ = far.Close()
	}()
	cfg := &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1), ServerName: "localhost"}
	if edit != nil {
		edit(cfg)
	}
	client := tls.Client(near, cfg)
	err := client.Handshake()
	if err == nil {
		_, _ = client.Read(make([]byte, 1))
	}
	_ = near.Close()
	<-ended
	if err != nil {
		return nil, tls.ConnectionState{}, err
	}
	session, _ := cfg.ClientSessionCache.Get("localhost")
	require.Nil(t, session, "no session ticket")
	return client.ConnectionState().PeerCertificates[0], client.ConnectionState(), nil
}

func TestOwnCertificateIsMadeOnce(t *testing.T) {
	cfg := own(t)
	_, err := Read(cfg)
	require.ErrorIs(t, err, ErrNone)
	k := keep(t, cfg)
	c := k.Certificate()
	require.Equal(t, elliptic.P256(), c.PublicKey.(*ecdsa.PublicKey).Curve)
	require.Equal(t, validFor, c.NotAfter.Sub(c.NotBefore))
	require.True(t, c.NotBefore.Before(time.Now()))
	require.NoError(t, c.VerifyHostname("localhost"))
	require.NoError(t, c.VerifyHostname("127.0.0.1"))
	require.False(t, c.IsCA)
	require.Equal(t, os.FileMode(0o700), mode(t, cfg.Dir))
	require.Equal(t, os.FileMode(0o600), mode(t, cfg.Path()))
	require.Equal(t, Fingerprint(c), Fingerprint(keep(t, cfg).Certificate()), "the second start finds it")
	read, err := Read(cfg)
	require.NoError(t, err)
	require.Equal(t, c.Raw, read.Raw)

	require.NoError(t, os.Chmod(cfg.Path(), 0o644))
	require.NoError(t, os.Chmod(cfg.Dir, 0o755))
	keep(t, cfg)
	require.Equal(t, os.FileMode(0o600), mode(t, cfg.Path()))
	require.Equal(t, os.FileMode(0o700), mode(t, cfg.Dir))
}

func TestServerConfig(t *testing.T) {
	k := keep(t, own(t))
	_, state, err := shown(t, k, nil)
	require.NoError(t, err)
	require.Equal(t, uint16(tls.VersionTLS13), state.Version)
	_, state, err = shown(t, k, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12; c.NextProtos = []string{"h2", "http/1.1"} })
	require.NoError(t, err)
	require.Equal(t, uint16(tls.VersionTLS12), state.Version)
	require.Equal(t, "http/1.1", state.NegotiatedProtocol)
	_, _, err = shown(t, k, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 })
	require.Error(t, err)
	_, _, err = shown(t, k, func(c *tls.Config) { c.NextProtos = []string{"h2"} })
	require.ErrorContains(t, err, "no application protocol")
}

// TestOwnCertificateIsRenewedWithOverlap lives through two years.
func TestOwnCertificateIsRenewedWithOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := own(t)
		k := keep(t, cfg)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx) }()
		first := k.Certificate()

		time.Sleep(time.Until(first.NotAfter.Add(-nextAhead)) - 2*renewEvery)
		synctest.Wait()
		require.Nil(t, ReadNext(cfg))
		time.Sleep(4 * renewEvery)
		synctest.Wait()
		next := ReadNext(cfg)
		require.NotNil(t, next, "the next one lies ready")
		require.Equal(t, Fingerprint(first), Fingerprint(k.Certificate()), "and is not shown yet")
		require.NotEqual(t, Fingerprint(first), Fingerprint(next))
		require.Equal(t, KeyFingerprint(first), KeyFingerprint(next), "a pinned key stays")
		require.Equal(t, os.FileMode(0o600), mode(t, cfg.next()))

		time.Sleep(time.Until(SwitchAt(first)) + 2*renewEvery)
		synctest.Wait()
		got, _, err := shown(t, k, nil)
		require.NoError(t, err)
		require.Equal(t, Fingerprint(next), Fingerprint(got), "exactly what was announced")
		require.Nil(t, ReadNext(cfg))

		time.Sleep(time.Until(SwitchAt(next)) + 2*renewEvery)
		synctest.Wait()
		require.True(t, k.Certificate().NotAfter.After(next.NotAfter), "again a year later")
		require.Equal(t, KeyFingerprint(first), KeyFingerprint(k.Certificate()))
		stop()
		require.NoError(t, <-done)
	})
}

func TestOwnCertificateIsRenewedAtTheStart(t *testing.T) {
	for _, away := range []time.Duration{validFor - switchAhead + day, validFor + 100*day} {
		synctest.Test(t, func(t *testing.T) {
			cfg := own(t)
			first := keep(t, cfg).Certificate()
			time.Sleep(away)
			again := keep(t, cfg).Certificate()
			require.Greater(t, time.Until(again.NotAfter), nextAhead)
			require.Equal(t, KeyFingerprint(first), KeyFingerprint(again))
		})
	}
}

func TestRenew(t *testing.T) {
	cfg := own(t)
	made, err := Renew(cfg, false)
	require.NoError(t, err, "it makes the first one too")
	k := keep(t, cfg)
	require.Equal(t, made.Raw, k.Certificate().Raw)
	require.NoError(t, write(cfg.next(), k.current.Load().PrivateKey, cfg.Names))
	cfg.Names = append(cfg.Names, "gw.example.com")
	fresh, err := Renew(cfg, false)
	require.NoError(t, err)
	require.Equal(t, KeyFingerprint(made), KeyFingerprint(fresh))
	require.NotEqual(t, Fingerprint(made), Fingerprint(fresh))
	require.NoError(t, fresh.VerifyHostname("gw.example.com"))
	require.Nil(t, ReadNext(cfg), "made for the old names")
	got, _, err := shown(t, k, nil)
	require.NoError(t, err)
	require.Equal(t, fresh.Raw, got.Raw, "a running gateway shows it")

	other, err := Renew(cfg, true)
	require.NoError(t, err)
	require.NotEqual(t, KeyFingerprint(made), KeyFingerprint(other))
	got, _, err = shown(t, k, nil)
	require.NoError(t, err)
	require.Equal(t, other.Raw, got.Raw)

	require.NoError(t, os.WriteFile(cfg.Path(), []byte("damaged"), 0o600))
	_, err = New(cfg)
	require.ErrorContains(t, err, "move the file away")
	_, err = Renew(cfg, false)
	require.ErrorContains(t, err, "--new-key makes a new one")
	_, err = Renew(cfg, true)
	require.NoError(t, err)
	_, err = Renew(Config{CertPath: "/etc/cert.pem", KeyPath: "/etc/key.pem"}, false)
	require.ErrorContains(t, err, "renew it where it comes from")
}

// given writes a fresh certificate with its key to two files.
func given(t *testing.T, certPath, keyPath string) *x509.Certificate {
	t.Helper()
	cfg := Config{Dir: t.TempDir(), Names: []string{"gw.example.com"}}
	c, err := Renew(cfg, true)
	require.NoError(t, err)
	raw, err := os.ReadFile(cfg.Path())
	require.NoError(t, err)
	end := strings.Index(string(raw), "-----BEGIN CERTIFICATE")
	for path, text := range map[string][]byte{keyPath: raw[:end], certPath: raw[end:]} {
		fresh := filepath.Join(filepath.Dir(path), "fresh.tmp")
		require.NoError(t, os.WriteFile(fresh, text, 0o600))
		require.NoError(t, os.Rename(fresh, path))
	}
	return c
}

func TestGivenFilesAreReadAnew(t *testing.T) {
	dir := t.TempDir()
	var logs bytes.Buffer
	cfg := Config{CertPath: filepath.Join(dir, "cert.pem"), KeyPath: filepath.Join(dir, "key.pem"), Log: slog.New(slog.NewTextHandler(&logs, nil))}
	_, err := New(cfg)
	require.ErrorContains(t, err, "tls certificate: ")
	first := given(t, cfg.CertPath, cfg.KeyPath)
	k := keep(t, cfg)
	show := func() *x509.Certificate {
		c, _, err := shown(t, k, nil)
		require.NoError(t, err)
		return c
	}
	require.Equal(t, first.Raw, show().Raw)

	second := given(t, cfg.CertPath, filepath.Join(dir, "new.pem"))
	for range 3 {
		require.Equal(t, first.Raw, show().Raw, "a certificate without its key does not count")
	}
	require.Equal(t, 1, strings.Count(logs.String(), "level=ERROR"), "told once: %s", logs.String())
	require.NoError(t, os.Rename(filepath.Join(dir, "new.pem"), cfg.KeyPath))
	require.Equal(t, second.Raw, show().Raw)

	require.NoError(t, os.Remove(cfg.CertPath))
	for range 3 {
		require.Equal(t, second.Raw, show().Raw, "a file that is gone")
	}
	require.Equal(t, 2, strings.Count(logs.String(), "level=ERROR"), logs.String())
	third := given(t, cfg.CertPath, cfg.KeyPath)
	require.Equal(t, third.Raw, show().Raw)
	require.NotContains(t, logs.String(), "PRIVATE")
}

func TestAnExpiredFileDoesNotReplaceAGoodOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		cfg := Config{CertPath: filepath.Join(dir, "cert.pem"), KeyPath: filepath.Join(dir, "key.pem")}
		oldCert, oldKey := filepath.Join(dir, "old.pem"), filepath.Join(dir, "oldkey.pem")
		given(t, oldCert, oldKey)
		time.Sleep(validFor - 20*day)
		current := given(t, cfg.CertPath, cfg.KeyPath)
		k := keep(t, cfg)
		time.Sleep(30 * day)
		require.NoError(t, os.Rename(oldCert, cfg.CertPath))
		require.NoError(t, os.Rename(oldKey, cfg.KeyPath))
		_, _ = k.getCertificate(nil)
		require.Equal(t, current.Raw, k.Certificate().Raw)
	})
}

func TestGivenCertificateThatEndsSoonIsToldOnceADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		var logs bytes.Buffer
		cfg := Config{CertPath: filepath.Join(dir, "cert.pem"), KeyPath: filepath.Join(dir, "key.pem"), Log: slog.New(slog.NewTextHandler(&logs, nil))}
		given(t, cfg.CertPath, cfg.KeyPath)
		time.Sleep(validFor - expirySoon)
		k := keep(t, cfg)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx) }()
		time.Sleep(2*day + time.Minute)
		stop()
		require.NoError(t, <-done)
		require.Equal(t, 3, strings.Count(logs.String(), "ends soon"), logs.String())
	})
}

func TestNames(t *testing.T) {
	addrs := []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::2")}
	require.Equal(t, []string{"localhost", "127.0.0.1", "::1", "box", "box.local", "192.0.2.2", "2001:db8::2", "gw.example.com"},
		Names(settings.Gateway{Bind: "lan", AllowedHosts: []string{"gw.example.com", "localhost"}}, "Box", addrs))
	require.Equal(t, []string{"localhost", "127.0.0.1", "::1", "box.example", "192.0.2.7"},
		Names(settings.Gateway{Bind: "::ffff:192.0.2.7"}, "box.example.", nil))
	require.Equal(t, []string{"localhost", "127.0.0.1", "::1"}, Names(settings.Gateway{Bind: "0.0.0.0"}, "bücher box", nil))
}

func TestParsePin(t *testing.T) {
	want := Pin("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
	for _, text := range []string{
		string(want), want.String(), "sha256:" + string(want), " SHA256 Fingerprint=" + want.String() + "\n",
		strings.ToUpper(string(want)), "0123-4567 89ab:" + string(want[12:]),
	} {
		got, err := ParsePin(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got)
	}
	for _, text := range []string{"", string(want[:62]), string(want) + "00", string(want[:63]) + "g", "sha1:" + string(want), string(want[:63]), "*"} {
		_, err := ParsePin(text)
		require.ErrorContains(t, err, "64 hexadecimal digits", text)
	}
}

func FuzzParsePin(f *testing.F) {
	f.Add("sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePin(text)
		if err != nil {
			require.Empty(t, p)
			return
		}
		again, err := ParsePin(p.String())
		require.NoError(t, err)
		require.Equal(t, p, again)
		require.Len(t, p, 64)
	})
}
