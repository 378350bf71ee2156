package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent/agenttest"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/wire"
)

// The secrets of these tests. None may ever be printed: the test
// script searches all output for them (testdata/secrets.txt), a house its own logs.
const (
	testToken  = "canary-gateway-token-4f1d"
	testAPIKey = "canary-model-api-key-9b7e"
)

// house is a gateway on real ports and a real state directory, which can be
// stopped and started again.
type house struct {
	t    *testing.T
	dir  string
	env  map[string]string
	port int
	logs lockedBuffer
	// change, which may be nil, edits what serve starts the gateway with.
	change func(*Config)
	// fromFile leaves the secret to the files of the state directory.
	fromFile bool

	stop func()
	d    *Daemon
}

// lockedBuffer is a bytes.Buffer for many writers.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// open starts a gateway with the built-in agent, or with model behind it.
func open(t *testing.T, model *agenttest.Model) *house {
	t.Helper()
	h := prepare(t, model)
	h.start()
	return h
}

// prepare is open without the start.
func prepare(t *testing.T, model *agenttest.Model) *house {
	t.Helper()
	h := &house{t: t, dir: filepath.Join(t.TempDir(), "state"), env: map[string]string{}}
	if model != nil {
		h.env["OPENAI_BASE_URL"], h.env["OPENAI_API_KEY"] = model.URL, testAPIKey
	}
	t.Cleanup(func() {
		h.stop()
		for _, secret := range []string{testToken, testAPIKey} {
			require.NotContains(t, h.logs.String(), secret, "a secret was logged")
		}
		raw, _ := os.ReadFile(filepath.Join(h.dir, "logs", "gateway.log"))
		require.NotContains(t, string(raw), testToken)
	})
	return h
}

func (h *house) config() Config {
	token, port := testToken, h.port
	flags := settings.Flags{Port: &port, Token: &token}
	if h.fromFile {
		flags.Token = nil
	}
	return Config{
		StateDir: h.dir, ConfigPath: filepath.Join(h.dir, "coderclaw.json"), Version: "test", Stdout: &h.logs, Level: slog.LevelDebug,
		Getenv: func(name string) string { return h.env[name] },
		Flags:  flags,
	}
}

func (h *house) start() {
	h.t.Helper()
	d, err := New(h.config())
	require.NoError(h.t, err)
	h.d, h.port = d, d.port
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	var once sync.Once
	h.stop = func() {
		once.Do(func() {
			cancel()
			require.NoError(h.t, <-ended)
			require.NoError(h.t, d.Close())
		})
	}
}

func (h *house) restart() { h.stop(); h.start() }

func (h *house) url() string { return "ws://127.0.0.1:" + strconv.Itoa(h.port) }

// visitor is a client of the house that keeps every event it saw.
type visitor struct {
	*client.Conn
	protocol.Client
	t *testing.T

	mu     sync.Mutex
	events []client.Event
	news   chan struct{}
}

// visit connects with a device of its own and all scopes.
func (h *house) visit(name string, edit ...func(*client.Options)) *visitor {
	h.t.Helper()
	id, err := client.LoadIdentity(filepath.Join(h.t.TempDir(), name))
	require.NoError(h.t, err)
	v := &visitor{t: h.t, news: make(chan struct{}, 1)}
	o := client.Options{
		URL: h.url(), Token: testToken, Identity: id, Caps: []string{"tool-events"},
		Scopes:  []string{protocol.ScopeOperatorAdmin, protocol.ScopeOperatorApprovals, protocol.ScopeOperatorPairing},
		Client:  protocol.ConnectClient{ID: protocol.GatewayClientIdTest, Version: "1", Platform: "linux", Mode: protocol.GatewayClientModeTest},
		OnEvent: v.take,
	}
	for _, e := range edit {
		e(&o)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	v.Conn, err = client.Dial(ctx, o)
	require.NoError(h.t, err)
	v.Client = protocol.Client{Caller: v.Conn}
	h.t.Cleanup(func() { _ = v.Conn.Close() })
	return v
}

func (v *visitor) take(e client.Event) {
	v.mu.Lock()
	v.events = append(v.events, client.Event{Name: e.Name, Payload: bytes.Clone(e.Payload), Seq: e.Seq, Sequenced: e.Sequenced})
	v.mu.Unlock()
	select {
	case v.news <- struct{}{}:
	default:
	}
}

// chats returns the chat events of a run so far.
func (v *visitor) chats(runID string) (list []protocol.ChatEvent) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, e := range v.events {
		if e.Name != protocol.EventChat.Name {
			continue
		}
		c, err := protocol.EventChat.Payload.DecodeOpen(e.Payload)
		require.NoError(v.t, err)
		if c.RunID == runID {
			list = append(list, c)
		}
	}
	return list
}

// until waits for a condition over the events, looking again at each new one.
func (v *visitor) until(what string, ok func() bool) {
	v.t.Helper()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-v.news:
		case <-deadline:
			v.t.Fatalf("waited a minute for %s; events so far:\n%s", what, v.dump())
		}
	}
}

func (v *visitor) dump() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var b strings.Builder
	for _, e := range v.events {
		fmt.Fprintf(&b, "%s %.300s\n", e.Name, e.Payload)
	}
	return b.String()
}

// terminal waits for the run's end and returns its terminal event, having checked
// that there is one only.
func (v *visitor) terminal(runID string) protocol.ChatEvent {
	v.t.Helper()
	v.until("the end of "+runID, func() bool { return len(terminals(v.chats(runID))) > 0 })
	ends := terminals(v.chats(runID))
	require.Len(v.t, ends, 1, "one terminal event per run")
	return ends[0]
}

func terminals(list []protocol.ChatEvent) (ends []protocol.ChatEvent) {
	for _, c := range list {
		if c.State != protocol.ChatStateDelta {
			ends = append(ends, c)
		}
	}
	return ends
}

// say sends a message and returns its run id.
func (v *visitor) say(sessionKey, message, key string) string {
	v.t.Helper()
	got, err := v.ChatSend(v.t.Context(), protocol.ChatSendParams{SessionKey: sessionKey, Message: message, IdempotencyKey: key})
	require.NoError(v.t, err)
	require.NotNil(v.t, got.ChatRunStatus)
	return got.ChatRunStatus.RunID
}

// text is the text of a message in an event or a transcript.
func text(t *testing.T, raw []byte) string {
	t.Helper()
	var m struct {
		Content []struct{ Text string }
	}
	require.NoError(t, json.Unmarshal(raw, &m), "%s", raw)
	var b strings.Builder
	for _, c := range m.Content {
		b.WriteString(c.Text)
	}
	return b.String()
}

func encode(v interface{ AppendJSON([]byte) []byte }) []byte { return v.AppendJSON(nil) }

var _ wire.Caller = (*client.Conn)(nil)
