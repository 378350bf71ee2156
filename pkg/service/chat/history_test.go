package chat

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent/agenttest"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

func (g *rig) history(key string, limit int64) protocol.ChatHistoryResult {
	g.t.Helper()
	params := protocol.ChatHistoryParams{SessionKey: key}
	if limit > 0 {
		params.Limit = wire.Some(limit)
	}
	result, err := g.ChatHistory(g.t.Context(), peer(), params)
	require.NoError(g.t, err)
	return result
}

func (g *rig) say(msgs ...session.Message) {
	g.t.Helper()
	_, _, err := g.sess.Append(g.t.Context(), "main", nil, msgs...)
	require.NoError(g.t, err)
}

func TestHistoryOfAnUnknownSession(t *testing.T) {
	g := newRig(t, &agenttest.Script{})
	defer g.stop()
	for _, key := range []string{"nobody", "agent:", "Main"} {
		got := string(g.history(key, 0).AppendJSON(nil))
		require.JSONEq(t, `{"sessionKey":"`+key+`","messages":[],"thinkingLevel":"off"}`, got)
	}
}

// As recorded in chat-send-stream.
func TestHistoryOfAConversation(t *testing.T) {
	g := newRig(t, &agenttest.Script{})
	defer g.stop()
	g.send("c1", "hello there")
	g.finish("c1")
	result := g.history("main", 10)
	entry, _, err := g.sess.Get("main")
	require.NoError(t, err)
	require.Equal(t, "main", result.SessionKey, "as sent")
	require.Equal(t, entry.SessionID, result.SessionID.V)
	require.False(t, result.VerboseLevel.Set)
	require.Len(t, result.Messages, 2)

	user, answer := result.Messages[0], result.Messages[1]
	require.Equal(t, protocol.ChatMessage{
		Role: "user", Content: user.Content, Timestamp: user.Timestamp,
	}, user, "a person's message has nothing else")
	require.Equal(t, "hello there", user.Content[0].Text.V)
	require.Equal(t, protocol.ChatMessage{
		Role: "assistant", Content: answer.Content, Timestamp: answer.Timestamp,
		API: wire.Some("script"), Provider: wire.Some("script"), Model: wire.Some("script-1"), StopReason: wire.Some("stop"),
	}, answer, "usage is left out")

	last := g.history("agent:main:main", 1)
	require.Equal(t, "agent:main:main", last.SessionKey)
	require.Equal(t, []protocol.ChatMessage{answer}, last.Messages)
}

func TestHistoryLevels(t *testing.T) {
	g := newRig(t, &agenttest.Script{})
	defer g.stop()
	_, err := g.sess.Patch(t.Context(), "main", func(e *session.Entry) error {
		e.ThinkingLevel, e.VerboseLevel = "low", "on"
		return nil
	})
	require.NoError(t, err)
	result := g.history("main", 0)
	require.Equal(t, "low", result.ThinkingLevel)
	require.Equal(t, "on", result.VerboseLevel.V)
}

func TestHistoryOfMarkedMessages(t *testing.T) {
	g := newRig(t, &agenttest.Script{})
	defer g.stop()
	g.say(
		session.Message{Role: "user", Text: "look", RunID: "1", IdempotencyKey: "1", Images: []session.Image{{MimeType: "image/png", Data: make([]byte, 300)}}},
		session.Message{Role: "assistant", Text: "half", RunID: "1", IdempotencyKey: "1:assistant", StopReason: "aborted", Aborted: true, AbortOrigin: "rpc"},
		session.Message{Role: "assistant", StopReason: "error", ErrorMessage: "HTTP 401"},
		session.Message{Role: "assistant", Text: " NO_REPLY\n"},
	)
	got := string(protocol.ChatHistoryResult{Messages: g.history("main", 0).Messages}.AppendJSON(nil))
	for _, part := range []string{
		`{"type":"text","text":"look"},{"type":"image","mimeType":"image/png","omitted":true,"bytes":300}`,
		`"idempotencyKey":"1:assistant","coderclawAbort":{"aborted":true,"origin":"rpc","runId":"1"}`,
		`"content":[],`,
		`"errorMessage":"HTTP 401"`,
	} {
		require.Contains(t, got, part)
	}
	require.Len(t, g.history("main", 0).Messages, 3, "silence is not shown")
}

func TestHistoryLimits(t *testing.T) {
	g := newRig(t, &agenttest.Script{})
	defer g.stop()
	text := strings.Repeat("\x01", historyTextUnitsMax) // 72,000 bytes of JSON each
	for range 11 {
		var batch []session.Message
		for range 100 {
			batch = append(batch, session.Message{Role: "user", Text: "x"})
		}
		g.say(batch...)
	}
	require.Len(t, g.history("main", 0).Messages, historyLimitDefault)
	require.Len(t, g.history("main", 1000).Messages, 1000)

	for range 100 {
		g.say(session.Message{Role: "user", Text: text})
	}
	got := g.history("main", 1000)
	require.Less(t, len(got.Messages), 100)
	size := len(got.AppendJSON(nil))
	require.LessOrEqual(t, size, historyBytesMax+1000)
	require.Greater(t, size, historyBytesMax-80_000, "as much as fits")
}

func TestHistoryOfAnOversizedMessage(t *testing.T) {
	g := newRig(t, &agenttest.Script{})
	defer g.stop()
	m := session.Message{Role: "assistant", Text: "x", ErrorMessage: strings.Repeat("e", historyMessageBytesMax)}
	g.say(m)
	got := g.history("main", 0).Messages
	require.Equal(t, protocol.ChatMessage{
		Role:      "assistant",
		Content:   got[0].Content,
		Timestamp: got[0].Timestamp,
		Coderclaw: wire.Some(protocol.ChatTruncation{Truncated: true, Reason: "oversized"}),
	}, got[0])
	require.Equal(t, "[chat.history omitted: message too large]", got[0].Content[0].Text.V)
}

func TestCut(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	cases := []struct{ name, text, want string }{
		{"short", "hello", "hello"},
		{"just fits", x(12000), x(12000)},
		{"one too many", x(12001), x(12000) + "\n...(truncated)..."},
		{"letters of two bytes count once", strings.Repeat("é", 12000), strings.Repeat("é", 12000)},
		{"emoji count twice", strings.Repeat("😀", 6001), strings.Repeat("😀", 6000) + "\n...(truncated)..."},
		{"no half emoji", x(11999) + "😀", x(11999) + "\n...(truncated)..."},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, cut(c.text)) })
	}
}

// A summary that a model is given stands where it was made, between the messages that
// nobody has lost, and says what it is.
func TestHistoryShowsACompaction(t *testing.T) {
	g := newRig(t, &agenttest.Script{})
	defer g.stop()
	g.say(session.Message{Role: "user", Text: "one"}, session.Message{Role: "assistant", Text: "two"},
		session.Message{Role: "system", Type: session.TypeCompaction, Text: "the gist"}, session.Message{Role: "user", Text: "three"})
	messages := g.history("main", 10).Messages
	require.Len(t, messages, 4)
	require.Equal(t, protocol.ChatRoleSystem, messages[2].Role)
	require.Equal(t, "Compaction: the model is given this summary in place of the older messages.\n\nthe gist", messages[2].Content[0].Text.V)
}

func TestWholeCutsNothingUnlessNoFrameCouldHoldIt(t *testing.T) {
	long := strings.Repeat("word ", 40_000)
	require.Contains(t, Show(session.Message{Role: "user", Text: long}).Content[0].Text.V, textCut)
	require.Equal(t, long, Whole(session.Message{Role: "user", Text: long}).Content[0].Text.V)
	huge := Whole(session.Message{Role: "user", Text: strings.Repeat("x", wholeMessageBytesMax)})
	require.Equal(t, messageOmitted, huge.Content[0].Text.V)
}
