package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/identity"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

// pipeListener hands out the server's ends of net.Pipe connections.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 18789} }

// dial opens a connection that seems to come from remote.
func (l *pipeListener) dial(remote string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- addressed{server, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(remote)), l.Addr()}:
		return client, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// addressed is a pipe end with addresses.
type addressed struct {
	net.Conn
	remote, local net.Addr
}

func (c addressed) RemoteAddr() net.Addr { return c.remote }
func (c addressed) LocalAddr() net.Addr  { return c.local }

// fakeGuard grants what is asked to whoever holds the token "secret".
type fakeGuard struct {
	hold  func(ctx context.Context) // called in Connect when set
	holds func() (bool, error)      // answers Holds when set
	mu    sync.Mutex
	last  identity.Attempt
}

func (g *fakeGuard) Connect(ctx context.Context, a identity.Attempt) (identity.Grant, error) {
	g.mu.Lock()
	g.last = a
	g.mu.Unlock()
	if g.hold != nil {
		g.hold(ctx)
	}
	switch a.Params.Auth.V.Token.V {
	case "secret":
	case "broken":
		return identity.Grant{}, errors.New("store is closed: /var/secret/path")
	case "panic":
		panic("guard fell over")
	default:
		return identity.Grant{}, &identity.Refusal{
			Err:       wire.Errorf(protocol.ErrorInvalidRequest, "unauthorized").WithDetails([]byte(`{"code":"AUTH_TOKEN_MISMATCH"}`)),
			CloseCode: 1008, CloseReason: "unauthorized",
		}
	}
	role := a.Params.Role.Or(protocol.RoleOperator)
	return identity.Grant{Role: role, Scopes: a.Params.Scopes, Principal: "p", Local: true}, nil
}

func (g *fakeGuard) Holds(identity.Grant) (bool, error) {
	if g.holds == nil {
		return true, nil
	}
	return g.holds()
}
func (g *fakeGuard) HostAllowed(host string) bool { return !strings.Contains(host, "evil") }
func (g *fakeGuard) Local(remote netip.AddrPort, _ string, h http.Header) bool {
	return remote.Addr().IsLoopback() && h.Get("X-Forwarded-For") == ""
}
func (g *fakeGuard) ClientAddr(remote netip.AddrPort, h http.Header) (netip.Addr, bool) {
	return remote.Addr(), h.Get("X-Forwarded-For") != "nonsense"
}
func (g *fakeGuard) BearerCheck(_ context.Context, _ netip.Addr, secret string) (bool, time.Duration) {
	if secret == "once too often" {
		return false, 1500 * time.Millisecond
	}
	return secret == "secret", 0
}

// recorder notes what the observer hears.
type recorder struct {
	mu     sync.Mutex
	events []string
	onJoin func(*wire.Peer)
}

func (r *recorder) note(what string, p *wire.Peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, what+" "+p.Client.ID)
}

func (r *recorder) list() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.events...)
}

func (r *recorder) PeerConnected(p *wire.Peer) {
	r.note("connected", p)
	if r.onJoin != nil {
		r.onJoin(p)
	}
}
func (r *recorder) PeerReady(p *wire.Peer)        { r.note("ready", p) }
func (r *recorder) PeerDisconnected(p *wire.Peer) { r.note("disconnected", p) }

// syncBuffer collects log lines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// server is a running gateway for a test.
type server struct {
	t        testing.TB
	g        *Gateway
	l        *pipeListener
	guard    *fakeGuard
	observer *recorder
	versions *wire.StateVersions
	logs     *syncBuffer
	cancel   context.CancelCauseFunc
	done     chan error
}

// newServer builds a gateway with the test methods. tune may be nil.
func newServer(t testing.TB, tune func(*Config)) *server {
	s := &server{
		t: t, l: newPipeListener(), guard: &fakeGuard{}, observer: &recorder{},
		versions: &wire.StateVersions{}, logs: &syncBuffer{}, done: make(chan error, 1),
	}
	c := Config{
		Log:   slog.New(slog.NewTextHandler(s.logs, nil)),
		Guard: s.guard, Observer: s.observer, Versions: s.versions,
		Snapshot: func(*wire.Peer) protocol.Snapshot {
			return protocol.Snapshot{
				Presence: []protocol.PresenceEntry{{Ts: 1, Text: wire.Some("me")}}, Health: wire.Raw(`{"ok":true}`),
				ConfigPath: wire.Some("/etc/c.json"), StateDir: wire.Some("/var/c"),
				AuthMode: wire.Some(protocol.AuthModeToken),
			}
		},
		Version: "1.2.3", Host: "box",
	}
	if tune != nil {
		tune(&c)
	}
	s.g = New(c)
	return s
}

// start runs the gateway until the test ends.
func start(t testing.TB, tune func(*Config)) *server {
	s := newServer(t, tune)
	s.register()
	s.run(s.l)
	return s
}

func (s *server) run(listeners ...net.Listener) {
	ctx, cancel := context.WithCancelCause(context.Background())
	s.cancel = cancel
	go func() { s.done <- s.g.Run(ctx, listeners...) }()
	s.t.Cleanup(func() { require.NoError(s.t, s.stop(nil)) })
}

// stop ends the gateway and returns Run's error.
func (s *server) stop(cause error) error {
	s.cancel(cause)
	err := <-s.done
	s.done <- err
	return err
}

// diskTroubles are methods that are not listed and fail so.
var diskTroubles = map[string]error{"full": store.ErrFull, "no space": syscall.ENOSPC, "failed": store.ErrFailed, "read-only": syscall.EROFS}

// register adds methods that do what their names say.
func (s *server) register() {
	add := func(name, role, scope string, h wire.Handler) {
		s.g.Register(wire.MethodInfo{Name: name, Role: role, Scope: scope, Listed: name != "hidden"}, h)
	}
	echo := func(_ context.Context, _ *wire.Peer, params []byte, _ wire.Ack) ([]byte, error) { return params, nil }
	add("echo", "any", "", echo)
	add("hidden", "any", "", echo)
	add("read", "operator", protocol.ScopeOperatorRead, echo)
	add("nodes", "node", "", echo)
	add("wait", "any", "", func(ctx context.Context, _ *wire.Peer, _ []byte, _ wire.Ack) ([]byte, error) {
		<-ctx.Done()
		return nil, fmt.Errorf("waited: %w", ctx.Err())
	})
	add("sleep", "any", "", func(ctx context.Context, _ *wire.Peer, params []byte, _ wire.Ack) ([]byte, error) {
		var p struct{ Ms int }
		if err := json.Unmarshal(params, &p); err != nil {
			return nil, err
		}
		select {
		case <-time.After(time.Duration(p.Ms) * time.Millisecond):
			return []byte(`"slept"`), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	add("wind down", "any", "", func(ctx context.Context, _ *wire.Peer, _ []byte, _ wire.Ack) ([]byte, error) {
		<-ctx.Done()
		time.Sleep(50 * time.Millisecond)
		return []byte(`"wound down"`), nil
	})
	add("panic", "any", "", func(context.Context, *wire.Peer, []byte, wire.Ack) ([]byte, error) { panic("hidden detail") })
	add("fail", "any", "", func(context.Context, *wire.Peer, []byte, wire.Ack) ([]byte, error) {
		return nil, errors.New("disk /dev/sda1 on fire")
	})
	for name, err := range diskTroubles {
		s.g.Register(wire.MethodInfo{Name: name, Role: "any"}, func(context.Context, *wire.Peer, []byte, wire.Ack) ([]byte, error) {
			return nil, fmt.Errorf("commit to /var/secret/path: %w", err)
		})
	}
	add("refuse", "any", "", func(context.Context, *wire.Peer, []byte, wire.Ack) ([]byte, error) {
		e := wire.Errorf(protocol.ErrorNotPaired, "no").WithDetails([]byte(`{"requestId":"r9"}`))
		e.Retryable, e.RetryAfterMs, e.Payload = new(false), new(int64(250)), []byte(`{"runId":"x"}`)
		return nil, fmt.Errorf("wrapped: %w", e)
	})
	add("staged", "any", "", func(_ context.Context, _ *wire.Peer, _ []byte, ack wire.Ack) ([]byte, error) {
		if err := ack([]byte(`"accepted"`)); err != nil {
			return nil, err
		}
		if ack([]byte(`"again"`)) == nil {
			return nil, errors.New("second ack was sent")
		}
		return []byte(`"final"`), nil
	})
	add("emit", "any", "", func(ctx context.Context, _ *wire.Peer, _ []byte, _ wire.Ack) ([]byte, error) {
		wire.AfterReply(ctx, func() { s.emit("chat", `"behind"`) })
		s.emit("chat", `"before"`)
		return []byte(`"done"`), nil
	})
	wire.Handle(s.g, protocol.MethodChatHistory, func(context.Context, *wire.Peer, protocol.ChatHistoryParams) (protocol.ChatHistoryResult, error) {
		return protocol.ChatHistoryResult{}, nil
	})
}

// emit sends payload as an event of the protocol.
func (s *server) emit(name, payload string) {
	s.emission(name, func(e *wire.Emission) { e.Payload = []byte(payload) })
}

func (s *server) emission(name string, set func(*wire.Emission)) {
	for _, info := range protocol.Events() {
		if info.Name == name {
			e := wire.Emission{Info: info}
			set(&e)
			s.g.Emit(e)
			return
		}
	}
	s.t.Fatalf("the protocol has no event %s", name)
}
