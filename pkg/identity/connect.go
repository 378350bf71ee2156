package identity

import (
	"context"
	"crypto/ed25519"
	"slices"
	"strings"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

const (
	// skewMax is how far a device's clock may be off when its signature covers the
	// challenge, which is what stops a replay; clocks of phones are that bad.
	skewMax = 600 * time.Second
	// legacySkewMax replaces it when only the clock stops a replay.
	legacySkewMax = 120 * time.Second
)

// claim is a connect request on its way through the checks.
type claim struct {
	client protocol.ConnectClient
	auth   protocol.ConnectAuth
	device protocol.ConnectDevice
	nonce  string // this connection's challenge

	role string
	// asked are the scopes as sent, which is how they were signed.
	asked []string
	// scopes are those of asked that exist and that the role can have.
	scopes []string

	local    bool
	clientIP string
	proof    proof

	key      ed25519.PublicKey
	deviceID string // proven once examine has returned
}

// Connect decides about one connect request. A *Refusal is the answer to send; any
// other error is the store's, and says nothing about the peer. The order of the
// checks is the order in which the original's clients expect to be told.
func (g *Guard) Connect(ctx context.Context, a Attempt) (Grant, error) {
	c, refusal := g.examine(&a)
	if refusal != nil {
		return Grant{}, refusal
	}
	if c.deviceID == "" {
		return c.grant(PrincipalSecret), nil
	}
	if c.proof.ok {
		return g.admitBySecret(ctx, c)
	}
	return g.admitByToken(ctx, c)
}

// examine does all that needs no store. It returns a claim whose device is proven,
// or one without device whose secret is.
func (g *Guard) examine(a *Attempt) (*claim, *Refusal) {
	p := &a.Params
	if p.MinProtocol > protocol.Version || p.MaxProtocol < protocol.Version {
		return nil, protocolMismatch()
	}
	c := &claim{client: p.Client, auth: p.Auth.V, nonce: a.Nonce, role: protocol.RoleOperator, asked: p.Scopes}
	switch p.Role.Or(protocol.RoleOperator) {
	case protocol.RoleOperator:
	case protocol.RoleNode:
		c.role = protocol.RoleNode
	default:
		return nil, invalid(protocol.DetailRoleInvalid, "invalid role")
	}
	c.scopes = grantable(c.role, p.Scopes)
	if refusal := g.door.check(a, isBrowser(c.client)); refusal != nil {
		return nil, refusal
	}
	c.local = g.Local(a.RemoteAddr, a.Host, a.Header)
	if !c.local {
		c.clientIP = clientIP(a.RemoteAddr.Addr(), a.Header)
	}
	c.proof = g.secret.judge(c.auth, c.client)
	device, ok := p.Device.Get()
	if !ok {
		return c, c.withoutDevice()
	}
	c.device = device
	if refusal := g.proveDevice(c); refusal != nil {
		return nil, refusal
	}
	if token, _ := c.auth.Token.Get(); !c.proof.ok && token == "" {
		return nil, c.proof.denied
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
		if !g.legacy || !c.local {
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
	if ambiguous || !signatureOK(key, signedText(c, nonce), c.device.Signature) {
		return invalid(protocol.DetailDeviceSignatureInvalid, "device signature invalid")
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
func (c *claim) silent() bool { return c.local && c.proof.ok }

// grant is what the claim gets once nothing speaks against it.
func (c *claim) grant(principal string) Grant {
	return Grant{
		Role: c.role, Scopes: c.scopes, DeviceID: c.deviceID, Principal: principal,
		ClientIP: c.clientIP, Local: c.local,
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
	r := refuse(protocol.ErrorInvalidRequest, detail, "protocol mismatch")
	r.CloseCode = closeCodeProtocol
	return r
}
