package durable

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task"
)

// bench opens an engine in a directory.
func bench(t testing.TB, dir string) (*Engine, func()) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(store.Options{Dir: dir, Log: log})
	require.NoError(t, err)
	e, err := New(Config{DB: db, Log: log, Limits: Limits{OpenMax: 1 << 30, RunningMax: 1 << 20}})
	require.NoError(t, err)
	return e, func() {
		require.NoError(t, e.Close())
		require.NoError(t, db.Close())
	}
}

// together does fn n times from so many callers.
func together(n, callers int, fn func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				fn(i)
			}
		})
	}
	wg.Wait()
}

// submitN submits n small tasks.
func submitN(t testing.TB, e *Engine, n, callers int) {
	together(n, callers, func(i int) {
		if _, _, err := e.Submit(context.Background(), task.Request{Description: "bench", Input: fmt.Sprint(i)}); err != nil {
			t.Error(err)
		}
	})
}

func benchmarkSubmit(b *testing.B, callers int) {
	e, stop := bench(b, b.TempDir())
	defer stop()
	b.ResetTimer()
	submitN(b, e, b.N, callers)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

func BenchmarkSubmit1(b *testing.B)   { benchmarkSubmit(b, 1) }
func BenchmarkSubmit64(b *testing.B)  { benchmarkSubmit(b, 64) }
func BenchmarkSubmit256(b *testing.B) { benchmarkSubmit(b, 256) }

// BenchmarkClaimComplete64 is a task's whole life but for its submission.
func BenchmarkClaimComplete64(b *testing.B) {
	e, stop := bench(b, b.TempDir())
	defer stop()
	submitN(b, e, b.N, 256)
	b.ResetTimer()
	together(b.N, 64, func(int) {
		l, err := e.Claim(context.Background(), task.ClaimOpts{Worker: "w"})
		if err == nil {
			err = l.Complete(context.Background(), task.Output{Text: "done"})
		}
		if err != nil {
			b.Error(err)
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

// BenchmarkGroupCommit compares 256 callers, who share their transactions, with one,
// who has each to himself. It fails below ten times as many tasks.
func BenchmarkGroupCommit(b *testing.B) {
	rate := func(n, callers int) float64 {
		e, stop := bench(b, b.TempDir())
		defer stop()
		began := time.Now()
		submitN(b, e, n, callers)
		return float64(n) / time.Since(began).Seconds()
	}
	for b.Loop() {
		alone, grouped := rate(200, 1), rate(8000, 256)
		b.ReportMetric(grouped/alone, "times")
		if grouped < 10*alone {
			b.Fatalf("256 callers submit %.0f tasks/s, one %.0f: less than ten times", grouped, alone)
		}
	}
}

// BenchmarkRestart10k opens an engine on ten thousand queued tasks.
func BenchmarkRestart10k(b *testing.B) {
	dir := b.TempDir()
	e, stop := bench(b, dir)
	submitN(b, e, 10_000, 256)
	stop()
	b.ResetTimer()
	for b.Loop() {
		b.StopTimer()
		log := slog.New(slog.DiscardHandler)
		db, err := store.Open(store.Options{Dir: dir, Log: log})
		require.NoError(b, err)
		b.StartTimer()
		e, err := New(Config{DB: db, Log: log})
		require.NoError(b, err)
		b.StopTimer()
		require.NoError(b, e.Close())
		require.NoError(b, db.Close())
		b.StartTimer()
	}
}
