package settings

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
)

// resolveMode picks the mode that nobody named: what a flag gave the secret of,
// else password if there is one, else token.
func (a *Auth) resolveMode(f Flags) {
	switch {
	case f.AuthMode != nil:
		a.Mode = *f.AuthMode
	case a.Mode != "":
	case f.Password != nil:
		a.Mode = AuthPassword
	case f.Token != nil:
		a.Mode = AuthToken
	case a.Password.IsSet():
		a.Mode = AuthPassword
	default:
		a.Mode = AuthToken
	}
}

// checkAuth applies the rules of gateway.auth and gateway.trustedProxies.
func (g *Gateway) checkAuth(given map[string]bool) (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	for _, s := range []struct {
		key    string
		secret Secret
	}{{"gateway.auth.token", g.Auth.Token}, {"gateway.auth.password", g.Auth.Password}} {
		if !given[s.key] {
			continue
		}
		if err := CheckToken(s.secret); err != nil {
			bad("%s %v", s.key, err)
		}
	}
	for i, text := range g.TrustedProxies {
		prefix, err := proxyPrefix(text)
		if err != nil {
			bad("gateway.trustedProxies[%d] %v", i, err)
			continue
		}
		g.TrustedProxies[i] = prefix.String()
	}
	problems = append(problems, g.ProxySecret.check(g.Auth)...)
	if s := g.Tailscale.Socket; s != "" && !filepath.IsAbs(s) {
		bad("gateway.tailscale.socket must be an absolute path")
	}
	switch g.Auth.Mode {
	case AuthToken, "":
	case AuthPassword:
		if !g.Auth.Password.IsSet() {
			bad("gateway.auth.mode is %q and there is no password: set gateway.auth.password or CODERCLAW_GATEWAY_PASSWORD", AuthPassword)
		}
	case AuthTrustedProxy:
		if len(g.TrustedProxies) == 0 {
			bad("gateway.auth.mode is %q and gateway.trustedProxies is empty: list the proxy's address", AuthTrustedProxy)
		}
		if g.Auth.TrustedProxy.UserHeader == "" {
			bad("gateway.auth.mode is %q and gateway.auth.trustedProxy.userHeader is not set", AuthTrustedProxy)
		}
	default:
		bad("gateway.auth.mode must be %q, %q or %q: there is no mode without a proof", AuthToken, AuthPassword, AuthTrustedProxy)
	}
	p := g.Auth.TrustedProxy
	if p.UserHeader != "" && !isHeaderName(p.UserHeader) {
		bad("gateway.auth.trustedProxy.userHeader is not the name of a header")
	}
	for i, name := range p.RequiredHeaders {
		if !isHeaderName(name) {
			bad("gateway.auth.trustedProxy.requiredHeaders[%d] is not the name of a header", i)
		}
	}
	for i, user := range p.AllowUsers {
		if user == "" || strings.TrimSpace(user) != user {
			bad("gateway.auth.trustedProxy.allowUsers[%d] is empty or has white space around it", i)
		}
	}
	return append(problems, g.Auth.RateLimit.check()...)
}

func (r RateLimit) check() (problems []string) {
	if r.MaxAttempts < 1 || r.MaxAttempts > attemptsMost {
		problems = append(problems, fmt.Sprintf("gateway.auth.rateLimit.maxAttempts must be between 1 and %d", attemptsMost))
	}
	for _, span := range []struct {
		key string
		ms  int64
	}{{"windowMs", r.WindowMs}, {"lockoutMs", r.LockoutMs}} {
		if span.ms < rateLimitMsLeast || span.ms > rateLimitMsMost {
			problems = append(problems, fmt.Sprintf("gateway.auth.rateLimit.%s must be between %d and %d", span.key, rateLimitMsLeast, rateLimitMsMost))
		}
	}
	return problems
}

// ProxyPrefixes returns gateway.trustedProxies as address ranges. What Load has let
// through always parses.
func (g Gateway) ProxyPrefixes() []netip.Prefix {
	var out []netip.Prefix
	for _, text := range g.TrustedProxies {
		if prefix, err := proxyPrefix(text); err == nil {
			out = append(out, prefix)
		}
	}
	return out
}

// proxyElsewhere reports whether a trusted proxy is on another machine.
func (g Gateway) proxyElsewhere() bool {
	for _, prefix := range g.ProxyPrefixes() {
		if !prefix.Addr().IsLoopback() {
			return true
		}
	}
	return false
}

// proxyPrefix parses an IP address or a CIDR range, in its canonical form: IPv4
// written as IPv6 becomes IPv4, and the host bits are cleared. The range of all
// addresses is refused: it would let every client write its own address.
func proxyPrefix(text string) (netip.Prefix, error) {
	wrong := errors.New("must be an IP address or a CIDR range such as 10.0.0.0/8")
	if addr, err := netip.ParseAddr(text); err == nil {
		if addr.Zone() != "" || addr.IsUnspecified() {
			return netip.Prefix{}, wrong
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, wrong
	}
	if addr, bits := prefix.Addr(), prefix.Bits(); addr.Is4In6() && bits >= 96 {
		prefix = netip.PrefixFrom(addr.Unmap(), bits-96)
	}
	if prefix.Bits() == 0 {
		return netip.Prefix{}, errors.New("is the range of all addresses: every client could then write its own address; list the proxies alone")
	}
	return prefix.Masked(), nil
}

// isHeaderName reports whether text is a token of RFC 9110, which names a header.
func isHeaderName(text string) bool {
	return text != "" && len(text) <= 128 && !strings.ContainsFunc(text, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	})
}
