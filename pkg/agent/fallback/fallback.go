// Package fallback is an agent backend in front of another one: it chooses the
// models of a turn and asks the next one when a model fails.
//
// The rule that keeps answers single: a model is asked only while nothing of the
// reply has been emitted and no tool was called. What somebody has seen is never
// begun again by another model; the turn fails with what it said, as without
// fallbacks. A turn whose context ends asks no further model.
//
// It is stateless and as safe for concurrent use as the backend behind it.
package fallback

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/coderclaw/gateway/pkg/agent"
)

// Config says what to ask. Backend is required.
type Config struct {
	Backend agent.Backend
	// Chain returns the model that an agent asks first, empty for the backend's own,
	// and those that follow. nil means the backend's own and none.
	Chain func(agentID string) (model string, fallbacks []string)
	// Log may be nil, which logs nothing.
	Log *slog.Logger
}

// Backend is an agent.Backend.
type Backend struct {
	agent.Backend
	chain func(agentID string) (string, []string)
	log   *slog.Logger
}

// New returns a backend in front of cfg.Backend.
func New(cfg Config) (*Backend, error) {
	if cfg.Backend == nil {
		return nil, errors.New("fallback needs a backend")
	}
	b := &Backend{Backend: cfg.Backend, chain: cfg.Chain, log: cfg.Log}
	if b.chain == nil {
		b.chain = func(string) (string, []string) { return "", nil }
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	return b, nil
}

// Run asks the turn's model, or the agent's when the turn names none, and then the
// fallbacks, until one answers or begins to. When all fail, the error is the first
// model's, with the others' beside it.
func (b *Backend) Run(ctx context.Context, turn agent.Turn, emit func(agent.Event)) (agent.Result, error) {
	first, others := b.chain(turn.AgentID)
	if turn.Model != "" {
		first = turn.Model
	}
	models := []string{first}
	for _, m := range others {
		if !slices.Contains(models, m) {
			models = append(models, m)
		}
	}
	var (
		began  bool
		failed error
		told   []string
	)
	watched := func(e agent.Event) {
		began = true
		emit(e)
	}
	for i, model := range models {
		turn.Model = model
		result, err := b.Backend.Run(ctx, turn, watched)
		if err == nil || began || result.Text != "" || ctx.Err() != nil {
			return result, err
		}
		if failed == nil {
			failed = err
		} else {
			told = append(told, fmt.Sprintf("%s: %s", model, err))
		}
		if i == len(models)-1 {
			if len(told) > 0 {
				failed = fmt.Errorf("%w (and its fallbacks: %s)", failed, strings.Join(told, "; "))
			}
			return result, failed
		}
		b.log.Warn("model failed before it said anything, asking the next", "runId", turn.RunID, "model", model, "next", models[i+1], "err", err)
	}
	return agent.Result{}, failed // not reached: the last model returns
}
