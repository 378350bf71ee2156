package cli

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
)

func (a *App) presenceCommand() *cli.Command {
	return &cli.Command{
		Name:     "presence",
		Category: categoryGateway,
		Usage:    "list the gateway and the clients it has seen lately",
		Action: func(c *cli.Context) error {
			return a.ask(c, func(ctx context.Context, conn *client.Conn) error {
				list, raw, err := fetch(ctx, conn, protocol.MethodSystemPresence, protocol.SystemPresenceParams{})
				if err != nil {
					return err
				}
				if a.out.json {
					return a.out.rawJSON(raw)
				}
				rows := make([][]string, 0, len(list))
				for _, e := range list {
					rows = append(rows, []string{
						e.Host.Or(""), e.Mode.Or(""), strings.Join(e.Roles, ","), e.Version.Or(""),
						e.Platform.Or(""), e.IP.Or(""), ago(e.Ts), e.Reason.Or(""),
					})
				}
				return a.out.table([]string{"HOST", "MODE", "ROLE", "VERSION", "PLATFORM", "IP", "SEEN", "REASON"}, rows)
			})
		},
	}
}
