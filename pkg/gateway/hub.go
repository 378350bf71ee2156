package gateway

import (
	"maps"
	"slices"
	"sync"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// hub knows the connections and carries events to them. A connection's audience
// class is the set of audiences it may receive, as a bit mask; each class has
// one seq counter, so that a frame is encoded once per class and its bytes are
// shared, and nobody sees a gap he did not earn by reading slowly.
//
// mu guards the fields below it and, held while an event goes to all queues,
// keeps the order of events the same on every connection. Nothing is waited for
// under it: a queue without room loses the event or its connection.
type hub struct {
	versions  *wire.StateVersions
	audiences map[string]uint64 // one bit for each audience that an event names
	dropped   func(event string)

	mu      sync.Mutex
	open    map[*conn]struct{} // every websocket, those in their handshake too
	byID    map[string]*conn   // those that said hello
	classes map[uint64]*class
	sealed  bool // no further connection is taken
	live    sync.WaitGroup
}

// class is the connections that may receive the same events.
type class struct {
	seq     int64
	members []*conn
}

func newHub(events []wire.EventInfo, versions *wire.StateVersions, dropped func(string)) *hub {
	h := &hub{
		versions: versions, dropped: dropped, audiences: map[string]uint64{},
		open: map[*conn]struct{}{}, byID: map[string]*conn{}, classes: map[uint64]*class{},
	}
	for _, e := range events {
		for _, a := range e.Audience {
			if _, ok := h.audiences[a]; !ok {
				h.audiences[a] = 1 << len(h.audiences)
			}
		}
	}
	return h
}

// mask returns the set of audiences that satisfy allowed.
func (h *hub) mask(allowed func(audience string) bool) (m uint64) {
	for a, bit := range h.audiences {
		if allowed(a) {
			m |= bit
		}
	}
	return m
}

// add notes a connection that begins its handshake. It reports false when the
// gateway is stopping.
func (h *hub) add(c *conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sealed {
		return false
	}
	h.open[c] = struct{}{}
	h.live.Add(1)
	return true
}

// join makes c a member of the class of its peer, unless there are already most
// members in all. Events reach c from now on.
func (h *hub) join(c *conn, p *wire.Peer, most int) bool {
	m := h.mask(func(audience string) bool { return mayReceive(p, audience) })
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.byID) >= most {
		return false
	}
	c.peer = p
	cl := h.classes[m]
	if cl == nil {
		cl = &class{}
		h.classes[m] = cl
	}
	c.class, c.slot = cl, len(cl.members)
	cl.members = append(cl.members, c)
	h.byID[c.id] = c
	return true
}

// leave takes c out of its class. The connection is still open.
func (h *hub) leave(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.class == nil {
		return
	}
	last := len(c.class.members) - 1
	moved := c.class.members[last]
	c.class.members[c.slot], moved.slot = moved, c.slot
	c.class.members = slices.Delete(c.class.members, last, last+1)
	c.class = nil
	delete(h.byID, c.id)
}

// remove forgets c, which has ended.
func (h *hub) remove(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.open, c)
	h.live.Done()
}

// seal refuses further connections and returns the open ones.
func (h *hub) seal() []*conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sealed = true
	return slices.Collect(maps.Keys(h.open))
}

// empty returns a channel that is closed when the last connection is gone. The
// hub must be sealed.
func (h *hub) empty() <-chan struct{} {
	gone := make(chan struct{})
	go func() {
		h.live.Wait()
		close(gone)
	}()
	return gone
}

// peers returns the connections that said hello.
func (h *hub) peers() []*conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.byID))
}

// count returns how many connections there are, and how many said hello.
func (h *hub) count() (open, peers int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.open), len(h.byID)
}

// emit queues an event everywhere it belongs.
func (h *hub) emit(e wire.Emission) {
	if e.To != nil {
		frame := h.encode(e, 0)
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, id := range e.To {
			if c := h.byID[id]; c != nil {
				h.deliverLocked(c, e, frame)
			}
		}
		return
	}
	var m uint64
	for _, a := range e.Info.Audience {
		m |= h.audiences[a]
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, cl := range h.classes {
		if key&m == 0 || len(cl.members) == 0 {
			continue
		}
		cl.seq++
		frame := h.encode(e, cl.seq)
		for _, c := range cl.members {
			h.deliverLocked(c, e, frame)
		}
	}
}

// encode builds the frame of an event. seq 0 means none.
func (h *hub) encode(e wire.Emission, seq int64) []byte {
	f := protocol.EventFrame{Event: e.Info.Name, Payload: e.Payload}
	if seq != 0 {
		f.Seq = wire.Some(seq)
	}
	if e.Info.StateVersion {
		f.StateVersion = wire.Some(protocol.StateVersion{Presence: h.versions.Presence(), Health: h.versions.Health()})
	}
	return eventFrame(f)
}

// deliverLocked queues frame on c. Where there is no room, an event that may be
// lost is lost and any other costs a connection: this one if it is over its own
// limit, else the one that holds most of what all queues hold together.
func (h *hub) deliverLocked(c *conn, e wire.Emission, frame []byte) {
	v := c.out.push(frame)
	if v == queued || v == gone {
		return
	}
	if e.Info.Droppable == "always" || e.Delta && e.Info.Droppable == "delta" {
		h.dropped(e.Info.Name)
		return
	}
	if v == overTotal {
		if slowest := h.slowestLocked(); slowest != nil {
			slowest.closeSlow()
		}
		if v = c.out.push(frame); v == queued || v == gone {
			return
		}
	}
	c.closeSlow()
}

// slowestLocked returns the member with the longest queue. One that is cut off
// already has none.
func (h *hub) slowestLocked() (slowest *conn) {
	var most int64
	for _, c := range h.byID {
		if n := c.out.size.Load(); n > most {
			slowest, most = c, n
		}
	}
	return slowest
}
