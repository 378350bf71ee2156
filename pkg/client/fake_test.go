package client

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
)

// fakeGateway is a gateway in memory: it serves WebSocket connections over
// net.Pipe, so that it can run inside a synctest bubble. Each connection is
// handed to serve, in the order of arrival.
type fakeGateway struct {
	t     *testing.T
	ln    *pipeListener
	serve func(c *fakeConn)
	wg    sync.WaitGroup
	mu    sync.Mutex
	count int // guarded by mu: connections so far
}

// pipeListener is a net.Listener whose connections are made by dial.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
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

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.done:
		return nil, errors.New("nobody listens")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// startGateway starts a fake gateway that ends with the test.
func startGateway(t *testing.T, serve func(c *fakeConn)) *fakeGateway {
	g := &fakeGateway{t: t, ln: newPipeListener(), serve: serve}
	server := &http.Server{Handler: http.HandlerFunc(g.handle), ErrorLog: log.New(io.Discard, "", 0)}
	g.wg.Go(func() { _ = server.Serve(g.ln) })
	t.Cleanup(func() {
		_ = server.Close()
		_ = g.ln.Close()
		g.wg.Wait()
	})
	return g
}

func (g *fakeGateway) handle(w http.ResponseWriter, r *http.Request) {
	g.wg.Add(1)
	defer g.wg.Done()
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	ws.SetReadLimit(frameBytesMax)
	g.mu.Lock()
	g.count++
	n := g.count
	g.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	g.serve(&fakeConn{t: g.t, ws: ws, ctx: ctx, number: n})
	_ = ws.CloseNow()
}

// connections returns how many connections were made.
func (g *fakeGateway) connections() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.count
}

// options returns options that reach the fake gateway.
func (g *fakeGateway) options(t *testing.T) Options {
	transport := &http.Transport{DialContext: g.ln.dial}
	t.Cleanup(transport.CloseIdleConnections)
	return Options{
		URL:        "ws://127.0.0.1:18789",
		HTTPClient: &http.Client{Transport: transport, CheckRedirect: refuseRedirect},
		Client: protocol.ConnectClient{
			ID: protocol.GatewayClientIdCli, Mode: protocol.GatewayClientModeCli, Version: "1.2.3", Platform: "linux",
		},
		Scopes: []string{"operator.admin", "operator.pairing"},
	}
}

// fakeConn is the gateway's side of one connection.
type fakeConn struct {
	t      *testing.T
	ws     *websocket.Conn
	ctx    context.Context
	number int // 1 for the first connection
	seq    int64
}

// request is what a client sends.
type request struct {
	Type   string          `json:"type"`
	ID     string          `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

type connectRequest struct {
	MinProtocol int                              `json:"minProtocol"`
	MaxProtocol int                              `json:"maxProtocol"`
	Role        string                           `json:"role"`
	Scopes      []string                         `json:"scopes"`
	Caps        []string                         `json:"caps"`
	Client      struct{ ID, Mode string }        `json:"client"`
	Auth        struct{ Token, Password string } `json:"auth"`
	Device      *struct {
		ID, PublicKey, Signature, Nonce string
		SignedAt                        int64
	} `json:"device"`
}

// read returns the client's next request; ok is false when the client is gone.
func (c *fakeConn) read() (r request, ok bool) {
	_, data, err := c.ws.Read(c.ctx)
	if err != nil {
		return r, false
	}
	if err := json.Unmarshal(data, &r); err != nil {
		c.t.Errorf("client sent %q: %v", data, err)
		return r, false
	}
	return r, true
}

// send writes a frame given as JSON text.
func (c *fakeConn) send(frame string) {
	_ = c.ws.Write(c.ctx, websocket.MessageText, []byte(frame))
}

func (c *fakeConn) event(name, payload string) {
	c.seq++
	c.send(`{"type":"event","event":"` + name + `","payload":` + payload + `,"seq":` + strconv.FormatInt(c.seq, 10) + `}`)
}

func (c *fakeConn) answer(id, payload string) {
	c.send(`{"type":"res","id":"` + id + `","ok":true,"payload":` + payload + `}`)
}

func (c *fakeConn) refuse(id, shape string) {
	c.send(`{"type":"res","id":"` + id + `","ok":false,"error":` + shape + `}`)
}

func (c *fakeConn) close(code int, reason string) {
	_ = c.ws.Close(websocket.StatusCode(code), reason)
}

const (
	fakeNonce = "11111111-2222-3333-4444-555555555555"
	fakeTs    = 1795345054681
)

// challenge sends the challenge and reads connect.
func (c *fakeConn) challenge() (id string, r connectRequest) {
	c.send(`{"type":"event","event":"connect.challenge","payload":{"nonce":"` + fakeNonce + `","ts":` + strconv.Itoa(fakeTs) + `}}`)
	req, ok := c.read()
	if !ok {
		return "", r
	}
	if req.Type != "req" || req.Method != "connect" {
		c.t.Errorf("first frame: %+v", req)
	}
	if err := json.Unmarshal(req.Params, &r); err != nil {
		c.t.Errorf("connect params %s: %v", req.Params, err)
	}
	return req.ID, r
}

// hello performs the handshake with the given tick interval and, if it is not
// empty, a device token.
func (c *fakeConn) hello(tick time.Duration, deviceToken string) connectRequest {
	id, r := c.challenge()
	if id == "" {
		return r
	}
	auth := ""
	if deviceToken != "" {
		auth = `"auth":{"deviceToken":"` + deviceToken + `","role":"operator","scopes":["operator.admin"],"issuedAtMs":1},`
	}
	c.answer(id, `{"type":"hello-ok","protocol":3,"server":{"version":"9.9.9","host":"fake","connId":"conn-`+strconv.Itoa(c.number)+`"},`+
		`"features":{"methods":["health"],"events":["tick"]},"snapshot":{"presence":[],"health":{},"stateVersion":{"presence":1,"health":1},"uptimeMs":5},`+
		auth+`"policy":{"maxPayload":4096,"maxBufferedBytes":1024,"tickIntervalMs":`+strconv.FormatInt(tick.Milliseconds(), 10)+`},"addedLater":true}`)
	return r
}

// wait reads and ignores requests until the client is gone.
func (c *fakeConn) wait() {
	for {
		if _, ok := c.read(); !ok {
			return
		}
	}
}

// verifyDevice checks a device proof as a gateway does (spec 5).
func verifyDevice(t *testing.T, r connectRequest) {
	t.Helper()
	require.NotNil(t, r.Device)
	key, err := base64.RawURLEncoding.DecodeString(r.Device.PublicKey)
	require.NoError(t, err)
	sum := sha256.Sum256(key)
	require.Equal(t, hex.EncodeToString(sum[:]), r.Device.ID)
	text := strings.Join([]string{
		"v2", r.Device.ID, r.Client.ID, r.Client.Mode, r.Role, strings.Join(r.Scopes, ","),
		strconv.FormatInt(r.Device.SignedAt, 10), r.Auth.Token, r.Device.Nonce,
	}, "|")
	sig, err := base64.RawURLEncoding.DecodeString(r.Device.Signature)
	require.NoError(t, err)
	require.True(t, ed25519.Verify(key, []byte(text), sig), "signature of %s", text)
}
