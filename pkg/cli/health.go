package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/wire"
)

func (a *App) healthCommand() *cli.Command {
	return &cli.Command{
		Name:     "health",
		Category: categoryGateway,
		Usage:    "ask whether the gateway is well; exit code 0 if it is",
		Flags:    []cli.Flag{&cli.BoolFlag{Name: "probe", DisableDefaultText: true, Usage: "have the gateway look anew instead of answering from its cache"}},
		Action: func(c *cli.Context) error {
			var params protocol.HealthParams
			if c.Bool("probe") {
				params.Probe = wire.Some(true)
			}
			return a.ask(c, func(ctx context.Context, conn *client.Conn) error {
				start := time.Now()
				h, raw, err := fetch(ctx, conn, protocol.MethodHealth, params)
				if err != nil {
					return err
				}
				if a.out.json {
					return a.out.rawJSON(raw)
				}
				return a.printHealth(conn.Hello(), h, time.Since(start))
			})
		},
	}
}

func (a *App) printHealth(hello protocol.HelloOk, h protocol.HealthSummary, took time.Duration) error {
	state := a.out.style(green, "healthy")
	if !h.Ok {
		state = a.out.style(red, "not well")
	}
	a.out.printf("The gateway is %s: answered in %s, up %s\n", state, took.Round(100*time.Microsecond), span(time.Duration(hello.Snapshot.UptimeMs)*time.Millisecond))
	for _, why := range h.Degraded {
		a.out.printf("%s %s\n", a.out.style(red, "degraded:"), clean(why))
	}
	agents := make([]string, 0, len(h.Agents))
	for _, agent := range h.Agents {
		agents = append(agents, agentLine(agent))
	}
	channels := make([]string, 0, len(h.ChannelOrder))
	for _, id := range h.ChannelOrder {
		label := h.ChannelLabels[id]
		if label == "" {
			label = id
		}
		channels = append(channels, label)
	}
	return a.out.facts(
		[2]string{"agents", strings.Join(agents, "; ")},
		[2]string{"channels", strings.Join(channels, ", ")},
		[2]string{"sessions", sessionsLine(h.Sessions)},
	)
}

func agentLine(agent protocol.HealthAgent) string {
	line := agent.Name.Or(agent.AgentID)
	if agent.IsDefault {
		line += " (default)"
	}
	if agent.Heartbeat.Enabled {
		line += ", heartbeat every " + agent.Heartbeat.Every
	}
	return line
}

func sessionsLine(s protocol.HealthSessions) string {
	line := fmt.Sprint(s.Count)
	if len(s.Recent) > 0 {
		line += fmt.Sprintf(", last %s %s", s.Recent[0].Key, ago(s.Recent[0].UpdatedAt.Or(0)))
	}
	return line
}
