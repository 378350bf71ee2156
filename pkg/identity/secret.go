package identity

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/netip"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/settings"
)

const rateLimitedText = "unauthorized: too many failed authentication attempts (retry later)"

// sharedSecret is the hash of the gateway's token or password: the text itself is
// not kept. The zero value matches nothing.
type sharedSecret struct {
	sum [sha256.Size]byte
	set bool
	// generation counts replacements while the gateway runs.
	generation uint64
}

func newSharedSecret(text settings.Secret) (*sharedSecret, error) {
	if err := settings.CheckToken(text); err != nil {
		return nil, err
	}
	return &sharedSecret{sum: sha256.Sum256([]byte(text.Reveal())), set: true}, nil
}

// matches compares in a time that depends on neither secret: hashing makes both
// sides the same length.
func (s *sharedSecret) matches(text string) bool {
	sum := sha256.Sum256([]byte(text))
	return subtle.ConstantTimeCompare(sum[:], s.sum[:]) == 1 && s.set
}

// BearerCheck judges the secret of an HTTP request from addr (see ClientAddr), and
// counts a wrong one as a connect would be. When ok is false and retryAfter is
// positive, the secret was not looked at, or was wrong during a lockout: answer 429
// with Retry-After. A missing secret is no guess.
func (g *Guard) BearerCheck(_ context.Context, addr netip.Addr, secret string) (ok bool, retryAfter time.Duration) {
	if secret == "" || !g.secret.Load().set {
		return false, 0
	}
	v := g.limiter.judge(source{kind: sharedCredential, from: addressSource(addr)}, g.secret.Load().matches(secret))
	switch {
	case v.right:
		return true, 0
	case v.weighed && v.locked:
		return false, g.limiter.lockout() / reserveShare
	}
	return false, v.retryAfter
}

// proof is what the shared secret of a connect is worth, or a proxy's word. When ok
// is false, denied is the answer unless a device token proves the peer.
type proof struct {
	ok bool
	// bySecret says that the shared secret itself is what was proven, and
	// generation which one.
	bySecret   bool
	generation uint64
	// user is whom a proxy, or Tailscale, vouched for.
	user string
	// offered says that some secret came along, right or wrong.
	offered bool
	// locked says that the source of the attempt is locked out of guessing.
	locked bool
	// uncounted says that the secret was wrong and is not counted yet: it may be a
	// device token.
	uncounted bool
	denied    *Refusal
}

// judge weighs the auth object of a connect. The device is proven by now, so that
// it is known whose guess this is.
func (g *Guard) judge(c *claim, a *Attempt) proof {
	token, _ := c.auth.Token.Get()
	password, _ := c.auth.Password.Get()
	p := proof{offered: token != "" || password != ""}
	if g.mode == protocol.AuthModeTrustedProxy {
		p.user, p.ok = c.door.vouched(g.proxy, a.RemoteAddr.Addr(), a.Header)
		if !p.ok {
			p.denied = invalid(protocol.DetailAuthRequired, "unauthorized")
		}
		return p
	}
	if g.served && !c.origin.local {
		user, from, denied := g.servedUser(c.door, a)
		switch {
		case denied == nil:
			p.user, p.ok, c.origin.addr, c.clientIP = user, true, from, from.String()
			return p
		case !p.offered && a.RemoteAddr.Addr().Unmap().IsLoopback():
			p.denied = denied
			return p
		}
	}
	guess, deny := token, tokenTexts
	if g.mode == protocol.AuthModePassword {
		guess, deny = password, passwordTexts
	}
	if guess == "" {
		p.denied = deny.missing(c.client)
		return p
	}
	secret := g.secret.Load()
	right := secret.matches(guess)
	if !right && c.deviceID != "" && g.mode == protocol.AuthModeToken {
		p.uncounted, p.denied = true, deny.mismatch(c.client)
		return p
	}
	switch v := g.limiter.judge(c.source(sharedCredential), right); {
	case v.right:
		p.ok, p.bySecret, p.generation = true, true, secret.generation
	case !v.weighed:
		p.locked, p.denied = true, rateLimited(v.retryAfter)
	case v.locked:
		p.locked, p.denied = true, rateLimited(0)
	default:
		p.denied = deny.mismatch(c.client)
	}
	return p
}

// source is where a guess of the claim comes from.
func (c *claim) source(kind credential) source {
	switch {
	case c.deviceID == "":
		return source{kind: kind, from: c.origin.source}
	case c.paired:
		return source{kind: kind, from: fromDevice + c.deviceID}
	default:
		return source{kind: kind, from: c.origin.source, signed: true}
	}
}

func rateLimited(after time.Duration) *Refusal {
	r := invalid(protocol.DetailAuthRateLimited, rateLimitedText)
	r.Err.Retryable = new(true)
	if after > 0 {
		r.Err.RetryAfterMs = new(max(after.Milliseconds(), 1))
	}
	return r
}

// texts are how a client is told about one kind of shared secret.
type texts struct {
	missingCode, missingText   string
	mismatchCode, mismatchText string
	cli, browser, other        string
}

var (
	tokenTexts = texts{
		missingCode: protocol.DetailAuthTokenMissing, missingText: "unauthorized: gateway token missing",
		mismatchCode: protocol.DetailAuthTokenMismatch, mismatchText: "unauthorized: gateway token mismatch",
		cli:     "set gateway.remote.token to match gateway.auth.token",
		browser: "open the dashboard URL and paste the token in Control UI settings",
		other:   "provide gateway auth token",
	}
	passwordTexts = texts{
		missingCode: protocol.DetailAuthPasswordMissing, missingText: "unauthorized: gateway password missing",
		mismatchCode: protocol.DetailAuthPasswordMismatch, mismatchText: "unauthorized: gateway password mismatch",
		cli:     "set gateway.remote.password to match gateway.auth.password",
		browser: "enter the password in Control UI settings",
		other:   "provide gateway auth password",
	}
)

func (t texts) missing(c protocol.ConnectClient) *Refusal {
	return invalid(t.missingCode, t.missingText+" ("+t.hint(c)+")")
}

func (t texts) mismatch(c protocol.ConnectClient) *Refusal {
	return invalid(t.mismatchCode, t.mismatchText+" ("+t.hint(c)+")")
}

// hint tells the person behind each kind of client where the secret goes.
func (t texts) hint(c protocol.ConnectClient) string {
	switch {
	case isCLI(c):
		return t.cli
	case isBrowser(c):
		return t.browser
	default:
		return t.other
	}
}

func isCLI(c protocol.ConnectClient) bool {
	return c.ID == protocol.GatewayClientIdCli || c.Mode == protocol.GatewayClientModeCli
}

func isControlUI(c protocol.ConnectClient) bool {
	return c.ID == protocol.GatewayClientIdCoderclawControlUI || c.ID == protocol.GatewayClientIdOpenclawControlUI
}

// isBrowser reports whether the client says that it is a page, and so must have an
// Origin. A page that says otherwise has one too, and is held to it.
func isBrowser(c protocol.ConnectClient) bool {
	return isControlUI(c) || c.Mode == protocol.GatewayClientModeWebchat ||
		c.ID == protocol.GatewayClientIdWebchat || c.ID == protocol.GatewayClientIdWebchatUI
}
