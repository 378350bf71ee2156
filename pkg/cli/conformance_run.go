package cli

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/pkg/conformance"
)

const runHelp = `Holds written conversations with the gateway and replays recorded ones against it. Each
signed handshake is signed anew with keys of our own, devices are paired where a recording
needs it, and recordings of clients that ran at the same time are replayed on one timeline.

A gateway can serve more of the conversations when it is told what to expect:
--offers llm says that the agent behind it is the counterpart model
(go run ./pkg/agent/agenttest/modelserver), --remote-url an address of it that is not
loopback, --restart and --stop the commands that do so. Conversations that it cannot serve
are not applicable, which is no fault. Start it from an empty state directory, with
gw.example.com among the hosts that it answers to.

What our own gateway refuses on purpose is excepted; for another one use
--exceptions none, or a page of its own.

Examples:
   conformance run ws://127.0.0.1:18789 --token SECRET --offers llm
   conformance run wss://gateway.example:443 --token SECRET --only 'chat/*' --json
   conformance run wss://192.168.1.2:18789 --token SECRET --tls-fingerprint SHA256
   conformance run ws://127.0.0.1:18789 --token SECRET --frames my-recordings`

func (a *Conformance) runCommand() *cli.Command {
	return &cli.Command{
		Name:        "run",
		Usage:       "grade a gateway",
		UsageText:   "conformance run URL --token SECRET [options]",
		Description: runHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "token", Usage: "the gateway's `SECRET` (default: CODERCLAW_GATEWAY_TOKEN)"},
			&cli.StringFlag{Name: "password", Usage: "the gateway's `SECRET`, when it knows its clients by a password (default: CODERCLAW_GATEWAY_PASSWORD)"},
			pinFlag(), conversationsFlag(), framesFlag(), onlyFlag(),
			&cli.StringFlag{Name: "exceptions", Usage: "`FILE` in the form of EXCEPTIONS.md, or none (default: the one beside the recordings)"},
			&cli.StringSliceFlag{Name: "offers", Usage: "what the gateway has of the needs of conversations: `NEED` is llm, trusted-proxy, rate-limit or insecure-auth; may be repeated"},
			&cli.StringFlag{Name: "remote-url", Usage: "`URL` of the same gateway that is not loopback"},
			&cli.StringFlag{Name: "restart", Usage: "shell `COMMAND` that restarts the gateway on the same state and returns"},
			&cli.StringFlag{Name: "stop", Usage: "shell `COMMAND` that stops the gateway in good order"},
			&cli.DurationFlag{Name: "patience", Value: 10 * time.Second, Usage: "how long to wait for one frame, a `TIME` such as 10s"},
			&cli.BoolFlag{Name: "json", DisableDefaultText: true, Usage: "print the verdicts as JSON"},
		},
		Action: a.runRun,
	}
}

func (a *Conformance) runRun(c *cli.Context) error {
	url, err := gatewayURL(c)
	if err != nil {
		return err
	}
	pinned, err := a.pinned(c, url)
	if err != nil {
		return err
	}
	target := conformance.Target{
		HTTPClient: pinned, URL: url, RemoteURL: c.String("remote-url"), Offers: c.StringSlice("offers"), Patience: c.Duration("patience"),
		Token: a.secret(c, "token", "CODERCLAW_GATEWAY_TOKEN"), Password: a.secret(c, "password", "CODERCLAW_GATEWAY_PASSWORD"),
	}
	if c.IsSet("token") {
		target.Password = c.String("password")
	}
	if target.Token == "" && target.Password == "" {
		return usagef("conformance run needs the gateway's secret: --token SECRET or --password SECRET")
	}
	cases, err := chosen(c)
	if err != nil {
		return err
	}
	var stopping sync.WaitGroup
	defer stopping.Wait()
	a.commands(c, &target, &stopping)
	switch err := conformance.Reach(c.Context, target); {
	case c.Context.Err() != nil:
		return errInterrupted
	case err != nil:
		return withHint(err, "check that a gateway runs there")
	}
	begin := time.Now()
	report := conformance.Run(c.Context, target, cases, a.progress())
	if err := a.printReport(c, url, report, time.Since(begin)); err != nil {
		return err
	}
	switch {
	case c.Context.Err() != nil:
		return errInterrupted
	case report.Err() != nil:
		return errTold
	}
	return nil
}

func (a *Conformance) secret(c *cli.Context, flag, variable string) string {
	if c.IsSet(flag) {
		return c.String(flag)
	}
	return a.cfg.Getenv(variable)
}

// commands makes the shell commands of --restart and --stop the target's.
func (a *Conformance) commands(c *cli.Context, target *conformance.Target, stopping *sync.WaitGroup) {
	shell := func(ctx context.Context, command string) error {
		cmd := exec.CommandContext(ctx, "sh", "-c", command)
		cmd.Stdout, cmd.Stderr = a.cfg.Stderr, a.cfg.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		return nil
	}
	if command := c.String("restart"); command != "" {
		reach := *target
		target.Restart = func(ctx context.Context) error {
			if err := shell(ctx, command); err != nil {
				return err
			}
			return conformance.Reach(ctx, reach)
		}
	}
	if command := c.String("stop"); command != "" {
		target.Stop = func(ctx context.Context) error {
			stopping.Go(func() {
				if err := shell(ctx, command); err != nil {
					a.out.note("%v", err)
				}
			})
			return nil
		}
	}
}

// progress shows a person which conversation runs.
func (a *Conformance) progress() func(conformance.Progress) {
	if !a.out.errIsTTY {
		return nil
	}
	return func(p conformance.Progress) {
		switch {
		case p.Done == p.Total:
			fmt.Fprint(a.cfg.Stderr, clearLine)
		case p.Ended == nil:
			fmt.Fprintf(a.cfg.Stderr, "%s%s", clearLine, a.out.errStyle(dim, shorten(fmt.Sprintf("[%d/%d] %s", p.Done, p.Total, p.Case.Name), 79)))
		}
	}
}

// verdictJSON is one conversation as --json prints it.
type verdictJSON struct {
	Name       string   `json:"name"`
	Verdict    string   `json:"verdict"`
	Note       string   `json:"note,omitempty"`
	Failures   []string `json:"failures,omitempty"`
	DurationMs int64    `json:"durationMs"`
}

// reportJSON is a run as --json prints it.
type reportJSON struct {
	URL           string        `json:"url,omitempty"`
	Passed        int           `json:"passed"`
	Excepted      int           `json:"excepted"`
	NotApplicable int           `json:"notApplicable"`
	Failed        int           `json:"failed"`
	DurationMs    int64         `json:"durationMs"`
	Conversations []verdictJSON `json:"conversations"`
}

func (a *Conformance) printReport(c *cli.Context, url string, report conformance.Report, took time.Duration) error {
	if c.Bool("json") {
		out := reportJSON{
			URL: url, DurationMs: took.Milliseconds(), Conversations: []verdictJSON{},
			Passed: report.Count(conformance.Passed), Excepted: report.Count(conformance.Excepted),
			NotApplicable: report.Count(conformance.NotApplicable), Failed: report.Count(conformance.Failed),
		}
		for _, o := range report.Outcomes {
			out.Conversations = append(out.Conversations, verdictJSON{o.Name, string(o.Status), o.Note, o.Failures, o.Took.Milliseconds()})
		}
		return a.out.line(out)
	}
	rows := make([][]string, 0, len(report.Outcomes))
	for _, o := range report.Outcomes {
		rows = append(rows, []string{string(o.Status), o.Name, seconds(o.Took), shorten(o.Note, 60)})
	}
	if err := a.out.table([]string{"VERDICT", "CONVERSATION", "TIME", "NOTE"}, rows); err != nil {
		return err
	}
	a.printFailures(report)
	a.out.printf("\n%s\n", a.summary(report, took))
	return nil
}

// printFailures tells every difference below the name of its conversation.
func (a *Conformance) printFailures(report conformance.Report) {
	for _, o := range report.Outcomes {
		if len(o.Failures) == 0 {
			continue
		}
		a.out.printf("\n%s\n", a.out.style(bold, o.Name))
		for _, f := range o.Failures {
			a.out.printf("  %s\n", clean(f))
		}
	}
}

func (a *Conformance) summary(report conformance.Report, took time.Duration) string {
	var parts []string
	for _, status := range []conformance.Status{conformance.Passed, conformance.Excepted, conformance.NotApplicable, conformance.Failed} {
		part := fmt.Sprintf("%d %s", report.Count(status), status)
		if status == conformance.Failed && report.Count(status) > 0 {
			part = a.out.style(red, part)
		}
		parts = append(parts, part)
	}
	return fmt.Sprintf("%s in %s", strings.Join(parts, ", "), seconds(took))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
