package identity

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

// principalUser begins the principal of whom a proxy vouched for.
const principalUser = "user "

const (
	// skewMax is how far a device's clock may be off when its signature covers the
	// challenge, which is what stops a replay; clocks of phones are that bad.
	skewMax = 600 * time.Second
	// legacySkewMax replaces it when there is no challenge. Within it a signature is
	// taken once.
	legacySkewMax = 120 * time.Second
)

// claim is a connect request on its way through the checks.
type claim struct {
	door   *door // one for the whole connect
	client protocol.ConnectClient
	auth   protocol.ConnectAuth
	device protocol.ConnectDevice
	nonce  string // this connection's challenge

	role string
	// asked are the scopes as sent, which is how they were signed.
	asked []string
	// scopes are those of asked that exist and that the role can have.
	scopes []string

	origin   origin
	clientIP string // for people to read
	kind     kind
	proof    proof
	taken    uint64 // Guard.taken when the connect began

	key      ed25519.PublicKey
	deviceID string // proven once examine has returned
	paired   bool   // whether the device is known, in whatever role
}

// Connect decides about one connect request. A *Refusal is the answer to send; any
// other error is the store's, and says nothing about the peer. The order of the
// checks is the order in which the original's clients expect to be told.
func (g *Guard) Connect(ctx context.Context, a Attempt) (Grant, error) {
	taken := g.taken.Load()
	c, refusal := g.examine(&a)
	var grant Grant
	err := error(refusal)
	if refusal == nil {
		c.taken = taken
		grant, err = g.admit(ctx, c, &a)
	}
	g.noteConnect(&a, c, grant, err)
	return grant, err
}

// admit decides about a claim whose device, if it names one, is proven.
func (g *Guard) admit(ctx context.Context, c *claim, a *Attempt) (Grant, error) {
	if c.deviceID == "" {
		c.proof = g.judge(c, a)
		if refusal := c.withoutDevice(); refusal != nil {
			return Grant{}, refusal
		}
		if c.origin.unattributed {
			return Grant{}, unattributed()
		}
		if c.proof.user != "" {
			return c.grant(principalUser + c.proof.user), nil
		}
		return c.grant(PrincipalSecret), nil
	}
	err := g.db.View(func(tx *store.Tx) (err error) {
		c.paired, err = devices.Has(tx, c.deviceID)
		return err
	})
	if err != nil {
		return Grant{}, fmt.Errorf("look up device: %w", err)
	}
	c.proof = g.judge(c, a)
	token, _ := c.auth.Token.Get()
	switch {
	case !c.proof.ok && (token == "" || g.mode == protocol.AuthModeTrustedProxy):
		return Grant{}, c.proof.denied
	case c.proof.ok:
		return g.admitBySecret(ctx, c)
	}
	return g.admitByToken(ctx, c)
}

// unattributed refuses what a configured proxy sent without saying for whom: its
// own address is no client's.
func unattributed() *Refusal {
	return invalid(protocol.DetailAuthRequired, "unauthorized: proxy attribution required (the proxy in gateway.trustedProxies must send one X-Forwarded-For)")
}

// examine does all that needs neither store nor secret. The claim that it returns
// names no device, or one that is proven. It is nil when the refusal came first.
func (g *Guard) examine(a *Attempt) (*claim, *Refusal) {
	p := &a.Params
	if p.MinProtocol > protocol.Version || p.MaxProtocol < protocol.Version {
		return nil, protocolMismatch()
	}
	c := &claim{door: g.door(), client: p.Client, auth: p.Auth.V, nonce: a.Nonce, role: protocol.RoleOperator, asked: p.Scopes}
	c.kind = kindOf(p.Client.Platform, p.Client.DeviceFamily.V)
	switch p.Role.Or(protocol.RoleOperator) {
	case protocol.RoleOperator:
	case protocol.RoleNode:
		c.role = protocol.RoleNode
	default:
		return nil, invalid(protocol.DetailRoleInvalid, "invalid role")
	}
	c.scopes = grantable(c.role, p.Scopes)
	if refusal := c.door.check(a, isBrowser(c.client)); refusal != nil {
		return nil, refusal
	}
	c.origin = c.door.originOf(a.RemoteAddr.Addr(), a.Host, a.Header)
	c.clientIP = c.origin.ip()
	device, ok := p.Device.Get()
	if !ok {
		return c, nil
	}
	c.device = device
	if refusal := g.proveDevice(c); refusal != nil {
		return nil, refusal
	}
	return c, nil
}

// withoutDevice admits an operator who proves the secret, with no scopes: they are
// held by devices. What a page or a node is told first differs.
func (c *claim) withoutDevice() *Refusal {
	c.scopes = []string{}
	switch {
	case isControlUI(c.client):
		return invalid(protocol.DetailSecureContextRequired, "control ui requires HTTPS or localhost (secure context)")
	case !c.proof.ok && c.proof.offered:
		return c.proof.denied
	case !c.proof.ok || c.role == protocol.RoleNode:
		return refuse(protocol.ErrorNotPaired, detailCode(protocol.DetailDeviceIdentityRequired), "device identity required")
	}
	return nil
}

// proveDevice checks that the peer holds the key it names and signed this very
// connection's challenge.
func (g *Guard) proveDevice(c *claim) *Refusal {
	key, err := parsePublicKey(c.device.PublicKey)
	if err != nil {
		return invalid(protocol.DetailDevicePublicKeyInvalid, "device public key invalid")
	}
	id := deviceID(key)
	if c.device.ID != id {
		return invalid(protocol.DetailDeviceIDMismatch, "device identity mismatch")
	}
	if skewed(c.device.SignedAt, skewMax) {
		return invalid(protocol.DetailDeviceSignatureExpired, "device signature expired")
	}
	nonce := strings.TrimSpace(c.device.Nonce.V)
	if nonce == "" {
		if !g.legacy || !c.origin.local {
			return invalid(protocol.DetailDeviceNonceRequired, "device nonce required")
		}
		if skewed(c.device.SignedAt, legacySkewMax) {
			return invalid(protocol.DetailDeviceSignatureExpired, "device signature expired")
		}
	} else if nonce != c.nonce {
		return invalid(protocol.DetailDeviceNonceMismatch, "device nonce mismatch")
	}
	// A scope with a separator inside would read like two in the signed text.
	ambiguous := slices.ContainsFunc(c.asked, func(s string) bool { return strings.ContainsAny(s, "|,") })
	signed := func(text string) bool { return signatureOK(key, text, c.device.Signature) }
	if ambiguous || !signed(signedText(c, nonce)) && !slices.ContainsFunc(signedKind(c, nonce), signed) {
		return invalid(protocol.DetailDeviceSignatureInvalid, "device signature invalid")
	}
	if nonce == "" && !g.replays.use(signedText(c, nonce), time.UnixMilli(c.device.SignedAt).Add(legacySkewMax)) {
		return invalid(protocol.DetailDeviceNonceRequired, "device nonce required")
	}
	c.key, c.deviceID = key, id
	return nil
}

// skewed reports whether signedAt, in ms, is further than limit from now.
func skewed(signedAt int64, limit time.Duration) bool {
	off := time.Now().UnixMilli() - signedAt // both are not negative: no overflow
	return max(off, -off) > limit.Milliseconds()
}

// silent reports whether the claim may approve itself: it comes directly from this
// host, no foreign page is behind it (the door has seen to that), and it proved the
// shared secret, which only the owner of the 0600 file can read.
func (c *claim) silent() bool { return c.origin.local && c.proof.bySecret }

// grant is what the claim gets once nothing speaks against it.
func (c *claim) grant(principal string) Grant {
	return Grant{
		Role: c.role, Scopes: c.scopes, DeviceID: c.deviceID, Principal: principal,
		ClientIP: c.clientIP, Local: c.origin.local, BySecret: c.proof.bySecret, SecretGeneration: c.proof.generation,
		taken: c.taken, rules: c.door.rules,
	}
}

// grantable keeps the scopes that exist, in the order asked and each once. A node
// has none, whatever it names. A scope nobody knows is dropped rather than stored:
// once approved it would come alive on the day a release gives it a meaning.
func grantable(role string, asked []string) []string {
	out := []string{}
	if role == protocol.RoleNode {
		return out
	}
	known := []string{
		protocol.ScopeOperatorAdmin, protocol.ScopeOperatorRead, protocol.ScopeOperatorWrite,
		protocol.ScopeOperatorApprovals, protocol.ScopeOperatorPairing, protocol.ScopeOperatorTalkSecrets,
	}
	for _, scope := range asked {
		// The constant is taken, not the string sent: that one may hold its frame.
		if i := slices.Index(known, scope); i >= 0 && !slices.Contains(out, scope) {
			out = append(out, known[i])
		}
	}
	return out
}

// covers reports whether all of want is within have.
func covers(have, want []string) bool {
	for _, scope := range want {
		if !protocol.ScopeAllows(have, scope) {
			return false
		}
	}
	return true
}

func protocolMismatch() *Refusal {
	detail := detailCode(protocol.DetailProtocolMismatch)
	detail.ExpectedProtocol = wire.Some[int64](protocol.Version)
	r := refuse(protocol.ErrorInvalidRequest, detail, protocol.CloseProtocolMismatch)
	r.CloseCode = protocol.CloseProtocolMismatchCode
	return r
}
