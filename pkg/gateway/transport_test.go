package gateway

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
)

// readerConn is a net.Conn that only reads.
type readerConn struct {
	net.Conn
	io.Reader
}

func (c readerConn) Read(p []byte) (int, error) { return c.Reader.Read(p) }

func TestTransportLetsPassWhatKeepsTheRules(t *testing.T) {
	masked := maskedFrame
	header := func(first byte, size uint64) []byte {
		return binary.BigEndian.AppendUint64([]byte{first, 0x80 | 127}, size)
	}
	ok := masked(finalBit|opcodeText, bytes.Repeat([]byte("x"), 100))
	cases := []struct {
		name   string
		stream [][]byte
		passes int // frames
		fault  error
	}{
		{"small frames", [][]byte{ok, ok, masked(finalBit|0x9, []byte("ping")), ok}, 4, nil},
		{"exactly at the limit", [][]byte{masked(finalBit|opcodeText, make([]byte, 1000))}, 1, nil},
		{"one byte above", [][]byte{ok, masked(finalBit|opcodeText, make([]byte, 1001))}, 1, errFrameTooLarge},
		{"announced 4 GiB, no payload", [][]byte{ok, append(header(finalBit|opcodeText, 1<<32), 1, 2, 3, 4)}, 1, errFrameTooLarge},
		{"announced 2^63", [][]byte{append(header(finalBit|opcodeText, 1<<63), 1, 2, 3, 4)}, 0, errFrameTooLarge},
		{"announced 2^64-1", [][]byte{append(header(finalBit|opcodeText, 1<<64-1), 1, 2, 3, 4)}, 0, errFrameTooLarge},
		{"fragments counted together", [][]byte{
			masked(opcodeText, make([]byte, 600)), masked(finalBit|0x9, []byte("ping")), masked(opcodeContinuation, make([]byte, 400)),
			masked(finalBit|opcodeContinuation, make([]byte, 1)),
		}, 3, errFrameTooLarge},
		{"the count begins anew with each message", [][]byte{
			masked(opcodeText, make([]byte, 600)), masked(finalBit|opcodeContinuation, make([]byte, 400)), masked(finalBit|0x2, make([]byte, 1000)),
		}, 3, nil},
		{"without a mask", [][]byte{ok, append(frameHeader(nil, opcodeText, 2), "{}"...)}, 1, errFrameUnmasked},
		{"long form of the length without a mask", [][]byte{append(frameHeader(nil, opcodeText, 300), make([]byte, 300)...)}, 0, errFrameUnmasked},
	}
	readers := map[string]func(io.Reader) io.Reader{
		"at once": func(r io.Reader) io.Reader { return r }, "byte by byte": iotest.OneByteReader, "in halves": iotest.HalfReader,
	}
	for _, c := range cases {
		for how, wrap := range readers {
			t.Run(c.name+" "+how, func(t *testing.T) {
				stream := bytes.Join(c.stream, nil)
				tr := &transport{Conn: readerConn{Reader: wrap(bytes.NewReader(stream))}}
				tr.limit.Store(1000)
				got, err := io.ReadAll(tr)
				want := bytes.Join(c.stream[:c.passes], nil)
				if c.fault == nil {
					require.NoError(t, err)
					require.Equal(t, want, got)
					return
				}
				require.ErrorIs(t, err, c.fault)
				require.True(t, bytes.HasPrefix(got, want))
				// Of the refused frame the header at most may have passed.
				require.Less(t, len(got)-len(want), 14)
				_, again := tr.Read(make([]byte, 10))
				require.ErrorIs(t, again, c.fault, "the stream stays stopped")
			})
		}
	}
}

func TestTransportDrainFindsTheCloseFrameBehindARefusedMessage(t *testing.T) {
	stream := bytes.Join([][]byte{
		maskedFrame(finalBit|opcodeText, make([]byte, 5000)),
		maskedFrame(finalBit|0x9, []byte("ping")),
		maskedFrame(finalBit|opcodeClose, []byte{3, 0xe8}),
		maskedFrame(finalBit|opcodeText, []byte("behind")),
	}, nil)
	for _, size := range []int{1, 7, 4096, 1 << 16} {
		tr := &transport{Conn: readerConn{Reader: bytes.NewReader(stream)}}
		tr.limit.Store(1000)
		_, err := io.ReadAll(tr)
		require.ErrorIs(t, err, errFrameTooLarge)
		done := false
		for !done {
			_, done, err = tr.drain(make([]byte, size))
			require.NoError(t, err)
		}
	}
}

func TestTransportReadsFirstWhatTheServerHadRead(t *testing.T) {
	frame := maskedFrame(finalBit|opcodeText, []byte("hello"))
	tr := &transport{Conn: readerConn{Reader: bytes.NewReader(frame[4:])}, early: frame[:4]}
	tr.limit.Store(1000)
	got, err := io.ReadAll(tr)
	require.NoError(t, err)
	require.Equal(t, frame, got)
}

func FuzzTransport(f *testing.F) {
	f.Add(maskedFrame(finalBit|opcodeText, []byte("hello")), 3)
	f.Add(append(maskedFrame(opcodeText, make([]byte, 70)), maskedFrame(finalBit|opcodeClose, nil)...), 1)
	f.Fuzz(func(t *testing.T, stream []byte, chunk int) {
		chunk = 1 + (chunk&0xff)%64
		tr := &transport{Conn: readerConn{Reader: bytes.NewReader(stream)}}
		tr.limit.Store(100)
		var got []byte
		buf := make([]byte, chunk)
		for {
			n, err := tr.Read(buf)
			got = append(got, buf[:n]...)
			if err != nil {
				require.True(t, errors.Is(err, io.EOF) || tr.fault != nil)
				break
			}
		}
		require.True(t, bytes.HasPrefix(stream, got), "bytes pass as they are")
		require.LessOrEqual(t, tr.message, int64(100))
	})
}

func TestSealMatchesFrameHeader(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 65535, 65536, 100000} {
		payload := bytes.Repeat([]byte("p"), size)
		got := seal(append(make([]byte, headerRoom), payload...))
		require.Equal(t, append(frameHeader(nil, opcodeText, size), payload...), got)
	}
}

func TestFrameSizes(t *testing.T) {
	long := func(n int) string {
		frame := connectFrame("operator")
		return strings.Replace(frame, `"0.0.1"`, `"`+strings.Repeat("v", n-len(frame)+len("0.0.1"))+`"`, 1)
	}
	cases := []struct {
		name string
		send func(p *peer)
		end  ending // zero: hello-ok
	}{
		{"64 KiB before hello", func(p *peer) { p.send(long(64 << 10)) }, ending{}},
		{"one more", func(p *peer) { _ = p.writeFrame(finalBit|opcodeText, []byte(long(64<<10+1))) }, ending{1009, ""}},
		{"announced only", func(p *peer) {
			_, _ = p.conn.Write(binary.BigEndian.AppendUint64([]byte{finalBit | opcodeText, 0x80 | 127}, 1<<40))
			_, _ = p.conn.Write([]byte{1, 2, 3, 4})
		}, ending{1009, ""}},
		{"in fragments", func(p *peer) {
			_ = p.writeFrame(opcodeText, make([]byte, 40<<10))
			_ = p.writeFrame(finalBit|opcodeContinuation, make([]byte, 40<<10))
		}, ending{1009, ""}},
		{"26 MB that keep coming", func(p *peer) { _ = p.writeFrame(finalBit|opcodeText, make([]byte, 26214401)) }, ending{1009, ""}},
		{"without a mask", func(p *peer) { _, _ = p.conn.Write([]byte{finalBit | opcodeText, 2, '{', '}'}) }, ending{1002, ""}},
		{"reserved bit", func(p *peer) { _ = p.writeFrame(finalBit|0x40|opcodeText, []byte("{}")) }, ending{1002, ""}},
		{"unknown opcode", func(p *peer) { _ = p.writeFrame(finalBit|0x3, []byte("{}")) }, ending{1002, ""}},
		{"continuation of nothing", func(p *peer) { _ = p.writeFrame(finalBit|opcodeContinuation, []byte("{}")) }, ending{1002, ""}},
		{"ping of 126 bytes", func(p *peer) { _ = p.writeFrame(finalBit|0x9, make([]byte, 126)) }, ending{1002, ""}},
		{"the client closes", func(p *peer) { _ = p.writeFrame(finalBit|opcodeClose, append([]byte{0x0f, 0xa0}, "bye"...)) }, ending{4000, ""}},
		{"the client closes without a code", func(p *peer) { _ = p.writeFrame(finalBit|opcodeClose, nil) }, ending{1005, ""}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := start(t, nil).dial()
				p.next()
				begin := time.Now()
				go c.send(p)
				if c.end == (ending{}) {
					require.Equal(t, true, p.next()["ok"])
					return
				}
				require.Equal(t, c.end, p.closed())
				require.Zero(t, time.Since(begin))
			})
		})
	}
}

// Over a real socket, a close with unread input would reset the connection and
// take the close frame with it.
func TestCloseFrameSurvivesWhatIsStillComing(t *testing.T) {
	s := newServer(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.run(l)
	for range 20 {
		conn, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		p := open(t, conn)
		require.NoError(t, p.writeFrame(finalBit|opcodeText, make([]byte, 4<<20)))
		require.Equal(t, ending{1009, ""}, p.resume().closed())
	}
}

func TestFrameSizesAfterHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		p := s.admin()
		frame := request("big", "echo", `"`+strings.Repeat("b", 25<<20-100)+`"`)
		frame += strings.Repeat(" ", 25<<20-len(frame))
		go p.send(frame)
		require.Equal(t, true, p.next()["ok"])
		_, err := p.conn.Write(append(binary.BigEndian.AppendUint64([]byte{finalBit | opcodeText, 0x80 | 127}, 25<<20+1), 1, 2, 3, 4))
		require.NoError(t, err)
		require.Equal(t, ending{1009, ""}, p.closed())
		require.Equal(t, protocol.CloseMessageTooBigCode, 1009)
	})
}

// A ping that is never finished must not hold the connection.
func TestUnfinishedControlFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		p := s.admin()
		_, err := p.conn.Write([]byte{finalBit | 0x9, 0x80 | 10, 1, 2, 3, 4, 'x'})
		require.NoError(t, err)
		begin := time.Now()
		require.Equal(t, 1006, p.closed().code)
		require.Equal(t, 5*time.Second, time.Since(begin))
	})
}
