package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/pkg/certificate"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/settings"
)

const tlsHelp = `The certificate that the gateway of this machine shows when gateway.tls.enabled is true:
the file of gateway.tls.certPath, or one of its own. Clients elsewhere pin it:

   coderclaw tls show                     (on the gateway's machine)
   coderclaw --url wss://HOST:18789 --tls-fingerprint FINGERPRINT status

An own certificate is renewed by the gateway 30 days before it ends, with the same key, so
that clients which have met it, or pin the key's fingerprint, notice nothing.`

func (a *App) tlsCommand() *cli.Command {
	return &cli.Command{
		Name: "tls", Category: categorySecurity, Usage: "look at the gateway's certificate, or renew it", Description: tlsHelp,
		Subcommands: []*cli.Command{
			{
				Name: "show", Usage: "print the fingerprints that clients pin, the names and the dates",
				UsageText: "coderclaw tls show [--json]", Description: tlsHelp, Action: a.runTLSShow,
			},
			{
				Name: "renew", Usage: "make a new own certificate now; a running gateway shows it at once",
				UsageText: "coderclaw tls renew [--new-key]",
				Description: `Makes a new certificate for the names that the machine and the config have now. The key
stays, so clients that pin it, or have met the gateway, go on. With --new-key, for a key that
somebody else may have, every client has to be told the new fingerprint.`,
				Flags:  []cli.Flag{&cli.BoolFlag{Name: "new-key", DisableDefaultText: true, Usage: "make a new key too, which breaks every pin"}},
				Action: a.runTLSRenew,
			},
		},
	}
}

// certificateFacts is a certificate as --json prints it. Fingerprints are as
// --tls-fingerprint takes them.
type certificateFacts struct {
	Fingerprint    string   `json:"fingerprint"`
	KeyFingerprint string   `json:"keyFingerprint"`
	Names          []string `json:"names"`
	NotBeforeMs    int64    `json:"notBeforeMs"`
	NotAfterMs     int64    `json:"notAfterMs"`
}

func factsOf(c *x509.Certificate) certificateFacts {
	return certificateFacts{
		Fingerprint: certificate.Fingerprint(c).String(), KeyFingerprint: certificate.KeyFingerprint(c).String(),
		Names: append([]string{}, certificate.Hosts(c)...), NotBeforeMs: c.NotBefore.UnixMilli(), NotAfterMs: c.NotAfter.UnixMilli(),
	}
}

// tlsFacts is what tls show tells.
type tlsFacts struct {
	// Enabled says that the config makes the gateway speak TLS.
	Enabled bool   `json:"enabled"`
	Path    string `json:"path"`
	// Own says that the gateway made the certificate and renews it.
	Own bool `json:"own"`
	certificateFacts
	// Next takes the certificate's place at NextFromMs.
	Next       *certificateFacts `json:"next,omitempty"`
	NextFromMs int64             `json:"nextFromMs,omitempty"`
}

// certificateConfig returns the settings of this machine's gateway and which
// certificate it shows.
func (a *App) certificateConfig(c *cli.Context) (*settings.Settings, certificate.Config, error) {
	if err := noArgs(c); err != nil {
		return nil, certificate.Config{}, err
	}
	if _, ok := globalString(c, flagURL); ok {
		return nil, certificate.Config{}, usagef("tls looks at this machine's certificate: leave out --url, or run it where the gateway runs")
	}
	getenv := a.getenv(c)
	stateDir, configPath := settings.Paths(getenv)
	conf, err := settings.Load(settings.Source{Path: configPath, Getenv: getenv})
	if err != nil {
		return nil, certificate.Config{}, err
	}
	return conf, certificate.For(stateDir, conf.Gateway, nil), nil
}

func (a *App) runTLSShow(c *cli.Context) error {
	conf, cfg, err := a.certificateConfig(c)
	if err != nil {
		return err
	}
	current, err := certificate.Read(cfg)
	if errors.Is(err, certificate.ErrNone) {
		return withHint(err, "the gateway makes one when it starts with { gateway: { tls: { enabled: true } } } in its config; coderclaw tls renew makes it now")
	}
	if err != nil {
		return err
	}
	facts := tlsFacts{Enabled: conf.Gateway.TLS.Enabled, Path: cfg.Path(), Own: cfg.Own(), certificateFacts: factsOf(current)}
	next := certificate.ReadNext(cfg)
	if next != nil {
		n := factsOf(next)
		facts.Next, facts.NextFromMs = &n, certificate.SwitchAt(current).UnixMilli()
	}
	if a.out.json {
		return a.out.line(facts)
	}
	state := "on"
	if !facts.Enabled {
		state = "off: set gateway.tls.enabled to true"
	}
	renewal := "by its owner: the file is read anew when it changes"
	if facts.Own {
		renewal = "by the gateway, from " + certificate.SwitchAt(current).Format(time.DateOnly) + " on, with the same key"
	}
	pairs := [][2]string{
		{"tls", state}, {"file", facts.Path}, {"fingerprint", facts.Fingerprint}, {"key fingerprint", facts.KeyFingerprint},
		{"names", strings.Join(facts.Names, ", ")}, {"valid", current.NotBefore.Format(time.DateOnly) + " to " + current.NotAfter.Format(time.DateOnly)},
		{"renewal", renewal},
	}
	if facts.Next != nil {
		pairs = append(pairs, [2]string{"next fingerprint", facts.Next.Fingerprint})
	}
	return a.out.facts(pairs...)
}

func (a *App) runTLSRenew(c *cli.Context) error {
	_, cfg, err := a.certificateConfig(c)
	if err != nil {
		return err
	}
	fresh, err := certificate.Renew(cfg, c.Bool("new-key"))
	if err != nil {
		return err
	}
	if a.out.json {
		return a.out.line(factsOf(fresh))
	}
	a.out.note("written to %s; a running gateway shows it from now on", cfg.Path())
	return a.out.facts([2]string{"fingerprint", certificate.Fingerprint(fresh).String()}, [2]string{"key fingerprint", certificate.KeyFingerprint(fresh).String()},
		[2]string{"valid to", fresh.NotAfter.Format(time.DateOnly)})
}

const (
	certificateEndsSoon = 14 * 24 * time.Hour
	certificateFix      = "coderclaw tls renew"
)

// checkCertificate looks at what TLS clients are shown.
func (d *doctor) checkCertificate(context.Context) []finding {
	const check = "tls"
	g := d.conf.Gateway
	if !g.TLS.Enabled {
		return one(check, levelOK, "", "off")
	}
	cfg := certificate.For(d.dir, g, nil)
	leaf, err := certificate.Read(cfg)
	if errors.Is(err, certificate.ErrNone) {
		return one(check, levelOK, "", "no certificate yet: the gateway makes one at its next start")
	}
	fix := "renew it where it comes from; the gateway reads " + cfg.Path() + " without a restart"
	if cfg.Own() {
		fix = certificateFix
	}
	if err != nil {
		return one(check, levelFail, map[bool]string{true: certificateFix + " --new-key", false: "mend gateway.tls.certPath and gateway.tls.keyPath"}[cfg.Own()], "%v", err)
	}
	key := g.TLS.KeyPath
	if cfg.Own() {
		key = cfg.Path()
	}
	info, err := os.Stat(key)
	switch ends := leaf.NotAfter.Format(time.DateOnly); {
	case err == nil && info.Mode().Perm()&0o077 != 0:
		return one(check, levelFail, "chmod 600 "+quoted(key), "the key %s is open to other users (mode %04o)", key, info.Mode().Perm())
	case d.now.After(leaf.NotAfter):
		return one(check, levelFail, fix, "the certificate has ended on %s", ends)
	case d.now.Before(leaf.NotBefore):
		return one(check, levelFail, "set the clock: timedatectl set-ntp true", "the certificate begins on %s: the clock is wrong", leaf.NotBefore.Format(time.DateOnly))
	case leaf.NotAfter.Sub(d.now) < certificateEndsSoon:
		return one(check, levelWarn, fix, "the certificate ends on %s", ends)
	}
	if lacks := slices.DeleteFunc(wanted(cfg), func(name string) bool { return leaf.VerifyHostname(name) == nil }); len(lacks) > 0 {
		return one(check, levelWarn, fix, "the certificate is not for %s", strings.Join(lacks, ", "))
	}
	return one(check, levelOK, "", "%s is valid to %s, SHA-256 %s", cfg.Path(), leaf.NotAfter.Format(time.DateOnly), certificate.Fingerprint(leaf))
}

// wanted returns the names that the certificate should be for. A given one need not be
// for those of this machine that nobody uses from elsewhere.
func wanted(cfg certificate.Config) []string {
	if cfg.Own() {
		return cfg.Names
	}
	return cfg.Asked
}

// pinFact is what auth explain tells of the certificate that a connection is held to.
type pinFact struct {
	// Pin is the fingerprint that has to match; empty when an authority has to vouch.
	Pin string `json:"pin,omitempty"`
	// From says who named it.
	From string `json:"from"`
}

// pinFact returns nil when t's connection is not encrypted.
func (t target) pinFact() *pinFact {
	if !strings.HasPrefix(t.url, "wss://") {
		return nil
	}
	if len(t.pins.Accept) > 0 {
		return &pinFact{t.pins.Accept[0].String(), t.pins.From}
	}
	if addr, err := client.ParseAddress(t.url); err == nil && t.pins.Known != nil {
		if known, ok, err := t.pins.Known.Get(addr.HostPort()); err == nil && ok {
			return &pinFact{known.Key.String(), "the key confirmed before, in " + t.pins.Known.Path()}
		}
	}
	return &pinFact{From: "no pin: an authority that this machine trusts has to vouch for it"}
}

// line words the fact for a person.
func (f *pinFact) line() string {
	switch {
	case f == nil:
		return ""
	case f.Pin == "":
		return f.From
	}
	return "must be SHA-256 " + f.Pin + " (" + f.From + ")"
}
