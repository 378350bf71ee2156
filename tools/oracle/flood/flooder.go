package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/wire"
)

// flooder is one socket that sends as fast as the gateway takes it, until the end of
// standard input. It writes its own frames: a well-behaved library would be the limit.
type flooder struct {
	kind, addr, state string
	sent              atomic.Int64
	stopped           atomic.Bool
}

// Frames of RFC 6455 that clients send.
const (
	textFrame = 0x81
	pingFrame = 0x89
	batch     = 50 // frames in one write
)

func (f *flooder) run() error {
	begin := time.Now()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		f.stopped.Store(true)
	}()
	frames := map[string][]byte{
		"health":  masked(textFrame, `{"type":"req","id":"f","method":"health"}`),
		"unknown": masked(textFrame, `{"type":"req","id":"f","method":"no.such.method"}`),
		"faulty":  masked(textFrame, `{"type":"req","id":5,"method":"health"}`),
		"ping":    masked(pingFrame, "ping"),
	}
	var err error
	if f.kind == "connect" {
		err = f.knock()
	} else if frame := frames[f.kind]; frame != nil {
		err = f.pour(frame)
	} else {
		err = fmt.Errorf("no flood is called %q", f.kind)
	}
	if err != nil {
		return err
	}
	fmt.Printf("%.0f %s\n", float64(f.sent.Load())/time.Since(begin).Seconds(), f.kind)
	return nil
}

// knock connects with a wrong secret again and again.
func (f *flooder) knock() error {
	for !f.stopped.Load() {
		conn, r, _, err := f.open()
		if err != nil {
			continue // turned away: that is what it is for
		}
		f.sent.Add(1)
		_, _ = conn.Write(masked(textFrame, connectFrame(protocol.ConnectParams{
			MinProtocol: protocol.Version, MaxProtocol: protocol.Version, Client: who(), Role: wire.Some(protocol.RoleOperator),
			Scopes: []string{}, Caps: []string{}, Auth: wire.Some(protocol.ConnectAuth{Token: wire.Some("wrong")}),
		})))
		_, _ = r.ReadByte()
		_ = conn.Close()
	}
	return nil
}

// pour connects as a device with the secret and sends one frame for ever.
func (f *flooder) pour(frame []byte) error {
	conn, r, nonce, err := f.open()
	if err != nil {
		return err
	}
	defer conn.Close()
	id, err := client.LoadIdentity(filepath.Join(f.state))
	if err != nil {
		return err
	}
	scopes, now := []string{protocol.ScopeOperatorRead}, time.Now().UnixMilli()
	c := who()
	signed := strings.Join([]string{"v2", id.DeviceID, string(c.ID), string(c.Mode), protocol.RoleOperator,
		strings.Join(scopes, ","), strconv.FormatInt(now, 10), token, nonce}, "|")
	if _, err := conn.Write(masked(textFrame, connectFrame(protocol.ConnectParams{
		MinProtocol: protocol.Version, MaxProtocol: protocol.Version, Client: c, Role: wire.Some(protocol.RoleOperator),
		Scopes: scopes, Caps: []string{}, Auth: wire.Some(protocol.ConnectAuth{Token: wire.Some(token)}),
		Device: wire.Some(protocol.ConnectDevice{ID: id.DeviceID, PublicKey: id.PublicKey(), Signature: id.Sign(signed), SignedAt: now, Nonce: wire.Some(nonce)}),
	}))); err != nil {
		return err
	}
	hello, err := read(r)
	if err != nil {
		return err
	}
	if !bytes.Contains(hello, []byte("hello-ok")) {
		return fmt.Errorf("no hello-ok: %.300s", hello)
	}
	go func() { _, _ = io.Copy(io.Discard, r) }()
	all := bytes.Repeat(frame, batch)
	for !f.stopped.Load() {
		_ = conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		n, err := conn.Write(all)
		f.sent.Add(int64(n / len(frame)))
		if errors.Is(err, os.ErrDeadlineExceeded) && n%len(frame) != 0 {
			// The rest of a frame that is half sent.
			_ = conn.SetWriteDeadline(time.Time{})
			_, err = conn.Write(frame[n%len(frame):])
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("the gateway ended the connection after %d frames: %w", f.sent.Load(), err)
		}
	}
	return nil
}

// open upgrades a connection and reads the challenge.
func (f *flooder) open() (net.Conn, *bufio.Reader, string, error) {
	conn, err := net.DialTimeout("tcp", f.addr, 5*time.Second)
	if err != nil {
		return nil, nil, "", err
	}
	r := bufio.NewReader(conn)
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+f.addr+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	var challenge struct{ Payload struct{ Nonce string } }
	if err == nil {
		_, err = http.ReadResponse(r, nil)
	}
	if err == nil {
		var raw []byte
		if raw, err = read(r); err == nil {
			err = json.Unmarshal(raw, &challenge)
		}
	}
	if err != nil {
		_ = conn.Close()
		return nil, nil, "", err
	}
	return conn, r, challenge.Payload.Nonce, nil
}

func who() protocol.ConnectClient {
	return protocol.ConnectClient{ID: protocol.GatewayClientIdTest, Version: "flood", Platform: "linux", Mode: protocol.GatewayClientModeTest}
}

func connectFrame(p protocol.ConnectParams) string {
	return string(protocol.RequestFrame{ID: "c", Method: protocol.MethodConnect.Name, Params: p.AppendJSON(nil)}.AppendJSON(nil))
}

// masked builds a client's frame of up to 64 KiB.
func masked(first byte, payload string) []byte {
	b := []byte{first}
	if n := len(payload); n < 126 {
		b = append(b, 0x80|byte(n))
	} else {
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...) // a mask of zeros changes nothing
}

// read reads one unmasked frame of up to 64 KiB.
func read(r *bufio.Reader) ([]byte, error) {
	var h [2]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, err
	}
	size := int(h[1])
	if size == 126 {
		var b [2]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return nil, err
		}
		size = int(binary.BigEndian.Uint16(b[:]))
	}
	payload := make([]byte, size)
	_, err := io.ReadFull(r, payload)
	return payload, err
}
