package tasktest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task"
)

var cases = []contractCase{
	{"TestLifeOfATask", lifeOfATask, false},
	{"TestInputSurvivesRestart", inputSurvivesRestart, false},
	{"TestIllegalTransitions", illegalTransitions, false},
	{"TestSubmitIsIdempotent", submitIsIdempotent, false},
	{"TestKeysAreForgotten", keysAreForgotten, false},
	{"TestRequestsThatBreakARule", requestsThatBreakARule, false},
	{"TestAlsoIsOneUnit", alsoIsOneUnit, false},
	{"TestCancelledNeverBecomesFailed", cancelledNeverBecomesFailed, false},
	{"TestCancelReachesTheWorker", cancelReachesTheWorker, false},
	{"TestCancelReachesTheChildren", cancelReachesTheChildren, false},
	{"TestDeadlineIsFailedNeverCompleted", deadlineIsFailed, false},
	{"TestTimeoutIsFailedNeverCompleted", timeoutIsFailed, false},
	{"TestExpiredLeaseIsFenced", expiredLeaseIsFenced, false},
	{"TestHeartbeatKeepsTheLease", heartbeatKeepsTheLease, false},
	{"TestLeasesOfAnEarlierLifeAreTakenOver", leasesOfAnEarlierLife, false},
	{"TestDeadLetter", deadLetter, false},
	{"TestRetryBacksOff", retryBacksOff, false},
	{"TestReleaseCountsNoAttempt", releaseCountsNoAttempt, false},
	{"TestPlanCountsNoAttempt", planCountsNoAttempt, false},
	{"TestNotBefore", notBefore, false},
	{"TestProgressNaNIsRejected", progressNaNIsRejected, false},
	{"TestProgressGoesForward", progressGoesForward, false},
	{"TestCheckpointSurvivesTakeover", checkpointSurvivesTakeover, false},
	{"TestDependsOn", dependsOn, false},
	{"TestDependentsOfAFailedTaskDoNotRun", dependentsOfAFailedTask, false},
	{"TestDependencyPolicies", dependencyPolicies, false},
	{"TestHalfDoneWorkflowResumes", halfDoneWorkflowResumes, false},
	{"TestParents", parents, false},
	{"TestWaiting", waiting, false},
	{"TestPriority", priority, false},
	{"TestSessionsAreSerial", sessionsAreSerial, false},
	{"TestChildrenShareTheirParentsPlace", childrenShareThePlace, false},
	{"TestLimits", limits, false},
	{"TestCapabilities", capabilities, false},
	{"TestEventsAreGapFreeAndLinked", eventsAreLinked, false},
	{"TestWatchFromAnyCursor", watchFromAnyCursor, true},
	{"TestSlowWatcherIsCut", slowWatcherIsCut, false},
	{"TestPagesAreStableUnderWrites", pagesAreStable, false},
	{"TestBigBodies", bigBodies, false},
	{"TestPurgeKeepsTreesWhole", purgeKeepsTreesWhole, false},
	{"TestRetention", retention, false},
	{"TestWithdraw", withdraw, false},
	{"TestStats", stats, false},
	{"TestManyWorkersNoDoubles", manyWorkers, true},
	{"TestLinearizable", linearizable, true},
}

func lifeOfATask(k *kit) {
	q := task.Request{
		Description: "write", Input: "a poem", AgentID: "main", Model: "big", Thinking: "low", SessionID: "agent:main:main",
		Priority: 3, Timeout: time.Minute, MaxAttempts: 2, Metadata: json.RawMessage(`{"a":1}`), Repo: "r", Capabilities: []string{"go"},
		Payload: []byte{1, 2}, RequestedBy: task.Actor{User: "u", Device: "d", Session: "s"},
	}
	keyed("k")(&q)
	made, replayed, err := k.Submit(k.ctx, q)
	require.NoError(k, err)
	require.False(k, replayed)
	require.Equal(k, task.Pending, made.Status)
	require.Regexp(k, `^[0-9a-f]{8}-[0-9a-f]{4}-7`, made.ID)

	got := k.get(made.ID)
	require.Equal(k, made, got, "what was answered is what is stored")
	require.Equal(k, []any{"write", "a poem", "main", "big", "low", "agent:main:main", 3, int64(60000), 2, "r", "k"},
		[]any{got.Description, got.Input, got.AgentID, got.Model, got.Thinking, got.SessionID, got.Priority, got.TimeoutMs, got.MaxAttempts, got.Repo, got.RunID()})
	require.JSONEq(k, `{"a":1}`, string(got.Metadata))
	require.Equal(k, q.RequestedBy, got.RequestedBy)

	l, err := k.Claim(k.ctx, task.ClaimOpts{Worker: "w", Capabilities: []string{"go", "c"}})
	require.NoError(k, err)
	require.Equal(k, "a poem", l.Task().Input)
	require.Equal(k, []byte{1, 2}, l.Task().Payload)
	require.NoError(k, l.Progress(k.ctx, 50, "half"))
	require.NoError(k, l.Complete(k.ctx, task.Output{Text: "roses", Result: json.RawMessage(`{"n":1}`)}))
	k.ends(l, nil)

	got = k.is(made.ID, task.Completed)
	require.Equal(k, "roses", got.Output)
	require.JSONEq(k, `{"n":1}`, string(got.Result))
	require.Equal(k, 1, got.Attempt)
	require.Equal(k, 100, *got.Progress)
	require.False(k, got.StartedAt.IsZero())
	require.False(k, got.CompletedAt.IsZero())
	require.Empty(k, got.Payload)
	require.Equal(k, []string{"created pending", "claimed planning", "status_changed running", "progress_updated", "output_added", "status_changed completed"}, k.steps(made.ID))
	for _, e := range k.history(made.ID) {
		require.NotEmpty(k, e.Actor)
		require.NotEmpty(k, e.Host)
	}
	list, next, err := k.List(k.ctx, task.Filter{}, task.Page{})
	require.NoError(k, err)
	require.Empty(k, next)
	require.Len(k, list, 1)
	require.Empty(k, list[0].Input+list[0].Output, "lists tell sizes")
	require.Equal(k, []int64{6, 5}, []int64{list[0].InputBytes, list[0].OutputBytes})
}

func inputSurvivesRestart(k *kit) {
	t := k.submit(func(q *task.Request) {
		q.Input, q.Model, q.Thinking, q.Payload = "the whole question", "big", "high", []byte("p")
	})
	k.restart()
	require.Equal(k, t, k.get(t.ID))
	l := k.claim("")
	require.Equal(k, []string{"the whole question", "big", "high", "p"},
		[]string{l.Task().Input, l.Task().Model, l.Task().Thinking, string(l.Task().Payload)})
	require.NoError(k, l.Complete(k.ctx, task.Output{}))
	again, _, err := k.Submit(k.ctx, task.Again(k.get(t.ID)))
	require.NoError(k, err)
	require.Equal(k, []string{"the whole question", t.ID}, []string{again.Input, again.RetryOf})
}

// Every pair of states: what the table does not allow cannot be reached by any method.
func illegalTransitions(k *kit) {
	allowed := 0
	for _, from := range task.Statuses() {
		for _, to := range task.Statuses() {
			err := from.Move("x", to)
			switch {
			case from.May(to):
				allowed++
				require.NoError(k, err)
			case from.Terminal():
				require.ErrorIs(k, err, task.ErrTerminal)
			default:
				require.ErrorIs(k, err, task.ErrTransition)
			}
		}
	}
	require.Equal(k, 13, allowed)
	require.False(k, task.Waiting.May(task.Completed))
	for _, end := range []func(id string){k.complete, k.fail, func(id string) { _, _ = k.Cancel(k.ctx, id, "", "") }} {
		t := k.submit()
		end(t.ID)
		before := k.get(t.ID)
		_, err := k.Claim(k.ctx, task.ClaimOpts{TaskID: t.ID})
		require.ErrorIs(k, err, task.ErrTerminal)
		res, err := k.Cancel(k.ctx, t.ID, "late", "me")
		require.NoError(k, err)
		require.True(k, res.AlreadyTerminal)
		require.False(k, res.Cancelled)
		_, err = k.Resume(k.ctx, t.ID, "me")
		require.ErrorIs(k, err, task.ErrTerminal)
		require.ErrorIs(k, k.Withdraw(k.ctx, t.ID, task.Failure{}, task.Output{}), task.ErrTerminal)
		require.Equal(k, before, k.get(t.ID))
	}
	t := k.submit()
	_, err := k.Resume(k.ctx, t.ID, "me")
	require.ErrorIs(k, err, task.ErrTransition)
	_, err = k.Claim(k.ctx, task.ClaimOpts{TaskID: "nobody"})
	require.ErrorIs(k, err, task.ErrNotFound)
	_, err = k.Cancel(k.ctx, "nobody", "", "")
	require.ErrorIs(k, err, task.ErrNotFound)
}

func submitIsIdempotent(k *kit) {
	q := task.Request{Description: "d", Input: "one"}
	keyed("k")(&q)
	first, _, err := k.Submit(k.ctx, q)
	require.NoError(k, err)
	check := func() {
		again, replayed, err := k.Submit(k.ctx, q)
		require.NoError(k, err)
		require.True(k, replayed)
		require.Equal(k, first.ID, again.ID)
		other := q
		other.Input = "two"
		keyed("k")(&other)
		known, _, err := k.Submit(k.ctx, other)
		require.ErrorIs(k, err, task.ErrExists)
		require.Equal(k, first.ID, known.ID, "the earlier task comes with the refusal")
		require.Equal(k, "one", known.Input)
	}
	check()
	// Somebody else's key is another key, but not while the run id is in flight.
	theirs := q
	theirs.Key.Principal = "device-2"
	_, _, err = k.Submit(k.ctx, theirs)
	require.ErrorIs(k, err, task.ErrConflict)
	k.complete(first.ID)
	check()
	byKey, err := k.ByKey(k.ctx, q.Key)
	require.NoError(k, err)
	require.Equal(k, "done", byKey.Output)
	second, replayed, err := k.Submit(k.ctx, theirs)
	require.NoError(k, err)
	require.False(k, replayed)
	require.NotEqual(k, first.ID, second.ID)
	newest, err := k.ByRunID(k.ctx, "k")
	require.NoError(k, err)
	require.Equal(k, second.ID, newest.ID)
	k.complete(second.ID)
	k.restart()
	check()
	list, _, err := k.List(k.ctx, task.Filter{}, task.Page{})
	require.NoError(k, err)
	require.Len(k, list, 2)
}

func keysAreForgotten(k *kit) {
	t := k.submit(keyed("k"))
	time.Sleep(30 * 24 * time.Hour)
	_, err := k.ByKey(k.ctx, t.Key)
	require.NoError(k, err, "a key is kept for as long as its task is open")
	k.complete(t.ID)
	time.Sleep(24*time.Hour - time.Second)
	_, err = k.ByKey(k.ctx, t.Key)
	require.NoError(k, err)
	time.Sleep(time.Second)
	_, err = k.ByKey(k.ctx, t.Key)
	require.ErrorIs(k, err, task.ErrNotFound)
	second := k.submit(keyed("k"), func(q *task.Request) { q.Input = "other" })
	require.NotEqual(k, t.ID, second.ID)
	k.is(t.ID, task.Completed)
}

func requestsThatBreakARule(k *kit) {
	long := strings.Repeat("x", task.KeyBytesMax+1)
	for name, change := range map[string]func(*task.Request){
		"key":          keyed(long),
		"hash":         func(q *task.Request) { q.Key.Key = "k" },
		"description":  func(q *task.Request) { q.Description = strings.Repeat("x", task.DescriptionBytesMax+1) },
		"metadata":     func(q *task.Request) { q.Metadata = json.RawMessage(`[1]`) },
		"policy":       func(q *task.Request) { q.OnFailure = "maybe" },
		"id":           func(q *task.Request) { q.ID = "not-a-uuid" },
		"attempts":     func(q *task.Request) { q.MaxAttempts = task.AttemptsMax + 1 },
		"dependencies": func(q *task.Request) { q.DependsOn = make([]string, task.DependsOnMax+1) },
		"timeout":      func(q *task.Request) { q.Timeout = -1 },
	} {
		q := task.Request{Description: "d"}
		change(&q)
		_, _, err := k.Submit(k.ctx, q)
		require.ErrorIs(k, err, task.ErrInvalid, name)
	}
	for _, q := range []task.Request{{ParentTaskID: "gone"}, {DependsOn: []string{"gone"}}} {
		_, _, err := k.Submit(k.ctx, q)
		require.ErrorIs(k, err, task.ErrNotFound)
	}
	list, _, err := k.List(k.ctx, task.Filter{}, task.Page{})
	require.NoError(k, err)
	require.Empty(k, list, "a refused request leaves nothing")
}

// notes stands for what callers write along.
var notes = store.NewBucket[string]("tasktest.notes")

func note(text string) task.Also {
	return func(tx *store.Tx) error { return notes.Put(tx, text, text) }
}

func broken(*store.Tx) error { return errAlso }

// What a caller writes with a change and the change itself: both or neither.
func alsoIsOneUnit(k *kit) {
	q := task.Request{Description: "d"}
	keyed("k")(&q)
	_, _, err := k.Submit(k.ctx, q, note("lost"), broken)
	require.ErrorIs(k, err, errAlso)
	_, err = k.ByKey(k.ctx, q.Key)
	require.ErrorIs(k, err, task.ErrNotFound)
	runs := 0
	t, _, err := k.Submit(k.ctx, q, note("submitted"))
	require.NoError(k, err)
	_, replayed, err := k.Submit(k.ctx, q, func(*store.Tx) error { runs++; return nil })
	require.NoError(k, err)
	require.True(k, replayed)
	require.Zero(k, runs, "a replay writes nothing")

	l := k.claim(t.ID)
	require.ErrorIs(k, l.Complete(k.ctx, task.Output{Text: "x"}, broken), errAlso)
	_, err = l.Fail(k.ctx, task.Failure{Code: "c"}, 0, task.Output{}, broken)
	require.ErrorIs(k, err, errAlso)
	require.ErrorIs(k, l.Cancel(k.ctx, "r", task.Output{}, broken), errAlso)
	k.is(t.ID, task.Running)
	require.NoError(k, l.Complete(k.ctx, task.Output{Text: "x"}, func(tx *store.Tx) error {
		text, ok, err := notes.Get(tx, "submitted")
		require.NoError(k, err)
		require.True(k, ok)
		require.Equal(k, "submitted", text)
		_, ok, err = notes.Get(tx, "lost")
		require.False(k, ok)
		return err
	}))
	require.Len(k, k.history(t.ID), 5)
}

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
	require.ErrorIs(k, l.Progress(k.ctx, 95, ""), task.ErrTerminal)
	require.Equal(k, 100, *k.get(t.ID).Progress)
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

func dependsOn(k *kit) {
	a, b := k.submit(), k.submit()
	c := k.submit(after("", a, b, a))
	require.Equal(k, []string{a.ID, b.ID}, c.DependsOn)
	k.complete(a.ID)
	k.none(c.ID)
	k.restart()
	k.none(c.ID)
	k.complete(b.ID)
	k.complete(c.ID)
	k.complete(k.submit(after("", a, c)).ID)
}

func dependentsOfAFailedTask(k *kit) {
	a := k.submit()
	b := k.submit(after("", a))
	c := k.submit(after("", b))
	k.fail(a.ID)
	for _, t := range []task.Task{b, c} {
		require.Equal(k, task.CodeDependencyFailed, k.is(t.ID, task.Failed).Error.Code)
		require.NotContains(k, k.steps(t.ID), "claimed planning")
	}
	k.none("")
	late := k.submit(after("", a))
	k.is(late.ID, task.Failed)
	d := k.submit()
	e := k.submit(after("", d))
	_, err := k.Cancel(k.ctx, d.ID, "", "me")
	require.NoError(k, err)
	k.is(e.ID, task.Failed)
}

func dependencyPolicies(k *kit) {
	a := k.submit()
	fails, skips, runs := k.submit(after(task.OnFailureFail, a)), k.submit(after(task.OnFailureSkip, a)), k.submit(after(task.OnFailureRun, a))
	afterSkip := k.submit(after(task.OnFailureRun, skips))
	k.none(runs.ID)
	k.fail(a.ID)
	k.is(fails.ID, task.Failed)
	require.Equal(k, task.CodeDependencySkip, k.is(skips.ID, task.Cancelled).Error.Code)
	k.complete(runs.ID)
	k.complete(afterSkip.ID)
	b := k.submit()
	both := k.submit(after(task.OnFailureRun, a, b))
	k.none(both.ID)
	k.complete(b.ID)
	k.complete(both.ID)
}

// The original cannot resume a workflow of which a step is done: it is stuck.
func halfDoneWorkflowResumes(k *kit) {
	root := k.submit()
	one := k.submit(under(root))
	two := k.submit(under(root), after("", one))
	three := k.submit(under(root), after("", two))
	k.claim(root.ID)
	k.complete(one.ID)
	k.claim(two.ID)
	k.restart()
	k.complete(two.ID)
	k.restart()
	k.complete(three.ID)
	k.complete(root.ID)
	for _, t := range []task.Task{root, one, two, three} {
		k.is(t.ID, task.Completed)
	}
	require.Equal(k, 1, k.get(one.ID).Attempt, "what was done is not done again")
}

func parents(k *kit) {
	root := k.submit()
	parent := root
	for range task.DepthMax {
		parent = k.submit(under(parent))
	}
	require.Equal(k, task.DepthMax, parent.Depth)
	_, _, err := k.Submit(k.ctx, task.Request{ParentTaskID: parent.ID})
	require.ErrorIs(k, err, task.ErrInvalid)
	tree, _, err := k.List(k.ctx, task.Filter{RootID: root.ID}, task.Page{OldestFirst: true})
	require.NoError(k, err)
	require.Len(k, tree, task.DepthMax+1)
	require.Equal(k, root.ID, tree[0].ID)
	list, _, err := k.List(k.ctx, task.Filter{ParentTaskID: root.ID}, task.Page{})
	require.NoError(k, err)
	require.Len(k, list, 1)
	require.Equal(k, []string{"created pending", "child_added"}, k.steps(root.ID))
	require.NoError(k, k.claim(root.ID).Complete(k.ctx, task.Output{}), "a parent may end before its children")
	k.is(parent.ID, task.Pending)
}

func waiting(k *kit) {
	root := k.submit()
	l := k.claim(root.ID)
	child := k.submit(under(root))
	require.ErrorIs(k, l.Wait(k.ctx, task.Condition{Tasks: []string{"gone"}}), task.ErrNotFound)
	require.NoError(k, l.Wait(k.ctx, task.Condition{Tasks: []string{child.ID}}))
	k.ends(l, nil)
	require.ErrorIs(k, l.Complete(k.ctx, task.Output{}), task.ErrFenced)
	k.is(root.ID, task.Waiting)
	k.none(root.ID)
	k.restart()
	k.none(root.ID)
	k.fail(child.ID)
	l = k.claim(root.ID)
	require.Equal(k, 1, k.is(root.ID, task.Running).Attempt, "it goes on in the same attempt")

	require.NoError(k, l.Wait(k.ctx, task.Condition{Until: time.Now().Add(time.Hour)}))
	began := time.Now()
	l, err := k.Claim(k.ctx, task.ClaimOpts{TaskID: root.ID})
	require.NoError(k, err)
	require.Equal(k, time.Hour, time.Since(began).Round(10*time.Millisecond))

	require.NoError(k, l.Wait(k.ctx, task.Condition{}))
	time.Sleep(24 * time.Hour)
	k.none(root.ID)
	_, err = k.Resume(k.ctx, root.ID, "me")
	require.NoError(k, err)
	k.complete(root.ID)
	require.Equal(k, 1, k.get(root.ID).Attempt)
}

func priority(k *kit) {
	with := func(n int) func(*task.Request) { return func(q *task.Request) { q.Priority = n } }
	low, first, second, high := k.submit(with(-1)), k.submit(), k.submit(), k.submit(with(5))
	k.restart()
	for _, want := range []task.Task{high, first, second, low} {
		l := k.claim("")
		require.Equal(k, want.ID, l.Task().ID)
		require.NoError(k, l.Complete(k.ctx, task.Output{}))
	}
}

func sessionsAreSerial(k *kit) {
	a, b := k.submit(in("s")), k.submit(in("s"), func(q *task.Request) { q.Priority = 9 })
	other := k.submit(in("other"))
	command := k.submit(in("s"), func(q *task.Request) { q.Concurrent = true })
	l := k.claim(a.ID)
	k.none(b.ID)
	k.complete(other.ID)
	k.complete(command.ID)
	k.none("")
	require.NoError(k, l.Wait(k.ctx, task.Condition{Until: time.Now().Add(time.Hour)}))
	k.none(b.ID)
	k.restart()
	k.none(b.ID)
	time.Sleep(time.Hour)
	k.complete(a.ID)
	c := k.submit(in("s"))
	k.none(c.ID)
	k.complete(b.ID)
	k.complete(c.ID)
}

func childrenShareThePlace(k *kit) {
	root := k.submit(in("s"))
	next := k.submit(in("s"))
	l := k.claim(root.ID)
	one, two := k.submit(in("s"), under(root)), k.submit(in("s"), under(root))
	k.none(next.ID)
	k.none(two.ID)
	require.NoError(k, l.Wait(k.ctx, task.Condition{Tasks: []string{one.ID, two.ID}}))
	k.restart()
	k.none(two.ID)
	k.complete(one.ID)
	held := k.claim(two.ID)
	k.none(next.ID)
	require.NoError(k, held.Complete(k.ctx, task.Output{}))
	l = k.claim(root.ID)
	left := k.submit(in("s"), under(root), func(q *task.Request) { q.Detach = true })
	require.NoError(k, l.Complete(k.ctx, task.Output{}))
	k.none(next.ID)
	k.complete(left.ID)
	k.complete(next.ID)
}

func limits(k *kit) {
	k.with(Options{RunningMax: 2, AgentMax: 1, OpenMax: 5})
	of := func(agent string) func(*task.Request) { return func(q *task.Request) { q.AgentID = agent } }
	a1, a2, b := k.submit(of("a")), k.submit(of("a")), k.submit(of("b"))
	c := k.submit(of("c"))
	l := k.claim("")
	require.Equal(k, a1.ID, l.Task().ID)
	k.none(a2.ID)
	lb := k.claim("")
	require.Equal(k, b.ID, lb.Task().ID, "another agent goes first")
	k.none("")
	k.none(c.ID)
	k.submit()
	_, _, err := k.Submit(k.ctx, task.Request{})
	require.ErrorIs(k, err, task.ErrFull)
	require.NoError(k, lb.Complete(k.ctx, task.Output{}))
	k.complete(c.ID)
	var got task.Lease
	var wg sync.WaitGroup
	wg.Go(func() { got = k.claim(a2.ID) })
	synctest.Wait()
	require.NoError(k, l.Complete(k.ctx, task.Output{}))
	wg.Wait()
	require.Equal(k, a2.ID, got.Task().ID, "who waits for a limit gets its turn")
}

func capabilities(k *kit) {
	t := k.submit(func(q *task.Request) { q.Capabilities = []string{"go", "web"} })
	_, err := k.Claim(k.ctx, task.ClaimOpts{Capabilities: []string{"go"}, Wait: time.Second})
	require.ErrorIs(k, err, task.ErrNone)
	l, err := k.Claim(k.ctx, task.ClaimOpts{Capabilities: []string{"c", "web", "go"}, Wait: time.Second})
	require.NoError(k, err)
	require.Equal(k, t.ID, l.Task().ID)
	chat := k.submit(func(q *task.Request) { q.Key.Namespace = task.NamespaceChat })
	k.none("")
	l, err = k.Claim(k.ctx, task.ClaimOpts{Namespaces: []task.Namespace{task.NamespaceChat}, Wait: time.Second})
	require.NoError(k, err)
	require.Equal(k, chat.ID, l.Task().ID)
}

func eventsAreLinked(k *kit) {
	t := k.submit()
	l := k.claim(t.ID)
	for i := range 30 {
		require.NoError(k, l.Progress(k.ctx, i, name(i)))
	}
	k.restart()
	k.complete(t.ID)
	all := k.history(t.ID)
	require.Greater(k, len(all), 34)
	page, err := k.Events(k.ctx, t.ID, 10, 5)
	require.NoError(k, err)
	require.Equal(k, all[10:15], page)
	for i := range all {
		forged := slices.Clone(all)
		forged[i].Message += "!"
		require.ErrorContains(k, task.Verify(forged), fmt.Sprintf("event %d of task", i+1))
		if i+1 < len(all) {
			require.Error(k, task.Verify(slices.Delete(slices.Clone(all), i, i+1)))
		}
	}
}

// Whatever the cursor, a watcher that joins while others write sees each event once,
// in order.
func watchFromAnyCursor(k *kit) {
	const n = 40
	var wg sync.WaitGroup
	write := func() {
		wg.Go(func() {
			for range n {
				k.complete(k.submit(func(q *task.Request) { q.SessionID, q.Concurrent = "s", true }).ID)
			}
		})
	}
	write()
	write()
	streams := []task.Stream{}
	from := []task.Cursor{}
	for range 8 {
		at := k.Head()
		s, err := k.Watch(k.ctx, task.Filter{SessionID: "s"}, at/2)
		require.NoError(k, err)
		streams, from = append(streams, s), append(from, at/2)
	}
	wg.Wait()
	whole := collect(k, task.Filter{}, 0, 2*n*5)
	require.Equal(k, k.Head(), whole[len(whole)-1].Cursor)
	for i, s := range streams {
		var got []task.Event
		for len(got) == 0 || got[len(got)-1].Cursor < whole[len(whole)-1].Cursor {
			ctx, cancel := context.WithTimeout(k.ctx, 30*time.Second)
			ev, err := s.Next(ctx)
			cancel()
			require.NoError(k, err)
			got = append(got, ev)
		}
		s.Close()
		at := slices.IndexFunc(whole, func(e task.Event) bool { return e.Cursor > from[i] })
		require.Equal(k, whole[at:], got)
	}
	one := whole[len(whole)/2]
	require.Equal(k, k.history(one.TaskID), collect(k, task.Filter{ID: one.TaskID}, 0, 5))
	var later []task.Event
	for _, e := range k.history(one.TaskID) {
		if e.Cursor > one.Cursor {
			later = append(later, e)
		}
	}
	require.Equal(k, later, collect(k, task.Filter{ID: one.TaskID}, one.Cursor, len(later)))
	for _, e := range collect(k, task.Filter{Statuses: []task.Status{task.Completed}}, 0, 2*n) {
		require.Equal(k, task.Completed, e.NewStatus)
	}
	_, err := k.Watch(k.ctx, task.Filter{}, k.Head()+1)
	require.ErrorIs(k, err, task.ErrInvalid)
	_, err = k.Watch(k.ctx, task.Filter{ID: "gone"}, 0)
	require.ErrorIs(k, err, task.ErrNotFound)
}

// collect reads the first n events that a filter selects.
func collect(k *kit, f task.Filter, after task.Cursor, n int) (list []task.Event) {
	k.Helper()
	s, err := k.Watch(k.ctx, f, after)
	require.NoError(k, err)
	defer s.Close()
	ctx, cancel := context.WithTimeout(k.ctx, 30*time.Second)
	defer cancel()
	for range n {
		ev, err := s.Next(ctx)
		require.NoError(k, err)
		list = append(list, ev)
	}
	return list
}

func slowWatcherIsCut(k *kit) {
	k.with(Options{LagMax: 10})
	s, err := k.Watch(k.ctx, task.Filter{}, 0)
	require.NoError(k, err)
	for range 20 {
		k.submit()
	}
	for range 20 {
		_, err := s.Next(k.ctx)
		require.NoError(k, err, "who reads what is stored is not slow")
	}
	short, cancel := context.WithTimeout(k.ctx, time.Second)
	defer cancel()
	_, err = s.Next(short)
	require.ErrorIs(k, err, context.DeadlineExceeded)
	for range 11 {
		k.submit()
	}
	_, err = s.Next(k.ctx)
	require.ErrorIs(k, err, task.ErrSlow)
	_, err = s.Next(k.ctx)
	require.ErrorIs(k, err, task.ErrSlow)

	s, err = k.Watch(k.ctx, task.Filter{}, 20)
	require.NoError(k, err)
	for range 11 {
		_, err := s.Next(k.ctx)
		require.NoError(k, err, "it goes on where it was")
	}
	var wg sync.WaitGroup
	wg.Go(func() { _, err = s.Next(k.ctx) })
	synctest.Wait()
	s.Close()
	s.Close()
	wg.Wait()
	require.ErrorIs(k, err, task.ErrUnavailable)
	s, err = k.Watch(k.ctx, task.Filter{}, k.Head())
	require.NoError(k, err)
	wg.Go(func() { _, err = s.Next(k.ctx) })
	synctest.Wait()
	k.stop()
	wg.Wait()
	require.ErrorIs(k, err, task.ErrUnavailable)
}

func pagesAreStable(k *kit) {
	var want []string
	for range 25 {
		want = append(want, k.submit(in("s"), func(q *task.Request) { q.Concurrent = true }).ID)
	}
	for _, oldest := range []bool{true, false} {
		for _, f := range []task.Filter{{}, {SessionID: "s"}, {Statuses: []task.Status{task.Pending, task.Completed}}} {
			var got []string
			page := task.Page{Limit: 4, OldestFirst: oldest}
			for {
				list, next, err := k.List(k.ctx, f, page)
				require.NoError(k, err)
				got = append(got, ids(list)...)
				if len(list) > 0 && k.get(list[0].ID).Status == task.Pending {
					k.complete(list[0].ID)
				}
				k.submit(func(q *task.Request) { q.Description = "new" })
				if page.After = next; next == "" {
					break
				}
			}
			seen := map[string]int{}
			for _, id := range got {
				seen[id]++
			}
			for _, id := range want {
				require.Equal(k, 1, seen[id])
			}
			sorted := slices.Clone(got)
			slices.Sort(sorted)
			if !oldest {
				slices.Reverse(sorted)
			}
			require.Equal(k, sorted, got)
		}
	}
	_, _, err := k.List(k.ctx, task.Filter{}, task.Page{Limit: 501})
	require.ErrorIs(k, err, task.ErrInvalid)
	list, next, err := k.List(k.ctx, task.Filter{ID: want[3]}, task.Page{})
	require.NoError(k, err)
	require.Equal(k, []string{want[3]}, ids(list))
	require.Empty(k, next)
}

func bigBodies(k *kit) {
	k.with(Options{KeyRetention: time.Hour, Retention: 2 * time.Hour})
	big := strings.Repeat("0123456789abcdef", 40<<10)
	one := k.submit(func(q *task.Request) { q.Input, q.Payload = big, []byte(big) })
	two := k.submit(func(q *task.Request) { q.Input = big })
	k.restart()
	require.Equal(k, big, k.get(one.ID).Input)
	l := k.claim(one.ID)
	require.Equal(k, big, string(l.Task().Payload))
	require.NoError(k, l.Complete(k.ctx, task.Output{Text: big + "!"}))
	got := k.get(one.ID)
	require.Equal(k, big+"!", got.Output)
	require.Equal(k, int64(len(big)+1), got.OutputBytes)
	time.Sleep(3 * time.Hour)
	synctest.Wait()
	_, err := k.Get(k.ctx, one.ID)
	require.ErrorIs(k, err, task.ErrNotFound)
	require.Equal(k, big, k.get(two.ID).Input, "what two tasks share stays until both are gone")
	_, _, err = k.Submit(k.ctx, task.Request{Input: strings.Repeat("x", task.InputBytesMax+1)})
	require.ErrorIs(k, err, task.ErrInvalid)
}

func purgeKeepsTreesWhole(k *kit) {
	root := k.submit()
	child := k.submit(under(root))
	open := k.submit(under(child))
	single := k.submit(keyed("k"), in("s"))
	for _, t := range []task.Task{root, child, single} {
		k.complete(t.ID)
	}
	time.Sleep(time.Hour)
	at := k.Head()
	n, err := k.Purge(k.ctx, time.Now())
	require.NoError(k, err)
	require.Equal(k, 1, n, "a tree with an open task stays")
	_, err = k.Get(k.ctx, single.ID)
	require.ErrorIs(k, err, task.ErrNotFound)
	_, err = k.ByKey(k.ctx, single.Key)
	require.ErrorIs(k, err, task.ErrNotFound)
	_, err = k.Events(k.ctx, single.ID, 0, 0)
	require.ErrorIs(k, err, task.ErrNotFound)
	list, _, err := k.List(k.ctx, task.Filter{SessionID: "s"}, task.Page{})
	require.NoError(k, err)
	require.Empty(k, list)
	k.history(root.ID)
	_, err = k.Watch(k.ctx, task.Filter{}, 3)
	require.ErrorIs(k, err, task.ErrGone)
	_, err = k.Watch(k.ctx, task.Filter{}, at)
	require.NoError(k, err)

	k.complete(open.ID)
	time.Sleep(time.Second)
	n, err = k.Purge(k.ctx, time.Now())
	require.NoError(k, err)
	require.Equal(k, 3, n)
	k.restart()
	require.Equal(k, k.Head(), k.Head())
	k.complete(k.submit().ID)
	require.Len(k, k.history(k.submit().ID), 1, "the order of events goes on")
}

func retention(k *kit) {
	k.with(Options{Retention: 48 * time.Hour, Count: 5})
	var made []task.Task
	for range 12 {
		made = append(made, k.submit())
		k.complete(made[len(made)-1].ID)
		time.Sleep(time.Second)
	}
	time.Sleep(2 * time.Minute)
	synctest.Wait()
	list, _, err := k.List(k.ctx, task.Filter{}, task.Page{})
	require.NoError(k, err)
	require.Len(k, list, 5)
	require.Equal(k, made[11].ID, list[0].ID, "the newest stay")
	time.Sleep(48 * time.Hour)
	synctest.Wait()
	list, _, err = k.List(k.ctx, task.Filter{}, task.Page{})
	require.NoError(k, err)
	require.Empty(k, list)
	s, err := k.Stats(k.ctx)
	require.NoError(k, err)
	require.Zero(k, s.ByStatus[task.Completed])
}

func withdraw(k *kit) {
	t := k.submit()
	l := k.claim(t.ID)
	gone := task.Failure{Code: task.CodeCancelled, Message: "no more"}
	require.ErrorIs(k, k.Withdraw(k.ctx, t.ID, gone, task.Output{}), task.ErrFenced)
	require.NoError(k, l.Complete(k.ctx, task.Output{}))
	t = k.submit()
	require.ErrorIs(k, k.Withdraw(k.ctx, t.ID, gone, task.Output{}, broken), errAlso)
	require.NoError(k, k.Withdraw(k.ctx, t.ID, gone, task.Output{Result: json.RawMessage(`1`)}, note("w")))
	require.Equal(k, "1", string(k.is(t.ID, task.Cancelled).Result))
	t = k.submit()
	k.claim(t.ID)
	k.restart()
	require.NoError(k, k.Withdraw(k.ctx, t.ID, task.Failure{Code: "interrupted"}, task.Output{}), "a lease of an earlier life is void")
	k.is(t.ID, task.Failed)
}

func stats(k *kit) {
	began := time.Now()
	k.submit()
	time.Sleep(time.Second)
	l := k.claim(k.submit().ID)
	k.complete(k.submit().ID)
	s, err := k.Stats(k.ctx)
	require.NoError(k, err)
	require.Equal(k, map[task.Status]int{task.Pending: 1, task.Running: 1, task.Completed: 1}, s.ByStatus)
	require.Equal(k, 1, s.Leased)
	require.Equal(k, uint64(3), s.Submitted)
	require.True(k, s.Healthy)
	require.WithinDuration(k, began, s.OldestPending, time.Millisecond)
	require.NoError(k, l.Complete(k.ctx, task.Output{}))
	k.restart()
	s, err = k.Stats(k.ctx)
	require.NoError(k, err)
	require.Equal(k, 2, s.ByStatus[task.Completed])
	require.Equal(k, 1, s.ByStatus[task.Pending])
}
