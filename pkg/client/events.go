package client

import "sync"

// eventQueue holds the events between the reader and OnEvent. A full queue drops
// the newest event: a reader that waited for a slow callback could not deliver
// the response that the callback may be waiting for.
type eventQueue struct {
	mu      sync.Mutex
	items   []queued // guarded by mu, as are the fields below
	bytes   int
	dropped int
	closed  bool
	// wake holds at most one token: something changed since the last pop.
	wake chan struct{}
}

// queued is an event and how many were dropped just before it.
type queued struct {
	Event
	dropped int
}

func newEventQueue() *eventQueue { return &eventQueue{wake: make(chan struct{}, 1)} }

// push adds e, or counts it as dropped when the queue is full.
func (q *eventQueue) push(e Event) {
	q.mu.Lock()
	full := len(q.items) > 0 && (len(q.items) >= eventsMax || q.bytes+len(e.Payload) > eventBytesMax)
	if full || q.closed {
		q.dropped++
	} else {
		q.items = append(q.items, queued{e, q.dropped})
		q.bytes += len(e.Payload)
		q.dropped = 0
	}
	q.mu.Unlock()
	q.signal()
}

// close ends pop once the queue is empty.
func (q *eventQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}

func (q *eventQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// pop waits for the next event and returns it with the number of events dropped
// before it. An event without a name stands for drops at the end of the queue.
// ok is false when the queue is closed and empty.
func (q *eventQueue) pop() (e Event, dropped int, ok bool) {
	for {
		q.mu.Lock()
		if len(q.items) > 0 {
			it := q.items[0]
			q.items[0] = queued{}
			q.items = q.items[1:]
			q.bytes -= len(it.Payload)
			q.mu.Unlock()
			return it.Event, it.dropped, true
		}
		q.items = nil
		dropped, q.dropped = q.dropped, 0
		closed := q.closed
		q.mu.Unlock()
		if dropped > 0 {
			return Event{}, dropped, true
		}
		if closed {
			return Event{}, 0, false
		}
		<-q.wake
	}
}

// sequence finds gaps in the numbers of one connection's events.
type sequence struct {
	last  int64
	begun bool
}

// next takes the number of an event and returns the gap before it, if any. The
// first number of a connection is whatever it is; a number that does not rise
// is no gap.
func (s *sequence) next(e Event) (Gap, bool) {
	if !e.Sequenced {
		return Gap{}, false
	}
	expected := s.last + 1
	gap := s.begun && e.Seq > expected
	s.last, s.begun = e.Seq, true
	return Gap{Expected: expected, Received: e.Seq}, gap
}
