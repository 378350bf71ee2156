package audit

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/store"
)

func openLog(t *testing.T, dir string) (*Log, func()) {
	t.Helper()
	db, err := store.Open(store.Options{Dir: dir})
	require.NoError(t, err)
	l, err := New(Config{DB: db})
	require.NoError(t, err)
	var once sync.Once
	closeDB := func() { once.Do(func() { require.NoError(t, db.Close()) }) }
	t.Cleanup(closeDB)
	return l, closeDB
}

func TestAppendedRecordsSurvive(t *testing.T) {
	dir := t.TempDir()
	l, done := openLog(t, dir)
	require.NoError(t, l.Append(t.Context(), Record{Action: "device.pair.approve", Decision: Allowed, Actor: "me", Device: "phone"}))
	done()
	l, _ = openLog(t, dir)
	require.NoError(t, l.Append(t.Context(), Record{Action: "device.token.revoke", Decision: Allowed, Actor: "me", Device: "phone"}))
	list, err := l.List(Query{})
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.EqualValues(t, 2, list[0].Seq)
	require.Equal(t, "device.pair.approve", list[1].Action)
	require.NotZero(t, list[1].At)
}

func TestNotesAreWrittenWithinASecondAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, done := openLog(t, t.TempDir())
		defer done()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { require.NoError(t, l.Run(ctx)) })
		l.Note(Record{Action: "connect", Decision: Allowed, Actor: "a"})
		time.Sleep(flushEvery + time.Millisecond)
		synctest.Wait()
		list, err := l.List(Query{})
		require.NoError(t, err)
		require.Len(t, list, 1)
		l.Note(Record{Action: "connect", Decision: Refused, Actor: "b"})
		cancel()
		wg.Wait()
		list, err = l.List(Query{})
		require.NoError(t, err)
		require.Len(t, list, 2)
	})
}

func TestAnAppendTellsWhatWasNotedBeforeItFirst(t *testing.T) {
	l, _ := openLog(t, t.TempDir())
	l.Note(Record{Action: "connect", Actor: "a"})
	require.NoError(t, l.Append(t.Context(), Record{Action: "device.pair.approve"}))
	list, err := l.List(Query{})
	require.NoError(t, err)
	require.Equal(t, "device.pair.approve", list[0].Action)
	require.Equal(t, "connect", list[1].Action)
}

func TestAFloodIsCountedNotKept(t *testing.T) {
	l, _ := openLog(t, t.TempDir())
	for range QueueMax + 500 {
		l.Note(Record{Action: "connect", Decision: Refused, Reason: strings.Repeat("x", 10_000)})
	}
	require.NoError(t, l.Append(t.Context(), Record{Action: "end"}))
	list, err := l.List(Query{Limit: 2})
	require.NoError(t, err)
	require.EqualValues(t, QueueMax+2, list[0].Seq)
	require.Equal(t, 500, list[1].Count)
	list, err = l.List(Query{Decision: Refused, Before: 5, Limit: 1})
	require.NoError(t, err)
	require.Len(t, list[0].Reason, TextBytesMax, "a stranger's text is cut")
}

func TestListSelects(t *testing.T) {
	l, _ := openLog(t, t.TempDir())
	for i := range 10 {
		require.NoError(t, l.Append(t.Context(), Record{At: int64(i + 1), Action: fmt.Sprint("a", i%2), Decision: Allowed, Actor: "me", Device: fmt.Sprint("d", i)}))
	}
	for name, c := range map[string]struct {
		q    Query
		want []uint64
	}{
		"by action":     {Query{Action: "a0", Limit: 2}, []uint64{9, 7}},
		"a page":        {Query{Before: 4}, []uint64{3, 2, 1}},
		"by device":     {Query{Device: "d4"}, []uint64{5}},
		"by actor":      {Query{Device: "me", Limit: 1}, []uint64{10}},
		"since":         {Query{Since: 9}, []uint64{10, 9}},
		"none of these": {Query{Decision: Refused}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := l.List(c.q)
			require.NoError(t, err)
			var got []uint64
			for _, r := range list {
				got = append(got, r.Seq)
			}
			require.Equal(t, c.want, got)
		})
	}
}

func TestOldRecordsGo(t *testing.T) {
	l, _ := openLog(t, t.TempDir())
	now := time.Now()
	for i, age := range []time.Duration{RecordsAge + time.Hour, RecordsAge + time.Minute, time.Hour} {
		require.NoError(t, l.Append(t.Context(), Record{At: now.Add(-age).UnixMilli(), Action: fmt.Sprint(i)}))
	}
	require.NoError(t, l.sweep(t.Context(), now))
	list, err := l.List(Query{})
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "2", list[0].Action)
}
