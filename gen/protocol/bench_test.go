package protocol_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// benchFrames are whole frames made of the schema's own examples: the envelope is
// decoded first and the payload out of its raw bytes, as on a connection.
func benchFrames(t testing.TB) []benchFrame {
	defs := schemaDefs(t)
	example := func(def string) json.RawMessage {
		require.NotEmpty(t, defs[def].Examples, def)
		return defs[def].Examples[0]
	}
	frame := func(head, def, tail string) []byte {
		raw := append([]byte(head), compact(t, example(def))...)
		return append(raw, tail...)
	}
	return []benchFrame{
		request("connect", frame(`{"type":"req","id":"c1","method":"connect","params":`, "ConnectParams", "}"), protocol.DecodeConnectParams),
		request("chat.send", frame(`{"type":"req","id":"c2","method":"chat.send","params":`, "ChatSendParams", "}"), protocol.DecodeChatSendParams),
		event("agent", frame(`{"type":"event","event":"agent","seq":7,"payload":`, "AgentEvent", "}"), protocol.DecodeAgentEventOpen),
		response("health", frame(`{"type":"res","id":"c3","ok":true,"payload":`, "HealthSummary", "}"), protocol.DecodeHealthSummaryOpen),
		response("hello-ok", frame(`{"type":"res","id":"c1","ok":true,"payload":`, "HelloOk", "}"), protocol.DecodeHelloOkOpen),
	}
}

// benchFrame is a frame with the function that decodes all of it.
type benchFrame struct {
	name   string
	raw    []byte
	decode func(raw []byte) error
}

func request[T any](name string, raw []byte, decode func([]byte) (T, error)) benchFrame {
	return benchFrame{name, raw, func(raw []byte) error {
		f, err := protocol.DecodeRequestFrame(raw)
		if err != nil {
			return err
		}
		_, err = decode(f.Params)
		return err
	}}
}

func event[T any](name string, raw []byte, decode func([]byte) (T, error)) benchFrame {
	return benchFrame{name, raw, func(raw []byte) error {
		f, err := protocol.DecodeEventFrameOpen(raw)
		if err != nil {
			return err
		}
		_, err = decode(f.Payload)
		return err
	}}
}

func response[T any](name string, raw []byte, decode func([]byte) (T, error)) benchFrame {
	return benchFrame{name, raw, func(raw []byte) error {
		f, err := protocol.DecodeResponseFrameOpen(raw)
		if err != nil {
			return err
		}
		_, err = decode(f.Payload)
		return err
	}}
}

func BenchmarkDecode(b *testing.B) {
	for _, f := range benchFrames(b) {
		b.Run(f.name, func(b *testing.B) {
			require.NoError(b, f.decode(f.raw))
			b.SetBytes(int64(len(f.raw)))
			b.ReportAllocs()
			for b.Loop() {
				_ = f.decode(f.raw)
			}
		})
	}
}

// BenchmarkValid is the floor: the syntax alone, which is all that an untyped value
// is asked for.
func BenchmarkValid(b *testing.B) {
	for _, f := range benchFrames(b) {
		b.Run(f.name, func(b *testing.B) {
			b.SetBytes(int64(len(f.raw)))
			b.ReportAllocs()
			for b.Loop() {
				if !wire.ValidJSON(f.raw) {
					b.Fatal("invalid")
				}
			}
		})
	}
}

func BenchmarkJSONValid(b *testing.B) {
	for _, f := range benchFrames(b) {
		b.Run(f.name, func(b *testing.B) {
			b.SetBytes(int64(len(f.raw)))
			for b.Loop() {
				json.Valid(f.raw)
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, f := range []struct{ name, def string }{{"agent", "AgentEvent"}, {"chat", "ChatEvent"}, {"health", "HealthSummary"}, {"hello-ok", "HelloOk"}} {
		raw := []byte(schemaDefs(b)[f.def].Examples[0])
		b.Run(f.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = codecs[f.def].closed(raw)
			}
		})
	}
}

// BenchmarkRefuse is the slow path: three broken rules told in full.
func BenchmarkRefuse(b *testing.B) {
	raw := []byte(`{"limit":0,"foo":1}`)
	b.ReportAllocs()
	for b.Loop() {
		_ = protocol.Validate("ChatHistoryParams", raw)
	}
}
