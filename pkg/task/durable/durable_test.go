package durable

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task"
	"github.com/coderclaw/gateway/pkg/task/tasktest"
)

// openEngine opens the product's engine for the contract.
func openEngine(t testing.TB, dir string, o tasktest.Options) (task.Engine, func()) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(store.Options{Dir: dir, Log: log})
	require.NoError(t, err)
	e, err := New(Config{DB: db, Log: log, Limits: Limits{RunningMax: o.RunningMax, AgentMax: o.AgentMax, OpenMax: o.OpenMax,
		LeaseTTL: o.LeaseTTL, Backoff: o.Backoff, Retention: o.Retention, KeyRetention: o.KeyRetention, CountMax: o.Count, LagMax: o.LagMax}})
	require.NoError(t, err)
	return e, func() { require.NoError(t, db.Close()) }
}

func TestContract(t *testing.T) { tasktest.Run(t, openEngine) }

// A limit that is changed holds for the next claims; what takes no time overtakes it.
func TestTheLimitOfRunningTasksChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, closeDB := openEngine(t, t.TempDir(), tasktest.Options{RunningMax: 1})
		defer closeDB()
		e := engine.(*Engine)
		var ids []string
		for range 3 {
			got, _, err := e.Submit(t.Context(), task.Request{Input: "x"})
			require.NoError(t, err)
			ids = append(ids, got.ID)
		}
		first, err := e.Claim(t.Context(), task.ClaimOpts{TaskID: ids[0]})
		require.NoError(t, err)
		claimed := make(chan error, 1)
		go func() {
			_, err := e.Claim(t.Context(), task.ClaimOpts{TaskID: ids[1]})
			claimed <- err
		}()
		synctest.Wait()
		require.Empty(t, claimed)
		_, err = e.Claim(t.Context(), task.ClaimOpts{TaskID: ids[2], Overtake: true})
		require.NoError(t, err)
		e.SetLimits(Limits{RunningMax: 3})
		require.NoError(t, <-claimed)
		stats, err := e.Stats(t.Context())
		require.NoError(t, err)
		require.Equal(t, 3, stats.RunningMax)
		e.SetLimits(Limits{RunningMax: 1})
		require.NoError(t, first.Complete(t.Context(), task.Output{}))
		next, _, err := e.Submit(t.Context(), task.Request{Input: "x"})
		require.NoError(t, err)
		_, err = e.Claim(t.Context(), task.ClaimOpts{TaskID: next.ID, Wait: time.Second})
		require.ErrorIs(t, err, task.ErrNone, "two still run")
	})
}
