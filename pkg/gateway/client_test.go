package gateway

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
)

// peer is a websocket client written out by hand, so that it can break rules.
type peer struct {
	t      testing.TB
	conn   net.Conn
	br     *bufio.Reader
	frames chan string // text messages
	end    chan ending // one, when the connection is over; 1006 without a close
	seen   int
}

// peerPatience is longer than anything the gateway waits for. In a bubble it passes at
// once when nothing else happens but ticks.
const peerPatience = 2 * time.Minute

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
	case <-time.After(peerPatience):
		require.FailNow(p.t, "no message comes")
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
	select {
	case e := <-p.end:
		return e
	case <-time.After(peerPatience):
		require.FailNow(p.t, "the connection stays open")
		return ending{}
	}
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
