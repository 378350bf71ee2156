package store

import (
	"context"
	"log/slog"
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
