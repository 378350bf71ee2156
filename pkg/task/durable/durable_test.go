package durable

import (
	"log/slog"
	"testing"

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
