package sessions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/turn"
	"github.com/coderclaw/gateway/pkg/wire"
)

// fakeRuns notes what it was asked to end and answers err, or lets it happen.
type fakeRuns struct {
	ended []string
	err   error
}

func (r *fakeRuns) EndSession(_ context.Context, key string, then func() error) error {
	r.ended = append(r.ended, key)
	if r.err != nil {
		return r.err
	}
	return then()
}

// room is the service over a real store.
type room struct {
	*Service
	sessions *session.Sessions
	runs     *fakeRuns
	chat     *fakeTalk
	told     *told
	model    Model
}

func newRoom(t *testing.T) *room {
	t.Helper()
	db, err := store.Open(store.Options{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	s, err := session.New(session.Config{DB: db})
	require.NoError(t, err)
	r := &room{sessions: s, runs: &fakeRuns{}, chat: &fakeTalk{}, told: &told{}, model: Model{Provider: "mock", ID: "mock-1", ContextTokens: 32000}}
	r.Service, err = New(Config{
		Sessions: s, Runs: r.runs, Talk: r.chat, Emitter: r.told, Model: func(string) Model { return r.model }, Resolve: r.known, StorePath: "/state/gateway.db",
		Show: func(m session.Message) protocol.ChatMessage {
			return protocol.ChatMessage{Role: protocol.ChatRole(m.Role), Content: []protocol.ChatContent{turn.TextContent(m.Text)}}
		},
		Whole: func(m session.Message) protocol.ChatMessage {
			return protocol.ChatMessage{Role: protocol.ChatRole(m.Role), Content: []protocol.ChatContent{turn.TextContent("whole " + m.Text)}}
		},
	})
	require.NoError(t, err)
	s.OnChange(r.Noted)
	return r
}

// known knows the provider of the default model, and one named router.
func (r *room) known(name string) (provider, id string, ok bool) {
	provider, id = splitModel(name, r.model.Provider)
	return provider, id, provider == r.model.Provider || provider == "router"
}

// fakeTalk notes what it was handed.
type fakeTalk struct {
	sent    []protocol.ChatSendParams
	aborted []protocol.ChatAbortParams
}

func (f *fakeTalk) ChatSend(_ context.Context, _ *wire.Peer, p protocol.ChatSendParams) (protocol.ChatSendResult, error) {
	f.sent = append(f.sent, p)
	return protocol.ChatSendResult{ChatRunStatus: &protocol.ChatRunStatus{RunID: p.IdempotencyKey, Status: protocol.ChatRunStateStarted}}, nil
}

func (f *fakeTalk) ChatAbort(_ context.Context, _ *wire.Peer, p protocol.ChatAbortParams) (protocol.ChatAbortResult, error) {
	f.aborted = append(f.aborted, p)
	return protocol.ChatAbortResult{Ok: true, RunIDs: []string{}}, nil
}

// ran is what a run leaves on an entry.
func ran(e *session.Entry) {
	e.SystemSent, e.TotalTokensFresh = true, true
	e.InputTokens, e.OutputTokens, e.TotalTokens, e.ContextTokens = 10, 8, 10, 32000
	e.ModelProvider, e.Model = "mock", "mock-1"
	e.ChatType, e.LastChannel = "direct", "webchat"
	e.Origin = &session.Origin{Provider: "webchat", Surface: "webchat", ChatType: "direct"}
	e.Delivery = &session.Delivery{Channel: "webchat"}
}

// talk appends a question and an answer.
func (r *room) talk(t *testing.T, key, question, answer string) session.Entry {
	t.Helper()
	e, _, err := r.sessions.Append(t.Context(), key, ran,
		session.Message{Role: "user", Text: question}, session.Message{Role: "assistant", Text: answer})
	require.NoError(t, err)
	return e
}

// call sends params through the generated validation, the handler and the
// generated encoding, and decodes the result as strictly as a test can.
func call[P, R any](t *testing.T, m wire.Method[P, R], fn func(context.Context, *wire.Peer, P) (R, error), params string) (R, error) {
	t.Helper()
	var zero R
	p, err := m.Params.Decode([]byte(params))
	require.NoError(t, err)
	result, err := fn(t.Context(), &wire.Peer{}, p)
	if err != nil {
		return zero, err
	}
	out, err := m.Result.Decode(m.Result.Append(nil, result))
	require.NoError(t, err, "the result must conform to its own schema")
	return out, nil
}

// refused checks the code and the words a client is told.
func refused(t *testing.T, err error, message string) *wire.Error {
	t.Helper()
	var e *wire.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, protocol.ErrorInvalidRequest, e.Code)
	require.Equal(t, message, e.Message)
	return e
}

// members returns the JSON members of v.
func members(t *testing.T, v any) []string {
	t.Helper()
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	var m map[string]any
	require.NoError(t, json.Unmarshal(raw, &m))
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}

func (r *room) list(t *testing.T, params string) protocol.SessionsListResult {
	t.Helper()
	result, err := call(t, protocol.MethodSessionsList, r.SessionsList, params)
	require.NoError(t, err)
	return result
}

func keys(result protocol.SessionsListResult) []string {
	out := []string{}
	for _, row := range result.Sessions {
		out = append(out, row.Key)
	}
	return out
}

func TestNewNeedsEverything(t *testing.T) {
	_, err := New(Config{})
	require.ErrorContains(t, err, "are required")
}

// The rows, their members and the defaults are those of the original's recorded
// sessions.list.
func TestListRow(t *testing.T) {
	r := newRoom(t)
	before := time.Now().UnixMilli()
	e := r.talk(t, "main", "hello", "hi")
	result := r.list(t, `{}`)
	require.GreaterOrEqual(t, result.Ts, before)
	require.Equal(t, "(multiple)", result.Path)
	require.Equal(t, int64(1), result.Count)
	require.Equal(t, protocol.SessionListDefaults{
		ModelProvider: wire.NotNull("mock"), Model: wire.NotNull("mock-1"), ContextTokens: wire.NotNull(int64(32000)),
	}, result.Defaults)
	require.Equal(t, []protocol.SessionRow{{
		Key: "agent:main:main", Kind: protocol.SessionKindDirect, ChatType: wire.Some("direct"),
		Origin:    wire.Some(protocol.SessionOrigin{Provider: wire.Some("webchat"), Surface: wire.Some("webchat"), ChatType: wire.Some("direct")}),
		UpdatedAt: wire.NotNull(e.UpdatedAt), SessionID: wire.Some(e.SessionID),
		SystemSent: wire.Some(true), AbortedLastRun: wire.Some(false),
		InputTokens: wire.Some(int64(10)), OutputTokens: wire.Some(int64(8)), TotalTokens: wire.Some(int64(10)), TotalTokensFresh: wire.Some(true),
		ModelProvider: wire.Some("mock"), Model: wire.Some("mock-1"), ContextTokens: wire.Some(int64(32000)),
		DeliveryContext: wire.Some(protocol.SessionDeliveryContext{Channel: wire.Some("webchat")}), LastChannel: wire.Some("webchat"),
	}}, result.Sessions)
}

func TestListWithoutAModel(t *testing.T) {
	r := newRoom(t)
	r.model = Model{}
	_, err := r.sessions.Patch(t.Context(), "main", nil)
	require.NoError(t, err)
	result := r.list(t, `{}`)
	require.Equal(t, protocol.SessionListDefaults{}, result.Defaults, "what is not known is null")
	require.ElementsMatch(t, []string{"key", "kind", "updatedAt", "sessionId"}, members(t, result.Sessions[0]))
}

func TestListFilters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t)
		put := func(key string, upd func(*session.Entry)) session.Entry {
			e, _, err := r.sessions.Append(t.Context(), key, upd)
			require.NoError(t, err)
			time.Sleep(10 * time.Minute)
			return e
		}
		put("agent:ops:main", nil)
		put("global", nil)
		put("unknown", nil)
		put("cron:job", func(e *session.Entry) { e.Label = "Cron: Job" })
		put("cron:job:run:1", nil)
		child := put("subagent:x", func(e *session.Entry) { e.SpawnedBy, e.Subject = "agent:main:main", "Weather" })
		put("webchat:group:g", nil)
		put("main", nil)
		for name, c := range map[string]struct {
			params string
			want   []string
		}{
			"everything but shared and cron runs": {`{}`, []string{"agent:main:main", "agent:main:webchat:group:g", "agent:main:subagent:x", "agent:main:cron:job", "agent:ops:main"}},
			"shared ones too": {`{"includeGlobal":true,"includeUnknown":true}`, []string{
				"agent:main:main", "agent:main:webchat:group:g", "agent:main:subagent:x", "agent:main:cron:job", "unknown", "global", "agent:ops:main"}},
			"global only":           {`{"includeGlobal":true,"search":"global"}`, []string{"global"}},
			"limit":                 {`{"limit":2}`, []string{"agent:main:main", "agent:main:webchat:group:g"}},
			"limit after filters":   {`{"limit":1,"agentId":"Ops"}`, []string{"agent:ops:main"}},
			"agent without shared":  {`{"agentId":"ops","includeGlobal":true}`, []string{"agent:ops:main"}},
			"active":                {`{"activeMinutes":25}`, []string{"agent:main:main", "agent:main:webchat:group:g"}},
			"active since ever":     {`{"activeMinutes":9223372036854775807,"limit":1}`, []string{"agent:main:main"}},
			"label":                 {`{"label":" Cron: Job "}`, []string{"agent:main:cron:job"}},
			"spawned by":            {`{"spawnedBy":"agent:main:main"}`, []string{"agent:main:subagent:x"}},
			"search in the key":     {`{"search":"GROUP"}`, []string{"agent:main:webchat:group:g"}},
			"search in the label":   {`{"search":"cron: j"}`, []string{"agent:main:cron:job"}},
			"search in the subject": {`{"search":"weath"}`, []string{"agent:main:subagent:x"}},
			"search in the id":      {fmt.Sprintf(`{"search":%q}`, strings.ToUpper(child.SessionID)), []string{"agent:main:subagent:x"}},
			"blank search":          {`{"search":"  ","limit":1}`, []string{"agent:main:main"}},
			"search for nothing":    {`{"search":"zzz"}`, []string{}},
		} {
			result := r.list(t, c.params)
			require.Equal(t, c.want, keys(result), name)
			require.Equal(t, int64(len(c.want)), result.Count, name)
		}
		kinds := map[string]protocol.SessionKind{}
		for _, row := range r.list(t, `{"includeGlobal":true,"includeUnknown":true}`).Sessions {
			kinds[row.Key] = row.Kind
		}
		require.Equal(t, protocol.SessionKindGroup, kinds["agent:main:webchat:group:g"])
		require.Equal(t, protocol.SessionKindGlobal, kinds["global"])
		require.Equal(t, protocol.SessionKindUnknown, kinds["unknown"])
		require.Equal(t, protocol.SessionKindDirect, kinds["agent:main:main"])
	})
}

func TestListDerivesTitles(t *testing.T) {
	for name, c := range map[string]struct {
		question, want string
		upd            func(*session.Entry)
	}{
		"short":                {"  hello \n world ", "hello world", nil},
		"cut at a word":        {"System: [2026-11-22 10:47:13 UTC] Node: mac (10.0.0.2) · app 1.0 · last", "System: [2026-11-22 10:47:13 UTC] Node: mac (10.0.0.2) ·…", nil},
		"one long word":        {strings.Repeat("é", 80), strings.Repeat("é", 59) + "…", nil},
		"exactly 60":           {strings.Repeat("x", 60), strings.Repeat("x", 60), nil},
		"a name of its own":    {"hello", "Named", func(e *session.Entry) { e.DisplayName = " Named " }},
		"a huge first message": {strings.Repeat("word ", 1<<20), strings.TrimSpace(strings.Repeat("word ", 11)) + "…", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			_, _, err := r.sessions.Append(t.Context(), "main", c.upd,
				session.Message{Role: "assistant", Text: "welcome"}, session.Message{Role: "user", Text: c.question}, session.Message{Role: "user", Text: "later"})
			require.NoError(t, err)
			row := r.list(t, `{"includeDerivedTitles":true}`).Sessions[0]
			require.Equal(t, wire.Some(c.want), row.DerivedTitle)
			require.LessOrEqual(t, len([]rune(row.DerivedTitle.V)), 60)
			require.False(t, row.LastMessagePreview.Set)
			require.False(t, r.list(t, `{}`).Sessions[0].DerivedTitle.Set)
		})
	}
	t.Run("without messages", func(t *testing.T) {
		r := newRoom(t)
		e, err := r.sessions.Patch(t.Context(), "main", nil)
		require.NoError(t, err)
		row := r.list(t, `{"includeDerivedTitles":true,"includeLastMessage":true}`).Sessions[0]
		require.Equal(t, wire.Some(e.SessionID[:8]+" ("+time.UnixMilli(e.UpdatedAt).UTC().Format(time.DateOnly)+")"), row.DerivedTitle)
		require.False(t, row.LastMessagePreview.Set)
	})
}

func TestListShowsTheLastMessage(t *testing.T) {
	r := newRoom(t)
	r.talk(t, "main", "hello", "  the answer\n")
	_, _, err := r.sessions.Append(t.Context(), "main", nil,
		session.Message{Role: "system", Text: "not this"}, session.Message{Role: "assistant", Text: "NO_REPLY"},
		session.Message{Role: "user", Images: []session.Image{{MimeType: "image/png", Data: []byte{1}}}})
	require.NoError(t, err)
	require.Equal(t, wire.Some("the answer"), r.list(t, `{"includeLastMessage":true}`).Sessions[0].LastMessagePreview)

	r.talk(t, "main", "hello", strings.Repeat("x", 5000))
	last := r.list(t, `{"includeLastMessage":true}`).Sessions[0].LastMessagePreview.V
	require.Len(t, last, lastMessageCharsMax)
	require.True(t, strings.HasSuffix(last, "x..."))
}

func TestPreview(t *testing.T) {
	r := newRoom(t)
	r.talk(t, "main", "first", "second")
	r.talk(t, "main", "System: [2026-11-22 10:49:15 UTC] legacy node event", "word0 word1 word2 word3 word4 word5 word6 word7")
	_, err := r.sessions.Patch(t.Context(), "empty", nil)
	require.NoError(t, err)
	_, _, err = r.sessions.Append(t.Context(), "odd", nil,
		session.Message{Role: "user", Images: []session.Image{{MimeType: "image/png", Data: []byte{1}}}},
		session.Message{Role: "assistant", Text: "NO_REPLY"}, session.Message{Role: "robot", Text: "  héllo  "})
	require.NoError(t, err)

	result, err := call(t, protocol.MethodSessionsPreview, r.SessionsPreview,
		`{"keys":["main"," agent:main:zzz ","empty","agent:","odd"," "],"limit":2,"maxChars":40}`)
	require.NoError(t, err)
	require.NotZero(t, result.Ts)
	none := []protocol.SessionPreviewItem{}
	require.Equal(t, []protocol.SessionPreview{
		{Key: "main", Status: protocol.SessionPreviewStatusOk, Items: []protocol.SessionPreviewItem{
			{Role: "user", Text: "System: [2026-11-22 10:49:15 UTC] leg..."},
			{Role: "assistant", Text: "word0 word1 word2 word3 word4 word5 w..."},
		}},
		{Key: "agent:main:zzz", Status: protocol.SessionPreviewStatusMissing, Items: none},
		{Key: "empty", Status: protocol.SessionPreviewStatusEmpty, Items: none},
		{Key: "agent:", Status: protocol.SessionPreviewStatusMissing, Items: none},
		{Key: "odd", Status: protocol.SessionPreviewStatusOk, Items: []protocol.SessionPreviewItem{{Role: "user", Text: "[image]"}, {Role: "other", Text: "héllo"}}},
	}, result.Previews)
}

func TestPreviewBounds(t *testing.T) {
	r := newRoom(t)
	for i := range 60 {
		r.talk(t, "main", fmt.Sprint(i), strings.Repeat("é", 3000))
	}
	many := make([]string, 70)
	for i := range many {
		many[i] = "main"
	}
	raw, err := json.Marshal(map[string]any{"keys": many, "limit": 1})
	require.NoError(t, err)
	result, err := call(t, protocol.MethodSessionsPreview, r.SessionsPreview, string(raw))
	require.NoError(t, err)
	require.Len(t, result.Previews, 64)
	require.Len(t, result.Previews[63].Items, 1)

	result, err = call(t, protocol.MethodSessionsPreview, r.SessionsPreview, `{"keys":["main"],"limit":1099511627776,"maxChars":1099511627776}`)
	require.NoError(t, err)
	require.Len(t, result.Previews[0].Items, 50)
	require.Equal(t, strings.Repeat("é", 1997)+"...", result.Previews[0].Items[49].Text)

	result, err = call(t, protocol.MethodSessionsPreview, r.SessionsPreview, `{"keys":["main"]}`)
	require.NoError(t, err)
	require.Len(t, result.Previews[0].Items, 12)
	require.Len(t, []rune(result.Previews[0].Items[11].Text), 240)
}

func TestResolve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t)
		main := r.talk(t, "main", "hello", "hi")
		label := func(e *session.Entry) { e.Label, e.SpawnedBy = "Twin", "agent:main:main" }
		for _, key := range []string{"one", "agent:ops:two", "global"} {
			time.Sleep(time.Second)
			_, _, err := r.sessions.Append(t.Context(), key, label)
			require.NoError(t, err)
		}
		global, _, err := r.sessions.Get("global")
		require.NoError(t, err)
		for name, c := range map[string]struct{ params, want, refusal string }{
			"a key":                    {`{"key":" Main "}`, "agent:main:main", ""},
			"an id":                    {fmt.Sprintf(`{"sessionId":%q}`, main.SessionID), "agent:main:main", ""},
			"a key given as id":        {`{"sessionId":"agent:main:one"}`, "agent:main:one", ""},
			"an alias given as id":     {`{"sessionId":"main"}`, "", "No session found: main"},
			"a label of one agent":     {`{"label":"Twin","agentId":"OPS"}`, "agent:ops:two", ""},
			"a label of two":           {`{"label":"Twin"}`, "", "Multiple sessions found with label: Twin (agent:ops:two, agent:main:one)"},
			"a label of no such child": {`{"label":"Twin","spawnedBy":"agent:main:one"}`, "", "No session found with label: Twin"},
			"an id that is not shown":  {fmt.Sprintf(`{"sessionId":%q}`, global.SessionID), "", "No session found: " + global.SessionID},
			"an id that is asked for":  {fmt.Sprintf(`{"sessionId":%q,"includeGlobal":true}`, global.SessionID), "global", ""},
			"an unknown key":           {`{"key":"zzz"}`, "", "No session found: zzz"},
			"a malformed key":          {`{"key":"agent:"}`, "", "No session found: agent:"},
			"nothing":                  {`{}`, "", "Either key, sessionId, or label is required"},
			"blanks":                   {`{"key":" ","label":" "}`, "", "Either key, sessionId, or label is required"},
			"two":                      {`{"key":"main","label":"x"}`, "", "Provide either key, sessionId, or label (not multiple)"},
		} {
			result, err := call(t, protocol.MethodSessionsResolve, r.SessionsResolve, c.params)
			if c.refusal != "" {
				e := refused(t, err, c.refusal)
				if strings.HasPrefix(c.refusal, "No session") {
					require.Contains(t, string(e.Details), protocol.DetailSessionNotFound, name)
				}
				continue
			}
			require.NoError(t, err, name)
			require.Equal(t, protocol.SessionsResolveResult{Ok: true, Key: c.want}, result, name)
		}
	})
}

func TestReset(t *testing.T) {
	r := newRoom(t)
	old := r.talk(t, "main", "hello", "hi")
	result, err := call(t, protocol.MethodSessionsReset, r.SessionsReset, `{"key":"main","reason":"new"}`)
	require.NoError(t, err)
	require.True(t, result.Ok)
	require.Equal(t, "agent:main:main", result.Key)
	require.NotEqual(t, old.SessionID, result.Entry.SessionID)
	require.ElementsMatch(t, []string{
		"sessionId", "updatedAt", "systemSent", "abortedLastRun", "model", "contextTokens", "origin", "lastChannel",
		"inputTokens", "outputTokens", "totalTokens", "totalTokensFresh",
	}, members(t, result.Entry), "the members of the recorded answer")
	require.Equal(t, wire.Some(false), result.Entry.SystemSent)
	require.Equal(t, []string{"agent:main:main"}, r.runs.ended)
	left, err := r.sessions.History("main", 10)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestDelete(t *testing.T) {
	r := newRoom(t)
	e := r.talk(t, "notes", "hello", "hi")
	result, err := call(t, protocol.MethodSessionsDelete, r.SessionsDelete, `{"key":"Notes"}`)
	require.NoError(t, err)
	require.Equal(t, "agent:main:notes", result.Key)
	require.True(t, result.Ok && result.Deleted)
	require.Len(t, result.Archived, 1)
	require.True(t, strings.HasPrefix(result.Archived[0], e.SessionID+".deleted."))
	require.Equal(t, []string{"agent:main:notes"}, r.runs.ended)

	result, err = call(t, protocol.MethodSessionsDelete, r.SessionsDelete, `{"key":"agent:main:zzz"}`)
	require.NoError(t, err)
	require.Equal(t, protocol.SessionsDeleteResult{Ok: true, Key: "agent:main:zzz", Archived: []string{}}, result)

	r.talk(t, "notes", "again", "hi")
	result, err = call(t, protocol.MethodSessionsDelete, r.SessionsDelete, `{"key":"notes","deleteTranscript":false}`)
	require.NoError(t, err)
	require.True(t, result.Deleted)
	require.Empty(t, result.Archived)

	for _, key := range []string{"main", "agent:main:main"} {
		_, err = call(t, protocol.MethodSessionsDelete, r.SessionsDelete, fmt.Sprintf(`{"key":%q}`, key))
		refused(t, err, "Cannot delete the main session (agent:main:main).")
	}
	require.Len(t, r.runs.ended, 3, "the refusal ends no run")
}

// A session whose runs do not end is left as it is.
func TestActiveSessionIsLeftAlone(t *testing.T) {
	r := newRoom(t)
	old := r.talk(t, "notes", "hello", "hi")
	r.runs.err = wire.Errorf(protocol.ErrorUnavailable, "Session agent:main:notes is still active; try again in a moment.")
	_, err := call(t, protocol.MethodSessionsReset, r.SessionsReset, `{"key":"notes"}`)
	require.Equal(t, r.runs.err, err)
	_, err = call(t, protocol.MethodSessionsDelete, r.SessionsDelete, `{"key":"notes"}`)
	require.Equal(t, r.runs.err, err)
	e, ok, err := r.sessions.Get("notes")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, old, e)
}

func TestChangesNeedAGoodKey(t *testing.T) {
	r := newRoom(t)
	for method, fn := range map[string]func(key string) error{
		"sessions.patch": func(key string) error {
			_, err := r.SessionsPatch(t.Context(), nil, protocol.SessionsPatchParams{Key: key})
			return err
		},
		"sessions.reset": func(key string) error {
			_, err := r.SessionsReset(t.Context(), nil, protocol.SessionsResetParams{Key: key})
			return err
		},
		"sessions.delete": func(key string) error {
			_, err := r.SessionsDelete(t.Context(), nil, protocol.SessionsDeleteParams{Key: key})
			return err
		},
	} {
		refused(t, fn(" "), "key required")
		refused(t, fn("agent:x"), fmt.Sprintf(`invalid %s params: malformed session key "agent:x"`, method))
	}
	require.Empty(t, r.runs.ended)
	require.Empty(t, r.list(t, `{}`).Sessions)
}

func TestStoreFailureIsNotTheClientsFault(t *testing.T) {
	require.Equal(t, store.ErrClosed, refusal(store.ErrClosed))
	var e *wire.Error
	require.ErrorAs(t, refusal(fmt.Errorf("%w: allowed are 2", session.ErrTooMany)), &e)
	require.Contains(t, string(e.Details), protocol.DetailLimitExceeded)
	require.False(t, errors.Is(e, session.ErrTooMany))
}

var _ Runs = (*turn.Runs)(nil)

// brokenSessions cannot read transcripts.
type brokenSessions struct{ Sessions }

var errBroken = errors.New("broken")

func (brokenSessions) History(string, int) ([]session.Message, error) { return nil, errBroken }
func (brokenSessions) Head(string, int) ([]session.Message, error)    { return nil, errBroken }

func TestTranscriptThatCannotBeRead(t *testing.T) {
	r := newRoom(t)
	r.talk(t, "main", "hello", "hi")
	r.Service.sessions = brokenSessions{r.sessions}
	result, err := call(t, protocol.MethodSessionsPreview, r.SessionsPreview, `{"keys":["main","zzz"]}`)
	require.NoError(t, err)
	require.Equal(t, protocol.SessionPreviewStatusError, result.Previews[0].Status)
	require.Equal(t, protocol.SessionPreviewStatusMissing, result.Previews[1].Status)
	for _, params := range []string{`{"includeDerivedTitles":true}`, `{"includeLastMessage":true}`} {
		_, err = call(t, protocol.MethodSessionsList, r.SessionsList, params)
		require.ErrorIs(t, err, errBroken)
	}
}
