// Package openai is the agent backend for every service that speaks OpenAI's
// chat completions over HTTP with streaming: OpenAI itself, Ollama, llama.cpp,
// vLLM, LM Studio, OpenRouter and many more.
//
// It refuses to guess: a base URL that cannot be right is an error when the
// backend is made, a redirect is an error (the key must not travel elsewhere),
// and an answer that breaks off is an error that carries the text so far. It
// offers the model no tools, so a model that asks for one gets an error that
// says so. A service on the loopback interface is never reached through a proxy.
//
// The key appears in the Authorization header and nowhere else: neither in a
// log nor in an error, even when the service echoes it.
package openai

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	client "github.com/sashabaranov/go-openai"

	"github.com/coderclaw/gateway/pkg/agent"
)

const (
	// DefaultProvider is the provider's name where Config names none. It is the one that
	// the environment speaks of.
	DefaultProvider = "openai"
	// apiName is what transcripts call this API.
	apiName = "openai-completions"
)

// Limits that hold where Config is silent.
const (
	// DefaultDialTimeout bounds one connection attempt, and its TLS handshake.
	DefaultDialTimeout = 10 * time.Second
	// DefaultFirstByteTimeout bounds the silence before the first byte of an
	// answer. It is long because a local model may have to be loaded first.
	DefaultFirstByteTimeout = 10 * time.Minute
	// DefaultIdleTimeout bounds the silence between two pieces of an answer.
	DefaultIdleTimeout = 2 * time.Minute
	// DefaultResponseBytesMax bounds one answer as it comes over the wire.
	DefaultResponseBytesMax = 16 << 20

	// modelsTimeout bounds one look at the service's catalogue.
	modelsTimeout = 10 * time.Second
	// modelsFresh is how long a catalogue is taken for current.
	modelsFresh = time.Minute
	// errorBytesMax bounds what is read of an error's body.
	errorBytesMax = 64 << 10
)

// Config says which service to ask and how.
type Config struct {
	// Provider is the name of the provider in the configuration; empty means
	// DefaultProvider. Errors name its settings.
	Provider string
	// BaseURL is the address of the API, with or without /v1 and a final slash.
	// Empty means https://api.openai.com/v1 if there is an APIKey.
	BaseURL string
	// APIKey is sent as a bearer token. Local services need none.
	APIKey string
	// Model is the id to use for turns that name none; empty means the first of
	// the service's catalogue.
	Model string
	// ContextTokens is the context window of Model, for clients to read; 0 means
	// unknown.
	ContextTokens int64
	// Log may be nil, which logs nothing.
	Log *slog.Logger

	// The limits: zero means the default of the same name.
	DialTimeout, FirstByteTimeout, IdleTimeout time.Duration
	ResponseBytesMax                           int64

	// Dial makes connections; nil means a net.Dialer with DialTimeout.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Backend is an agent.Backend. It keeps idle connections: Close releases them.
type Backend struct {
	cfg       Config
	baseURL   string
	log       *slog.Logger
	transport *http.Transport
	api       *client.Client
	catalogue catalogue

	// noStreamOptions remembers that this service refuses stream_options.
	noStreamOptions atomic.Bool
}

// New returns a backend for the service of cfg. It connects to nothing. An error
// that is agent.ErrNotConfigured or that speaks of the base URL names the
// setting to change.
func New(cfg Config) (*Backend, error) {
	if cfg.Provider == "" {
		cfg.Provider = DefaultProvider
	}
	base, err := normalizeBaseURL(cfg.BaseURL, cfg.APIKey != "", cfg.urlKey())
	if err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.DialTimeout = orDefault(cfg.DialTimeout, DefaultDialTimeout)
	cfg.FirstByteTimeout = orDefault(cfg.FirstByteTimeout, DefaultFirstByteTimeout)
	cfg.IdleTimeout = orDefault(cfg.IdleTimeout, DefaultIdleTimeout)
	cfg.ResponseBytesMax = orDefault(cfg.ResponseBytesMax, int64(DefaultResponseBytesMax))
	if cfg.APIKey != "" && base.Scheme == "http" && !isLoopback(base.Hostname()) {
		cfg.Log.Warn("the model service's key travels unencrypted", "provider", cfg.Provider, "baseUrl", base.String())
	}
	b := &Backend{cfg: cfg, baseURL: base.String(), log: cfg.Log}
	b.transport = newTransport(cfg, base)
	apiConfig := client.DefaultConfig(cfg.APIKey)
	apiConfig.BaseURL = b.baseURL
	apiConfig.EmptyMessagesLimit = 1 << 20 // bytes and silence are bounded by doer
	apiConfig.HTTPClient = &doer{
		client:    &http.Client{Transport: b.transport, CheckRedirect: refuseRedirect(cfg.urlKey())},
		firstByte: cfg.FirstByteTimeout,
		idle:      cfg.IdleTimeout,
		bytesMax:  cfg.ResponseBytesMax,
	}
	b.api = client.NewClientWithConfig(apiConfig)
	b.catalogue.turn = make(chan struct{}, 1)
	return b, nil
}

// urlKey is the setting of the base URL, as errors name it.
func (c *Config) urlKey() string {
	if c.Provider == DefaultProvider {
		return "OPENAI_BASE_URL"
	}
	return "models.providers." + c.Provider + ".baseUrl"
}

// modelKey is the setting of the model, as errors name it.
func (c *Config) modelKey() string {
	if c.Provider == DefaultProvider {
		return "OPENAI_MODEL"
	}
	return "agents.defaults.model"
}

// Name returns the provider's name.
func (b *Backend) Name() string { return b.cfg.Provider }

// Close releases idle connections. Runs in progress are not disturbed.
func (b *Backend) Close() error {
	b.transport.CloseIdleConnections()
	return nil
}

// Run asks the service for one reply and emits it as it arrives.
func (b *Backend) Run(ctx context.Context, turn agent.Turn, emit func(agent.Event)) (agent.Result, error) {
	result := agent.Result{API: apiName, Provider: b.cfg.Provider}
	if err := ctx.Err(); err != nil {
		return result, err
	}
	model, err := b.model(ctx, turn.Model)
	if err != nil {
		return result, err
	}
	result.Model = model
	messages := buildMessages(turn)
	if len(messages) == 0 {
		return result, fmt.Errorf("the turn holds no message to send to the model")
	}
	req := client.ChatCompletionRequest{Model: model, Messages: messages}
	boundTokens(&req, turn.MaxTokens)
	stream, err := b.open(ctx, req, turn.Thinking)
	if err != nil {
		return result, b.explain(ctx, err)
	}
	defer func() { _ = stream.Close() }() // an abandoned body has nothing to tell
	err = b.receive(ctx, stream, &result, emit)
	return result, err
}

// open starts the streamed answer. A service that refuses an optional member of
// the request is asked again without it.
func (b *Backend) open(ctx context.Context, req client.ChatCompletionRequest, thinking string) (*client.ChatCompletionStream, error) {
	if !b.noStreamOptions.Load() {
		req.StreamOptions = &client.StreamOptions{IncludeUsage: true}
	}
	if thinking != "" && thinking != "off" {
		req.ReasoningEffort = thinking
	}
	for {
		stream, err := b.api.CreateChatCompletionStream(ctx, req)
		switch {
		case err == nil:
			return stream, nil
		case req.StreamOptions != nil && refusesMember(err, "stream_options", "include_usage"):
			b.noStreamOptions.Store(true)
			req.StreamOptions = nil
		case req.ReasoningEffort != "" && (errors.Is(err, client.ErrReasoningEffortUnsupported) || refusesMember(err, "reasoning_effort", "reasoning effort")):
			req.ReasoningEffort = "" // not remembered: another model may take it
		case renamesBound(&req, err):
		default:
			return nil, err
		}
		b.log.Debug("model service refused a member of the request, asking again without it", "error", b.explain(ctx, err))
	}
}

func orDefault[T int64 | time.Duration](v, def T) T {
	if v > 0 {
		return v
	}
	return def
}
