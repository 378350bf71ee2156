package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// batchMax bounds the functions of one transaction, and those that queue for the
// next. Callers beyond wait in Update until there is room or their ctx ends.
const batchMax = 256

// errExited is what the callers of a batch get when one of its functions ended
// the writer's goroutine (runtime.Goexit, as a failing test assertion does).
var errExited = errors.New("a function in the same transaction ended its goroutine")

// PanicError is what Update returns when its function panicked.
type PanicError struct {
	// Value is what was passed to panic.
	Value any
	// Stack is the writer's stack at that moment.
	Stack []byte
}

// Error returns the panic's value; the stack is for the log.
func (e *PanicError) Error() string { return fmt.Sprintf("panic in a store function: %v", e.Value) }

// Tx is a transaction, for the function it is given to and no longer.
type Tx struct {
	bolt  *bolt.Tx // nil once the function has returned
	wrote bool
	after []func()
}

// OnCommit has fn called when what the function wrote is on disk, and not at all
// when that does not happen. The calls come from the writer, in the order of the
// commits and before Update returns, so what fn keeps in memory never runs ahead of
// the disk or behind a caller. fn must not wait for the store, nor panic.
func (tx *Tx) OnCommit(fn func()) { tx.after = append(tx.after, fn) }

func (tx *Tx) end() { tx.bolt = nil }

// job is one function on its way through the writer.
type job struct {
	fn func(*Tx) error
	// taken is set by who decides its fate first: the writer when it runs it, or
	// the caller that gives up waiting.
	taken atomic.Bool
	err   error // written before done is closed
	done  chan struct{}
}

// Update runs fn in a write transaction and returns when its effects are on disk.
//
// An error of fn takes back what fn wrote and nothing else, and is returned as it
// is; a panic becomes a *PanicError. When the commit itself fails (a full disk)
// every function of the transaction gets that error and none took effect. Update
// stops waiting when ctx ends before fn has begun; later the outcome is awaited,
// because it must be known. fn may run more than once: see the package comment.
func (d *DB) Update(ctx context.Context, fn func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := &job{fn: fn, done: make(chan struct{})}
	if err := d.enqueue(ctx, j); err != nil {
		return err
	}
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		if j.taken.CompareAndSwap(false, true) {
			return ctx.Err()
		}
		<-j.done
		return j.err
	}
}

// enqueue hands j to the writer, waiting for room if it must.
func (d *DB) enqueue(ctx context.Context, j *job) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return ErrClosed
	}
	select {
	case d.queue <- j:
		d.calls.Add(1)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write is the writer goroutine: it ends when the queue is closed and empty. A
// function that ends the goroutine costs its batch, and a new writer takes over.
func (d *DB) write() {
	var batch []*job
	ended := false
	defer func() {
		if ended {
			close(d.drained)
			return
		}
		finish(batch, errExited)
		go d.write()
	}()
	for first := range d.queue {
		// Callers that the last commit has woken get to queue up first: on few
		// cores they would otherwise miss this transaction and wait for the next.
		runtime.Gosched()
		batch = d.collect(first)
		d.commit(batch)
		batch = nil
	}
	ended = true
}

// collect takes first and whatever else is queued by now, without waiting.
func (d *DB) collect(first *job) []*job {
	batch := make([]*job, 0, len(d.queue)+1)
	for j := first; ; {
		if j.taken.CompareAndSwap(false, true) {
			batch = append(batch, j)
		}
		if len(batch) == batchMax {
			return batch
		}
		select {
		case next, ok := <-d.queue:
			if !ok {
				return batch
			}
			j = next
		default:
			return batch
		}
	}
}

// commit runs the batch until it holds no function that fails after it wrote,
// and answers every caller.
func (d *DB) commit(batch []*job) {
	for len(batch) > 0 {
		spoiler, err := d.attempt(batch)
		if err != nil {
			finish(batch, err)
			return
		}
		if spoiler < 0 {
			for _, j := range batch {
				close(j.done)
			}
			return
		}
		// Only the spoiler has its final answer: the others may have seen what it
		// wrote, so they run again without it.
		close(batch[spoiler].done)
		batch = append(batch[:spoiler:spoiler], batch[spoiler+1:]...)
	}
}

// finish answers all of the batch with err.
func finish(batch []*job, err error) {
	for _, j := range batch {
		j.err = err
		close(j.done)
	}
}

// attempt runs the batch in one transaction and commits it, leaving each
// function's own error in its job. It returns the index of the first function
// that failed after it wrote, or -1, and the error that all callers share.
func (d *DB) attempt(batch []*job) (spoiler int, err error) {
	if err := d.commitFailure(); errors.Is(err, ErrFailed) {
		return -1, err
	}
	tx, err := d.bolt.Begin(true)
	if err != nil {
		return -1, fmt.Errorf("begin transaction: %w", err)
	}
	defer tx.Rollback() // a no-op after the commit
	wrote := false
	var after []func()
	for i, j := range batch {
		t := &Tx{bolt: tx}
		if j.err = call(j.fn, t); j.err != nil && t.wrote {
			return i, nil
		}
		if j.err == nil {
			after = append(after, t.after...)
		}
		wrote = wrote || t.wrote
	}
	if !wrote {
		return -1, nil
	}
	if err := tx.Commit(); err != nil {
		kind := ErrFailed
		if roomMayReturn(err) {
			kind = ErrFull
		}
		err = fmt.Errorf("commit to %s: %w (%w)", d.path, err, kind)
		d.lastCommit.Store(&err)
		return -1, err
	}
	d.lastCommit.Store(nil)
	d.commits.Add(1)
	for _, fn := range after {
		fn()
	}
	return -1, nil
}

// call runs fn and turns its panic into an error.
func call(fn func(*Tx) error, tx *Tx) (err error) {
	defer tx.end()
	defer func() {
		if r := recover(); r != nil {
			err = &PanicError{Value: r, Stack: debug.Stack()}
		}
	}()
	return fn(tx)
}

// commitFailure returns the error of the most recent commit, or nil.
func (d *DB) commitFailure() error {
	if p := d.lastCommit.Load(); p != nil {
		return *p
	}
	return nil
}

// roomMayReturn reports whether err is about space, which is told before bbolt
// touches its meta page and leaves the file consistent. After any other failure
// (a sync that failed) what is on disk is unknown, and writing on could turn
// doubt into damage.
func roomMayReturn(err error) bool {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG) {
		return true
	}
	// bbolt tells a file that cannot grow in words only; it grows before it writes.
	return strings.Contains(err.Error(), "file resize error")
}
