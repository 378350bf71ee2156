// Package transporttest is the contract of transport.Adapter: the rules that hold
// wherever the tasks run.
package transporttest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/task"
	"github.com/coderclaw/gateway/pkg/transport"
)

// Open opens an adapter to an engine of its own, which runs until the test ends. The
// engine is where the contract looks what has arrived.
type Open func(t *testing.T) (transport.Adapter, task.Engine)

// Run holds an adapter to the contract.
func Run(t *testing.T, open Open) {
	for name, run := range map[string]func(k *kit){
		"TestSessionAndMetadataArrive": sessionAndMetadataArrive,
		"TestErrorsAreNotSwallowed":    errorsAreNotSwallowed,
		"TestSubmitTwice":              submitTwice,
		"TestWatchResumes":             watchResumes,
		"TestCancelReachesAWorker":     cancelReachesAWorker,
		"TestFetchNext":                fetchNext,
		"TestStatusIsMeasured":         statusIsMeasured,
		"TestCloseEndsWatches":         closeEndsWatches,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, e := open(t)
				run(&kit{T: t, Adapter: a, engine: e, ctx: context.Background()})
			})
		})
	}
}

type kit struct {
	*testing.T
	transport.Adapter
	engine task.Engine
	ctx    context.Context
}

func (k *kit) submit(key string) task.Task {
	k.Helper()
	t, replayed, err := k.Submit(k.ctx, request(key))
	require.NoError(k, err)
	require.False(k, replayed)
	return t
}

func request(key string) task.Request {
	return task.Request{
		Description: "d", Input: "do " + key, AgentID: "main", SessionID: "s", Concurrent: true, Metadata: []byte(`{"a":[1,null]}`),
		Key: task.Key{Principal: "p", Namespace: task.NamespaceTask, Key: key}, ParamsHash: []byte(key),
	}
}

func sessionAndMetadataArrive(k *kit) {
	made := k.submit("k")
	stored, err := k.engine.Get(k.ctx, made.ID)
	require.NoError(k, err)
	got, err := k.Get(k.ctx, made.ID)
	require.NoError(k, err)
	require.Equal(k, []string{"do k", "s", "main"}, []string{stored.Input, stored.SessionID, stored.AgentID})
	require.Equal(k, []string{"do k", "s", "main"}, []string{got.Input, got.SessionID, got.AgentID})
	require.Equal(k, stored.Status, got.Status)
	require.JSONEq(k, string(stored.Metadata), string(got.Metadata))
	list, next, err := k.List(k.ctx, task.Filter{SessionID: "s"}, task.Page{})
	require.NoError(k, err)
	require.Empty(k, next)
	require.Len(k, list, 1)
	events, err := k.Events(k.ctx, made.ID, 0, 0)
	require.NoError(k, err)
	require.NoError(k, task.Verify(events))
}

func errorsAreNotSwallowed(k *kit) {
	_, err := k.Get(k.ctx, "gone")
	require.ErrorIs(k, err, task.ErrNotFound)
	_, err = k.Cancel(k.ctx, "gone", "", "")
	require.ErrorIs(k, err, task.ErrNotFound)
	_, err = k.Watch(k.ctx, task.Filter{ID: "gone"}, 0)
	require.ErrorIs(k, err, task.ErrNotFound)
	_, err = k.Events(k.ctx, "gone", 0, 0)
	require.ErrorIs(k, err, task.ErrNotFound)
	_, _, err = k.Submit(k.ctx, task.Request{OnFailure: "maybe"})
	require.ErrorIs(k, err, task.ErrInvalid)
	_, _, err = k.List(k.ctx, task.Filter{}, task.Page{Limit: -1})
	require.ErrorIs(k, err, task.ErrInvalid)
	s, err := k.Status(k.ctx)
	require.NoError(k, err)
	require.Zero(k, s.Adapter.ErrorRate, "a refusal is an answer")
}

func submitTwice(k *kit) {
	first := k.submit("k")
	again, replayed, err := k.Submit(k.ctx, request("k"))
	require.NoError(k, err)
	require.True(k, replayed)
	require.Equal(k, first.ID, again.ID)
	other := request("k")
	other.ParamsHash = []byte("other")
	_, _, err = k.Submit(k.ctx, other)
	require.ErrorIs(k, err, task.ErrExists)
}

func watchResumes(k *kit) {
	s, err := k.Watch(k.ctx, task.Filter{}, 0)
	require.NoError(k, err)
	var seen []task.Event
	for _, key := range []string{"a", "b", "c"} {
		k.submit(key)
		ev, err := s.Next(k.ctx)
		require.NoError(k, err)
		seen = append(seen, ev)
	}
	s.Close()
	k.submit("d")
	s, err = k.Watch(k.ctx, task.Filter{}, seen[1].Cursor)
	require.NoError(k, err)
	defer s.Close()
	for _, want := range []task.Cursor{seen[2].Cursor, seen[2].Cursor + 1} {
		ev, err := s.Next(k.ctx)
		require.NoError(k, err)
		require.Equal(k, want, ev.Cursor)
	}
	short, cancel := context.WithTimeout(k.ctx, time.Second)
	defer cancel()
	_, err = s.Next(short)
	require.ErrorIs(k, err, context.DeadlineExceeded)
}

func cancelReachesAWorker(k *kit) {
	made := k.submit("k")
	l, err := k.engine.Claim(k.ctx, task.ClaimOpts{Worker: "w"})
	require.NoError(k, err)
	res, err := k.Cancel(k.ctx, made.ID, "why", "me")
	require.NoError(k, err)
	require.True(k, res.Cancelled)
	<-l.Done()
	require.ErrorIs(k, l.Complete(k.ctx, task.Output{}), task.ErrTerminal)
	res, err = k.Cancel(k.ctx, made.ID, "why", "me")
	require.NoError(k, err)
	require.True(k, res.AlreadyTerminal)
}

func fetchNext(k *kit) {
	_, err := k.FetchNext(k.ctx, task.ClaimOpts{Worker: "w", Wait: time.Second})
	if err != nil && !slices.Contains([]error{task.ErrNone}, err) {
		require.ErrorIs(k, err, transport.ErrUnsupported)
		return
	}
	made := k.submit("k")
	l, err := k.FetchNext(k.ctx, task.ClaimOpts{Worker: "w", Wait: time.Second})
	require.NoError(k, err)
	require.Equal(k, "do k", l.Task().Input)
	require.NoError(k, l.Heartbeat(k.ctx))
	require.NoError(k, l.Progress(k.ctx, 10, ""))
	require.NoError(k, l.Complete(k.ctx, task.Output{Text: "done"}))
	got, err := k.Get(k.ctx, made.ID)
	require.NoError(k, err)
	require.Equal(k, "done", got.Output)
}

func statusIsMeasured(k *kit) {
	k.submit("a")
	k.submit("b")
	l, err := k.engine.Claim(k.ctx, task.ClaimOpts{Worker: "w"})
	require.NoError(k, err)
	time.Sleep(time.Second)
	s, err := k.Status(k.ctx)
	require.NoError(k, err)
	require.Equal(k, []int{1, 1, 2}, []int{s.Active, s.Queued, int(s.Total)})
	require.True(k, s.Healthy)
	require.Positive(k, s.Capacity)
	require.InDelta(k, 1/float64(s.Capacity), s.Load, 1e-9)
	require.GreaterOrEqual(k, s.OldestQueued, time.Second)
	require.GreaterOrEqual(k, s.Uptime, time.Second)
	require.NotEmpty(k, s.Mode)
	require.False(k, s.Adapter.LastOK.IsZero())
	agents, err := k.Agents(k.ctx)
	require.NoError(k, err)
	at := slices.IndexFunc(agents, func(a transport.AgentInfo) bool { return a.ID == "main" })
	require.GreaterOrEqual(k, at, 0, "the contract needs an agent main")
	require.Equal(k, []int{1, 2}, []int{agents[at].Running, agents[at].Open})
	_, err = k.Skills(k.ctx)
	require.NoError(k, err)
	require.NoError(k, l.Complete(k.ctx, task.Output{}))
}

func closeEndsWatches(k *kit) {
	s, err := k.Watch(k.ctx, task.Filter{}, 0)
	require.NoError(k, err)
	var wg sync.WaitGroup
	wg.Go(func() { _, err = s.Next(k.ctx) })
	synctest.Wait()
	require.NoError(k, k.Close())
	wg.Wait()
	require.ErrorIs(k, err, task.ErrUnavailable)
	require.NoError(k, k.Close())
	_, err = k.Get(k.ctx, "x")
	require.ErrorIs(k, err, task.ErrUnavailable)
}
