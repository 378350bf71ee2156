package gateway

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// outbox is the output of one connection: a queue of finished websocket frames,
// bounded in bytes, and the goroutine that writes them (run). Frames may be
// shared between connections and are never written to.
//
// Events are put with push, which never waits: what does not fit is the
// caller's to drop or to close the connection for. Responses are put with
// reply, which waits for room: a client that asks for much and reads it is not
// a slow consumer, and one that does not read runs into the write stall.
//
// mu guards the fields below it; it is held for memory only.
type outbox struct {
	conn  net.Conn
	limit int64         // bytes
	total *atomic.Int64 // bytes in all queues of the gateway
	most  int64         // limit of total
	stall time.Duration
	// chunkMax is how many bytes are written at once; join copies them together,
	// because TLS makes a record of each write.
	chunkMax int
	join     bool
	wake     chan struct{} // one token: something changed for the writer
	done     chan struct{} // closed when run has returned
	lost     bool          // not everything could be written; read after done
	size     atomic.Int64  // bytes queued or being written

	mu      sync.Mutex
	room    sync.Cond // size shrank or the outbox closed
	queue   [][]byte  // not yet taken by the writer
	pong    []byte    // the answer to the latest ping
	held    bool      // push goes to queue, but the writer waits for release
	closing []byte    // the close frame, or empty for an end without one; nil while open
	closeBy time.Time // when the writer gives up, once closing is set
	abandon bool      // drop the queue, write only what is half written, off the books
}

// A verdict tells what became of a frame.
type verdict int

const (
	queued    verdict = iota
	gone              // the outbox is closed; nothing was queued
	overLimit         // this connection's queue has no room
	overTotal         // this queue has room, all queues together have not
)

func newOutbox(conn net.Conn, l Limits, total *atomic.Int64) *outbox {
	o := &outbox{
		conn: conn, limit: l.QueueBytes, total: total, most: l.QueueBytesTotal, stall: l.WriteStall,
		chunkMax: writeChunkBytes, wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	o.room.L = &o.mu
	return o
}

// push queues frame if there is room. An empty queue admits any one frame.
func (o *outbox) push(frame []byte) verdict {
	o.mu.Lock()
	defer o.mu.Unlock()
	v := o.fitsLocked(len(frame))
	if v == queued {
		o.putLocked(frame)
	}
	return v
}

// reply queues frame, waiting for room if need be. It reports false when the
// connection closed instead.
func (o *outbox) reply(frame []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		switch o.fitsLocked(len(frame)) {
		case queued:
			o.putLocked(frame)
			return true
		case gone:
			return false
		}
		o.room.Wait()
	}
}

// awaitRoom waits until at most n bytes are queued or the outbox is closed.
func (o *outbox) awaitRoom(n int64) {
	if o.size.Load() <= n {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.closing == nil && o.size.Load() > n {
		o.room.Wait()
	}
}

func (o *outbox) fitsLocked(n int) verdict {
	size := o.size.Load()
	switch {
	case o.closing != nil:
		return gone
	case size == 0:
		return queued
	case size+int64(n) > o.limit:
		return overLimit
	case o.total.Load()+int64(n) > o.most:
		return overTotal
	}
	return queued
}

func (o *outbox) putLocked(frame []byte) {
	o.queue = append(o.queue, frame)
	o.size.Add(int64(len(frame)))
	o.total.Add(int64(len(frame)))
	if !o.held {
		o.signal()
	}
}

// answerPing queues a pong. Of several pings that wait, only the latest is
// answered (RFC 6455, section 5.5.3), so a flood of them costs no memory.
func (o *outbox) answerPing(payload []byte) {
	pong := append(frameHeader(nil, opcodePong, len(payload)), payload...)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pong = pong
	o.signal()
}

// hold keeps what is pushed from now on behind the frame given to release.
func (o *outbox) hold() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = true
}

// release queues frame in front of what was pushed since hold. It reports false
// when the connection closed meanwhile.
func (o *outbox) release(frame []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = false
	if o.closing != nil {
		return false
	}
	later := o.queue
	o.queue = nil
	o.putLocked(frame)
	o.queue = append(o.queue, later...)
	return true
}

// close ends the outbox: what is queued is still written, unless abandon, then
// the close frame, if there is one, and the writer returns by the given time at
// the latest. Only the first call counts; it reports whether this was the one.
func (o *outbox) close(frame []byte, by time.Time, abandon bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closing != nil {
		return false
	}
	o.closing, o.closeBy = append([]byte{}, frame...), by
	if abandon || o.held {
		o.dropLocked(o.queue)
		o.queue = nil
	}
	// A write may be under way, with a deadline of its own.
	if abandon {
		_ = o.conn.SetWriteDeadline(past)
		// What the writer has taken is dropped as soon as it runs. It is counted
		// no more from now on, or others would be cut off for this one's bytes.
		o.freedLocked(int(o.size.Load()))
		o.abandon = true
	} else {
		_ = o.conn.SetWriteDeadline(by)
	}
	o.signal()
	o.room.Broadcast()
	return true
}

// hurry makes a closed outbox give up by the given time at the latest.
func (o *outbox) hurry(by time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closing != nil && by.Before(o.closeBy) {
		o.closeBy = by
		_ = o.conn.SetWriteDeadline(by)
	}
}

// gaveUp reports whether the writer has ended with something unwritten.
func (o *outbox) gaveUp() bool {
	select {
	case <-o.done:
		return o.lost
	default:
		return false
	}
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// freedLocked takes n written or dropped bytes off the books.
func (o *outbox) freedLocked(n int) {
	if o.abandon {
		return // all were taken off then
	}
	o.size.Add(int64(-n))
	o.total.Add(int64(-n))
	o.room.Broadcast()
}

func (o *outbox) dropLocked(frames [][]byte) {
	n := 0
	for _, f := range frames {
		n += len(f)
	}
	o.freedLocked(n)
}
