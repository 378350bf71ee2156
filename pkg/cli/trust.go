package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/pkg/certificate"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/settings"
)

const envPin = "CODERCLAW_GATEWAY_TLS_FINGERPRINT"

// pinsFor says which certificates t may show: the flag's; those of the state directory,
// when t is its own gateway; else what the environment or the config names for gateways
// elsewhere; and behind all of them what was confirmed before.
func pinsFor(c *cli.Context, getenv func(string) string, t target, conf *settings.Settings, configPath string) (client.Pins, error) {
	text, from := "", ""
	if flag, ok := globalString(c, flagPin); ok {
		text, from = flag, "--"+flagPin
	}
	known := client.Pins{Known: client.OpenKnownGateways(t.stateDir)}
	if !strings.HasPrefix(t.url, "wss://") && text == "" {
		return client.Pins{}, nil
	}
	if text == "" && t.local {
		if own := ownPins(t.stateDir, conf); len(own.Accept) > 0 {
			return own, nil
		}
		return known, nil
	}
	if env := strings.TrimSpace(getenv(envPin)); text == "" && env != "" {
		text, from = env, envPin
	}
	if text == "" && conf.Gateway.Remote.TLSFingerprint != "" {
		text, from = conf.Gateway.Remote.TLSFingerprint, "gateway.remote.tlsFingerprint in "+configPath
	}
	if text == "" {
		return known, nil
	}
	pin, err := certificate.ParsePin(text)
	if err != nil {
		return known, usagef("%s: %w", from, err)
	}
	known.Accept, known.From = []certificate.Pin{pin}, from
	return known, nil
}

// ownPins are those of the certificate files of a state directory's gateway, which
// nobody but its user can have put there. None, when they cannot be read.
func ownPins(stateDir string, conf *settings.Settings) client.Pins {
	cfg := certificate.For(stateDir, conf.Gateway, nil)
	current, err := certificate.Read(cfg)
	if err != nil {
		return client.Pins{}
	}
	return client.Pins{From: cfg.Path(), Accept: []certificate.Pin{certificate.Fingerprint(current), certificate.KeyFingerprint(current)}}
}

// introduce asks a person, before the first connection to a gateway that nobody vouches
// for, whether its certificate is the right one, and remembers a yes. Without a person
// the connection itself fails, with the command to run.
func (a *App) introduce(ctx context.Context, o client.Options, t target) error {
	if !strings.HasPrefix(t.url, "wss://") || len(o.Pins.Accept) > 0 || o.Pins.Known == nil || !a.asks() {
		return nil
	}
	addr, err := client.ParseAddress(t.url)
	if err != nil {
		return err
	}
	if _, met, err := o.Pins.Known.Get(addr.HostPort()); met || err != nil {
		return err
	}
	var unknown *client.CertificateError
	if err := client.Probe(ctx, o); !errors.As(err, &unknown) || !unknown.Unknown() {
		return nil // Dial tells whatever else is wrong
	}
	fmt.Fprintf(a.Stderr, "%s is not known to this machine, and no authority that it trusts vouches for it.\nIts certificate has the SHA-256 fingerprint\n\n  %s\n\n"+
		"Compare it with what this prints on the gateway's machine: coderclaw tls show\nIs it the same? Type yes to trust it from now on: ", unknown.Gateway, unknown.Got)
	if answer := a.readLine(); !strings.EqualFold(strings.TrimSpace(answer), "yes") {
		return t.wrap(unknown)
	}
	return o.Pins.Known.Put(unknown.Gateway, unknown.Got, unknown.GotKey)
}

// asks reports whether a person reads and answers.
func (a *App) asks() bool { return isTerminal(a.Stdin) && !a.out.json }

// readLine reads to the end of a line and not further: what follows is another reader's.
func (a *App) readLine() string {
	var line []byte
	for one := make([]byte, 1); len(line) < 64; {
		if _, err := io.ReadFull(a.Stdin, one); err != nil || one[0] == '\n' {
			break
		}
		line = append(line, one[0])
	}
	return string(line)
}

// describeTLS words what can go wrong between ws:// and wss://, and with certificates.
func describeTLS(f *failure, e *targetError) bool {
	var cert *client.CertificateError
	switch {
	case errors.As(e, &cert) && cert.Unknown():
		f.Message = fmt.Sprintf("the certificate of %s is not known here: SHA-256 %s (%v)", cert.Gateway, cert.Got, cert.Err)
		f.Hint = fmt.Sprintf("if `coderclaw tls show` on the gateway's machine prints the same, run once: coderclaw --url %s --tls-fingerprint %s status", e.url, cert.Got)
	case errors.As(e, &cert):
		f.Message = fmt.Sprintf("the certificate of %s is not the pinned one, so nothing was sent: it shows SHA-256 %s, but %s says %s", cert.Gateway, cert.Got, cert.PinnedBy, cert.Want[0])
		f.Hint = fmt.Sprintf("somebody may be in between. If `coderclaw tls show` on the gateway's machine prints what it shows, accept that with: coderclaw --url %s --tls-fingerprint %s status", e.url, cert.Got)
		if e.pins.From != "" && e.pins.From == cert.PinnedBy && e.pins.From != "--"+flagPin {
			f.Hint += "; and mend " + cert.PinnedBy
		}
	case errors.Is(e, client.ErrSpeaksTLS):
		f.Message = "the gateway at " + e.url + " speaks TLS"
		f.Hint = "use --url " + strings.Replace(e.url, "ws://", "wss://", 1)
	case errors.Is(e, client.ErrSpeaksPlain):
		f.Message = "what listens at " + e.url + " does not speak TLS"
		f.Hint = "use --url " + strings.Replace(e.url, "wss://", "ws://", 1) + "; or, if gateway.tls.enabled is new, start the gateway again"
	default:
		return false
	}
	return true
}
