package identity

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Entry is the part of a Config that can be replaced while connections come and go.
type Entry struct {
	// TrustedProxies, AllowedHosts and AllowedOrigins are as in Config.
	TrustedProxies               []netip.Prefix
	AllowedHosts, AllowedOrigins []string
	Limits                       Limits
}

func (g *Guard) door() *door { return g.gate.Load() }

// SetEntry, which is called by one goroutine at a time, replaces who may enter by which name, from which page and through which
// proxy, and how many secrets may be guessed. A connect is judged by the old rules or by
// the new ones, never by some of each; what is counted against anybody stays counted.
//
// It reports whether connections that were let in by the old rules might not be let in
// by the new ones: a host or an origin is gone, or the proxies are others, which say
// where a peer comes from. The caller then ends them; Holds refuses those on their way in.
func (g *Guard) SetEntry(e Entry) (stricter bool) {
	old := g.door()
	next := *old
	next.hosts, next.origins, next.proxies = maps.Clone(old.own), map[string]bool{}, slices.Clone(e.TrustedProxies)
	for _, name := range e.AllowedHosts {
		next.hosts[strings.ToLower(name)] = true
	}
	for _, origin := range e.AllowedOrigins {
		next.origins[strings.ToLower(origin)] = true
	}
	g.limiter.setLimits(e.Limits.withDefaults())
	lost := func(was, is map[string]bool) bool {
		for name := range was {
			if !is[name] {
				return true
			}
		}
		return false
	}
	proxies := !slices.Equal(old.proxies, next.proxies)
	if !proxies && maps.Equal(old.hosts, next.hosts) && maps.Equal(old.origins, next.origins) {
		return false
	}
	if stricter = proxies || lost(old.hosts, next.hosts) || lost(old.origins, next.origins); stricter {
		next.rules++
	}
	g.gate.Store(&next)
	return stricter
}

func (l *limiter) setLimits(limits Limits) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limits = limits
	for e := l.recent.Front(); e != nil; e = e.Next() {
		e.Value.(*tally).max = limits.AttemptsMax
	}
	for _, t := range l.global {
		t.max = globalFactor * limits.AttemptsMax
	}
}

func (l *limiter) lockout() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limits.Lockout
}
