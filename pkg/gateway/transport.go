package gateway

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// transport is the net.Conn that the websocket library sees. It stands between
// the library and the socket for two reasons.
//
// Reading, it follows the frame headers that pass through and stops the stream
// at the first one that breaks a rule the library is late or mute about: a
// message that is announced larger than the limit (fragments counted together;
// the library would first wait for the payload, then close with a reason) and a
// frame without a mask (the library would cut the connection without a code).
//
// Writing, it never touches the socket: the only frames the library writes are
// close frames, and they become a close of the connection, sent in order by the
// connection's own writer. Close does not close it
// either; the connection does, when the writer is done.
//
// Read is called by the connection's reader only. limit may be set by anyone.
type transport struct {
	net.Conn
	early   []byte // bytes read from the socket that nobody has seen yet
	limit   atomic.Int64
	onClose func(code int) // the library wants to close

	header    [14]byte // the frame header being collected
	headerLen int
	skip      uint64 // payload bytes of the current frame still to come
	message   int64  // payload bytes of the current message so far
	fault     error  // why the stream was stopped, once it was
	closed    bool   // a close frame has passed
	begun     int    // frames whose header has passed in the current Read
	ahead     int    // frames that came while more was waiting, since the last rest
}

// Reasons to stop the stream of a peer.
var (
	errFrameTooLarge = errors.New("message exceeds the limit")
	errFrameUnmasked = errors.New("frame without a mask")
)

// Read reads from the socket and lets pass what keeps the rules.
func (t *transport) Read(p []byte) (int, error) {
	if t.fault != nil {
		return 0, t.fault
	}
	t.rest()
	n, err := t.receive(p)
	t.begun = 0
	ok := t.scan(p[:n], t.limit.Load())
	if n == len(p) || n >= fairBytes { // there is more, most likely
		t.ahead += t.begun + n/fairBytes
	}
	if ok < n {
		// What follows the refused header is for drain to follow.
		t.early = append(append([]byte(nil), p[ok+1:n]...), t.early...)
		if ok == 0 {
			return 0, t.fault
		}
		return ok, nil
	}
	return n, err
}

// rest lets others have the processor when the peer sends faster than it is served. To
// yield is not enough: while there is always something to run, the Go scheduler looks
// for input of other connections every 10 ms only. The rest is as long as the frames
// are many, because one read holds hundreds of the smallest. A peer that waits for its
// answers, also for some at a time, is never ahead.
func (t *transport) rest() {
	pauses := t.ahead / fairFrames
	if pauses == 0 {
		return
	}
	t.ahead %= fairFrames
	time.Sleep(time.Duration(pauses) * fairPause)
}

// receive reads what was read before, then the socket.
func (t *transport) receive(p []byte) (int, error) {
	if len(t.early) > 0 {
		n := copy(p, t.early)
		t.early = t.early[n:]
		return n, nil
	}
	return t.Conn.Read(p)
}

// scan follows the frame headers in p and returns how many bytes may pass.
// Fewer than len(p) means that fault was set.
func (t *transport) scan(p []byte, limit int64) int {
	for i := 0; i < len(p); {
		if t.skip > 0 {
			n := min(t.skip, uint64(len(p)-i))
			t.skip -= n
			i += int(n)
			continue
		}
		t.header[t.headerLen] = p[i]
		t.headerLen++
		i++
		if t.headerLen < headerSize(t.header[:t.headerLen]) {
			continue
		}
		t.headerLen = 0
		if t.fault = t.begin(limit); t.fault != nil {
			return i - 1
		}
	}
	return len(p)
}

// begin judges the frame whose header is complete.
func (t *transport) begin(limit int64) error {
	opcode, size := t.header[0]&0x0f, uint64(t.header[1]&0x7f)
	switch size {
	case 126:
		size = uint64(binary.BigEndian.Uint16(t.header[2:]))
	case 127:
		size = binary.BigEndian.Uint64(t.header[2:])
	}
	t.begun++
	t.skip = size // even of a frame that is refused: see drained
	if t.header[1]&0x80 == 0 {
		return errFrameUnmasked
	}
	switch {
	case opcode == opcodeClose:
		t.closed = true
	case opcode < opcodeClose: // data; other control frames are the library's to judge
		if opcode != opcodeContinuation {
			t.message = 0
		}
		if size > uint64(limit) || t.message+int64(size) > limit {
			return errFrameTooLarge
		}
		t.message += int64(size)
	}
	return nil
}

// Opcodes and bits of RFC 6455, section 5.2.
const (
	opcodeContinuation = 0x0
	opcodeText         = 0x1
	opcodeClose        = 0x8
	opcodePong         = 0xa
	finalBit           = 0x80
)

// headerSize returns the size of the frame header that begins with h, which
// holds at least one byte: 2 while the second byte is missing.
func headerSize(h []byte) int {
	size := 2
	if len(h) < 2 {
		return size
	}
	switch h[1] & 0x7f {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if h[1]&0x80 != 0 {
		size += 4
	}
	return size
}

// Write takes a control frame of the library: 101 has been sent before, data
// and pong frames are ours, so it can only be a close.
func (t *transport) Write(p []byte) (int, error) {
	if len(p) >= 2 && p[0]&0x0f == opcodeClose {
		code := int(websocket.StatusNoStatusRcvd)
		if len(p) >= 4 {
			code = int(binary.BigEndian.Uint16(p[2:]))
		}
		t.onClose(code)
	}
	return len(p), nil
}

// Close leaves the socket to the connection, but ends a read under way: the
// library closes when the rest of a control frame does not come in time.
func (t *transport) Close() error { return t.SetReadDeadline(past) }

// drain reads from the socket into p, whose bytes are lost, and reports whether
// the peer's close frame has passed. Limits do not apply: nothing is kept.
func (t *transport) drain(p []byte) (n int, done bool, err error) {
	if t.closed || t.fault == errFrameUnmasked {
		return 0, true, nil // a stream without masks cannot be followed
	}
	t.fault = nil
	n, err = t.receive(p)
	t.scan(p[:n], math.MaxInt64)
	return n, t.closed, err
}

// frameHeader appends the header of an unfragmented, unmasked frame.
func frameHeader(b []byte, opcode byte, size int) []byte {
	b = append(b, finalBit|opcode)
	switch {
	case size < 126:
		return append(b, byte(size))
	case size < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, 126), uint16(size))
	default:
		return binary.BigEndian.AppendUint64(append(b, 127), uint64(size))
	}
}

// headerRoom is the longest header that frameHeader appends.
const headerRoom = 10

// seal turns b, whose first headerRoom bytes are spare, into a text frame that
// carries the rest. It lets a frame be built in one buffer, payload first.
func seal(b []byte) []byte {
	var h [headerRoom]byte
	header := frameHeader(h[:0], opcodeText, len(b)-headerRoom)
	start := headerRoom - len(header)
	copy(b[start:], header)
	return b[start:]
}

// closeFrame builds a close frame; reason is cut to what the protocol allows.
// Code 1005 must not be sent: it stands for a frame without a status.
func closeFrame(code int, reason string) []byte {
	if code == int(websocket.StatusNoStatusRcvd) {
		return frameHeader(nil, opcodeClose, 0)
	}
	reason = clip(reason, closeReasonBytes)
	b := frameHeader(nil, opcodeClose, 2+len(reason))
	b = binary.BigEndian.AppendUint16(b, uint16(code))
	return append(b, reason...)
}

// hijack is the http.ResponseWriter handed to websocket.Accept. It replaces the
// 4 KiB buffers of the HTTP server, which the library would keep for the life of
// the connection, by small ones on top of our transport.
type hijack struct {
	http.ResponseWriter
	transport *transport
}

const (
	readBufferBytes  = 1 << 10
	writeBufferBytes = 160 // holds any control frame, so each is one Write
)

// Hijack takes the connection from the HTTP server.
func (h hijack) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	t := h.transport
	t.Conn = conn
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ := rw.Reader.Peek(n)
		t.early = append([]byte(nil), early...)
	}
	return t, bufio.NewReadWriter(bufio.NewReaderSize(t, readBufferBytes), bufio.NewWriterSize(t, writeBufferBytes)), nil
}

// upgrade answers the upgrade request and returns the library's connection. The
// Origin is judged in connect, where the answer can be a response.
func upgrade(w http.ResponseWriter, r *http.Request, t *transport, onPing func([]byte)) (*websocket.Conn, error) {
	ws, err := websocket.Accept(hijack{w, t}, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true,
		CompressionMode:    websocket.CompressionDisabled,
		OnPingReceived: func(_ context.Context, payload []byte) bool {
			onPing(payload)
			return false
		},
	})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(-1) // transport counts
	return ws, nil
}
