// Package builtin is the agent backend that needs no key and no network: what a
// fresh gateway answers with until somebody connects a model.
//
// It is honest about that. It never pretends to be a language model: it
// acknowledges what was said, does a few fixed things (a greeting, ping, echo,
// the time) and explains how to connect a model, with the exact commands. If a
// local Ollama answers, it names its models and the setting that uses them.
//
// Slash commands never get here: whoever runs turns handles them first. The
// look-up of Ollama happens at the first explanation, never at the start, takes
// at most lookupTimeout and is remembered for lookupFresh.
package builtin

import (
	"context"
	"net"
	"strings"
	"unicode"

	"github.com/coderclaw/gateway/pkg/agent"
)

const (
	providerName = "builtin"
	modelID      = "builtin"
)

// Config says what the explanations mention. The zero value is ready to use.
type Config struct {
	// ConfigPath is the configuration file to name; empty means "coderclaw.json"
	// in the state directory, without its path.
	ConfigPath string
	// OllamaURL is where a local Ollama would answer; empty means
	// http://127.0.0.1:11434.
	OllamaURL string
	// Dial makes the connection for the look-up; nil means a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Backend is an agent.Backend with fixed replies.
type Backend struct {
	configPath string
	ollama     *ollama
}

// New returns a backend. It connects to nothing and has nothing to close.
func New(cfg Config) *Backend {
	if cfg.ConfigPath == "" {
		cfg.ConfigPath = "coderclaw.json"
	}
	return &Backend{configPath: cfg.ConfigPath, ollama: newOllama(cfg.OllamaURL, cfg.Dial)}
}

// Name returns "builtin".
func (b *Backend) Name() string { return providerName }

// Models lists the one entry that stands for the fixed replies.
func (b *Backend) Models(context.Context) ([]agent.Model, error) {
	return []agent.Model{{ID: modelID, Name: "Built-in replies (no model connected)", Provider: providerName}}, nil
}

// Run answers the last message, a word at a time.
func (b *Backend) Run(ctx context.Context, turn agent.Turn, emit func(agent.Event)) (agent.Result, error) {
	result := agent.Result{StopReason: "stop", Provider: providerName, Model: modelID}
	if err := ctx.Err(); err != nil {
		return result, err
	}
	var sent strings.Builder
	for _, piece := range pieces(b.reply(ctx, turn)) {
		if ctx.Err() != nil {
			break
		}
		sent.WriteString(piece)
		emit(agent.Event{Text: piece})
	}
	result.Text = sent.String()
	return result, ctx.Err()
}

// pieces cuts text before each run of white space, so that each piece but the
// first begins with the space that parts it from the one before.
func pieces(text string) []string {
	var out []string
	begin, inSpace := 0, true
	for i, r := range text {
		space := unicode.IsSpace(r)
		if space && !inSpace {
			out = append(out, text[begin:i])
			begin = i
		}
		inSpace = space
	}
	if begin < len(text) {
		out = append(out, text[begin:])
	}
	return out
}
