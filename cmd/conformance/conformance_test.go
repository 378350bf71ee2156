package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/cli"
)

// output is what a command writes, which may be awaited.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	news chan struct{}
}

func newOutput() *output { return &output{news: make(chan struct{}, 1)} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.news <- struct{}{}:
	default:
	}
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// command is a conformance command on its way.
type command struct {
	t              *testing.T
	stdout, stderr *output
	cancel         context.CancelFunc
	code           chan int
}

// start runs a command until it ends by itself or is interrupted.
func start(t *testing.T, args ...string) *command {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &command{t: t, stdout: newOutput(), stderr: newOutput(), cancel: cancel, code: make(chan int, 1)}
	app := cli.NewConformance(cli.Config{
		Stdin: strings.NewReader(""), Stdout: c.stdout, Stderr: c.stderr, Version: "test",
		Getenv: func(string) string { return "" },
	})
	go func() { c.code <- app.Run(ctx, append([]string{"conformance"}, args...)) }()
	t.Cleanup(cancel)
	return c
}

// exits waits for the end and checks the exit code.
func (c *command) exits(want int) {
	c.t.Helper()
	require.Equal(c.t, want, <-c.code, "stdout: %s\nstderr: %s", c.stdout, c.stderr)
}

// leave interrupts the command and waits for its end, whatever its verdict.
func (c *command) leave() {
	c.cancel()
	<-c.code
}

var address = regexp.MustCompile(`ws://127\.0\.0\.1:\d+`)

// url waits until the command tells where it listens.
func (c *command) url() string {
	c.t.Helper()
	for {
		if u := address.FindString(c.stderr.String()); u != "" {
			return u
		}
		select {
		case <-c.stderr.news:
		case code := <-c.code:
			c.t.Fatalf("it exits with %d: %s", code, c.stderr)
		}
	}
}

func serve(t *testing.T, conversations ...string) *command {
	t.Helper()
	args := []string{"serve", "--listen", "127.0.0.1:0"}
	for _, name := range conversations {
		args = append(args, "--conversation", name)
	}
	return start(t, args...)
}

func TestUsage(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for name, tt := range map[string]struct {
		args string
		code int
		want string
	}{
		"nothing":                 {"", 0, "grade a gateway"},
		"help":                    {"help", 0, "Exit codes: 0 nothing differs"},
		"help of run":             {"run --help", 0, "conformance run ws://127.0.0.1:18789 --token SECRET --offers llm"},
		"help of serve":           {"serve --help", 0, "Plays the gateway's side"},
		"help of record":          {"record --help", 0, "Secrets are taken out by the schema"},
		"version":                 {"--version", 0, "test"},
		"list":                    {"list", 0, "recorded: device-pairing-operator.jsonl, device-pairing-requester.jsonl, device-pairing-after-approve.jsonl"},
		"list some":               {"list --only agents/*", 0, "The agents of the gateway"},
		"list nothing":            {"list --only nobody", 2, `no conversation matches "nobody"`},
		"list a broken pattern":   {"list --only [", 2, `--only "[" is not a pattern`},
		"list too much":           {"list agents", 2, "argument"},
		"unknown command":         {"rum", 2, `there is no command "rum" (did you mean "run"?)`},
		"unknown flag":            {"run --colour ws://127.0.0.1:1", 2, "colour"},
		"run without URL":         {"run --token x", 2, "needs one URL"},
		"run with http":           {"run http://127.0.0.1:1 --token x", 2, "is no ws:// or wss:// URL"},
		"run without secret":      {"run ws://127.0.0.1:1", 2, "--token SECRET or --password SECRET"},
		"run without gateway":     {"run ws://127.0.0.1:1 --token x", 2, "check that a gateway runs there"},
		"run without directory":   {"run ws://127.0.0.1:1 --token x --frames " + missing, 2, "read recordings: "},
		"run without files":       {"run ws://127.0.0.1:1 --token x --conversations " + missing, 2, "read conversations: "},
		"run without exceptions":  {"run ws://127.0.0.1:1 --token x --exceptions " + missing, 2, "read exceptions: "},
		"serve what is not there": {"serve --conversation nobody", 2, `no built-in conversation "nobody"`},
		"serve nowhere":           {"serve --listen 256.0.0.1:1", 2, "choose a free address"},
		"record to nowhere":       {"record ws://127.0.0.1:1", 2, "needs --out DIR"},
		"record of http":          {"record http://127.0.0.1:1 --out " + missing, 2, "is no ws:// or wss:// URL"},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, strings.Fields(tt.args)...)
			c.exits(tt.code)
			require.Contains(t, c.stdout.String()+c.stderr.String(), tt.want)
		})
	}
}

// TestRunGradesServe lets the runner grade our own server, which grades the runner.
func TestRunGradesServe(t *testing.T) {
	server := serve(t, "agents/list.txtar", "chat/send.txtar")
	run := start(t, "run", server.url()+"/", "--token", "x", "--offers", "llm", "--only", "agents/list.txtar", "--only", "chat/send.txtar")
	run.exits(0)
	server.exits(0)
	require.Regexp(t, `passed +agents/list\.txtar +0\.\ds +-`, run.stdout)
	require.Contains(t, run.stdout.String(), "2 passed, 0 excepted, 0 not applicable, 0 failed in ")
	require.Contains(t, server.stderr.String(), "passed agents/list.txtar\npassed chat/send.txtar\n")
	require.Contains(t, server.stdout.String(), "2 passed")
}

// TestVerdictsAsJSON pins the shape that the README describes.
func TestVerdictsAsJSON(t *testing.T) {
	server := serve(t, "agents/list.txtar")
	run := start(t, "run", server.url(), "--token", "x", "--only", "chat/refused.txtar", "--only", "presence/presence.txtar", "--patience", "100ms", "--json")
	run.exits(1)
	server.leave()
	var got struct {
		URL           string
		Passed        int
		Excepted      int
		NotApplicable int
		Failed        int
		DurationMs    *int
		Conversations []map[string]any
	}
	d := json.NewDecoder(strings.NewReader(run.stdout.String()))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&got))
	require.ErrorIs(t, d.Decode(&got), io.EOF, "one object is printed")
	require.Equal(t, server.url(), got.URL)
	require.Equal(t, [4]int{0, 0, 1, 1}, [4]int{got.Passed, got.Excepted, got.NotApplicable, got.Failed})
	require.NotNil(t, got.DurationMs)
	require.Len(t, got.Conversations, 2)
	require.Equal(t, "chat/refused.txtar", got.Conversations[0]["name"])
	require.Equal(t, "not applicable", got.Conversations[0]["verdict"])
	require.Equal(t, "needs llm", got.Conversations[0]["note"])
	require.Equal(t, "failed", got.Conversations[1]["verdict"])
	require.Contains(t, got.Conversations[1]["failures"].([]any)[0], "line ")
	require.Contains(t, got.Conversations[1], "durationMs")
}

// TestFailuresAreTold shows what a person reads.
func TestFailuresAreTold(t *testing.T) {
	server := serve(t, "agents/list.txtar")
	run := start(t, "run", server.url(), "--token", "x", "--only", "presence/presence.txtar", "--patience", "100ms")
	run.exits(1)
	require.Regexp(t, `failed +presence/presence\.txtar`, run.stdout)
	require.Regexp(t, `\npresence/presence\.txtar\n  line \d+: `, run.stdout)
	server.leave()
}

// TestInterrupted ends commands that wait: there is no verdict.
func TestInterrupted(t *testing.T) {
	server := serve(t, "agents/list.txtar")
	run := start(t, "run", server.url(), "--token", "x", "--only", "presence/presence.txtar", "--patience", "1h")
	run.cancel()
	run.exits(2)
	require.Contains(t, run.stderr.String(), "interrupted: no verdict")

	idle := serve(t, "agents/list.txtar")
	idle.url()
	idle.cancel()
	idle.exits(2)
	require.Contains(t, idle.stdout.String(), "not applicable  agents/list.txtar")
}

// TestRestartCommand proves that --restart runs a command and that its failure is told.
func TestRestartCommand(t *testing.T) {
	note := filepath.Join(t.TempDir(), "note")
	server := serve(t, "health/heartbeats.txtar")
	run := start(t, "run", server.url(), "--token", "x", "--only", "health/heartbeats.txtar", "--restart", "echo restarted >"+note+"; exit 3")
	run.exits(1)
	require.Contains(t, run.stdout.String(), "exit status 3")
	written, err := os.ReadFile(note)
	require.NoError(t, err)
	require.Equal(t, "restarted\n", string(written))
	server.leave()
}

// TestRecordedFilesAreReplayed records a conversation, replays the files, and plays
// them: record, run --frames and serve --conversation understand each other.
func TestRecordedFilesAreReplayed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "frames")
	server := serve(t, "chat/command.txtar")
	recorder := start(t, "record", server.url(), "--out", dir, "--token", "a-gateway-token")
	run := start(t, "run", recorder.url(), "--token", "a-gateway-token", "--only", "chat/command.txtar")
	run.exits(0)
	server.exits(0)
	recorder.cancel()
	recorder.exits(0)
	require.Contains(t, recorder.stderr.String(), "001.jsonl")

	again := start(t, "record", "ws://127.0.0.1:1", "--out", dir)
	again.exits(2)
	require.Contains(t, again.stderr.String(), "record into another directory")

	file := filepath.Join(dir, "001.jsonl")
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotContains(t, string(raw), "a-gateway-token")

	server = serve(t, file)
	run = start(t, "run", server.url(), "--token", "another-token", "--frames", dir)
	run.exits(0)
	server.exits(0)
	require.Contains(t, run.stdout.String(), "1 passed")
}

// TestReadmeExample plays the conversation that the README shows.
func TestReadmeExample(t *testing.T) {
	page, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(page), "## Write a conversation")
	require.True(t, ok)
	var lines []string
	for line := range strings.Lines(rest) {
		if code, ok := strings.CutPrefix(line, "    "); ok {
			lines = append(lines, code)
		}
	}
	require.Greater(t, len(lines), 10)
	dir := t.TempDir()
	file := filepath.Join(dir, "example.txtar")
	require.NoError(t, os.WriteFile(file, []byte(strings.Join(lines, "")), 0o600))
	server := serve(t, file)
	run := start(t, "run", server.url(), "--token", "x", "--conversations", dir, "--offers", "llm")
	run.exits(0)
	server.exits(0)
	require.Contains(t, run.stdout.String(), "1 passed")
}
