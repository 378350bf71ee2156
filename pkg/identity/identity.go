// Package identity decides who a peer is: which host names and origins may speak
// to the gateway, whether a peer is local, whether it holds the shared secret or a
// device token, which device it is, and which role and scopes its connection gets.
//
// It opens no socket and knows no method: the gateway calls Guard.Connect once for
// each connection and obeys. Nothing is inferred from a sign that a stranger can
// give: a loopback address is local only without any proxy's header and under a
// loopback name, a scope is held only when somebody approved it for the device,
// and being local approves nothing without the shared secret on the same connect.
//
// The rule that surprises: a connection keeps the scopes it asked for, while the
// device token that it is given carries all scopes approved for the device and
// role. Clients overwrite their stored token from every hello-ok; a narrow one
// would lock out their next, wider connection.
//
// Devices and pending pairing requests are kept in the store, tokens as SHA-256.
// A minted token is on disk before Connect returns; when a device was last seen is
// written by Run, off the path of the connects. Guard is safe for concurrent use:
// what it decides from is immutable or in the store, whose writer is serial; mu
// guards only the sightings that wait for Run.
package identity

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

// PrincipalSecret is the principal of whoever proved the shared secret and no
// device. It owns idempotency keys in common with all others of its kind.
const PrincipalSecret = "gateway-token"

// Config is what a Guard decides by.
type Config struct {
	// DB keeps devices and pending requests.
	DB *store.DB
	// Log receives what was decided about devices; never a secret. nil discards.
	Log *slog.Logger
	// Token is the shared secret. There is no mode without one: see settings.Token.
	Token settings.Secret
	// AllowedHosts are names that the Host header may carry besides IP addresses,
	// localhost and Hostname, in lower case without port.
	AllowedHosts []string
	// AllowedOrigins are the origins of pages that may connect, in lower case.
	AllowedOrigins []string
	// Hostname is the machine's name; it is allowed, and so is hostname.local.
	Hostname string
	// AllowLegacySignature accepts, from local peers, signatures of the first form,
	// which do not cover the challenge, if they are at most 120 s old.
	AllowLegacySignature bool
}

// Guard answers who may connect and as what.
type Guard struct {
	db     *store.DB
	log    *slog.Logger
	secret sharedSecret
	door   door
	legacy bool

	mu   sync.Mutex          // guards seen
	seen map[string]sighting // by device id; at most sightingsMax
}

// New returns a Guard. It refuses a configuration without a usable secret.
func New(c Config) (*Guard, error) {
	if c.DB == nil {
		return nil, errors.New("identity needs a store")
	}
	if err := settings.CheckToken(c.Token); err != nil {
		return nil, fmt.Errorf("gateway token %w", err)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Guard{
		db:     c.DB,
		log:    c.Log,
		secret: newSharedSecret(c.Token),
		door:   newDoor(c),
		legacy: c.AllowLegacySignature,
		seen:   map[string]sighting{},
	}, nil
}

// Attempt is one connect request and the connection it came on.
type Attempt struct {
	// Params passed the schema already.
	Params protocol.ConnectParams
	// Nonce is this connection's challenge.
	Nonce string
	// RemoteAddr and LocalAddr are the ends of the TCP connection.
	RemoteAddr, LocalAddr netip.AddrPort
	// Host is the Host header of the upgrade request, and Header its other headers.
	Host   string
	Header http.Header
	// TLS reports whether the gateway itself terminated TLS.
	TLS bool
}

// Grant is what a connection may be.
type Grant struct {
	// Role is protocol.RoleOperator or protocol.RoleNode.
	Role string
	// Scopes are the scopes asked for, in the order sent; never nil.
	Scopes []string
	// DeviceID is the proven device, or empty.
	DeviceID string
	// Principal owns idempotency keys: DeviceID, else PrincipalSecret.
	Principal string
	// ClientIP is the peer's address for people to read. It is empty when the peer
	// is local or came through a proxy that nobody configured.
	ClientIP string
	// Local reports whether the peer connected directly from this host.
	Local bool
	// Auth goes into hello-ok: the device's token. Absent without a device.
	Auth wire.Opt[protocol.HelloAuth]
}

// BearerOK reports whether secret is the gateway's token, in constant time. It is
// for HTTP routes; a WebSocket proves it in connect.
func (g *Guard) BearerOK(secret string) bool { return g.secret.matches(secret) }

// HostAllowed reports whether a Host header names this gateway.
func (g *Guard) HostAllowed(host string) bool { return g.door.hostAllowed(host) }

// Local reports whether a request came directly from this host: from a loopback
// address, to a loopback name, and through no proxy. Any forwarding header, empty
// ones included, says that there was one. An SSH tunnel looks local: nothing on
// the wire tells it apart.
func (g *Guard) Local(remote netip.AddrPort, host string, h http.Header) bool {
	return remote.Addr().Unmap().IsLoopback() && loopbackName(host) && !forwarded(h)
}
