package durable

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task"
)

// Ten thousand queued tasks are all there after a restart, in their order.
func TestTenThousandQueuedSurviveARestart(t *testing.T) {
	const n = 10_000
	dir := t.TempDir()
	e, stop := bench(t, dir)
	submitN(t, e, n, 256)
	stop()
	e, stop = bench(t, dir)
	defer stop()
	s, err := e.Stats(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[task.Status]int{task.Pending: n}, s.ByStatus)
	last := uint64(0)
	for range 50 {
		l, err := e.Claim(t.Context(), task.ClaimOpts{Worker: "w"})
		require.NoError(t, err)
		require.Greater(t, l.Task().Order, last)
		last = l.Task().Order
	}
}

// Setting the clock moves no lease, no delay and no deadline: once the engine has seen
// them they are points on the monotonic clock.
func TestWallClockJumpsExpireNothing(t *testing.T) {
	e, stop := bench(t, t.TempDir())
	defer stop()
	later := time.Now().Add(time.Hour).Round(0)
	require.NotContains(t, later.String(), "m=+")
	made, _, err := e.Submit(t.Context(), task.Request{Deadline: later, Timeout: time.Hour})
	require.NoError(t, err)
	delayed, _, err := e.Submit(t.Context(), task.Request{NotBefore: later})
	require.NoError(t, err)
	got, err := e.Claim(t.Context(), task.ClaimOpts{TaskID: made.ID})
	require.NoError(t, err)
	e.mu.Lock()
	l := got.(*lease)
	times := map[string]time.Time{"lease": l.expires, "timeout": l.timeout, "deadline": e.open[made.ID].deadline, "delay": e.open[delayed.ID].notBefore}
	for _, timer := range e.timers {
		times["timer of "+timer.id] = timer.at
	}
	e.mu.Unlock()
	for what, at := range times {
		require.Contains(t, at.String(), "m=+", what)
	}
}

// A database whose times are an hour ahead of the clock, or behind it: leases of the
// earlier life are void at once either way, and nothing that was acknowledged is lost.
func TestStampsOfAnotherClock(t *testing.T) {
	ctx := context.Background()
	for name, shift := range map[string][2]time.Duration{"ahead": {time.Hour, 0}, "behind": {0, time.Hour}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var leased, queued, done, failed, resumed task.Task
			life := func(sleep time.Duration, fn func(e *Engine)) {
				synctest.Test(t, func(t *testing.T) { // each bubble's clock begins at the same moment
					time.Sleep(sleep)
					e, stop := bench(t, dir)
					defer stop()
					var wg sync.WaitGroup
					wg.Go(func() { _ = e.Run(ctx) })
					fn(e)
					require.NoError(t, e.Close())
					wg.Wait()
				})
			}
			key := task.Key{Principal: "p", Namespace: task.NamespaceTask, Key: "k"}
			life(shift[0], func(e *Engine) {
				submit := func(q task.Request) task.Task {
					made, _, err := e.Submit(ctx, q)
					require.NoError(t, err)
					return made
				}
				done = submit(task.Request{Key: key, ParamsHash: []byte("h")})
				l, err := e.Claim(ctx, task.ClaimOpts{})
				require.NoError(t, err)
				require.NoError(t, l.Complete(ctx, task.Output{Text: "kept"}))
				leased = submit(task.Request{})
				_, err = e.Claim(ctx, task.ClaimOpts{})
				require.NoError(t, err)
				failed, resumed = submit(task.Request{}), submit(task.Request{})
				for _, delay := range []time.Duration{time.Minute, time.Hour} {
					l, err = e.Claim(ctx, task.ClaimOpts{})
					require.NoError(t, err)
					retried, err := l.Fail(ctx, task.Failure{Code: "flaky", Retryable: true}, delay, task.Output{})
					require.NoError(t, err)
					require.True(t, retried)
				}
				_, err = e.Resume(ctx, resumed.ID, "me")
				require.NoError(t, err)
				queued = submit(task.Request{})
			})
			life(shift[1], func(e *Engine) {
				l, err := e.Claim(ctx, task.ClaimOpts{TaskID: resumed.ID, Wait: time.Second})
				require.NoError(t, err, "what was resumed waits for no clock")
				require.NoError(t, l.Complete(ctx, task.Output{}))
				if name == "ahead" { // of a clock behind the stamps, the delay says how long at most
					time.Sleep(50 * time.Second)
					_, err = e.Claim(ctx, task.ClaimOpts{TaskID: failed.ID, Wait: time.Second})
					require.ErrorIs(t, err, task.ErrNone)
					time.Sleep(10 * time.Second)
				}
				l, err = e.Claim(ctx, task.ClaimOpts{TaskID: failed.ID, Wait: time.Second})
				require.NoError(t, err, "a retry waits for its delay, and not for an hour")
				require.Equal(t, 2, l.Task().Attempt)
				require.NoError(t, l.Complete(ctx, task.Output{}))
				time.Sleep(2 * time.Minute)
				began := time.Now()
				for _, want := range []task.Task{leased, queued} {
					l, err := e.Claim(ctx, task.ClaimOpts{})
					require.NoError(t, err)
					require.Equal(t, want.ID, l.Task().ID)
					require.NoError(t, l.Complete(ctx, task.Output{}))
				}
				require.Equal(t, began, time.Now(), "at once")
				again, replayed, err := e.Submit(ctx, task.Request{Key: key, ParamsHash: []byte("h")})
				require.NoError(t, err)
				require.True(t, replayed)
				require.Equal(t, []string{done.ID, "kept"}, []string{again.ID, again.Output})
			})
		})
	}
}

// A body that is not what its name says is told, and is not handed to a worker.
func TestDamagedBlob(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(store.Options{Dir: t.TempDir(), Log: log})
	require.NoError(t, err)
	defer db.Close()
	e, err := New(Config{DB: db, Log: log})
	require.NoError(t, err)
	defer e.Close()
	big := strings.Repeat("x", 2*blobBytesMin)
	made, _, err := e.Submit(t.Context(), task.Request{Input: big})
	require.NoError(t, err)
	require.NoError(t, db.Update(t.Context(), func(tx *store.Tx) error {
		for row, err := range blobs.All(tx) {
			if err != nil {
				return err
			}
			row.Value[5] ^= 1
			return blobs.Put(tx, row.Key, row.Value)
		}
		return nil
	}))
	_, err = e.Get(t.Context(), made.ID)
	require.ErrorContains(t, err, "the input of task "+made.ID+" is damaged")
	_, err = e.Claim(t.Context(), task.ClaimOpts{TaskID: made.ID})
	require.ErrorContains(t, err, "damaged")
}

// faultyDB is a real store that can be made to refuse writes.
type faultyDB struct {
	*store.DB
	fault atomic.Pointer[error]
}

func (f *faultyDB) Update(ctx context.Context, fn func(*store.Tx) error) error {
	if err := f.fault.Load(); err != nil {
		return *err
	}
	return f.DB.Update(ctx, fn)
}

// A full disk is told as such, nothing is half done, and all goes on when there is room.
func TestFullDiskIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		log := slog.New(slog.DiscardHandler)
		inner, err := store.Open(store.Options{Dir: t.TempDir(), Log: log})
		require.NoError(t, err)
		defer inner.Close()
		db := &faultyDB{DB: inner}
		e, err := New(Config{DB: db, Log: log})
		require.NoError(t, err)
		var wg sync.WaitGroup
		wg.Go(func() { _ = e.Run(ctx) })
		defer wg.Wait()
		defer e.Close()
		made, _, err := e.Submit(ctx, task.Request{Input: "kept"})
		require.NoError(t, err)
		l, err := e.Claim(ctx, task.ClaimOpts{})
		require.NoError(t, err)
		for _, c := range []struct{ fault, want error }{{syscall.ENOSPC, task.ErrUnavailable}, {errors.New("input/output error"), task.ErrUnknown}} {
			db.fault.Store(&c.fault)
			_, _, err = e.Submit(ctx, task.Request{})
			require.ErrorIs(t, err, c.want)
			require.ErrorIs(t, err, c.fault, "the reason is told")
			require.ErrorIs(t, l.Complete(ctx, task.Output{}), c.want)
			_, err = e.Cancel(ctx, made.ID, "", "")
			require.ErrorIs(t, err, c.want)
			s, err := e.Stats(ctx)
			require.NoError(t, err)
			require.False(t, s.Healthy)
		}
		time.Sleep(time.Minute) // the lease runs out and cannot be taken back
		synctest.Wait()
		require.NoError(t, l.Err())
		db.fault.Store(nil)
		time.Sleep(2 * faultPause)
		synctest.Wait()
		require.ErrorIs(t, l.Err(), task.ErrFenced)
		next, err := e.Claim(ctx, task.ClaimOpts{})
		require.NoError(t, err)
		require.Equal(t, "kept", next.Task().Input)
		require.NoError(t, next.Complete(ctx, task.Output{}))
		s, err := e.Stats(ctx)
		require.NoError(t, err)
		require.True(t, s.Healthy)
	})
}
