package agents

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

func TestAgentsList(t *testing.T) {
	named := protocol.AgentSummary{ID: "main", Name: wire.Some("Main"), Identity: wire.Some(protocol.AgentIdentity{Name: wire.Some("Claw")})}
	cases := []struct {
		name string
		cfg  Config
		want string
	}{
		{"one agent without a list", Config{DefaultID: "main", MainKey: "main"},
			`{"defaultId":"main","mainKey":"main","scope":"per-sender","agents":[{"id":"main"}]}`},
		{"the default one first", Config{DefaultID: "main", MainKey: "home", Agents: []protocol.AgentSummary{{ID: "b"}, {ID: "a"}, named}},
			`{"defaultId":"main","mainKey":"home","scope":"per-sender","agents":[{"id":"main","name":"Main","identity":{"name":"Claw"}},{"id":"b"},{"id":"a"}]}`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, err := New(c.cfg)
			require.NoError(t, err)
			result, err := s.AgentsList(t.Context(), &wire.Peer{}, protocol.AgentsListParams{})
			require.NoError(t, err)
			raw := result.AppendJSON(nil)
			require.JSONEq(t, c.want, string(raw))
			require.NoError(t, protocol.Validate("AgentsListResult", raw))

			result.Agents[0].ID = "changed by the caller"
			again, err := s.AgentsList(t.Context(), &wire.Peer{}, protocol.AgentsListParams{})
			require.NoError(t, err)
			require.JSONEq(t, c.want, string(again.AppendJSON(nil)))
		})
	}
}

func TestNewRefuses(t *testing.T) {
	cases := []struct {
		name, want string
		cfg        Config
	}{
		{"no default", "need a default id", Config{MainKey: "main"}},
		{"no main session", "need a default id", Config{DefaultID: "main"}},
		{"twice", `agent id "a" is empty or there twice`, Config{DefaultID: "a", MainKey: "main", Agents: []protocol.AgentSummary{{ID: "a"}, {ID: "a"}}}},
		{"nameless", `agent id "" is empty or there twice`, Config{DefaultID: "a", MainKey: "main", Agents: []protocol.AgentSummary{{ID: "a"}, {}}}},
		{"default missing", `default agent "a" is not among the agents`, Config{DefaultID: "a", MainKey: "main", Agents: []protocol.AgentSummary{{ID: "b"}}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := New(c.cfg)
			require.ErrorContains(t, err, c.want)
		})
	}
}
