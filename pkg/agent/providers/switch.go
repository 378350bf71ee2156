package providers

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/coderclaw/gateway/pkg/agent"
)

// Switch is the backend of a gateway whose configuration changes: an agent.Changeable.
// Use must be called before anything else.
type Switch struct{ now atomic.Pointer[state] }

// state is a Set with what stands in front of it.
type state struct {
	agent.Backend
	set *Set
}

// Choose meets agent.Chooser.
func (s *state) Choose(agentID, model string) (agent.Choice, error) {
	return s.set.Choose(agentID, model)
}

var (
	_ agent.Changeable = (*Switch)(nil)
	_ agent.Chooser    = (*state)(nil)
)

// Use puts a Set in force. front is the backend that runs take: the Set, or what stands
// in front of it.
func (w *Switch) Use(set *Set, front agent.Backend) { w.now.Store(&state{front, set}) }

// Name, Models and Run are those of the backend in force.
func (w *Switch) Name() string { return w.Current().Name() }

// Models lists the models in force.
func (w *Switch) Models(ctx context.Context) ([]agent.Model, error) { return w.Current().Models(ctx) }

// Run has the backend in force run a turn.
func (w *Switch) Run(ctx context.Context, turn agent.Turn, emit func(agent.Event)) (agent.Result, error) {
	return w.Current().Run(ctx, turn, emit)
}

// Current is the backend in force.
func (w *Switch) Current() agent.Backend { return w.now.Load() }

// Set is the Set in force.
func (w *Switch) Set() *Set { return w.now.Load().set }

// Shared is a backend that several Sets have in common. Once retired it is closed
// whenever its last run ends.
type Shared struct {
	agent.Backend
	close func() error

	mu      sync.Mutex // guards the fields below
	runs    int
	retired bool
}

// NewShared returns a backend that close releases the idle connections of; close must
// not disturb runs, and may be called again.
func NewShared(b agent.Backend, close func() error) *Shared { return &Shared{Backend: b, close: close} }

// Run counts the run while it goes on.
func (s *Shared) Run(ctx context.Context, turn agent.Turn, emit func(agent.Event)) (agent.Result, error) {
	s.mu.Lock()
	s.runs++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.runs--
		last := s.retired && s.runs == 0
		s.mu.Unlock()
		if last {
			_ = s.close() // idle connections go by themselves otherwise
		}
	}()
	return s.Backend.Run(ctx, turn, emit)
}

// Retire closes the backend now, and again when the runs that it still has end.
func (s *Shared) Retire() error {
	s.mu.Lock()
	s.retired = true
	s.mu.Unlock()
	return s.close()
}
