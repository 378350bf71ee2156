package chat

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/agent/agenttest"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task/durable"
	"github.com/coderclaw/gateway/pkg/turn"
	"github.com/coderclaw/gateway/pkg/wire"
)

// recorder keeps the chat events it is given, and the number of the others.
type recorder struct {
	mu     sync.Mutex
	chat   []protocol.ChatEvent
	agents int
}

func (r *recorder) Emit(e wire.Emission) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Info.Name != protocol.EventChat.Name {
		r.agents++
		return
	}
	event, err := protocol.DecodeChatEvent(e.Payload)
	if err != nil {
		panic(err)
	}
	r.chat = append(r.chat, event)
}

func (r *recorder) last() protocol.ChatEvent {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.chat[len(r.chat)-1]
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.chat) + r.agents
}

// rig is the service on a real store and a real run registry.
type rig struct {
	*Service
	t    testing.TB
	rec  *recorder
	sess *session.Sessions
	runs *turn.Runs
	stop func()
}

func newRig(t testing.TB, backend agent.Backend) *rig {
	t.Helper()
	return openRig(t, t.TempDir(), backend)
}

// openRig is newRig on a state directory that may have seen a life before.
func openRig(t testing.TB, dir string, backend agent.Backend) *rig {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(store.Options{Dir: dir, Log: log})
	require.NoError(t, err)
	sess, err := session.New(session.Config{DB: db, Log: log})
	require.NoError(t, err)
	rec := &recorder{}
	tasks, err := durable.New(durable.Config{DB: db, Log: log})
	require.NoError(t, err)
	runs, err := turn.New(turn.Config{DB: db, Tasks: tasks, Sessions: sess, Backend: backend, Emitter: rec, Log: log})
	require.NoError(t, err)
	svc, err := New(Config{Sessions: sess, Runs: runs, Emitter: rec})
	require.NoError(t, err)
	return &rig{Service: svc, t: t, rec: rec, sess: sess, runs: runs, stop: func() {
		require.NoError(t, runs.Close())
		require.NoError(t, db.Close())
	}}
}

func peer(caps ...string) *wire.Peer {
	return &wire.Peer{ConnID: "conn-1", Role: "operator", Principal: "device-1", Caps: caps}
}

// send sends a message and returns the run's status.
func (g *rig) send(key, message string) string {
	g.t.Helper()
	result, err := g.ChatSend(context.Background(), peer(), protocol.ChatSendParams{SessionKey: "main", Message: message, IdempotencyKey: key})
	require.NoError(g.t, err)
	require.NotNil(g.t, result.ChatRunStatus)
	require.Equal(g.t, key, result.ChatRunStatus.RunID)
	return string(result.ChatRunStatus.Status)
}

// finish waits for the end of a run.
func (g *rig) finish(key string) turn.Outcome {
	g.t.Helper()
	out, ok := g.runs.Wait(context.Background(), key)
	require.True(g.t, ok)
	return out
}

func refused(t testing.TB, err error, code, text string) {
	t.Helper()
	var e *wire.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, code, e.Code)
	require.Equal(t, text, e.Message)
}

// As recorded in chat-send-stream and chat-abort.
func TestChatSendAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, &agenttest.Script{Interval: 60 * time.Millisecond})
		defer g.stop()
		require.Equal(t, "started", g.send("c1", "hello there"))
		require.Equal(t, "in_flight", g.send("c1", "hello there"))
		g.finish("c1")
		require.Equal(t, "ok", g.send("c1", "hello there"))
		require.Equal(t, protocol.ChatStateFinal, g.rec.last().State)

		g.send("c3", "SLOW stream")
		_, err := g.ChatAbort(t.Context(), peer(), protocol.ChatAbortParams{SessionKey: "main", RunID: wire.Some("c3")})
		require.NoError(t, err)
		require.Equal(t, "ok", g.send("c3", "SLOW stream"), "an aborted run counts as answered")
	})
}

func TestChatSendKnowsWhatEndedBeforeARestart(t *testing.T) {
	dir := t.TempDir()
	g := openRig(t, dir, &agenttest.Script{})
	g.send("c1", "hello")
	g.finish("c1")
	g.stop()
	g = openRig(t, dir, &agenttest.Script{Err: errors.New("HTTP 500")})
	require.Equal(t, "ok", g.send("c1", "hello"))
	g.send("c2", "hello")
	g.finish("c2")
	g.stop()
	g = openRig(t, dir, &agenttest.Script{})
	defer g.stop()
	again, err := g.ChatSend(t.Context(), peer(), protocol.ChatSendParams{SessionKey: "main", Message: "hello", IdempotencyKey: "c2"})
	require.NoError(t, err)
	require.JSONEq(t, `{"runId":"c2","status":"error","summary":"HTTP 500"}`, string(again.ChatRunStatus.AppendJSON(nil)))
	_, err = g.ChatSend(t.Context(), peer(), protocol.ChatSendParams{SessionKey: "main", Message: "other", IdempotencyKey: "c2"})
	refused(t, err, protocol.ErrorInvalidRequest, "idempotencyKey was used before with other params")
	require.Zero(t, g.rec.count())
}

func TestChatSendTellsOfAFailedRun(t *testing.T) {
	g := newRig(t, &agenttest.Script{Err: agent.ErrNotConfigured})
	defer g.stop()
	g.send("e4", "hi")
	g.finish("e4")
	result, err := g.ChatSend(t.Context(), peer(), protocol.ChatSendParams{SessionKey: "main", Message: "hi", IdempotencyKey: "e4"})
	require.NoError(t, err)
	require.Equal(t, protocol.ChatRunStateError, result.ChatRunStatus.Status)
	require.Equal(t, agent.ErrNotConfigured.Error(), result.ChatRunStatus.Summary.V)
}

func TestChatSendAnswersBeforeTheFirstEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, &agenttest.Script{})
		defer g.stop()
		ctx, answered := wire.WithAfterReply(t.Context())
		_, err := g.ChatSend(ctx, peer(), protocol.ChatSendParams{SessionKey: "main", Message: "hi", IdempotencyKey: "k"})
		require.NoError(t, err)
		synctest.Wait()
		require.Zero(t, g.rec.count())
		answered()
		g.finish("k")
		require.Positive(t, g.rec.count())
	})
}

func TestChatSendRefusals(t *testing.T) {
	g := newRig(t, &agenttest.Script{})
	defer g.stop()
	_, err := g.sess.Patch(t.Context(), "muted", func(e *session.Entry) error { e.SendPolicy = "deny"; return nil })
	require.NoError(t, err)
	attachment := func(raw string) func(*protocol.ChatSendParams) {
		return func(p *protocol.ChatSendParams) { p.Attachments = []wire.Raw{wire.Raw(raw)} }
	}
	text := func(s string) func(*protocol.ChatSendParams) {
		return func(p *protocol.ChatSendParams) { p.Message = s }
	}
	session := func(s string) func(*protocol.ChatSendParams) {
		return func(p *protocol.ChatSendParams) { p.SessionKey = s }
	}
	cases := []struct {
		name   string
		change func(*protocol.ChatSendParams)
		want   string
	}{
		{"blank", text("  "), "message or attachment required"},
		{"nothing left", text("\x01\x02"), "message or attachment required"},
		{"null byte", text("a\x00b"), "message must not contain null bytes"},
		{"bad attachment", attachment(`{"type":"image","mimeType":"image/png","fileName":"a.png","content":"!!!"}`), "Error: attachment a.png: invalid base64 content"},
		{"muted session", session("muted"), "send blocked by session policy"},
		{"malformed key", session("agent:"), `invalid chat.send params: malformed session key "agent:"`},
		{"long key", func(p *protocol.ChatSendParams) { p.IdempotencyKey = strings.Repeat("k", 257) }, "idempotencyKey must be 1 to 256 bytes long"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			params := protocol.ChatSendParams{SessionKey: "main", Message: "x", IdempotencyKey: "e1"}
			c.change(&params)
			_, err := g.ChatSend(t.Context(), peer(), params)
			refused(t, err, protocol.ErrorInvalidRequest, c.want)
		})
	}
	require.Zero(t, g.rec.count())
	_, ok, err := g.sess.Get("main")
	require.NoError(t, err)
	require.False(t, ok, "a refusal leaves nothing behind")
}

func TestStopWordsComeFirst(t *testing.T) {
	g := newRig(t, &agenttest.Script{Interval: time.Hour})
	defer g.stop()
	stop := func(key, word string) protocol.ChatAbortResult {
		result, err := g.ChatSend(t.Context(), peer(), protocol.ChatSendParams{SessionKey: "main", Message: word, IdempotencyKey: key})
		require.NoError(t, err)
		require.NotNil(t, result.ChatAbortResult)
		return *result.ChatAbortResult
	}
	require.Equal(t, protocol.ChatAbortResult{Ok: true, RunIDs: []string{}}, stop("c4", "/stop"))
	g.send("1", "hi")
	g.send("2", "hi")
	require.Equal(t, protocol.ChatAbortResult{Ok: true, Aborted: true, RunIDs: []string{"1", "2"}}, stop("c4", " Stop "))
	require.Equal(t, "stop", g.rec.last().StopReason.V)
	g.send("3", "hi")
	require.Equal(t, []string{"3"}, stop("c4", "/stop").RunIDs, "the same key stops again")
	_, err := g.sess.Patch(t.Context(), "main", func(e *session.Entry) error { e.SendPolicy = "deny"; return nil })
	require.NoError(t, err)
	_, err = g.ChatSend(t.Context(), peer(), protocol.ChatSendParams{SessionKey: "main", Message: "stop", IdempotencyKey: "k"})
	refused(t, err, protocol.ErrorInvalidRequest, "send blocked by session policy")
}

func TestChatSendMakesARun(t *testing.T) {
	var seen agent.Turn
	g := newRig(t, &agenttest.Script{
		Reply: func(turn agent.Turn) []string { seen = turn; return []string{"ok"} },
		Tools: []agent.ToolEvent{{Phase: "start", ToolCallID: "t", Name: "read"}},
	})
	defer g.stop()
	png := "\x89PNG\r\n\x1a\n"
	raw := wire.Raw(`{"type":"image","content":"` + base64.StdEncoding.EncodeToString([]byte(png)) + `"}`)
	_, err := g.ChatSend(t.Context(), peer("tool-events"), protocol.ChatSendParams{
		SessionKey: "Main", Message: " what is\x07 this? ", IdempotencyKey: "k",
		Thinking: wire.Some("high"), Attachments: []wire.Raw{raw},
	})
	require.NoError(t, err)
	g.finish("k")
	require.Equal(t, "high", seen.Thinking)
	require.Equal(t, "agent:main:main", seen.SessionKey)
	last := seen.Messages[len(seen.Messages)-1]
	require.Equal(t, agent.Message{Role: "user", Text: " what is this? ", Images: []agent.Image{{MimeType: "image/png", Data: []byte(png)}}}, last)
	require.Equal(t, 4, g.rec.agents, "start, tool, text, end")

	entry, _, err := g.sess.Get("main")
	require.NoError(t, err)
	require.Equal(t, "webchat", entry.LastChannel)
	require.Equal(t, &session.Origin{Provider: "webchat", Surface: "webchat", ChatType: "direct"}, entry.Origin)
}

func TestChatAbort(t *testing.T) {
	g := newRig(t, &agenttest.Script{Interval: time.Hour})
	defer g.stop()
	g.send("c3", "SLOW stream")
	_, err := g.ChatAbort(t.Context(), peer(), protocol.ChatAbortParams{SessionKey: "other", RunID: wire.Some("c3")})
	refused(t, err, protocol.ErrorInvalidRequest, "runId does not match sessionKey")

	somebody := &wire.Peer{ConnID: "conn-2", Principal: "device-2"}
	result, err := g.ChatAbort(t.Context(), somebody, protocol.ChatAbortParams{SessionKey: "agent:main:main", RunID: wire.Some("c3")})
	require.NoError(t, err)
	require.Equal(t, protocol.ChatAbortResult{Ok: true, Aborted: true, RunIDs: []string{"c3"}}, result)
	require.Equal(t, protocol.ChatStateAborted, g.rec.last().State, "told before the answer")
	require.Equal(t, "main", g.rec.last().SessionKey)
	require.Equal(t, "rpc", g.rec.last().StopReason.V)

	for _, params := range []protocol.ChatAbortParams{
		{SessionKey: "main"}, {SessionKey: "main", RunID: wire.Some("c3")}, {SessionKey: "main", RunID: wire.Some("unknown")},
	} {
		result, err = g.ChatAbort(t.Context(), peer(), params)
		require.NoError(t, err)
		require.Equal(t, protocol.ChatAbortResult{Ok: true, RunIDs: []string{}}, result)
	}
}

// As recorded in chat-errors.
func TestChatInject(t *testing.T) {
	g := newRig(t, &agenttest.Script{})
	defer g.stop()
	_, err := g.ChatInject(t.Context(), peer(), protocol.ChatInjectParams{SessionKey: "agent:main:zzz", Message: "injected note"})
	refused(t, err, protocol.ErrorInvalidRequest, "session not found")

	_, err = g.sess.Patch(t.Context(), "main", nil)
	require.NoError(t, err)
	cases := []struct {
		label wire.Opt[string]
		want  string
	}{
		{wire.Some("note"), "[note]\n\ninjected note"},
		{wire.Some("  "), "injected note"},
		{wire.Opt[string]{}, "injected note"},
	}
	for _, c := range cases {
		result, err := g.ChatInject(t.Context(), peer(), protocol.ChatInjectParams{SessionKey: "main", Message: "injected note", Label: c.label})
		require.NoError(t, err)
		require.True(t, result.Ok)
		require.Regexp(t, `^[0-9a-f]{8}$`, result.MessageID)
		event := g.rec.last()
		require.Equal(t, "inject-"+result.MessageID, event.RunID)
		require.Equal(t, "main", event.SessionKey)
		require.Zero(t, event.Seq)
		require.Equal(t, protocol.ChatStateFinal, event.State)
		m, err := protocol.DecodeChatMessage(event.Message)
		require.NoError(t, err)
		require.Equal(t, c.want, m.Content[0].Text.V)
		require.Equal(t, "gateway-injected", m.Model.V)
		require.True(t, m.Usage.V.Cost.Set)
	}
}
