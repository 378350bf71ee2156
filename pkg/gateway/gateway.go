// Package gateway is the WebSocket server: it accepts connections, runs the
// handshake, carries requests to their handlers and events to their audience, and
// bounds what any client can cost. HTTP and WebSocket share a port; any path
// upgrades.
//
// It moves frames and knows no rule of any domain: what a method does is the
// handler's business, who a peer is the Guard's, what a snapshot holds the
// daemon's. It reads no configuration file and keeps nothing on disk.
//
// What surprises: the websocket library reads the frames but does not write them.
// Each connection has a bounded queue of finished frames and one goroutine that
// empties it, so that the bytes of an event are shared by all who receive it,
// several leave in one system call, and a client that does not read delays nobody
// (outbox.go, writer.go, transport.go). Everything a handler emits before it
// returns is queued in front of its response.
//
// Locks are held for memory only. hub.mu may be held while an outbox's mu is
// taken, never the other way round.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/identity"
	"github.com/coderclaw/gateway/pkg/wire"
)

// Guard decides who a peer is. *identity.Guard is one. Its methods are called
// from many goroutines at once.
type Guard interface {
	// Connect judges the first request of a connection. A *identity.Refusal is
	// told to the client; any other error stays in the log.
	Connect(ctx context.Context, a identity.Attempt) (identity.Grant, error)
	// Holds reports whether a grant is still what its peer would get. It is asked
	// once the connection can be severed, so that what is taken back between
	// Connect and then is not missed.
	Holds(identity.Grant) (bool, error)
	// HostAllowed reports whether an HTTP request may carry this Host header.
	HostAllowed(host string) bool
	// Local reports whether a request comes directly from this machine.
	Local(remote netip.AddrPort, host string, h http.Header) bool
	// ClientAddr returns the address of whoever sent an HTTP request; ok is false
	// when a proxy says nothing about it that can be believed.
	ClientAddr(remote netip.AddrPort, h http.Header) (addr netip.Addr, ok bool)
	// BearerCheck judges the secret of an HTTP request and counts a wrong one. A
	// positive retryAfter says that the address has guessed too often.
	BearerCheck(ctx context.Context, addr netip.Addr, secret string) (ok bool, retryAfter time.Duration)
}

// Observer hears of peers. It is called from the connection's reader, never with
// a lock held, and must not wait for anything that a peer does.
type Observer interface {
	// PeerConnected is called before the peer's snapshot is taken, so that the
	// peer finds itself in it.
	PeerConnected(p *wire.Peer)
	// PeerReady is called when hello-ok is queued: events emitted from now on
	// follow it.
	PeerReady(p *wire.Peer)
	// PeerDisconnected is called once for each PeerConnected.
	PeerDisconnected(p *wire.Peer)
}

// Config is what a Gateway needs. All fields are required but Limits, Commit, Host
// and TLS.
type Config struct {
	Log      *slog.Logger
	Guard    Guard
	Observer Observer
	// Snapshot returns the whole state for hello-ok. The gateway fills in the
	// state versions and takes out what the peer may not see.
	Snapshot func(p *wire.Peer) protocol.Snapshot
	// Versions are stamped on snapshots and on presence and health events.
	Versions *wire.StateVersions
	// Version, Commit and Host tell clients who answers.
	Version, Commit, Host string
	// TLS makes the gateway speak TLS, and nothing else, on all listeners.
	TLS    *tls.Config
	Limits Limits
}

// Gateway is the server. It implements wire.Registry (until Run is called),
// wire.Emitter and http.Handler.
type Gateway struct {
	config    Config
	limits    Limits
	events    []string // names for hello-ok
	methods   map[string]*method
	hub       *hub
	admission *admission
	floods    *floodLog
	metrics   metrics
	readers   readers
	queued    atomic.Int64 // bytes in all outboxes
	// queueBytes is Limits.QueueBytes for connections to come.
	queueBytes atomic.Int64
	state      atomic.Int32
}

// The states of a Gateway, in order.
const (
	stateNew int32 = iota
	stateServing
	stateDraining
)

// New returns a Gateway without methods. It starts nothing and listens nowhere.
func New(c Config) *Gateway {
	g := &Gateway{config: c, limits: c.Limits.withDefaults(), methods: map[string]*method{}}
	g.queueBytes.Store(g.limits.QueueBytes)
	events := protocol.Events()
	for _, e := range events {
		g.events = append(g.events, e.Name)
	}
	g.floods = newFloodLog(c.Log)
	g.hub = newHub(events, c.Versions, g.metrics.dropped)
	g.admission = newAdmission(g.limits, func(addr netip.Addr) {
		g.metrics.refused.add("limit")
		g.floods.warn("too many connections before authentication", slog.String("addr", addr.String()))
	})
	return g
}

// Register adds a method. It panics when the name is taken or the gateway runs.
func (g *Gateway) Register(info wire.MethodInfo, handler wire.Handler) {
	if g.state.Load() != stateNew {
		panic("gateway: method " + info.Name + " registered while running")
	}
	if _, taken := g.methods[info.Name]; taken {
		panic("gateway: method " + info.Name + " registered twice")
	}
	g.methods[info.Name] = &method{info: info, handler: handler}
}

// Emit queues an event on every connection it is for. It never waits.
func (g *Gateway) Emit(e wire.Emission) { g.hub.emit(e) }

// SetQueueBytes changes Limits.QueueBytes for connections that come from now on.
func (g *Gateway) SetQueueBytes(n int64) {
	l := g.limits
	l.QueueBytes = n
	g.queueBytes.Store(l.withDefaults().QueueBytes)
}

// Sever closes the connections whose peer matches, without delivering what is
// queued for them, and returns how many there were. It is for revoked devices
// and rotated secrets.
func (g *Gateway) Sever(match func(*wire.Peer) bool, code int, reason string) int {
	return g.end(match, ending{code, reason}, true)
}

// Dismiss is Sever for connections that get what is queued for them first: the
// answer to the request by which they took back their own authority.
func (g *Gateway) Dismiss(match func(*wire.Peer) bool, code int, reason string) int {
	return g.end(match, ending{code, reason}, false)
}

func (g *Gateway) end(match func(*wire.Peer) bool, e ending, abandon bool) int {
	n := 0
	for _, c := range g.hub.peers() {
		if match(c.peer) {
			c.close(e, g.limits.CloseTimeout, abandon)
			n++
		}
	}
	return n
}

// Restart is the cause to cancel Run's context with when the gateway will come
// back by itself, so that clients are told when.
type Restart struct{ Expected time.Duration }

// Error returns the reason that clients are told.
func (Restart) Error() string { return "gateway restarting" }

// Run serves the listeners until ctx ends, then drains: it accepts nothing more,
// emits shutdown, lets requests in flight answer, delivers what is queued and
// closes each connection with 1012. It returns when all of that is done and no
// goroutine of the gateway is left, nil after a clean stop. A handler that does
// not return within the drain timeout is an error. Run is called once; it closes
// the listeners.
func (g *Gateway) Run(ctx context.Context, listeners ...net.Listener) error {
	if !g.state.CompareAndSwap(stateNew, stateServing) {
		return errors.New("gateway was run before")
	}
	server := &http.Server{
		Handler:           g,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       httpTimeout,
		WriteTimeout:      httpTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytesMax,
		ErrorLog:          slog.NewLogLogger(g.config.Log.Handler(), slog.LevelDebug),
		ConnContext:       withArrival,
		// Nothing but HTTP/1.1, whatever a client offers.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	failed := make(chan error, len(listeners))
	var serving sync.WaitGroup
	for _, l := range listeners {
		serving.Go(func() {
			if err := server.Serve(g.secured(g.admission.listen(l))); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve %s: %w", l.Addr(), err)
			}
		})
	}
	err := g.tick(ctx, failed)
	g.state.Store(stateDraining)
	serving.Go(func() { g.shut(server) })
	err = errors.Join(err, g.drain(ctx))
	serving.Wait()
	g.floods.flush()
	return err
}

// tick emits the sign of life until ctx ends or a listener fails.
func (g *Gateway) tick(ctx context.Context, failed <-chan error) error {
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case now := <-ticker.C:
			wire.Emit(g, protocol.EventTick, protocol.TickEvent{Ts: now.UnixMilli()})
			g.floods.flush()
		}
	}
}

// drain ends the service in order. cause is Run's context.
func (g *Gateway) drain(cause context.Context) error {
	ctx, cancel := context.WithTimeout(context.Background(), g.limits.DrainTimeout+time.Second)
	defer cancel()
	open := g.hub.seal()
	event := protocol.ShutdownEvent{Reason: errStopping.Error(), RestartExpectedMs: wire.SomeNull[int64]()}
	var restart Restart
	if errors.As(context.Cause(cause), &restart) {
		event.Reason = restart.Error()
		event.RestartExpectedMs = wire.SomeValue(restart.Expected.Milliseconds())
	}
	wire.Emit(g, protocol.EventShutdown, event)
	for _, c := range open {
		c.stop()
	}
	// For those whose handlers or output keep them from ending by themselves.
	force := time.AfterFunc(g.limits.DrainTimeout*2/3, func() {
		for _, c := range open {
			c.close(endServiceRestart, g.limits.DrainTimeout/3, true)
			c.out.hurry(time.Now().Add(g.limits.DrainTimeout / 3))
		}
	})
	defer force.Stop()
	select {
	case <-g.hub.empty():
		return nil
	case <-ctx.Done():
		left, _ := g.hub.count()
		return fmt.Errorf("%d connections did not end within %s", left, g.limits.DrainTimeout)
	}
}

// shut closes the listeners, then the plain HTTP connections, which may finish
// their exchange. One on which nothing was ever asked counts as busy there, so
// this does not wait for long.
func (g *Gateway) shut(server *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), g.limits.DrainTimeout/3)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		_ = server.Close()
	}
}

// ServeHTTP upgrades a WebSocket request on any path and answers the routes for
// monitoring.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	since := begun(r.Context())
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	if isUpgrade(r.Header) {
		g.accept(w, r, since)
		return
	}
	g.serveHTTP(w, r)
}

// accept turns an upgrade request into a connection, which lives on when accept
// has returned: a fresh goroutine has a small stack, and what the HTTP server
// holds for this request is freed.
func (g *Gateway) accept(w http.ResponseWriter, r *http.Request, since time.Time) {
	if g.state.Load() != stateServing {
		http.Error(w, errStopping.Error(), http.StatusServiceUnavailable)
		return
	}
	c := &conn{g: g, id: uuid.NewString(), opened: time.Now(), inflight: inflight{freed: make(chan struct{}, 1)}}
	c.transport = &transport{onClose: c.closedByPeer}
	c.transport.limit.Store(g.limits.HandshakeFrameBytes)
	var err error
	if c.ws, err = upgrade(w, r, c.transport, func(ping []byte) { c.out.answerPing(ping) }); err != nil {
		return // it has been answered
	}
	c.place = place(c.transport.Conn)
	if r.TLS == nil {
		c.transport.Conn = bare(c.transport.Conn) // so that several frames leave in one system call
	}
	c.socket = c.transport.Conn
	limits := g.limits
	limits.QueueBytes = g.queueBytes.Load()
	c.out = newOutbox(c.socket, limits, &g.queued)
	c.out.patience(c.closeSlow)
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	g.metrics.accepted.Add(1)
	if !g.hub.add(c) {
		c.discard()
		return
	}
	go c.run(&attempt{
		since: since, nonce: uuid.NewString(), remote: addrPort(c.socket.RemoteAddr()), local: addrPort(c.socket.LocalAddr()),
		host: r.Host, header: r.Header, tls: r.TLS != nil,
	})
}
