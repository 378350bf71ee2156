package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent/agenttest"
	"github.com/coderclaw/gateway/pkg/wire"
)

// asked lists the models that the service was asked for.
func asked(m *agenttest.Model) (models []string) {
	for _, r := range m.Requests() {
		models = append(models, r.Model)
	}
	return models
}

// A model that fails before it says anything is followed by the next; one that has
// said something is not, so that nobody reads a second answer.
func TestFallbackModels(t *testing.T) {
	model := agenttest.StartModel(t, agenttest.ModelOptions{Interval: -1, RefuseModels: []string{"first"}, APIKey: testAPIKey})
	h := prepare(t, model)
	require.NoError(t, os.MkdirAll(h.dir, 0o700))
	config := `{agents: {defaults: {model: {primary: "openai/first", fallbacks: ["second", "third"]}}}}`
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "coderclaw.json"), []byte(config), 0o600))
	h.start()
	v := h.visit("owner")

	end := v.terminal(v.say("main", "hello", "k1"))
	require.Equal(t, protocol.ChatStateFinal, end.State)
	require.Equal(t, []string{"first", "second"}, asked(model))
	end = v.terminal(v.say("main", "DROP it", "k2"))
	require.Equal(t, protocol.ChatStateError, end.State)
	require.Equal(t, []string{"first", "second", "first", "second"}, asked(model), "the third is not asked")

	list, err := v.ModelsList(t.Context(), protocol.ModelsListParams{})
	require.NoError(t, err)
	var ids []string
	for _, m := range list.Models {
		ids = append(ids, m.ID)
	}
	require.ElementsMatch(t, []string{"first", "second", "third", agenttest.DefaultModelID}, ids)

	// An agent has models of its own.
	_, err = v.AgentsCreate(t.Context(), protocol.AgentsCreateParams{Name: "Ops", Workspace: "ops"})
	require.NoError(t, err)
	_, err = v.AgentsUpdate(t.Context(), protocol.AgentsUpdateParams{AgentID: "ops", Model: wire.Some("own"), Fallbacks: []string{}})
	require.NoError(t, err)
	end = v.terminal(v.say("agent:ops:main", "hello", "k3"))
	require.Equal(t, protocol.ChatStateFinal, end.State)
	require.Equal(t, []string{"own"}, asked(model)[4:])
	require.NotContains(t, string(model.Requests()[0].Body), "SOUL.md", "the default agent's folder is empty")
	require.Contains(t, string(model.Requests()[4].Body), "SOUL.md", "an agent is told what its folder says")

	// Its memory is for the conversation with its owner.
	_, err = v.AgentsFilesSet(t.Context(), protocol.AgentsFilesSetParams{AgentID: "ops", Name: "MEMORY.md", Content: "The kettle is blue."})
	require.NoError(t, err)
	v.terminal(v.say("agent:ops:main", "hello", "k4"))
	v.terminal(v.say("agent:ops:group:1", "hello", "k5"))
	require.Contains(t, string(model.Requests()[5].Body), "The kettle is blue.")
	require.NotContains(t, string(model.Requests()[6].Body), "The kettle is blue.")
}

// A deleted agent's sessions can be read and not written to; when that is asked
// for, they go with it.
func TestSessionsOfADeletedAgent(t *testing.T) {
	h := open(t, nil)
	v := h.visit("owner")
	send := func(key, run string) error {
		_, err := v.ChatSend(t.Context(), protocol.ChatSendParams{SessionKey: key, Message: "hello", IdempotencyKey: run})
		return err
	}
	require.ErrorContains(t, send("agent:ops:main", "k0"), `unknown agent id "ops"`)
	create := func() {
		_, err := v.AgentsCreate(t.Context(), protocol.AgentsCreateParams{Name: "Ops", Workspace: "ops"})
		require.NoError(t, err)
	}
	create()
	h.restart()
	v = h.visit("owner again")
	v.terminal(v.say("agent:ops:main", "hello", "k1"))
	v.terminal(v.say("agent:ops:other", "hello", "k2"))
	v.terminal(v.say("main", "hello", "k3"))
	who, err := v.AgentIdentityGet(t.Context(), protocol.AgentIdentityParams{SessionKey: wire.Some("agent:ops:main")})
	require.NoError(t, err)
	require.Equal(t, "Ops", who.Name.V)

	_, err = v.AgentsDelete(t.Context(), protocol.AgentsDeleteParams{AgentID: "ops"})
	require.NoError(t, err)
	require.ErrorContains(t, send("agent:ops:main", "k4"), `unknown agent id "ops"`)
	_, err = v.Client.Agent(t.Context(), protocol.AgentParams{Message: "hello", SessionKey: wire.Some("agent:ops:main"), IdempotencyKey: "k5"}, nil)
	require.ErrorContains(t, err, `invalid agent params: unknown agent id "ops"`)
	history, err := v.ChatHistory(t.Context(), protocol.ChatHistoryParams{SessionKey: "agent:ops:main"})
	require.NoError(t, err)
	require.NotEmpty(t, history.Messages)

	create()
	deleted, err := v.AgentsDelete(t.Context(), protocol.AgentsDeleteParams{AgentID: "ops", DeleteSessions: wire.Some(true)})
	require.NoError(t, err)
	require.Equal(t, wire.Some(int64(2)), deleted.RemovedSessions)
	require.DirExists(t, deleted.MovedTo.V)
	list, err := v.SessionsList(t.Context(), protocol.SessionsListParams{})
	require.NoError(t, err)
	require.Len(t, list.Sessions, 1)
	require.Equal(t, "agent:main:main", list.Sessions[0].Key)
}
