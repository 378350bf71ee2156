package gateway

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/wire"
)

func TestHTTPRoutes(t *testing.T) {
	cases := []struct {
		name, method, path string
		tune               func(r *http.Request)
		status             int
		body               string // exact, unless empty
		retryAfter         string
	}{
		{name: "health", path: "/health", status: 200, body: `{"ok":true}`},
		{name: "health, head", method: "HEAD", path: "/health", status: 200},
		{name: "health, post", method: "POST", path: "/health", status: 405, body: "Method Not Allowed"},
		{name: "health from afar", path: "/health", tune: func(r *http.Request) { r.RemoteAddr = "192.0.2.1:1" }, status: 200},
		{name: "ready", path: "/ready", status: 200, body: `{"ready":true}`},
		{name: "root", path: "/", status: 404, body: "Not Found"},
		{name: "below health", path: "/health/x", status: 404, body: "Not Found"},
		{name: "refused host", path: "/health", tune: func(r *http.Request) { r.Host = "evil.example" }, status: 403,
			body: "host not allowed (add it to gateway.allowedHosts)\n"},
		{name: "refused host on an unknown path", path: "/x", tune: func(r *http.Request) { r.Host = "evil.example" }, status: 403},
		{name: "metrics, local", path: "/metrics", status: 200},
		{name: "metrics from afar", path: "/metrics", tune: func(r *http.Request) { r.RemoteAddr = "192.0.2.1:1" }, status: 401,
			body: `{"error":{"message":"Unauthorized","type":"unauthorized"}}`},
		{name: "metrics from afar with the secret", path: "/metrics", tune: func(r *http.Request) {
			r.RemoteAddr = "192.0.2.1:1"
			r.Header.Set("Authorization", "bearer secret")
		}, status: 200},
		{name: "metrics from afar with another secret", path: "/metrics", tune: func(r *http.Request) {
			r.RemoteAddr = "192.0.2.1:1"
			r.Header.Set("Authorization", "Bearer wrong")
		}, status: 401},
		{name: "metrics, the secret as basic auth", path: "/metrics", tune: func(r *http.Request) {
			r.RemoteAddr = "192.0.2.1:1"
			r.Header.Set("Authorization", "Basic secret")
		}, status: 401},
		{name: "metrics, one guess too many", path: "/metrics", tune: func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer once too often")
		}, status: 429, retryAfter: "2"},
		{name: "metrics, a proxy that says nothing believable", path: "/metrics", tune: func(r *http.Request) { r.Header.Set("X-Forwarded-For", "nonsense") }, status: 403},
		{name: "metrics through a proxy", path: "/metrics", tune: func(r *http.Request) { r.Header.Set("X-Forwarded-For", "10.0.0.1") }, status: 401},
		{name: "metrics from a page", path: "/metrics", tune: func(r *http.Request) { r.Header.Set("Origin", "http://localhost") }, status: 401},
		{name: "metrics with an empty origin", path: "/metrics", tune: func(r *http.Request) { r.Header.Set("Origin", "") }, status: 401},
		{name: "metrics, fetched by a page", path: "/metrics", tune: func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-origin") }, status: 401},
		{name: "metrics, typed into a browser", path: "/metrics", tune: func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "none") }, status: 200},
		{name: "metrics, refused host with the secret", path: "/metrics", tune: func(r *http.Request) {
			r.Host = "evil.example"
			r.Header.Set("Authorization", "Bearer secret")
		}, status: 403},
		{name: "a botched upgrade", path: "/", tune: func(r *http.Request) { r.Header.Set("Upgrade", "h2c, WebSocket") }, status: 426},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, nil)
				synctest.Wait()
				method := c.method
				if method == "" {
					method = http.MethodGet
				}
				r := httptest.NewRequest(method, c.path, nil)
				r.Host, r.RemoteAddr = "localhost:18789", "127.0.0.1:1"
				if c.tune != nil {
					c.tune(r)
				}
				w := httptest.NewRecorder()
				s.g.ServeHTTP(w, r)
				require.Equal(t, c.status, w.Code)
				if c.body != "" {
					require.Equal(t, c.body, w.Body.String())
				}
				require.Equal(t, c.retryAfter, w.Header().Get("Retry-After"))
				require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
				require.Equal(t, "no-referrer", w.Header().Get("Referrer-Policy"))
			})
		})
	}
}

func TestReadyFollowsTheLifeOfTheGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		status := func(header string) int {
			r := httptest.NewRequest(http.MethodGet, "/ready", nil)
			if header != "" {
				r.Header.Set("Upgrade", header)
			}
			w := httptest.NewRecorder()
			s.g.ServeHTTP(w, r)
			return w.Code
		}
		require.Equal(t, 503, status(""))
		require.Equal(t, 503, status("websocket"))
		draining := make(chan int, 1)
		s.g.Register(wire.MethodInfo{Name: "late", Role: "any"}, func(ctx context.Context, _ *wire.Peer, _ []byte, _ wire.Ack) ([]byte, error) {
			<-ctx.Done()
			draining <- status("")
			return nil, ctx.Err()
		})
		s.run(s.l)
		synctest.Wait()
		require.Equal(t, 200, status(""))
		s.admin().send(request("l", "late", ""))
		synctest.Wait()
		require.NoError(t, s.stop(nil))
		require.Equal(t, 503, <-draining)
		require.Equal(t, 503, status("websocket"))
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		p := s.admin()
		for _, method := range []string{"echo", "echo", "fail", "refuse", "no.such.method", "nodes"} {
			p.call(method, "")
		}
		p.call("sleep", `{"ms":20}`)
		bad := s.dial()
		bad.send("garbage")
		bad.closed()
		synctest.Wait()
		var b bytes.Buffer
		s.g.writeMetrics(&b)
		for _, line := range []string{
			"coderclaw_gateway_connections 1",
			"coderclaw_gateway_handshakes 0",
			"coderclaw_gateway_queue_bytes 0",
			"coderclaw_gateway_accepted_total 2",
			`coderclaw_gateway_refused_total{reason="not json"} 1`,
			`coderclaw_gateway_closes_total{code="1000"} 1`,
			`coderclaw_gateway_requests_total{method="",outcome="UNKNOWN_METHOD"} 1`,
			`coderclaw_gateway_requests_total{method="echo",outcome="ok"} 2`,
			`coderclaw_gateway_requests_total{method="fail",outcome="UNAVAILABLE"} 1`,
			`coderclaw_gateway_requests_total{method="nodes",outcome="ROLE_UNAUTHORIZED"} 1`,
			`coderclaw_gateway_requests_total{method="refuse",outcome="NOT_PAIRED"} 1`,
			"# TYPE coderclaw_gateway_request_seconds histogram",
			`coderclaw_gateway_request_seconds_bucket{le="0.005"} 4`,
			`coderclaw_gateway_request_seconds_bucket{le="0.025"} 5`,
			`coderclaw_gateway_request_seconds_bucket{le="+Inf"} 5`,
			"coderclaw_gateway_request_seconds_sum 0.02",
			"coderclaw_gateway_request_seconds_count 5",
		} {
			require.Contains(t, b.String(), line+"\n")
		}
		require.NotContains(t, b.String(), "no.such.method", "no label that a client chose")
	})
}

// Nothing a client sends gets into the log, and no connection writes many lines.
func TestLogTellsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		p := s.admin()
		p.call("echo", `"body of the message"`)
		p.call("chat.history", `{"secret member":1}`)
		for range 15 {
			p.send("body that is not json")
		}
		require.NoError(t, p.writeFrame(finalBit|opcodeClose, nil))
		p.closed()
		synctest.Wait()
		logs := s.logs.String()
		for _, word := range []string{"body", "secret"} {
			require.NotContains(t, logs, word)
		}
		require.Contains(t, logs, "client connected")
		require.Contains(t, logs, "client disconnected")
		require.Equal(t, 3, bytes.Count([]byte(logs), []byte("\n")), logs)
	})
}
