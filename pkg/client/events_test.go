package client

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
)

func TestEventsComeInOrderWithTheirGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log []string
		note := func(format string, args ...any) { log = append(log, fmt.Sprintf(format, args...)) }
		conn := dialFake(t, func(o *Options) {
			o.OnHello = func(h protocol.HelloOk) { note("hello %s", h.Server.ConnID) }
			o.OnEvent = func(e Event) { note("%s %s %d %v", e.Name, e.Payload, e.Seq, e.Sequenced) }
			o.OnGap = func(g Gap) { note("gap %d-%d", g.Expected, g.Received) }
		}, func(c *fakeConn) {
			c.seq = 40
			c.event("a", "1")
			c.send(`{"type":"event","event":"tool","payload":{"x":2}}`)
			c.event("b", "3")
			c.seq += 2
			c.event("c", "4")
			c.event("d", "null")
			c.close(1012, "service restart")
		})
		<-conn.Done()
		require.NoError(t, conn.Close())
		require.Equal(t, []string{
			"hello conn-1", "a 1 41 true", `tool {"x":2} 0 false`, "b 3 42 true", "gap 43-45", "c 4 45 true", "d null 46 true",
		}, log)
		require.Equal(t, &CloseError{Code: 1012, Reason: "service restart"}, conn.Err())
	})
}

// OnEvent may ask the gateway, which needs the reader to go on reading.
func TestACallbackMayCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var conn *Conn
		dialed, answers := make(chan struct{}), make(chan string, 1)
		conn = dialFake(t, func(o *Options) {
			o.OnEvent = func(Event) {
				<-dialed
				got, err := conn.Call(context.Background(), "health", nil, nil)
				answers <- fmt.Sprint(string(got), err)
			}
		}, func(c *fakeConn) {
			c.event("a", "1")
			r, _ := c.read()
			c.answer(r.ID, "7")
			c.wait()
		})
		close(dialed)
		require.Equal(t, "7<nil>", <-answers)
	})
}

func TestASlowCallbackLosesEventsAndIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sent = eventsMax + 100
		proceed := make(chan struct{})
		var events, dropped int
		var last string
		conn := dialFake(t, func(o *Options) {
			o.OnEvent = func(e Event) { <-proceed; events++; last = e.Name }
			o.OnGap = func(g Gap) { dropped += g.Dropped }
		}, func(c *fakeConn) {
			for i := range sent {
				c.event(fmt.Sprint("e", i), "null")
			}
			r, _ := c.read() // the reader is alive although OnEvent is not
			c.answer(r.ID, "1")
			_, _ = c.read()
			c.event("after", "null")
			c.close(1000, "")
		})
		_, err := conn.Call(t.Context(), "health", nil, nil)
		require.NoError(t, err)
		close(proceed)
		synctest.Wait()
		// One was taken by the callback, eventsMax waited.
		require.Equal(t, eventsMax+1, events)
		require.Equal(t, sent-eventsMax-1, dropped)
		go func() { _, _ = conn.Call(context.Background(), "health", nil, nil) }()
		<-conn.Done()
		require.NoError(t, conn.Close())
		require.Equal(t, "after", last)
	})
}

func TestQueueBoundsBytes(t *testing.T) {
	q := newEventQueue()
	q.push(Event{Name: "huge", Payload: make(json.RawMessage, eventBytesMax+1)})
	q.push(Event{Name: "dropped", Payload: []byte("1")})
	e, dropped, ok := q.pop()
	require.True(t, ok)
	require.Equal(t, "huge", e.Name, "an empty queue admits any one event")
	require.Zero(t, dropped)
	q.push(Event{Name: "next"})
	e, dropped, _ = q.pop()
	require.Equal(t, "next", e.Name)
	require.Equal(t, 1, dropped)
	q.close()
	_, _, ok = q.pop()
	require.False(t, ok)
}

func TestTickWatchdog(t *testing.T) {
	const interval = 30 * time.Second
	t.Run("ticks keep the connection alive", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := startGateway(t, func(c *fakeConn) {
				c.hello(interval, "")
				for range 120 {
					time.Sleep(interval)
					c.event("tick", `{"ts":1}`)
				}
				c.wait()
			})
			conn, err := Dial(t.Context(), g.options(t))
			require.NoError(t, err)
			time.Sleep(time.Hour)
			require.NoError(t, conn.Err())
			require.NoError(t, conn.Close())
		})
	})
	t.Run("two missed ticks end it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			seen := make(chan error, 1)
			g := startGateway(t, func(c *fakeConn) {
				c.hello(interval, "")
				time.Sleep(10 * time.Second)
				c.event("tick", `{"ts":1}`)
				_, _, err := c.ws.Read(c.ctx)
				seen <- err
			})
			start := time.Now()
			conn, err := Dial(t.Context(), g.options(t))
			require.NoError(t, err)
			<-conn.Done()
			require.Equal(t, 70*time.Second, time.Since(start))
			require.Equal(t, &CloseError{Code: 4000, Reason: "tick timeout"}, conn.Err())
			require.ErrorContains(t, <-seen, "tick timeout", "the gateway is told why")
			require.NoError(t, conn.Close())
		})
	})
}
