package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// Conn is one connection after its handshake. It implements wire.Caller, and all
// its methods are safe for concurrent use.
type Conn struct {
	ws     *websocket.Conn
	o      *Options
	hello  protocol.HelloOk
	log    *slog.Logger
	events *eventQueue
	staged map[string]bool // methods that answer twice
	heard  atomic.Int64    // UnixNano of the last frame
	lastID atomic.Uint64

	mu      sync.Mutex
	pending map[string]chan inbound // guarded by mu
	err     error                   // guarded by mu: why the connection ended

	ended   chan struct{}   // closed when err is set
	quiet   chan struct{}   // closed when no callback runs any more
	after   <-chan struct{} // nil, or the quiet of the connection before this one
	life    context.Context // ends with the connection
	cancel  context.CancelFunc
	workers sync.WaitGroup
}

// newConn starts the connection's goroutines. Its callbacks begin when those of
// prev, which may be nil, are over.
func newConn(ws *websocket.Conn, o *Options, hello protocol.HelloOk, prev *Conn) *Conn {
	c := &Conn{
		ws: ws, o: o, hello: hello, log: o.Log,
		events:  newEventQueue(),
		staged:  stagedMethods(),
		pending: map[string]chan inbound{},
		ended:   make(chan struct{}),
		quiet:   make(chan struct{}),
	}
	if prev != nil {
		c.after = prev.quiet
	}
	c.life, c.cancel = context.WithCancel(context.Background())
	c.heard.Store(time.Now().UnixNano())
	c.workers.Go(c.deliver)
	c.workers.Go(c.readAll)
	c.workers.Go(c.watch)
	return c
}

// Hello returns the gateway's hello-ok.
func (c *Conn) Hello() protocol.HelloOk { return c.hello }

// Done is closed when the connection has ended, whoever ended it.
func (c *Conn) Done() <-chan struct{} { return c.ended }

// Err returns nil while the connection lives, then a *CloseError or ErrClosed.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection in good order and returns when every callback has
// returned, so a callback must not call it. Calls in flight return ErrClosed.
func (c *Conn) Close() error {
	c.end(ErrClosed)
	_ = c.ws.Close(codeNormal, "")
	c.cancel()
	c.workers.Wait()
	return nil
}

// drop lets go of a connection that has ended, without waiting for callbacks.
func (c *Conn) drop() {
	_ = c.ws.CloseNow()
	c.cancel()
}

// Call sends one request and waits for its last response, ctx or the end of the
// connection. Methods that the schema calls staged, and those called with an ack,
// may answer "accepted" first. An error response is returned as *wire.Error.
func (c *Conn) Call(ctx context.Context, method string, params []byte, ack func(payload []byte)) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	id := c.lastID.Add(1)
	frame := appendRequest(nil, id, method, params)
	if limit := c.hello.Policy.MaxPayload; limit > 0 && int64(len(frame)) > limit {
		return nil, fmt.Errorf("request %s has %d bytes, the gateway takes %d", method, len(frame), limit)
	}
	responses, err := c.expect(id)
	if err != nil {
		return nil, err
	}
	defer c.forget(id)
	if err := c.write(frame); err != nil {
		return nil, err
	}
	staged := ack != nil || c.staged[method]
	for {
		select {
		case f := <-responses:
			if !f.OK {
				return nil, f.err()
			}
			if !staged || !isAccepted(f.Payload) {
				return f.Payload, nil
			}
			staged = false
			if ack != nil {
				ack(f.Payload)
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.ended:
			return nil, c.Err()
		}
	}
}

// stagedMethods returns the methods that answer twice, as the schema says.
func stagedMethods() map[string]bool {
	staged := map[string]bool{}
	for _, m := range protocol.Methods() {
		if m.Staged {
			staged[m.Name] = true
		}
	}
	return staged
}

// isAccepted tells a staged method's ack from its result: the status of the ack
// is the one that every client of protocol 3 looks for (spec 13).
func isAccepted(payload []byte) bool {
	var ack struct {
		Status string `json:"status"`
	}
	return json.Unmarshal(payload, &ack) == nil && ack.Status == statusAccepted
}

func (c *Conn) expect(id uint64) (chan inbound, error) {
	// Two responses at most; a third is dropped by the reader.
	ch := make(chan inbound, 2)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	c.pending[strconv.FormatUint(id, 10)] = ch
	return ch, nil
}

func (c *Conn) forget(id uint64) {
	c.mu.Lock()
	delete(c.pending, strconv.FormatUint(id, 10))
	c.mu.Unlock()
}

// write sends a frame under the connection's own deadline, not the caller's: the
// library closes the socket when a write is cancelled half-way, and one caller's
// patience must not cost the others their connection.
func (c *Conn) write(frame []byte) error {
	ctx, cancel := context.WithTimeout(c.life, writeTimeout)
	defer cancel()
	if err := c.ws.Write(ctx, websocket.MessageText, frame); err != nil {
		c.end(closeError(err))
		return c.Err()
	}
	return nil
}

// end records why the connection is over. The first reason stays.
func (c *Conn) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		close(c.ended)
	}
}

// readAll is the reader: responses to their callers, events to the queue.
func (c *Conn) readAll() {
	defer c.events.close()
	defer c.cancel()
	for {
		_, data, err := c.ws.Read(c.life)
		if err != nil {
			c.end(closeError(err))
			return
		}
		c.heard.Store(time.Now().UnixNano())
		var f inbound
		if err := json.Unmarshal(data, &f); err != nil {
			c.log.Warn("frame from the gateway does not parse", "err", err)
			continue
		}
		switch f.Type {
		case frameResponse:
			c.respond(f)
		case frameEvent:
			c.events.push(f.event())
		}
	}
}

func (c *Conn) respond(f inbound) {
	c.mu.Lock()
	ch := c.pending[f.ID]
	c.mu.Unlock()
	select {
	case ch <- f: // a nil channel is never ready: nobody waits any more
	default:
	}
}

// deliver runs the callbacks, in order, until the queue is closed and empty.
func (c *Conn) deliver() {
	defer close(c.quiet)
	if c.after != nil {
		<-c.after
	}
	if c.o.OnHello != nil {
		c.o.OnHello(c.hello)
	}
	var seq sequence
	for {
		e, dropped, ok := c.events.pop()
		if !ok {
			return
		}
		gap, found := seq.next(e)
		gap.Dropped = dropped
		if (found || dropped > 0) && c.o.OnGap != nil {
			c.o.OnGap(gap)
		}
		if e.Name != "" && c.o.OnEvent != nil {
			c.o.OnEvent(e)
		}
	}
}

// watch closes the connection when nothing, not even a tick, has been heard for
// two tick intervals (spec 10).
func (c *Conn) watch() {
	limit := 2 * time.Duration(c.hello.Policy.TickIntervalMs) * time.Millisecond
	if limit <= 0 {
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case <-c.life.Done():
			return
		case <-timer.C:
		}
		silent := time.Since(time.Unix(0, c.heard.Load()))
		if silent >= limit {
			c.end(&CloseError{Code: codeTickTimeout, Reason: reasonTickTimeout})
			_ = c.ws.Close(codeTickTimeout, reasonTickTimeout)
			c.cancel()
			return
		}
		timer.Reset(limit - silent)
	}
}

var (
	_ wire.Caller = (*Conn)(nil)
	_ wire.Caller = (*Client)(nil)
	_ error       = (*CloseError)(nil)
)

// Lost reports whether err says that a connection ended, rather than that a
// request was refused.
func Lost(err error) bool {
	var ce *CloseError
	return errors.As(err, &ce) || errors.Is(err, ErrClosed)
}
