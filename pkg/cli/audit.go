package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/settings"
)

const auditHelp = `The record tells who connected, who was refused and why, and what was paired, granted,
rotated and revoked, newest first. It holds no secret.

It is read from the state directory, which a running gateway keeps to itself: stop the gateway
to read it. Meanwhile "coderclaw logs" tells of the same decisions.`

func (a *App) auditCommand() *cli.Command {
	actions := strings.Join(auditActions(), ", ")
	return &cli.Command{
		Name: "audit", Category: categorySecurity,
		Usage: "read the record of who was let in, refused, paired and removed",
		Subcommands: []*cli.Command{{
			Name: "list", Usage: "print the record, newest first; the gateway must not run",
			UsageText: "coderclaw audit list [--since 24h] [--device ID] [--decision refused]", Description: auditHelp,
			Flags: []cli.Flag{
				&cli.IntFlag{Name: "limit", Aliases: []string{"n"}, Value: 50, Usage: "at most `N` records, 1000 at the most"},
				&cli.StringFlag{Name: "since", Usage: "only what was decided since `TIME`: an age such as 30m, 24h or 7d, a date, or a time as RFC 3339 has it"},
				&cli.StringFlag{Name: "device", Usage: "only records by or about the device whose `ID` begins so"},
				&cli.StringFlag{Name: "action", Usage: "only records of `ACTION`: " + actions},
				&cli.StringFlag{Name: "decision", Usage: "only `allowed` or refused"},
			},
			BashComplete: func(*cli.Context) { a.out.printf("%s\n", strings.Join(auditActions(), "\n")) },
			Action:       a.runAuditList,
		}},
	}
}

func auditActions() []string {
	return []string{
		audit.ActionConnect, audit.ActionPairRequest, audit.ActionPairApprove, audit.ActionPairReject, audit.ActionPairRemove,
		audit.ActionDeviceRename, audit.ActionTokenRotate, audit.ActionTokenRevoke, audit.ActionSecretChange, audit.ActionConfigWrite,
	}
}

func (a *App) runAuditList(c *cli.Context) error {
	q, err := auditQuery(c, time.Now())
	if err != nil {
		return err
	}
	stateDir, _ := settings.Paths(a.getenv(c))
	if _, elsewhere := globalString(c, flagURL); elsewhere {
		return usagef("audit list reads a state directory, not a gateway: leave out --url, and give --state-dir on the gateway's machine")
	}
	if port, running := runningPort(stateDir); running {
		return withHint(fmt.Errorf("the gateway on port %d keeps the record of %s to itself while it runs", port, stateDir),
			"stop it and run this again; meanwhile its decisions are in: coderclaw logs")
	}
	records, err := readAudit(stateDir, q)
	if err != nil {
		return err
	}
	return a.printAudit(records)
}

// readAudit reads the record of a state directory that no gateway runs on.
func readAudit(stateDir string, q audit.Query) (_ []audit.Record, err error) {
	db, err := openState(stateDir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	log, err := audit.New(audit.Config{DB: db})
	if err != nil {
		return nil, err
	}
	prefix, want := q.Device, q.Limit
	if prefix == "" {
		return log.List(q)
	}
	// The record knows whole ids only; a person types the first characters.
	q.Device, q.Limit = "", 0
	var out []audit.Record
	for {
		page, err := log.List(q)
		if err != nil || len(page) == 0 {
			return out, err
		}
		for _, r := range page {
			if strings.HasPrefix(r.Actor, prefix) || strings.HasPrefix(r.Device, prefix) {
				out = append(out, r)
			}
			if len(out) == want {
				return out, nil
			}
		}
		q.Before = page[len(page)-1].Seq
	}
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
	if q.Action != "" && !slices.Contains(auditActions(), q.Action) {
		return q, usagef("--action %q: want one of %s", q.Action, strings.Join(auditActions(), ", "))
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
