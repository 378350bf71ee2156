package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coderclaw/gateway/pkg/certificate"
)

// CertificateError says that a gateway's certificate was not accepted. Nothing was sent
// to it: the check is part of the TLS handshake, before its last message.
type CertificateError struct {
	// Gateway is the host and port.
	Gateway string
	// Got and GotKey are the fingerprints of the certificate that was shown and of its
	// key.
	Got, GotKey certificate.Pin
	// Want are the pins that would have been accepted. None: nothing is known of this
	// gateway, and no authority that this machine trusts vouches for it.
	Want []certificate.Pin
	// PinnedBy says where Want comes from; NotAfter when the certificate ends.
	PinnedBy string
	NotAfter time.Time
	// Err is why the certificate was not believed without a pin; nil if it was pinned.
	Err error
}

// Error names both fingerprints.
func (e *CertificateError) Error() string {
	if e.Unknown() {
		return fmt.Sprintf("the certificate of %s is not known (SHA-256 %s): %v", e.Gateway, e.Got, e.Err)
	}
	return fmt.Sprintf("the certificate of %s is not the pinned one: it shows %s, and %s says %s", e.Gateway, e.Got, e.PinnedBy, e.Want[0])
}

// Unwrap returns why the certificate was not believed.
func (e *CertificateError) Unwrap() error { return e.Err }

// Unknown reports whether this gateway was never met, as opposed to one that has changed.
func (e *CertificateError) Unknown() bool { return len(e.Want) == 0 }

// Pins say which certificates a gateway may show. The zero value knows none, so that
// only an authority that this machine trusts can vouch for one.
type Pins struct {
	// Accept are pins of certificates or of their keys; one has to match.
	Accept []certificate.Pin
	// From says where Accept comes from, for messages.
	From string
	// Known is what earlier connections have learned; nil keeps nothing.
	Known *KnownGateways
}

// verifier judges the certificates that one gateway shows.
type verifier struct {
	pins    Pins
	gateway string // host:port, as Known names it
	host    string
}

// tlsConfig returns the client's side of TLS. The library's own check is replaced, not
// skipped: VerifyConnection runs in every handshake, resumed ones included, before the
// client says anything.
func (v verifier) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"http/1.1"},
		InsecureSkipVerify: true,
		VerifyConnection:   v.verify,
	}
}

// verify accepts a pinned certificate, whatever else is true of it (it may have ended,
// or be for another name); then one that is known from before; then, of a gateway of
// which nothing is known, one that a trusted authority has given to this host name.
func (v verifier) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the gateway shows no certificate")
	}
	leaf := state.PeerCertificates[0]
	no := &CertificateError{
		Gateway: v.gateway, Got: certificate.Fingerprint(leaf), GotKey: certificate.KeyFingerprint(leaf), NotAfter: leaf.NotAfter,
	}
	known, met, err := v.pins.Known.get(v.gateway)
	if err != nil {
		return err
	}
	switch {
	case len(v.pins.Accept) > 0:
		// A pinned certificate vouches for its key, which outlives it: so the
		// certificate of a later renewal is good too, if the pinned one was met.
		if !matches(v.pins.Accept, no.Got, no.GotKey) &&
			!(met && known.Key == no.GotKey && slices.ContainsFunc(v.pins.Accept, known.has)) {
			no.Want, no.PinnedBy = v.pins.Accept, v.pins.From
			return no
		}
	case met:
		if known.Key != no.GotKey {
			no.Want, no.PinnedBy = []certificate.Pin{known.last(), known.Key}, v.pins.Known.path
			return no
		}
	default:
		if no.Err = chains(state.PeerCertificates, v.host); no.Err != nil {
			return no
		}
		return nil // an authority vouches for it, and for the one after it
	}
	return nil
}

// remember keeps what an accepted connection has shown, unless an authority vouched for
// it: the next certificate of that gateway may have another key.
func (v verifier) remember(state tls.ConnectionState) error {
	leaf := state.PeerCertificates[0]
	if _, met, err := v.pins.Known.get(v.gateway); err != nil || !met && len(v.pins.Accept) == 0 {
		return err
	}
	return v.pins.Known.Put(v.gateway, certificate.Fingerprint(leaf), certificate.KeyFingerprint(leaf))
}

func matches(pins []certificate.Pin, got ...certificate.Pin) bool {
	return slices.ContainsFunc(got, func(p certificate.Pin) bool { return slices.Contains(pins, p) })
}

// chains checks certificates as every browser does: dates, name, and a chain to a root
// that this system trusts.
func chains(certs []*x509.Certificate, host string) error {
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	_, err := certs[0].Verify(x509.VerifyOptions{DNSName: strings.TrimSuffix(host, "."), Intermediates: between})
	return err
}

func (a Address) verifier(pins Pins) verifier {
	return verifier{pins: pins, gateway: a.HostPort(), host: a.u.Hostname()}
}

// Probe opens a connection and closes it at once. A certificate that is not accepted is
// a *CertificateError; no other error says anything about it.
func Probe(ctx context.Context, o Options) error {
	addr, err := o.check()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	ws, err := open(ctx, addr, &o)
	if err != nil {
		return err
	}
	return ws.CloseNow()
}

// HTTPClient returns a client for a gateway's address that judges its certificate by
// pins before it sends anything, follows no redirect, and asks no proxy for a loopback
// address. Its connections are not kept when the request is done.
func (a Address) HTTPClient(pins Pins) *http.Client {
	c := a.httpClient()
	t := c.Transport.(*http.Transport)
	t.TLSClientConfig = a.verifier(pins).tlsConfig()
	t.DisableKeepAlives = true
	return c
}
