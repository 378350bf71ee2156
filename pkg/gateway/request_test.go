package gateway

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/wire"
)

func TestRefusedRequests(t *testing.T) {
	long := strings.Repeat("x", 129)
	cases := []struct {
		name, role, frame string
		id                any // of the response
		message, detail   string
	}{
		{"an event", "operator", `{"type":"event","event":"foo"}`, "invalid",
			"invalid request frame: must have required property 'id'; must have required property 'method'; " +
				"at root: unexpected property 'event'; at /type: must be equal to constant", "INVALID_FRAME"},
		{"extra member", "operator", `{"type":"req","id":"x1","method":"health","extra":1}`, "x1",
			"invalid request frame: at root: unexpected property 'extra'", "INVALID_FRAME"},
		{"id is a number", "operator", `{"type":"req","id":5,"method":"health"}`, 5.0,
			"invalid request frame: at /id: must be string", "INVALID_FRAME"},
		{"id is null", "operator", `{"type":"req","id":null,"method":"health"}`, "invalid",
			"invalid request frame: at /id: must be string", "INVALID_FRAME"},
		{"id is a long number", "operator", `{"type":"req","id":` + strings.Repeat("1", 131) + `,"method":"health"}`, "invalid",
			"invalid request frame: at /id: must be string", "INVALID_FRAME"},
		{"id is an object", "operator", `{"type":"req","id":{"a":1},"method":"health"}`, "invalid",
			"invalid request frame: at /id: must be string", "INVALID_FRAME"},
		{"not an object", "operator", `[1]`, "invalid", "invalid request frame: must be object", "INVALID_FRAME"},
		{"id too long", "operator", request(long, "echo", ""), "invalid",
			"invalid request frame: at /id: must NOT have more than 128 characters", "INVALID_FRAME"},
		{"method too long", "operator", request("m", long, ""), "m",
			"invalid request frame: at /method: must NOT have more than 64 characters", "INVALID_FRAME"},
		{"second connect", "operator", connectFrame("operator"), "c1",
			"connect is only valid as the first request", "ALREADY_CONNECTED"},
		{"unknown method", "operator", request("u", "no.such.method", ""), "u",
			"unknown method: no.such.method", "UNKNOWN_METHOD"},
		{"unknown method for a node", "node", request("u", "no.such.method", ""), "u",
			"unknown method: no.such.method", "UNKNOWN_METHOD"},
		{"method for operators", "node", request("n", "read", ""), "n", "unauthorized role: node", "ROLE_UNAUTHORIZED"},
		{"method for nodes", "operator", request("n", "nodes", ""), "n", "unauthorized role: operator", "ROLE_UNAUTHORIZED"},
		{"missing scope", "operator", request("s", "read", ""), "s", "missing scope: operator.read", "MISSING_SCOPE"},
		{"scope before params", "operator", request("h", "chat.history", `{"x":1}`), "h", "missing scope: operator.read", "MISSING_SCOPE"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := start(t, nil).dial()
				p.connectAs(c.role, "operator.pairing")
				p.send(c.frame)
				m := p.next()
				require.Equal(t, c.id, m["id"])
				require.Equal(t, false, m["ok"])
				e := m["error"].(map[string]any)
				require.Equal(t, "INVALID_REQUEST", e["code"])
				require.Equal(t, c.message, e["message"])
				require.Equal(t, c.detail, e["details"].(map[string]any)["code"])
				require.Equal(t, true, p.call("echo", "")["ok"], "the connection stays open")
			})
		})
	}
}

func TestParamsAreValidated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, nil).admin()
		for _, c := range []struct{ params, message string }{
			{`{"limit":0,"foo":1}`, "invalid chat.history params: must have required property 'sessionKey'; " +
				"at root: unexpected property 'foo'; at /limit: must be >= 1"},
			{``, "invalid chat.history params: must have required property 'sessionKey'"},
			{`null`, "invalid chat.history params: must have required property 'sessionKey'"},
			{`[1]`, "invalid chat.history params: must be object"},
		} {
			e := p.call("chat.history", c.params)["error"].(map[string]any)
			require.Equal(t, "INVALID_REQUEST", e["code"])
			require.Equal(t, c.message, e["message"])
			require.Equal(t, "INVALID_PARAMS", e["details"].(map[string]any)["code"])
		}
	})
}

func TestErrorTextIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, nil).admin()
		var members []string
		for i := range 900 {
			members = append(members, fmt.Sprintf(`"unexpected-%d":1`, i))
		}
		e := p.call("chat.history", "{"+strings.Join(members, ",")+"}")["error"].(map[string]any)
		require.Len(t, e["message"], errorTextBytes)
	})
}

func TestResults(t *testing.T) {
	cases := []struct {
		name, method, params string
		want                 string // the response, with id q1
	}{
		{"params go through as they are", "echo", `{"a":[1, 2],"b":null}`, `{"type":"res","id":"q1","ok":true,"payload":{"a":[1, 2],"b":null}}`},
		{"absent params count as an empty object", "echo", ``, `{"type":"res","id":"q1","ok":true,"payload":{}}`},
		{"array params reach the handler", "echo", `[1]`, `{"type":"res","id":"q1","ok":true,"payload":[1]}`},
		{"unlisted methods work", "hidden", ``, `{"type":"res","id":"q1","ok":true,"payload":{}}`},
		{"a refusal keeps all its parts", "refuse", ``, `{"type":"res","id":"q1","ok":false,"payload":{"runId":"x"},` +
			`"error":{"code":"NOT_PAIRED","message":"no","details":{"requestId":"r9"},"retryable":false,"retryAfterMs":250}}`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := start(t, nil).admin()
				p.send(request("q1", c.method, c.params))
				require.Equal(t, c.want, p.text())
			})
		})
	}
}

// What a person can do something about is told: a disk that is full, or that fails.
func TestTroubleWithTheDiskIsTold(t *testing.T) {
	for method, code := range map[string]string{"full": "STORAGE_FULL", "no space": "STORAGE_FULL", "failed": "STORAGE_FAILED", "read-only": "STORAGE_FAILED"} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, nil)
				p := s.admin()
				e := p.call(method, "")["error"].(map[string]any)
				require.Equal(t, "UNAVAILABLE", e["code"])
				require.Equal(t, true, e["retryable"])
				require.Contains(t, e["message"], "disk")
				require.NotContains(t, e["message"], "/var/secret/path")
				details := e["details"].(map[string]any)
				require.Equal(t, code, details["code"])
				require.Contains(t, s.logs.String(), details["errorId"])
				require.Contains(t, s.logs.String(), "/var/secret/path")
			})
		})
	}
}

func TestUnexpectedFailuresAreNotTold(t *testing.T) {
	for method, secret := range map[string]string{"fail": "disk /dev/sda1 on fire", "panic": "hidden detail"} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, nil)
				p := s.admin()
				p.send(request("q1", method, ""))
				text := p.text()
				require.NotContains(t, text, secret)
				require.Contains(t, text, `"code":"UNAVAILABLE"`)
				require.Regexp(t, `"message":"internal error, id [0-9a-f]{12}"`, text)
				id := text[strings.Index(text, `, id `)+5:][:12]
				require.Contains(t, s.logs.String(), secret)
				require.Contains(t, s.logs.String(), "errorId="+id)
				if method == "panic" {
					require.Contains(t, s.logs.String(), "kit_test.go", "the stack")
				}
				require.Equal(t, true, p.call("echo", "")["ok"])
			})
		})
	}
}

func TestStagedMethodAnswersTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, nil).admin()
		p.send(request("s", "staged", ""))
		require.Equal(t, `{"type":"res","id":"s","ok":true,"payload":"accepted"}`, p.text())
		require.Equal(t, `{"type":"res","id":"s","ok":true,"payload":"final"}`, p.text())
		p.none()
	})
}

func TestEventsBeforeAndBehindTheResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, nil).admin()
		p.send(request("e", "emit", ""))
		require.Equal(t, "before", p.next()["payload"])
		require.Equal(t, "done", p.next()["payload"])
		require.Equal(t, "behind", p.next()["payload"])
	})
}

// A request that takes long holds up none of the others.
func TestRequestsOvertakeEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, nil).admin()
		begin := time.Now()
		p.send(request("slow", "sleep", `{"ms":60000}`))
		p.send(request("fast", "sleep", `{"ms":10}`))
		require.Equal(t, "fast", p.response()["id"])
		require.Equal(t, 10*time.Millisecond, time.Since(begin))
		require.Equal(t, "slow", p.response()["id"])
	})
}

func TestRequestsInFlightAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, func(c *Config) { c.Limits.RequestsInFlight = 3 }).admin()
		for i := range 3 {
			p.send(request(fmt.Sprint(i), "wait", ""))
		}
		begin := time.Now()
		p.send(request("extra", "echo", ""))
		m := p.next()
		require.Equal(t, time.Second, time.Since(begin), "reading pauses before it refuses")
		require.Equal(t, "extra", m["id"])
		e := m["error"].(map[string]any)
		require.Equal(t, "UNAVAILABLE", e["code"])
		require.Equal(t, true, e["retryable"])
		require.Equal(t, "TOO_MANY_REQUESTS", e["details"].(map[string]any)["code"])
		p.none()
	})
}

// A client that pipelines is slowed down, not refused.
func TestPipelinedRequestsWaitForTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, func(c *Config) { c.Limits.RequestsInFlight = 2 }).admin()
		for i := range 20 {
			p.send(request(fmt.Sprint(i), "sleep", `{"ms":100}`))
		}
		begin := time.Now()
		for range 20 {
			require.Equal(t, true, p.next()["ok"])
		}
		require.LessOrEqual(t, time.Since(begin), time.Second)
	})
}

func TestRequestBytesInFlightAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := start(t, func(c *Config) { c.Limits.RequestBytesInFlight = 1000 }).admin()
		big := fmt.Sprintf(`{"ms":50,"pad":%q}`, strings.Repeat("p", 2000))
		begin := time.Now()
		p.send(request("alone", "sleep", big))
		p.send(request("second", "sleep", big))
		require.Equal(t, "alone", p.next()["id"])
		require.Equal(t, 50*time.Millisecond, time.Since(begin))
		require.Equal(t, "second", p.next()["id"])
		require.Equal(t, 100*time.Millisecond, time.Since(begin), "one after the other")
	})
}

func TestRequestEndsWithItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		p := s.admin()
		p.send(request("w", "wait", ""))
		synctest.Wait()
		require.NoError(t, p.conn.Close())
		synctest.Wait()
		open, peers := s.g.hub.count()
		require.Zero(t, open+peers)
	})
}

func TestGarbageIsIgnoredAndCounted(t *testing.T) {
	cases := []struct {
		name   string
		pause  time.Duration
		closed bool
	}{
		{"twenty at once", 0, true},
		{"twenty within ten seconds", 500 * time.Millisecond, true},
		{"twenty in more than ten seconds", 530 * time.Millisecond, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := start(t, nil).admin()
				for i := range 19 {
					p.send("not json")
					time.Sleep(c.pause)
					if i%5 == 0 {
						require.Equal(t, true, p.call("echo", "")["ok"])
					}
				}
				p.none()
				p.send(`{"type":"req","id":"a","id":"b","method":"echo"}`)
				if !c.closed {
					require.Equal(t, true, p.call("echo", "")["ok"])
					return
				}
				require.Equal(t, ending{1008, "too many invalid frames"}, p.closed())
			})
		})
	}
}

func TestPingFloodIsAnsweredByTheLatest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		p := s.admin()
		var flood []byte
		for i := range 1000 {
			flood = append(flood, maskedFrame(finalBit|0x9, fmt.Appendf(nil, "%d", i))...)
		}
		_, err := p.conn.Write(flood)
		require.NoError(t, err)
		synctest.Wait()
		last := ""
		for len(p.frames) > 0 {
			last = <-p.frames
		}
		require.Equal(t, "pong 999", last)
	})
}

func TestRegisterRefusesMistakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		s.register()
		require.PanicsWithValue(t, "gateway: method echo registered twice", func() {
			s.g.Register(wire.MethodInfo{Name: "echo"}, nil)
		})
		s.run(s.l)
		synctest.Wait()
		require.PanicsWithValue(t, "gateway: method late registered while running", func() {
			s.g.Register(wire.MethodInfo{Name: "late"}, nil)
		})
		require.ErrorContains(t, s.g.Run(t.Context()), "run before")
	})
}
