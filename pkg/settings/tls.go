package settings

import (
	"path/filepath"
	"strings"
)

// check applies the rules of the keys to each other.
func (t TLS) check() (problems []string) {
	switch {
	case (t.CertPath == "") != (t.KeyPath == ""):
		problems = append(problems, "gateway.tls.certPath and gateway.tls.keyPath belong together: set both, or neither to have a certificate made")
	case t.Enabled && t.CertPath == "" && !t.AutoGenerate:
		problems = append(problems, "gateway.tls.enabled needs a certificate: set gateway.tls.certPath and gateway.tls.keyPath, or leave gateway.tls.autoGenerate at true")
	}
	return problems
}

// resolvePaths makes the paths absolute: ~ is the home directory, and a relative path
// starts at the config file, not where the gateway happens to be started.
func (t *TLS) resolvePaths(configPath string, getenv func(string) string) {
	for _, path := range []*string{&t.CertPath, &t.KeyPath} {
		text := strings.TrimSpace(*path)
		if text != "" && !strings.HasPrefix(text, "~") && !filepath.IsAbs(text) && configPath != "" {
			text = filepath.Join(filepath.Dir(configPath), text)
		}
		*path = absolute(text, getenv("HOME"))
	}
}
