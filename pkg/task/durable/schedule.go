package durable

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"github.com/coderclaw/gateway/pkg/task"
)

// entry is what memory knows of an open task. Engine.mu guards it.
type entry struct {
	id, session, agent string
	above              []string // its parents, from the root down, open or not
	namespace          task.Namespace
	order              uint64
	priority           int
	caps               []string
	status             task.Status
	createdAt          time.Time
	blockers           map[string]bool // open tasks that must end first
	parked             bool            // waits for Resume
	notBefore          time.Time       // with a monotonic reading; zero is now
	deadline           time.Time       // the same; zero is never
	lease              *lease          // of this life
	claiming           bool
	line               *line // nil for those that stand in none
	group              *group
	inHeap             bool
}

// line is the open tasks of a session that wait for each other, grouped by their
// place, in order. The first group may run, the others wait.
type line struct{ groups []*group }

// group is the tasks that share a place, a parent before its children, in order.
type group struct {
	place   uint64
	entries []*entry
}

// applyLocked takes over what a change made of a record.
func (e *Engine) applyLocked(c *change, rec *record) {
	if c.began && c.lease != nil && c.lease.en.id == rec.ID {
		c.lease.begun = true
	}
	en := e.open[rec.ID]
	if en != nil && en.lease != nil && !(rec.Leased && rec.Epoch == en.lease.epoch) {
		err := task.ErrFenced
		switch {
		case c.lease == en.lease:
			err = nil
		case rec.Status.Terminal():
			err = task.ErrTerminal
		}
		en.lease.endLocked(err)
	}
	if rec.Status.Terminal() {
		e.removeLocked(rec.ID)
		return
	}
	e.setLocked(rec)
}

// setLocked brings an open task's entry in line with its record.
func (e *Engine) setLocked(rec *record) {
	en := e.open[rec.ID]
	now := time.Now()
	if en == nil {
		en = &entry{id: rec.ID, session: rec.SessionID, agent: rec.AgentID, above: rec.Above, namespace: namespaceOf(rec),
			order: rec.Order, priority: rec.Priority, caps: rec.Capabilities, createdAt: rec.CreatedAt}
		e.open[rec.ID] = en
		e.joinLocked(en, rec.Place)
		if en.deadline = monotonic(now, rec.Deadline); !en.deadline.IsZero() {
			e.setTimerLocked(en.deadline, en.id)
		}
	}
	en.status = rec.Status
	en.parked = rec.Wait != nil && rec.Wait.Until.IsZero() && len(rec.Wait.Tasks) == 0
	waits := slices.Clone(rec.DependsOn)
	notBefore := rec.NotBefore
	if rec.Wait != nil {
		waits, notBefore = rec.Wait.Tasks, rec.Wait.Until
	} else if rec.Status != task.Pending {
		waits = nil
	}
	for id := range en.blockers {
		delete(e.waitedFor[id], en.id)
	}
	en.blockers = map[string]bool{}
	for _, id := range waits {
		if e.open[id] == nil {
			continue
		}
		en.blockers[id] = true
		if e.waitedFor[id] == nil {
			e.waitedFor[id] = map[string]*entry{}
		}
		e.waitedFor[id][en.id] = en
	}
	if en.notBefore = monotonic(now, notBefore); !en.notBefore.IsZero() {
		e.setTimerLocked(en.notBefore, en.id)
	}
	e.refreshLocked(en)
}

// namespaceOf is whose workers a task is for.
func namespaceOf(rec *record) task.Namespace {
	if rec.Key.Namespace == "" {
		return task.NamespaceTask
	}
	return rec.Key.Namespace
}

// monotonic is a wall-clock time as a point on the monotonic clock, so that setting
// the clock afterwards moves it no more.
func monotonic(now, wall time.Time) time.Time {
	if wall.IsZero() {
		return wall
	}
	return now.Add(wall.Sub(now.Round(0)))
}

// joinLocked gives a new entry its place in its session's line, unless it has none.
func (e *Engine) joinLocked(en *entry, place uint64) {
	if place == 0 {
		return
	}
	l := e.lines[en.session]
	if l == nil {
		l = &line{}
		e.lines[en.session] = l
	}
	at, found := slices.BinarySearchFunc(l.groups, place, func(g *group, place uint64) int { return cmp.Compare(g.place, place) })
	if !found {
		l.groups = slices.Insert(l.groups, at, &group{place: place})
	}
	g := l.groups[at]
	at, _ = slices.BinarySearchFunc(g.entries, en, func(a, b *entry) int { return cmp.Compare(a.order, b.order) })
	g.entries = slices.Insert(g.entries, at, en)
	en.line, en.group = l, g
}

// removeLocked drops a task that has ended, and lets those go on that waited for it.
func (e *Engine) removeLocked(id string) {
	en := e.open[id]
	if en == nil {
		return
	}
	delete(e.open, id)
	e.wakeLocked(id)
	for blocker := range en.blockers {
		delete(e.waitedFor[blocker], id)
	}
	for _, other := range e.waitedFor[id] {
		delete(other.blockers, id)
		e.refreshLocked(other)
	}
	delete(e.waitedFor, id)
	e.leaveLocked(en)
}

// leaveLocked gives up an entry's place in line.
func (e *Engine) leaveLocked(en *entry) {
	l, g := en.line, en.group
	if l == nil {
		return
	}
	g.entries = slices.DeleteFunc(g.entries, func(other *entry) bool { return other == en })
	if len(g.entries) == 0 {
		l.groups = slices.DeleteFunc(l.groups, func(other *group) bool { return other == g })
	}
	if len(l.groups) == 0 {
		delete(e.lines, en.session)
		return
	}
	for _, next := range l.groups[0].entries {
		e.refreshLocked(next)
	}
}

// inTurnLocked reports whether a task is not kept waiting by others of its session:
// its group is the first, and only parents are before it there.
func (e *Engine) inTurnLocked(en *entry) bool {
	if en.line == nil {
		return true
	}
	if en.line.groups[0] != en.group {
		return false
	}
	for _, other := range en.group.entries {
		if other == en {
			return true
		}
		if !slices.Contains(en.above, other.id) {
			return false
		}
	}
	return true
}

// claimableLocked reports whether nothing but the engine's limits keeps a task from
// being leased.
func (e *Engine) claimableLocked(en *entry) bool {
	return en.lease == nil && !en.claiming && !en.parked && len(en.blockers) == 0 &&
		!en.notBefore.After(time.Now()) && e.open[en.id] == en && e.inTurnLocked(en)
}

// roomLocked reports whether the limits allow one more lease.
func (e *Engine) roomLocked(en *entry) bool {
	if e.running >= e.runningMax || e.agentMax > 0 && en.agent != "" && e.byAgent[en.agent] >= e.agentMax {
		e.starved = true
		return false
	}
	return true
}

// refreshLocked offers a task to the claimers if it can be claimed.
func (e *Engine) refreshLocked(en *entry) {
	if !e.claimableLocked(en) {
		return
	}
	if !en.inHeap {
		h := e.ready[en.namespace]
		if h == nil {
			h = &readyHeap{}
			e.ready[en.namespace] = h
		}
		en.inHeap = true
		heap.Push(h, en)
	}
	e.wakeLocked(en.id)
	close(e.gate)
	e.gate = make(chan struct{})
}

// wakeLocked lets those look again who claim one task.
func (e *Engine) wakeLocked(id string) {
	if gate, ok := e.gates[id]; ok {
		close(gate)
		delete(e.gates, id)
	}
}

// releaseLocked gives a slot back that a lease or a claim took.
func (e *Engine) releaseLocked(en *entry) {
	e.running--
	if e.byAgent[en.agent]--; e.byAgent[en.agent] <= 0 {
		delete(e.byAgent, en.agent)
	}
	e.wakeStarvedLocked()
}

// wakeStarvedLocked lets those look again whom a limit has kept waiting.
func (e *Engine) wakeStarvedLocked() {
	if e.starved {
		e.starved = false
		for id := range e.gates {
			e.wakeLocked(id)
		}
		close(e.gate)
		e.gate = make(chan struct{})
	}
}

// takeLocked reserves a slot for a claim.
func (e *Engine) takeLocked(en *entry) {
	en.claiming = true
	e.running++
	e.byAgent[en.agent]++
}

// readyHeap orders claimable entries: by priority, then by age. An entry that is not
// claimable any more is left in it until it comes up.
type readyHeap []*entry

func (h readyHeap) Len() int { return len(h) }
func (h readyHeap) Less(i, j int) bool {
	if h[i].priority != h[j].priority {
		return h[i].priority > h[j].priority
	}
	return h[i].order < h[j].order
}
func (h readyHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *readyHeap) Push(x any) { *h = append(*h, x.(*entry)) }

// Pop implements heap.Interface.
func (h *readyHeap) Pop() any {
	last := len(*h) - 1
	en := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return en
}

// pickLocked takes the first task that a claim may have, or returns nil.
func (e *Engine) pickLocked(o *task.ClaimOpts) *entry {
	var best *entry
	for _, ns := range o.Namespaces {
		en := e.peekLocked(ns, o.Capabilities)
		if en != nil && (best == nil || readyHeap{en, best}.Less(0, 1)) {
			best = en
		}
	}
	return best
}

// peekLocked returns the first task of a namespace that the capabilities suffice for
// and the limits leave room for, or nil.
func (e *Engine) peekLocked(ns task.Namespace, caps []string) *entry {
	h := e.ready[ns]
	if h == nil {
		return nil
	}
	var aside []*entry
	defer func() {
		for _, en := range aside {
			heap.Push(h, en)
		}
	}()
	for h.Len() > 0 {
		en := (*h)[0]
		switch {
		case !e.claimableLocked(en):
			heap.Pop(h)
			en.inHeap = false
		case e.roomLocked(en) && suffices(caps, en.caps):
			return en
		case e.running >= e.runningMax:
			return nil
		default:
			heap.Pop(h)
			aside = append(aside, en)
		}
	}
	return nil
}

// suffices reports whether have holds all of need.
func suffices(have, need []string) bool {
	for _, n := range need {
		if !slices.Contains(have, n) {
			return false
		}
	}
	return true
}

// timer is a moment at which something of a task is to be looked at.
type timer struct {
	at time.Time
	id string
}

// timerHeap holds timers, the earliest first. One that is out of date does no harm.
type timerHeap []timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timerHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *timerHeap) Push(x any) { *h = append(*h, x.(timer)) }

// Pop implements heap.Interface.
func (h *timerHeap) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	*h = (*h)[:last]
	return t
}

// setTimerLocked has a task looked at later, and tells Run when that is the next.
func (e *Engine) setTimerLocked(at time.Time, id string) {
	first := len(e.timers) == 0 || at.Before(e.timers[0].at)
	heap.Push(&e.timers, timer{at, id})
	if first {
		select {
		case e.kick <- struct{}{}:
		default:
		}
	}
}
