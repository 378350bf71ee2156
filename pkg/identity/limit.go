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
	mu      sync.Mutex // guards the fields below
	limits  Limits
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
	return &limiter{limits: l.withDefaults(), sources: map[source]*list.Element{}, recent: list.New(), global: map[source]*tally{}}
}

func (l Limits) withDefaults() Limits {
	if l.AttemptsMax <= 0 {
		l.AttemptsMax = DefaultAttemptsMax
	}
	if l.Window <= 0 {
		l.Window = DefaultWindow
	}
	if l.Lockout <= 0 {
		l.Lockout = DefaultLockout
	}
	return l
}

// verdict is the answer of the limiter to a guess.
type verdict struct {
	// right says that the secret is right and may be told so.
	right bool
	// locked says that the source is locked out: tell a failure as a lockout.
	locked bool
	// weighed says whether the guess counts at all. One that does not is refused,
	// right or wrong, in the same words.
	weighed bool
	// retryAfter is when the next guess will be weighed; 0 when this one was.
	retryAfter time.Duration
}

// judge decides about a guess whose secret was compared already, and counts it, in
// one step: of guesses that arrive together no more are answered than of guesses
// that arrive one after the other. Nothing may depend on whether the secret is right
// but what judge returns.
func (l *limiter) judge(s source, right bool) verdict {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	v := verdict{weighed: true}
	var locked []*tally
	for _, t := range l.talliesLocked(s) {
		if !t.lockedLocked(now, l.limits) {
			continue
		}
		v.locked, locked = true, append(locked, t)
		v.retryAfter = max(v.retryAfter, t.waitLocked(now, l.limits))
	}
	if v.weighed = v.retryAfter == 0; !v.weighed {
		return v
	}
	for _, t := range locked {
		t.spent++
	}
	if v.right = right; right {
		l.forgetLocked(s)
	} else {
		l.failLocked(s, now)
	}
	return v
}

// failLocked counts a wrong secret.
func (l *limiter) failLocked(s source, now time.Time) {
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

// forgetLocked drops the failures of a source, of this kind of secret only.
func (l *limiter) forgetLocked(s source) {
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

// waitLocked returns how long until the reserve has a guess left; 0 when it has one.
func (t *tally) waitLocked(now time.Time, l Limits) time.Duration {
	every := l.Lockout / reserveShare
	t.spent = max(0, t.spent-float64(now.Sub(t.spentAt))/float64(every))
	t.spentAt = now
	if t.spent > reserveMax-1 {
		return max(time.Duration((t.spent-(reserveMax-1))*float64(every)), time.Millisecond)
	}
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
