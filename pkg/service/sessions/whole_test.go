package sessions

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

func TestCompact(t *testing.T) {
	r := newRoom(t)
	e := r.talk(t, "a", "1", "2")
	r.talk(t, "a", "3", "4")
	compact := func(params string) protocol.SessionsCompactResult {
		result, err := call(t, protocol.MethodSessionsCompact, r.SessionsCompact, params)
		require.NoError(t, err)
		return result
	}
	got := compact(`{"key":"a"}`)
	require.False(t, got.Compacted)
	require.Equal(t, int64(4), got.Kept.V)
	require.Equal(t, protocol.SessionsCompactResult{Ok: true, Key: "agent:main:b", Reason: wire.Some("no sessionId")}, compact(`{"key":"b"}`))
	require.Empty(t, r.runs.ended, "nothing to do disturbs no run")

	got = compact(`{"key":"A","maxLines":3}`)
	require.True(t, got.Compacted)
	require.Equal(t, int64(3), got.Kept.V)
	require.Contains(t, got.Archived.V, e.SessionID+".bak.")
	require.Equal(t, []string{"agent:main:a"}, r.runs.ended)
	list, err := r.sessions.History("a", 0)
	require.NoError(t, err)
	require.Len(t, list, 3)

	r.runs.err = errors.New("still active")
	_, err = call(t, protocol.MethodSessionsCompact, r.SessionsCompact, `{"key":"a","maxLines":1}`)
	require.ErrorIs(t, err, r.runs.err)
	_, err = call(t, protocol.MethodSessionsCompact, r.SessionsCompact, `{"key":" "}`)
	refused(t, err, "key required")
}

func TestCreate(t *testing.T) {
	r := newRoom(t)
	create := func(params string) (protocol.SessionsCreateResult, error) {
		return call(t, protocol.MethodSessionsCreate, r.SessionsCreate, params)
	}
	got, err := create(`{"label":" Garden ","model":"other/m2"}`)
	require.NoError(t, err)
	require.Regexp(t, `^agent:main:chat-[a-z2-7]{12}$`, got.Key)
	require.Equal(t, "Garden", got.Entry.Label.V)
	require.Equal(t, "m2", got.Entry.ModelOverride.V)
	got, err = create(`{"key":"Work","agentId":"Helper"}`)
	require.NoError(t, err)
	require.Equal(t, "agent:helper:work", got.Key)

	_, err = create(`{"key":"agent:helper:work"}`)
	e := refused(t, err, "session exists already: agent:helper:work")
	require.Contains(t, string(e.Details), protocol.DetailSessionExists)
	_, err = create(`{"key":"x","label":"Garden"}`)
	refused(t, err, "label already in use: Garden")
	_, ok, err := r.sessions.Get("x")
	require.NoError(t, err)
	require.False(t, ok, "a refused session is not made")
	_, err = create(`{"key":"agent:main:x","agentId":"helper"}`)
	refused(t, err, "key agent:main:x does not belong to agent helper: leave agentId out or give a key without agent")
	_, err = create(`{"key":"agent:"}`)
	refused(t, err, `invalid sessions.create params: malformed session key "agent:"`)
}

// sessions.send and abort are chat's, with nothing of their own but the look whether
// the session exists.
func TestSendAndAbortAreChats(t *testing.T) {
	r := newRoom(t)
	r.talk(t, "a", "1", "2")
	_, err := call(t, protocol.MethodSessionsSend, r.SessionsSend,
		`{"key":"A","message":"hi","thinking":"low","timeoutMs":5,"attachments":[{"type":"image"}],"idempotencyKey":"k"}`)
	require.NoError(t, err)
	require.Len(t, r.chat.sent, 1)
	require.JSONEq(t, `{"sessionKey":"A","message":"hi","thinking":"low","timeoutMs":5,"attachments":[{"type":"image"}],"idempotencyKey":"k"}`,
		string(r.chat.sent[0].AppendJSON(nil)))
	_, err = call(t, protocol.MethodSessionsSend, r.SessionsSend, `{"key":"nobody","message":"hi","idempotencyKey":"k"}`)
	e := refused(t, err, "No session found: nobody")
	require.Contains(t, string(e.Details), protocol.DetailSessionNotFound)
	require.Len(t, r.chat.sent, 1)
	_, ok, err := r.sessions.Get("nobody")
	require.NoError(t, err)
	require.False(t, ok)

	_, err = call(t, protocol.MethodSessionsAbort, r.SessionsAbort, `{"key":"a","runId":"k"}`)
	require.NoError(t, err)
	require.Equal(t, []protocol.ChatAbortParams{{SessionKey: "a", RunID: wire.Some("k")}}, r.chat.aborted)
	_, err = call(t, protocol.MethodSessionsAbort, r.SessionsAbort, `{"key":" "}`)
	refused(t, err, "key required")
}

// The entry of every answer is the whole record, also of a session that has run.
func TestEntryIsWhole(t *testing.T) {
	r := newRoom(t)
	r.talk(t, "a", "1", "2")
	result, err := call(t, protocol.MethodSessionsReset, r.SessionsReset, `{"key":"a"}`)
	require.NoError(t, err)
	require.Subset(t, members(t, result.Entry), []string{
		"sessionId", "updatedAt", "systemSent", "abortedLastRun", "model", "contextTokens", "inputTokens", "outputTokens",
		"totalTokens", "totalTokensFresh", "origin", "lastChannel",
	})
}

// Nothing that the store knows of a session for people is left out of its record.
func TestEntryLeavesNothingOut(t *testing.T) {
	r := newRoom(t)
	n := int64(1)
	e := session.Entry{SessionID: "id", SpawnDepth: &n, Origin: &session.Origin{Label: "x"}, Delivery: &session.Delivery{Channel: "x"}}
	v := reflect.ValueOf(&e).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString("x")
		case reflect.Int64:
			f.SetInt(1)
		case reflect.Bool:
			f.SetBool(true)
		}
	}
	shown := members(t, r.entry(&e))
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		switch name {
		case "key", "createdAt", "messageCount": // beside the record, or our own
		default:
			require.Contains(t, shown, name)
		}
	}
}

// What Newest returns is shared: the service must not write to it.
func TestListLeavesTheIndexAlone(t *testing.T) {
	r := newRoom(t)
	r.talk(t, "a", "1", "2")
	before, _, err := r.sessions.Newest(1)
	require.NoError(t, err)
	was := *before[0]
	_, err = call(t, protocol.MethodSessionsList, r.SessionsList, `{"includeDerivedTitles":true,"includeLastMessage":true,"search":"A"}`)
	require.NoError(t, err)
	require.Equal(t, was, *before[0])
}
