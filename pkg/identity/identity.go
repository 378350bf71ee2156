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
// Wrong secrets are counted by where they come from (limit.go). A lockout does not
// refuse the right secret outright, which would let anybody lock the owner out: it
// bounds how many are weighed, and a paired device that signs has a count of its
// own wherever it is. What a person or the device itself decides about devices is
// in decisions.go, with the record of it in the same transaction.
//
// Devices and pending pairing requests are kept in the store, tokens as SHA-256.
// A minted token is on disk before Connect returns; when a device was last seen is
// written by Run, off the path of the connects. Guard is safe for concurrent use:
// what it decides from is immutable, replaced as a whole (SetEntry) or in the store,
// whose writer is serial; mu guards only the sightings that wait for Run.
package identity

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/internal/tailscale"
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
	// Mode is how peers prove the shared secret; empty means token. There is no mode
	// without a proof.
	Mode protocol.AuthMode
	// Token is the shared secret of mode token: see settings.SharedSecret.
	Token settings.Secret
	// Password is the shared secret of mode password.
	Password settings.Secret
	// TrustedProxies are the addresses whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// ProxySecret is what those of them on this host must send to be believed.
	ProxySecret ProxySecret
	// TrustedProxy is how they vouch for users in mode trusted-proxy.
	TrustedProxy TrustedProxy
	// Limits bound the guessing of secrets; what is zero has its default.
	Limits Limits
	// Events is told what changed; nil tells nobody.
	Events Events
	// Audit takes the record of every decision; nil keeps none.
	Audit Audit
	// AllowedHosts are names that the Host header may carry besides IP addresses,
	// localhost and Hostname, in lower case without port.
	AllowedHosts []string
	// AllowedOrigins are the origins of pages that may connect, in lower case.
	AllowedOrigins []string
	// Hostname is the machine's name; it is allowed, and so is hostname.local.
	Hostname string
	// Tailnet is the tailscaled of this host, which says which tailnet addresses and
	// name are this host's; nil when there is none.
	Tailnet *tailscale.Local
	// AllowTailscale lets in whom Tailscale Serve on this host has signed in.
	AllowTailscale bool
	// AllowLegacySignature accepts, from local peers, signatures of the first form,
	// which do not cover the challenge, if they are at most 120 s old, each once.
	AllowLegacySignature bool
}

// Guard answers who may connect and as what.
type Guard struct {
	db      *store.DB
	log     *slog.Logger
	mode    protocol.AuthMode
	secret  atomic.Pointer[sharedSecret]
	gate    atomic.Pointer[door] // replaced as a whole: see SetEntry
	proxy   TrustedProxy
	limiter *limiter
	events  Events
	audit   Audit
	legacy  bool
	served  bool // Config.AllowTailscale
	replays replays

	// taken counts what was taken back from anybody: see Holds.
	taken    atomic.Uint64
	rotation sync.Mutex // held while the shared secret is replaced

	mu   sync.Mutex          // guards seen
	seen map[string]sighting // by device id; at most sightingsMax
}

// New returns a Guard. It refuses a configuration without a usable secret.
func New(c Config) (*Guard, error) {
	if c.DB == nil {
		return nil, errors.New("identity needs a store")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Events == nil {
		c.Events = quiet{}
	}
	if c.Audit == nil {
		c.Audit = quiet{}
	}
	door, err := newDoor(c)
	if err != nil {
		return nil, err
	}
	g := &Guard{
		db: c.DB, log: c.Log, mode: c.Mode, proxy: c.TrustedProxy, limiter: newLimiter(c.Limits),
		events: c.Events, audit: c.Audit, legacy: c.AllowLegacySignature, served: c.AllowTailscale, seen: map[string]sighting{},
	}
	g.gate.Store(&door)
	secret := new(sharedSecret)
	switch g.mode {
	case "", protocol.AuthModeToken:
		g.mode = protocol.AuthModeToken
		if secret, err = newSharedSecret(c.Token); err != nil {
			return nil, fmt.Errorf("gateway token %w", err)
		}
	case protocol.AuthModePassword:
		if secret, err = newSharedSecret(c.Password); err != nil {
			return nil, fmt.Errorf("gateway password %w", err)
		}
	case protocol.AuthModeTrustedProxy:
		if len(c.TrustedProxies) == 0 || c.TrustedProxy.UserHeader == "" {
			return nil, errors.New("auth mode trusted-proxy needs gateway.trustedProxies and gateway.auth.trustedProxy.userHeader")
		}
	default:
		return nil, fmt.Errorf("auth mode %q is not token, password or trusted-proxy", c.Mode)
	}
	g.secret.Store(secret)
	return g, nil
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
	// Principal owns idempotency keys: DeviceID, else PrincipalSecret, else "user "
	// and the name that a proxy vouched for.
	Principal string
	// BySecret reports whether this connect proved the shared secret.
	BySecret bool
	// SecretGeneration tells which secret that was: it grows with each that replaces
	// another while the gateway runs.
	SecretGeneration uint64
	// Platform is the kind of machine that was approved for the device: ios, android,
	// macos, windows, linux or unknown. Empty without a device.
	Platform string
	// ClientIP is the peer's address for people to read. It is empty when the peer
	// is local or came through a proxy that nobody configured.
	ClientIP string
	// Local reports whether the peer connected directly from this host.
	Local bool
	// Auth goes into hello-ok: the device's token. Absent without a device.
	Auth wire.Opt[protocol.HelloAuth]

	// What Holds looks up again: how much was taken back before this connect began,
	// and the hash of the token that it leaves with.
	taken     uint64
	tokenHash string
	// rules counts how often the door became stricter before this connect.
	rules uint64
}

// AuthMode is how peers prove the shared secret.
func (g *Guard) AuthMode() protocol.AuthMode { return g.mode }

// HostAllowed reports whether a Host header names this gateway.
func (g *Guard) HostAllowed(host string) bool { return g.door().hostAllowed(host) }

// Local reports whether a request came directly from this host: from a loopback
// address, to a loopback name, or from this host's own tailnet address, to one of its
// own names, and through no proxy. Any forwarding header, empty
// ones included, says that there was one. An SSH tunnel looks local: nothing on
// the wire tells it apart.
func (g *Guard) Local(remote netip.AddrPort, host string, h http.Header) bool {
	return g.door().originOf(remote.Addr(), host, h).local
}

// ClientAddr returns the address of whoever sent an HTTP request: the other end of
// the connection, or what a configured proxy says. ok is false when that proxy says
// nothing that can be believed; refuse such a request with 403.
func (g *Guard) ClientAddr(remote netip.AddrPort, h http.Header) (addr netip.Addr, ok bool) {
	o := g.door().originOf(remote.Addr(), "", h)
	return o.addr, o.addr.IsValid() && !o.unattributed
}
