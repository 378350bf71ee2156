package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"runtime"
	"strings"

	"github.com/coderclaw/gateway/pkg/internal/tailscale"
	"github.com/coderclaw/gateway/pkg/settings"
)

// checkProxies looks at who may speak for others.
func (d *doctor) checkProxies(context.Context) []finding {
	const check = "proxies"
	g := d.conf.Gateway
	prefixes := g.ProxyPrefixes()
	proof, proofErr := g.ProxySecret.Resolve()
	here := false
	for _, p := range prefixes {
		here = here || p.Addr().IsLoopback()
	}
	switch {
	case proofErr != nil:
		return one(check, levelFail, "write it anew: openssl rand -hex 24 > "+quoted(g.ProxySecret.File), "no gateway starts: %v", proofErr)
	case proof.IsSet() && !here:
		return one(check, levelWarn, "list the proxy's loopback address in gateway.trustedProxies, or remove gateway.proxySecret", "gateway.proxySecret is for a proxy on this host, and none is configured")
	case len(prefixes) == 0:
		return one(check, levelOK, "", "none is believed; what one forwards is never local")
	case proof.IsSet() && g.ProxySecret.File != "" && othersRead(g.ProxySecret.File):
		return one(check, levelFail, "chmod go= "+quoted(g.ProxySecret.File), "others may read %s and play the proxy", g.ProxySecret.File)
	}
	for _, p := range prefixes {
		if g.Auth.Mode == settings.AuthTrustedProxy && p.Addr().IsLoopback() && !proof.IsSet() {
			return one(check, levelWarn, fmt.Sprintf("set gateway.proxySecret.file and have the proxy send what is in it as %s", g.ProxySecret.Header),
				"every program on this machine can name any user, because the proxy %s is on loopback and proves nothing", p)
		}
		if p.Addr().Is4() && p.Bits() < 16 || p.Addr().Is6() && p.Bits() < 32 {
			return one(check, levelWarn, "list the proxy's own address in gateway.trustedProxies", "%s is a wide range: every machine in it may write its own address", p)
		}
	}
	text := count(int64(len(prefixes)), "range is", "ranges are") + " believed"
	if proof.IsSet() {
		text += "; on this host with a secret in " + g.ProxySecret.Header
	}
	return one(check, levelOK, "", "%s", text)
}

func othersRead(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o077 != 0
}

// checkTailscale asks the tailscaled of this host who this host is.
func (d *doctor) checkTailscale(ctx context.Context) []finding {
	const check = "tailnet"
	g := d.conf.Gateway
	local := tailscale.New(g.Tailscale.Socket)
	self, err := local.Self(ctx)
	configured := g.Tailscale.Socket != "" || g.Auth.AllowTailscale
	switch {
	case err != nil && !configured && errors.Is(err, fs.ErrNotExist):
		return one(check, levelOK, "", "there is no tailscaled on this host (%s)", local.Socket())
	case err != nil && !configured:
		return one(check, levelOK, "", "not used: %v", err)
	case err != nil:
		return one(check, levelWarn, "tailscale status; or set gateway.tailscale.socket to where tailscaled listens", "nobody can come in through Tailscale Serve: %v", err)
	}
	text := "this host is " + joinAddrs(self.Addrs)
	if self.Name != "" {
		text += " and " + self.Name
	}
	switch {
	case g.Auth.AllowTailscale && runtime.GOOS == "linux":
		return one(check, levelOK, "", "%s; who comes through Tailscale Serve is let in under the name that tailscaled confirms", text)
	case g.Auth.AllowTailscale:
		return one(check, levelWarn, "set gateway.auth.allowTailscale to false if other people have accounts here", "%s; every program on this machine can name any user of the tailnet (gateway.auth.allowTailscale)", text)
	}
	return one(check, levelOK, "", "%s, which count as local from here", text)
}

func joinAddrs(addrs []netip.Addr) string {
	texts := make([]string, 0, len(addrs))
	for _, a := range addrs {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, ", ")
}

// checkLegacy tells of signatures that can be replayed.
func (d *doctor) checkLegacy(context.Context) []finding {
	const check = "signing"
	if d.conf.Gateway.Auth.AllowLegacySignature {
		return one(check, levelWarn, "set gateway.auth.allowLegacySignature to false once every client on this host signs the challenge",
			"signatures without the challenge are taken from this host, each once within 2 minutes (gateway.auth.allowLegacySignature)")
	}
	return one(check, levelOK, "", "devices sign the challenge of each connection")
}
