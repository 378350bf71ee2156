package agents

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

// home is a registry on a store of its own, in a home folder of its own.
type home struct {
	*Registry
	t   *testing.T
	db  *store.DB
	dir string
}

func newHome(t *testing.T) *home {
	t.Helper()
	h := &home{t: t, dir: t.TempDir()}
	require.NoError(t, os.MkdirAll(h.path("state", "workspace"), 0o700))
	h.open()
	t.Cleanup(func() { require.NoError(t, h.db.Close()) })
	return h
}

func (h *home) path(parts ...string) string {
	return filepath.Join(append([]string{h.dir}, parts...)...)
}

func (h *home) open() {
	h.t.Helper()
	db, err := store.Open(store.Options{Dir: h.path("state")})
	require.NoError(h.t, err)
	h.db = db
	h.Registry, err = New(Config{
		DB: db, DefaultID: "main", DefaultName: "Assistant", Workspace: h.path("state", "workspace"), StateDir: h.path("state"), Home: h.dir,
	})
	require.NoError(h.t, err)
}

func (h *home) restart() {
	require.NoError(h.t, h.db.Close())
	h.open()
}

func (h *home) create(name, workspace string) Agent {
	h.t.Helper()
	a, err := h.Create(context.Background(), Draft{Name: name, Workspace: workspace})
	require.NoError(h.t, err)
	return a
}

func refused(t *testing.T, err error, words string) {
	t.Helper()
	var no *wire.Error
	require.ErrorAs(t, err, &no)
	require.Equal(t, protocol.ErrorInvalidRequest, no.Code)
	require.Contains(t, no.Message, words)
}

func ids(list []Agent) (out []string) {
	for _, a := range list {
		out = append(out, a.ID)
	}
	return out
}

func TestNewNeedsItsParts(t *testing.T) {
	_, err := New(Config{})
	require.ErrorContains(t, err, "agents need")
}

func TestTheDefaultAgentIsAlwaysThere(t *testing.T) {
	h := newHome(t)
	want := Agent{ID: "main", Name: "Assistant", Workspace: h.path("state", "workspace")}
	require.Equal(t, []Agent{want}, h.List())
	a, ok := h.Find(" MAIN ")
	require.True(t, ok)
	require.Equal(t, want, a)
	require.False(t, h.Exists("ops"))
	_, err := h.Delete(context.Background(), "Main", true)
	refused(t, err, `"main" cannot be deleted`)
	_, err = h.Create(context.Background(), Draft{Name: "Main", Workspace: "x"})
	refused(t, err, `"main" is reserved`)
	name := "Claw"
	a, err = h.Update(context.Background(), "main", Change{Name: &name})
	require.NoError(t, err)
	require.Equal(t, []string{"Claw", want.Workspace}, []string{a.Name, a.Workspace})
}

func TestCreate(t *testing.T) {
	h := newHome(t)
	a, err := h.Create(context.Background(), Draft{Name: " Ops Team ", Workspace: "~/ops", Emoji: "O", Avatar: "avatars/o.png"})
	require.NoError(t, err)
	require.Equal(t, Agent{ID: "ops-team", Name: "Ops Team", Workspace: h.path("ops")}, a)
	info, err := os.Stat(a.Workspace)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	_, who, ok := h.Identity("ops-team")
	require.True(t, ok)
	require.Equal(t, Identity{Name: "Ops Team", Emoji: "O", Avatar: "avatars/o.png"}, who)
	_, files, err := h.Files("ops-team")
	require.NoError(t, err)
	for _, f := range files {
		require.Equal(t, f.Name == memoryFile, f.Missing, "%s: a new folder has every file but the memory", f.Name)
	}
	h.create("abc", "abc")
	h.restart()
	require.Equal(t, []string{"main", "abc", "ops-team"}, ids(h.List()))
	got, _ := h.Find("Ops Team")
	require.Equal(t, a, got, "it outlives a restart")

	_, err = h.Create(context.Background(), Draft{Name: "OPS team", Workspace: "~/other"})
	refused(t, err, `agent "ops-team" already exists`)
	require.NoDirExists(t, h.path("other"))
}

func TestCreateLeavesFilesThatAreThere(t *testing.T) {
	h := newHome(t)
	require.NoError(t, os.MkdirAll(h.path("mine"), 0o755))
	require.NoError(t, os.WriteFile(h.path("mine", "SOUL.md"), []byte("old"), 0o644))
	require.NoError(t, os.Symlink("/etc/hostname", h.path("mine", "USER.md")))
	h.create("Ops", h.path("mine"))
	_, f, err := h.ReadFile("ops", "SOUL.md")
	require.NoError(t, err)
	require.Equal(t, "old", f.Content)
	link, err := os.Readlink(h.path("mine", "USER.md"))
	require.NoError(t, err)
	require.Equal(t, "/etc/hostname", link)
}

func TestWorkspacesThatAreRefused(t *testing.T) {
	h := newHome(t)
	require.NoError(t, os.WriteFile(h.path("file"), nil, 0o600))
	h.create("First", "~/first")
	for path, words := range map[string]string{
		" ":                       "must be a path",
		"a\x00b":                  "must be a path",
		"a\u202eb":                "must be a path",
		"~other/x":                "write the whole path",
		"../x":                    "leads out of the state directory",
		"/":                       "holds more than an agent's files",
		"~":                       "holds more than an agent's files",
		h.path("state"):           "holds more than an agent's files",
		filepath.Dir(h.dir):       "holds more than an agent's files",
		"logs":                    "the gateway's own",
		"identity/x":              "the gateway's own",
		"~/file":                  "is not a folder",
		"~/file/below":            "cannot be used",
		"~/first/":                `agent "first"'s`,
		h.path("state/workspace"): `agent "main"'s`,
	} {
		_, err := h.Create(context.Background(), Draft{Name: "Other", Workspace: path})
		refused(t, err, words)
	}
	require.Equal(t, []string{"main", "first"}, ids(h.List()))
}

func TestNamesThatAreRefused(t *testing.T) {
	h := newHome(t)
	for _, name := range []string{" ", "a\nb", "\u202e", strings.Repeat("x", textBytesMax+1), "!!!", "日本"} {
		_, err := h.Create(context.Background(), Draft{Name: name, Workspace: "x"})
		require.Error(t, err, "%q", name)
	}
	_, err := h.Create(context.Background(), Draft{Name: "x", Workspace: "x", Emoji: "a\nb"})
	refused(t, err, "emoji must be one line")
	_, err = h.Create(context.Background(), Draft{Name: "x", Workspace: "x", Avatar: "a\nb"})
	refused(t, err, "avatar must be one line")
}

func TestAgentsAreCapped(t *testing.T) {
	h := newHome(t)
	require.NoError(t, h.db.Update(context.Background(), func(tx *store.Tx) error {
		for i := range AgentsMax - 1 {
			if err := bucket.Put(tx, fmt.Sprint("a", i), record{Name: "x"}); err != nil {
				return err
			}
		}
		return nil
	}))
	h.restart()
	require.Len(t, h.List(), AgentsMax)
	_, err := h.Create(context.Background(), Draft{Name: "More", Workspace: "more"})
	refused(t, err, "as many as there may be")
}

func TestUpdate(t *testing.T) {
	h := newHome(t)
	h.create("Ops", "ops")
	set := func(s string) *string { return &s }
	models := []string{"b", "c"}
	a, err := h.Update(context.Background(), "OPS", Change{Name: set("Operations"), Model: set("a"), Fallbacks: &models, Avatar: set("O")})
	require.NoError(t, err)
	require.Equal(t, Agent{ID: "ops", Name: "Operations", Workspace: h.path("state", "ops"), Model: "a", Fallbacks: models}, a)
	require.Equal(t, "O", h.Written("ops").Avatar)
	a, err = h.Update(context.Background(), "ops", Change{Fallbacks: &[]string{}, Avatar: set("")})
	require.NoError(t, err)
	require.NotNil(t, a.Fallbacks, "none, by wish")
	require.Empty(t, a.Fallbacks)
	require.Equal(t, "a", a.Model, "what is not named stays")
	require.Empty(t, h.Written("ops").Avatar)
	h.restart()
	got, _ := h.Find("ops")
	require.Equal(t, a, got)

	a, err = h.Update(context.Background(), "ops", Change{Workspace: set("~/elsewhere")})
	require.NoError(t, err)
	require.Equal(t, h.path("elsewhere"), a.Workspace)
	require.DirExists(t, h.path("state", "ops"), "the old folder stays")
	require.FileExists(t, h.path("elsewhere", "SOUL.md"))

	_, err = h.Update(context.Background(), "nobody", Change{Name: set("x")})
	refused(t, err, `agent "nobody" not found`)
	for _, c := range []Change{
		{Name: set(" ")}, {Model: set("a\nb")}, {Workspace: set("/")}, {Avatar: set("a\nb")},
		{Fallbacks: &[]string{"a", ""}}, {Fallbacks: &[]string{"1", "2", "3", "4", "5", "6", "7", "8", "9"}},
	} {
		_, err = h.Update(context.Background(), "ops", c)
		require.Error(t, err)
	}
	got, _ = h.Find("ops")
	require.Equal(t, a, got, "nothing changed")
}

// No file is ever deleted: a folder that was made for the agent is renamed.
func TestDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHome(t)
		require.NoError(t, os.MkdirAll(h.path("mine"), 0o755))
		h.create("Mine", "~/mine")
		h.create("Made", "~/made")
		h.create("Kept", "~/kept")
		movedTo, err := h.Delete(context.Background(), "MADE", true)
		require.NoError(t, err)
		require.Equal(t, h.path("made.removed-"+time.Now().UTC().Format("20060102T150405Z")), movedTo)
		require.FileExists(t, filepath.Join(movedTo, "SOUL.md"))
		require.NoDirExists(t, h.path("made"))
		for id, aside := range map[string]bool{"mine": true, "kept": false} {
			movedTo, err := h.Delete(context.Background(), id, aside)
			require.NoError(t, err)
			require.Empty(t, movedTo, id)
			require.FileExists(t, h.path(id, "SOUL.md"))
		}
		h.create("Made", "~/made")
		again, err := h.Delete(context.Background(), "made", true)
		require.NoError(t, err)
		require.Equal(t, movedTo+"-2", again, "in the same second")
		h.restart()
		require.Equal(t, []string{"main"}, ids(h.List()))
		_, err = h.Delete(context.Background(), "made", true)
		refused(t, err, `agent "made" not found`)
	})
}

func TestIdentityLines(t *testing.T) {
	text := "# Who\r\n- **Name:** Claw\r\n- **Vibe:** sharp\r\n- Emoji: _(pick one)_\n- Avatar:\n  - Note: x\n- Creature: (robot)\n"
	require.Equal(t, Identity{Name: "Claw", Theme: "sharp"}, parseIdentity(text))
	changed := withIdentityLine(withIdentityLine(text, "Avatar", "a.png"), "Emoji", "C")
	require.Equal(t, Identity{Name: "Claw", Theme: "sharp", Emoji: "C", Avatar: "a.png"}, parseIdentity(changed))
	require.Equal(t, strings.Count(text, "\n"), strings.Count(changed, "\n"), "lines are replaced, not added")
	require.Equal(t, "x\n- Name: N\n", withIdentityLine("x", "Name", "N"))
	require.Equal(t, Identity{}, parseIdentity("- Name: "+strings.Repeat("x", 300)+"\n- Emoji: a\u202eb\nName: none"))
}

// A state directory may be moved, or brought back on another machine.
func TestFoldersInTheStateDirectoryMoveWithIt(t *testing.T) {
	h := newHome(t)
	inside, outside := h.create("Inside", "workspace-inside"), h.create("Outside", h.path("outside"))
	require.Equal(t, h.path("state", "workspace-inside"), inside.Workspace)
	_, err := h.Update(t.Context(), inside.ID, Change{Workspace: new(h.path("state", "workspace-other"))})
	require.NoError(t, err)
	require.NoError(t, h.db.Close())
	require.NoError(t, os.Rename(h.path("state"), h.path("elsewhere")))
	h.db, err = store.Open(store.Options{Dir: h.path("elsewhere")})
	require.NoError(t, err)
	h.Registry, err = New(Config{DB: h.db, DefaultID: "main", Workspace: h.path("elsewhere", "workspace"), StateDir: h.path("elsewhere"), Home: h.dir})
	require.NoError(t, err)
	a, ok := h.Find(inside.ID)
	require.True(t, ok)
	require.Equal(t, h.path("elsewhere", "workspace-other"), a.Workspace)
	b, _ := h.Find(outside.ID)
	require.Equal(t, h.path("outside"), b.Workspace)
	_, err = h.Delete(t.Context(), inside.ID, true)
	require.NoError(t, err)
	require.NoDirExists(t, h.path("elsewhere", "workspace-other"), "it was moved aside")
}
