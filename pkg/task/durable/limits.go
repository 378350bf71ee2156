package durable

import "time"

// The limits that a zero field of Limits stands for.
const (
	runningMaxDefault   = 256
	openMaxDefault      = 20_000
	leaseTTLDefault     = 30 * time.Second
	backoffDefault      = time.Second
	backoffMax          = 5 * time.Minute
	retentionDefault    = 7 * 24 * time.Hour
	keyRetentionDefault = 24 * time.Hour
	countMaxDefault     = 20_000
	bytesMaxDefault     = 128 << 20
	lagMaxDefault       = 10_000
)

// Limits is how much the engine does at a time and how long it keeps what has ended.
// A field that is not positive stands for its default.
type Limits struct {
	// RunningMax limits the tasks that are leased at a time, AgentMax those of one
	// agent (0 is no limit of its own), OpenMax those that have not ended.
	RunningMax, AgentMax, OpenMax int
	// LeaseTTL is how long a lease holds without a heartbeat.
	LeaseTTL time.Duration
	// Backoff is the delay before the first retry; it doubles up to five minutes.
	Backoff time.Duration
	// Retention is how long a tree of ended tasks is kept; CountMax and BytesMax
	// limit what is kept of ended tasks, the oldest going first.
	Retention          time.Duration
	CountMax, BytesMax int
	// KeyRetention is how long an ended task answers its idempotency key.
	KeyRetention time.Duration
	// LagMax is how many events a live watcher may be behind before it is cut off.
	LagMax int
}

func (l Limits) withDefaults() Limits {
	return Limits{
		RunningMax: orDefault(l.RunningMax, runningMaxDefault), AgentMax: max(l.AgentMax, 0), OpenMax: orDefault(l.OpenMax, openMaxDefault),
		LeaseTTL: orDefault(l.LeaseTTL, leaseTTLDefault), Backoff: orDefault(l.Backoff, backoffDefault),
		Retention: orDefault(l.Retention, retentionDefault), KeyRetention: orDefault(l.KeyRetention, keyRetentionDefault),
		CountMax: orDefault(l.CountMax, countMaxDefault), BytesMax: orDefault(l.BytesMax, bytesMaxDefault),
		LagMax: orDefault(l.LagMax, lagMaxDefault),
	}
}

// orDefault returns v, or def when v is not positive.
func orDefault[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// Limits returns the limits in force, with their defaults.
func (e *Engine) Limits() Limits { return *e.limits.Load() }

// SetLimits puts other limits in force. Leases that are out keep the time they were
// given, and tasks beyond a lower limit run on; a higher one lets those go ahead that
// wait for it.
func (e *Engine) SetLimits(l Limits) {
	l = l.withDefaults()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.limits.Store(&l)
	e.wakeStarvedLocked()
}

// wakeStarvedLocked lets those look again whom a limit kept waiting.
func (e *Engine) wakeStarvedLocked() {
	if !e.starved {
		return
	}
	e.starved = false
	for id := range e.gates {
		e.wakeLocked(id)
	}
	close(e.gate)
	e.gate = make(chan struct{})
}
