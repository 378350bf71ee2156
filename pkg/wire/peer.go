package wire

import (
	"slices"
	"time"
)

// Peer is who asks: one connection after its handshake, or the gateway itself.
// It is immutable once the handshake ends and may be shared between goroutines.
type Peer struct {
	// ConnID is the server's id of the connection (a UUID).
	ConnID string
	// Role is "operator" or "node".
	Role string
	// Scopes are what the connection asked for and was granted, in the order sent.
	Scopes []string
	// Caps are the capabilities the client declared, such as "tool-events".
	Caps []string
	// Client is what the client says of itself.
	Client ClientInfo
	// DeviceID is the verified device identity, or empty.
	DeviceID string
	// Principal owns idempotency keys: the device id, else the credential.
	Principal string
	// BySecret reports whether this connection proved the gateway's shared secret; a
	// device token is not it.
	BySecret bool
	// SecretGeneration tells which secret that was: it grows with each that replaces
	// another.
	SecretGeneration uint64
	// RemoteIP is the client's address for people to read; empty when local.
	RemoteIP string
	// Local reports whether the peer connected directly from this host.
	Local bool
	// ConnectedAt is when the handshake ended.
	ConnectedAt time.Time
}

// ClientInfo is connect.params.client. Nothing in it is proven.
type ClientInfo struct {
	ID, DisplayName, Version, Platform, DeviceFamily, ModelIdentifier, Mode, InstanceID string
}

// HasCap reports whether the client declared the capability.
func (p *Peer) HasCap(name string) bool { return slices.Contains(p.Caps, name) }
