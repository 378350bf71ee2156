package local

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task"
	"github.com/coderclaw/gateway/pkg/task/durable"
	"github.com/coderclaw/gateway/pkg/transport"
	"github.com/coderclaw/gateway/pkg/transport/transporttest"
)

// open opens the product's engine and an adapter to it.
func open(t *testing.T) (transport.Adapter, task.Engine) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(store.Options{Dir: t.TempDir(), Log: log})
	require.NoError(t, err)
	e, err := durable.New(durable.Config{DB: db, Log: log})
	require.NoError(t, err)
	a, err := New(Config{Tasks: e, Version: "1.2.3", Agents: func(context.Context) ([]transport.AgentInfo, error) {
		return []transport.AgentInfo{{ID: "main", Name: "Assistant"}, {ID: "idle"}}, nil
	}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = e.Run(ctx) })
	t.Cleanup(func() {
		require.NoError(t, a.Close())
		cancel()
		wg.Wait()
		require.NoError(t, e.Close())
		require.NoError(t, db.Close())
	})
	return a, e
}

func TestContract(t *testing.T) { transporttest.Run(t, open) }

// What nobody has configured is not made up, and a list that cannot be had is not an
// empty one.
func TestAgentsAndSkillsAreNotMadeUp(t *testing.T) {
	_, e := open(t)
	bare, err := New(Config{Tasks: e})
	require.NoError(t, err)
	agents, err := bare.Agents(t.Context())
	require.NoError(t, err)
	require.Empty(t, agents)
	skills, err := bare.Skills(t.Context())
	require.NoError(t, err)
	require.Empty(t, skills)
	fault := errors.New("no config")
	a, err := New(Config{Tasks: e,
		Agents: func(context.Context) ([]transport.AgentInfo, error) { return nil, fault },
		Skills: func(context.Context) ([]transport.SkillInfo, error) { return nil, fault },
	})
	require.NoError(t, err)
	_, err = a.Agents(t.Context())
	require.ErrorIs(t, err, fault)
	_, err = a.Skills(t.Context())
	require.ErrorIs(t, err, fault)
	s, err := a.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1.0, s.Adapter.ErrorRate)
	require.Equal(t, transport.ModeLocalOnly, s.Mode)
	_, err = New(Config{})
	require.Error(t, err)
}

func TestMeterForgets(t *testing.T) {
	var m transport.Meter
	fault := errors.New("broken pipe")
	for range 50 {
		m.Note(time.Now(), fault)
	}
	m.Note(time.Now(), context.Canceled)
	require.Equal(t, 1.0, m.Health().ErrorRate)
	require.True(t, m.Health().LastOK.IsZero())
	for range 50 {
		m.Note(time.Now(), task.ErrNotFound)
	}
	require.Equal(t, 0.5, m.Health().ErrorRate)
	for range 50 {
		m.Note(time.Now(), nil)
	}
	require.Zero(t, m.Health().ErrorRate)
}
