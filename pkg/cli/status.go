package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
)

func (a *App) statusCommand() *cli.Command {
	return &cli.Command{
		Name:     "status",
		Category: categoryGateway,
		Usage:    "show the gateway, its model and its recent sessions",
		Action: func(c *cli.Context) error {
			return a.ask(c, func(ctx context.Context, conn *client.Conn) error {
				s, raw, err := fetch(ctx, conn, protocol.MethodStatus, protocol.StatusParams{})
				if err != nil {
					return err
				}
				if a.out.json {
					return a.out.rawJSON(raw)
				}
				// The model is worth a second question, but not a failure.
				models, _, err := fetch(ctx, conn, protocol.MethodModelsList, protocol.ModelsListParams{})
				if err != nil {
					models = protocol.ModelsListResult{}
				}
				return a.printStatus(conn.Hello(), s, models.Models)
			})
		},
	}
}

func (a *App) printStatus(hello protocol.HelloOk, s protocol.StatusSummary, models []protocol.ModelChoice) error {
	snap := hello.Snapshot
	model := s.Sessions.Defaults.Model.Or("")
	if n, ok := s.Sessions.Defaults.ContextTokens.Get(); ok && model != "" && n > 0 {
		model += fmt.Sprintf(" (%d tokens of context)", n)
	}
	err := a.out.facts(
		[2]string{"gateway", fmt.Sprintf("version %s on %s, protocol %d, up %s", hello.Server.Version, hello.Server.Host.Or("this host"), hello.Protocol, span(time.Duration(snap.UptimeMs)*time.Millisecond))},
		[2]string{"state", snap.StateDir.Or("")},
		[2]string{"config", snap.ConfigPath.Or("")},
		[2]string{"model", model},
		[2]string{"models", modelNames(models)},
		[2]string{"heartbeat", heartbeatLine(s.Heartbeat)},
		[2]string{"channels", strings.Join(s.ChannelSummary, "; ")},
		[2]string{"queued events", strings.Join(s.QueuedSystemEvents, "; ")},
		[2]string{"sessions", fmt.Sprint(s.Sessions.Count)},
	)
	if err != nil || len(s.Sessions.Recent) == 0 {
		return err
	}
	a.out.printf("\n")
	rows := make([][]string, 0, len(s.Sessions.Recent))
	for _, r := range s.Sessions.Recent {
		used := "-"
		if n, ok := r.PercentUsed.Get(); ok {
			used = fmt.Sprintf("%d%%", n)
		}
		rows = append(rows, []string{r.Key, string(r.Kind), ago(r.UpdatedAt.Or(0)), r.Model.Or(""), used})
	}
	return a.out.table([]string{"SESSION", "KIND", "ACTIVE", "MODEL", "CONTEXT USED"}, rows)
}

// modelNames lists the models when there is a choice.
func modelNames(models []protocol.ModelChoice) string {
	if len(models) < 2 {
		return ""
	}
	names := make([]string, 0, len(models))
	for _, m := range models {
		names = append(names, m.Provider+"/"+m.ID)
	}
	if len(names) > 5 {
		names = append(names[:5], fmt.Sprintf("and %d more", len(names)-5))
	}
	return strings.Join(names, ", ")
}

func heartbeatLine(h protocol.StatusHeartbeat) string {
	var on []string
	for _, agent := range h.Agents {
		if agent.Enabled {
			on = append(on, fmt.Sprintf("%s every %s", agent.AgentID, agent.Every))
		}
	}
	if len(on) == 0 {
		return "off"
	}
	return strings.Join(on, ", ")
}
