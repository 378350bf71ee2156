package agents

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDeclaredAgents(t *testing.T) {
	h := newHome(t)
	h.create("Made", "made")
	require.Empty(t, h.Declare([]Declared{
		{Key: "agents.list[0]", ID: "ops", Default: true, Name: "Operations", Workspace: "~/ops", Model: "one/x", Fallbacks: []string{}, Identity: Identity{Name: "Otto", Emoji: "O"}},
		{Key: "agents.list[1]", ID: "plain"},
		{Key: "agents.list[2]", ID: "main", Name: "Boss"},
	}, "elsewhere"))
	require.Equal(t, "ops", h.DefaultID())
	list := h.List()
	require.Equal(t, []Agent{
		{ID: "ops", Name: "Operations", Workspace: h.path("ops"), Model: "one/x", Fallbacks: []string{}},
		{ID: "made", Name: "Made", Workspace: h.path("state", "made")},
		{ID: "main", Name: "Boss", Workspace: h.path("state", "elsewhere")},
		{ID: "plain", Name: "plain", Workspace: h.path("state", "workspace-plain")},
	}, list)
	require.FileExists(t, h.path("ops", "SOUL.md"))
	require.FileExists(t, h.path("state", "workspace-plain", "IDENTITY.md"))
	require.DirExists(t, h.path("state", "elsewhere"))
	_, who, _ := h.Identity("ops")
	require.Equal(t, Identity{Name: "Otto", Emoji: "O"}, who)

	// What is declared is changed where it is declared; the rest is not.
	text := func(s string) *string { return &s }
	for _, c := range []struct {
		change Change
		words  string
	}{
		{Change{Name: text("X")}, `agents.list[0].name of agent "ops" is set in the configuration: change it there (coderclaw config edit)`},
		{Change{Workspace: text("x")}, `agents.list[0].workspace of agent "ops" is set in the configuration`},
		{Change{Model: text("x")}, `agents.list[0].model of agent "ops" is set in the configuration`},
		{Change{Fallbacks: &[]string{"x"}}, `agents.list[0].model.fallbacks of agent "ops" is set in the configuration`},
	} {
		_, err := h.Update(t.Context(), "ops", c.change)
		refused(t, err, c.words)
	}
	_, err := h.Update(t.Context(), "ops", Change{Name: text("Operations"), Workspace: text("~/ops"), Avatar: text("A")})
	require.NoError(t, err, "what says the same is no change")
	_, who, _ = h.Identity("ops")
	require.Equal(t, "A", who.Avatar)
	a, err := h.Update(t.Context(), "plain", Change{Model: text("two/y")})
	require.NoError(t, err)
	require.Equal(t, "two/y", a.Model)
	_, err = h.Create(t.Context(), Draft{Name: "Plain", Workspace: "p"})
	refused(t, err, `agent "plain" already exists`)
	_, err = h.Delete(t.Context(), "plain", true)
	refused(t, err, `agent "plain" is declared in the configuration: remove agents.list[1] there`)

	// Declared no more, it is gone; its folder and what was changed of it stay.
	require.Empty(t, h.Declare(nil, ""))
	require.Equal(t, "main", h.DefaultID())
	require.Equal(t, []string{"main", "made"}, []string{h.List()[0].ID, h.List()[1].ID})
	require.Len(t, h.List(), 2)
	require.Equal(t, h.path("state", "workspace"), h.List()[0].Workspace)
	require.False(t, h.Exists("plain"))
	require.DirExists(t, h.path("ops"))
	h.restart()
	require.False(t, h.Exists("plain"))
	require.Empty(t, h.Declare([]Declared{{Key: "agents.list[0]", ID: "plain"}, {Key: "agents.list[1]", ID: "made", Name: "Mine"}}, ""))
	a, _ = h.Find("plain")
	require.Equal(t, "two/y", a.Model)
	a, _ = h.Find("made")
	require.Equal(t, Agent{ID: "made", Name: "Mine", Workspace: h.path("state", "made")}, a, "what was made before keeps its folder")
	require.Empty(t, h.Declare(nil, ""))
	a, _ = h.Find("made")
	require.Equal(t, "Made", a.Name)
	h.create("Plain", "p") // the name is free again
	require.True(t, h.Exists("plain"))
}

func TestDeclaredFoldersThatCannotBeUsed(t *testing.T) {
	h := newHome(t)
	require.NoError(t, os.WriteFile(h.path("file"), nil, 0o600))
	problems := h.Declare([]Declared{
		{Key: "agents.list[0]", ID: "a", Workspace: "~/file"}, {Key: "agents.list[1]", ID: "b", Workspace: "../out"}, {Key: "agents.list[2]", ID: "c", Workspace: "workspace"},
	}, "~")
	require.Equal(t, []string{
		"agents.defaults.workspace: workspace " + h.dir + " holds more than an agent's files: name a folder of its own",
		"agents.list[1].workspace: workspace ../out leads out of the state directory: write the whole path",
		"agents.list[0].workspace: workspace " + h.path("file") + " is not a folder",
		"agents.list[2]: the folder " + h.path("state", "workspace") + ` is agent "main"'s too: name another`,
	}, problems)
	require.Len(t, h.List(), 4, "they are there nevertheless")
	require.Equal(t, h.path("state", "workspace-b"), h.List()[2].Workspace)
}
