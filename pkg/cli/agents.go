package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agents"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

const agentsHelp = `An agent has a name, models of its own and a folder of files that it works by. Its
conversations have keys that begin with agent:ID: and can be had with:

coderclaw agent --session-key agent:ops:main --message "hello"

coderclaw agents add Ops --model gpt-4o-mini --fallbacks gpt-4o,mock-1
coderclaw agents files ops SOUL.md
coderclaw agents files ops SOUL.md --set soul.md`

func (a *App) agentsCommand() *cli.Command {
	return &cli.Command{
		Name: "agents", Category: categoryTalk,
		Usage:       "list the agents, make, change and remove them, read and write their files",
		Description: agentsHelp,
		Subcommands: []*cli.Command{
			a.agentsSub("list", "list the agents, the default one first", "", 0, 0, a.listAgents),
			a.agentsSub("add", "make an agent and its folder", "NAME", 1, 1, a.addAgent,
				&cli.StringFlag{Name: "workspace", Usage: "`FOLDER` for its files (default: workspace-ID in the state directory)"},
				&cli.StringFlag{Name: "emoji", Usage: "its `EMOJI`"}, avatarFlag(), modelFlag(), fallbacksFlag()),
			a.agentsSub("set", "change an agent; what is not given stays", "ID", 1, 1, a.setAgent,
				&cli.StringFlag{Name: "name", Usage: "another `NAME`; the id stays"},
				&cli.StringFlag{Name: "workspace", Usage: "another `FOLDER`; the files of the old one stay there"},
				avatarFlag(), modelFlag(), fallbacksFlag()),
			a.agentsSub("remove", "remove an agent; its folder is moved aside and its conversations stay to be read", "ID", 1, 1, a.removeAgent,
				&cli.BoolFlag{Name: "keep-files", DisableDefaultText: true, Usage: "leave its folder where it is"},
				&cli.BoolFlag{Name: "sessions", DisableDefaultText: true, Usage: "end and remove its conversations too; their transcripts are archived"},
				&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, DisableDefaultText: true, Usage: "do not ask first"}),
			a.agentsSub("files", "list an agent's files, print one, or write one", "ID [FILE]", 1, 2, a.agentFiles,
				&cli.StringFlag{Name: "set", Usage: "write the file from this `PATH`; - reads standard input"}),
		},
	}
}

func avatarFlag() cli.Flag {
	return &cli.StringFlag{Name: "avatar", Usage: "its avatar: a `LETTER`, a path or a URL"}
}

func modelFlag() cli.Flag {
	return &cli.StringFlag{Name: "model", Usage: "`MODEL` that it asks first, by its id at the provider"}
}

func fallbacksFlag() cli.Flag {
	return &cli.StringFlag{Name: "fallbacks", Usage: "`MODELS` to ask when that one fails before it has said anything, with commas between; \"\" for none"}
}

// agentsSub makes a subcommand that takes least to most arguments and asks the
// gateway. Completion offers the agents for the first one.
func (a *App) agentsSub(name, usage, args string, least, most int, run func(context.Context, *cli.Context, protocol.Client) error, flags ...cli.Flag) *cli.Command {
	cmd := &cli.Command{
		Name: name, Usage: usage, ArgsUsage: args, UsageText: strings.TrimSpace("coderclaw agents " + name + " " + args), Flags: flags,
		Action: func(c *cli.Context) error {
			if n := c.NArg(); n < least || n > most {
				return usagef("agents %s takes %s, got %s; see: coderclaw agents %s --help", name, orNothing(args), count(int64(n), "argument", "arguments"), name)
			}
			return a.connected(c, func(ctx context.Context, conn *client.Conn) error {
				return run(ctx, c, protocol.Client{Caller: conn})
			})
		},
	}
	if least > 0 && name != "add" {
		cmd.BashComplete = a.completeAgents
	}
	return cmd
}

// completeAgents offers ids, and the names of files behind one.
func (a *App) completeAgents(c *cli.Context) {
	if c.NArg() > 1 {
		return
	}
	_ = a.connected(c, func(ctx context.Context, conn *client.Conn) error {
		gateway := protocol.Client{Caller: conn}
		if c.NArg() == 1 && c.Command.Name == "files" {
			list, err := gateway.AgentsFilesList(ctx, protocol.AgentsFilesListParams{AgentID: c.Args().First()})
			for _, f := range list.Files {
				a.out.printf("%s\n", f.Name)
			}
			return err
		}
		if c.NArg() > 0 {
			return nil
		}
		list, err := gateway.AgentsList(ctx, protocol.AgentsListParams{})
		for _, agent := range list.Agents {
			a.out.printf("%s\n", agent.ID)
		}
		return err
	})
}

func (a *App) listAgents(ctx context.Context, _ *cli.Context, gateway protocol.Client) error {
	list, raw, err := fetch(ctx, gateway.Caller, protocol.MethodAgentsList, protocol.AgentsListParams{})
	if err != nil {
		return err
	}
	if a.out.json {
		return a.out.rawJSON(raw)
	}
	rows := make([][]string, 0, len(list.Agents))
	for _, agent := range list.Agents {
		models := agent.Model.Or("default")
		if len(agent.Fallbacks) > 0 {
			models += ", then " + strings.Join(agent.Fallbacks, ", ")
		}
		id := agent.ID
		if id == list.DefaultID {
			id += " (default)"
		}
		rows = append(rows, []string{id, agent.Name.Or(""), agent.Identity.V.Emoji.Or(""), models, agent.Workspace.Or("")})
	}
	return a.out.table([]string{"AGENT", "NAME", "EMOJI", "MODEL", "WORKSPACE"}, rows)
}

func (a *App) addAgent(ctx context.Context, c *cli.Context, gateway protocol.Client) error {
	name := c.Args().First()
	workspace, err := a.folder(c, "workspace-"+session.NormalizeAgentID(name))
	if err != nil {
		return err
	}
	made, err := gateway.AgentsCreate(ctx, protocol.AgentsCreateParams{
		Name: name, Workspace: workspace, Emoji: optional(c.String("emoji")), Avatar: optional(c.String("avatar")),
	})
	if err != nil {
		return err
	}
	if c.IsSet("model") || c.IsSet("fallbacks") {
		_, err := gateway.AgentsUpdate(ctx, protocol.AgentsUpdateParams{AgentID: made.AgentID, Model: optional(c.String("model")), Fallbacks: fallbacks(c)})
		if err != nil {
			return withHint(fmt.Errorf("the agent %s is made, but its models are not set: %w", made.AgentID, err), "set them with: coderclaw agents set %s --model MODEL", made.AgentID)
		}
	}
	if a.out.json {
		return a.out.line(made)
	}
	a.out.printf("agent %s is made; its files are in %s\n", made.AgentID, clean(made.Workspace))
	a.out.note(`talk to it with: coderclaw agent --session-key agent:%s:main --message "hello"`, made.AgentID)
	return nil
}

func (a *App) setAgent(ctx context.Context, c *cli.Context, gateway protocol.Client) error {
	params := protocol.AgentsUpdateParams{AgentID: c.Args().First(), Name: optional(c.String("name")), Model: optional(c.String("model")), Fallbacks: fallbacks(c)}
	if c.IsSet("workspace") {
		workspace, err := a.folder(c, "")
		if err != nil {
			return err
		}
		params.Workspace = wire.Some(workspace)
	}
	if c.IsSet("avatar") {
		params.Avatar = wire.Some(c.String("avatar"))
	}
	if !params.Name.Set && !params.Model.Set && !params.Workspace.Set && !params.Avatar.Set && params.Fallbacks == nil {
		return usagef("agents set changes nothing without a flag; see: coderclaw agents set --help")
	}
	r, err := gateway.AgentsUpdate(ctx, params)
	if err != nil {
		return err
	}
	if a.out.json {
		return a.out.line(r)
	}
	a.out.printf("agent %s is changed\n", r.AgentID)
	return nil
}

func (a *App) removeAgent(ctx context.Context, c *cli.Context, gateway protocol.Client) error {
	id := c.Args().First()
	if !c.Bool("yes") && isTerminal(a.Stdin) && a.out.errIsTTY && !a.confirm("remove the agent %s?", id) {
		return errors.New("nothing was done")
	}
	params := protocol.AgentsDeleteParams{AgentID: id, DeleteFiles: wire.Some(!c.Bool("keep-files"))}
	if c.Bool("sessions") {
		params.DeleteSessions = wire.Some(true)
	}
	r, err := gateway.AgentsDelete(ctx, params)
	if err != nil {
		return err
	}
	if a.out.json {
		return a.out.line(r)
	}
	a.out.printf("agent %s is removed\n", r.AgentID)
	if to, ok := r.MovedTo.Get(); ok {
		a.out.note("its files are in %s now", clean(to))
	}
	if n, ok := r.RemovedSessions.Get(); ok {
		a.out.note("%s removed with it", count(n, "conversation was", "conversations were"))
	}
	return nil
}

// agentFiles lists the files, prints one, or writes one. What it writes replaces
// what was there when it began, and nothing that came in between.
func (a *App) agentFiles(ctx context.Context, c *cli.Context, gateway protocol.Client) error {
	id, name := c.Args().First(), c.Args().Get(1)
	switch {
	case name == "" && c.IsSet("set"):
		return usagef("--set writes one file: name it, as in: coderclaw agents files %s SOUL.md --set PATH", id)
	case name == "":
		return a.listFiles(ctx, id, gateway)
	}
	got, raw, err := fetch(ctx, gateway.Caller, protocol.MethodAgentsFilesGet, protocol.AgentsFilesGetParams{AgentID: id, Name: name})
	if err != nil {
		return err
	}
	if !c.IsSet("set") {
		switch {
		case a.out.json:
			return a.out.rawJSON(raw)
		case got.File.Missing:
			return withHint(fmt.Errorf("%s has no %s yet", got.AgentID, name), "write it with: coderclaw agents files %s %s --set PATH", got.AgentID, name)
		}
		a.out.printf("%s", safe(got.File.Content.V))
		return nil
	}
	content, err := a.readContent(c.String("set"))
	if err != nil {
		return err
	}
	set, err := gateway.AgentsFilesSet(ctx, protocol.AgentsFilesSetParams{AgentID: id, Name: name, Content: content, BaseHash: wire.Some(got.File.Hash.V)})
	if err != nil {
		return err
	}
	if a.out.json {
		return a.out.line(set)
	}
	a.out.printf("%s is written: %s\n", clean(set.File.Path), count(set.File.Size.V, "byte", "bytes"))
	return nil
}

func (a *App) listFiles(ctx context.Context, id string, gateway protocol.Client) error {
	list, raw, err := fetch(ctx, gateway.Caller, protocol.MethodAgentsFilesList, protocol.AgentsFilesListParams{AgentID: id})
	if err != nil {
		return err
	}
	if a.out.json {
		return a.out.rawJSON(raw)
	}
	rows := make([][]string, 0, len(list.Files))
	for _, f := range list.Files {
		size, at := "missing", ""
		if !f.Missing {
			size, at = fmt.Sprint(f.Size.V), ago(f.UpdatedAtMs.V)
		}
		rows = append(rows, []string{f.Name, size, at, f.Path})
	}
	return a.out.table([]string{"FILE", "BYTES", "WRITTEN", "PATH"}, rows)
}

// readContent reads what is to be written, from a file or from standard input.
func (a *App) readContent(path string) (string, error) {
	source := a.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		source = f
	}
	raw, err := io.ReadAll(io.LimitReader(source, agents.FileBytesMax+1))
	if err == nil && len(raw) > agents.FileBytesMax {
		err = fmt.Errorf("more than %d bytes: an agent's file is read into conversations, so shorten it", agents.FileBytesMax)
	}
	return string(raw), err
}

// folder is what --workspace names. A relative path is the caller's own, unless the
// gateway is elsewhere, whose state directory it is below then.
func (a *App) folder(c *cli.Context, def string) (string, error) {
	path := c.String("workspace")
	if path == "" {
		if c.IsSet("workspace") {
			return "", usagef("--workspace names no folder")
		}
		return def, nil
	}
	if _, elsewhere := globalString(c, flagURL); elsewhere || strings.HasPrefix(path, "~") {
		return path, nil
	}
	return filepath.Abs(path)
}

// fallbacks are the models of --fallbacks: nil when it is not given, none when it
// is empty.
func fallbacks(c *cli.Context) []string {
	if !c.IsSet("fallbacks") {
		return nil
	}
	models := []string{}
	for model := range strings.SplitSeq(c.String("fallbacks"), ",") {
		if model = strings.TrimSpace(model); model != "" {
			models = append(models, model)
		}
	}
	return models
}
