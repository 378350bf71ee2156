package tasktest

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task"
)

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
	require.Equal(k, []byte{1, 2}, got.Payload, "an ended task can be done again as it was asked")
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
	require.Equal(k, []string{"the whole question", "p", t.ID}, []string{again.Input, string(again.Payload), again.RetryOf})
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
	time.Sleep(3 * 24 * time.Hour)
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

// bucket makes a bucket that no build of the product has, and that its checks of
// database files therefore need not know.
var bucket = store.NewBucket[string]

// notes stands for what callers write along.
var notes = bucket("tasktest.notes")

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
