package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// refusedAtTheDoor reports whether the gateway closes conn without a word.
func refusedAtTheDoor(t *testing.T, conn net.Conn) bool {
	_ = conn.SetReadDeadline(time.Now().Add(time.Second)) // fails when it is closed already
	_, err := conn.Read(make([]byte, 1))
	return err == io.EOF
}

func TestConnectionsBeforeAuthentication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, func(c *Config) { c.Limits.HandshakesPerAddress, c.Limits.HandshakesTotal = 3, 5 })
		dial := func(remote string) net.Conn {
			conn, err := s.l.dial(remote)
			require.NoError(t, err)
			t.Cleanup(func() { _ = conn.Close() })
			return conn
		}
		var waiting []*peer
		for range 3 {
			waiting = append(waiting, s.dialFrom("192.0.2.1:1"))
		}
		require.True(t, refusedAtTheDoor(t, dial("192.0.2.1:2")), "fourth of one address")
		require.True(t, refusedAtTheDoor(t, dial("[::ffff:192.0.2.1]:2")), "the same address in v6 clothes")
		s.dialFrom("[2001:db8::1]:1")
		s.dialFrom("[2001:db8::2]:1")
		require.True(t, refusedAtTheDoor(t, dial("192.0.2.9:1")), "sixth in all")

		waiting[0].connect("operator.admin")
		s.dialFrom("192.0.2.1:3").connect("operator.admin")
		fourth := s.dialFrom("192.0.2.1:4")
		require.True(t, refusedAtTheDoor(t, dial("192.0.2.1:5")), "authenticated ones do not count, the others still do")
		require.NoError(t, waiting[1].writeFrame(finalBit|opcodeClose, nil))
		waiting[1].closed()
		synctest.Wait()
		s.dialFrom("192.0.2.1:6")
		fourth.next()

		time.Sleep(11 * time.Second) // all others run into the deadline
		for i := range 3 {
			s.dialFrom(fmt.Sprintf("[2001:db8::%d]:1", i+1))
		}
		require.True(t, refusedAtTheDoor(t, dial("[2001:db8::ffff]:1")), "one network of v6 is one address")
		require.False(t, refusedAtTheDoor(t, dial("[2001:db8:0:1::1]:1")))

		warnings := strings.Count(s.logs.String(), "too many connections before authentication")
		require.Equal(t, 2, warnings, "five in two bursts: one line a second at most")
	})
}

func TestAuthenticatedConnectionsGiveTheirPlaceBackOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, func(c *Config) { c.Limits.HandshakesTotal = 1 })
		for range 5 {
			p := s.admin()
			require.NoError(t, p.conn.Close())
			synctest.Wait()
			s.g.admission.mu.Lock()
			require.Zero(t, s.g.admission.total)
			require.Empty(t, s.g.admission.held)
			s.g.admission.mu.Unlock()
		}
	})
}

func TestHTTPLimits(t *testing.T) {
	cases := []struct {
		name, head string
		pause      time.Duration // between two bytes
		status     int
		within     time.Duration
	}{
		{"header that takes its time", "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 200 * time.Millisecond, 400, 5 * time.Second},
		{"header of 40 KiB", "GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 40<<10) + "\r\n\r\n", 0, 431, time.Second},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, nil)
				conn, err := s.l.dial("127.0.0.1:1")
				require.NoError(t, err)
				begin := time.Now()
				var sender sync.WaitGroup
				sender.Go(func() {
					for i := range len(c.head) {
						if _, err := io.WriteString(conn, c.head[i:i+1]); err != nil {
							return
						}
						time.Sleep(c.pause)
					}
				})
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				require.LessOrEqual(t, time.Since(begin), c.within)
				require.NoError(t, err)
				require.Equal(t, c.status, res.StatusCode)
				require.NoError(t, conn.Close())
				sender.Wait()
			})
		})
	}
}

func TestFloodLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, nil)
		f := s.g.floods
		for range 3 {
			for range 1000 {
				f.warn("one kind")
			}
			f.warn("another")
			time.Sleep(time.Second)
		}
		f.flush()
		f.flush()
		var lines []string
		for line := range strings.Lines(s.logs.String()) {
			_, line, _ = strings.Cut(strings.TrimSpace(line), "msg=")
			lines = append(lines, line)
		}
		require.ElementsMatch(t, []string{
			`"one kind" count=1`, `another count=1`, `"one kind" count=1000`, `another count=1`,
			`"one kind" count=1000`, `another count=1`, `"one kind" count=999`,
		}, lines)
	})
}

func TestAddressKey(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:80": "127.0.0.1", "[::1]:80": "::1", "[::ffff:10.0.0.1]:80": "10.0.0.1",
		"[2001:db8::1]:80": "2001:db8::", "[2001:db8:0:0:ffff::1]:80": "2001:db8::", "[2001:db8:0:1::1]:80": "2001:db8:0:1::",
	} {
		tcp := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))
		require.Equal(t, want, addressKey(tcp).String())
	}
	require.False(t, addressKey(&net.UnixAddr{Name: "x"}).IsValid())
}

func TestLimitsDefaults(t *testing.T) {
	l := Limits{}.withDefaults()
	require.EqualValues(t, 16<<20, l.QueueBytes)
	require.EqualValues(t, 256<<20, l.QueueBytesTotal)
	require.EqualValues(t, 25<<20, l.FrameBytes)
	require.EqualValues(t, 64<<10, l.HandshakeFrameBytes)
	require.Equal(t, 32, l.HandshakesPerAddress)
	require.Equal(t, 256, l.HandshakesTotal)
	require.EqualValues(t, 50<<20, Limits{QueueBytes: 1 << 40}.withDefaults().QueueBytes, "a ceiling")
	require.EqualValues(t, 5, Limits{QueueBytes: 5}.withDefaults().QueueBytes)
}
