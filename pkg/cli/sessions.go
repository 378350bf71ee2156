package cli

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/wire"
)

const sessionsHelp = `Without a command the conversations are listed, last used first. A KEY may be given as main, as
work or as agent:main:work.

coderclaw sessions --active 60 --last
coderclaw sessions search 'garden "blue paint"'
coderclaw sessions export work --output work.md
coderclaw sessions compact work --keep 100`

func (a *App) sessionsCommand() *cli.Command {
	return &cli.Command{
		Name: "sessions", Category: categoryTalk,
		Usage:       "list the conversations, search and manage them",
		Description: sessionsHelp,
		Flags:       sessionsListFlags(),
		Action:      a.runSessions,
		Subcommands: []*cli.Command{
			{Name: "list", Usage: "list the conversations, last used first", Flags: sessionsListFlags(), Action: a.runSessions},
			{
				Name: "preview", Usage: "show the last messages of some conversations, cut short", ArgsUsage: "KEY...",
				Flags: []cli.Flag{
					&cli.Int64Flag{Name: "limit", Aliases: []string{"n"}, Value: 6, Usage: "show `N` messages of each, at most 50"},
					&cli.Int64Flag{Name: "chars", Value: 240, Usage: "cut each at `N` characters, 20 to 2000"},
				},
				Action: a.runSessionsPreview,
			},
			{
				Name: "search", Usage: "find messages by their words; \"words in quotes\" follow each other", ArgsUsage: "WORD...",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "session-key", Usage: "only in the session with this `KEY`"},
					&cli.StringFlag{Name: "agent", Usage: "only in sessions of the agent with this `ID`"},
					&cli.StringFlag{Name: "role", Usage: "only messages of `ROLE`: user or assistant"},
					&cli.IntFlag{Name: "limit", Aliases: []string{"n"}, Value: 20, Usage: "show at most `N` messages"},
				},
				Action: a.runSessionsSearch,
			},
			{
				Name: "create", Usage: "begin a conversation before its first message", ArgsUsage: "[KEY]",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "label", Usage: "its `NAME`"},
					&cli.StringFlag{Name: "model", Usage: "`MODEL` to use, as provider/model or model"},
					&cli.StringFlag{Name: "agent", Usage: "agent with this `ID` (default: the one that KEY names, else the default one)"},
				},
				Action: a.runSessionsCreate,
			},
			a.sessionsSetCommand(),
			a.sessionsExportCommand(),
			{
				Name: "compact", Usage: "keep the newest messages of a conversation; the whole is archived", ArgsUsage: "KEY",
				Flags:  []cli.Flag{&cli.Int64Flag{Name: "keep", Value: 400, Usage: "keep `N` messages"}},
				Action: a.runSessionsCompact,
			},
			{
				Name: "reset", Usage: "start a conversation over; what was said is archived", ArgsUsage: "KEY",
				Action: a.runSessionsReset,
			},
			{
				Name: "delete", Usage: "delete a conversation; what was said is archived", ArgsUsage: "KEY",
				Action: a.runSessionsDelete,
			},
		},
	}
}

// sessionsListFlags are the filters of the list, for each place that has them.
func sessionsListFlags() []cli.Flag {
	return []cli.Flag{
		&cli.Int64Flag{Name: "limit", Aliases: []string{"n"}, DefaultText: "all", Usage: "show at most `N`"},
		&cli.StringFlag{Name: "search", Usage: "only those whose key, name or label contains `TEXT`"},
		&cli.StringFlag{Name: "agent", Usage: "only those of the agent with this `ID`"},
		&cli.StringFlag{Name: "label", Usage: "only the one with this `LABEL`"},
		&cli.StringFlag{Name: "spawned-by", Usage: "only those that the session with this `KEY` started"},
		&cli.Int64Flag{Name: "active", DefaultText: "ever", Usage: "only those used in the last `MINUTES`"},
		&cli.BoolFlag{Name: "all", DisableDefaultText: true, Usage: "also the session shared by all and those of unknown kind"},
		&cli.BoolFlag{Name: "last", DisableDefaultText: true, Usage: "show the last message instead of the title"},
	}
}

func (a *App) runSessions(c *cli.Context) error {
	params := protocol.SessionsListParams{
		Search: optional(c.String("search")), AgentID: optional(c.String("agent")), Label: optional(c.String("label")),
		SpawnedBy: optional(c.String("spawned-by")), IncludeDerivedTitles: wire.Some(true),
	}
	for name, to := range map[string]*wire.Opt[int64]{"limit": &params.Limit, "active": &params.ActiveMinutes} {
		if !c.IsSet(name) {
			continue
		}
		if c.Int64(name) < 1 {
			return usagef("--%s wants a number above 0", name)
		}
		*to = wire.Some(c.Int64(name))
	}
	if c.Bool("all") {
		params.IncludeGlobal, params.IncludeUnknown = wire.Some(true), wire.Some(true)
	}
	if c.Bool("last") {
		params.IncludeLastMessage = wire.Some(true)
	}
	return a.ask(c, func(ctx context.Context, conn *client.Conn) error {
		list, raw, err := fetch(ctx, conn, protocol.MethodSessionsList, params)
		if err != nil {
			return err
		}
		if a.out.json {
			return a.out.rawJSON(raw)
		}
		if len(list.Sessions) == 0 {
			a.out.note(`no sessions; start one with: coderclaw agent --message "hello"`)
			return nil
		}
		rows := make([][]string, 0, len(list.Sessions))
		for _, s := range list.Sessions {
			rows = append(rows, []string{s.Key, string(s.Kind), ago(s.UpdatedAt.Or(0)), s.Model.Or(""), tokens(s), shorten(sessionTitle(s), 48)})
			if c.Bool("last") {
				rows[len(rows)-1][5] = shorten(s.LastMessagePreview.Or(""), 72)
			}
		}
		head := []string{"SESSION", "KIND", "ACTIVE", "MODEL", "TOKENS", "TITLE"}
		if c.Bool("last") {
			head[5] = "LAST MESSAGE"
		}
		return a.out.table(head, rows)
	})
}

func sessionTitle(s protocol.SessionRow) string {
	for _, title := range []wire.Opt[string]{s.Label, s.DisplayName, s.Subject, s.DerivedTitle} {
		if text := title.Or(""); text != "" {
			return text
		}
	}
	return ""
}

func tokens(s protocol.SessionRow) string {
	total, ok := s.TotalTokens.Get()
	if !ok || total == 0 {
		return ""
	}
	if window := s.ContextTokens.Or(0); window > 0 {
		return fmt.Sprintf("%d of %d", total, window)
	}
	return fmt.Sprint(total)
}
