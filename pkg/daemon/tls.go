package daemon

import (
	"context"
	"crypto/tls"

	"github.com/coderclaw/gateway/pkg/certificate"
)

// security returns what the gateway's listeners speak TLS with, nil when they do not.
func (d *Daemon) security() (*tls.Config, error) {
	g := d.settings.Gateway
	if !g.TLS.Enabled {
		return nil, nil
	}
	keeper, err := certificate.New(certificate.For(d.cfg.StateDir, g, d.log))
	if err != nil {
		return nil, err
	}
	d.certificate = keeper
	leaf := keeper.Certificate()
	d.log.Info("tls certificate", "fingerprint", certificate.Fingerprint(leaf).String(),
		"keyFingerprint", certificate.KeyFingerprint(leaf).String(), "notAfter", leaf.NotAfter)
	return keeper.ServerConfig(), nil
}

// keepCertificate renews and reloads the certificate, if there is one.
func (d *Daemon) keepCertificate(ctx context.Context) error {
	if d.certificate == nil {
		return nil
	}
	return d.certificate.Run(ctx)
}
