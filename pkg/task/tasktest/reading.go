package tasktest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/task"
)

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
