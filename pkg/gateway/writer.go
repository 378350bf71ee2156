package gateway

import (
	"bytes"
	"errors"
	"net"
	"os"
	"time"
)

// errStalled says that the peer took nothing for as long as it may.
var errStalled = errors.New("peer does not read")

// writer is the part of an outbox that only its goroutine touches: what it has
// taken from the queue and not yet written.
type writer struct {
	*outbox
	frames  [][]byte // data frames; counted in size until they are written
	spare   [][]byte // array for the next queue, taken in turns
	partial bool     // the beginning of frames[0] has been written
	control []byte   // pong and close frames, written behind frames; not counted
}

// run writes until the outbox is closed and everything is out, or until the
// socket fails. When the peer takes nothing for too long it calls onStall, which
// is expected to close the outbox. The caller closes the outbox when run returns.
func (o *outbox) run(onStall func()) (err error) {
	w := writer{outbox: o}
	defer close(o.done)
	defer func() { w.finish(err != nil) }()
	for {
		last := w.take()
		for len(w.frames)+len(w.control) > 0 {
			n, failure := w.write()
			switch {
			case failure == nil:
			case !errors.Is(failure, os.ErrDeadlineExceeded):
				return failure
			case w.overdue():
				return errStalled
			case n == 0 && !w.isClosing():
				onStall()
			}
			w.trim()
		}
		if last {
			return nil
		}
	}
}

// spareFrames is the longest array that is kept for the next queue.
const spareFrames = 1024

// take waits for something to write and reports whether it is the last.
func (w *writer) take() (last bool) {
	for {
		w.mu.Lock()
		last = w.closing != nil
		if !w.held || last {
			w.frames, w.queue = w.queue, w.spare[:0]
			w.spare = w.frames
			if cap(w.spare) > spareFrames {
				w.spare = nil
			}
		}
		w.control, w.pong = w.pong, nil
		if last {
			w.control = append(w.control, w.closing...)
		}
		w.mu.Unlock()
		if last || len(w.frames)+len(w.control) > 0 {
			return last
		}
		<-w.wake
	}
}

// write writes one chunk with one system call and takes what went out off the
// books. The chunk is bounded, so that a peer that reads slowly but does read
// is seen to make progress.
func (w *writer) write() (int, error) {
	if err := w.setDeadline(); err != nil {
		return 0, err
	}
	var n int64
	var err error
	switch chunk := w.chunk(); {
	case len(chunk) == 1:
		one, oneErr := w.conn.Write(chunk[0])
		n, err = int64(one), oneErr
	case w.join:
		one, oneErr := w.conn.Write(bytes.Join(chunk, nil))
		n, err = int64(one), oneErr
	default:
		n, err = chunk.WriteTo(w.conn)
	}
	w.advance(int(n))
	return int(n), err
}

// setDeadline gives the next write its time.
func (w *writer) setDeadline() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closing != nil {
		return w.conn.SetWriteDeadline(w.closeBy)
	}
	return w.conn.SetWriteDeadline(time.Now().Add(w.stall))
}

// chunk returns the beginning of what there is to write. It is built anew each
// time: to keep the space would cost every idle connection.
func (w *writer) chunk() net.Buffers {
	size := 0
	chunk := make(net.Buffers, 0, min(len(w.frames)+1, writeChunkFrames))
	for _, f := range w.frames {
		if len(chunk) == writeChunkFrames || size == w.chunkMax {
			return chunk
		}
		f = f[:min(len(f), w.chunkMax-size)]
		chunk = append(chunk, f)
		size += len(f)
	}
	if len(w.control) > 0 && len(chunk) < writeChunkFrames && size < w.chunkMax {
		chunk = append(chunk, w.control)
	}
	return chunk
}

// advance drops the first n bytes of what there is to write.
func (w *writer) advance(n int) {
	counted := 0
	for n > 0 && len(w.frames) > 0 {
		f := w.frames[0]
		if n < len(f) {
			w.frames[0], w.partial = f[n:], true
			counted, n = counted+n, 0
			break
		}
		w.frames[0] = nil
		w.frames, w.partial = w.frames[1:], false
		counted, n = counted+len(f), n-len(f)
	}
	w.control = w.control[n:]
	if counted > 0 {
		w.mu.Lock()
		w.freedLocked(counted)
		w.mu.Unlock()
	}
}

// trim drops everything but a frame that is half written, if that was asked for.
func (w *writer) trim() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.abandon {
		return
	}
	keep := 0
	if w.partial {
		keep = 1
	}
	if len(w.frames) > keep {
		w.dropLocked(w.frames[keep:])
		w.frames = w.frames[:keep]
	}
}

// finish takes what could not be written off the books and makes sure that
// nothing is queued any more.
func (w *writer) finish(lost bool) {
	w.lost = lost
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closing == nil {
		w.closing = []byte{}
	}
	w.dropLocked(w.frames)
	w.dropLocked(w.queue)
	w.frames, w.queue = nil, nil
}

func (w *writer) isClosing() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closing != nil
}

// overdue reports whether the outbox is closed and the time for it is over.
func (w *writer) overdue() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closing != nil && !time.Now().Before(w.closeBy)
}
