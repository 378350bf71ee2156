package agents

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/wire"
)

// memAudit keeps records in memory, in the order in which they came.
type memAudit struct{ records []audit.Record }

func (a *memAudit) Append(_ context.Context, r audit.Record) error { a.Note(r); return nil }
func (a *memAudit) Note(r audit.Record)                            { a.records = append(a.records, r) }

// Who changes an agent, or the files that it works by, is in the record; so is who
// tried to and was refused. No content of a file is.
func TestChangesOfAgentsAreRecorded(t *testing.T) {
	o := newOffice(t)
	log := &memAudit{}
	s := Record(o.Service, log, slog.New(slog.DiscardHandler))
	ctx := t.Context()
	by := &wire.Peer{DeviceID: "desk", Principal: "desk", Client: wire.ClientInfo{ID: "cli"}, Role: "operator", ConnID: "c1", RemoteIP: "192.0.2.9"}

	_, err := s.AgentsCreate(ctx, by, protocol.AgentsCreateParams{Name: "Ops", Workspace: "ops"})
	require.NoError(t, err)
	_, err = s.AgentsCreate(ctx, by, protocol.AgentsCreateParams{Name: "Ops", Workspace: "ops"})
	require.Error(t, err)
	_, err = s.AgentsUpdate(ctx, by, protocol.AgentsUpdateParams{AgentID: "ops", Model: wire.Some("m"), Fallbacks: []string{"n"}})
	require.NoError(t, err)
	_, err = s.AgentsFilesSet(ctx, by, protocol.AgentsFilesSetParams{AgentID: "ops", Name: "SOUL.md", Content: "the words of it"})
	require.NoError(t, err)
	_, err = s.AgentsFilesSet(ctx, by, protocol.AgentsFilesSetParams{AgentID: "ops", Name: "../../etc/passwd", Content: "x"})
	require.Error(t, err)
	_, err = s.AgentsDelete(ctx, by, protocol.AgentsDeleteParams{AgentID: "main"})
	require.Error(t, err)
	_, err = s.AgentsDelete(ctx, by, protocol.AgentsDeleteParams{AgentID: "ops", DeleteSessions: wire.Some(true)})
	require.NoError(t, err)
	_, err = s.AgentsCreate(ctx, &wire.Peer{Principal: "gateway-token"}, protocol.AgentsCreateParams{Name: "Two", Workspace: "two"})
	require.NoError(t, err)
	o.fails = errors.New("disk full")
	_, err = s.AgentsDelete(ctx, by, protocol.AgentsDeleteParams{AgentID: "two", DeleteSessions: wire.Some(true)})
	require.ErrorIs(t, err, o.fails)

	var told [][3]string
	for _, r := range log.records {
		told = append(told, [3]string{r.Action, r.Decision, r.Reason})
		require.NotContains(t, r.Reason, "the words of it")
	}
	require.Equal(t, [][3]string{
		{"agent.create", "allowed", "ops"},
		{"agent.create", "refused", `"Ops": agent "ops" already exists`},
		{"agent.update", "allowed", "ops: model, fallbacks"},
		{"agent.file", "allowed", "ops: SOUL.md"},
		{"agent.file", "refused", `ops: ../../etc/passwd: unsupported file "../../etc/passwd"`},
		{"agent.delete", "refused", `main: "main" cannot be deleted`},
		{"agent.delete", "allowed", "ops, and 3 of its sessions"},
		{"agent.create", "allowed", "two"},
		{"agent.delete", "allowed", "two; its sessions could not all be ended"},
	}, told)
	require.Equal(t, audit.Record{Action: "agent.create", Decision: "allowed", Actor: "desk", Client: "cli", Address: "192.0.2.9", Role: "operator", ConnID: "c1", Reason: "ops"}, log.records[0])
	require.Equal(t, "gateway-token", log.records[7].Actor)
}
