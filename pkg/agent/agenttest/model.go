package agenttest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Defaults of ModelOptions. The pace is that of the recorded conversations.
const (
	DefaultModelID  = "mock-1"
	DefaultTokens   = 8
	DefaultInterval = 60 * time.Millisecond

	slowTokens   = 60
	slowInterval = 100 * time.Millisecond

	requestBytesMax = 32 << 20
)

// ModelOptions say how a Model answers. The zero value answers every message
// with "word0 word1 ... word7", one word each 60 ms.
//
// Whatever the options, a last user message that contains FAIL401 is refused
// with HTTP 401 and "mock invalid api key", one that contains SLOW is answered
// with 60 words at 100 ms, and DROP and HANG act as DropAfter and HangAfter with
// two tokens. The recorded conversations use the first two.
type ModelOptions struct {
	// ID is the only model that the server lists; empty means DefaultModelID.
	ID string
	// Tokens is the number of words in an answer; 0 means DefaultTokens.
	Tokens int
	// Interval is the pause before each word but the first, and before the end;
	// 0 means DefaultInterval, less than 0 no pause.
	Interval time.Duration
	// Reply returns the pieces to stream for the user's message; nil means words.
	Reply func(user string) []string
	// APIKey is the bearer token to insist on; empty lets everybody in.
	APIKey string
	// DropAfter cuts the connection after that many words; 0 means never.
	DropAfter int
	// HangAfter falls silent after that many words until the client leaves; 0
	// means never, less than 0 before the first byte of the answer.
	HangAfter int
	// Tool is the name of a tool to ask for instead of answering; empty means none.
	Tool string
	// RefuseFields names members of the request that are answered with HTTP 400,
	// as servers do that know only part of the API ("stream_options").
	RefuseFields []string
	// RefuseModels names models that are answered with HTTP 503, as servers do that
	// are out of capacity for one.
	RefuseModels []string
	// Comments sends an SSE comment and an empty event before each chunk, as
	// some proxies do to keep a connection open.
	Comments bool
}

// Model is an OpenAI-compatible model server: GET /v1/models and POST
// /v1/chat/completions, streaming or whole. It is an http.Handler; StartModel and
// PipeModel give it a listener. All methods are safe for concurrent use.
type Model struct {
	// URL is the base URL, with /v1. StartModel and PipeModel set it.
	URL string
	// Dial connects to a model made by PipeModel, whatever address is asked for;
	// nil for one that listens on a real port.
	Dial DialFunc

	opts    ModelOptions
	mux     *http.ServeMux
	running sync.WaitGroup

	mu        sync.Mutex // guards the fields below
	requests  []ModelRequest
	active    int
	abandoned int
	idle      chan struct{} // closed while no answer is in progress
}

// ModelRequest is one chat completion request as the server saw it.
type ModelRequest struct {
	// Authorization is the header as sent.
	Authorization string
	Model         string
	Stream        bool
	// User is the text of the last user message.
	User string
	// Body is the request as sent.
	Body []byte
}

// NewModel returns a server that answers by opts. It starts nothing.
func NewModel(opts ModelOptions) *Model {
	if opts.ID == "" {
		opts.ID = DefaultModelID
	}
	if opts.Tokens == 0 {
		opts.Tokens = DefaultTokens
	}
	if opts.Interval == 0 {
		opts.Interval = DefaultInterval
	}
	m := &Model{opts: opts, mux: http.NewServeMux(), idle: make(chan struct{})}
	close(m.idle)
	m.mux.HandleFunc("GET /v1/models", m.models)
	m.mux.HandleFunc("POST /v1/chat/completions", m.chat)
	m.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, "unknown path "+r.URL.Path)
	})
	return m
}

// ServeHTTP answers one request.
func (m *Model) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.running.Add(1)
	defer m.running.Done()
	if m.opts.APIKey != "" && r.Header.Get("Authorization") != "Bearer "+m.opts.APIKey {
		refuse(w, http.StatusUnauthorized, "mock invalid api key")
		return
	}
	m.mux.ServeHTTP(w, r)
}

// Requests returns the chat completion requests so far, oldest first.
func (m *Model) Requests() []ModelRequest {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.requests)
}

// Active returns the number of answers in progress.
func (m *Model) Active() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.active
}

// Abandoned returns the number of answers whose client left before the end.
func (m *Model) Abandoned() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.abandoned
}

// Idle returns a channel that is closed as soon as no answer is in progress: a
// test waits on it to see that an abort reached the server.
func (m *Model) Idle() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.idle
}

func (m *Model) models(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]any{
		"object": "list",
		"data":   []any{map[string]any{"id": m.opts.ID, "object": "model", "created": 0, "owned_by": "agenttest"}},
	})
}

// chatRequest is what the server reads of a chat completion request.
type chatRequest struct {
	Model         string `json:"model"`
	Stream        bool   `json:"stream"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	Messages []struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	} `json:"messages"`
}

func (m *Model) chat(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, requestBytesMax))
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge, "request body: "+err.Error())
		return
	}
	var req chatRequest
	if err := json.Unmarshal(body, &req); err != nil {
		refuse(w, http.StatusBadRequest, "request body: "+err.Error())
		return
	}
	user := req.lastUser()
	m.begin(ModelRequest{Authorization: r.Header.Get("Authorization"), Model: req.Model, Stream: req.Stream, User: user, Body: body})
	defer m.end(r)

	if slices.Contains(m.opts.RefuseModels, req.Model) {
		refuse(w, http.StatusServiceUnavailable, "no capacity for "+req.Model)
		return
	}
	var members map[string]json.RawMessage
	_ = json.Unmarshal(body, &members) // it parsed above
	for _, field := range m.opts.RefuseFields {
		if _, sent := members[field]; sent {
			refuse(w, http.StatusBadRequest, "Unrecognized request argument supplied: "+field)
			return
		}
	}
	if strings.Contains(user, "FAIL401") {
		refuse(w, http.StatusUnauthorized, "mock invalid api key")
		return
	}
	a := m.answer(user)
	if req.Stream {
		a.stream(w, r, req.StreamOptions.IncludeUsage)
		return
	}
	a.whole(w)
}

func (m *Model) begin(req ModelRequest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests = append(m.requests, req)
	if m.active == 0 {
		m.idle = make(chan struct{})
	}
	m.active++
}

func (m *Model) end(r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.Context().Err() != nil {
		m.abandoned++
	}
	m.active--
	if m.active == 0 {
		close(m.idle)
	}
}

// lastUser returns the text of the last user message, which is a string or a
// list of parts.
func (req *chatRequest) lastUser() string {
	for _, msg := range slices.Backward(req.Messages) {
		if msg.Role != "user" {
			continue
		}
		var text string
		if json.Unmarshal(msg.Content, &text) == nil {
			return text
		}
		var parts []struct {
			Text string `json:"text"`
		}
		_ = json.Unmarshal(msg.Content, &parts) // any other shape has no text
		for _, p := range parts {
			text += p.Text
		}
		return text
	}
	return ""
}

// answer returns the plan of one answer to the user's message.
func (m *Model) answer(user string) *answer {
	a := &answer{id: m.opts.ID, interval: m.opts.Interval, drop: m.opts.DropAfter, hang: m.opts.HangAfter, tool: m.opts.Tool, comments: m.opts.Comments}
	switch {
	case strings.Contains(user, "SLOW"):
		a.pieces, a.interval = Words(slowTokens), slowInterval
	case m.opts.Reply != nil:
		a.pieces = m.opts.Reply(user)
	default:
		a.pieces = Words(m.opts.Tokens)
	}
	if strings.Contains(user, "DROP") {
		a.drop = 2
	}
	if strings.Contains(user, "HANG") {
		a.hang = 2
	}
	return a
}

// Words returns "word0", " word1", " word2" and so on: n pieces of an answer.
func Words(n int) []string {
	words := make([]string, n)
	for i := range words {
		words[i] = fmt.Sprintf(" word%d", i)
	}
	if n > 0 {
		words[0] = words[0][1:]
	}
	return words
}

func refuse(w http.ResponseWriter, status int, message string) {
	reply(w, status, map[string]any{"error": map[string]any{"message": message, "type": "invalid_request_error"}})
}

func reply(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // the client may have left
}
