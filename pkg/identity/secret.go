package identity

import (
	"crypto/sha256"
	"crypto/subtle"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/settings"
)

// sharedSecret is the hash of the gateway's token: the token itself is not kept.
type sharedSecret struct{ sum [sha256.Size]byte }

func newSharedSecret(token settings.Secret) sharedSecret {
	return sharedSecret{sha256.Sum256([]byte(token.Reveal()))}
}

// matches compares in a time that depends on neither secret: hashing makes both
// sides the same length.
func (s sharedSecret) matches(token string) bool {
	sum := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(sum[:], s.sum[:]) == 1
}

// proof is what the shared secret of a connect is worth. When ok is false, denied
// is the answer unless something else proves the peer.
type proof struct {
	ok bool
	// offered says that some secret came along, right or wrong.
	offered bool
	denied  *Refusal
}

// judge weighs the auth object of a connect. Other modes (password, a proxy's
// word) would be further ways to return a proof.
func (s sharedSecret) judge(auth protocol.ConnectAuth, client protocol.ConnectClient) proof {
	token, _ := auth.Token.Get()
	password, _ := auth.Password.Get()
	p := proof{ok: s.matches(token), offered: token != "" || password != ""}
	switch {
	case p.ok:
	case token == "":
		p.denied = invalid(protocol.DetailAuthTokenMissing, "unauthorized: gateway token missing ("+tokenHint(client)+")")
	default:
		p.denied = invalid(protocol.DetailAuthTokenMismatch, "unauthorized: gateway token mismatch ("+tokenHint(client)+")")
	}
	return p
}

// tokenHint tells the person behind each kind of client where the token goes.
func tokenHint(client protocol.ConnectClient) string {
	switch {
	case isCLI(client):
		return "set gateway.remote.token to match gateway.auth.token"
	case isBrowser(client):
		return "open the dashboard URL and paste the token in Control UI settings"
	default:
		return "provide gateway auth token"
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
