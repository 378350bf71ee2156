package agents

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agents"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

// office is the service over a real registry; ended are the agents whose sessions
// were ended.
type office struct {
	*Service
	dir   string
	ended []string
	fails error
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{dir: t.TempDir()}
	db, err := store.Open(store.Options{Dir: o.dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	registry, err := agents.New(agents.Config{
		DB: db, DefaultID: "main", DefaultName: "Assistant", Workspace: filepath.Join(o.dir, "workspace"), StateDir: o.dir,
	})
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(o.dir, "workspace"), 0o700))
	o.Service, err = New(Config{Agents: registry, MainKey: "main", EndSessions: func(_ context.Context, id string) (int, error) {
		o.ended = append(o.ended, id)
		return 3, o.fails
	}})
	require.NoError(t, err)
	return o
}

func (o *office) list(t *testing.T) string {
	t.Helper()
	result, err := o.AgentsList(t.Context(), &wire.Peer{}, protocol.AgentsListParams{})
	require.NoError(t, err)
	raw := result.AppendJSON(nil)
	require.NoError(t, protocol.Validate("AgentsListResult", raw))
	return string(raw)
}

func (o *office) create(t *testing.T) protocol.AgentsCreateResult {
	t.Helper()
	result, err := o.AgentsCreate(t.Context(), &wire.Peer{}, protocol.AgentsCreateParams{Name: "Ops", Workspace: "ops", Emoji: wire.Some("O")})
	require.NoError(t, err)
	require.NoError(t, protocol.Validate("AgentsCreateResult", result.AppendJSON(nil)))
	return result
}

func message(t *testing.T, err error) string {
	t.Helper()
	var no *wire.Error
	require.ErrorAs(t, err, &no)
	require.Equal(t, protocol.ErrorInvalidRequest, no.Code)
	return no.Message
}

func TestNewNeedsItsParts(t *testing.T) {
	_, err := New(Config{})
	require.ErrorContains(t, err, "agents service needs")
}

func TestAnAgentFromCreateToDelete(t *testing.T) {
	o := newOffice(t)
	main := `{"id":"main","name":"Assistant","workspace":"` + o.dir + `/workspace"}`
	require.JSONEq(t, `{"defaultId":"main","mainKey":"main","scope":"per-sender","agents":[`+main+`]}`, o.list(t))

	created := o.create(t)
	require.Equal(t, protocol.AgentsCreateResult{Ok: true, AgentID: "ops", Name: "Ops", Workspace: filepath.Join(o.dir, "ops")}, created)
	updated, err := o.AgentsUpdate(t.Context(), &wire.Peer{}, protocol.AgentsUpdateParams{
		AgentID: "OPS", Name: wire.Some("Operations"), Model: wire.Some("a"), Fallbacks: []string{"b"}, Avatar: wire.Some("o.png"),
	})
	require.NoError(t, err)
	require.Equal(t, protocol.AgentsUpdateResult{Ok: true, AgentID: "ops"}, updated)
	require.JSONEq(t, `{"defaultId":"main","mainKey":"main","scope":"per-sender","agents":[`+main+`,
		{"id":"ops","name":"Operations","workspace":"`+created.Workspace+`","model":"a","fallbacks":["b"],
		"identity":{"name":"Ops","emoji":"O","avatar":"o.png"}}]}`, o.list(t))
	_, err = o.AgentsUpdate(t.Context(), &wire.Peer{}, protocol.AgentsUpdateParams{AgentID: "ops", Fallbacks: []string{}})
	require.NoError(t, err)
	require.Contains(t, o.list(t), `"fallbacks":[]`, "none, by wish")

	deleted, err := o.AgentsDelete(t.Context(), &wire.Peer{}, protocol.AgentsDeleteParams{AgentID: "Ops"})
	require.NoError(t, err)
	require.Equal(t, []any{true, "ops", int64(0), false}, []any{deleted.Ok, deleted.AgentID, deleted.RemovedBindings, deleted.RemovedSessions.Set})
	require.DirExists(t, deleted.MovedTo.V)
	require.NoError(t, protocol.Validate("AgentsDeleteResult", deleted.AppendJSON(nil)))
	require.Empty(t, o.ended, "sessions stay unless asked")
	require.NotContains(t, o.list(t), "ops\"")
}

func TestDeleteWithSessions(t *testing.T) {
	o := newOffice(t)
	o.create(t)
	params := protocol.AgentsDeleteParams{AgentID: "OPS", DeleteFiles: wire.Some(false), DeleteSessions: wire.Some(true)}
	deleted, err := o.AgentsDelete(t.Context(), &wire.Peer{}, params)
	require.NoError(t, err)
	require.Equal(t, wire.Some(int64(3)), deleted.RemovedSessions)
	require.False(t, deleted.MovedTo.Set)
	require.DirExists(t, filepath.Join(o.dir, "ops"))
	require.Equal(t, []string{"ops"}, o.ended)

	o.create(t)
	o.fails = errors.New("disk")
	_, err = o.AgentsDelete(t.Context(), &wire.Peer{}, params)
	require.ErrorIs(t, err, o.fails)
}

func TestRefusals(t *testing.T) {
	o := newOffice(t)
	o.create(t)
	ctx, peer := t.Context(), &wire.Peer{}
	_, err := o.AgentsCreate(ctx, peer, protocol.AgentsCreateParams{Name: "main", Workspace: "x"})
	require.Equal(t, `"main" is reserved`, message(t, err))
	_, err = o.AgentsCreate(ctx, peer, protocol.AgentsCreateParams{Name: "ops", Workspace: "x"})
	require.Equal(t, `agent "ops" already exists`, message(t, err))
	_, err = o.AgentsUpdate(ctx, peer, protocol.AgentsUpdateParams{AgentID: "zz"})
	require.Equal(t, `agent "zz" not found`, message(t, err))
	_, err = o.AgentsDelete(ctx, peer, protocol.AgentsDeleteParams{AgentID: "main"})
	require.Equal(t, `"main" cannot be deleted`, message(t, err))
	_, err = o.AgentsFilesList(ctx, peer, protocol.AgentsFilesListParams{AgentID: "zz"})
	require.Equal(t, "unknown agent id", message(t, err))
	_, err = o.AgentsFilesGet(ctx, peer, protocol.AgentsFilesGetParams{AgentID: "main", Name: "x"})
	require.Equal(t, `unsupported file "x"`, message(t, err))
	_, err = o.AgentsFilesSet(ctx, peer, protocol.AgentsFilesSetParams{AgentID: "zz", Name: "SOUL.md"})
	require.Equal(t, "unknown agent id", message(t, err))
}

func TestFiles(t *testing.T) {
	o := newOffice(t)
	ctx, peer := t.Context(), &wire.Peer{}
	get := func() protocol.AgentsFileEntry {
		got, err := o.AgentsFilesGet(ctx, peer, protocol.AgentsFilesGetParams{AgentID: "main", Name: "SOUL.md"})
		require.NoError(t, err)
		require.NoError(t, protocol.Validate("AgentsFilesGetResult", got.AppendJSON(nil)))
		return got.File
	}
	path := filepath.Join(o.dir, "workspace", "SOUL.md")
	require.Equal(t, protocol.AgentsFileEntry{Name: "SOUL.md", Path: path, Missing: true}, get())
	params := protocol.AgentsFilesSetParams{AgentID: "main", Name: "SOUL.md", Content: "Kind\n", BaseHash: wire.Some("")}
	set, err := o.AgentsFilesSet(ctx, peer, params)
	require.NoError(t, err)
	require.NoError(t, protocol.Validate("AgentsFilesSetResult", set.AppendJSON(nil)))
	require.Equal(t, get(), set.File)
	require.Equal(t, []string{"Kind\n", path}, []string{set.File.Content.V, set.File.Path})
	_, err = o.AgentsFilesSet(ctx, peer, params)
	require.Equal(t, "file changed since it was read; re-run agents.files.get and retry", message(t, err))
	params.BaseHash, params.Content = set.File.Hash, ""
	set, err = o.AgentsFilesSet(ctx, peer, params)
	require.NoError(t, err)
	require.Equal(t, wire.Some(""), set.File.Content, "an empty file has an empty content")

	list, err := o.AgentsFilesList(ctx, peer, protocol.AgentsFilesListParams{AgentID: "main"})
	require.NoError(t, err)
	require.NoError(t, protocol.Validate("AgentsFilesListResult", list.AppendJSON(nil)))
	require.Len(t, list.Files, 8)
	for _, f := range list.Files {
		require.Equal(t, f.Name != "SOUL.md", f.Missing)
		require.False(t, f.Content.Set || f.Hash.Set)
	}
}
