package oracle

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// timesFaster is what the generated decoders promise: they decode and validate at
// least this many times faster than the oracle parses and validates.
const timesFaster = 10

// measured are the values that frames carry most, by definition.
var measured = []struct {
	def    string
	decode func([]byte) error
}{
	{"ConnectParams", discard(protocol.DecodeConnectParams)},
	{"ChatSendParams", discard(protocol.DecodeChatSendParams)},
	{"AgentEvent", discard(protocol.DecodeAgentEvent)},
	{"HealthSummary", discard(protocol.DecodeHealthSummary)},
	{"HelloOk", discard(protocol.DecodeHelloOk)},
}

func discard[T any](decode func([]byte) (T, error)) func([]byte) error {
	return func(raw []byte) error {
		_, err := decode(raw)
		return err
	}
}

func example(t testing.TB, def string) []byte {
	raw, err := json.Marshal(examples(t)[def][0])
	require.NoError(t, err)
	return raw
}

// TestSpeed compares the shortest of many short runs, so that a busy machine slows
// both sides or neither.
func TestSpeed(t *testing.T) {
	o := newOracle(t)
	for _, m := range measured {
		raw := example(t, m.def)
		require.NoError(t, m.decode(raw))
		own := shortest(func() { _ = m.decode(raw) })
		other := shortest(func() { _, _ = o.accepts(m.def, raw) })
		t.Logf("%-16s %5d bytes: ours %8v, oracle %10v: %.0f times faster", m.def, len(raw), own, other, float64(other)/float64(own))
		require.GreaterOrEqual(t, float64(other)/float64(own), float64(timesFaster), m.def)
	}
}

func shortest(fn func()) time.Duration {
	const rounds, times = 30, 50
	least := time.Duration(math.MaxInt64)
	for range rounds {
		start := time.Now()
		for range times {
			fn()
		}
		least = min(least, time.Since(start)/times)
	}
	return least
}

// TestValidAllocatesNothing covers what stays raw: it is checked and not copied.
func TestValidAllocatesNothing(t *testing.T) {
	for _, m := range measured {
		raw := example(t, m.def)
		require.Zero(t, testing.AllocsPerRun(100, func() { wire.ValidJSON(raw) }), m.def)
	}
}

func BenchmarkOwn(b *testing.B) {
	for _, m := range measured {
		raw := example(b, m.def)
		b.Run(m.def, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				_ = m.decode(raw)
			}
		})
	}
}

func BenchmarkOracle(b *testing.B) {
	o := newOracle(b)
	for _, m := range measured {
		raw := example(b, m.def)
		b.Run(m.def, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = o.accepts(m.def, raw)
			}
		})
	}
}
