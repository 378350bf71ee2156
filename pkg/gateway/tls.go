package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// Sizes that matter below TLS, in bytes.
const (
	recordHandshake = 0x16     // first byte of a TLS connection, RFC 8446 section 5.1
	tlsChunkBytes   = 64 << 10 // written at once: what an abandoned connection still sends
	plainDrainBytes = 64 << 10 // read from a client that speaks no TLS before it is hung up on
)

// goodbyeTimeout is how long a peer may take to receive the end of TLS. It is one record,
// which the kernel takes at once from a peer that reads.
const goodbyeTimeout = 250 * time.Millisecond

// plainAnswer tells a client that does not speak TLS what to do.
const plainAnswer = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" +
	"this gateway speaks TLS: use https:// or wss://\n"

// secured returns l with TLS on top, which must not hide the places of admission: a
// connection that is too many is closed before any cryptography is done for it.
func (g *Gateway) secured(l net.Listener) net.Listener {
	if g.config.TLS == nil {
		return l
	}
	return securedListener{Listener: l, g: g}
}

type securedListener struct {
	net.Listener
	g *Gateway
}

// Accept returns the next connection as a *tls.Conn, whose handshake the HTTP server
// runs on the connection's goroutine, under its deadlines.
func (l securedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tls.Server(&beneath{Conn: conn, onPlain: l.g.plainOnTLS}, l.g.config.TLS), nil
}

func (g *Gateway) plainOnTLS(remote net.Addr) {
	g.metrics.refused.add("plaintext")
	g.floods.warn("plain connection to a port that speaks TLS", slog.String("addr", addrPort(remote).Addr().String()))
}

// beneath is the socket that TLS runs on. It notices clients that speak no TLS, and it
// keeps write deadlines from reaching tls.Conn, which never writes again after one: retry
// decides instead whether to go on (see outbox.patience).
//
// Read is called by one goroutine at a time. retry is set before the connection's writer
// starts, and taken away when it has ended.
type beneath struct {
	net.Conn
	onPlain  func(remote net.Addr)
	begun    bool
	retry    func(written int) bool
	progress atomic.Int64 // bytes written since the deadline was set
	leaving  atomic.Bool  // deadlines are at most goodbyeTimeout away
}

var errPlain = errors.New("client does not speak TLS")

// Read looks at the very first byte.
func (b *beneath) Read(p []byte) (int, error) {
	n, err := b.Conn.Read(p)
	if b.begun || n == 0 {
		return n, err
	}
	b.begun = true
	if p[0] == recordHandshake {
		return n, err
	}
	b.onPlain(b.RemoteAddr())
	b.answerPlain(p[0])
	return 0, errPlain
}

// answerPlain answers what may be HTTP, whose methods begin with a capital letter, and
// reads on for a while: to close with unread input would reset the connection, and the
// client might lose the answer. The HTTP server's deadlines for the handshake hold.
func (b *beneath) answerPlain(first byte) {
	if first < 'A' || first > 'Z' {
		return
	}
	if _, err := io.WriteString(b.Conn, plainAnswer); err != nil {
		return
	}
	if tcp, ok := bare(b.Conn).(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
		_, _ = io.CopyN(io.Discard, b.Conn, plainDrainBytes)
	}
}

// Write writes all of p, which is one record, or until retry has had enough. Retry hears
// what was written since the deadline was set, earlier records included.
func (b *beneath) Write(p []byte) (int, error) {
	sent := 0
	for {
		n, err := b.Conn.Write(p[sent:])
		sent += n
		written := b.progress.Add(int64(n))
		if err == nil || b.retry == nil || !errors.Is(err, os.ErrDeadlineExceeded) || !b.retry(int(written)) {
			return sent, err
		}
	}
}

// SetWriteDeadline begins to count progress anew.
func (b *beneath) SetWriteDeadline(t time.Time) error {
	b.progress.Store(0)
	if latest := time.Now().Add(goodbyeTimeout); b.leaving.Load() && t.After(latest) {
		t = latest
	}
	return b.Conn.SetWriteDeadline(t)
}

// hangUp closes a connection whose writer has ended. TLS says goodbye, for which tls.Conn
// would wait for seconds; a peer that has not taken everything does not get to hear it.
func hangUp(c net.Conn, lost bool) {
	secure, ok := c.(*tls.Conn)
	if !ok || lost {
		_ = bare(c).Close()
	}
	if ok {
		b := secure.NetConn().(*beneath)
		b.retry = nil
		b.leaving.Store(true)
		_ = secure.Close()
	}
}

// bare returns the socket below TLS and admission.
func bare(c net.Conn) net.Conn {
	for {
		switch outer := c.(type) {
		case *tls.Conn:
			c = outer.NetConn()
		case *beneath:
			c = outer.Conn
		case *admitted:
			c = outer.Conn
		default:
			return c
		}
	}
}

// place returns the place among the connections before authentication that c holds, nil
// when it holds none.
func place(c net.Conn) *admitted {
	for {
		switch outer := c.(type) {
		case *tls.Conn:
			c = outer.NetConn()
		case *beneath:
			c = outer.Conn
		case *admitted:
			return outer
		default:
			return nil
		}
	}
}

// patience makes the stall rules of the writer hold below TLS. It is called before the
// writer starts; onStall is as for run.
func (o *outbox) patience(onStall func()) {
	secure, ok := o.conn.(*tls.Conn)
	if !ok {
		return
	}
	o.chunkMax, o.join = tlsChunkBytes, true
	w := writer{outbox: o} // for its look at the shared fields alone
	secure.NetConn().(*beneath).retry = func(written int) bool {
		if w.overdue() {
			return false
		}
		if written == 0 && !w.isClosing() {
			onStall()
		}
		return w.setDeadline() == nil
	}
}

// arrival is when a connection was accepted. Its first request is counted from there,
// so that TLS, the upgrade and the handshake have one deadline together.
type arrival struct {
	at   time.Time
	used atomic.Bool
}

type arrivalKey struct{}

func withArrival(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, arrivalKey{}, &arrival{at: time.Now()})
}

// begun returns since when the peer behind a request has had its time to authenticate.
func begun(ctx context.Context) time.Time {
	if a, ok := ctx.Value(arrivalKey{}).(*arrival); ok && !a.used.Swap(true) {
		return a.at
	}
	return time.Now()
}
