package settings

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// IsSet reports whether proxies on this host have to prove themselves.
func (p ProxySecret) IsSet() bool { return p.Secret.IsSet() || p.File != "" }

// Resolve returns the secret, from the file where it names one; nothing when none is
// configured.
func (p ProxySecret) Resolve() (Secret, error) {
	if p.File == "" || p.Secret.IsSet() {
		return p.Secret, nil
	}
	f, err := os.Open(absolute(p.File, ""))
	if err != nil {
		return Secret{}, fmt.Errorf("gateway.proxySecret.file: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, tokenBytesMax+3))
	if err != nil {
		return Secret{}, fmt.Errorf("gateway.proxySecret.file: %w", err)
	}
	secret := NewSecret(strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r"))
	if err := checkProxySecret(secret); err != nil {
		return Secret{}, fmt.Errorf("gateway.proxySecret.file: the secret in %s %w", p.File, err)
	}
	return secret, nil
}

// checkProxySecret refuses what can be guessed: nobody counts the guesses of this
// host's own programs.
func checkProxySecret(secret Secret) error {
	if err := CheckToken(secret); err != nil {
		return err
	}
	if len(secret.Reveal()) < proxySecretBytesMin {
		return fmt.Errorf("is shorter than %d characters: set the output of: openssl rand -hex 24", proxySecretBytesMin)
	}
	return nil
}

// check applies the rules of gateway.proxySecret.
func (p ProxySecret) check(auth Auth) (problems []string) {
	bad := func(err error) {
		if err != nil {
			problems = append(problems, "gateway.proxySecret."+err.Error())
		}
	}
	if !isHeaderName(p.Header) {
		bad(errors.New("header is not the name of a header"))
	}
	if !p.Secret.IsSet() {
		return problems
	}
	if p.File != "" {
		bad(errors.New("secret and gateway.proxySecret.file are both given: keep one of them"))
	}
	if err := checkProxySecret(p.Secret); err != nil {
		bad(fmt.Errorf("secret %w", err))
	}
	if p.Secret == auth.Token || p.Secret == auth.Password {
		bad(errors.New("secret is the gateway's own secret: one that reads the proxy's headers could then connect; choose another"))
	}
	return problems
}
