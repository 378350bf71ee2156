package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/identity"
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
	hold func(ctx context.Context) // called in Connect when set
	mu   sync.Mutex
	last identity.Attempt
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

func (g *fakeGuard) HostAllowed(host string) bool { return !strings.Contains(host, "evil") }
func (g *fakeGuard) Local(remote netip.AddrPort, _ string, h http.Header) bool {
	return remote.Addr().IsLoopback() && h.Get("X-Forwarded-For") == ""
}
func (g *fakeGuard) BearerOK(secret string) bool { return secret == "secret" }

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
	add("panic", "any", "", func(context.Context, *wire.Peer, []byte, wire.Ack) ([]byte, error) { panic("hidden detail") })
	add("fail", "any", "", func(context.Context, *wire.Peer, []byte, wire.Ack) ([]byte, error) {
		return nil, errors.New("disk /dev/sda1 on fire")
	})
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

// peer is a websocket client written out by hand, so that it can break rules.
type peer struct {
	t      testing.TB
	conn   net.Conn
	br     *bufio.Reader
	frames chan string // text messages
	end    chan ending // one, when the connection is over; 1006 without a close
	seen   int
}

const upgradeRequest = "GET /any/path HTTP/1.1\r\nHost: localhost:18789\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
	"Sec-WebSocket-Extensions: permessage-deflate\r\nOrigin: http://somewhere.example\r\n\r\n"

// open upgrades conn without reading from it further.
func open(t testing.TB, conn net.Conn) *peer {
	p := &peer{t: t, conn: conn, br: bufio.NewReader(conn), end: make(chan ending, 1)}
	_, err := io.WriteString(conn, upgradeRequest)
	require.NoError(t, err)
	res, err := http.ReadResponse(p.br, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
	require.Empty(t, res.Header.Get("Sec-WebSocket-Extensions"), "compression")
	return p
}

// dial opens a client that reads all the time.
func (s *server) dial() *peer { return s.dialFrom("127.0.0.1:50000") }

func (s *server) dialFrom(remote string) *peer {
	return s.dialPaused(remote).resume()
}

// dialPaused opens a client that reads only when asked to.
func (s *server) dialPaused(remote string) *peer {
	conn, err := s.l.dial(remote)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = conn.Close() })
	return open(s.t, conn)
}

// resume begins to read.
func (p *peer) resume() *peer {
	p.frames = make(chan string, 1<<16)
	go p.pump()
	return p
}

// pump reads until the end and answers a close frame.
func (p *peer) pump() {
	defer p.conn.Close()
	for {
		opcode, payload, err := p.readFrame()
		if err != nil {
			p.end <- ending{code: 1006}
			return
		}
		switch opcode {
		case opcodeText:
			p.frames <- string(payload)
		case opcodeClose:
			e := ending{code: 1005}
			if len(payload) >= 2 {
				e = ending{int(binary.BigEndian.Uint16(payload)), string(payload[2:])}
			}
			p.end <- e
			_ = p.conn.SetWriteDeadline(time.Now().Add(time.Second))
			_ = p.writeFrame(finalBit|opcodeClose, payload)
			return
		case opcodePong:
			p.frames <- "pong " + string(payload)
		}
	}
}

func (p *peer) readFrame() (opcode byte, payload []byte, err error) {
	var h [2]byte
	if _, err = io.ReadFull(p.br, h[:]); err != nil {
		return 0, nil, err
	}
	if h[0]&0x70 != 0 || h[0]&finalBit == 0 || h[1]&0x80 != 0 {
		return 0, nil, fmt.Errorf("frame header %x", h)
	}
	size := uint64(h[1])
	switch size {
	case 126:
		var b [2]byte
		_, err = io.ReadFull(p.br, b[:])
		size = uint64(binary.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		_, err = io.ReadFull(p.br, b[:])
		size = binary.BigEndian.Uint64(b[:])
	}
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(p.br, payload)
	return h[0] & 0x0f, payload, err
}

// maskedFrame builds a client's frame; first is the header's first byte.
func maskedFrame(first byte, payload []byte) []byte {
	b := frameHeader(nil, 0, len(payload))
	b[0] = first
	b[1] |= 0x80
	mask := [4]byte{1, 2, 3, 4}
	b = append(b, mask[:]...)
	for i, c := range payload {
		b = append(b, c^mask[i%4])
	}
	return b
}

func (p *peer) writeFrame(first byte, payload []byte) error {
	_, err := p.conn.Write(maskedFrame(first, payload))
	return err
}

// send sends one text message.
func (p *peer) send(text string) {
	p.t.Helper()
	require.NoError(p.t, p.writeFrame(finalBit|opcodeText, []byte(text)))
}

// next returns the next message, decoded.
func (p *peer) next() map[string]any {
	p.t.Helper()
	text := p.text()
	var m map[string]any
	require.NoError(p.t, json.Unmarshal([]byte(text), &m), text)
	return m
}

func (p *peer) text() string {
	p.t.Helper()
	select {
	case text := <-p.frames:
		return text
	case e := <-p.end:
		select {
		case text := <-p.frames: // both were ready
			p.end <- e
			return text
		default:
		}
		require.FailNow(p.t, "connection ended", "%+v", e)
		return ""
	}
}

// none checks that no message is waiting.
func (p *peer) none() {
	p.t.Helper()
	select {
	case text := <-p.frames:
		require.FailNow(p.t, "unexpected message", text)
	default:
	}
}

// closed waits for the end and returns how it came. Messages before it are lost.
func (p *peer) closed() ending {
	p.t.Helper()
	return <-p.end
}

// response returns the next response, skipping events.
func (p *peer) response() map[string]any {
	p.t.Helper()
	for {
		if m := p.next(); m["type"] == "res" {
			return m
		}
	}
}

// call sends a request and returns the next response.
func (p *peer) call(method, params string) map[string]any {
	p.t.Helper()
	p.seen++
	p.send(request(fmt.Sprintf("q%d", p.seen), method, params))
	return p.response()
}

func request(id, method, params string) string {
	if params != "" {
		params = `,"params":` + params
	}
	return fmt.Sprintf(`{"type":"req","id":%q,"method":%q%s}`, id, method, params)
}

// connectFrame is a connect that the fake guard grants.
func connectFrame(role string, scopes ...string) string {
	list, _ := json.Marshal(scopes)
	if scopes == nil {
		list = []byte("[]")
	}
	return request("c1", "connect", fmt.Sprintf(`{"minProtocol":3,"maxProtocol":3,"client":{"id":"test","version":"0.0.1",`+
		`"platform":"linux","mode":"test"},"role":%q,"scopes":%s,"auth":{"token":"secret"}}`, role, list))
}

// connect does the handshake and returns the payload of hello-ok.
func (p *peer) connect(scopes ...string) map[string]any {
	p.t.Helper()
	return p.connectAs(protocol.RoleOperator, scopes...)
}

func (p *peer) connectAs(role string, scopes ...string) map[string]any {
	p.t.Helper()
	require.Equal(p.t, "connect.challenge", p.next()["event"])
	p.send(connectFrame(role, scopes...))
	m := p.response()
	require.Equal(p.t, true, m["ok"], m)
	return m["payload"].(map[string]any)
}

// admin dials and connects with all scopes.
func (s *server) admin() *peer {
	p := s.dial()
	p.connect(protocol.ScopeOperatorAdmin)
	return p
}

// dialLibrary opens a client of the websocket library.
func dialLibrary(t testing.TB, s *server) *websocket.Conn {
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return s.l.dial("127.0.0.1:50001")
	}}
	t.Cleanup(transport.CloseIdleConnections)
	ws, res, err := websocket.Dial(context.Background(), "ws://localhost:18789/", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport},
	})
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
	t.Cleanup(func() { _ = ws.CloseNow() })
	return ws
}
