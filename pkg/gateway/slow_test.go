package gateway

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/wire"
)

// slowServer has small queues.
func slowServer(t *testing.T, queue, total int64) *server {
	return start(t, func(c *Config) { c.Limits.QueueBytes, c.Limits.QueueBytesTotal = queue, total })
}

// pausedAdmin connects and then stops reading.
func (s *server) pausedAdmin() *peer {
	p := s.dialPaused("127.0.0.1:50000")
	_, _, err := p.readFrame()
	require.NoError(s.t, err)
	p.send(connectFrame("operator", "operator.admin"))
	_, _, err = p.readFrame()
	require.NoError(s.t, err)
	return p
}

var kilobyte = `"` + strings.Repeat("k", 1000) + `"`

func TestSlowConsumerIsClosedAndDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := slowServer(t, 100_000, 0)
		slow, healthy := s.pausedAdmin(), s.admin()
		synctest.Wait() // both are ready
		begin := time.Now()
		for i := range 300 {
			s.emit("agent", kilobyte)
			require.EqualValues(t, i+1, healthy.next()["seq"])
			require.LessOrEqual(t, s.g.queued.Load(), int64(110_000))
		}
		require.Zero(t, time.Since(begin), "nobody waited for the slow one")
		synctest.Wait()
		require.Equal(t, "disconnected test", s.observer.list()[4])

		time.Sleep(5 * time.Second)
		require.Equal(t, ending{1008, "slow consumer"}, slow.resume().closed())
		require.Equal(t, true, healthy.call("echo", "")["ok"])
		synctest.Wait()
		require.Zero(t, s.g.queued.Load())
	})
}

func TestSlowConsumerThatNeverReadsIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := slowServer(t, 100_000, 0)
		s.pausedAdmin()
		for range 300 {
			s.emit("agent", kilobyte)
		}
		time.Sleep(slowPatience*s.g.limits.CloseTimeout + time.Millisecond)
		synctest.Wait()
		open, _ := s.g.hub.count()
		require.Zero(t, open)
		require.Zero(t, s.g.queued.Load())
	})
}

func TestReaderThatTakesNothingIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		p := s.pausedAdmin()
		s.emit("chat", `1`)
		time.Sleep(10*time.Second - time.Millisecond)
		synctest.Wait()
		_, peers := s.g.hub.count()
		require.Equal(t, 1, peers)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		_, peers = s.g.hub.count()
		require.Zero(t, peers)
		require.Equal(t, ending{1008, "slow consumer"}, p.resume().closed())
	})
}

// A reader that is slow but takes something every few seconds is no stalled one.
func TestReaderThatMakesProgressIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		p := s.pausedAdmin()
		want := `"` + strings.Repeat("w", 200_000) + `"`
		s.emit("chat", want)
		buf := make([]byte, 20_000)
		got := 0
		for got < 200_000 {
			time.Sleep(9 * time.Second)
			n, err := p.conn.Read(buf)
			require.NoError(t, err)
			got += n
		}
		_, peers := s.g.hub.count()
		require.Equal(t, 1, peers)
	})
}

func TestWhatIsDroppedForASlowReader(t *testing.T) {
	cases := []struct {
		name, event string
		delta       bool
		kept        bool
	}{
		{"presence is droppable", "presence", false, true},
		{"tick is droppable", "tick", false, true},
		{"a chat delta is droppable", "chat", true, true},
		{"a chat final is not", "chat", false, false},
		{"agent is never droppable, not even marked", "agent", true, false},
		{"health is not", "health", false, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := slowServer(t, 10_000, 0)
				p := s.pausedAdmin()
				for range 8 {
					s.emit("agent", kilobyte)
				}
				for range 5 {
					s.emission(c.event, func(e *wire.Emission) { e.Payload, e.Delta = []byte(kilobyte), c.delta })
				}
				p.resume()
				if !c.kept {
					require.Equal(t, ending{1008, "slow consumer"}, p.closed())
					return
				}
				synctest.Wait()
				s.emit("agent", `"end"`)
				var m map[string]any
				received := 0
				for received = 0; m["payload"] != "end"; received++ {
					m = p.next()
				}
				require.Less(t, received, 8+5+1)
				require.EqualValues(t, 14, m["seq"], "the gap is the reader's own")
				var b strings.Builder
				s.g.writeMetrics(&b)
				require.Contains(t, b.String(), fmt.Sprintf("coderclaw_gateway_dropped_events_total{event=%q} %d\n", c.event, 14-received))
			})
		})
	}
}

func TestEmptyQueueAdmitsAnyOneMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := slowServer(t, 10_000, 20_000)
		p := s.admin()
		huge := `"` + strings.Repeat("h", 300_000) + `"`
		synctest.Wait() // for hello-ok to be off the books
		s.emit("agent", huge)
		require.Len(t, p.next()["payload"], 300_000)
		require.Len(t, p.call("echo", huge)["payload"], 300_000)
	})
}

// All queues together are bounded; it is the longest one that gives way.
func TestTotalOfAllQueues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := slowServer(t, 100_000, 120_000)
		slow := s.pausedAdmin()
		id := ""
		for _, c := range s.g.hub.peers() {
			id = c.id
		}
		for range 80 {
			s.emission("agent", func(e *wire.Emission) { e.Payload, e.To = []byte(kilobyte), []string{id} })
		}
		others := []*peer{s.pausedAdmin(), s.pausedAdmin(), s.pausedAdmin()}
		for range 18 {
			s.emit("agent", kilobyte)
			require.LessOrEqual(t, s.g.queued.Load(), int64(120_000))
		}
		require.Equal(t, ending{1008, "slow consumer"}, slow.resume().closed())
		for _, p := range others {
			p.resume()
			for i := range 18 {
				require.EqualValues(t, i+1, p.next()["seq"])
			}
		}
	})
}

// A client that asks for more than its queue holds and reads it is served: its
// responses wait for room, its requests for its responses.
func TestResponsesWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := slowServer(t, 50_000, 0)
		p := s.admin()
		pad := fmt.Sprintf(`{"pad":%q}`, strings.Repeat("p", 30_000))
		for i := range 40 {
			p.send(request(fmt.Sprint(i), "echo", pad))
		}
		for range 40 {
			require.Equal(t, true, p.next()["ok"])
		}
	})
}

// One that asks and does not read is cut off by the stall, having cost one queue.
func TestRequestsWithoutReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := slowServer(t, 50_000, 0)
		p := s.pausedAdmin()
		sent := make(chan int)
		go func() {
			n := 0
			pad := []byte(request("r", "echo", fmt.Sprintf(`{"pad":%q}`, strings.Repeat("p", 30_000))))
			for p.writeFrame(finalBit|opcodeText, pad) == nil {
				n++
			}
			sent <- n
		}()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.LessOrEqual(t, s.g.queued.Load(), int64(61_000))
		time.Sleep(time.Minute)
		// 64 in flight, a few whose answers the queue and the pipe hold, then one refusal a
		// second until the stall; without the pause there would be thousands.
		require.Less(t, <-sent, 64+40)
		open, _ := s.g.hub.count()
		require.Zero(t, open)
	})
}

// Small requests whose answers nobody reads: reading pauses long before the
// queue is full.
func TestReadingPausesWhileMuchIsQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		p := s.pausedAdmin()
		pad := []byte(request("r", "echo", fmt.Sprintf("%q", strings.Repeat("p", 10_000))))
		go func() {
			for p.writeFrame(finalBit|opcodeText, pad) == nil {
			}
		}()
		time.Sleep(time.Second) // it rests now and then
		synctest.Wait()
		require.Greater(t, s.g.queued.Load(), int64(1<<20))
		require.Less(t, s.g.queued.Load(), int64(2<<20))
	})
}

// The same over a real socket, where the kernel holds some of what is sent.
func TestSlowConsumerOverTCP(t *testing.T) {
	s := newServer(t, func(c *Config) { c.Limits.QueueBytes = 1 << 20 })
	s.register()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.run(l)
	dial := func() *peer {
		conn, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		return open(t, conn)
	}
	slow, healthy := dial(), dial().resume()
	for range 2 {
		if slow.seen++; slow.seen == 2 {
			slow.send(connectFrame("operator", "operator.admin"))
		}
		_, _, err := slow.readFrame()
		require.NoError(t, err)
	}
	healthy.connect("operator.admin")
	payload := `"` + strings.Repeat("p", 60_000) + `"`
	sent := 0
	for _, peers := s.g.hub.count(); peers == 2; _, peers = s.g.hub.count() {
		require.Less(t, sent, 2000, "120 MB must be more than a kernel holds")
		s.emit("agent", payload)
		sent++
		require.EqualValues(t, sent, healthy.next()["seq"])
	}
	require.Equal(t, ending{1008, "slow consumer"}, slow.resume().closed())
	for i := 1; len(slow.frames) > 0; i++ {
		require.EqualValues(t, i, slow.next()["seq"], "up to where it was cut off nothing is missing")
	}
	require.NoError(t, healthy.conn.Close())
}
