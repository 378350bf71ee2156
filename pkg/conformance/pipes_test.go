package conformance

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// network is a network in memory, on which HTTP servers are reached by name. In a
// testing/synctest bubble waiting on it takes no time, which real sockets would.
type network struct {
	t  *testing.T
	mu sync.Mutex
	// hosts maps names to listeners, conns are the servers' ends.
	hosts map[string]*pipeListener
}

func newNetwork(t *testing.T) *network {
	return &network{t: t, hosts: map[string]*pipeListener{}}
}

// serve runs a server under a name until the test ends, and returns its URL.
func (n *network) serve(name string, handler http.Handler, ended func()) string {
	l := &pipeListener{accepted: make(chan net.Conn), closed: make(chan struct{})}
	n.mu.Lock()
	n.hosts[name] = l
	n.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	server := &http.Server{Handler: handler, BaseContext: func(net.Listener) context.Context { return ctx }}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	n.t.Cleanup(func() {
		cancel()
		require.NoError(n.t, server.Close())
		require.ErrorIs(n.t, <-done, http.ErrServerClosed)
		ended()
	})
	return "ws://" + name
}

// client reaches the servers by name.
func (n *network) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		n.mu.Lock()
		l := n.hosts[strings.TrimSuffix(address, ":80")]
		n.mu.Unlock()
		if l == nil {
			return nil, errors.New("no host " + address)
		}
		ours, theirs := net.Pipe()
		select {
		case l.accepted <- theirs:
			return ours, nil
		case <-l.closed:
			return nil, net.ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}}
}

// cut breaks the connections of a server without a word.
func (n *network) cut(name string) {
	n.mu.Lock()
	l := n.hosts[name]
	n.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		_ = c.Close()
	}
}

// pipeListener accepts the connections that network's clients make.
type pipeListener struct {
	accepted chan net.Conn
	once     sync.Once
	closed   chan struct{}

	mu    sync.Mutex
	conns []net.Conn
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accepted:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.conns = append(l.conns, c)
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }
