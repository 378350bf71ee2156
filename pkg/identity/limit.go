package identity

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// The defaults of Limits, and what is not a setting.
const (
	DefaultAttemptsMax = 10
	DefaultWindow      = time.Minute
	DefaultLockout     = 5 * time.Minute

	// reserveMax is how many secrets are still weighed at once during a lockout, and
	// reserveShare how many more over its whole length: a guesser gains that many
	// guesses by it, and the owner is let in.
	reserveMax   = 5
	reserveShare = 30
	// globalFactor is how much more all addresses together may fail than one.
	globalFactor = 10
	// sourcesMax bounds the memory; beyond it the source that failed longest ago is
	// forgotten. The global count is not.
	sourcesMax = 4096
	v6Bits     = 64
)

// Limits bound the guessing of secrets.
type Limits struct {
	// AttemptsMax failures of one source within Window begin a lockout.
	AttemptsMax int
	Window      time.Duration
	// Lockout is how long only the reserve of a source is weighed.
	Lockout time.Duration
}

// credential is a kind of secret. Each is counted by itself: a success with one
// does not forgive failures with another.
type credential uint8

const (
	sharedCredential credential = iota + 1
	tokenCredential
)

// source is where guesses come from.
type source struct {
	kind credential
	// from is an address in canonical form, "local", or a paired device's id.
	from string
	// signed guesses came with the valid signature of a device that is not paired.
	// They are counted apart, so that the many who guess without a key do not use up
	// the reserve of those who have one.
	signed bool
}

// limiter counts failures. A paired device that signed is a source of its own
// wherever it is, so that nobody else's guesses lock it out, and its own do.
type limiter struct {
	limits Limits

	mu      sync.Mutex // guards the fields below
	sources map[source]*list.Element
	recent  *list.List // of *tally, the one that failed last in front
	global  map[source]*tally
}

// tally is what is known of a source.
type tally struct {
	source source
	// failures are the times of the failures in the window, oldest first; at most as
	// many as begin a lockout.
	failures []time.Time
	max      int
	// lockedAt begins the lockout; zero when there is none.
	lockedAt time.Time
	// spent are the guesses that were weighed during the lockout.
	spent float64
	// spentAt is when spent was brought up to date.
	spentAt time.Time
}

func newLimiter(l Limits) *limiter {
	if l.AttemptsMax <= 0 {
		l.AttemptsMax = DefaultAttemptsMax
	}
	if l.Window <= 0 {
		l.Window = DefaultWindow
	}
	if l.Lockout <= 0 {
		l.Lockout = DefaultLockout
	}
	return &limiter{limits: l, sources: map[source]*list.Element{}, recent: list.New(), global: map[source]*tally{}}
}

// admission is the answer of the limiter to an attempt.
type admission struct {
	// locked says that a failure is to be told as a lockout.
	locked bool
	// weigh says whether the secret is looked at at all.
	weigh bool
	// retryAfter is when the next attempt will be weighed; 0 when this one is.
	retryAfter time.Duration
}

// admit decides about an attempt before the secret is looked at.
func (l *limiter) admit(s source) admission {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	a := admission{weigh: true}
	for _, t := range l.talliesLocked(s) {
		if !t.lockedLocked(now, l.limits) {
			continue
		}
		a.locked = true
		if wait := t.spendLocked(now, l.limits); wait > 0 {
			a.weigh, a.retryAfter = false, max(a.retryAfter, wait)
		}
	}
	return a
}

// fail counts a wrong secret.
func (l *limiter) fail(s source) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.sources[s]
	if !ok {
		if l.recent.Len() >= sourcesMax {
			oldest := l.recent.Back()
			delete(l.sources, oldest.Value.(*tally).source)
			l.recent.Remove(oldest)
		}
		e = l.recent.PushFront(&tally{source: s, max: l.limits.AttemptsMax})
		l.sources[s] = e
	}
	l.recent.MoveToFront(e)
	e.Value.(*tally).addLocked(now, l.limits)
	if key, ok := globalOf(s); ok {
		t := l.global[key]
		if t == nil {
			t = &tally{source: key, max: globalFactor * l.limits.AttemptsMax}
			l.global[key] = t
		}
		t.addLocked(now, l.limits)
	}
}

// succeed forgets the failures of a source, of this kind of secret only.
func (l *limiter) succeed(s source) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.sources[s]; ok {
		l.recent.Remove(e)
		delete(l.sources, s)
	}
}

// talliesLocked returns what counts against a source: its own and the global one.
func (l *limiter) talliesLocked(s source) []*tally {
	var out []*tally
	if e, ok := l.sources[s]; ok {
		out = append(out, e.Value.(*tally))
	}
	if key, ok := globalOf(s); ok && l.global[key] != nil {
		out = append(out, l.global[key])
	}
	return out
}

const (
	fromEverywhere = "*"
	fromLocal      = "local"
	// fromDevice and fromProxy begin a source that is no plain address.
	fromDevice = "device "
	fromProxy  = "behind "
)

// globalOf returns the source that all addresses share. This host is none of them,
// so that strangers cannot lock the owner's own machine out; nor is a paired device.
func globalOf(s source) (source, bool) {
	if s.from == fromLocal || len(s.from) >= len(fromDevice) && s.from[:len(fromDevice)] == fromDevice {
		return source{}, false
	}
	s.from = fromEverywhere
	return s, true
}

func (t *tally) addLocked(now time.Time, l Limits) {
	if t.lockedLocked(now, l) {
		return
	}
	kept := t.failures[:0]
	for _, at := range t.failures {
		if now.Sub(at) < l.Window {
			kept = append(kept, at)
		}
	}
	t.failures = append(kept, now)
	if len(t.failures) >= t.max {
		t.lockedAt, t.failures = now, nil
		t.spent, t.spentAt = 0, now
	}
}

func (t *tally) lockedLocked(now time.Time, l Limits) bool {
	return !t.lockedAt.IsZero() && now.Sub(t.lockedAt) < l.Lockout
}

// spendLocked takes one guess from the reserve, or returns how long until there is
// one.
func (t *tally) spendLocked(now time.Time, l Limits) time.Duration {
	every := l.Lockout / reserveShare
	t.spent = max(0, t.spent-float64(now.Sub(t.spentAt))/float64(every))
	t.spentAt = now
	if t.spent > reserveMax-1 {
		return max(time.Duration((t.spent-(reserveMax-1))*float64(every)), time.Millisecond)
	}
	t.spent++
	return 0
}

// addressSource is the name of an address as a source: IPv4 in its own form however
// it came, IPv6 by the network that one customer has, and every loopback address
// the same.
func addressSource(addr netip.Addr) string {
	addr = addr.Unmap().WithZone("")
	switch {
	case addr.IsLoopback():
		return fromLocal
	case addr.Is6():
		if prefix, err := addr.Prefix(v6Bits); err == nil {
			return prefix.String()
		}
	}
	return addr.String()
}
