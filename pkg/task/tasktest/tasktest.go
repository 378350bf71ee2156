// Package tasktest is the contract of task.Engine: what every engine promises, whatever
// it stores its tasks in. An engine's test is one call of Run, plus what is special
// about it.
//
// Most of it runs under testing/synctest, so that hours pass in no time; what is about
// real concurrency (Linearizable, TestManyWorkersNoDoubles) does not.
package tasktest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/task"
)

// Options are what the contract asks of an engine; zero is the engine's default.
type Options struct {
	LeaseTTL, Backoff, Retention, KeyRetention   time.Duration
	RunningMax, AgentMax, OpenMax, LagMax, Count int
}

// Open opens an engine on the data in a directory. The contract calls its Run, and
// stop after Run has returned.
type Open func(t testing.TB, dir string, o Options) (e task.Engine, stop func())

// Run holds an engine to the contract.
func Run(t *testing.T, open Open) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.real {
				c.run(newKit(t, open))
				return
			}
			synctest.Test(t, func(t *testing.T) { c.run(newKit(t, open)) })
		})
	}
}

// contractCase is one promise.
type contractCase struct {
	name string
	run  func(k *kit)
	real bool // in real time
}

// kit is what a case works with: a directory, and the engine that is open on it.
type kit struct {
	*testing.T
	task.Engine
	ctx  context.Context
	dir  string
	open Open
	opts Options
	stop func()
}

func newKit(t *testing.T, open Open) *kit {
	k := &kit{T: t, ctx: context.Background(), dir: t.TempDir(), open: open}
	k.start()
	t.Cleanup(func() { k.stop() })
	return k
}

// start opens the engine and runs it.
func (k *kit) start() {
	k.Helper()
	e, closeStore := k.open(k.T, k.dir, k.opts)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := e.Run(ctx); err != nil {
			k.Errorf("Run: %v", err)
		}
	})
	k.Engine = e
	k.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if err := e.Close(); err != nil {
			k.Errorf("Close: %v", err)
		}
		closeStore()
	})
}

// with opens the engine anew with other options.
func (k *kit) with(o Options) *kit {
	k.Helper()
	k.stop()
	k.opts = o
	k.start()
	return k
}

// restart is the next life of the gateway.
func (k *kit) restart() { k.Helper(); k.with(k.opts) }

// submit stores a task.
func (k *kit) submit(change ...func(*task.Request)) task.Task {
	k.Helper()
	q := task.Request{Description: "a task", Input: "do it"}
	for _, fn := range change {
		fn(&q)
	}
	t, replayed, err := k.Submit(k.ctx, q)
	require.NoError(k, err)
	require.False(k, replayed)
	return t
}

// keyed gives a request an idempotency key.
func keyed(key string) func(*task.Request) {
	return func(q *task.Request) {
		q.Key = task.Key{Principal: "device-1", Namespace: task.NamespaceTask, Key: key}
		sum := sha256.Sum256([]byte(q.Input))
		q.ParamsHash = sum[:]
	}
}

// under makes a request one of a child.
func under(parent task.Task) func(*task.Request) {
	return func(q *task.Request) { q.ParentTaskID = parent.ID }
}

// after makes a request depend on others.
func after(policy task.OnFailure, on ...task.Task) func(*task.Request) {
	return func(q *task.Request) {
		q.OnFailure = policy
		for _, t := range on {
			q.DependsOn = append(q.DependsOn, t.ID)
		}
	}
}

// in puts a request into a session.
func in(session string) func(*task.Request) {
	return func(q *task.Request) { q.SessionID = session }
}

// claim leases a task, the next when id is empty.
func (k *kit) claim(id string) task.Lease {
	k.Helper()
	l, err := k.Claim(k.ctx, task.ClaimOpts{Worker: "worker", TaskID: id, Wait: time.Minute})
	require.NoError(k, err)
	return l
}

// none requires that nothing can be claimed now.
func (k *kit) none(id string) {
	k.Helper()
	_, err := k.Claim(k.ctx, task.ClaimOpts{Worker: "worker", TaskID: id, Wait: time.Millisecond})
	require.ErrorIs(k, err, task.ErrNone)
}

// complete does a task.
func (k *kit) complete(id string) {
	k.Helper()
	require.NoError(k, k.claim(id).Complete(k.ctx, task.Output{Text: "done"}))
}

// fail makes a task fail for good.
func (k *kit) fail(id string) {
	k.Helper()
	retried, err := k.claim(id).Fail(k.ctx, task.Failure{Code: "broken", Message: "it broke"}, 0, task.Output{})
	require.NoError(k, err)
	require.False(k, retried)
}

// get reads a task.
func (k *kit) get(id string) task.Task {
	k.Helper()
	t, err := k.Get(k.ctx, id)
	require.NoError(k, err)
	return t
}

// is requires a task's status.
func (k *kit) is(id string, want task.Status) task.Task {
	k.Helper()
	t := k.get(id)
	require.Equal(k, want, t.Status)
	return t
}

// history reads all events of a task and checks that they link.
func (k *kit) history(id string) []task.Event {
	k.Helper()
	var all []task.Event
	for {
		page, err := k.Events(k.ctx, id, uint64(len(all)), 0)
		require.NoError(k, err)
		if len(page) == 0 {
			break
		}
		all = append(all, page...)
	}
	require.NoError(k, task.Verify(all))
	require.Equal(k, uint64(len(all)), k.get(id).Revision, "the record and its history part")
	return all
}

// steps tells a history, an event in a few words.
func (k *kit) steps(id string) []string {
	k.Helper()
	var out []string
	for _, e := range k.history(id) {
		s := string(e.Event)
		if e.NewStatus != "" {
			s += " " + string(e.NewStatus)
		}
		out = append(out, s)
	}
	return out
}

// ends requires that a lease ends in time, with want.
func (k *kit) ends(l task.Lease, want error) {
	k.Helper()
	select {
	case <-l.Done():
	case <-time.After(20 * time.Second):
		require.Fail(k, "the lease does not end")
	}
	if want == nil {
		require.NoError(k, l.Err())
		return
	}
	require.ErrorIs(k, l.Err(), want)
}

// errAlso is what a caller's own write fails with.
var errAlso = errors.New("the caller's write failed")

// ids lists the ids of tasks.
func ids(list []task.Task) []string {
	out := []string{}
	for _, t := range list {
		out = append(out, t.ID)
	}
	return out
}

// name makes a name of a number.
func name(i int) string { return fmt.Sprintf("t%03d", i) }
