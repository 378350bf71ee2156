package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

const usageHelp = `Without a command the tokens and costs of the last days are shown. Costs are worked out at the
prices in models.providers.*.models[].cost; a "+" says that some answers came from a model without a price.

coderclaw usage --days 7
coderclaw usage sessions --from 2026-11-01 --to 2026-11-30`

func (a *App) usageCommand() *cli.Command {
	return &cli.Command{
		Name: "usage", Category: categoryTalk,
		Usage:       "show what runs have used and what that cost",
		Description: usageHelp,
		Flags:       append(rangeFlags(), &cli.IntFlag{Name: "days", Value: 30, Usage: "show the last `N` days"}),
		Action:      a.runUsage,
		Subcommands: []*cli.Command{
			{
				Name: "sessions", Usage: "by conversation, the last active first",
				Flags: append(rangeFlags(),
					&cli.StringFlag{Name: "session-key", Usage: "only the session with this `KEY`"},
					&cli.Int64Flag{Name: "limit", Aliases: []string{"n"}, Value: 50, Usage: "show at most `N`"}),
				Action: a.runUsageSessions,
			},
			{Name: "status", Usage: "what is left of the allowances that providers give", Action: a.runUsageStatus},
		},
	}
}

func rangeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "from", Usage: "first `DATE`, as 2026-11-01 (default: 29 days before the last)"},
		&cli.StringFlag{Name: "to", Usage: "last `DATE` (default: today)"},
	}
}

// dateRange reads --from and --to. With --from alone the range ends today, with --to
// alone it has 30 days.
func dateRange(c *cli.Context) (from, to string, err error) {
	from, to = c.String("from"), c.String("to")
	for _, d := range []string{from, to} {
		if _, bad := time.Parse(time.DateOnly, d); d != "" && bad != nil {
			return "", "", usagef("%q is no date: give one as 2026-11-01", d)
		}
	}
	if from != "" && to == "" {
		to = time.Now().Format(time.DateOnly)
	}
	if last, bad := time.Parse(time.DateOnly, to); bad == nil && from == "" {
		from = last.AddDate(0, 0, -29).Format(time.DateOnly)
	}
	if from > to {
		return "", "", usagef("--from %s comes after --to %s", from, to)
	}
	return from, to, nil
}

func (a *App) runUsage(c *cli.Context) error {
	from, to, err := dateRange(c)
	if err != nil {
		return err
	}
	if c.Int("days") < 1 {
		return usagef("--days wants a number above 0")
	}
	params := protocol.UsageCostParams{StartDate: optional(from), EndDate: optional(to), Days: wire.Some(float64(c.Int("days")))}
	if err := noArgs(c); err != nil {
		return err
	}
	return perform(a, c, protocol.MethodUsageCost, params, func(r protocol.UsageCostResult) error {
		if len(r.Daily) == 0 {
			a.out.note("nothing was used in %s", count(r.Days, "day", "days"))
			return nil
		}
		var rows [][]string
		for _, d := range r.Daily {
			rows = append(rows, usageRow(d.Date, d.Input, d.Output, d.CacheRead+d.CacheWrite, d.TotalTokens, d.TotalCost, d.MissingCostEntries))
		}
		t := r.Totals
		rows = append(rows, usageRow("total", t.Input, t.Output, t.CacheRead+t.CacheWrite, t.TotalTokens, t.TotalCost, t.MissingCostEntries))
		return a.out.table([]string{"DAY", "PROMPT", "ANSWER", "CACHE", "TOKENS", "COST"}, rows)
	})
}

func usageRow(name string, input, output, cache, total int64, cost float64, missing int64) []string {
	return []string{name, strconv.FormatInt(input, 10), strconv.FormatInt(output, 10), strconv.FormatInt(cache, 10), strconv.FormatInt(total, 10), dollars(cost, missing)}
}

// dollars words a cost; what has no price is flagged.
func dollars(cost float64, missing int64) string {
	text := fmt.Sprintf("$%.4f", cost)
	if missing > 0 {
		text += "+"
	}
	return text
}

func (a *App) runUsageSessions(c *cli.Context) error {
	from, to, err := dateRange(c)
	if err != nil {
		return err
	}
	if c.Int64("limit") < 1 {
		return usagef("--limit wants a number above 0")
	}
	params := protocol.SessionsUsageParams{
		StartDate: optional(from), EndDate: optional(to), Key: optional(c.String("session-key")), Limit: wire.Some(c.Int64("limit")),
	}
	if err := noArgs(c); err != nil {
		return err
	}
	return perform(a, c, protocol.MethodSessionsUsage, params, func(r protocol.SessionsUsageResult) error {
		if len(r.Sessions) == 0 {
			a.out.note("nothing was said from %s to %s", r.StartDate, r.EndDate)
			return nil
		}
		var rows [][]string
		for _, s := range r.Sessions {
			u := s.Usage
			row := usageRow(s.Key, u.Input, u.Output, u.CacheRead+u.CacheWrite, u.TotalTokens, u.TotalCost, u.MissingCostEntries)
			rows = append(rows, append(row, strconv.FormatInt(u.MessageCounts.Total, 10), ago(u.LastActivity.Or(0))))
		}
		t := r.Totals
		row := usageRow("total", t.Input, t.Output, t.CacheRead+t.CacheWrite, t.TotalTokens, t.TotalCost, t.MissingCostEntries)
		rows = append(rows, append(row, strconv.FormatInt(r.Aggregates.Messages.Total, 10), ""))
		return a.out.table([]string{"SESSION", "PROMPT", "ANSWER", "CACHE", "TOKENS", "COST", "MESSAGES", "ACTIVE"}, rows)
	})
}

func (a *App) runUsageStatus(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	return perform(a, c, protocol.MethodUsageStatus, protocol.UsageStatusParams{}, func(r protocol.UsageStatusResult) error {
		if len(r.Providers) == 0 {
			a.out.note("no provider of this gateway gives an allowance; for what was used, see: coderclaw usage")
			return nil
		}
		var rows [][]string
		for _, p := range r.Providers {
			for _, w := range p.Windows {
				rows = append(rows, []string{p.DisplayName, w.Label, fmt.Sprintf("%.0f%%", w.UsedPercent), p.Error.Or("")})
			}
		}
		return a.out.table([]string{"PROVIDER", "ALLOWANCE", "USED", "NOTE"}, rows)
	})
}
