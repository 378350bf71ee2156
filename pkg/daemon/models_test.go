package daemon

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent/agenttest"
	"github.com/coderclaw/gateway/pkg/wire"
)

// gated is a model service that says one word and the rest when it is let.
type gated struct {
	url string
	let chan struct{}

	mu     sync.Mutex
	models []string
	keys   []string
}

func startGated(t *testing.T) *gated {
	g := &gated{let: make(chan struct{})}
	word := func(w http.ResponseWriter, text string) {
		_, _ = fmt.Fprintf(w, "data: {\"choices\":[{\"delta\":{\"content\":%q}}]}\n\n", text)
		w.(http.Flusher).Flush()
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q struct{ Model string }
		if json.NewDecoder(r.Body).Decode(&q) != nil {
			http.Error(w, "no body", http.StatusNotFound)
			return
		}
		g.mu.Lock()
		g.models, g.keys = append(g.models, q.Model), append(g.keys, r.Header.Get("Authorization"))
		g.mu.Unlock()
		w.Header().Set("Content-Type", "text/event-stream")
		word(w, "first ")
		select {
		case <-g.let:
		case <-r.Context().Done():
			return
		}
		word(w, "last")
		_, _ = fmt.Fprint(w, "data: [DONE]\n\n")
	}))
	t.Cleanup(server.Close)
	g.url = server.URL + "/v1"
	return g
}

func (g *gated) asked() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string{}, g.models...)
}

// lastAnswer is who wrote the last message of a session, as provider/model.
func (v *visitor) lastAnswer(sessionKey string) string {
	v.t.Helper()
	history, err := v.ChatHistory(v.t.Context(), protocol.ChatHistoryParams{SessionKey: sessionKey})
	require.NoError(v.t, err)
	last := history.Messages[len(history.Messages)-1]
	return last.Provider.V + "/" + last.Model.V
}

// A change of models and agents holds for the next run. The one that goes on ends with
// the model it began with, and no connection is cut.
func TestModelsChangeUnderARun(t *testing.T) {
	old, now := startGated(t), agenttest.StartModel(t, agenttest.ModelOptions{Interval: -1})
	config := func(model string) string {
		return fmt.Sprintf(`{models: {providers: {a: {baseUrl: %q, apiKey: %q}, b: {baseUrl: %q}}}, agents: {defaults: {model: %q}}}`, old.url, testAPIKey, now.URL, model)
	}
	h := serve(t, config("a/old"))
	v := h.visit("owner")
	run := v.say("main", "hello", "k1")
	v.until("the first word", func() bool { return len(v.chats(run)) > 0 })

	h.write(config("b/mock-1"))
	require.Eventually(t, func() bool {
		list, err := v.SessionsList(t.Context(), protocol.SessionsListParams{})
		return err == nil && list.Defaults.ModelProvider.V == "b"
	}, configPatience, 20*time.Millisecond)
	require.Empty(t, terminals(v.chats(run)), "the run goes on")
	v.terminal(v.say("other", "hello", "k2"))
	require.Equal(t, "b/mock-1", v.lastAnswer("other"), "the next run takes the new model")
	close(old.let)
	end := v.terminal(run)
	require.Equal(t, protocol.ChatStateFinal, end.State)
	require.Equal(t, "first last", text(t, end.Message))
	require.Equal(t, "a/old", v.lastAnswer("main"))
	require.Equal(t, []string{"old"}, old.asked())
	require.Equal(t, []string{"Bearer " + testAPIKey}, old.keys)

	// What is asked for over the wire is in force with the answer.
	patched, err := v.patch(`{agents: {defaults: {model: "a/newer"}}}`)
	require.NoError(t, err)
	require.Equal(t, "hot", patched.Restart.Mode)
	v.terminal(v.say("main", "hello", "k3"))
	require.Equal(t, []string{"old", "newer"}, old.asked())
	require.Contains(t, v.modelIDs(), "a/newer", "the list is made anew")

	// Without models there is the fixed reply again, and no restart was needed for any of it.
	_, err = v.patch(`{models: null, agents: null}`)
	require.NoError(t, err)
	v.terminal(v.say("main", "hello", "k4"))
	require.Equal(t, "builtin/builtin", v.lastAnswer("main"))
	require.NotContains(t, v.dump(), "shutdown")
	require.NotContains(t, h.logs.String(), "restarting in place")
}

func (v *visitor) modelIDs() (ids []string) {
	v.t.Helper()
	list, err := v.ModelsList(v.t.Context(), protocol.ModelsListParams{})
	require.NoError(v.t, err)
	for _, m := range list.Models {
		ids = append(ids, m.Provider+"/"+m.ID)
	}
	return ids
}

// Models are called by their provider, everywhere: in fallbacks, sessions, agents and
// tasks. Each has a price of its own.
func TestSeveralProviders(t *testing.T) {
	one := agenttest.StartModel(t, agenttest.ModelOptions{Interval: -1, ID: "listed", RefuseModels: []string{"tired"}})
	two := agenttest.StartModel(t, agenttest.ModelOptions{Interval: -1, ID: "also-listed"})
	h := serve(t, fmt.Sprintf(`{
  models: {providers: {
    one: {baseUrl: %q, models: [{id: "tired", cost: {input: 1000000}}, {id: "x", name: "The X", contextWindow: 9000, reasoning: true, cost: {input: 1000000}}]},
    two: {baseUrl: %q, models: [{id: "org/y", maxTokens: 77, input: ["text"], cost: {input: 2000000}}]} } },
  agents: {defaults: {model: {primary: "one/tired", fallbacks: ["two/org/y"]}}} }`, one.URL, two.URL))
	v := h.visit("owner")

	end := v.terminal(v.say("main", "hello", "k1"))
	require.Equal(t, protocol.ChatStateFinal, end.State)
	require.Equal(t, "two/org/y", v.lastAnswer("main"), "a fallback of another provider")
	require.Contains(t, string(two.Requests()[0].Body), `"max_tokens":77`)
	require.Equal(t, []string{"one/x", "one/listed", "one/tired", "two/also-listed", "two/org/y"}, v.modelIDs())

	patch := func(key, model string) protocol.SessionsPatchResult {
		got, err := v.SessionsPatch(t.Context(), protocol.SessionsPatchParams{Key: key, Model: wire.OptNull[string]{V: model, Set: true}})
		require.NoError(t, err)
		return got
	}
	for _, c := range []struct{ session, model, answers string }{
		{"s1", "one/x", "one/x"}, {"s2", "x", "one/x"}, {"s3", "org/y", "two/org/y"}, {"s4", "unheard", "one/unheard"},
		{"s5", "nobody/z", "two/org/y"}, // of no provider: as if nothing were chosen
	} {
		patch(c.session, c.model)
		v.terminal(v.say(c.session, "hello", "of-"+c.session))
		require.Equal(t, c.answers, v.lastAnswer(c.session), c.model)
	}

	// An agent's own, and a task's own.
	_, err := v.AgentsCreate(t.Context(), protocol.AgentsCreateParams{Name: "Ops", Workspace: "ops"})
	require.NoError(t, err)
	_, err = v.AgentsUpdate(t.Context(), protocol.AgentsUpdateParams{AgentID: "ops", Model: wire.Some("nobody/z")})
	require.ErrorContains(t, err, "names the provider nobody, which models.providers does not have")
	_, err = v.AgentsUpdate(t.Context(), protocol.AgentsUpdateParams{AgentID: "ops", Model: wire.Some("one/x")})
	require.NoError(t, err)
	v.terminal(v.say("agent:ops:main", "hello", "k2"))
	require.Equal(t, "one/x", v.lastAnswer("agent:ops:main"))
	submit := func(model, key string) error {
		_, err := v.TasksSubmit(t.Context(), protocol.TasksSubmitParams{
			Description: "d", Input: "hello", SessionID: wire.Some("agent:ops:task"), Model: wire.Some(model), AgentID: wire.Some("ops"), IdempotencyKey: key,
		})
		return err
	}
	require.NoError(t, submit("two/org/y", "t1"))
	require.Eventually(t, func() bool {
		history, err := v.ChatHistory(t.Context(), protocol.ChatHistoryParams{SessionKey: "agent:ops:task"})
		return err == nil && len(history.Messages) == 2
	}, configPatience, 20*time.Millisecond)
	require.Equal(t, "two/org/y", v.lastAnswer("agent:ops:task"), "the task's model wins over the agent's")
	require.ErrorContains(t, submit("nobody/z", "t2"), "names the provider nobody")

	rows, windows := map[string]string{}, map[string]int64{}
	list, err := v.SessionsList(t.Context(), protocol.SessionsListParams{})
	require.NoError(t, err)
	for _, r := range list.Sessions {
		rows[r.Key] = r.ModelProvider.V + "/" + r.Model.V
		windows[r.Key] = r.ContextTokens.V
	}
	require.Equal(t, map[string]string{
		"agent:main:main": "one/tired", "agent:main:s1": "one/x", "agent:main:s2": "one/x", "agent:main:s3": "two/org/y", "agent:main:s4": "one/unheard",
		"agent:main:s5": "one/tired", "agent:ops:main": "one/x", "agent:ops:task": "one/x",
	}, rows)

	require.EqualValues(t, 9000, windows["agent:main:s1"])
	require.Zero(t, windows["agent:main:s3"], "nothing is known of that window")

	used, err := v.SessionsUsage(t.Context(), protocol.SessionsUsageParams{})
	require.NoError(t, err)
	for _, m := range used.Aggregates.ByModel {
		price := map[string]float64{"one/x": 1, "two/org/y": 2}[m.Provider.V+"/"+m.Model.V]
		require.InDelta(t, price*float64(m.Totals.Input), m.Totals.InputCost, 0.001, m.Model.V)
		require.Equal(t, price == 0, m.Totals.MissingCostEntries > 0, m.Model.V)
	}
}

// An image reaches a model that takes them, and is left out for one that does not.
func TestImagesForModelsWithoutEyes(t *testing.T) {
	model := agenttest.StartModel(t, agenttest.ModelOptions{Interval: -1})
	h := serve(t, fmt.Sprintf(`{models: {providers: {one: {baseUrl: %q, models: [{id: "blind", input: ["text"]}, {id: "sees", input: ["text", "image"]}]}}}}`, model.URL))
	v := h.visit("owner")
	picture := []byte(`{"type":"image","mimeType":"image/png","content":"iVBORw0KGgo="}`)
	for i, c := range []struct{ name, body, lacks string }{{"one/blind", "you cannot see images", "image_url"}, {"one/sees", "image_url", "cannot see"}} {
		_, err := v.SessionsPatch(t.Context(), protocol.SessionsPatchParams{Key: c.name[4:], Model: wire.OptNull[string]{V: c.name, Set: true}})
		require.NoError(t, err)
		got, err := v.ChatSend(t.Context(), protocol.ChatSendParams{SessionKey: c.name[4:], Message: "look", Attachments: []wire.Raw{picture}, IdempotencyKey: c.name})
		require.NoError(t, err)
		v.terminal(got.ChatRunStatus.RunID)
		body := string(model.Requests()[i].Body)
		require.Contains(t, body, c.body)
		require.NotContains(t, body, c.lacks)
	}
}

// Agents that the file declares are there at once, with their models, and one of them
// may be the default; nothing of it takes a restart.
func TestDeclaredAgentsComeAndGo(t *testing.T) {
	model := agenttest.StartModel(t, agenttest.ModelOptions{Interval: -1})
	h := serve(t, fmt.Sprintf(`{models: {providers: {one: {baseUrl: %q}}}, agents: {defaults: {model: "one/x"}}}`, model.URL))
	v := h.visit("owner")
	_, err := v.patch(`{agents: {defaults: {maxConcurrent: 7}, list: [{id: "ops", default: true, name: "Operations", model: "one/y", identity: {emoji: "O"}}]}}`)
	require.NoError(t, err)
	list, err := v.AgentsList(t.Context(), protocol.AgentsListParams{})
	require.NoError(t, err)
	require.Equal(t, "ops", list.DefaultID)
	require.Len(t, list.Agents, 2)
	require.Equal(t, []any{"ops", "Operations", "one/y", "O"}, []any{list.Agents[0].ID, list.Agents[0].Name.V, list.Agents[0].Model.V, list.Agents[0].Identity.V.Emoji.V})
	v.terminal(v.say("main", "hello", "k1"))
	require.Equal(t, []string{"y"}, asked(model), "main is the default agent's session")
	history, err := v.ChatHistory(t.Context(), protocol.ChatHistoryParams{SessionKey: "agent:ops:main"})
	require.NoError(t, err)
	require.Len(t, history.Messages, 2)
	_, err = v.AgentsUpdate(t.Context(), protocol.AgentsUpdateParams{AgentID: "ops", Model: wire.Some("one/z")})
	require.ErrorContains(t, err, "agents.list[0].model of agent \"ops\" is set in the configuration")
	status, err := v.TasksStatus(t.Context(), protocol.TasksStatusParams{})
	require.NoError(t, err)
	require.EqualValues(t, 7, status.Capacity)
	health, err := v.Health(t.Context(), protocol.HealthParams{Probe: wire.Some(true)})
	require.NoError(t, err)
	require.Equal(t, "ops", health.DefaultAgentID)
	require.Len(t, health.Agents, 2)

	_, err = v.patch(`{agents: {list: [{id: "ops", default: false, workspace: "logs/x"}]}}`)
	require.NoError(t, err)
	require.Contains(t, fmt.Sprint(v.degraded()), "agents.list[0].workspace: workspace")
	v.terminal(v.say("main", "hello", "k2"))
	require.Equal(t, []string{"y", "x"}, asked(model))
	_, err = v.patch(`{agents: {list: null}}`)
	require.NoError(t, err)
	require.Empty(t, v.degraded())
	_, err = v.ChatSend(t.Context(), protocol.ChatSendParams{SessionKey: "agent:ops:main", Message: "hello", IdempotencyKey: "k3"})
	require.ErrorContains(t, err, `unknown agent id "ops"`)
	require.NotContains(t, h.logs.String(), "restarting in place")
}
