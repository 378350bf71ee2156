package cli

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/wire"
)

func (a *App) sessionsCommand() *cli.Command {
	return &cli.Command{
		Name:     "sessions",
		Category: categoryTalk,
		Usage:    "list the conversations, last used first",
		Flags: []cli.Flag{
			&cli.Int64Flag{Name: "limit", Aliases: []string{"n"}, DefaultText: "all", Usage: "show at most `N`"},
			&cli.StringFlag{Name: "search", Usage: "only those whose key, name or label contains `TEXT`"},
			&cli.StringFlag{Name: "agent", Usage: "only those of the agent with this `ID`"},
		},
		Action: a.runSessions,
	}
}

func (a *App) runSessions(c *cli.Context) error {
	params := protocol.SessionsListParams{Search: optional(c.String("search")), AgentID: optional(c.String("agent"))}
	params.IncludeDerivedTitles = wire.Some(true)
	if c.IsSet("limit") {
		if c.Int64("limit") < 1 {
			return usagef("--limit wants a number above 0")
		}
		params.Limit = wire.Some(c.Int64("limit"))
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
		}
		return a.out.table([]string{"SESSION", "KIND", "ACTIVE", "MODEL", "TOKENS", "TITLE"}, rows)
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
