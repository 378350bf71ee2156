package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
)

// patience is how long these tests wait for what must happen at some time.
const patience = 20 * time.Second

// stranger opens a TCP connection from an address of this host.
func (h *house) stranger(from string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from + ":0")), Timeout: patience}
	return d.Dial("tcp4", strings.TrimPrefix(h.url(), "ws://"))
}

// turnedAway reports whether the gateway closed a connection that has said nothing. One
// that was let in is silent for as long as its deadline: a request tells it at once.
func turnedAway(t *testing.T, c net.Conn) bool {
	t.Helper()
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	_, err := io.WriteString(c, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	require.False(t, errors.Is(err, os.ErrDeadlineExceeded), "neither let in nor turned away")
	return err != nil
}

// strangers are connections that say nothing.
type strangers struct {
	h     *house
	held  []net.Conn
	since time.Time
}

// fill opens n more from an address.
func (s *strangers) fill(from string, n int) {
	for range n {
		c, err := s.h.stranger(from)
		require.NoError(s.h.t, err)
		s.held = append(s.held, c)
	}
}

// knock reports whether one more from an address is turned away.
func (s *strangers) knock(from string) bool {
	c, err := s.h.stranger(from)
	require.NoError(s.h.t, err)
	defer c.Close()
	return turnedAway(s.h.t, c)
}

func (s *strangers) leave() {
	for _, c := range s.held {
		_ = c.Close()
	}
}

// together runs part with strangers who all hold their places to its end. The gateway
// gives them five seconds; on a machine that is slower than that it is tried again.
func (h *house) together(part func(s *strangers) (checks func())) {
	h.t.Helper()
	for range 20 {
		s := &strangers{h: h, since: time.Now()}
		checks := part(s)
		took := time.Since(s.since)
		s.leave()
		if took < 4*time.Second {
			checks()
			return
		}
	}
	h.t.Fatal("this machine is too slow for the test")
}

// Strangers fill the places before authentication, of one address and in all. Who is in
// stays in and is served; the log holds a line a second; when they go, others come.
func TestStrangersFillTheirPlacesOnly(t *testing.T) {
	h := open(t, nil)
	v := h.visit("owner")
	begin := time.Now()
	h.together(func(s *strangers) func() {
		s.fill("127.0.0.2", 32)
		away := 0
		for range 20 {
			if s.knock("127.0.0.2") {
				away++
			}
		}
		another := s.knock("127.0.0.3")
		return func() {
			require.Equal(t, 20, away, "33 of one address")
			require.False(t, another, "another address has places of its own")
		}
	})
	require.Eventually(t, h.quiet, patience, 20*time.Millisecond, "places are given back")
	h.together(func(s *strangers) func() {
		for i := range 8 {
			s.fill(fmt.Sprintf("127.0.0.%d", 10+i), 32)
		}
		away := s.knock("127.0.0.99")
		_, err := v.Health(t.Context(), protocol.HealthParams{})
		return func() {
			require.True(t, away, "257 in all")
			require.NoError(t, err, "who is in is served")
		}
	})
	require.Eventually(t, h.quiet, patience, 20*time.Millisecond, "places are given back")
	refusals := strings.Count(h.logs.String(), "too many connections before authentication")
	require.LessOrEqual(t, refusals, 3+int(time.Since(begin).Seconds()), "a line a second")
	require.NotZero(t, refusals)
}

// footprint is what the process holds.
type footprint struct {
	goroutines, files int
	heap              uint64
}

func measure(t *testing.T) footprint {
	t.Helper()
	runtime.GC()
	runtime.GC() // what the first one left to finalizers
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	files, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return footprint{runtime.NumGoroutine(), len(files), m.HeapAlloc}
}

// Whatever strangers and guests do, when they are gone nothing of them is left: no
// goroutine, no file, no memory, and few lines in the log.
func TestAFloodLeavesNothingBehind(t *testing.T) {
	h := open(t, nil)
	v := h.visit("owner")
	flood := func(n int) {
		var group sync.WaitGroup
		for worker := range 4 {
			group.Go(func() {
				for i := range n {
					h.nuisance(t, worker, i)
				}
			})
		}
		group.Wait()
	}
	flood(5) // what is made once
	settle := func(ok func(footprint) bool) (f footprint) {
		for deadline := time.Now().Add(patience); ; {
			f = measure(t)
			if ok(f) || time.Now().After(deadline) {
				return f
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	before := settle(func(f footprint) bool { return h.quiet() })
	require.True(t, h.quiet())
	lines, begin := h.told(), time.Now()

	flood(100)
	after := settle(func(f footprint) bool {
		return h.quiet() && f.goroutines <= before.goroutines+2 && f.files <= before.files && f.heap < before.heap+8<<20
	})
	require.LessOrEqual(t, after.goroutines, before.goroutines+2)
	require.LessOrEqual(t, after.files, before.files)
	require.Less(t, after.heap, before.heap+8<<20)
	// Some kinds of warning, a line a second of each, and two for each of the 80 guests.
	require.LessOrEqual(t, h.told()-lines, 2*80+8*(2+int(time.Since(begin).Seconds())), "400 visits")
	_, err := v.Health(t.Context(), protocol.HealthParams{})
	require.NoError(t, err)
}

// told counts the lines of the log that are not for debugging.
func (h *house) told() int {
	text := h.logs.String()
	return strings.Count(text, "\n") - strings.Count(text, `"level":"DEBUG"`)
}

// quiet reports whether the owner alone is connected.
func (h *house) quiet() bool {
	c, err := h.stranger("127.0.0.1")
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n"); err != nil {
		return false
	}
	body, _ := io.ReadAll(c)
	return bytes.Contains(body, []byte("coderclaw_gateway_connections 1\n")) && bytes.Contains(body, []byte("coderclaw_gateway_handshakes 0\n")) &&
		bytes.Contains(body, []byte("coderclaw_gateway_queue_bytes 0\n"))
}

const upgrade = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// nuisance is one visit of a client that means no good. Every fifth is a guest with the
// secret who asks for much and leaves in the middle.
func (h *house) nuisance(t *testing.T, worker, i int) {
	from := fmt.Sprintf("127.0.1.%d", 1+worker)
	if i%5 == 4 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		conn, err := client.Dial(ctx, client.Options{
			URL: h.url(), Token: testToken,
			Client: protocol.ConnectClient{ID: protocol.GatewayClientIdTest, Version: "1", Platform: "linux", Mode: protocol.GatewayClientModeTest},
		})
		if err != nil {
			return // there are too many of them for the moment
		}
		for range 20 {
			go func() { _, _ = conn.Call(ctx, "status", nil, nil) }()
		}
		_ = conn.Close()
		return
	}
	c, err := h.stranger(from)
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	switch i % 5 {
	case 0: // says nothing
	case 1: // half a header
		_, _ = io.WriteString(c, upgrade[:60])
	case 2: // leaves in the handshake
		_, _ = io.WriteString(c, upgrade)
		_, _ = c.Read(make([]byte, 64))
	case 3: // announces four gigabytes
		_, _ = io.WriteString(c, upgrade)
		_, _ = c.Read(make([]byte, 64))
		_, _ = c.Write([]byte{0x81, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4})
		_, _ = c.Read(make([]byte, 64)) // and does not answer the close
	}
}

// ownListeners returns the addresses on which this process listens, as the kernel
// tells them: inodes of /proc/self/fd in /proc/net/tcp and tcp6.
func ownListeners(t *testing.T) (addrs []netip.AddrPort) {
	t.Helper()
	inodes := map[string]bool{}
	files, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	for _, f := range files {
		if target, err := os.Readlink(f); err == nil && strings.HasPrefix(target, "socket:[") {
			inodes[strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")] = true
		}
	}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		raw, err := os.ReadFile(table)
		if errors.Is(err, os.ErrNotExist) {
			continue // no IPv6 here
		}
		require.NoError(t, err)
		for _, line := range strings.Split(string(raw), "\n")[1:] {
			const listening = "0A"
			f := strings.Fields(line)
			if len(f) > 9 && f[3] == listening && inodes[f[9]] {
				addrs = append(addrs, kernelAddr(t, f[1]))
			}
		}
	}
	return addrs
}

// kernelAddr reads "0100007F:4965": words of the address in the order of the machine.
func kernelAddr(t *testing.T, text string) netip.AddrPort {
	t.Helper()
	words, port, ok := strings.Cut(text, ":")
	require.True(t, ok, text)
	var raw []byte
	for i := 0; i+8 <= len(words); i += 8 {
		var b [4]byte
		_, err := fmt.Sscanf(words[i:i+8], "%02x%02x%02x%02x", &b[3], &b[2], &b[1], &b[0])
		require.NoError(t, err, text)
		raw = append(raw, b[:]...)
	}
	var n uint16
	_, err := fmt.Sscanf(port, "%04X", &n)
	require.NoError(t, err, text)
	addr, ok := netip.AddrFromSlice(raw)
	require.True(t, ok, text)
	return netip.AddrPortFrom(addr.Unmap(), n)
}

// Whatever part of the gateway listens, by default it does so on loopback.
func TestTheKernelSeesLoopbackListenersOnly(t *testing.T) {
	before := map[netip.AddrPort]bool{}
	for _, a := range ownListeners(t) {
		before[a] = true
	}
	h := open(t, nil)
	h.visit("laptop").terminal(h.visit("other").say("main", "hello", "k1"))
	found := 0
	for _, a := range ownListeners(t) {
		if before[a] {
			continue
		}
		found++
		require.True(t, a.Addr().IsLoopback(), a)
	}
	require.NotZero(t, found, "the table was read")
}
