// Package client speaks protocol 3 to a gateway: it dials, proves who this
// device is, performs typed calls through the generated protocol.Client, hands
// over events in order, notices gaps and dead connections, and comes back after
// a loss. The CLI, the node host and integration tests stand on it.
//
// Dial makes one connection; New and Run keep one alive. Both refuse to show a
// token to a host that is not this one over an unencrypted connection, or to a
// gateway whose certificate is neither pinned, known nor vouched for (trust.go), and they
// never follow a redirect or ask a proxy for a loopback address. The package
// keeps no cache of what the gateway said and repeats no request by itself: only
// the caller knows whether a request may be sent twice.
//
// Locking: Conn.mu and Client.mu guard the fields named at their declaration
// and are held for memory only, never during I/O or a callback.
package client

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
)

// Limits of a connection.
const (
	// frameBytesMax is the largest frame that is read (spec 1).
	frameBytesMax = 25 << 20
	// eventsMax and eventBytesMax bound the events that wait for OnEvent. An
	// empty queue admits any one event.
	eventsMax     = 1024
	eventBytesMax = 64 << 20
	// handshakeTimeout bounds dial, challenge and hello together.
	handshakeTimeout = 10 * time.Second
	writeTimeout     = 30 * time.Second
)

// Options says where to connect and as whom. The callbacks run on one goroutine
// per connection, one at a time and in order; they may Call, but must not Close
// the connection they run for.
type Options struct {
	// URL is the gateway's, as ParseAddress accepts it.
	URL string
	// AllowPlaintext permits ws:// to another host. The token and everything
	// said are then readable on the network between.
	AllowPlaintext bool
	// Pins say which certificate a wss:// gateway may show.
	Pins Pins
	// Token is the shared secret of a gateway in mode token. When it and Password
	// are empty the device token that this gateway issued earlier is used. A Client
	// goes over to that token when the gateway's secret changes while it runs.
	Token string
	// Password is the shared secret of a gateway in mode password. It is sent, never
	// signed.
	Password string
	// Identity proves the device. Without it the gateway grants no scopes.
	Identity *Identity
	// Tokens keeps the device tokens; nil keeps none.
	Tokens *Tokens
	// Client is what the gateway is told about this program.
	Client protocol.ConnectClient
	// Role is "operator" when empty.
	Role string
	// Scopes are asked for in this order; no scopes, no rights.
	Scopes []string
	// Caps are the capabilities declared, such as "tool-events".
	Caps []string
	// UserAgent and Locale are optional facts for the gateway's log.
	UserAgent, Locale string

	// OnHello is called first on every connection. After a reconnect it is the
	// place to fetch anew what events would have told.
	OnHello func(protocol.HelloOk)
	// OnEvent receives every event but connect.challenge.
	OnEvent func(Event)
	// OnGap is called before the event that shows that others were lost. The
	// state that events describe must be fetched anew.
	OnGap func(Gap)
	// OnDown is called by Run, on its own goroutine, when the connection is lost
	// or could not be made, with the wait before the next try.
	OnDown func(err error, retryIn time.Duration)

	// issued is the device token of an earlier connection of this Client, for when
	// the store has none of this gateway.
	issued string

	// HTTPClient replaces the client of the upgrade request; tests connect
	// through memory with it. It must not follow redirects.
	HTTPClient *http.Client
	// Log may be nil.
	Log *slog.Logger
}

// Event is one event frame. Payload aliases the frame and must not be changed.
type Event struct {
	Name    string
	Payload []byte
	// Seq is the frame's sequence number when Sequenced is true. Events for
	// this connection alone carry none.
	Seq       int64
	Sequenced bool
}

// Gap tells that events are missing.
type Gap struct {
	// Expected and Received are sequence numbers; they are equal when only
	// events without a number were lost.
	Expected, Received int64
	// Dropped counts the events that this side dropped because OnEvent was slow.
	Dropped int
}

// CloseError is the end of a connection.
type CloseError struct {
	// Code is the close code; 1006 when the connection broke without one.
	Code int
	// Reason is the text that came with the code.
	Reason string
	// Err is what the network said; it may be nil.
	Err error
}

// Error names the code and the reason.
func (e *CloseError) Error() string {
	switch {
	case e.Reason != "":
		return fmt.Sprintf("gateway closed the connection (%d): %s", e.Code, e.Reason)
	case e.Err != nil:
		return fmt.Sprintf("connection to the gateway lost: %v", e.Err)
	}
	return fmt.Sprintf("gateway closed the connection (%d)", e.Code)
}

// Unwrap returns the network's error.
func (e *CloseError) Unwrap() error { return e.Err }

// Close codes that this side uses or invents.
const (
	codeNormal      = 1000
	codeAbnormal    = 1006
	codeTickTimeout = 4000

	reasonTickTimeout = "tick timeout"
)

// ErrClosed is what calls return after Close.
var ErrClosed = errors.New("connection closed by this side")

// check fills in defaults and returns the address.
func (o *Options) check() (Address, error) {
	addr, err := ParseAddress(o.URL)
	if err != nil {
		return addr, err
	}
	if addr.plaintext() && !addr.Loopback && !o.AllowPlaintext {
		return addr, fmt.Errorf("%w: use wss:// or an SSH tunnel to %s", ErrPlaintext, addr)
	}
	if len(o.Pins.Accept) > 0 && addr.plaintext() {
		return addr, fmt.Errorf("%s cannot be held to a certificate fingerprint: use wss://", addr)
	}
	if o.Role == "" {
		o.Role = protocol.RoleOperator
	}
	if o.HTTPClient == nil {
		o.HTTPClient = addr.HTTPClient(o.Pins)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return addr, nil
}
