package turn

import (
	"context"
	"slices"
)

// joinLane puts the run at the end of its session's line. Runs of one session
// are serial; sessions do not wait for each other.
func (r *Runs) joinLane(run *Run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	lane := append(r.lanes[run.req.SessionKey], run)
	r.lanes[run.req.SessionKey] = lane
	if len(lane) == 1 {
		close(run.turn)
	}
}

// leave ends the run's part in the registry: its place in line goes to the next,
// which starts when the run was at the head. The ledger answers its key from now on,
// unless it cannot yet.
func (run *Run) leave() {
	r, key := run.runs, run.req.SessionKey
	r.mu.Lock()
	defer r.mu.Unlock()
	run.left = true
	if !run.unsaved && !run.suspended {
		r.forgetLocked(run)
	}
	r.inputBytes -= run.inputBytes
	r.active[key] = without(r.active[key], run)
	if len(r.active[key]) == 0 {
		delete(r.active, key)
	}
	r.total--
	lane := r.lanes[key]
	if len(lane) == 0 {
		return
	}
	head := lane[0] == run
	lane = without(lane, run)
	if len(lane) == 0 {
		delete(r.lanes, key)
		return
	}
	r.lanes[key] = lane
	if head {
		close(lane[0].turn)
	}
}

// pending returns the ids of the runs that stand behind this one: their messages
// are in the transcript already and not yet part of the conversation.
func (run *Run) pending() map[string]bool {
	r := run.runs
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := map[string]bool{}
	for _, other := range r.lanes[run.req.SessionKey] {
		if other != run {
			ids[other.key.key] = true
		}
	}
	return ids
}

// without returns list without run, leaving the backing array alone.
func without(list []*Run, run *Run) []*Run {
	i := slices.Index(list, run)
	if i < 0 {
		return list
	}
	return slices.Concat(list[:i], list[i+1:])
}

// hold keeps new runs out of a session until the returned function is called. A
// session that somebody else holds is waited for.
func (r *Runs) hold(ctx context.Context, sessionKey string) (release func(), err error) {
	for {
		r.mu.Lock()
		held, ok := r.holds[sessionKey]
		if !ok {
			r.holds[sessionKey] = make(chan struct{})
			r.mu.Unlock()
			return func() { r.unhold(sessionKey) }, nil
		}
		r.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// unhold lets new runs into a session again.
func (r *Runs) unhold(sessionKey string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.holds[sessionKey])
	delete(r.holds, sessionKey)
}
