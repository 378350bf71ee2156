package tasktest

import (
	"bytes"
	"context"
	"math"
	"sync"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/task"
)

// The original's worker reports after its task was cancelled: late output is stored,
// the completion is refused, and its error handler makes the task failed.
func cancelledNeverBecomesFailed(k *kit) {
	t := k.submit()
	l := k.claim(t.ID)
	res, err := k.Cancel(k.ctx, t.ID, "changed my mind", "me")
	require.NoError(k, err)
	require.True(k, res.Cancelled)
	require.ErrorIs(k, l.Complete(k.ctx, task.Output{Text: "late"}), task.ErrTerminal)
	_, err = l.Fail(k.ctx, task.Failure{Code: "x", Message: "late"}, 0, task.Output{})
	require.ErrorIs(k, err, task.ErrTerminal)
	require.ErrorIs(k, l.Progress(k.ctx, 10, ""), task.ErrTerminal)
	require.ErrorIs(k, l.Checkpoint(k.ctx, nil), task.ErrTerminal)
	require.ErrorIs(k, l.Release(k.ctx), task.ErrTerminal)
	require.ErrorIs(k, l.Wait(k.ctx, task.Condition{}), task.ErrTerminal)
	require.Error(k, l.Heartbeat(k.ctx))
	got := k.is(t.ID, task.Cancelled)
	require.Equal(k, []string{task.CodeCancelled, "changed my mind"}, []string{got.Error.Code, got.Error.Message})
	require.Empty(k, got.Output)
	k.restart()
	k.is(t.ID, task.Cancelled)
	time.Sleep(time.Hour)
	k.is(t.ID, task.Cancelled)
}

func cancelReachesTheWorker(k *kit) {
	t := k.submit()
	l := k.claim(t.ID)
	var wg sync.WaitGroup
	wg.Go(func() { <-l.Done() })
	_, err := k.Cancel(k.ctx, t.ID, "", "me")
	require.NoError(k, err)
	wg.Wait()
	require.ErrorIs(k, l.Err(), task.ErrTerminal)
	require.Equal(k, "me", k.history(t.ID)[3].Actor)

	// A task that waits in line is not handed out any more.
	queued := k.submit()
	_, err = k.Cancel(k.ctx, queued.ID, "", "me")
	require.NoError(k, err)
	k.none("")
}

func cancelReachesTheChildren(k *kit) {
	root := k.submit()
	child := k.submit(under(root))
	grandchild := k.submit(under(child))
	kept := k.submit(under(root), func(q *task.Request) { q.Detach = true })
	done := k.submit(under(root))
	k.complete(done.ID)
	l := k.claim(grandchild.ID)
	res, err := k.Cancel(k.ctx, root.ID, "all of it", "me")
	require.NoError(k, err)
	require.Equal(k, []string{grandchild.ID, child.ID}, res.Descendants, "the deepest first")
	k.ends(l, task.ErrTerminal)
	require.Equal(k, task.CodeParentCancelled, k.is(grandchild.ID, task.Cancelled).Error.Code)
	k.is(child.ID, task.Cancelled)
	k.is(root.ID, task.Cancelled)
	k.is(kept.ID, task.Pending)
	k.is(done.ID, task.Completed)
	_, _, err = k.Submit(k.ctx, task.Request{ParentTaskID: root.ID})
	require.ErrorIs(k, err, task.ErrTerminal)

	// A worker that cancels its own task takes the children along as well.
	root = k.submit()
	child = k.submit(under(root))
	require.NoError(k, k.claim(root.ID).Cancel(k.ctx, "told to stop", task.Output{Text: "so far"}))
	require.Equal(k, "so far", k.is(root.ID, task.Cancelled).Output)
	k.is(child.ID, task.Cancelled)
}

func deadlineIsFailed(k *kit) {
	begun := k.submit(func(q *task.Request) { q.Deadline = time.Now().Add(time.Minute) })
	queued := k.submit(func(q *task.Request) { q.Deadline = time.Now().Add(time.Minute) })
	l := k.claim(begun.ID)
	stop := keep(k, l)
	time.Sleep(time.Minute + time.Second)
	synctest.Wait()
	stop()
	k.ends(l, task.ErrTerminal)
	require.ErrorIs(k, l.Complete(k.ctx, task.Output{Text: "late"}), task.ErrTerminal)
	for _, t := range []task.Task{begun, queued} {
		require.Equal(k, task.CodeDeadline, k.is(t.ID, task.Failed).Error.Code)
	}
	past := k.submit(func(q *task.Request) { q.Deadline = time.Now().Add(-time.Hour) })
	time.Sleep(time.Second)
	synctest.Wait()
	k.is(past.ID, task.Failed)

	slept := k.submit(func(q *task.Request) { q.Deadline = time.Now().Add(time.Minute) })
	k.stop()
	time.Sleep(2 * time.Minute)
	k.start()
	time.Sleep(time.Second)
	synctest.Wait()
	k.is(slept.ID, task.Failed)
}

// keep sends heartbeats until stop is called or the lease ends.
func keep(k *kit, l task.Lease) (stop func()) {
	ctx, cancel := context.WithCancel(k.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil && l.Heartbeat(ctx) == nil {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

func timeoutIsFailed(k *kit) {
	t := k.submit(func(q *task.Request) { q.Timeout = time.Minute })
	time.Sleep(time.Hour)
	synctest.Wait()
	k.is(t.ID, task.Pending)
	l := k.claim(t.ID)
	stop := keep(k, l)
	time.Sleep(time.Minute - time.Second)
	synctest.Wait()
	k.is(t.ID, task.Running)
	time.Sleep(2 * time.Second)
	synctest.Wait()
	stop()
	k.ends(l, task.ErrTerminal)
	require.ErrorIs(k, l.Complete(k.ctx, task.Output{Text: ""}), task.ErrTerminal)
	got := k.is(t.ID, task.Failed)
	require.Equal(k, task.CodeTimeout, got.Error.Code)
	require.Empty(k, got.Output)
}

func expiredLeaseIsFenced(k *kit) {
	t := k.submit()
	first := k.claim(t.ID)
	time.Sleep(time.Minute)
	synctest.Wait()
	k.ends(first, task.ErrFenced)
	require.ErrorIs(k, first.Complete(k.ctx, task.Output{Text: "zombie"}), task.ErrFenced)
	require.Equal(k, 1, k.is(t.ID, task.Running).Attempt, "a lost lease changes no status")

	second := k.claim("")
	require.Greater(k, second.Epoch(), first.Epoch())
	require.Equal(k, 2, second.Task().Attempt)
	require.ErrorIs(k, first.Complete(k.ctx, task.Output{Text: "zombie"}), task.ErrFenced)
	_, err := first.Fail(k.ctx, task.Failure{}, 0, task.Output{})
	require.ErrorIs(k, err, task.ErrFenced)
	for _, err := range []error{first.Progress(k.ctx, 1, ""), first.Checkpoint(k.ctx, nil), first.Release(k.ctx),
		first.Cancel(k.ctx, "", task.Output{}), first.Wait(k.ctx, task.Condition{}), first.Heartbeat(k.ctx)} {
		require.ErrorIs(k, err, task.ErrFenced)
	}
	require.NoError(k, second.Complete(k.ctx, task.Output{Text: "mine"}))
	require.Equal(k, "mine", k.is(t.ID, task.Completed).Output)
	require.Contains(k, k.steps(t.ID), "heartbeat_lost")
	require.Contains(k, k.steps(t.ID), "lease_taken")
}

func heartbeatKeepsTheLease(k *kit) {
	t := k.submit()
	l := k.claim(t.ID)
	stop := keep(k, l)
	events := len(k.history(t.ID))
	time.Sleep(time.Hour)
	synctest.Wait()
	stop()
	require.NoError(k, l.Err())
	require.Len(k, k.history(t.ID), events, "heartbeats are no events")
	require.NoError(k, l.Complete(k.ctx, task.Output{}))
	require.Error(k, l.Heartbeat(k.ctx))
}

func leasesOfAnEarlierLife(k *kit) {
	t := k.submit()
	old := k.claim(t.ID)
	k.restart()
	k.ends(old, task.ErrFenced)
	began := time.Now()
	l := k.claim("")
	require.Equal(k, began, time.Now(), "at once: nobody else can have the store")
	require.Equal(k, t.ID, l.Task().ID)
	require.Greater(k, l.Epoch(), old.Epoch())
	require.Equal(k, 2, l.Task().Attempt)
	require.Equal(k, "lease_taken", k.steps(t.ID)[3])
	require.NoError(k, l.Complete(k.ctx, task.Output{}))
	k.complete(k.submit().ID)
}

func deadLetter(k *kit) {
	t := k.submit(func(q *task.Request) { q.MaxAttempts = 2 })
	k.claim("")
	time.Sleep(time.Minute)
	synctest.Wait()
	k.is(t.ID, task.Running)
	k.claim("")
	time.Sleep(time.Minute)
	synctest.Wait()
	require.Equal(k, task.CodeDeadLetter, k.is(t.ID, task.Failed).Error.Code)
	k.none("")

	t = k.submit(func(q *task.Request) { q.MaxAttempts = 1 })
	k.claim("")
	k.restart()
	k.none("")
	require.Equal(k, task.CodeDeadLetter, k.is(t.ID, task.Failed).Error.Code, "crashes count as well")
}

func retryBacksOff(k *kit) {
	k.with(Options{Backoff: time.Second})
	t := k.submit(func(q *task.Request) { q.MaxAttempts = 4 })
	flaky := task.Failure{Code: "flaky", Message: "try again", Retryable: true}
	for _, delay := range []time.Duration{1, 2, 4} {
		retried, err := k.claim(t.ID).Fail(k.ctx, flaky, 0, task.Output{})
		require.NoError(k, err)
		require.True(k, retried)
		require.Equal(k, flaky, *k.is(t.ID, task.Waiting).Error)
		time.Sleep(delay*time.Second - 10*time.Millisecond)
		k.none("")
		if delay == 2 {
			k.restart()
		}
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
	}
	retried, err := k.claim("").Fail(k.ctx, flaky, 0, task.Output{})
	require.NoError(k, err)
	require.False(k, retried)
	require.Equal(k, 4, k.is(t.ID, task.Failed).Attempt)

	t = k.submit()
	retried, err = k.claim(t.ID).Fail(k.ctx, flaky, time.Hour, task.Output{})
	require.NoError(k, err)
	require.True(k, retried)
	time.Sleep(time.Hour - time.Second)
	k.none("")
	_, err = k.Resume(k.ctx, t.ID, "me")
	require.NoError(k, err)
	k.complete("")
}

func releaseCountsNoAttempt(k *kit) {
	t := k.submit(func(q *task.Request) { q.MaxAttempts = 1 })
	for range 3 {
		l := k.claim("")
		require.Equal(k, 1, l.Task().Attempt)
		require.NoError(k, l.Release(k.ctx))
		k.ends(l, nil)
		require.ErrorIs(k, l.Complete(k.ctx, task.Output{}), task.ErrFenced)
	}
	k.restart()
	k.complete(t.ID)
}

func planCountsNoAttempt(k *kit) {
	t := k.submit(func(q *task.Request) { q.MaxAttempts, q.Timeout = 1, time.Second })
	for range 3 {
		l, err := k.Claim(k.ctx, task.ClaimOpts{Worker: "w", TaskID: t.ID, Plan: true})
		require.NoError(k, err)
		require.Zero(k, l.Task().Attempt)
		k.is(t.ID, task.Planning)
		k.restart()
	}
	l, err := k.Claim(k.ctx, task.ClaimOpts{Worker: "w", Plan: true})
	require.NoError(k, err)
	time.Sleep(2 * time.Second)
	synctest.Wait()
	require.NoError(k, l.Begin(k.ctx), "the attempt's time runs from its beginning")
	require.NoError(k, l.Begin(k.ctx))
	require.Equal(k, 1, k.is(t.ID, task.Running).Attempt)
	require.NoError(k, l.Complete(k.ctx, task.Output{}))
	l, err = k.Claim(k.ctx, task.ClaimOpts{Worker: "w", TaskID: k.submit().ID, Plan: true})
	require.NoError(k, err)
	require.NoError(k, l.Complete(k.ctx, task.Output{}), "a task may be done as soon as it is planned")
}

func notBefore(k *kit) {
	t := k.submit(func(q *task.Request) { q.NotBefore = time.Now().Add(time.Hour) })
	k.none("")
	time.Sleep(time.Hour - time.Second)
	k.restart()
	k.none(t.ID)
	began := time.Now()
	k.complete("")
	require.Equal(k, time.Second, time.Since(began).Round(10*time.Millisecond))
}

func progressNaNIsRejected(k *kit) {
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, 101, 0.5, 1e300} {
		_, err := task.CheckProgress(bad)
		require.ErrorIs(k, err, task.ErrInvalid, "%v", bad)
	}
	for _, good := range []float64{0, 50, 100} {
		n, err := task.CheckProgress(good)
		require.NoError(k, err)
		require.Equal(k, int(good), n)
	}
	l := k.claim(k.submit().ID)
	for _, bad := range []int{-1, 101, math.MaxInt, math.MinInt} {
		require.ErrorIs(k, l.Progress(k.ctx, bad, ""), task.ErrInvalid)
	}
	require.Nil(k, k.get(l.Task().ID).Progress)
}

func progressGoesForward(k *kit) {
	t := k.submit()
	l := k.claim(t.ID)
	require.NoError(k, l.Progress(k.ctx, 90, "nearly"))
	require.NoError(k, l.Progress(k.ctx, 10, "back"))
	require.NoError(k, l.Progress(k.ctx, 90, "again"))
	require.Equal(k, 90, *k.get(t.ID).Progress)
	require.Equal(k, []string{"created pending", "claimed planning", "status_changed running", "progress_updated"}, k.steps(t.ID))
	k.restart()
	l = k.claim(t.ID)
	require.NoError(k, l.Progress(k.ctx, 10, "a new attempt begins anew"))
	require.Equal(k, 10, *k.get(t.ID).Progress)
	require.NoError(k, l.Complete(k.ctx, task.Output{}))
}

// ends are the three ways in which a worker, or somebody else, ends a task.
func ends(k *kit, l task.Lease) []func() {
	id := l.Task().ID
	return []func(){
		func() { require.NoError(k, l.Complete(k.ctx, task.Output{Text: "first"})) },
		func() {
			_, err := l.Fail(k.ctx, task.Failure{Code: "broken", Message: "first"}, 0, task.Output{Text: "first"})
			require.NoError(k, err)
		},
		func() {
			_, err := k.Cancel(k.ctx, id, "first", "me")
			require.NoError(k, err)
		},
	}
}

// The original sets the progress of a task that has ended.
func progressAfterTheEnd(k *kit) {
	for i := range 3 {
		l := k.claim(k.submit().ID)
		require.NoError(k, l.Progress(k.ctx, 40, ""))
		ends(k, l)[i]()
		before := k.get(l.Task().ID)
		require.ErrorIs(k, l.Progress(k.ctx, 95, ""), task.ErrTerminal)
		require.Equal(k, before, k.get(l.Task().ID))
	}
}

// The original stores an output in any state, and an error in any state too, which
// makes a task that has ended failed.
func lateOutputIsRefused(k *kit) {
	for i := range 3 {
		l := k.claim(k.submit().ID)
		ends(k, l)[i]()
		before, steps := k.get(l.Task().ID), k.steps(l.Task().ID)
		require.ErrorIs(k, l.Complete(k.ctx, task.Output{Text: "late"}), task.ErrTerminal)
		_, err := l.Fail(k.ctx, task.Failure{Code: "late", Retryable: true}, 0, task.Output{Text: "late"})
		require.ErrorIs(k, err, task.ErrTerminal)
		require.ErrorIs(k, l.Cancel(k.ctx, "late", task.Output{Text: "late"}), task.ErrTerminal)
		require.ErrorIs(k, k.Withdraw(k.ctx, before.ID, task.Failure{Code: "late"}, task.Output{Text: "late"}), task.ErrTerminal)
		require.Equal(k, before, k.get(before.ID))
		require.Equal(k, steps, k.steps(before.ID))
	}
}

// The original tells nobody of an output.
func outputIsTold(k *kit) {
	t := k.submit()
	s, err := k.Watch(k.ctx, task.Filter{ID: t.ID}, k.Head())
	require.NoError(k, err)
	defer s.Close()
	k.complete(t.ID)
	var told []task.EventKind
	for range 4 {
		e, err := s.Next(k.ctx)
		require.NoError(k, err)
		told = append(told, e.Event)
		if e.Event == task.EventOutputAdded {
			require.JSONEq(k, `{"bytes":4}`, string(e.Data))
			require.Equal(k, "done", k.get(t.ID).Output)
		}
	}
	require.Equal(k, []task.EventKind{task.EventClaimed, task.EventStatusChanged, task.EventOutputAdded, task.EventStatusChanged}, told)
}

// When a task began and ended stands in it once, whatever happens in between.
func startedAtIsSetOnce(k *kit) {
	t := k.submit()
	time.Sleep(time.Minute)
	l := k.claim(t.ID)
	began := time.Now()
	for range 3 {
		retried, err := l.Fail(k.ctx, task.Failure{Code: "flaky", Retryable: true}, time.Minute, task.Output{})
		require.NoError(k, err)
		require.True(k, retried)
		require.True(k, k.get(t.ID).CompletedAt.IsZero())
		time.Sleep(time.Hour)
		k.restart()
		l = k.claim(t.ID)
	}
	require.NoError(k, l.Complete(k.ctx, task.Output{}))
	got := k.get(t.ID)
	require.WithinDuration(k, began, got.StartedAt, time.Millisecond)
	require.WithinDuration(k, time.Now(), got.CompletedAt, time.Millisecond)
	never := k.submit()
	_, err := k.Cancel(k.ctx, never.ID, "", "me")
	require.NoError(k, err)
	require.True(k, k.get(never.ID).StartedAt.IsZero(), "it never began")
	require.False(k, k.get(never.ID).CompletedAt.IsZero())
}

// The original's history does not say who did a thing, where, and in which attempt.
func eventsTellActorHostAndAttempt(k *kit) {
	t := k.submit(keyed("k"), func(q *task.Request) { q.MaxAttempts = 3 })
	l, err := k.Claim(k.ctx, task.ClaimOpts{Worker: "first", TaskID: t.ID})
	require.NoError(k, err)
	retried, err := l.Fail(k.ctx, task.Failure{Code: "flaky", Retryable: true}, time.Second, task.Output{})
	require.NoError(k, err)
	require.True(k, retried)
	time.Sleep(time.Second)
	l, err = k.Claim(k.ctx, task.ClaimOpts{Worker: "second", TaskID: t.ID})
	require.NoError(k, err)
	time.Sleep(time.Minute)
	synctest.Wait()
	k.ends(l, task.ErrFenced)
	_, err = k.Cancel(k.ctx, t.ID, "enough", "me")
	require.NoError(k, err)
	var told [][3]any
	for _, e := range k.history(t.ID) {
		require.NotEmpty(k, e.Host)
		told = append(told, [3]any{e.Event, e.Actor, e.Attempt})
	}
	require.Equal(k, [][3]any{
		{task.EventCreated, "device-1", 0}, {task.EventClaimed, "first", 0}, {task.EventStatusChanged, "first", 1},
		{task.EventRetryScheduled, "first", 1}, {task.EventStatusChanged, "first", 1},
		{task.EventClaimed, "second", 1}, {task.EventStatusChanged, "second", 2}, {task.EventHeartbeatLost, "engine", 2},
		{task.EventCancelRequested, "me", 2}, {task.EventStatusChanged, "me", 2},
	}, told)
}

func checkpointSurvivesTakeover(k *kit) {
	t := k.submit()
	l := k.claim(t.ID)
	require.ErrorIs(k, l.Checkpoint(k.ctx, make([]byte, task.CheckpointBytesMax+1)), task.ErrInvalid)
	state := bytes.Repeat([]byte{0, 1, 255}, task.CheckpointBytesMax/3)
	require.NoError(k, l.Checkpoint(k.ctx, state))
	time.Sleep(time.Minute)
	synctest.Wait()
	l = k.claim(t.ID)
	require.Equal(k, state, l.Task().Checkpoint)
	k.restart()
	l = k.claim(t.ID)
	require.Equal(k, state, l.Task().Checkpoint)
	require.NoError(k, l.Complete(k.ctx, task.Output{}))
}

// The original loads, changes and saves without a lock: a completion and a
// cancellation at the same time both succeed.
func completedAndCancelled(k *kit) {
	for range 20 {
		t := k.submit()
		l := k.claim(t.ID)
		var completed error
		var res task.CancelResult
		var err error
		var wg sync.WaitGroup
		wg.Go(func() { completed = l.Complete(k.ctx, task.Output{Text: "done"}) })
		wg.Go(func() { res, err = k.Cancel(k.ctx, t.ID, "", "me") })
		wg.Wait()
		require.NoError(k, err)
		require.NotEqual(k, res.Cancelled, completed == nil, "one of them, and only one")
		want := task.Completed
		if res.Cancelled {
			want = task.Cancelled
			require.ErrorIs(k, completed, task.ErrTerminal)
		}
		k.is(t.ID, want)
		ends := 0
		for _, e := range k.history(t.ID) {
			if e.NewStatus.Terminal() {
				ends++
			}
		}
		require.Equal(k, 1, ends)
	}
}

// The original answers null, false or nothing.
func unknownTask(k *kit) {
	_, err := k.Get(k.ctx, "nobody")
	require.ErrorIs(k, err, task.ErrNotFound)
	_, err = k.Events(k.ctx, "nobody", 0, 0)
	require.ErrorIs(k, err, task.ErrNotFound)
	_, err = k.Cancel(k.ctx, "nobody", "", "")
	require.ErrorIs(k, err, task.ErrNotFound)
	_, err = k.Resume(k.ctx, "nobody", "")
	require.ErrorIs(k, err, task.ErrNotFound)
	_, err = k.Claim(k.ctx, task.ClaimOpts{TaskID: "nobody"})
	require.ErrorIs(k, err, task.ErrNotFound)
	_, err = k.Watch(k.ctx, task.Filter{ID: "nobody"}, 0)
	require.ErrorIs(k, err, task.ErrNotFound)
	_, err = k.ByRunID(k.ctx, "nobody")
	require.ErrorIs(k, err, task.ErrNotFound)
	require.ErrorIs(k, k.Withdraw(k.ctx, "nobody", task.Failure{}, task.Output{}), task.ErrNotFound)
}

// The original takes any text for a parent.
func parentMustExist(k *kit) {
	_, _, err := k.Submit(k.ctx, task.Request{ParentTaskID: "anything"})
	require.ErrorIs(k, err, task.ErrNotFound)
	_, _, err = k.Submit(k.ctx, task.Request{DependsOn: []string{"step text"}})
	require.ErrorIs(k, err, task.ErrNotFound)
}
