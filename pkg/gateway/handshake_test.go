package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

func TestChallengeComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		p := s.dial()
		m := p.next()
		require.Equal(t, "event", m["type"])
		require.Equal(t, "connect.challenge", m["event"])
		require.NotContains(t, m, "seq")
		payload := m["payload"].(map[string]any)
		require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, payload["nonce"])
		require.EqualValues(t, time.Now().UnixMilli(), payload["ts"])

		p.send(connectFrame("operator"))
		p.response()
		require.Equal(t, payload["nonce"], s.guard.last.Nonce)
		require.Equal(t, "localhost:18789", s.guard.last.Host)
		require.Equal(t, "http://somewhere.example", s.guard.last.Header.Get("Origin"))
		require.Equal(t, netip.MustParseAddrPort("127.0.0.1:50000"), s.guard.last.RemoteAddr)
	})
}

// The first message decides: protocol, section 3.3.
func TestFirstFrame(t *testing.T) {
	connect := func(params string) string { return request("r1", "connect", params) }
	longText := strings.Repeat("ä", 100)
	cases := []struct {
		name, frame string
		response    string // the error's message; empty for none
		detail      string
		end         ending
	}{
		{name: "not json", frame: "this is not json", end: ending{1000, ""}},
		{name: "empty message", frame: "", end: ending{1000, ""}},
		{name: "invalid utf-8", frame: "{\"type\":\"req\",\"id\":\"\xff\",\"method\":\"health\"}", end: ending{1000, ""}},
		{name: "thirty thousand brackets", frame: strings.Repeat("[", 30000), end: ending{1000, ""}},
		{name: "null", frame: "null", end: ending{1008, "invalid request frame"}},
		{name: "bad shape", frame: `{"hello":1}`, end: ending{1008, "invalid request frame"}},
		{name: "event", frame: `{"type":"event","event":"x"}`, end: ending{1008, "invalid request frame"}},
		{name: "extra member", frame: `{"type":"req","id":"r1","method":"connect","x":1}`, end: ending{1008, "invalid request frame"}},
		{name: "id is a number", frame: `{"type":"req","id":1,"method":"connect"}`, end: ending{1008, "invalid request frame"}},
		{name: "id too long", frame: request(strings.Repeat("i", 129), "connect", ""), end: ending{1008, "invalid request frame"}},
		{name: "method too long", frame: request("r1", strings.Repeat("m", 65), ""), end: ending{1008, "invalid request frame"}},
		{
			name: "not connect", frame: request("r1", "health", ""),
			response: "invalid handshake: first request must be connect", detail: "CONNECT_REQUIRED",
			end: ending{1008, "invalid handshake: first request must be connect"},
		},
		{
			name: "unknown method is no different", frame: request("r1", "no.such", ""),
			response: "invalid handshake: first request must be connect", detail: "CONNECT_REQUIRED",
			end: ending{1008, "invalid handshake: first request must be connect"},
		},
		{
			name: "no params", frame: connect(""),
			response: "invalid connect params: must be object", detail: "INVALID_PARAMS",
			end: ending{1008, "invalid connect params: must be object"},
		},
		{
			name:  "invalid params, reason cut to 120 bytes",
			frame: connect(`{"minProtocol":3,"maxProtocol":3,"client":{"id":"nope","version":"1","platform":"x","mode":"zzz"},"bogus":1}`),
			response: "invalid connect params: at root: unexpected property 'bogus'; at /client/id: must be equal to constant; " +
				"at /client/id: must match a schema in anyOf; at /client/mode: must be equal to constant; at /client/mode: must match a schema in anyOf",
			detail: "INVALID_PARAMS",
			end:    ending{1008, "invalid connect params: at root: unexpected property 'bogus'; at /client/id: must be equal to constant; at /client/id: m"},
		},
		{
			name:     "reason is not cut inside a character",
			frame:    connect(`{"minProtocol":3,"maxProtocol":3,"client":{"id":"test","version":"1","platform":"x","mode":"test"},"` + longText + `":1}`),
			response: "invalid connect params: at root: unexpected property '" + longText + "'", detail: "INVALID_PARAMS",
			end: ending{1008, "invalid connect params: at root: unexpected property '" + longText[:66]},
		},
		{
			name:     "refused by the guard",
			frame:    strings.Replace(connectFrame("operator"), `"secret"`, `"wrong"`, 1),
			response: "unauthorized", detail: "AUTH_TOKEN_MISMATCH",
			end: ending{1008, "unauthorized"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, nil)
				p := s.dial()
				require.Equal(t, "connect.challenge", p.next()["event"])
				p.send(c.frame)
				if c.response != "" {
					m := p.next()
					require.Equal(t, false, m["ok"])
					e := m["error"].(map[string]any)
					require.Equal(t, "INVALID_REQUEST", e["code"])
					require.Equal(t, c.response, e["message"])
					require.Equal(t, c.detail, e["details"].(map[string]any)["code"])
				}
				require.Equal(t, c.end, p.closed())
				p.none()
				require.Empty(t, s.observer.list())
			})
		})
	}
}

func TestGuardFailureIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		p := s.dial()
		p.next()
		p.send(strings.Replace(connectFrame("operator"), `"secret"`, `"broken"`, 1))
		e := p.next()["error"].(map[string]any)
		require.Equal(t, "UNAVAILABLE", e["code"])
		errorID := e["details"].(map[string]any)["errorId"].(string)
		require.Equal(t, "internal error, id "+errorID, e["message"])
		require.Equal(t, 1011, p.closed().code)
		require.Contains(t, s.logs.String(), errorID)
		require.Contains(t, s.logs.String(), "/var/secret/path")
	})
}

// What is taken back between the grant and the moment from which the connection can
// be severed is not missed.
func TestAGrantThatNoLongerHoldsIsNoWelcome(t *testing.T) {
	cases := map[string]struct {
		answer func() (bool, error)
		end    ending
	}{
		"taken back":   {func() (bool, error) { return false, nil }, endAuthorityChanged},
		"broken store": {func() (bool, error) { return true, errors.New("store is closed: /var/secret/path") }, endInternal},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, func(g *Config) { g.Guard.(*fakeGuard).holds = c.answer })
				s.observer.onJoin = func(*wire.Peer) { s.emit("chat", `"not for it"`) }
				p := s.dial()
				p.next()
				p.send(connectFrame("operator", "operator.read"))
				end := p.closed()
				require.Equal(t, c.end.code, end.code)
				require.Contains(t, end.reason, c.end.reason)
				require.NotContains(t, end.reason, "/var/secret")
				p.none()
				require.Equal(t, []string{"connected test", "disconnected test"}, s.observer.list())
			})
		})
	}
}

func TestGuardPanicCostsItsConnectionOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		other := s.admin()
		p := s.dial()
		p.next()
		p.send(strings.Replace(connectFrame("operator"), `"secret"`, `"panic"`, 1))
		require.Equal(t, ending{1011, "internal error"}, p.closed())
		require.Contains(t, s.logs.String(), "guard fell over")
		require.Equal(t, true, other.call("echo", "")["ok"])
	})
}

func TestHandshakeDeadlineIsAbsolute(t *testing.T) {
	cases := []struct {
		name string
		busy func(p *peer)
	}{
		{"silent client", func(*peer) {}},
		{"client that pings", func(p *peer) {
			for range 9 {
				time.Sleep(time.Second)
				_ = p.writeFrame(finalBit|0x9, []byte("x"))
			}
		}},
		{"client that sends a byte a second", func(p *peer) {
			b := maskedFrame(finalBit|opcodeText, []byte(connectFrame("operator")))
			for i := range 9 {
				time.Sleep(time.Second)
				_, _ = p.conn.Write(b[i : i+1])
			}
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, nil)
				p := s.dial()
				opened := time.Now()
				go c.busy(p)
				require.Equal(t, ending{1000, ""}, p.closed())
				require.Equal(t, 10*time.Second, time.Since(opened))
			})
		})
	}
}

func TestHandshakeDeadlineEndsASlowGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		s.guard.hold = func(ctx context.Context) { <-ctx.Done() }
		p := s.dial()
		opened := time.Now()
		p.send(connectFrame("operator"))
		require.Equal(t, ending{1000, ""}, p.closed())
		require.Equal(t, 10*time.Second, time.Since(opened))
		synctest.Wait()
		require.Empty(t, s.observer.list(), "a grant that came too late counts for nothing")
	})
}

func TestHelloOk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		s.versions.BumpPresence()
		p := s.dial()
		require.Equal(t, "connect.challenge", p.next()["event"])
		p.send(connectFrame("operator", "operator.read"))
		var m struct {
			Payload json.RawMessage `json:"payload"`
		}
		require.NoError(t, json.Unmarshal([]byte(p.text()), &m))
		hello, err := protocol.DecodeHelloOk(m.Payload)
		require.NoError(t, err)
		require.EqualValues(t, 3, hello.Protocol)
		require.Equal(t, "1.2.3", hello.Server.Version)
		require.Equal(t, "box", hello.Server.Host.V)
		require.NotEmpty(t, hello.Server.ConnID)
		require.Equal(t, []string{"chat.history", "echo", "emit", "fail", "nodes", "panic", "read", "refuse", "sleep", "staged", "wait", "wind down"},
			hello.Features.Methods)
		require.Contains(t, hello.Features.Events, "chat")
		require.Equal(t, protocol.HelloPolicy{MaxPayload: 26214400, MaxBufferedBytes: 16777216, TickIntervalMs: 30000}, hello.Policy)
		require.Equal(t, protocol.StateVersion{Presence: 2, Health: 1}, hello.Snapshot.StateVersion)
		synctest.Wait()
		require.Equal(t, []string{"connected test", "ready test"}, s.observer.list())
	})
}

func TestSnapshotIsFilteredByScope(t *testing.T) {
	cases := []struct {
		name, role string
		scopes     []string
		whole      bool
	}{
		{"read", "operator", []string{"operator.read"}, true},
		{"write implies read", "operator", []string{"operator.write"}, true},
		{"admin implies read", "operator", []string{"operator.admin"}, true},
		{"pairing alone", "operator", []string{"operator.pairing"}, false},
		{"no scope", "operator", nil, false},
		{"a node that claims admin", "node", []string{"operator.admin"}, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := start(t, nil).dial()
				snapshot := p.connectAs(c.role, c.scopes...)["snapshot"].(map[string]any)
				require.Equal(t, "token", snapshot["authMode"])
				if c.whole {
					require.Len(t, snapshot["presence"], 1)
					require.NotEmpty(t, snapshot["health"])
					require.Equal(t, "/etc/c.json", snapshot["configPath"])
					require.Equal(t, "/var/c", snapshot["stateDir"])
					return
				}
				require.Equal(t, []any{}, snapshot["presence"])
				require.Equal(t, map[string]any{}, snapshot["health"])
				require.NotContains(t, snapshot, "configPath")
				require.NotContains(t, snapshot, "stateDir")
			})
		})
	}
}

// What is emitted while a peer joins must neither precede hello-ok nor be lost.
func TestEventsDuringTheHandshakeFollowHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		s.observer.onJoin = func(*wire.Peer) {
			s.emit("chat", `1`)
			time.Sleep(time.Millisecond) // the writer would have time to send it
			s.emit("chat", `2`)
		}
		p := s.dial()
		p.next()
		p.send(connectFrame("operator", "operator.read"))
		require.Equal(t, "res", p.next()["type"])
		require.EqualValues(t, 1, p.next()["payload"])
		require.EqualValues(t, 2, p.next()["payload"])
	})
}

// Requests sent behind connect without waiting for its answer are not lost.
func TestPipelinedBehindConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		s.guard.hold = func(context.Context) { time.Sleep(time.Second) }
		p := s.dial()
		b := maskedFrame(finalBit|opcodeText, []byte(connectFrame("operator")))
		b = append(b, maskedFrame(finalBit|opcodeText, []byte(request("r2", "echo", "7")))...)
		_, err := p.conn.Write(b)
		require.NoError(t, err)
		p.next()
		require.Equal(t, "c1", p.next()["id"])
		m := p.next()
		require.Equal(t, "r2", m["id"])
		require.EqualValues(t, 7, m["payload"])
	})
}

func TestBinaryMessagesAndFragments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, nil).dial()
		p.next()
		text := []byte(connectFrame("operator"))
		require.NoError(t, p.writeFrame(0x2, text[:10])) // binary, not final
		require.NoError(t, p.writeFrame(finalBit|0x9, []byte("ping")))
		require.Equal(t, "pong ping", p.text(), "a control frame between two fragments")
		require.NoError(t, p.writeFrame(finalBit|opcodeContinuation, text[10:]))
		require.Equal(t, true, p.next()["ok"])
		require.NoError(t, p.writeFrame(finalBit|0x2, []byte(request("b", "echo", ""))))
		require.Equal(t, "b", p.next()["id"])
	})
}

func TestTooManyPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, func(c *Config) { c.Limits.Connections = 1 })
		first := s.admin()
		p := s.dial()
		p.next()
		p.send(connectFrame("operator"))
		m := p.next()
		require.Equal(t, "UNAVAILABLE", m["error"].(map[string]any)["code"])
		require.Equal(t, true, m["error"].(map[string]any)["retryable"])
		require.Equal(t, ending{1013, "too many connections"}, p.closed())
		require.NoError(t, first.writeFrame(finalBit|opcodeClose, nil))
		first.closed()
		synctest.Wait()
		s.admin()
		synctest.Wait()
		require.Equal(t, []string{"connected test", "ready test", "disconnected test", "connected test", "ready test"}, s.observer.list())
	})
}

// The library's own client agrees with what the hand-written one sees.
func TestWithTheLibrarysClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		ws := dialLibrary(t, s)
		ctx := t.Context()
		kind, _, err := ws.Read(ctx)
		require.NoError(t, err)
		require.Equal(t, websocket.MessageText, kind)
		require.NoError(t, ws.Write(ctx, websocket.MessageBinary, []byte(connectFrame("operator"))))
		kind, b, err := ws.Read(ctx)
		require.NoError(t, err)
		require.Equal(t, websocket.MessageText, kind)
		require.Contains(t, string(b), `"hello-ok"`)
		go func() { _, _, _ = ws.Read(ctx) }()
		require.NoError(t, ws.Ping(ctx))
		require.NoError(t, ws.Close(websocket.StatusNormalClosure, "bye"))
		synctest.Wait()
		require.Equal(t, []string{"connected test", "ready test", "disconnected test"}, s.observer.list())
	})
}
