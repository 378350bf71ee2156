package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/wire"
)

// logsInterval is how often --follow asks for new lines.
const logsInterval = time.Second

func (a *App) logsCommand() *cli.Command {
	return &cli.Command{
		Name:     "logs",
		Category: categoryGateway,
		Usage:    "print the gateway's log",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "follow", DisableDefaultText: true, Aliases: []string{"f"}, Usage: "go on printing new lines until Ctrl-C"},
			&cli.Int64Flag{Name: "limit", Aliases: []string{"n"}, Usage: "print the last `N` lines, at most 5000", Value: 200},
		},
		Action: a.runLogs,
	}
}

func (a *App) runLogs(c *cli.Context) error {
	limit := c.Int64("limit")
	if limit < 1 || limit > 5000 {
		return usagef("--limit wants a number from 1 to 5000")
	}
	params := protocol.LogsTailParams{Limit: wire.Some(limit)}
	if !c.Bool("follow") {
		return a.ask(c, func(ctx context.Context, conn *client.Conn) error {
			r, raw, err := fetch(ctx, conn, protocol.MethodLogsTail, params)
			if err != nil {
				return err
			}
			if a.out.json {
				return a.out.rawJSON(raw)
			}
			a.printLines(r.Lines)
			return nil
		})
	}
	if err := noArgs(c); err != nil {
		return err
	}
	return a.untilInterrupt(c, func(*client.Options) {}, func(ctx context.Context, gateway *client.Client) error {
		return a.followLogs(ctx, gateway, params)
	})
}

// followLogs asks again and again from where the last answer ended.
func (a *App) followLogs(ctx context.Context, gateway wire.Caller, params protocol.LogsTailParams) error {
	tick := time.NewTicker(logsInterval)
	defer tick.Stop()
	for {
		r, _, err := fetch(ctx, gateway, protocol.MethodLogsTail, params)
		switch {
		case err == nil:
			if r.Truncated.Or(false) || r.Reset.Or(false) {
				a.out.note("(older lines left out)")
			}
			a.printLines(r.Lines)
			params = protocol.LogsTailParams{Cursor: wire.Some(r.Cursor)}
		case !client.Lost(err):
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// printLines prints log lines for a person, or as they are with --json.
func (a *App) printLines(lines []string) {
	for _, line := range lines {
		if !a.out.json {
			line = clean(readableLine(line))
		}
		a.out.printf("%s\n", line)
	}
}

// readableLine turns a line of the log's JSON into time, level and message. The
// message is in "1", where the clients of protocol 3 look for it; a line of another
// shape stays as it is.
func readableLine(line string) string {
	var entry struct {
		Time  time.Time `json:"time"`
		Level string    `json:"level"`
		Text  string    `json:"1"`
		Msg   string    `json:"msg"`
	}
	if json.Unmarshal([]byte(line), &entry) != nil || entry.Time.IsZero() {
		return line
	}
	if entry.Text == "" {
		entry.Text = entry.Msg
	}
	return fmt.Sprintf("%s %-5s %s", entry.Time.Local().Format("2006-01-02 15:04:05.000"), entry.Level, entry.Text)
}
