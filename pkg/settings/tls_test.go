package settings

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTLSPathsStartAtTheConfigFile(t *testing.T) {
	path := writeConfig(t, `{gateway:{tls:{certPath:"~/tls/cert.pem",keyPath:"../key.pem"}}}`)
	s, err := Load(Source{Path: path, Getenv: env("HOME", "/home/me")})
	require.NoError(t, err)
	require.Equal(t, "/home/me/tls/cert.pem", s.Gateway.TLS.CertPath)
	require.Equal(t, filepath.Join(filepath.Dir(filepath.Dir(path)), "key.pem"), s.Gateway.TLS.KeyPath)
	require.True(t, s.Gateway.TLS.AutoGenerate)
	require.False(t, s.Gateway.TLS.Enabled)
}
