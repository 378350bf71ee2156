package client

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
)

// runClient runs a client, which it stores in client first so that callbacks may
// use it, until cancel or the end of the test. ended tells what Run returned.
func runClient(t *testing.T, o Options, client **Client) (cancel context.CancelFunc, ended <-chan error) {
	c, err := New(o)
	require.NoError(t, err)
	*client = c
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- c.Run(ctx) }()
	t.Cleanup(cancel)
	return cancel, result
}

// notes is a log that several goroutines write.
type notes struct {
	mu   sync.Mutex
	list []string // guarded by mu
}

func (n *notes) add(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, text)
}

func TestClientComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := startGateway(t, func(c *fakeConn) {
			c.hello(time.Hour, "")
			if c.number == 1 {
				c.event("a", "1")
				time.Sleep(time.Minute)
				c.close(1012, "service restart")
				return
			}
			c.event("b", "2")
			for {
				r, ok := c.read()
				if !ok {
					return
				}
				c.answer(r.ID, `"from 2"`)
			}
		})
		var log notes
		o := g.options(t)
		var client *Client
		o.OnHello = func(h protocol.HelloOk) {
			log.add("hello " + h.Server.ConnID)
			if h.Server.ConnID == "conn-2" {
				got, err := client.Call(context.Background(), "health", nil, nil)
				log.add(fmt.Sprint(string(got), err))
			}
		}
		o.OnEvent = func(e Event) { log.add(e.Name) }
		var wait time.Duration
		o.OnDown = func(err error, retryIn time.Duration) {
			log.add("down: " + err.Error())
			wait = retryIn
		}
		cancel, ended := runClient(t, o, &client)
		time.Sleep(2 * time.Minute)
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		require.Equal(t, []string{
			"hello conn-1", "a", "down: gateway closed the connection (1012): service restart", "hello conn-2", `"from 2"<nil>`, "b",
		}, log.list)
		require.InDelta(t, time.Second, wait, 0.2*float64(time.Second))
		_, err := client.Call(t.Context(), "health", nil, nil)
		require.ErrorIs(t, err, context.Canceled, "calls after Run")
	})
}

// A callback that waits for a connection must not keep the next one from being
// made.
func TestACallbackMayWaitForTheNextConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := startGateway(t, func(c *fakeConn) {
			c.hello(time.Hour, "")
			if c.number == 1 {
				c.event("a", "1")
				time.Sleep(time.Second)
				return
			}
			r, _ := c.read()
			c.answer(r.ID, `"from 2"`)
			c.wait()
		})
		o := g.options(t)
		var client *Client
		answers := make(chan string, 1)
		o.OnEvent = func(Event) {
			time.Sleep(1500 * time.Millisecond) // until the connection is gone
			got, err := client.Call(context.Background(), "health", nil, nil)
			answers <- fmt.Sprint(string(got), err)
		}
		cancel, ended := runClient(t, o, &client)
		require.Equal(t, `"from 2"<nil>`, <-answers)
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	})
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := startGateway(t, func(c *fakeConn) {
			switch {
			case c.number <= 7: // hangs up without a word
			case c.number == 8:
				c.hello(time.Hour, "")
			default:
				id, _ := c.challenge()
				c.refuse(id, `{"code":"INVALID_REQUEST","message":"unauthorized: gateway token mismatch (provide gateway auth token)"}`)
			}
		})
		o := g.options(t)
		var waits []time.Duration
		o.OnDown = func(_ error, retryIn time.Duration) { waits = append(waits, retryIn) }
		var client *Client
		_, ended := runClient(t, o, &client)
		var refused *RefusedError
		require.ErrorAs(t, <-ended, &refused, "a refusal for good ends Run")
		require.Equal(t, 9, g.connections())
		for i, seconds := range []float64{1, 2, 4, 8, 16, 30, 30, 1} {
			want := seconds * float64(time.Second)
			require.InDelta(t, want, waits[i], 0.2*want+1, "wait %d", i)
		}
		require.Len(t, waits, 8)
		_, err := client.Call(t.Context(), "health", nil, nil)
		require.ErrorAs(t, err, &refused, "calls learn why there is no connection")
	})
}

func TestADeviceThatWaitsForApprovalKeepsTrying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := startGateway(t, func(c *fakeConn) {
			if c.number == 3 {
				c.hello(time.Hour, "")
				c.wait()
				return
			}
			id, _ := c.challenge()
			c.refuse(id, `{"code":"NOT_PAIRED","message":"pairing required"}`)
			c.close(1008, "pairing required")
		})
		connected := make(chan struct{})
		o := g.options(t)
		o.OnHello = func(protocol.HelloOk) { close(connected) }
		var client *Client
		cancel, ended := runClient(t, o, &client)
		<-connected
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	})
}

// A secret that changes while a client runs costs it a connection: it goes on with the
// device token that came with the old one, whether the gateway says so in its close
// frame or was away meanwhile, and whatever other programs of the device have done to
// the store.
func TestAChangedSecretLeavesTheDeviceToken(t *testing.T) {
	for name, away := range map[string]bool{"told": false, "away": true} {
		t.Run(name, func(t *testing.T) {
			id, err := LoadIdentity(t.TempDir())
			require.NoError(t, err)
			tokens := OpenTokens(t.TempDir(), id.DeviceID)
			synctest.Test(t, func(t *testing.T) {
				var log notes
				g := startGateway(t, func(c *fakeConn) {
					switch {
					case c.number == 1:
						log.add("with " + c.hello(time.Hour, "issued").Auth.Token)
						if !away {
							c.close(protocol.CloseGatewaySecretChangedCode, protocol.CloseGatewaySecretChanged)
						}
					case c.number == 2 && away:
						id, r := c.challenge()
						log.add("refused " + r.Auth.Token)
						c.refuse(id, `{"code":"INVALID_REQUEST","message":"unauthorized: gateway token mismatch (provide gateway auth token)"}`)
					case c.number < 5:
						r := c.hello(time.Hour, "issued")
						verifyDevice(t, r)
						log.add("with " + r.Auth.Token)
						if c.number < 4 { // another program of the device has talked to another gateway
							require.NoError(t, tokens.Put("ws://elsewhere:1", "operator", "other", nil))
							c.close(1012, "service restart")
						}
					default:
						id, _ := c.challenge()
						c.refuse(id, `{"code":"INVALID_REQUEST","message":"unauthorized: device token mismatch (rotate/reissue device token)"}`)
					}
				})
				o := g.options(t)
				o.Token, o.Identity, o.Tokens = "first-secret", id, tokens
				var client *Client
				_, ended := runClient(t, o, &client)
				var refused *RefusedError
				require.ErrorAs(t, <-ended, &refused, "a revoked device token is the end")
				want := []string{"with first-secret", "with issued", "with issued", "with issued"}
				if away {
					want = []string{"with first-secret", "refused first-secret", "with issued", "with issued"}
				}
				require.Equal(t, want, log.list)
			})
		})
	}
}

// A secret that was wrong from the start is told, and a device token of earlier days
// does not hide it.
func TestAWrongSecretIsTold(t *testing.T) {
	id, err := LoadIdentity(t.TempDir())
	require.NoError(t, err)
	tokens := OpenTokens(t.TempDir(), id.DeviceID)
	synctest.Test(t, func(t *testing.T) {
		g := startGateway(t, func(c *fakeConn) {
			id, _ := c.challenge()
			c.refuse(id, `{"code":"INVALID_REQUEST","message":"unauthorized: gateway token mismatch (provide gateway auth token)"}`)
		})
		o := g.options(t)
		o.Token, o.Identity, o.Tokens = "wrong-secret", id, tokens
		addr, err := ParseAddress(o.URL)
		require.NoError(t, err)
		require.NoError(t, tokens.Put(addr.Origin(), "operator", "issued", nil))
		var client *Client
		_, ended := runClient(t, o, &client)
		var refused *RefusedError
		require.ErrorAs(t, <-ended, &refused)
		require.Equal(t, 1, g.connections())
	})
}
