// Package agent is the port that a model backend implements: one turn of a
// conversation in, a stream of text and tool events out, a result at the end.
//
// A backend lives in a folder of its own below this one and knows its own
// service, nothing of sessions, connections or the protocol. Package agenttest
// holds the contract that every backend must pass.
package agent

import (
	"context"
	"errors"
)

// ErrNotConfigured says that a backend lacks a setting it cannot do without.
// Wrap it with the name of the setting and the cure.
var ErrNotConfigured = errors.New("agent backend is not configured")

// ErrContextOverflow says that a conversation does not fit the model's window. A
// backend wraps its service's refusal with it, where it knows it for one.
var ErrContextOverflow = errors.New("the conversation is too long for the model")

// ErrPassing says that the service could not be had for now: it is busy, restarts, or is
// out of reach. The same turn may succeed later. A backend wraps its error with it, where
// it knows it for one.
var ErrPassing = errors.New("the model service cannot be had for now")

// Backend runs turns. All methods are safe for concurrent use.
type Backend interface {
	// Name is the provider's name as clients see it, such as "builtin" or "openai".
	Name() string
	// Models lists what the backend can run, its default first. It may ask the
	// network and must honour ctx.
	Models(ctx context.Context) ([]Model, error)
	// Run performs one turn. It calls emit from the calling goroutine, in order,
	// and returns soon after ctx ends with ctx's error. A result that comes with
	// an error holds what had been produced by then. A backend that finds its
	// service at fault returns an error whose text a user can act on.
	Run(ctx context.Context, turn Turn, emit func(Event)) (Result, error)
}

// Chooser is a Backend with several providers, each with models of its own. A model is
// called "provider/model" there; a name without provider is the default provider's.
type Chooser interface {
	Backend
	// Choose tells which model a turn of an agent asks first, without asking the
	// network. The empty model means the agent's own. The error says, for people, that
	// there is no such provider.
	Choose(agentID, model string) (Choice, error)
}

// Changeable is a Backend whose configuration may change while it is in use.
type Changeable interface {
	Backend
	// Current returns the backend as it is configured now. Whoever holds it goes on
	// with that, whatever is configured later.
	Current() Backend
}

// Choice is a model that was chosen.
type Choice struct {
	// Provider and Model name it; an empty Model is the first that the provider's
	// service lists.
	Provider, Model string
	// ContextWindow is in tokens; 0 means unknown.
	ContextWindow int64
}

// Ref is the model's name with its provider.
func (c Choice) Ref() string { return c.Provider + "/" + c.Model }

// Model is one entry of a backend's catalogue.
type Model struct {
	ID       string
	Name     string
	Provider string
	// ContextWindow is in tokens; 0 means unknown.
	ContextWindow int64
	Reasoning     bool
	// Input is what it takes, text and image; empty means that nobody said.
	Input []string
}

// Turn is what a backend needs to produce one reply.
type Turn struct {
	RunID      string
	SessionKey string
	SessionID  string
	AgentID    string
	// Model is the id to use; empty means the backend's default. A Chooser takes it with
	// its provider.
	Model string
	// MaxTokens bounds the reply in tokens; 0 leaves it to the service.
	MaxTokens int64
	// Thinking is off, minimal, low, medium or high; empty means off.
	Thinking string
	// System is the system prompt; it may be empty.
	System string
	// Messages is the conversation so far; the last one is the user's new message.
	Messages []Message
}

// Message is one message of the conversation, as text and images.
type Message struct {
	// Role is "user", "assistant" or "system".
	Role   string
	Text   string
	Images []Image
}

// Image is an image attachment.
type Image struct {
	MimeType string
	Data     []byte
}

// Event is one step of a running turn. Exactly one field is set.
type Event struct {
	// Text is new assistant text to append to what came before.
	Text string
	// Tool is the start or the end of a tool call.
	Tool *ToolEvent
	// Compaction is the start or the end of a summary of the older conversation.
	Compaction *CompactionEvent
}

// CompactionEvent reports that the conversation is made shorter for the model.
type CompactionEvent struct {
	// Phase is "start" or "end".
	Phase string
	// WillRetry says, at the end, that the turn is tried again with what was gained.
	WillRetry bool
}

// ToolEvent reports a tool call as it happens.
type ToolEvent struct {
	// Phase is "start" or "result".
	Phase      string
	ToolCallID string
	Name       string
	// Args and Result are JSON, or nil.
	Args, Result []byte
	IsError      bool
}

// Result is the end of a turn.
type Result struct {
	// Text is the whole reply.
	Text string
	// StopReason is "stop", "length", "toolUse" or what the service said.
	StopReason string
	// API names the kind of interface that answered, such as "openai-completions"; empty
	// means the provider's own.
	API      string
	Provider string
	Model    string
	Usage    Usage
}

// Usage counts tokens. Zero means that the service did not say.
type Usage struct {
	Input, Output, CacheRead, CacheWrite, Total int64
}
