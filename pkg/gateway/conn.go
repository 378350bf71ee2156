package gateway

import (
	"context"
	"errors"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/coderclaw/gateway/pkg/wire"
)

// conn is one websocket. Two goroutines serve it: the reader, which runs the
// handshake and then takes requests, and the writer, which empties the outbox.
// The reader owns the connection: it waits for the writer and for the handlers
// before the connection counts as gone.
type conn struct {
	g         *Gateway
	id        string // connId, a UUID
	socket    net.Conn
	transport *transport
	ws        *websocket.Conn
	place     *admitted // among the connections before authentication; may be nil
	out       *outbox
	opened    time.Time

	ctx    context.Context // ends when the connection begins to end
	cancel context.CancelCauseFunc

	peer     *wire.Peer // nil before hello-ok; set by the reader
	inflight inflight
	handlers sync.WaitGroup
	draining atomic.Bool // the gateway is stopping: no further request

	class *class // guarded by hub.mu
	slot  int    // guarded by hub.mu

	// endMu makes one step of the end of the output and the note of its reason. The
	// reader takes it with its own close, so that it reads ending without a lock after.
	endMu   sync.Mutex
	ending  ending // set once, by the first close
	garbage garbage
}

// errStopping is the cause of the end of a request's context when the gateway
// stops.
var errStopping = errors.New("gateway stopping")

// past is a deadline that ends a read under way.
var past = time.Unix(1, 0)

// run serves the connection until it is gone. When the handshake is over, the
// reader goes on in a fresh goroutine: the handshake has made the stack grow, and
// most connections then wait for hours.
func (c *conn) run(a *attempt) {
	go c.write()
	if !c.guarded(func() bool { return c.handshake(a) }) {
		c.finish()
		return
	}
	go func() {
		c.guarded(c.serve)
		c.finish()
	}()
}

// guarded runs a part of the reader and reports its result. A panic there costs
// the connection; those of request handlers are recovered where they run.
func (c *conn) guarded(part func() bool) (ok bool) {
	defer func() {
		if v := recover(); v != nil {
			c.g.config.Log.Error("connection failed", "connId", c.id, "panic", v, "stack", string(debug.Stack()))
			c.closeWith(endInternal)
			ok = false
		}
	}()
	return part()
}

func (c *conn) write() {
	err := c.out.run(c.closeSlow)
	if err != nil {
		c.close(ending{}, 0, true)
	}
}

// serve takes requests until the input ends.
func (c *conn) serve() bool {
	for !c.draining.Load() {
		message, err := c.read()
		if err != nil {
			return false
		}
		c.handle(message)
		c.out.awaitRoom(readPauseBytes)
	}
	return true
}

// finish ends the connection in order: no more events, no more requests, the
// rest of the output, the close handshake, the socket.
func (c *conn) finish() {
	c.g.hub.leave(c)
	c.cancel(errStopping)
	if c.peer != nil {
		c.g.config.Observer.PeerDisconnected(c.peer)
	}
	patience := c.g.limits.CloseTimeout
	if c.draining.Load() {
		patience = c.g.limits.DrainTimeout / 3
		c.awaitHandlers(patience)
		c.close(endServiceRestart, patience, false)
	} else {
		c.close(ending{}, 0, true) // unless a close came before
	}
	<-c.out.done
	c.linger(patience)
	c.discard()
	c.handlers.Wait()
	c.logEnd()
	c.g.hub.remove(c)
}

// discard frees the socket and what the library holds.
func (c *conn) discard() {
	hangUp(c.socket, c.out.gaveUp())
	_ = c.ws.CloseNow()
	if c.place != nil {
		c.place.authenticated()
	}
	c.cancel(nil)
}

// awaitHandlers waits for the requests in flight, whose context has ended, so
// that their responses still go out. It stops waiting after d.
func (c *conn) awaitHandlers(d time.Duration) {
	idle := make(chan struct{})
	go func() {
		c.handlers.Wait()
		close(idle)
	}()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
}

// linger throws input away until the peer has answered our close frame. To close
// the socket with unread input would reset the connection, and the peer might
// lose the close frame.
func (c *conn) linger(patience time.Duration) {
	if c.out.lost {
		if tcp, ok := bare(c.socket).(interface{ SetLinger(sec int) error }); ok {
			_ = tcp.SetLinger(0) // what the kernel holds is not worth its memory
		}
		return
	}
	if c.ending.code == 0 {
		return
	}
	_ = c.socket.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 4<<10)
	for total := 0; total < lingerBytes; {
		n, done, err := c.transport.drain(buf)
		if done || err != nil {
			return
		}
		total += n
	}
}

// close begins the end of the connection and returns at once: what is queued is
// written, unless abandon, then a close frame, all within grace. Only the first
// call counts. An ending without a code sends no close frame. It may be called
// by anyone, with any lock held.
func (c *conn) close(e ending, grace time.Duration, abandon bool) {
	var frame []byte
	if e.code != 0 {
		frame = closeFrame(e.code, e.reason)
	}
	c.endMu.Lock()
	first := c.out.close(frame, time.Now().Add(grace), abandon)
	if first {
		c.ending = e
	}
	c.endMu.Unlock()
	if !first {
		return
	}
	c.cancel(e)
	// Wakes the reader, wherever it waits for input.
	_ = c.socket.SetReadDeadline(past)
}

// closeSlow ends the connection because its peer does not read. It gets six times
// the usual time: before it can see the close frame it must read what the kernel
// holds. That costs a socket; what was queued is given up at once.
func (c *conn) closeSlow() {
	c.close(endSlowConsumer, slowPatience*c.g.limits.CloseTimeout, true)
}

// closedByPeer answers a close frame, or ends the connection for a fault that
// the library found. The code goes back, the reason does not.
func (c *conn) closedByPeer(code int) { c.closeWith(ending{code: code}) }

// closeWith ends the connection behind what is queued.
func (c *conn) closeWith(e ending) { c.close(e, c.g.limits.CloseTimeout, false) }

// stop ends the connection because the gateway stops.
func (c *conn) stop() {
	c.draining.Store(true)
	c.cancel(errStopping)
	_ = c.socket.SetReadDeadline(past)
}

// read returns the next message in a buffer of its own. When it returns an error
// the connection has begun to end or has lost its peer.
func (c *conn) read() ([]byte, error) {
	_, r, err := c.ws.Reader(context.Background())
	if err == nil {
		var message []byte
		if message, err = c.g.readers.read(r); err == nil {
			return message, nil
		}
	}
	switch c.transport.fault {
	case errFrameTooLarge:
		c.closeWith(endMessageTooBig)
	case errFrameUnmasked:
		c.closeWith(endProtocolError)
	}
	return nil, err
}
