package sessions

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

func (r *room) patch(t *testing.T, params string) (protocol.SessionsPatchResult, error) {
	t.Helper()
	return call(t, protocol.MethodSessionsPatch, r.SessionsPatch, params)
}

// The conversation is the original's recorded one.
func TestPatchAsRecorded(t *testing.T) {
	r := newRoom(t)
	e := r.talk(t, "main", "hello", "hi")
	base := []string{
		"sessionId", "updatedAt", "systemSent", "deliveryContext", "lastChannel", "modelProvider", "model", "contextTokens", "abortedLastRun",
		"inputTokens", "outputTokens", "totalTokens", "totalTokensFresh", "chatType", "origin", "sessionFile",
	}
	resolved := wire.Some(protocol.SessionModelRef{ModelProvider: wire.Some("mock"), Model: wire.Some("mock-1")})

	result, err := r.patch(t, `{"key":"main","thinkingLevel":"low","verboseLevel":"on","label":"My label"}`)
	require.NoError(t, err)
	require.True(t, result.Ok)
	require.Equal(t, "/state/gateway.db", result.Path)
	require.Equal(t, "agent:main:main", result.Key)
	require.Equal(t, e.SessionID, result.Entry.SessionID)
	require.GreaterOrEqual(t, result.Entry.UpdatedAt, e.UpdatedAt)
	require.ElementsMatch(t, append([]string{"label", "thinkingLevel", "verboseLevel"}, base...), members(t, result.Entry))
	require.Equal(t, resolved, result.Resolved)

	_, err = r.patch(t, `{"key":"main","thinkingLevel":"bogus"}`)
	refused(t, err, "invalid thinkingLevel (use off|minimal|low|medium|high)")

	result, err = r.patch(t, `{"key":"main","thinkingLevel":null,"label":null,"verboseLevel":null}`)
	require.NoError(t, err)
	require.ElementsMatch(t, base, members(t, result.Entry))

	result, err = r.patch(t, `{"key":"main","model":"zzz/unknown"}`)
	require.NoError(t, err)
	require.Equal(t, wire.Some("zzz"), result.Entry.ProviderOverride)
	require.Equal(t, wire.Some("unknown"), result.Entry.ModelOverride)
	require.Equal(t, resolved, result.Resolved, "what nobody can be asked for is not reported")
}

func TestPatchMakesTheSession(t *testing.T) {
	r := newRoom(t)
	result, err := r.patch(t, `{"key":"New"}`)
	require.NoError(t, err)
	require.Equal(t, "agent:main:new", result.Key)
	require.ElementsMatch(t, []string{"sessionId", "updatedAt"}, members(t, result.Entry))
	_, ok, err := r.sessions.Get("new")
	require.NoError(t, err)
	require.True(t, ok)
}

func TestPatchLevels(t *testing.T) {
	for name, c := range map[string]struct {
		params string
		want   func(session.Entry) string
		value  string
	}{
		"thinking synonym":         {`"thinkingLevel":" MED "`, func(e session.Entry) string { return e.ThinkingLevel }, "medium"},
		"thinking off":             {`"thinkingLevel":"off"`, func(e session.Entry) string { return e.ThinkingLevel }, "off"},
		"verbose full":             {`"verboseLevel":"everything"`, func(e session.Entry) string { return e.VerboseLevel }, "full"},
		"verbose off is kept":      {`"verboseLevel":"no"`, func(e session.Entry) string { return e.VerboseLevel }, "off"},
		"reasoning stream":         {`"reasoningLevel":"live"`, func(e session.Entry) string { return e.ReasoningLevel }, "stream"},
		"reasoning on":             {`"reasoningLevel":"yes"`, func(e session.Entry) string { return e.ReasoningLevel }, "on"},
		"reasoning off is none":    {`"reasoningLevel":"hide"`, func(e session.Entry) string { return e.ReasoningLevel }, ""},
		"usage on means tokens":    {`"responseUsage":"on"`, func(e session.Entry) string { return e.ResponseUsage }, "tokens"},
		"usage off is none":        {`"responseUsage":"off"`, func(e session.Entry) string { return e.ResponseUsage }, ""},
		"usage full":               {`"responseUsage":"full"`, func(e session.Entry) string { return e.ResponseUsage }, "full"},
		"elevated ask":             {`"elevatedLevel":"prompt"`, func(e session.Entry) string { return e.ElevatedLevel }, "ask"},
		"elevated on":              {`"elevatedLevel":"1"`, func(e session.Entry) string { return e.ElevatedLevel }, "on"},
		"elevated full":            {`"elevatedLevel":"auto"`, func(e session.Entry) string { return e.ElevatedLevel }, "full"},
		"elevated off is kept":     {`"elevatedLevel":"off"`, func(e session.Entry) string { return e.ElevatedLevel }, "off"},
		"exec host":                {`"execHost":" Node"`, func(e session.Entry) string { return e.ExecHost }, "node"},
		"exec security":            {`"execSecurity":"allowlist"`, func(e session.Entry) string { return e.ExecSecurity }, "allowlist"},
		"exec ask":                 {`"execAsk":"on-miss"`, func(e session.Entry) string { return e.ExecAsk }, "on-miss"},
		"exec node keeps its case": {`"execNode":" MyMac "`, func(e session.Entry) string { return e.ExecNode }, "MyMac"},
		"send policy":              {`"sendPolicy":"deny"`, func(e session.Entry) string { return e.SendPolicy }, "deny"},
		"group activation":         {`"groupActivation":"always"`, func(e session.Entry) string { return e.GroupActivation }, "always"},
		"label":                    {`"label":"  L  "`, func(e session.Entry) string { return e.Label }, "L"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			_, err := r.patch(t, `{"key":"main",`+c.params+`}`)
			require.NoError(t, err)
			e, _, err := r.sessions.Get("main")
			require.NoError(t, err)
			require.Equal(t, c.value, c.want(e))

			member, _, _ := strings.Cut(c.params, ":")
			_, err = r.patch(t, `{"key":"main",`+member+`:null}`)
			require.NoError(t, err)
			e, _, err = r.sessions.Get("main")
			require.NoError(t, err)
			require.Empty(t, c.want(e), "null clears")
		})
	}
}

func TestPatchRefusals(t *testing.T) {
	r := newRoom(t)
	_, err := r.patch(t, `{"key":"other","label":"Taken"}`)
	require.NoError(t, err)
	_, err = r.patch(t, `{"key":"subagent:a","spawnedBy":"agent:main:main","spawnDepth":1}`)
	require.NoError(t, err)
	for name, c := range map[string]struct{ params, want string }{
		"thinking":                  {`{"key":"main","thinkingLevel":"x"}`, "invalid thinkingLevel (use off|minimal|low|medium|high)"},
		"verbose":                   {`{"key":"main","verboseLevel":"x"}`, `invalid verboseLevel (use "on"|"off")`},
		"reasoning":                 {`{"key":"main","reasoningLevel":"x"}`, `invalid reasoningLevel (use "on"|"off"|"stream")`},
		"elevated":                  {`{"key":"main","elevatedLevel":"x"}`, `invalid elevatedLevel (use "on"|"off"|"ask"|"full")`},
		"exec host":                 {`{"key":"main","execHost":"x"}`, `invalid execHost (use "sandbox"|"gateway"|"node")`},
		"exec security":             {`{"key":"main","execSecurity":"x"}`, `invalid execSecurity (use "deny"|"allowlist"|"full")`},
		"exec ask":                  {`{"key":"main","execAsk":"x"}`, `invalid execAsk (use "off"|"on-miss"|"always")`},
		"exec node":                 {`{"key":"main","execNode":" "}`, "invalid execNode: empty"},
		"blank label":               {`{"key":"main","label":" "}`, "invalid label: empty"},
		"label of another":          {`{"key":"main","label":" Taken "}`, "label already in use: Taken"},
		"blank model":               {`{"key":"main","model":" "}`, "invalid model: empty"},
		"model without a name":      {`{"key":"main","model":"zzz/"}`, "invalid model: zzz/"},
		"model without a provider":  {`{"key":"main","model":"/x"}`, "invalid model: /x"},
		"parent of a main session":  {`{"key":"main","spawnedBy":"agent:main:x"}`, "spawnedBy is only supported for subagent:* sessions"},
		"blank parent":              {`{"key":"subagent:b","spawnedBy":" "}`, "invalid spawnedBy: empty"},
		"another parent":            {`{"key":"subagent:a","spawnedBy":"agent:main:x"}`, "spawnedBy cannot be changed once set"},
		"no parent any more":        {`{"key":"subagent:a","spawnedBy":null}`, "spawnedBy cannot be cleared once set"},
		"depth of a main session":   {`{"key":"main","spawnDepth":1}`, "spawnDepth is only supported for subagent:* sessions"},
		"another depth":             {`{"key":"subagent:a","spawnDepth":2}`, "spawnDepth cannot be changed once set"},
		"no depth any more":         {`{"key":"subagent:a","spawnDepth":null}`, "spawnDepth cannot be cleared once set"},
		"one bad member of several": {`{"key":"main","sendPolicy":"deny","thinkingLevel":"low","verboseLevel":"x"}`, `invalid verboseLevel (use "on"|"off")`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.patch(t, c.params)
			refused(t, err, c.want)
			_, ok, err := r.sessions.Get("main")
			require.NoError(t, err)
			require.False(t, ok, "a refused patch makes no session")
		})
	}
	t.Run("the same parent and depth again", func(t *testing.T) {
		_, err := r.patch(t, `{"key":"subagent:a","spawnedBy":"agent:main:main","spawnDepth":1}`)
		require.NoError(t, err)
	})
	t.Run("an entry over its limit", func(t *testing.T) {
		_, err := r.patch(t, fmt.Sprintf(`{"key":"main","execNode":%q}`, strings.Repeat("x", session.EntryBytesMax)))
		var e *wire.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, protocol.ErrorInvalidRequest, e.Code)
		require.Contains(t, e.Message, "session entry is too large")
		require.Contains(t, string(e.Details), protocol.DetailLimitExceeded)
	})
}

func TestPatchModel(t *testing.T) {
	ref := func(provider, model string) wire.Opt[protocol.SessionModelRef] {
		return wire.Some(protocol.SessionModelRef{ModelProvider: some(provider), Model: some(model)})
	}
	for name, c := range map[string]struct {
		def             Model
		model           string
		provider, id    string
		wantP, wantResM string
	}{
		"provider and model":         {Model{Provider: "mock", ID: "mock-1"}, `" Router / Unknown-1 "`, "router", "Unknown-1", "router", "Unknown-1"},
		"an unknown provider":        {Model{Provider: "mock", ID: "mock-1"}, `"zzz/x"`, "zzz", "x", "mock", "mock-1"},
		"model of the default's":     {Model{Provider: "mock", ID: "mock-1"}, `"mock-2"`, "mock", "mock-2", "mock", "mock-2"},
		"slashes in the model":       {Model{Provider: "mock", ID: "mock-1"}, `"router/a/b"`, "router", "a/b", "router", "a/b"},
		"the default by name":        {Model{Provider: "mock", ID: "mock-1"}, `"mock/mock-1"`, "", "", "mock", "mock-1"},
		"the default by model":       {Model{Provider: "mock", ID: "mock-1"}, `"mock-1"`, "", "", "mock", "mock-1"},
		"cleared":                    {Model{Provider: "mock", ID: "mock-1"}, `null`, "", "", "mock", "mock-1"},
		"no default is known":        {Model{}, `"x"`, "", "x", "", "x"},
		"no default and none chosen": {Model{}, `null`, "", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRoom(t)
			r.model = c.def
			_, err := r.patch(t, `{"key":"main","model":"old/model"}`)
			require.NoError(t, err)
			result, err := r.patch(t, `{"key":"main","model":`+c.model+`}`)
			require.NoError(t, err)
			require.Equal(t, some(c.provider), result.Entry.ProviderOverride)
			require.Equal(t, some(c.id), result.Entry.ModelOverride)
			require.Equal(t, ref(c.wantP, c.wantResM), result.Resolved)
			row := r.list(t, `{}`).Sessions[0]
			require.Equal(t, some(c.wantP), row.ModelProvider)
			require.Equal(t, some(c.wantResM), row.Model)
		})
	}
	t.Run("after a reset the last model's provider is the default's", func(t *testing.T) {
		r := newRoom(t)
		r.talk(t, "main", "hello", "hi")
		_, err := r.sessions.Reset(t.Context(), "main")
		require.NoError(t, err)
		result, err := r.patch(t, `{"key":"main"}`)
		require.NoError(t, err)
		require.Equal(t, ref("mock", "mock-1"), result.Resolved)
	})
}
