package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent/agenttest"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

func TestAFreshGatewayHoldsAConversation(t *testing.T) {
	h := open(t, nil)
	v := h.visit("laptop")
	run := v.say("main", "hello", "k1")
	end := v.terminal(run)
	require.Equal(t, protocol.ChatStateFinal, end.State)
	require.NotEmpty(t, text(t, end.Message))

	h.stop()
	h.start()
	v = h.visit("laptop again")
	history, err := v.ChatHistory(t.Context(), protocol.ChatHistoryParams{SessionKey: "main"})
	require.NoError(t, err)
	require.Len(t, history.Messages, 2, "the transcript survives a restart")
	require.Equal(t, "hello", text(t, encode(history.Messages[0])))
	require.Equal(t, text(t, end.Message), text(t, encode(history.Messages[1])))
}

func TestAbortInMidStream(t *testing.T) {
	model := agenttest.StartModel(t, agenttest.ModelOptions{Tokens: 50, Interval: 50 * time.Millisecond, APIKey: testAPIKey})
	v := open(t, model).visit("laptop")
	run := v.say("main", "tell me", "k1")
	v.until("some text", func() bool { return len(v.chats(run)) >= 3 })
	got, err := v.ChatAbort(t.Context(), protocol.ChatAbortParams{SessionKey: "main", RunID: wire.Some(run)})
	require.NoError(t, err)
	require.True(t, got.Aborted)
	require.Equal(t, []string{run}, got.RunIDs)
	end := v.terminal(run)
	require.Equal(t, protocol.ChatStateAborted, end.State)
	require.Equal(t, "rpc", end.StopReason.V)
	partial := text(t, end.Message)
	require.True(t, strings.HasPrefix(partial, "word0 word1"), partial)
	require.NotContains(t, partial, "word49")
	<-model.Idle()
	require.Equal(t, 1, model.Abandoned(), "the model's stream was given up")

	history, err := v.ChatHistory(t.Context(), protocol.ChatHistoryParams{SessionKey: "main"})
	require.NoError(t, err)
	require.Len(t, history.Messages, 2, "the partial answer is kept")
}

func TestTwoRunsInTwoSessionsStreamTogether(t *testing.T) {
	model := agenttest.StartModel(t, agenttest.ModelOptions{Tokens: 50, Interval: 50 * time.Millisecond})
	v := open(t, model).visit("laptop")
	a, b := v.say("main", "first", "a"), v.say("agent:main:second", "second", "b")
	v.until("both to stream", func() bool { return len(v.chats(a)) >= 2 && len(v.chats(b)) >= 2 })
	require.Empty(t, terminals(append(v.chats(a), v.chats(b)...)), "both stream before either ends")
	endA, endB := v.terminal(a), v.terminal(b)
	want := strings.Join(agenttest.Words(50), "")
	for _, end := range []protocol.ChatEvent{endA, endB} {
		require.Equal(t, protocol.ChatStateFinal, end.State)
		require.Equal(t, strings.TrimSpace(want), strings.TrimSpace(text(t, end.Message)))
	}
	require.Equal(t, "agent:main:main", endA.SessionKey)
	require.Equal(t, "agent:main:second", endB.SessionKey)
}

func TestAClientThatIsLostAndComesBack(t *testing.T) {
	model := agenttest.StartModel(t, agenttest.ModelOptions{Tokens: 50, Interval: 50 * time.Millisecond})
	h := open(t, model)
	witness, lost := h.visit("witness"), h.visit("lost")
	run := lost.say("main", "tell me", "k1")
	lost.until("some text", func() bool { return len(lost.chats(run)) >= 2 })
	require.NoError(t, lost.Conn.Close())

	back := h.visit("back")
	back.until("the stream to go on", func() bool { return len(back.chats(run)) >= 1 })
	end := back.terminal(run)
	require.Equal(t, protocol.ChatStateFinal, end.State)
	witness.terminal(run)
	history, err := back.ChatHistory(t.Context(), protocol.ChatHistoryParams{SessionKey: "main"})
	require.NoError(t, err)
	require.Len(t, history.Messages, 2)
	require.True(t, strings.HasSuffix(strings.TrimSpace(text(t, encode(history.Messages[1]))), "word49"))
	require.Len(t, model.Requests(), 1, "coming back started nothing anew")
}

// A reader that stops reading costs the others nothing: they get every event
// while the paused one is closed for being slow.
func TestAPausedReader(t *testing.T) {
	big := strings.Repeat("x", 512<<10)
	model := agenttest.StartModel(t, agenttest.ModelOptions{Interval: -1, Reply: func(string) []string { return []string{big} }})
	h := prepare(t, model)
	require.NoError(t, os.MkdirAll(h.dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "coderclaw.json"), []byte(`{gateway: {maxBufferedBytes: 1048576}}`), 0o600))
	h.start()
	healthy := h.visit("healthy")
	gate := &gate{open: make(chan struct{})}
	paused := h.visit("paused", func(o *client.Options) { o.HTTPClient = gate.httpClient() })
	t.Cleanup(gate.release) // before it is closed: a failed test must not leave its reader waiting
	gate.paused.Store(true)
	for i := range 12 { // each run tells its 512 KiB four times: 24 MiB in all, more than the kernel holds
		end := healthy.terminal(healthy.say("main", "again", fmt.Sprint("k", i)))
		require.Equal(t, protocol.ChatStateFinal, end.State)
	}
	gate.release()
	<-paused.Done()
	require.NoError(t, healthy.Conn.Err())
	h.stop()
	// A reader that comes back too late finds a cut connection instead of the close
	// frame, so the cause is read where it is always told.
	require.Contains(t, h.logs.String(), `"reason":"slow consumer"`)
}

// gate is a connection whose reader can be paused.
type gate struct {
	net.Conn
	paused atomic.Bool
	open   chan struct{}
	once   sync.Once
}

func (g *gate) release() { g.once.Do(func() { close(g.open) }) }

func (g *gate) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if g.paused.Load() {
		<-g.open
	}
	return n, err
}

func (g *gate) httpClient() *http.Client {
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, network, addr)
		g.Conn = c
		return g, err
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial}}
}

func TestASecondGatewayNamesTheFirst(t *testing.T) {
	h := open(t, nil)
	start := time.Now()
	cfg := h.config()
	_, err := New(cfg)
	var locked *store.LockedError
	require.ErrorAs(t, err, &locked)
	require.Contains(t, err.Error(), fmt.Sprint(os.Getpid()))
	require.Less(t, time.Since(start), 3*time.Second)

	cfg.StateDir = filepath.Join(t.TempDir(), "other")
	_, err = New(cfg)
	require.ErrorContains(t, err, fmt.Sprintf("another gateway instance is already listening on ws://127.0.0.1:%d", h.port))
}

func TestStartsWithoutAToken(t *testing.T) {
	dir := t.TempDir()
	port := 0
	cfg := Config{StateDir: dir, ConfigPath: filepath.Join(dir, "coderclaw.json"), Stdout: &lockedBuffer{}, Getenv: func(string) string { return "" },
		Flags: settings.Flags{Port: &port}}
	d, err := New(cfg)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	info, err := os.Stat(filepath.Join(dir, settings.TokenFileName))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	h := open(t, nil)
	h.visit("laptop").terminal(h.visit("other").say("main", "hello", "k1"))
	require.NoError(t, filepath.Walk(h.dir, func(path string, info os.FileInfo, err error) error {
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, path)
		return nil
	}))
}

func TestListensOnLoopbackAlone(t *testing.T) {
	h := open(t, nil)
	for _, a := range h.d.Addrs() {
		require.True(t, a.(*net.TCPAddr).IP.IsLoopback(), a)
	}
}

func TestWithoutADeviceEvenHealthIsRefused(t *testing.T) {
	v := open(t, nil).visit("nobody", func(o *client.Options) { o.Identity = nil })
	_, err := v.Health(t.Context(), protocol.HealthParams{})
	var refused *wire.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "missing scope: operator.read", refused.Message)
	require.False(t, errors.Is(err, client.ErrClosed))
}
