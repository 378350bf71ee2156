package gateway

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// dialTCP opens a connected client on a real socket. It reads only when asked.
func dialTCP(b *testing.B, addr string) *peer {
	conn, err := net.Dial("tcp", addr)
	require.NoError(b, err)
	p := open(b, conn)
	_, _, err = p.readFrame()
	require.NoError(b, err)
	p.send(connectFrame("operator", "operator.admin"))
	_, _, err = p.readFrame()
	require.NoError(b, err)
	return p
}

func startTCP(b *testing.B) (*server, string) {
	s := newServer(b, nil)
	s.register()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	s.run(l)
	return s, l.Addr().String()
}

// cpu returns the processor time of this process: gateway and clients together.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func reportCPU(b *testing.B, begin time.Duration, operations int) {
	b.ReportMetric(float64((cpu()-begin).Microseconds())/float64(operations), "cpu-us/op")
}

// BenchmarkRoundTrip has 16 clients ask one small question after the other.
func BenchmarkRoundTrip(b *testing.B) {
	_, addr := startTCP(b)
	peers := make([]*peer, 16)
	for i := range peers {
		peers[i] = dialTCP(b, addr)
	}
	frame := maskedFrame(finalBit|opcodeText, []byte(request("r", "echo", `{"pad":"`+strings.Repeat("p", 300)+`"}`)))
	b.ReportAllocs()
	b.ResetTimer()
	begin := cpu()
	var clients sync.WaitGroup
	for i, p := range peers {
		clients.Go(func() {
			for range (b.N + i) / len(peers) {
				_, _ = p.conn.Write(frame)
				if _, _, err := p.readFrame(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
	reportCPU(b, begin, b.N)
	b.StopTimer()
	for _, p := range peers {
		_ = p.conn.Close()
	}
}

// BenchmarkFanOut sends one event to 1000 clients, 16 at a time. An operation is
// one delivery.
func BenchmarkFanOut(b *testing.B) {
	s, addr := startTCP(b)
	const subscribers, window = 1000, 16
	payload := `"` + strings.Repeat("p", 600) + `"`
	var received sync.WaitGroup // of one window
	peers := make([]*peer, subscribers)
	for i := range peers {
		peers[i] = dialTCP(b, addr)
	}
	// All frames of a window are equally long until seq gains a digit.
	for _, p := range peers {
		go func() {
			for {
				if _, _, err := p.readFrame(); err != nil {
					return
				}
				received.Done()
			}
		}()
	}
	b.ReportAllocs()
	b.ResetTimer()
	begin := cpu()
	sent := 0
	for sent < b.N {
		received.Add(window * subscribers)
		for range window {
			s.emit("agent", payload)
		}
		received.Wait()
		sent += window * subscribers
	}
	reportCPU(b, begin, sent)
	b.ReportMetric(float64(sent)/b.Elapsed().Seconds(), "deliveries/s")
	b.StopTimer()
	for _, p := range peers {
		_ = p.conn.Close()
	}
}

// BenchmarkConnect opens connections up to hello-ok.
func BenchmarkConnect(b *testing.B) {
	_, addr := startTCP(b)
	begin := cpu()
	for b.Loop() {
		p := dialTCP(b, addr)
		_ = p.conn.(*net.TCPConn).SetLinger(0)
		_ = p.conn.Close()
	}
	reportCPU(b, begin, b.N)
}

// BenchmarkIdle measures what an idle connection holds.
func BenchmarkIdle(b *testing.B) {
	_, addr := startTCP(b)
	const idle = 1000
	for b.Loop() {
		before := memory()
		peers := make([]net.Conn, idle)
		for i := range peers {
			p := dialTCP(b, addr)
			peers[i] = p.conn
			p.br.Reset(strings.NewReader(""))
		}
		b.ReportMetric(float64(memory()-before)/idle, "B/conn")
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.StackInuse)/idle, "stackB/conn")
		b.ReportMetric(float64(m.HeapAlloc)/idle, "heapAllocB/conn")
		for _, conn := range peers {
			_, _ = conn.Write(maskedFrame(finalBit|opcodeClose, nil))
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
	}
}

func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// BenchmarkFlood measures what one client sees while two others send as fast as
// they can.
func BenchmarkFlood(b *testing.B) {
	floods := map[string][]byte{
		"bad frame":      maskedFrame(finalBit|opcodeText, []byte(`{"type":"req","id":5,"method":"health"}`)),
		"unknown method": maskedFrame(finalBit|opcodeText, []byte(request("u", "no.such.method", ""))),
		"ping":           maskedFrame(finalBit|0x9, []byte("ping")),
		"requests":       maskedFrame(finalBit|opcodeText, []byte(request("e", "echo", `{"a":1}`))),
	}
	for name, frame := range floods {
		b.Run(name, func(b *testing.B) {
			_, addr := startTCP(b)
			var flooding sync.WaitGroup
			var flooders []*peer
			batch := bytes.Repeat(frame, 50)
			for range 2 {
				p := dialTCP(b, addr)
				flooders = append(flooders, p)
				flooding.Go(func() { _, _ = io.Copy(io.Discard, p.br) })
				flooding.Go(func() {
					for {
						if _, err := p.conn.Write(batch); err != nil {
							return
						}
					}
				})
			}
			victim := dialTCP(b, addr)
			ask := maskedFrame(finalBit|opcodeText, []byte(request("r", "echo", `{}`)))
			times := make([]time.Duration, 0, b.N)
			b.ResetTimer()
			for range b.N {
				begin := time.Now()
				_, _ = victim.conn.Write(ask)
				_, _, err := victim.readFrame()
				require.NoError(b, err)
				times = append(times, time.Since(begin))
			}
			b.StopTimer()
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-us")
			for _, p := range append(flooders, victim) {
				_ = p.conn.Close()
			}
			flooding.Wait()
		})
	}
}
