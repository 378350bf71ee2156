package client

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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

// testIdentity returns an identity and a token store in a directory of its own.
func testIdentity(t *testing.T) (*Identity, *Tokens) {
	dir := t.TempDir()
	id, err := LoadIdentity(dir)
	require.NoError(t, err)
	return id, OpenTokens(dir, id.DeviceID)
}

func TestDialProvesTheDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got connectRequest
		g := startGateway(t, func(c *fakeConn) {
			got = c.hello(time.Minute, "issued")
			c.wait()
		})
		o := g.options(t)
		o.Identity, o.Tokens = testIdentity(t)
		o.Token = "shared"
		o.Caps = []string{"tool-events"}
		conn, err := Dial(t.Context(), o)
		require.NoError(t, err)
		require.Equal(t, "9.9.9", conn.Hello().Server.Version)
		require.NoError(t, conn.Close())

		verifyDevice(t, got)
		require.Equal(t, 3, got.MinProtocol)
		require.Equal(t, 3, got.MaxProtocol)
		require.Equal(t, "operator", got.Role)
		require.Equal(t, []string{"operator.admin", "operator.pairing"}, got.Scopes, "in the order given")
		require.Equal(t, []string{"tool-events"}, got.Caps)
		require.Equal(t, "shared", got.Auth.Token)
		require.Equal(t, fakeNonce, got.Device.Nonce)
		require.EqualValues(t, fakeTs, got.Device.SignedAt, "the gateway's clock, not ours")

		token, err := o.Tokens.Get("ws://localhost:18789", "operator", true)
		require.NoError(t, err)
		require.Equal(t, "issued", token)
	})
}

// A password is sent beside the signature, which does not cover it: verifyDevice
// knows of none. The stored token stays where it is, since the password proves more.
func TestDialSendsThePassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got connectRequest
		g := startGateway(t, func(c *fakeConn) { got = c.hello(time.Minute, "issued"); c.wait() })
		o := g.options(t)
		o.Identity, o.Tokens = testIdentity(t)
		require.NoError(t, o.Tokens.Put("ws://localhost:18789", "operator", "stored", nil))
		o.Password = "open sesame"
		conn, err := Dial(t.Context(), o)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		verifyDevice(t, got)
		require.Equal(t, "open sesame", got.Auth.Password)
		require.Empty(t, got.Auth.Token)

		o.URL, o.HTTPClient = "ws://192.0.2.1:18789", nil
		_, err = Dial(t.Context(), o)
		require.ErrorIs(t, err, ErrPlaintext, "nor does it leave this host readable")
	})
}

func TestDialWithoutADeviceSendsNoProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got connectRequest
		g := startGateway(t, func(c *fakeConn) { got = c.hello(time.Minute, ""); c.wait() })
		conn, err := Dial(t.Context(), g.options(t))
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		require.Nil(t, got.Device)
		require.Empty(t, got.Auth.Token)
	})
}

// Where a new token cannot be stored, as on a full disk, the connection serves all the
// same.
func TestATokenThatCannotBeKeptCostsNoConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := startGateway(t, func(c *fakeConn) { c.hello(time.Minute, "issued"); c.wait() })
		o := g.options(t)
		o.Identity, o.Tokens = testIdentity(t)
		file := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		o.Tokens = OpenTokens(file, o.Identity.DeviceID) // no folder can be made there
		o.Token = "secret"
		var logs bytes.Buffer
		o.Log = slog.New(slog.NewTextHandler(&logs, nil))
		conn, err := Dial(t.Context(), o)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		require.Contains(t, logs.String(), "device token not kept")
		require.NotContains(t, logs.String(), "issued")
	})
}

// A stored device token serves when no secret is given, and is forgotten when the
// gateway refuses it. A refused secret, which is told in the same words, costs no
// token.
func TestDialUsesAndDropsTheStoredToken(t *testing.T) {
	mismatch := `{"code":"INVALID_REQUEST","message":"unauthorized: device token mismatch (rotate/reissue device token)"}`
	for _, tc := range []struct {
		name, secret, sent, left string
		dropped                  bool
	}{
		{name: "stored token refused", sent: "stored", left: "", dropped: true},
		{name: "secret refused", secret: "wrong", sent: "wrong", left: "stored"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got connectRequest
				g := startGateway(t, func(c *fakeConn) {
					var id string
					id, got = c.challenge()
					c.refuse(id, mismatch)
					c.close(1008, "unauthorized: device token mismatch (rotate/reissue device token)")
				})
				o := g.options(t)
				o.Identity, o.Tokens = testIdentity(t)
				o.Token = tc.secret
				require.NoError(t, o.Tokens.Put("ws://localhost:18789", "operator", "stored", nil))
				_, err := Dial(t.Context(), o)
				var refused *RefusedError
				require.ErrorAs(t, err, &refused)
				require.Equal(t, tc.dropped, refused.TokenDropped)
				require.True(t, refused.Final())
				verifyDevice(t, got)
				require.Equal(t, tc.sent, got.Auth.Token)
				token, err := o.Tokens.Get("ws://localhost:18789", "operator", true)
				require.NoError(t, err)
				require.Equal(t, tc.left, token)
			})
		})
	}
}

func TestDialRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := startGateway(t, func(c *fakeConn) {
			id, _ := c.challenge()
			c.refuse(id, `{"code":"NOT_PAIRED","message":"pairing required","details":{"requestId":"r-1"}}`)
			c.close(1008, "pairing required")
		})
		_, err := Dial(t.Context(), g.options(t))
		var werr *wire.Error
		require.ErrorAs(t, err, &werr)
		require.Equal(t, "NOT_PAIRED", werr.Code)
		require.JSONEq(t, `{"requestId":"r-1"}`, string(werr.Details))
		var refused *RefusedError
		require.ErrorAs(t, err, &refused)
		require.False(t, refused.Final(), "somebody may approve the device")
		require.EqualError(t, err, "connect to ws://127.0.0.1:18789: pairing required")
	})
}

func TestDialEndsWithoutAnAnswer(t *testing.T) {
	t.Run("closed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := startGateway(t, func(c *fakeConn) { c.close(1012, "service restart") })
			_, err := Dial(t.Context(), g.options(t))
			var ce *CloseError
			require.ErrorAs(t, err, &ce)
			require.Equal(t, &CloseError{Code: 1012, Reason: "service restart"}, ce)
		})
	})
	t.Run("silent", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := startGateway(t, func(c *fakeConn) { c.wait() })
			start := time.Now()
			_, err := Dial(t.Context(), g.options(t))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, 10*time.Second, time.Since(start))
		})
	})
	t.Run("no gateway", func(t *testing.T) {
		server := httptest.NewServer(http.NotFoundHandler())
		defer server.Close()
		_, err := Dial(t.Context(), Options{URL: server.URL})
		require.ErrorContains(t, err, "it answers HTTP 404 Not Found, not as a gateway")
	})
}

func TestDialFollowsNoRedirect(t *testing.T) {
	var reached atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer elsewhere.Close()
	server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	_, err := Dial(t.Context(), Options{URL: server.URL, Token: "secret"})
	require.ErrorContains(t, err, "HTTP 307")
	require.False(t, reached.Load())
}

func TestDialRefusesPlaintextToAnotherHost(t *testing.T) {
	for _, url := range []string{"ws://192.168.1.5:18789", "ws://gw.example.com", "http://127.evil.com:18789", "ws://0.0.0.0:18789"} {
		o := Options{URL: url, Token: "secret", HTTPClient: &http.Client{Transport: unreachable{t}}}
		_, err := Dial(t.Context(), o)
		require.ErrorIs(t, err, ErrPlaintext, url)
		_, err = New(o)
		require.ErrorIs(t, err, ErrPlaintext, url)
	}
	_, err := New(Options{URL: "ws://192.168.1.5:18789", AllowPlaintext: true})
	require.NoError(t, err)
	_, err = New(Options{URL: "wss://gw.example.com"})
	require.NoError(t, err)
}

// unreachable fails the test when anything is sent.
type unreachable struct{ t *testing.T }

func (u unreachable) RoundTrip(r *http.Request) (*http.Response, error) {
	u.t.Errorf("a request went to %s", r.URL)
	return nil, http.ErrServerClosed
}

// dialFake connects to a gateway that shakes hands and then runs serve.
func dialFake(t *testing.T, change func(*Options), serve func(c *fakeConn)) *Conn {
	g := startGateway(t, func(c *fakeConn) {
		c.hello(time.Minute, "")
		serve(c)
	})
	o := g.options(t)
	if change != nil {
		change(&o)
	}
	conn, err := Dial(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestCallsAreAnsweredOutOfOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := dialFake(t, nil, func(c *fakeConn) {
			var ids []string
			var params []string
			for range 3 {
				r, ok := c.read()
				if !ok {
					return
				}
				ids, params = append(ids, r.ID), append(params, string(r.Params))
			}
			for i := 2; i >= 0; i-- {
				c.answer(ids[i], `{"echo":`+params[i]+`}`)
			}
			c.wait()
		})
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				got, err := conn.Call(t.Context(), "health", []byte(fmt.Sprint(i)), nil)
				if err != nil || string(got) != fmt.Sprintf(`{"echo":%d}`, i) {
					t.Errorf("call %d: %s, %v", i, got, err)
				}
			})
		}
		wg.Wait()
	})
}

func TestCallReturnsTheRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := dialFake(t, nil, func(c *fakeConn) {
			r, _ := c.read()
			c.refuse(r.ID, `{"code":"UNAVAILABLE","message":"later","details":{"errorId":"x"},"retryable":true,"retryAfterMs":1500}`)
			c.wait()
		})
		_, err := conn.Call(t.Context(), "health", nil, nil)
		var werr *wire.Error
		require.ErrorAs(t, err, &werr)
		retryable, after := true, int64(1500)
		require.Equal(t, &wire.Error{Code: "UNAVAILABLE", Message: "later", Details: []byte(`{"errorId":"x"}`), Retryable: &retryable, RetryAfterMs: &after}, werr)
	})
}

func TestTypedClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := dialFake(t, nil, func(c *fakeConn) {
			r, _ := c.read()
			if r.Method != "sessions.preview" || string(r.Params) != `{"keys":["main"],"limit":2}` {
				t.Errorf("request %s %s", r.Method, r.Params)
			}
			c.answer(r.ID, `{"ts":7,"previews":[{"key":"main","status":"added-later","items":[],"more":1}]}`)
			c.wait()
		})
		api := protocol.Client{Caller: conn}
		got, err := api.SessionsPreview(t.Context(), protocol.SessionsPreviewParams{Keys: []string{"main"}, Limit: wire.Some[int64](2)})
		require.NoError(t, err)
		require.EqualValues(t, 7, got.Ts)
		require.EqualValues(t, "added-later", got.Previews[0].Status, "results are decoded open")
	})
}

func TestStagedCalls(t *testing.T) {
	const accepted = `{"runId":"r","status":"accepted","acceptedAt":5}`
	const final = `{"runId":"r","status":"ok","summary":"completed"}`
	for _, tc := range []struct {
		name   string
		serve  func(c *fakeConn, id string)
		acks   int
		result string
		err    string
	}{
		{"ack then result", func(c *fakeConn, id string) { c.answer(id, accepted); c.answer(id, final) }, 1, final, ""},
		{"replayed result without ack", func(c *fakeConn, id string) { c.answer(id, final) }, 0, final, ""},
		{"refused at once", func(c *fakeConn, id string) { c.refuse(id, `{"code":"INVALID_REQUEST","message":"no"}`) }, 0, "", "INVALID_REQUEST: no"},
		{"failed after the ack", func(c *fakeConn, id string) {
			c.answer(id, accepted)
			c.send(`{"type":"res","id":"` + id + `","ok":false,"payload":{"runId":"r","status":"error","summary":"broken"},"error":{"code":"UNAVAILABLE","message":"broken"}}`)
		}, 1, "", "UNAVAILABLE: broken"},
	} {
		for _, withAck := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, ack wanted %v", tc.name, withAck), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					conn := dialFake(t, nil, func(c *fakeConn) {
						r, _ := c.read()
						tc.serve(c, r.ID)
						c.wait()
					})
					acks := 0
					var ack func([]byte)
					if withAck {
						ack = func(payload []byte) {
							acks++
							require.JSONEq(t, accepted, string(payload))
						}
					}
					got, err := conn.Call(t.Context(), "agent", []byte(`{}`), ack)
					if tc.err != "" {
						require.EqualError(t, err, tc.err)
					} else {
						require.NoError(t, err)
						require.JSONEq(t, tc.result, string(got))
					}
					if withAck {
						require.Equal(t, tc.acks, acks)
					}
				})
			})
		}
	}
}

// A method that is not staged may answer with a status of its own.
func TestAcceptedIsAResultWhereNothingIsStaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := dialFake(t, nil, func(c *fakeConn) {
			r, _ := c.read()
			c.answer(r.ID, `{"status":"accepted"}`)
			c.wait()
		})
		got, err := conn.Call(t.Context(), "node.pair.request", nil, nil)
		require.NoError(t, err)
		require.JSONEq(t, `{"status":"accepted"}`, string(got))
	})
}

func TestACancelledCallLeavesTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := dialFake(t, nil, func(c *fakeConn) {
			first, _ := c.read()
			second, _ := c.read()
			c.answer(first.ID, `"too late"`)
			c.answer(second.ID, `"in time"`)
			c.wait()
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := conn.Call(ctx, "health", nil, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		got, err := conn.Call(t.Context(), "health", nil, nil)
		require.NoError(t, err)
		require.Equal(t, `"in time"`, string(got))
	})
}

func TestCallsEndWithTheConnection(t *testing.T) {
	t.Run("closed by the gateway", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			conn := dialFake(t, nil, func(c *fakeConn) { _, _ = c.read(); c.close(1008, "slow consumer") })
			_, err := conn.Call(t.Context(), "health", nil, nil)
			var ce *CloseError
			require.ErrorAs(t, err, &ce)
			require.Equal(t, 1008, ce.Code)
			require.EqualError(t, err, "gateway closed the connection (1008): slow consumer")
			<-conn.Done()
			_, err = conn.Call(t.Context(), "health", nil, nil)
			require.ErrorAs(t, err, &ce)
		})
	})
	t.Run("closed by this side", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			conn := dialFake(t, nil, func(c *fakeConn) { c.wait() })
			failed := make(chan error)
			go func() {
				_, err := conn.Call(t.Context(), "health", nil, nil)
				failed <- err
			}()
			synctest.Wait()
			require.NoError(t, conn.Close())
			require.ErrorIs(t, <-failed, ErrClosed)
			require.ErrorIs(t, conn.Err(), ErrClosed)
			require.NoError(t, conn.Close())
		})
	})
}

func TestARequestBeyondTheGatewaysLimitIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := dialFake(t, nil, func(c *fakeConn) {
			r, ok := c.read()
			if ok && len(r.Params) > 4096 {
				t.Error("the request was sent")
			}
			c.answer(r.ID, `1`)
			c.wait()
		})
		_, err := conn.Call(t.Context(), "chat.send", []byte(`"`+strings.Repeat("x", 5000)+`"`), nil)
		require.ErrorContains(t, err, "the gateway takes 4096")
		_, err = conn.Call(t.Context(), "health", nil, nil)
		require.NoError(t, err)
	})
}

// 25 MiB is read; a byte more ends the connection with 1009, and in between no
// frame of nonsense does.
func TestFrameLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		frame := func(size int) string {
			const head, tail = `{"type":"event","event":"big","payload":"`, `"}`
			return head + strings.Repeat("x", size-len(head)-len(tail)) + tail
		}
		sizes := make(chan int, 2)
		conn := dialFake(t, func(o *Options) { o.OnEvent = func(e Event) { sizes <- len(e.Payload) } }, func(c *fakeConn) {
			c.send(frame(frameBytesMax))
			c.send(`nonsense`)
			c.send(`{"type":"unknown"}`)
			c.send(`{"type":"event","event":"small","payload":1}`)
			c.send(frame(frameBytesMax + 1))
		})
		require.Greater(t, <-sizes, frameBytesMax-100)
		require.Equal(t, 1, <-sizes)
		<-conn.Done()
		require.Error(t, conn.Err())
	})
}
