package store

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkOpen opens and closes a store that exists: part of what every start
// of the gateway waits for.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		d, err := Open(Options{Dir: dir})
		require.NoError(b, err)
		require.NoError(b, d.Close())
	}
}

// benchmarkCallers measures durable writes per second of n callers.
func benchmarkCallers(b *testing.B, n int) {
	d := open(b, b.TempDir())
	var next sync.Mutex
	left := b.N
	take := func() bool {
		next.Lock()
		defer next.Unlock()
		left--
		return left >= 0
	}
	b.ResetTimer()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			for take() {
				if err := d.Update(b.Context(), func(tx *Tx) error { return numbers.Put(tx, fmt.Sprint(i), i) }); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
	b.ReportMetric(float64(d.Stats().Calls)/float64(max(1, d.Stats().Commits)), "writes/commit")
}

func BenchmarkUpdate1(b *testing.B)   { benchmarkCallers(b, 1) }
func BenchmarkUpdate64(b *testing.B)  { benchmarkCallers(b, 64) }
func BenchmarkUpdate256(b *testing.B) { benchmarkCallers(b, 256) }
