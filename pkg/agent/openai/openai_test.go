package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/agent/agenttest"
)

const testKey = "sk-test-0123456789"

// newBackend returns a backend that closes with the test.
func newBackend(t *testing.T, cfg Config) *Backend {
	t.Helper()
	b, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// overPipe returns a backend that asks a counterpart model in memory.
func overPipe(t *testing.T, opts agenttest.ModelOptions, cfg Config) (*Backend, *agenttest.Model) {
	t.Helper()
	m := agenttest.PipeModel(t, opts)
	cfg.BaseURL, cfg.Dial = m.URL, m.Dial
	return newBackend(t, cfg), m
}

// overHandler returns a backend that asks a handler in memory.
func overHandler(t *testing.T, handler http.HandlerFunc, cfg Config) *Backend {
	t.Helper()
	return newBackend(t, overHandlerConfig(t, handler, cfg))
}

func overHandlerConfig(t *testing.T, handler http.HandlerFunc, cfg Config) Config {
	t.Helper()
	conns := make(chan net.Conn)
	closed := make(chan struct{})
	server := &http.Server{Handler: handler}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(pipes{conns, closed}) }()
	t.Cleanup(func() { close(closed); _ = server.Close(); <-done })
	cfg.Dial = func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		conns <- there
		return here, nil
	}
	if cfg.BaseURL == "" {
		cfg.BaseURL = "http://127.0.0.1:1"
	}
	return cfg
}

type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

func ask(text string) agent.Turn {
	return agent.Turn{RunID: "r1", Messages: []agent.Message{{Role: "user", Text: text}}}
}

// run performs one turn and returns the pieces too.
func run(ctx context.Context, b *Backend, turn agent.Turn) ([]string, agent.Result, error) {
	var pieces []string
	result, err := b.Run(ctx, turn, func(e agent.Event) { pieces = append(pieces, e.Text) })
	return pieces, result, err
}

func TestContract(t *testing.T) {
	agenttest.Contract(t, func(t *testing.T) agent.Backend {
		b, _ := overPipe(t, agenttest.ModelOptions{}, Config{})
		return b
	})
}

func TestRunOverLoopback(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:9") // must not be asked
	t.Setenv("http_proxy", "http://127.0.0.1:9")
	m := agenttest.StartModel(t, agenttest.ModelOptions{Interval: -1, APIKey: testKey})
	b := newBackend(t, Config{BaseURL: strings.TrimSuffix(m.URL, "/v1") + "/", APIKey: testKey})
	pieces, result, err := run(t.Context(), b, ask("hello"))
	require.NoError(t, err)
	require.Equal(t, agenttest.Words(8), pieces)
	require.Equal(t, agent.Result{
		Text: "word0 word1 word2 word3 word4 word5 word6 word7", StopReason: "stop",
		API: "openai-completions", Provider: "openai", Model: "mock-1", Usage: agent.Usage{Input: 10, Output: 8, Total: 18},
	}, result)
}

func TestRunAbortReachesTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, m := overPipe(t, agenttest.ModelOptions{Tokens: 50, Interval: 50 * time.Millisecond}, Config{})
		ctx, cancel := context.WithTimeout(t.Context(), 1025*time.Millisecond)
		defer cancel()
		begin := time.Now()
		pieces, result, err := run(ctx, b, ask("hello"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 1025*time.Millisecond, time.Since(begin))
		require.Len(t, pieces, 21)
		require.Equal(t, strings.Join(agenttest.Words(21), ""), result.Text)
		<-m.Idle()
		require.Equal(t, 1, m.Abandoned())
	})
}

func TestRunSendsTheConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, m := overPipe(t, agenttest.ModelOptions{Interval: -1}, Config{APIKey: testKey, Model: "configured"})
		turn := agent.Turn{System: "Be brief.", Thinking: "low", Messages: []agent.Message{
			{Role: "user", Text: "one"},
			{Role: "assistant", Text: ""},
			{Role: "assistant", Text: "two"},
			{Role: "user", Text: "look", Images: []agent.Image{{MimeType: "image/jpeg", Data: []byte("abc")}}},
		}}
		_, result, err := run(t.Context(), b, turn)
		require.NoError(t, err)
		require.Equal(t, "configured", result.Model)
		requests := m.Requests()
		require.Len(t, requests, 1)
		require.Equal(t, "Bearer "+testKey, requests[0].Authorization)
		require.JSONEq(t, `{"model":"configured","stream":true,"stream_options":{"include_usage":true},"reasoning_effort":"low","messages":[
			{"role":"system","content":"Be brief."},
			{"role":"user","content":"one"},
			{"role":"assistant","content":"two"},
			{"role":"user","content":[{"type":"text","text":"look"},{"type":"image_url","image_url":{"url":"data:image/jpeg;base64,YWJj"}}]}
		]}`, string(requests[0].Body))
	})
}

func TestRunWithoutMembersTheServiceRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, m := overPipe(t, agenttest.ModelOptions{Interval: -1, RefuseFields: []string{"stream_options", "reasoning_effort"}}, Config{})
		turn := ask("hello")
		turn.Thinking = "high"
		for range 2 {
			_, result, err := run(t.Context(), b, turn)
			require.NoError(t, err)
			require.Zero(t, result.Usage)
			require.Equal(t, "stop", result.StopReason)
		}
		// Three tries for the first turn, two for the second, which knows about stream_options.
		require.Len(t, m.Requests(), 5)
	})
}

func TestRunFaultsOfTheService(t *testing.T) {
	cases := []struct {
		name    string
		opts    agenttest.ModelOptions
		cfg     Config
		message string
		want    string
		text    string
		took    time.Duration
	}{
		{name: "wrong key as recorded", message: "FAIL401 x", want: "HTTP 401: mock invalid api key"},
		{name: "cut in mid-answer", message: "DROP", text: "word0 word1", took: 2 * agenttest.DefaultInterval,
			want: "the connection to the model service at http://127.0.0.1:1/v1 broke off in mid-answer"},
		{name: "silence in mid-answer", message: "HANG", text: "word0 word1", took: agenttest.DefaultInterval + DefaultIdleTimeout,
			want: "the model service fell silent: nothing came for 2m0s in mid-answer (http://127.0.0.1:1/v1)"},
		{name: "silence from the start", message: "hi", opts: agenttest.ModelOptions{HangAfter: -1}, cfg: Config{FirstByteTimeout: time.Minute}, took: time.Minute,
			want: "the model service fell silent: no answer within 1m0s (http://127.0.0.1:1/v1)"},
		{name: "endless answer", message: "SLOW", cfg: Config{ResponseBytesMax: 700}, took: 300 * time.Millisecond, text: "word0 word1 word2",
			want: "the model service's answer exceeds 700 bytes and was cut"},
		{name: "a tool that nobody offered", message: "hi", opts: agenttest.ModelOptions{Tool: "clock"},
			want: `the model asked for the tool "clock", but this gateway offers models no tools yet: ask for an answer in words, or choose another model`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.cfg.Model = "mock-1"
				b, m := overPipe(t, c.opts, c.cfg)
				begin := time.Now()
				pieces, result, err := run(t.Context(), b, ask(c.message))
				require.EqualError(t, err, c.want)
				require.Equal(t, c.text, result.Text)
				require.Equal(t, c.text, strings.Join(pieces, ""))
				require.Equal(t, c.took, time.Since(begin))
				<-m.Idle()
			})
		})
	}
}

// A slow reader of the answer is not a silent service.
func TestRunIdleCountsOnlyTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := overPipe(t, agenttest.ModelOptions{}, Config{IdleTimeout: time.Second, FirstByteTimeout: time.Second})
		var n int
		_, err := b.Run(t.Context(), ask("hello"), func(agent.Event) {
			n++
			time.Sleep(time.Minute)
		})
		require.NoError(t, err)
		require.Equal(t, 8, n)
	})
}

func TestRunThroughComments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := overPipe(t, agenttest.ModelOptions{Comments: true, Tokens: 400, Interval: -1}, Config{})
		pieces, _, err := run(t.Context(), b, ask("hello"))
		require.NoError(t, err)
		require.Len(t, pieces, 400)
	})
}

func TestRunAnswersOfOtherServices(t *testing.T) {
	event := func(delta string) string {
		return `data: {"choices":[{"index":0,"delta":{"content":"` + delta + `"}}]}` + "\n\n"
	}
	const last = `data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}],"usage":{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4}}}`
	cases := []struct {
		name, kind, body string
		status           int
		text, stop, want string
	}{
		{name: "no [DONE], no final newline", body: event("a") + last, text: "a", stop: "length"},
		{name: "no space after data:", body: strings.ReplaceAll(event("a")+last, "data: ", "data:") + "\n\ndata:[DONE]\n\n", text: "a", stop: "length"},
		{name: "an unusual content type", kind: "text/plain", body: event("a") + last, text: "a", stop: "length"},
		{name: "ends without a reason", body: event("a"), text: "a", want: "broke off in mid-answer"},
		{name: "error event after a comment", body: ": hello\n\n" + event("a") + `data: {"error":{"message":"out of memory","code":500}}` + "\n\n",
			text: "a", want: "the model service broke off its answer: out of memory"},
		{name: "not JSON", body: "data: {what\n\n", want: "is not a chat completion"},
		{name: "a web page", kind: "text/html", body: "<html>hello</html>", want: "answered without a stream of events"},
		{name: "one object", kind: "application/json", body: `{"choices":[{"message":{"content":"hi"}}]}`, want: "answered without a stream of events"},
		{name: "error page", status: 502, kind: "text/html", body: "<html>bad</html>", want: "HTTP 502: Bad Gateway"},
		{name: "Ollama's shape", status: 404, body: `{"error":"model \"x\" not found, try pulling it first"}`, want: `HTTP 404: model "x" not found, try pulling it first`},
		{name: "FastAPI's shape", status: 422, body: `{"detail":[{"loc":["body","model"],"msg":"field required"}]}`, want: `HTTP 422: [{"loc":["body","model"],"msg":"field required"}]`},
		{name: "plain text", status: 429, kind: "text/plain", body: "slow\x1b[31m down\n", want: "HTTP 429: slow [31m down"},
		{name: "an endless error page", status: 500, kind: "text/plain", body: strings.Repeat("x", 1<<20), want: "HTTP 500: " + strings.Repeat("x", messageRunesMax) + "..."},
		{name: "a service that echoes the key", status: 401, body: `{"error":{"message":"Incorrect API key provided: ` + testKey + `."}}`, want: "HTTP 401: Incorrect API key provided: [redacted]."},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var logged bytes.Buffer
				log := slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
				b := overHandler(t, func(w http.ResponseWriter, _ *http.Request) {
					if c.kind == "" {
						c.kind = "text/event-stream; charset=utf-8"
					}
					w.Header().Set("Content-Type", c.kind)
					if c.status != 0 {
						w.WriteHeader(c.status)
					}
					_, _ = io.WriteString(w, c.body)
				}, Config{APIKey: testKey, Model: "m", Log: log})
				_, result, err := run(t.Context(), b, ask("hello"))
				require.Equal(t, c.text, result.Text)
				if c.want == "" {
					require.NoError(t, err)
					require.Equal(t, c.stop, result.StopReason)
					require.Equal(t, agent.Usage{Input: 5, Output: 2, CacheRead: 4, Total: 11}, result.Usage)
				} else {
					require.ErrorContains(t, err, c.want)
					require.NotContains(t, err.Error(), testKey)
				}
				require.NotContains(t, logged.String(), testKey)
			})
		})
	}
}

func TestRunUnreachable(t *testing.T) {
	cases := []struct {
		name string
		err  error
		want string
	}{
		{"refused", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "nothing answers at the model service http://127.0.0.1:1/v1 (connection refused): start it, or correct OPENAI_BASE_URL"},
		{"unknown host", &net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}, "the host of the model service http://127.0.0.1:1/v1 cannot be found: correct OPENAI_BASE_URL"},
		{"too slow", &net.OpError{Op: "dial", Err: context.DeadlineExceeded}, "the model service http://127.0.0.1:1/v1 cannot be reached in time"},
		{"anything else", fmt.Errorf("broken wire"), "the model service http://127.0.0.1:1/v1 cannot be used: broken wire"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := newBackend(t, Config{BaseURL: "http://127.0.0.1:1", Dial: func(context.Context, string, string) (net.Conn, error) { return nil, c.err }})
			_, _, err := run(t.Context(), b, ask("hello"))
			require.EqualError(t, err, c.want)
			_, err = b.Models(t.Context())
			require.EqualError(t, err, c.want)
		})
	}
}

func TestRunRefusesRedirects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := overHandler(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://elsewhere.example/v1", http.StatusTemporaryRedirect)
		}, Config{APIKey: testKey, Model: "m"})
		_, _, err := run(t.Context(), b, ask("hello"))
		require.EqualError(t, err, "the model service http://127.0.0.1:1/v1 cannot be used: it redirects to http://elsewhere.example; set OPENAI_BASE_URL to the final address")
	})
}

func TestRunNothingToSay(t *testing.T) {
	b := newBackend(t, Config{BaseURL: "http://127.0.0.1:1", Model: "m"})
	_, _, err := run(t.Context(), b, agent.Turn{System: "Be brief.", Messages: []agent.Message{{Role: "user"}}})
	require.EqualError(t, err, "the turn holds no message to send to the model")
}

func TestModels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, list := 0, `{"data":[{"id":"a"},{"id":""},{"id":"b"},{"id":"a"}]}`
		cfg := overHandlerConfig(t, func(w http.ResponseWriter, r *http.Request) {
			asked++
			require.Equal(t, "/v1/models", r.URL.Path)
			_, _ = io.WriteString(w, list)
		}, Config{})
		b := newBackend(t, cfg)
		ids := func(b *Backend) (ids []string) {
			models, err := b.Models(t.Context())
			require.NoError(t, err)
			for _, m := range models {
				ids = append(ids, m.ID)
			}
			return ids
		}
		require.Equal(t, []string{"a", "b"}, ids(b))
		list = `{"data":[{"id":"c"}]}`
		require.Equal(t, []string{"a", "b"}, ids(b), "a fresh list is not asked for again")
		require.Equal(t, 1, asked)
		time.Sleep(modelsFresh)
		require.Equal(t, []string{"c"}, ids(b))

		cfg.Model, cfg.ContextTokens = "mine", 8192
		configured := newBackend(t, cfg)
		require.Equal(t, []string{"mine", "c"}, ids(configured))
		models, err := configured.Models(t.Context())
		require.NoError(t, err)
		require.Equal(t, agent.Model{ID: "mine", Name: "mine", Provider: "openai", ContextWindow: 8192}, models[0])
	})
}

func TestModelsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := overHandler(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, Config{})
		begin := time.Now()
		_, err := b.Models(t.Context())
		require.EqualError(t, err, "the model service fell silent: no list of models within 10s (http://127.0.0.1:1/v1)")
		require.Equal(t, modelsTimeout, time.Since(begin))

		// A second caller waits for its turn no longer than its own context.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		done := make(chan struct{})
		go func() { defer close(done); _, _ = b.Models(t.Context()) }()
		synctest.Wait()
		_, err = b.Models(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		<-done
	})
}

func TestModelOfATurn(t *testing.T) {
	cases := []struct {
		name, configured, wanted string
		status                   int
		list                     string
		model, want              string
	}{
		{name: "the turn's", configured: "b", wanted: "a", model: "a"},
		{name: "the configured", configured: "b", model: "b"},
		{name: "the first of the list", list: `{"data":[{"id":"x"},{"id":"y"}]}`, model: "x"},
		{name: "an empty list", list: `{"data":[]}`, want: "lists none: load one there, or set OPENAI_MODEL"},
		{name: "no list", status: 404, list: `{}`, want: "does not list its models: set OPENAI_MODEL"},
		{name: "a wrong key", status: 401, list: `{"error":{"message":"no"}}`, want: "HTTP 401: no"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := overHandler(t, func(w http.ResponseWriter, _ *http.Request) {
					if c.status != 0 {
						w.WriteHeader(c.status)
					}
					_, _ = io.WriteString(w, c.list)
				}, Config{Model: c.configured})
				model, err := b.model(t.Context(), c.wanted)
				require.Equal(t, c.model, model)
				if c.want != "" {
					require.ErrorContains(t, err, c.want)
				} else {
					require.NoError(t, err)
				}
			})
		})
	}
}

func TestNewBaseURL(t *testing.T) {
	cases := []struct{ in, key, want, err string }{
		{in: "http://127.0.0.1:11434", want: "http://127.0.0.1:11434/v1"},
		{in: " http://127.0.0.1:11434/ ", want: "http://127.0.0.1:11434/v1"},
		{in: "http://127.0.0.1:11434/v1", want: "http://127.0.0.1:11434/v1"},
		{in: "http://127.0.0.1:11434/v1//", want: "http://127.0.0.1:11434/v1"},
		{in: "http://[::1]:8080", want: "http://[::1]:8080/v1"},
		{in: "https://openrouter.ai/api/v1/", want: "https://openrouter.ai/api/v1"},
		{in: "https://generativelanguage.googleapis.com/v1beta/openai/", want: "https://generativelanguage.googleapis.com/v1beta/openai"},
		{in: "https://api.example/v1/chat/completions", want: "https://api.example/v1"},
		{in: "localhost:8080", want: "http://localhost:8080/v1"},
		{in: "", key: testKey, want: "https://api.openai.com/v1"},
		{in: "", err: "agent backend is not configured: set OPENAI_BASE_URL"},
		{in: "api.example/v1", err: "must begin with http:// or https://"},
		{in: "ftp://api.example", err: "must begin with http:// or https://"},
		{in: "http://", err: "names no host"},
		{in: "http://me:" + testKey + "@api.example/v1", err: "must not hold a user name or password"},
		{in: "http://api.example/v1?key=" + testKey, err: "must not hold ? or #"},
		{in: "http://api.example/\x7f" + testKey, err: "it is not a URL"},
	}
	for _, c := range cases {
		t.Run(c.in, func(t *testing.T) {
			b, err := New(Config{BaseURL: c.in, APIKey: c.key})
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				require.NotContains(t, err.Error(), testKey)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, b.baseURL)
		})
	}
}

func TestNewProxy(t *testing.T) {
	for _, local := range []string{"http://127.0.0.1:1", "http://127.9.9.9", "http://localhost:2", "http://[::1]:3", "http://[::ffff:127.0.0.1]:3", "http://model.localhost"} {
		b, err := New(Config{BaseURL: local})
		require.NoError(t, err)
		require.Nil(t, b.transport.Proxy, local)
	}
	b, err := New(Config{BaseURL: "https://127.0.0.1.example"})
	require.NoError(t, err)
	require.NotNil(t, b.transport.Proxy, "services elsewhere follow HTTPS_PROXY")
}

func TestNewWarnsOfPlainHTTP(t *testing.T) {
	for base, warns := range map[string]bool{"http://10.0.0.5:8000": true, "http://127.0.0.1:8000": false, "https://api.example": false} {
		var logged bytes.Buffer
		_, err := New(Config{BaseURL: base, APIKey: testKey, Log: slog.New(slog.NewTextHandler(&logged, nil))})
		require.NoError(t, err)
		require.Equal(t, warns, strings.Contains(logged.String(), "unencrypted"), base)
		require.NotContains(t, logged.String(), testKey)
	}
}

func TestDataURL(t *testing.T) {
	require.Equal(t, "data:image/webp;base64,AQ==", dataURL(agent.Image{MimeType: "image/webp", Data: []byte{1}}))
	require.Equal(t, "data:image/png;base64,AQ==", dataURL(agent.Image{MimeType: "image/x;base64,evil", Data: []byte{1}}))
	raw, err := json.Marshal(buildMessage(agent.Message{Role: "user", Images: []agent.Image{{Data: []byte{1}}}}))
	require.NoError(t, err)
	require.JSONEq(t, `{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AQ=="}}]}`, string(raw))
}

// A refusal because of the conversation's length is known for one, however the service
// words it; others are not.
func TestOverflowIsKnown(t *testing.T) {
	for body, want := range map[string]bool{
		`{"error":{"message":"This model's maximum context length is 8192 tokens.","code":"context_length_exceeded"}}`: true,
		`{"error":{"message":"too long","code":"context_length_exceeded"}}`:                                            true,
		`{"error":{"message":"prompt is too long: 213462 tokens > 200000 maximum"}}`:                                   true,
		`{"error":{"message":"the request exceeds the available context size"}}`:                                       true,
		`{"error":"input length exceeds the context length"}`:                                                          true,
		`{"error":{"message":"invalid temperature"}}`:                                                                  false,
	} {
		service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, body)
		}))
		b := newBackend(t, Config{BaseURL: service.URL, Model: "m"})
		_, err := b.Run(t.Context(), agent.Turn{Messages: []agent.Message{{Role: "user", Text: "x"}}}, func(agent.Event) {})
		require.Equal(t, want, errors.Is(err, agent.ErrContextOverflow), "%s: %v", body, err)
		service.Close()
	}
}

// What may be different later is told apart from what will not.
func TestPassingFaultsAreKnown(t *testing.T) {
	for status, want := range map[int]bool{400: false, 401: false, 403: false, 404: false, 408: true, 429: true, 500: true, 502: true, 503: true, 529: true} {
		service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		_, _, err := run(t.Context(), newBackend(t, Config{BaseURL: service.URL, Model: "m"}), ask("hello"))
		service.Close()
		require.Error(t, err)
		require.Equal(t, want, errors.Is(err, agent.ErrPassing), "%d: %v", status, err)
	}
	for cause, want := range map[error]bool{
		&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}:                  true,
		&net.OpError{Op: "dial", Err: context.DeadlineExceeded}:              true,
		&net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}:      false,
		&net.DNSError{Err: "server misbehaving", Name: "x", IsTimeout: true}: true,
		errors.New("broken wire"):                                            false,
	} {
		b := newBackend(t, Config{BaseURL: "http://127.0.0.1:1", Dial: func(context.Context, string, string) (net.Conn, error) { return nil, cause }})
		_, _, err := run(t.Context(), b, ask("hello"))
		require.Equal(t, want, errors.Is(err, agent.ErrPassing), "%v", err)
	}
}

// The bound of an answer goes by its older name, and by the newer one where that is
// refused.
func TestMaxTokens(t *testing.T) {
	for refused, want := range map[string]string{"": `"max_tokens":77`, "max_tokens": `"max_completion_tokens":77`} {
		var fields []string
		if refused != "" {
			fields = []string{refused}
		}
		b, m := overPipe(t, agenttest.ModelOptions{Interval: -1, RefuseFields: fields}, Config{})
		turn := ask("hello")
		turn.MaxTokens = 77
		_, _, err := run(t.Context(), b, turn)
		require.NoError(t, err)
		require.Contains(t, string(m.Requests()[len(m.Requests())-1].Body), want)
	}
}
