package builtin

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/agent/agenttest"
)

// nobody refuses every connection, as a port without a listener does.
func nobody(context.Context, string, string) (net.Conn, error) {
	return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
}

// fakeOllama answers each connection with handler, one request each.
func fakeOllama(t *testing.T, handler http.HandlerFunc) func(context.Context, string, string) (net.Conn, error) {
	t.Helper()
	conns := make(chan net.Conn)
	closed := make(chan struct{})
	done := make(chan struct{})
	server := &http.Server{Handler: handler}
	go func() { defer close(done); _ = server.Serve(pipes{conns, closed}) }()
	t.Cleanup(func() { close(closed); _ = server.Close(); <-done })
	return func(_ context.Context, _, address string) (net.Conn, error) {
		if address != "127.0.0.1:11434" {
			t.Errorf("dialled %s", address)
		}
		here, there := net.Pipe()
		conns <- there
		return here, nil
	}
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

// say returns the answer to the last of the messages, which alternate between
// user and assistant.
func say(t *testing.T, b *Backend, messages ...string) string {
	t.Helper()
	var turn agent.Turn
	for i, text := range messages {
		turn.Messages = append(turn.Messages, agent.Message{Role: []string{"user", "assistant"}[i%2], Text: text})
	}
	result, err := b.Run(t.Context(), turn, func(agent.Event) {})
	require.NoError(t, err)
	return result.Text
}

func TestContract(t *testing.T) {
	agenttest.Contract(t, func(*testing.T) agent.Backend { return New(Config{Dial: nobody}) })
}

func TestReplyToSimpleThings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Config{Dial: nobody})
		for message, want := range map[string]string{
			"Hello!":                             "Hello.",
			"ping":                               "pong",
			"echo  One two ":                     "One two",
			"Echo [x] y":                         "[x] y",
			"":                                   "Your message is empty.",
			"Who are you?":                       "I am the built-in responder of the CoderClaw gateway: a program with a few fixed replies, not an AI.",
			"What time is it?":                   "On this host it is " + time.Now().Format("Monday, 2 January 2006, 15:04 MST") + ".",
			"tell me a \"joke\"":                 `I received your message: "tell me a \"joke\""`,
			"[Sun 2026-11-22 10:48 UTC] a story": `I received your message: "a story"`,
			strings.Repeat("é", 300):             `I received your message: "` + strings.Repeat("é", 200) + `..."`,
		} {
			answer := say(t, b, message)
			require.True(t, strings.HasPrefix(answer, want+"\n\n"), "%q is answered by %q", message, answer)
			require.Contains(t, answer, "No language model is connected to this gateway yet.")
			require.Contains(t, answer, "not of an AI")
			require.Contains(t, answer, "/help")
		}
	})
}

func TestReplyMentionsImages(t *testing.T) {
	b := New(Config{Dial: nobody})
	for n, want := range map[int]string{1: "It came with an image, which I cannot look at.", 3: "It came with 3 images, which I cannot look at."} {
		turn := agent.Turn{Messages: []agent.Message{{Role: "user", Text: "see", Images: make([]agent.Image, n)}}}
		result, err := b.Run(t.Context(), turn, func(agent.Event) {})
		require.NoError(t, err)
		require.Contains(t, result.Text, want)
	}
}

func TestReplyExplainsOnceAndWhenAsked(t *testing.T) {
	b := New(Config{Dial: nobody, ConfigPath: "/state/coderclaw.json"})
	const command = "    OPENAI_BASE_URL=https://api.openai.com/v1 OPENAI_API_KEY=YOUR_KEY OPENAI_MODEL=YOUR_MODEL coderclaw gateway\n"
	const file = "or put this into /state/coderclaw.json, which needs no restart:\n\n" +
		`    { models: { providers: { openai: { baseUrl: "https://api.openai.com/v1", apiKey: "YOUR_KEY" } } }, agents: { defaults: { model: "openai/YOUR_MODEL" } } }` + "\n"

	first := say(t, b, "hello")
	require.Contains(t, first, command)
	require.Contains(t, first, file)
	require.Contains(t, first, "A local Ollama would need no key, but none answers at http://127.0.0.1:11434 now.")

	later := say(t, b, "hello", first, "and now?")
	require.NotContains(t, later, "OPENAI_BASE_URL")
	require.Contains(t, later, "Still no language model is connected")

	asked := say(t, b, "hello", first, "how do I connect a model?")
	require.Contains(t, asked, command)
}

func TestReplyOffersOllama(t *testing.T) {
	cases := []struct {
		name   string
		status int
		body   string
		want   []string
		lacks  string
	}{
		{name: "with models", status: 200, body: `{"models":[{"name":"nomic-embed-text:latest"},{"name":"llama3.2:latest"},{"name":"x; rm -rf ~"}]}`, want: []string{
			"Good news: Ollama answers at http://127.0.0.1:11434 and offers nomic-embed-text:latest, llama3.2:latest.",
			"    OPENAI_BASE_URL=http://127.0.0.1:11434/v1 OPENAI_MODEL=llama3.2:latest coderclaw gateway\n",
			`    { models: { providers: { ollama: { baseUrl: "http://127.0.0.1:11434/v1" } } }, agents: { defaults: { model: "ollama/llama3.2:latest" } } }` + "\n",
		}, lacks: "rm -rf"},
		{name: "only an embedding model", status: 200, body: `{"models":[{"name":"embedder"}]}`, want: []string{"OPENAI_MODEL=embedder "}},
		{name: "without models", status: 200, body: `{"models":[]}`, want: []string{"Ollama answers at http://127.0.0.1:11434, but has no model yet: run `ollama pull llama3.2`"}},
		{name: "something else on the port", status: 200, body: `{"hello":1}`, want: []string{"none answers"}},
		{name: "an error", status: 500, body: `{"models":[]}`, want: []string{"none answers"}},
		{name: "no JSON", status: 200, body: `<html>`, want: []string{"none answers"}},
		{name: "endless", status: 200, body: `{"models":[` + strings.Repeat(" ", lookupBytesMax) + `]}`, want: []string{"none answers"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := New(Config{Dial: fakeOllama(t, func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/api/tags" {
						t.Errorf("asked for %s", r.URL.Path)
					}
					w.WriteHeader(c.status)
					_, _ = io.WriteString(w, c.body)
				})})
				answer := say(t, b, "hello")
				for _, want := range c.want {
					require.Contains(t, answer, want)
				}
				if c.lacks != "" {
					require.NotContains(t, answer, c.lacks)
				}
			})
		})
	}
}

func TestLookUpIsLazyBoundedAndRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		var hang atomic.Bool
		b := New(Config{Dial: fakeOllama(t, func(w http.ResponseWriter, r *http.Request) {
			n := asked.Add(1)
			if hang.Load() {
				<-r.Context().Done()
				return
			}
			_, _ = fmt.Fprintf(w, `{"models":[{"name":"m%d"}]}`, n)
		})})
		require.Zero(t, asked.Load())
		require.Contains(t, say(t, b, "hello"), "offers m1.")
		require.Contains(t, say(t, b, "hello"), "offers m1.")
		require.EqualValues(t, 1, asked.Load())

		time.Sleep(lookupFresh)
		hang.Store(true)
		begin := time.Now()
		require.Contains(t, say(t, b, "hello"), "none answers")
		require.Equal(t, lookupTimeout, time.Since(begin))
		require.Contains(t, say(t, b, "hello"), "none answers")
		require.Equal(t, lookupTimeout, time.Since(begin), "the bad news is remembered too")

		// A caller who leaves does not leave bad news for the next one.
		time.Sleep(lookupFresh)
		ctx, cancel := context.WithTimeout(t.Context(), lookupTimeout/2)
		defer cancel()
		_, err := b.Run(ctx, agent.Turn{Messages: []agent.Message{{Role: "user", Text: "hello"}}}, func(agent.Event) {})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		hang.Store(false)
		require.Contains(t, say(t, b, "hello"), "offers m4.")
	})
}

func TestPieces(t *testing.T) {
	cases := []struct {
		in   string
		want []string
	}{
		{"", nil},
		{"one", []string{"one"}},
		{"one two", []string{"one", " two"}},
		{" one\n\n  two ", []string{" one", "\n\n  two", " "}},
		{"é ü", []string{"é", " ü"}},
	}
	for _, c := range cases {
		require.Equal(t, c.want, pieces(c.in), "%q", c.in)
		require.Equal(t, c.in, strings.Join(pieces(c.in), ""))
	}
}
