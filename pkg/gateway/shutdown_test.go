package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/wire"
)

func TestShutdown(t *testing.T) {
	cases := []struct {
		name    string
		cause   error
		payload string
	}{
		{"stop", nil, `{"reason":"gateway stopping","restartExpectedMs":null}`},
		{"restart", Restart{Expected: 1500 * time.Millisecond}, `{"reason":"gateway restarting","restartExpectedMs":1500}`},
		{"wrapped restart", fmt.Errorf("update: %w", Restart{Expected: time.Second}), `{"reason":"gateway restarting","restartExpectedMs":1000}`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, nil)
				p, node, early := s.admin(), s.dial(), s.dial()
				node.connectAs("node")
				early.next()
				begin := time.Now()
				require.NoError(t, s.stop(c.cause))
				require.Zero(t, time.Since(begin), "nothing had to be waited for")
				for _, who := range []*peer{p, node} {
					require.Equal(t, `{"type":"event","event":"shutdown","payload":`+c.payload+`,"seq":1}`, who.text())
					require.Equal(t, ending{1012, "service restart"}, who.closed())
				}
				require.Equal(t, ending{1012, "service restart"}, early.closed())
				early.none()
				open, peers := s.g.hub.count()
				require.Zero(t, open+peers)
				_, err := s.l.dial("127.0.0.1:1")
				require.ErrorIs(t, err, net.ErrClosed)
			})
		})
	}
}

// Requests in flight are told, behind shutdown and before the close.
func TestShutdownAnswersRequestsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		p := s.admin()
		p.send(request("w", "wait", ""))
		p.send(request("d", "wind down", ""))
		synctest.Wait()
		require.NoError(t, s.stop(nil))
		require.Equal(t, "shutdown", p.next()["event"])
		m := p.next()
		require.Equal(t, "w", m["id"])
		e := m["error"].(map[string]any)
		require.Equal(t, "UNAVAILABLE", e["code"])
		require.Equal(t, "gateway stopping", e["message"])
		require.Equal(t, true, e["retryable"])
		require.Equal(t, "SHUTTING_DOWN", e["details"].(map[string]any)["code"])
		require.Equal(t, "wound down", p.next()["payload"])
		require.Equal(t, 1012, p.closed().code)
	})
}

func TestShutdownDeliversWhatIsQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		p := s.pausedAdmin()
		for i := range 200 {
			s.emit("chat", fmt.Sprint(i))
		}
		stopped := make(chan error)
		go func() { stopped <- s.stop(nil) }()
		time.Sleep(500 * time.Millisecond)
		p.resume()
		require.NoError(t, <-stopped)
		for i := range 200 {
			require.EqualValues(t, i, p.next()["payload"])
		}
		require.Equal(t, "shutdown", p.next()["event"])
		require.Equal(t, 1012, p.closed().code)
	})
}

// Neither a client that does not read nor one that does not answer the close
// frame nor a handler that is slow to return holds the stop up for long.
func TestShutdownIsBounded(t *testing.T) {
	cases := []struct {
		name string
		do   func(s *server)
	}{
		{"client that does not read", func(s *server) { s.pausedAdmin(); s.emit("chat", kilobyte) }},
		{"client that reads but does not answer the close", func(s *server) {
			p := s.pausedAdmin()
			go func() {
				for {
					if _, _, err := p.readFrame(); err != nil {
						return
					}
				}
			}()
		}},
		{"client that does not read its many responses", func(s *server) {
			p := s.pausedAdmin()
			pad := request("r", "echo", kilobyte)
			go func() {
				for p.writeFrame(finalBit|opcodeText, []byte(pad)) == nil {
				}
			}()
			synctest.Wait()
		}},
		{"client that does not read its many refusals", func(s *server) {
			p := s.pausedAdmin()
			bad := request("r", "no.such.method", "")
			go func() {
				for p.writeFrame(finalBit|opcodeText, []byte(bad)) == nil {
				}
			}()
			synctest.Wait()
		}},
		{"handler that ignores its context for a second", func(s *server) { s.admin().send(request("s", "stubborn", "")) }},
		{"idle HTTP connection", func(s *server) {
			_, err := s.l.dial("127.0.0.1:9")
			require.NoError(s.t, err)
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, func(c *Config) { c.Limits.QueueBytes = 10_000 })
				s.register()
				s.g.Register(wire.MethodInfo{Name: "stubborn", Role: "any"}, func(context.Context, *wire.Peer, []byte, wire.Ack) ([]byte, error) {
					time.Sleep(time.Second)
					return []byte(`1`), nil
				})
				s.run(s.l)
				c.do(s)
				synctest.Wait()
				begin := time.Now()
				require.NoError(t, s.stop(nil))
				require.LessOrEqual(t, time.Since(begin), s.g.limits.DrainTimeout)
			})
		})
	}
}

func TestShutdownTellsOfAHandlerThatDoesNotReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		release := make(chan struct{})
		s.g.Register(wire.MethodInfo{Name: "stuck", Role: "any"}, func(context.Context, *wire.Peer, []byte, wire.Ack) ([]byte, error) {
			<-release
			return nil, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.g.Run(ctx, s.l) }()
		p := s.admin()
		p.send(request("s", "stuck", ""))
		synctest.Wait()
		begin := time.Now()
		cancel()
		require.ErrorContains(t, <-done, "1 connections did not end within 3s")
		require.LessOrEqual(t, time.Since(begin), s.g.limits.DrainTimeout+time.Second)
		require.Equal(t, 1012, p.closed().code)
		close(release)
	})
}

func TestNoConnectionIsTakenWhileStopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		synctest.Wait()
		s.g.hub.seal()
		require.Equal(t, 1006, s.dial().closed().code)
		synctest.Wait()
		require.Zero(t, s.g.admission.total)
	})
}

type brokenListener struct{ *pipeListener }

func (brokenListener) Accept() (net.Conn, error) { return nil, errors.New("no more files") }

func TestRunEndsWhenAListenerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		err := s.g.Run(t.Context(), s.l, brokenListener{newPipeListener()})
		require.ErrorContains(t, err, "serve 127.0.0.1:18789: no more files")
	})
}

// Over real sockets: two listeners, many clients that end in every way, a stop,
// and no goroutine of the package left.
func TestNothingIsLeftRunning(t *testing.T) {
	s := newServer(t, nil)
	s.register()
	listeners := make([]net.Listener, 2)
	for i := range listeners {
		var err error
		listeners[i], err = net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
	}
	s.run(listeners...)
	var emitting sync.WaitGroup
	enough := make(chan struct{})
	for range 2 {
		emitting.Go(func() {
			for range 10_000 { // the clients keep what they get
				select {
				case <-enough:
					return
				default:
					s.emit("tick", `{"ts":1}`)
					runtime.Gosched()
				}
			}
		})
	}
	var peers []*peer
	for i := range 20 {
		conn, err := net.Dial("tcp", listeners[i%2].Addr().String())
		require.NoError(t, err)
		p := open(t, conn).resume()
		p.connect("operator.admin")
		p.send(request("w", "wait", ""))
		peers = append(peers, p)
	}
	for i, p := range peers[:15] {
		switch i % 3 {
		case 0:
			require.NoError(t, p.conn.Close())
		case 1:
			require.NoError(t, p.writeFrame(finalBit|opcodeClose, []byte{3, 0xe8}))
			require.Equal(t, 1000, p.closed().code)
		case 2:
			_, err := p.conn.Write([]byte{finalBit | opcodeText, 1, 'x'})
			require.NoError(t, err)
			require.Equal(t, 1002, p.closed().code)
		}
	}
	close(enough)
	emitting.Wait()
	require.NoError(t, s.stop(nil))
	for _, p := range peers[15:] {
		require.Equal(t, ending{1012, "service restart"}, p.closed())
	}
	require.Len(t, s.observer.list(), 60)
	require.Zero(t, s.g.queued.Load())
	require.Zero(t, s.g.admission.total)
	// A goroutine reports its end a moment before it is gone.
	left := running()
	for until := time.Now().Add(10 * time.Second); left != "" && time.Now().Before(until); left = running() {
		time.Sleep(time.Millisecond)
	}
	require.Empty(t, left, "left running")
}

// running returns the stack of a goroutine of the package that is no test's.
func running() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	for _, stack := range strings.Split(string(buf), "\n\n") {
		if strings.Contains(stack, "pkg/gateway.(*") && !strings.Contains(stack, "gateway.(*peer)") {
			return stack
		}
	}
	return ""
}
