package turn

import (
	"context"
	"slices"
)

// leave ends the run's part in the registry. The engine answers its key from now on,
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
}

// behind waits for the turn before this one to be gone. Its task has ended, or this
// one would not be leased; its backend may not have returned from an abort yet.
func (run *Run) behind() bool {
	r := run.runs
	r.mu.Lock()
	run.claimed = true
	var before []*Run
	for _, other := range r.active[run.req.SessionKey] {
		if other != run && other.claimed && !other.isCommand && run.parent != other.taskID {
			before = append(before, other)
		}
	}
	r.mu.Unlock()
	for _, other := range before {
		if !run.await(other.done) {
			return false
		}
	}
	return true
}

// pending returns the ids of the runs that stand behind this one: their messages
// are in the transcript already and not yet part of the conversation.
func (run *Run) pending() map[string]bool {
	r := run.runs
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := map[string]bool{}
	for _, other := range r.active[run.req.SessionKey] {
		if other != run && !other.isCommand && !other.claimed {
			ids[other.ID()] = true
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
