// Package prompt is an agent backend in front of another one: it adds what an
// agent's folder says to the system prompt of each turn.
//
// It reads no file itself and adds nothing where there is nothing to say. What is
// added stands behind what the gateway tells the model, and decides about words
// alone: nothing of the gateway's rules is taken from it.
package prompt

import (
	"context"
	"errors"

	"github.com/coderclaw/gateway/pkg/agent"
)

// Config says what to add. Both fields are required.
type Config struct {
	Backend agent.Backend
	// Text returns what to add to a turn's system prompt, or nothing. It is called
	// once for each turn, while that waits.
	Text func(turn agent.Turn) string
}

// Backend is an agent.Backend. It is stateless and as safe for concurrent use as
// the backend behind it.
type Backend struct {
	agent.Backend
	text func(turn agent.Turn) string
}

// New returns a backend in front of cfg.Backend.
func New(cfg Config) (*Backend, error) {
	if cfg.Backend == nil || cfg.Text == nil {
		return nil, errors.New("prompt needs a backend and a text")
	}
	return &Backend{Backend: cfg.Backend, text: cfg.Text}, nil
}

// Run adds the text and has the backend run the turn.
func (b *Backend) Run(ctx context.Context, turn agent.Turn, emit func(agent.Event)) (agent.Result, error) {
	if text := b.text(turn); text != "" {
		if turn.System != "" {
			turn.System += "\n\n"
		}
		turn.System += text
	}
	return b.Backend.Run(ctx, turn, emit)
}
