package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/wire"
)

const auditHelp = `The record tells who connected, who was refused and why, and what was paired, granted,
rotated and revoked, newest first. It holds no secret.

A running gateway is asked, which takes operator.admin; while none runs on this state directory,
the record is read there. What was decided within the last second may be missing.

coderclaw audit list --since 24h --decision refused`

func (a *App) auditCommand() *cli.Command {
	actions := strings.Join(audit.Actions(), ", ")
	return &cli.Command{
		Name: "audit", Category: categorySecurity,
		Usage: "read the record of who was let in, refused, paired and removed",
		Subcommands: []*cli.Command{{
			Name: "list", Usage: "print the record, newest first",
			UsageText: "coderclaw audit list [--since 24h] [--device ID] [--decision refused]", Description: auditHelp,
			Flags: []cli.Flag{
				&cli.IntFlag{Name: "limit", Aliases: []string{"n"}, Value: 50, Usage: "at most `N` records, 1000 at the most"},
				&cli.StringFlag{Name: "since", Usage: "only what was decided since `TIME`: an age such as 30m, 24h or 7d, a date, or a time as RFC 3339 has it"},
				&cli.StringFlag{Name: "device", Usage: "only records by or about the device whose `ID` begins so"},
				&cli.StringFlag{Name: "action", Usage: "only records of `ACTION`: " + actions},
				&cli.StringFlag{Name: "decision", Usage: "only `allowed` or refused"},
			},
			BashComplete: func(*cli.Context) { a.out.printf("%s\n", strings.Join(audit.Actions(), "\n")) },
			Action:       a.runAuditList,
		}},
	}
}

func (a *App) runAuditList(c *cli.Context) error {
	q, err := auditQuery(c, time.Now())
	if err != nil {
		return err
	}
	limit, err := timeout(c, askTimeout)
	if err != nil {
		return err
	}
	ctx, cancel := within(c.Context, limit)
	defer cancel()
	records, err := a.readAudit(ctx, c, q)
	if err != nil {
		return err
	}
	return a.printAudit(records)
}

// readAudit asks the gateway when one runs on the state directory, or when --url
// names another, and reads the state directory itself otherwise.
func (a *App) readAudit(ctx context.Context, c *cli.Context, q audit.Query) (_ []audit.Record, err error) {
	stateDir, _ := settings.Paths(a.getenv(c))
	_, elsewhere := globalString(c, flagURL)
	if _, running := runningPort(stateDir); running || elsewhere {
		return a.askAudit(ctx, c, q)
	}
	db, err := openState(stateDir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	log, err := audit.New(audit.Config{DB: db})
	if err != nil {
		return nil, err
	}
	return log.List(q)
}

// askAudit reads the record of a running gateway.
func (a *App) askAudit(ctx context.Context, c *cli.Context, q audit.Query) ([]audit.Record, error) {
	conn, _, err := a.dialDoor(ctx, c, "stop the gateway: this command then reads its state directory, without a connection")
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	r, err := protocol.Client{Caller: conn}.AuditList(ctx, protocol.AuditListParams{
		Limit: wire.Some(int64(q.Limit)), Since: happened(q.Since), Action: nonEmpty(q.Action), Device: nonEmpty(q.Device),
		Decision: wire.Opt[protocol.AuditListParamsDecision]{V: protocol.AuditListParamsDecision(q.Decision), Set: q.Decision != ""},
	})
	if err != nil {
		return nil, err
	}
	records := make([]audit.Record, 0, len(r.Records))
	for _, r := range r.Records {
		records = append(records, audit.Record{
			Seq: uint64(r.Seq), At: r.At, Action: r.Action, Decision: r.Decision, Actor: r.Actor.V, Client: r.Client.V,
			Device: r.Device.V, Address: r.Address.V, Role: r.Role.V, Scopes: r.Scopes, Reason: r.Reason.V, Code: r.Code.V,
			ConnID: r.ConnID.V, Count: int(r.Count.V),
		})
	}
	return records, nil
}

func auditQuery(c *cli.Context, now time.Time) (audit.Query, error) {
	q := audit.Query{Limit: c.Int("limit"), Device: strings.ToLower(c.String("device")), Action: c.String("action"), Decision: c.String("decision")}
	if err := noArgs(c); err != nil {
		return q, err
	}
	if q.Limit < 1 || q.Limit > 1000 {
		return q, usagef("--limit %d: want 1 to 1000", q.Limit)
	}
	if q.Decision != "" && q.Decision != audit.Allowed && q.Decision != audit.Refused {
		return q, usagef("--decision %q: want %s or %s", q.Decision, audit.Allowed, audit.Refused)
	}
	if q.Action != "" && !slices.Contains(audit.Actions(), q.Action) {
		return q, usagef("--action %q: want one of %s", q.Action, strings.Join(audit.Actions(), ", "))
	}
	if text := c.String("since"); text != "" {
		since, err := parseSince(text, now)
		if err != nil {
			return q, usagef("--since %q: want an age such as 30m, 24h or 7d, a date such as 2026-01-31, or 2026-01-31T09:00:00Z", text)
		}
		q.Since = since.UnixMilli()
	}
	return q, nil
}

// parseSince reads an age, a date or a time.
func parseSince(text string, now time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		if _, err := fmt.Sscanf(days, "%d", &n); err == nil && n >= 0 && fmt.Sprint(n) == days {
			return now.AddDate(0, 0, -n), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return t, nil
	}
	return time.Parse(time.RFC3339, text)
}

func (a *App) printAudit(records []audit.Record) error {
	if a.out.json {
		for _, r := range records {
			if err := a.out.line(r); err != nil {
				return err
			}
		}
		return nil
	}
	if len(records) == 0 {
		a.out.note("nothing is recorded that fits")
		return nil
	}
	rows := make([][]string, 0, len(records))
	for _, r := range records {
		reason := r.Reason
		if r.Code != "" {
			reason = strings.TrimSpace(r.Code + " " + reason)
		}
		if r.Count > 1 {
			reason += fmt.Sprintf(" (%d times)", r.Count)
		}
		rows = append(rows, []string{
			time.UnixMilli(r.At).Format(time.DateTime), r.Action, r.Decision, shortID(r.Actor), shortID(r.Device),
			r.Client, r.Address, r.Role, short(r.Scopes), shorten(reason, 80),
		})
	}
	return a.out.table([]string{"TIME", "ACTION", "DECISION", "ACTOR", "DEVICE", "CLIENT", "ADDRESS", "ROLE", "SCOPES", "REASON"}, rows)
}
