package store

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestKeeperTakesACopyADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, t.TempDir())
		k := &Keeper{DB: d, Verify: Here(), Log: slog.New(slog.DiscardHandler), freeBytesMin: 1}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx) }()
		daily := func() int {
			synctest.Wait()
			copies, err := k.List()
			require.NoError(t, err)
			return len(copies)
		}
		time.Sleep(firstLook - time.Second)
		require.Zero(t, daily(), "a start has other things to do")
		time.Sleep(time.Minute)
		require.Equal(t, 1, daily())
		time.Sleep(23 * time.Hour)
		require.Equal(t, 1, daily())
		time.Sleep(2 * time.Hour)
		require.Equal(t, 2, daily())
		time.Sleep(20 * 25 * time.Hour)
		require.Equal(t, dailyMax, daily())
		cancel()
		require.NoError(t, <-done)
	})
}

// A copy that is taken while others write is of one moment: the numbers in it have no
// gap, and the check finds nothing.
func TestCopyUnderWritersIsOfOneMoment(t *testing.T) {
	d := open(t, t.TempDir())
	k := &Keeper{DB: d, Verify: Here(numbers.Table()), Log: slog.New(slog.DiscardHandler), freeBytesMin: 1}
	ctx, cancel := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for ctx.Err() == nil {
				_ = d.Update(context.WithoutCancel(ctx), func(tx *Tx) error {
					n, err := numbers.NextSequence(tx)
					if err != nil {
						return err
					}
					return numbers.Put(tx, SeqKey("n", n), int(n))
				})
			}
		})
	}
	for range 3 {
		c, r, err := k.Create(t.Context(), ReasonRequest)
		require.NoError(t, err)
		require.True(t, r.Clean(), r.Summary())
		copied := t.TempDir()
		require.NoError(t, copyFile(c.Path, filepath.Join(copied, FileName)))
		kept, err := Open(Options{Dir: copied})
		require.NoError(t, err)
		require.NoError(t, kept.View(func(tx *Tx) error {
			want := 0
			for row, err := range numbers.All(tx) {
				if want++; err != nil || row.Value != want {
					return fmt.Errorf("row %d is %d: %w", want, row.Value, err)
				}
			}
			return nil
		}))
		require.NoError(t, kept.Close())
	}
	cancel()
	writers.Wait()
}
