package durable

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task"
)

// Limits change under the feet of those who wait for them.
func TestSetLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		db, err := store.Open(store.Options{Dir: t.TempDir(), Log: log})
		require.NoError(t, err)
		defer func() { require.NoError(t, db.Close()) }()
		e, err := New(Config{DB: db, Log: log, Limits: Limits{AgentMax: 1}})
		require.NoError(t, err)
		defer func() { require.NoError(t, e.Close()) }()
		require.Equal(t, runningMaxDefault, e.Limits().RunningMax)
		for range 2 {
			_, _, err := e.Submit(t.Context(), task.Request{AgentID: "a"})
			require.NoError(t, err)
		}
		first, err := e.Claim(t.Context(), task.ClaimOpts{Wait: time.Second})
		require.NoError(t, err)
		got := make(chan error, 1)
		var second task.Lease
		go func() {
			var err error
			second, err = e.Claim(t.Context(), task.ClaimOpts{Wait: time.Hour})
			got <- err
		}()
		synctest.Wait()
		require.Empty(t, got)
		e.SetLimits(Limits{AgentMax: 2, OpenMax: 2, LeaseTTL: time.Minute})
		require.NoError(t, <-got, "a higher limit lets the one go ahead that waits for it")
		require.NotEqual(t, first.Task().ID, second.Task().ID)
		_, _, err = e.Submit(t.Context(), task.Request{})
		require.ErrorIs(t, err, task.ErrFull)
		stats, err := e.Stats(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, stats.OpenMax)

		require.NoError(t, first.Complete(t.Context(), task.Output{}))
		require.NoError(t, second.Complete(t.Context(), task.Output{}))
		time.Sleep(2 * time.Hour)
		e.SetLimits(Limits{Retention: time.Hour})
		e.forget(t.Context())
		_, err = e.Get(t.Context(), first.Task().ID)
		require.ErrorIs(t, err, task.ErrNotFound, "what is too old by the new limit goes")
	})
}
