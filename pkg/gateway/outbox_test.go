package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// newTestOutbox returns an outbox whose writer runs, and the reading end.
func newTestOutbox(t *testing.T, l Limits, onStall func()) (*outbox, net.Conn, *atomic.Int64, <-chan error) {
	here, there := net.Pipe()
	total := &atomic.Int64{}
	o := newOutbox(here, l.withDefaults(), total)
	result := make(chan error, 1)
	go func() {
		err := o.run(onStall)
		_ = here.Close()
		result <- err
	}()
	t.Cleanup(func() {
		o.close(nil, time.Now(), true)
		_ = there.Close()
	})
	return o, there, total, result
}

func TestOutboxWritesInOrderAndThenTheCloseFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, there, total, result := newTestOutbox(t, Limits{}, nil)
		var want bytes.Buffer
		for i := range 500 { // more than a chunk holds
			frame := fmt.Appendf(nil, "frame %d;", i)
			want.Write(frame)
			require.Equal(t, queued, o.push(frame))
		}
		big := bytes.Repeat([]byte("b"), 3*writeChunkBytes+1)
		want.Write(big)
		require.Equal(t, queued, o.push(big))
		require.True(t, o.close([]byte("close"), time.Now().Add(time.Second), false))
		require.False(t, o.close([]byte("again"), time.Now().Add(time.Second), true), "the first close counts")
		require.Equal(t, gone, o.push([]byte("late")))
		require.False(t, o.reply([]byte("late")))
		got, err := io.ReadAll(there)
		require.NoError(t, err)
		require.Equal(t, want.String()+"close", string(got))
		require.NoError(t, <-result)
		require.False(t, o.lost)
		require.Zero(t, total.Load())
	})
}

// A frame that is half on its way must be completed before the close frame.
func TestOutboxAbandonsBehindAPartialFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, there, total, result := newTestOutbox(t, Limits{}, nil)
		for _, c := range "abc" {
			o.push(bytes.Repeat([]byte{byte(c)}, 100))
		}
		_, err := io.ReadFull(there, make([]byte, 130))
		require.NoError(t, err)
		synctest.Wait()
		require.True(t, o.close([]byte("close"), time.Now().Add(time.Second), true))
		require.Zero(t, total.Load(), "off the books at once")
		synctest.Wait()
		got, err := io.ReadAll(there)
		require.NoError(t, err)
		require.Equal(t, string(bytes.Repeat([]byte("b"), 70))+"close", string(got))
		require.NoError(t, <-result)
		require.Zero(t, total.Load())
	})
}

func TestOutboxGivesUpInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _, total, result := newTestOutbox(t, Limits{}, nil)
		o.push([]byte("frame"))
		synctest.Wait()
		begin := time.Now()
		o.close([]byte("close"), begin.Add(3*time.Second), false)
		require.ErrorIs(t, <-result, errStalled)
		require.Equal(t, 3*time.Second, time.Since(begin))
		require.True(t, o.lost)
		require.Zero(t, total.Load())
	})
}

func TestOutboxEndsWithItsSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, there, total, result := newTestOutbox(t, Limits{}, nil)
		require.NoError(t, there.Close())
		o.push([]byte("frame"))
		require.ErrorIs(t, <-result, io.ErrClosedPipe)
		require.Equal(t, gone, o.push([]byte("more")))
		require.Zero(t, total.Load())
	})
}

func TestOutboxLimits(t *testing.T) {
	frame := make([]byte, 10)
	cases := []struct {
		name        string
		queueBytes  int64
		total, most int64
		have        int
		want        verdict
	}{
		{"room", 100, 0, 1000, 5, queued},
		{"exactly full", 60, 0, 1000, 5, queued},
		{"one byte too many", 59, 0, 1000, 5, overLimit},
		{"empty queue, frame above the limit", 5, 0, 1000, 0, queued},
		{"empty queue, total exceeded", 100, 5000, 1000, 0, queued},
		{"total exceeded", 100, 1000, 1000, 5, overTotal},
		{"total exactly full", 100, 940, 1000, 5, queued},
		{"own limit before total", 40, 5000, 1000, 4, overLimit},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var total atomic.Int64
			o := newOutbox(nil, Limits{QueueBytes: c.queueBytes, QueueBytesTotal: c.most}.withDefaults(), &total)
			for range c.have {
				o.mu.Lock()
				o.putLocked(frame)
				o.mu.Unlock()
			}
			total.Add(c.total)
			require.Equal(t, c.want, o.push(frame))
		})
	}
}

func TestOutboxReplyWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, there, _, _ := newTestOutbox(t, Limits{QueueBytes: 10}, nil)
		o.push([]byte("12345678"))
		var replied atomic.Bool
		go func() { replied.Store(o.reply([]byte("reply"))) }()
		synctest.Wait()
		require.False(t, replied.Load())
		_, err := io.ReadFull(there, make([]byte, 8))
		require.NoError(t, err)
		synctest.Wait()
		require.True(t, replied.Load())
		_, err = io.ReadFull(there, make([]byte, 5))
		require.NoError(t, err)
		o.close(nil, time.Now(), true)
	})
}

func TestOutboxHoldsBackUntilReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, there, _, result := newTestOutbox(t, Limits{}, nil)
		o.hold()
		o.push([]byte("later "))
		synctest.Wait()
		require.True(t, o.release([]byte("hello ")))
		o.push([]byte("last"))
		o.close([]byte(" close"), time.Now().Add(time.Second), false)
		got, err := io.ReadAll(there)
		require.NoError(t, err)
		require.Equal(t, "hello later last close", string(got))
		require.NoError(t, <-result)
		require.False(t, o.release([]byte("late")))
	})
}

func TestOutboxStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var stalledAfter time.Duration
		var o *outbox
		ready := make(chan struct{})
		o, _, _, result := newTestOutbox(t, Limits{WriteStall: 7 * time.Second}, func() {
			<-ready
			stalledAfter = time.Since(begin)
			o.close([]byte("close"), time.Now(), true)
		})
		close(ready)
		o.push([]byte("frame"))
		require.ErrorIs(t, <-result, errStalled)
		require.Equal(t, 7*time.Second, stalledAfter)
	})
}

// Many goroutines push, the reader reads, one closes: nothing is counted twice.
func TestOutboxUnderConcurrency(t *testing.T) {
	here, there := net.Pipe()
	var total atomic.Int64
	o := newOutbox(here, Limits{QueueBytes: 4096}.withDefaults(), &total)
	result := make(chan error, 1)
	go func() { result <- o.run(nil) }()
	read := make(chan int64)
	go func() {
		n, _ := io.Copy(io.Discard, there)
		read <- n
	}()
	var pushed atomic.Int64
	var pushers sync.WaitGroup
	for i := range 8 {
		pushers.Go(func() {
			for range 500 {
				frame := make([]byte, 10+i)
				if i%2 == 0 && o.push(frame) == queued || i%2 == 1 && o.reply(frame) {
					pushed.Add(int64(len(frame)))
				}
				o.answerPing(nil)
			}
		})
	}
	pushers.Wait()
	o.close(nil, time.Now().Add(time.Minute), false)
	require.NoError(t, <-result)
	require.NoError(t, errors.Join(here.Close(), there.Close()))
	require.GreaterOrEqual(t, <-read, pushed.Load())
	require.Zero(t, total.Load())
	require.Zero(t, o.size.Load())
}
