package gateway

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// ends reports how long it takes until the gateway closes the connection, whose input r
// buffers. It waits for peerPatience.
func ends(conn net.Conn, r io.Reader) time.Duration {
	begin := time.Now()
	_ = conn.SetReadDeadline(begin.Add(peerPatience))
	_, _ = io.Copy(io.Discard, r)
	return time.Since(begin)
}

// No route reads a body, and one that trickles in does not keep its connection.
func TestSlowBodiesAreCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		conn, err := s.l.dial("127.0.0.1:1")
		require.NoError(t, err)
		var sender sync.WaitGroup
		sender.Go(func() {
			_, err := io.WriteString(conn, "POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
			for range 1000 {
				if err != nil {
					return
				}
				time.Sleep(time.Second)
				_, err = io.WriteString(conn, "x")
			}
		})
		took := ends(conn, conn)
		require.NoError(t, conn.Close())
		sender.Wait()
		require.LessOrEqual(t, took, httpTimeout+time.Second)
	})
}

// A client that does not read its answer holds its connection for one exchange.
func TestUnreadAnswersAreCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		conn, err := s.l.dial("127.0.0.1:1")
		require.NoError(t, err)
		_, err = io.WriteString(conn, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
		require.NoError(t, err)
		time.Sleep(httpTimeout + time.Second)
		synctest.Wait()
		_, err = conn.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err, "what nobody read is gone with the connection")
	})
}

func TestIdleConnectionsAreCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		conn, err := s.l.dial("127.0.0.1:1")
		require.NoError(t, err)
		_, err = io.WriteString(conn, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
		require.NoError(t, err)
		r := bufio.NewReader(conn)
		_, err = http.ReadResponse(r, nil)
		require.NoError(t, err)
		require.Equal(t, idleTimeout, ends(conn, r).Round(time.Second))
	})
}

// A peer that pings and does not read costs the room of one answer.
func TestPongsDoNotPileUp(t *testing.T) {
	o := newOutbox(nil, Limits{}.withDefaults(), &atomic.Int64{})
	for range 1000 {
		o.answerPing(make([]byte, 125))
	}
	require.Len(t, o.pong, 2+125)
}

// What was meant for somebody before authority was taken back is not delivered.
func TestSeverDropsWhatIsQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		p := s.pausedAdmin()
		for range 100 {
			s.emit("agent", kilobyte)
		}
		synctest.Wait()
		require.Equal(t, 1, s.g.Sever(func(*wire.Peer) bool { return true }, 1008, "device token revoked"))
		require.Equal(t, ending{1008, "device token revoked"}, p.resume().closed())
		require.LessOrEqual(t, len(p.frames), 1, "the event under way at most")
	})
}

// A client chooses its version and its headers; a line holds little of them, on one line.
func TestLogCutsWhatClientsSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		for _, token := range []string{"secret", "wrong"} {
			p := s.dial()
			p.next()
			version := strings.Repeat("v", 5000) + `\nlevel=ERROR msg=\u001b[31mforged`
			frame := strings.Replace(connectFrame("operator"), `"0.0.1"`, `"`+version+`"`, 1)
			p.send(strings.Replace(frame, `"secret"`, `"`+token+`"`, 1))
			p.next()
			require.NoError(t, p.conn.Close())
		}
		synctest.Wait()
		require.Contains(t, s.logs.String(), "client connected")
		for line := range strings.Lines(s.logs.String()) {
			require.Less(t, len(line), 1000)
			require.NotContains(t, line, "forged")
			require.NotContains(t, line, "\x1b")
		}
	})
}

// Every route is behind the check of Host, and none invites pages of another origin.
func TestNoRouteSpeaksToStrangePages(t *testing.T) {
	s := newServer(t, nil)
	for _, path := range []string{"/", "/health", "/ready", "/metrics", "/favicon.ico", "/__coderclaw__/canvas/", "/v1/chat/completions"} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, "PROPFIND"} {
			r := httptest.NewRequest(method, path, nil)
			r.Host = "evil.example"
			w := httptest.NewRecorder()
			s.g.ServeHTTP(w, r)
			require.Equal(t, http.StatusForbidden, w.Code, "%s %s", method, path)

			r.Host = "localhost:18789"
			r.Header.Set("Origin", "https://evil.example")
			w = httptest.NewRecorder()
			s.g.ServeHTTP(w, r)
			for name := range w.Header() {
				require.NotContains(t, name, "Access-Control", "%s %s", method, path)
			}
		}
	}
}

// FuzzBearer feeds the headers of a request for the metrics. Who is told them holds
// the secret, or is a program on this host that shows neither an origin nor a proxy.
func FuzzBearer(f *testing.F) {
	f.Add("Bearer secret", "", "", "", uint8(1))
	f.Add("bearer  secret\t", "192.0.2.1", "http://localhost", "none", uint8(0))
	f.Add("Basic secret", "nonsense", "", "same-origin", uint8(1))
	f.Add("Bearer", "", "null", "", uint8(2))
	s := newServer(f, nil)
	f.Fuzz(func(t *testing.T, authorization, forwarded, origin, site string, flags uint8) {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Host, r.RemoteAddr = "localhost:18789", "192.0.2.1:1"
		if flags&1 != 0 {
			r.RemoteAddr = "127.0.0.1:1"
		}
		for name, value := range map[string]string{"Authorization": authorization, "X-Forwarded-For": forwarded, "Origin": origin, "Sec-Fetch-Site": site} {
			if value != "" || flags&2 != 0 {
				r.Header[name] = []string{value}
			}
		}
		w := httptest.NewRecorder()
		s.g.ServeHTTP(w, r)
		require.Contains(t, []int{200, 401, 403, 429}, w.Code)
		if w.Code != http.StatusOK {
			require.NotContains(t, w.Body.String(), "coderclaw_gateway")
			return
		}
		scheme, secret, _ := strings.Cut(authorization, " ")
		if strings.EqualFold(scheme, "Bearer") && strings.TrimSpace(secret) == "secret" {
			return
		}
		remote := netip.MustParseAddrPort(r.RemoteAddr)
		require.True(t, remote.Addr().IsLoopback(), fmt.Sprint(r.Header))
		require.Empty(t, forwarded)
		require.Empty(t, r.Header.Values("Origin"))
		require.Contains(t, []string{"", "none"}, site)
	})
}

// FuzzFirstFrame feeds the first message of a stranger. It is a connect, whole, or the
// end of the connection, and its answer is bounded.
func FuzzFirstFrame(f *testing.F) {
	for _, seed := range []string{
		connectFrame("operator", "operator.admin"), connectFrame("node"), request("r", "health", ""), request("r", "connect", "null"),
		`{"type":"req","id":"a","id":"b","method":"connect"}`, `{"type":"req","id":1,"method":"connect","params":{}}`, "[[[[", "\xff",
		strings.Replace(connectFrame("operator"), `"linux"`, `"\u0000\ud800"`, 1),
	} {
		f.Add([]byte(seed))
	}
	s := newServer(f, nil)
	f.Fuzz(func(t *testing.T, message []byte) {
		here, there := net.Pipe()
		defer there.Close()
		c := &conn{g: s.g, id: "c", socket: here, out: newOutbox(here, s.g.limits, &atomic.Int64{}), cancel: func(error) {}}
		id, params, ok := c.connectRequest(bytes.Clone(message))
		require.Equal(t, ok, c.ending.code == 0, "an end for whoever is refused")
		for _, frame := range c.out.queue {
			require.LessOrEqual(t, len(frame), headerRoom+frameRoom+2*requestIDBytes*6+6*errorTextBytes)
		}
		if !ok {
			return
		}
		require.LessOrEqual(t, len(id), 2+6*requestIDBytes)
		require.True(t, json.Valid(id))
		again, err := protocol.DecodeConnectParams(params.AppendJSON(nil))
		require.NoError(t, err)
		require.Equal(t, string(params.AppendJSON(nil)), string(again.AppendJSON(nil)))
	})
}

// A peer that sends faster than it is served rests, so that the processor and the next
// look for input are there for others; one that waits for its answers never does.
func TestAFloodRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		flooder, large, polite := s.admin(), s.admin(), s.admin()
		ping := maskedFrame(finalBit|0x9, nil)
		flood := bytes.Repeat(ping, 10_000)
		begin := time.Now()
		_, err := flooder.conn.Write(flood)
		require.NoError(t, err)
		// What the last buffers hold is not waited for.
		inBuffers := 3 * readBufferBytes / len(ping) / fairFrames
		require.InDelta(t, 10_000/fairFrames, time.Since(begin)/fairPause, float64(inBuffers))

		flood = bytes.Repeat(maskedFrame(finalBit|opcodeText, []byte(request("big", "echo", fmt.Sprintf("%q", strings.Repeat("b", 1<<20))))), 4)
		begin = time.Now()
		go func() { _, _ = large.conn.Write(flood) }()
		for range 4 {
			large.response()
		}
		require.NotZero(t, time.Since(begin), "large frames count by their bytes")

		begin = time.Now()
		for range 500 {
			require.Equal(t, true, polite.call("echo", "")["ok"])
		}
		eight := bytes.Repeat(maskedFrame(finalBit|opcodeText, []byte(request("e", "echo", ""))), 8)
		for range 100 {
			_, err := polite.conn.Write(eight)
			require.NoError(t, err)
			for range 8 {
				polite.response()
			}
		}
		require.Zero(t, time.Since(begin))
	})
}
