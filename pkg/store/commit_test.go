package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// hold occupies the writer until the returned function is called, so that what is
// queued meanwhile shares the next transaction. It needs a synctest bubble.
func hold(t *testing.T, d *DB) (release func()) {
	gate, done := make(chan struct{}), make(chan error)
	go func() {
		done <- d.Update(t.Context(), func(*Tx) error {
			<-gate
			return nil
		})
	}()
	synctest.Wait()
	return func() {
		close(gate)
		require.NoError(t, <-done)
	}
}

// queue runs each function in an Update of its own, in this order and queued
// behind hold, and returns their errors after release.
func queue(t *testing.T, d *DB, fns ...func(*Tx) error) []error {
	release := hold(t, d)
	errs := make([]error, len(fns))
	var wg sync.WaitGroup
	for i, fn := range fns {
		wg.Go(func() { errs[i] = d.Update(t.Context(), fn) })
		synctest.Wait()
	}
	release()
	wg.Wait()
	return errs
}

func TestQueuedCallersShareOneTransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, t.TempDir())
		before := d.Stats()
		fns := make([]func(*Tx) error, 64)
		for i := range fns {
			fns[i] = func(tx *Tx) error { return numbers.Put(tx, fmt.Sprint(i), i) }
		}
		for _, err := range queue(t, d, fns...) {
			require.NoError(t, err)
		}
		require.Equal(t, uint64(65), d.Stats().Calls-before.Calls)
		require.Equal(t, uint64(1), d.Stats().Commits-before.Commits, "64 callers, one synced transaction")
		for i := range fns {
			require.Equal(t, i, number(t, d, fmt.Sprint(i)))
		}
	})
}

func TestConcurrentCallersNeedFewerCommits(t *testing.T) {
	d := open(t, t.TempDir())
	const callers, each = 64, 10
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for n := range each {
				err := d.Update(t.Context(), func(tx *Tx) error { return numbers.Put(tx, fmt.Sprint(i, "/", n), n) })
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	s := d.Stats()
	require.Equal(t, uint64(callers*each), s.Calls)
	require.Less(t, s.Commits, s.Calls/4)
	t.Logf("%d calls, %d commits: %.1f a commit", s.Calls, s.Commits, float64(s.Calls)/float64(s.Commits))
}

func TestFunctionThatFails(t *testing.T) {
	refused := errors.New("refused")
	boom := func(*Tx) error { panic("boom") }
	for name, c := range map[string]struct {
		fn   func(*Tx) error
		want func(t *testing.T, err error)
		runs int // of its neighbour
	}{
		"refuses before it writes": {
			fn:   func(*Tx) error { return refused },
			want: func(t *testing.T, err error) { require.Equal(t, refused, err) },
			runs: 1,
		},
		"fails after it wrote": {
			fn: func(tx *Tx) error {
				if err := numbers.Put(tx, "bad", 1); err != nil {
					return err
				}
				return refused
			},
			want: func(t *testing.T, err error) { require.Equal(t, refused, err) },
			runs: 2,
		},
		"panics": {
			fn: boom,
			want: func(t *testing.T, err error) {
				var p *PanicError
				require.ErrorAs(t, err, &p)
				require.Equal(t, "boom", p.Value)
				require.Contains(t, string(p.Stack), "commit_test.go")
				require.EqualError(t, err, "panic in a store function: boom")
			},
			runs: 1,
		},
		"panics after it wrote": {
			fn: func(tx *Tx) error {
				if err := numbers.Put(tx, "bad", 1); err != nil {
					return err
				}
				return boom(tx)
			},
			want: func(t *testing.T, err error) { require.ErrorContains(t, err, "boom") },
			runs: 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := open(t, t.TempDir())
				runs := 0
				first := func(tx *Tx) error {
					runs++
					return numbers.Put(tx, "first", 1)
				}
				var sawBad bool
				last := func(tx *Tx) (err error) {
					sawBad, err = numbers.Has(tx, "bad")
					return errors.Join(err, numbers.Put(tx, "last", 2))
				}
				errs := queue(t, d, first, c.fn, last)
				require.NoError(t, errs[0])
				c.want(t, errs[1])
				require.NoError(t, errs[2])
				require.Equal(t, c.runs, runs)
				require.False(t, sawBad, "what a failed function wrote must not be seen")
				require.Equal(t, 1, number(t, d, "first"))
				require.Equal(t, 2, number(t, d, "last"))
				require.Equal(t, uint64(1), d.Stats().Commits)
			})
		})
	}
}

// A refusal that rests on what a failing neighbour wrote must be thought over.
func TestRefusalIsReconsideredWithoutTheSpoiler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, t.TempDir())
		taken := errors.New("taken")
		claim := func(after error) func(tx *Tx) error {
			return func(tx *Tx) error {
				if has, err := numbers.Has(tx, "name"); has || err != nil {
					return errors.Join(taken, err)
				}
				return errors.Join(numbers.Put(tx, "name", 1), after)
			}
		}
		spoiled := errors.New("spoiled")
		errs := queue(t, d, claim(spoiled), claim(nil), claim(nil))
		require.ErrorIs(t, errs[0], spoiled)
		require.NoError(t, errs[1])
		require.ErrorIs(t, errs[2], taken)
	})
}

func TestGoexitInAFunctionCostsItsBatchOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, t.TempDir())
		errs := queue(t, d,
			func(tx *Tx) error { return numbers.Put(tx, "lost", 1) },
			func(*Tx) error { runtime.Goexit(); return nil })
		require.ErrorIs(t, errs[0], errExited)
		require.ErrorIs(t, errs[1], errExited)
		require.NoError(t, d.Update(t.Context(), func(tx *Tx) error {
			has, err := numbers.Has(tx, "lost")
			require.False(t, has)
			return errors.Join(err, numbers.Put(tx, "next", 1))
		}))
	})
}

func TestNothingWrittenIsNothingCommitted(t *testing.T) {
	d := open(t, t.TempDir())
	require.NoError(t, d.Update(t.Context(), func(tx *Tx) error { return numbers.Delete(tx, "missing") }))
	require.Zero(t, d.Stats().Commits)
}

func TestCancelledWhileQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, t.TempDir())
		release := hold(t, d)
		ctx, cancel := context.WithCancel(t.Context())
		ran := false
		done := make(chan error)
		go func() {
			done <- d.Update(ctx, func(*Tx) error {
				ran = true
				return nil
			})
		}()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		release()
		require.NoError(t, d.Update(t.Context(), func(*Tx) error { return nil }))
		require.False(t, ran, "a function whose caller has gone must not run")
		require.ErrorIs(t, d.Update(ctx, func(*Tx) error { return nil }), context.Canceled)
	})
}

func TestCancelledWhileRunningAwaitsTheOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, t.TempDir())
		ctx, cancel := context.WithCancel(t.Context())
		require.NoError(t, d.Update(ctx, func(tx *Tx) error {
			cancel()
			return numbers.Put(tx, "a", 1)
		}))
		require.Equal(t, 1, number(t, d, "a"))
	})
}

// More callers than a batch holds wait for room, and may give up waiting.
func TestFullQueueWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, t.TempDir())
		release := hold(t, d)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range batchMax {
			wg.Go(func() {
				if err := d.Update(t.Context(), func(tx *Tx) error { return numbers.Put(tx, "n", 1) }); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		done := make(chan error)
		go func() { done <- d.Update(ctx, func(*Tx) error { return nil }) }()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		release()
		wg.Wait()
	})
}

func TestCloseCommitsWhatIsQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		d, err := Open(Options{Dir: dir})
		require.NoError(t, err)
		release := hold(t, d)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				if err := d.Update(t.Context(), func(tx *Tx) error { return numbers.Put(tx, fmt.Sprint(i), i) }); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		closed := make(chan error)
		go func() { closed <- d.Close() }()
		synctest.Wait()
		require.ErrorIs(t, d.Update(t.Context(), func(*Tx) error { return nil }), ErrClosed)
		release()
		require.NoError(t, <-closed)
		wg.Wait()
		d = open(t, dir)
		for i := range 20 {
			require.Equal(t, i, number(t, d, fmt.Sprint(i)))
		}
	})
}

// After a commit of which nobody knows what is on disk, nothing more is written until
// the file is opened again; reading goes on.
func TestAFailedCommitEndsAllWrites(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	put := func(d *DB) error {
		return d.Update(t.Context(), func(tx *Tx) error { return numbers.Put(tx, "n", 1) })
	}
	require.NoError(t, put(d))
	failed := fmt.Errorf("commit: %w (%w)", syscall.EIO, ErrFailed)
	d.lastCommit.Store(&failed)
	require.ErrorIs(t, put(d), ErrFailed)
	require.ErrorIs(t, put(d), syscall.EIO, "the reason is told each time")
	require.Equal(t, 1, number(t, d, "n"))
	require.NoError(t, d.Close())
	require.NoError(t, put(open(t, dir)))
}
