package tasktest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/task"
)

// call is one call about a task, and answer what came of it.
type call struct {
	id       string
	what     string // claim, complete, cancel, get
	epoch    uint64 // of complete
	deadline bool   // the task has one
}

type answer struct {
	epoch  uint64 // of claim
	err    error  // nil, task.ErrFenced, task.ErrTerminal
	ended  bool   // of cancel: it was this call
	status task.Status
}

// belief is what the model knows of a task.
type belief struct {
	status task.Status // running stands for all that are not terminal
	epoch  uint64
	leased bool
}

// model is a task as every caller may see it. A lease may run out at any time; that it
// has is known when its holder is told so, or when somebody else gets a later one. So
// may the time of a task with a deadline, which is known when somebody finds it failed.
var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byTask := map[string][]porcupine.Operation{}
		for _, op := range history {
			id := op.Input.(call).id
			byTask[id] = append(byTask[id], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byTask {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return belief{status: task.Running} },
	Step: func(state, input, output any) (bool, any) {
		b, in, out := state.(belief), input.(call), output.(answer)
		found := errors.Is(out.err, task.ErrTerminal) || in.what == "cancel" && !out.ended || in.what == "get" && out.status == task.Failed
		if found && in.deadline && !b.status.Terminal() {
			b.status, b.leased = task.Failed, false
		}
		terminal := b.status.Terminal()
		switch in.what {
		case "get":
			return out.status == b.status, b
		case "cancel":
			if out.ended == terminal {
				return false, b
			}
			if out.ended {
				b.status, b.leased = task.Cancelled, false
			}
			return true, b
		case "claim":
			if out.err != nil {
				return terminal, b
			}
			ok := !terminal && out.epoch > b.epoch
			b.epoch, b.leased = out.epoch, true
			return ok, b
		}
		if terminal || errors.Is(out.err, task.ErrTerminal) {
			return terminal && errors.Is(out.err, task.ErrTerminal), b
		}
		latest := b.leased && b.epoch == in.epoch
		if out.err == nil {
			b.status = task.Completed
			return latest, b
		}
		if latest {
			b.leased = false // it has run out
		}
		return true, b
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

// linearizable lets many callers claim, complete, cancel and read the same tasks while
// leases and deadlines run out, and asks whether each task's history could have happened one call
// after the other.
func linearizable(k *kit) {
	k.with(Options{LeaseTTL: 5 * time.Millisecond})
	const tasks, workers = 12, 6
	var made []task.Task
	for i := range tasks {
		made = append(made, k.submit(func(q *task.Request) {
			if q.MaxAttempts = task.AttemptsMax; i%3 == 0 {
				q.Deadline = time.Now().Add(time.Duration(5+10*i) * time.Millisecond)
			}
		}))
	}
	var clock atomic.Int64
	var mu sync.Mutex
	var history []porcupine.Operation
	record := func(client int, in call, fn func() answer) answer {
		at := clock.Add(1)
		out := fn()
		end := clock.Add(1)
		mu.Lock()
		defer mu.Unlock()
		history = append(history, porcupine.Operation{ClientId: client, Input: in, Output: out, Call: at, Return: end})
		return out
	}
	// claim returns nil when nothing was leased in time, or the task has ended.
	claim := func(client int, id string, deadline bool) task.Lease {
		ctx, cancel := context.WithTimeout(k.ctx, 20*time.Millisecond)
		defer cancel()
		at := clock.Add(1)
		l, err := k.Claim(ctx, task.ClaimOpts{Worker: fmt.Sprint(client), TaskID: id})
		out := answer{}
		switch {
		case err == nil:
			out.epoch = l.Epoch()
		case errors.Is(err, task.ErrTerminal):
			l, out.err = nil, task.ErrTerminal
		default:
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		history = append(history, porcupine.Operation{ClientId: client, Input: call{id: id, what: "claim", deadline: deadline}, Output: out, Call: at, Return: clock.Add(1)})
		return l
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range 4 * tasks {
				about := made[(i*5+w)%tasks]
				id, deadline := about.ID, !about.Deadline.IsZero()
				if l := claim(w, id, deadline); l != nil {
					if (i+w)%3 != 0 {
						<-l.Done() // hang until the lease is lost, then go on all the same
					}
					if (i+w)%3 == 2 {
						claim(w, id, deadline) // and by the old lease although there is a new one
					}
					if (i+w)%4 != 1 {
						record(w, call{id: id, what: "complete", epoch: l.Epoch(), deadline: deadline}, func() answer {
							return answer{err: known(k, l.Complete(k.ctx, task.Output{Text: fmt.Sprint(w)}))}
						})
					}
				}
				if (i+3*w)%23 == 0 {
					record(w, call{id: id, what: "cancel", deadline: deadline}, func() answer {
						res, err := k.Cancel(k.ctx, id, "", "")
						require.NoError(k, err)
						return answer{ended: res.Cancelled}
					})
				}
				record(w, call{id: id, what: "get", deadline: deadline}, func() answer {
					t, err := k.Get(k.ctx, id)
					require.NoError(k, err)
					if !t.Status.Terminal() {
						t.Status = task.Running
					}
					return answer{status: t.Status}
				})
			}
		})
	}
	wg.Wait()
	require.Equal(k, porcupine.Ok, porcupine.CheckOperationsTimeout(model, history, time.Minute), "a history that no order of the calls explains")
	for _, t := range made {
		k.history(t.ID)
	}
}

// known reduces an error to the one that it wraps.
func known(k *kit, err error) error {
	for _, e := range []error{task.ErrFenced, task.ErrTerminal} {
		if errors.Is(err, e) {
			return e
		}
	}
	require.NoError(k, err)
	return nil
}

// manyWorkers lets eight workers do everything there is, some of them hanging until
// their lease is lost and reporting all the same: each task is completed once, by its
// latest lease.
func manyWorkers(k *kit) {
	k.with(Options{LeaseTTL: 30 * time.Millisecond})
	const n = 80
	for i := range n {
		k.submit(in(fmt.Sprint("s", i%7)), func(q *task.Request) { q.MaxAttempts = task.AttemptsMax })
	}
	var mu sync.Mutex
	latest, done := map[string]uint64{}, map[string][]uint64{}
	total := 0
	ctx, stop := context.WithCancel(k.ctx)
	defer stop()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				l, err := k.Claim(ctx, task.ClaimOpts{Worker: fmt.Sprint(w)})
				if err != nil {
					return
				}
				id := l.Task().ID
				mu.Lock()
				latest[id] = max(latest[id], l.Epoch())
				mu.Unlock()
				if (i+w)%4 == 0 {
					<-l.Done()
				}
				if known(k, l.Complete(k.ctx, task.Output{})) != nil {
					continue
				}
				mu.Lock()
				done[id] = append(done[id], l.Epoch())
				if total++; total == n {
					stop()
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(k, done, n)
	for id, epochs := range done {
		require.Equal(k, []uint64{latest[id]}, epochs, "completed once, and by the latest lease")
		k.is(id, task.Completed)
		k.history(id)
	}
}
