package daemon

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// errorWatch reads along with what the gateway sends and compares every error and
// every close with the catalogue. Its methods are safe for concurrent use.
type errorWatch struct {
	mu     sync.Mutex
	frames int            // messages that were read
	seen   map[string]int // codes, details codes and close codes
	faults []string
}

// watchErrors starts a watch and fails the test at its end for what was not in the
// catalogue.
func watchErrors(t *testing.T) *errorWatch {
	w := &errorWatch{seen: map[string]int{}}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		slices.Sort(w.faults)
		require.Empty(t, slices.Compact(w.faults), "errors and closes that schema/errors.json does not have")
		require.NotZero(t, w.frames, "the watch saw nothing")
		t.Logf("errors and closes seen: %v", w.seen)
	})
	return w
}

// client returns an HTTP client whose connections are watched.
func (w *errorWatch) client() *http.Client {
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &watched{Conn: c, watch: w}, err
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial}}
}

// watched is the client's end of a connection. What the gateway sends is not masked
// and, as compression is off, plain.
type watched struct {
	net.Conn
	watch   *errorWatch
	opened  bool   // the upgrade's head was read
	greeted bool   // hello-ok was read
	rest    []byte // bytes of a frame that is not whole yet
	text    []byte // a message so far
}

func (c *watched) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.rest = append(c.rest, p[:n]...)
	if !c.opened {
		_, after, ok := bytes.Cut(c.rest, []byte("\r\n\r\n"))
		if !ok || !bytes.HasPrefix(c.rest, []byte("HTTP/1.1 101 ")) {
			return n, err
		}
		c.opened, c.rest = true, after
	}
	for {
		opcode, final, payload, after, ok := splitFrame(c.rest)
		if !ok {
			return n, err
		}
		c.rest = after
		switch opcode {
		case 8:
			c.watch.closed(payload, c.greeted)
		case 0, 1, 2:
			c.text = append(c.text, payload...)
			if final {
				c.greeted = c.watch.message(c.text) || c.greeted
				c.text = nil
			}
		}
	}
}

// splitFrame takes the first unmasked frame off b (RFC 6455, section 5.2).
func splitFrame(b []byte) (opcode byte, final bool, payload, after []byte, ok bool) {
	if len(b) < 2 {
		return 0, false, nil, b, false
	}
	size, head := uint64(b[1]&0x7f), 2
	switch {
	case size == 126 && len(b) >= 4:
		size, head = uint64(binary.BigEndian.Uint16(b[2:])), 4
	case size == 127 && len(b) >= 10:
		size, head = binary.BigEndian.Uint64(b[2:]), 10
	case size >= 126:
		return 0, false, nil, b, false
	}
	if uint64(len(b)-head) < size {
		return 0, false, nil, b, false
	}
	end := head + int(size)
	return b[0] & 0x0f, b[0]&0x80 != 0, b[head:end], b[end:], true
}

func (w *errorWatch) faultLocked(format string, args ...any) {
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

// message looks at one frame of the protocol and reports whether it is hello-ok.
func (w *errorWatch) message(text []byte) (hello bool) {
	var frame struct {
		Payload json.RawMessage
		Error   *struct {
			Code    string
			Message string
			Details json.RawMessage
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frames++
	if err := json.Unmarshal(text, &frame); err != nil {
		w.faultLocked("no frame: %v: %.200s", err, text)
		return false
	}
	if frame.Error != nil {
		w.refusalLocked(frame.Error.Code, frame.Error.Message, frame.Error.Details)
	}
	return bytes.Contains(frame.Payload, []byte(`"type":"hello-ok"`))
}

// refusalLocked compares one error with the catalogue.
func (w *errorWatch) refusalLocked(code, message string, raw json.RawMessage) {
	w.seen[code]++
	if e, ok := protocol.FindError(code); !ok || e.Kind != wire.KindCode {
		w.faultLocked("error.code %q (%s)", code, message)
	}
	var details struct{ Code, RecommendedNextStep string }
	if raw == nil || json.Unmarshal(raw, &details) != nil || details.Code == "" {
		return
	}
	w.seen[details.Code]++
	switch e, ok := protocol.FindError(details.Code); {
	case !ok || e.Kind != wire.KindDetail:
		w.faultLocked("error.details.code %q (%s)", details.Code, message)
	case e.Error != code:
		w.faultLocked("%s came with %s, not %s (%s)", details.Code, code, e.Error, message)
	case details.RecommendedNextStep != e.NextStep:
		w.faultLocked("%s came with the next step %q, not %q (%s)", details.Code, details.RecommendedNextStep, e.NextStep, message)
	}
}

// closed looks at a close frame. The reason of a refused handshake, which comes before
// hello-ok, is the refusal's message.
func (w *errorWatch) closed(payload []byte, greeted bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(payload) < 2 {
		return // the answer to a close without a code
	}
	code, reason := int(binary.BigEndian.Uint16(payload)), string(payload[2:])
	w.seen[fmt.Sprint(code)]++
	for _, e := range protocol.Errors() {
		refused := e.CloseReason == protocol.CloseHandshakeRefused && !greeted
		withID := e.CloseReason == protocol.CloseInternalError && strings.HasPrefix(reason, e.CloseReason+", id ")
		if e.Kind == wire.KindClose && e.CloseCode == code && (e.CloseReason == reason || refused || withID) {
			return
		}
	}
	if code == 1000 || code == 1001 {
		return // the echo of the client's own close
	}
	w.faultLocked("close %d %q", code, reason)
}

// TestTheWatchSees shows what the watch is there for.
func TestTheWatchSees(t *testing.T) {
	frame := func(text string) []byte { return append([]byte{0x81, byte(len(text))}, text...) }
	for name, one := range map[string]struct {
		sent []byte
		want string
	}{
		"a known code":         {frame(`{"error":{"code":"UNAVAILABLE"}}`), ""},
		"an unknown code":      {frame(`{"error":{"code":"BROKEN","message":"x"}}`), `error.code "BROKEN" (x)`},
		"a details code":       {frame(`{"error":{"code":"INTERNAL"}}`), `error.code "INTERNAL" ()`},
		"unknown details code": {frame(`{"error":{"code":"UNAVAILABLE","details":{"code":"X"}}}`), `error.details.code "X" ()`},
		"a wrong pair":         {frame(`{"error":{"code":"UNAVAILABLE","details":{"code":"INVALID_PARAMS"}}}`), `INVALID_PARAMS came with UNAVAILABLE, not INVALID_REQUEST ()`},
		"a wrong step":         {frame(`{"error":{"code":"UNAVAILABLE","details":{"code":"INTERNAL","recommendedNextStep":"pray"}}}`), `INTERNAL came with the next step "pray", not "report_defect" ()`},
		"a known close":        {[]byte("\x88\x0f\x03\xf0slow consumer"), ""},
		"a refused handshake":  {[]byte("\x88\x06\x03\xf0what"), ""},
		"an unknown close":     {[]byte("\x88\x06\x03\xf3what"), `close 1011 "what"`},
		"no refused handshake": {append(frame(`{"payload":{"type":"hello-ok"}}`), "\x88\x06\x03\xf0what"...), `close 1008 "what"`},
		"an internal error":    {[]byte("\x88\x21\x03\xf3internal error, id 0123456789ab"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			client, server := net.Pipe()
			w := &errorWatch{seen: map[string]int{}}
			c := &watched{Conn: client, watch: w}
			go func() {
				_, _ = server.Write([]byte("HTTP/1.1 101 Switching Protocols\r\n\r\n"))
				for _, b := range one.sent { // byte by byte: frames come in pieces
					_, _ = server.Write([]byte{b})
				}
				_ = server.Close()
			}()
			for {
				if _, err := c.Read(make([]byte, 512)); err != nil {
					break
				}
			}
			require.Equal(t, one.want, strings.Join(w.faults, "\n"))
		})
	}
}
