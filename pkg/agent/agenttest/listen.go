package agenttest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// DialFunc has the shape of net.Dialer.DialContext.
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// pipeURL is a loopback address that nobody connects to: PipeModel's Dial
// ignores it, and being loopback it never goes through a proxy.
const pipeURL = "http://127.0.0.1:1/v1"

// StartModel runs a Model on a free loopback port until the test ends.
func StartModel(t testing.TB, opts ModelOptions) *Model {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("agenttest: listen: %v", err)
	}
	m := NewModel(opts)
	m.URL = fmt.Sprintf("http://%s/v1", listener.Addr())
	serveUntilEnd(t, m, listener)
	return m
}

// PipeModel runs a Model that is reached in memory through its Dial until the
// test ends. It works inside a testing/synctest bubble, where a real socket
// would keep the clock from moving.
func PipeModel(t testing.TB, opts ModelOptions) *Model {
	t.Helper()
	listener := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	m := NewModel(opts)
	m.URL = pipeURL
	m.Dial = listener.dial
	serveUntilEnd(t, m, listener)
	return m
}

func serveUntilEnd(t testing.TB, m *Model, listener net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("agenttest: serve: %v", err)
		}
	})
}

// Serve answers on listener until ctx ends, closes it, and returns when every
// request has been left.
func (m *Model) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{Handler: m, ReadHeaderTimeout: 10 * time.Second}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		_ = server.Close() // its only errors are those of closing sockets
	})
	err := server.Serve(listener)
	if !stop() {
		<-closed
	}
	m.running.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// pipeListener accepts the connections that its own dial makes.
type pipeListener struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }
