package cli

import (
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

func (a *App) explainCommand() *cli.Command {
	return &cli.Command{
		Name:      "explain",
		Category:  categoryTools,
		Usage:     "tell what an error code means and what to do about it; needs no gateway",
		UsageText: "coderclaw explain [CODE]",
		ArgsUsage: "[CODE]",
		Description: `CODE is an error code, a details code, the reason of a close or its number, in any case:
NOT_PAIRED, auth_token_missing, slow consumer, 1008. Without it the whole catalogue is listed.`,
		BashComplete: func(*cli.Context) {
			for _, e := range protocol.Errors() {
				a.out.printf("%s\n", e.Name)
			}
		},
		Action: a.runExplain,
	}
}

func (a *App) runExplain(c *cli.Context) error {
	all := protocol.Errors()
	if c.NArg() == 0 {
		return a.listErrors(all)
	}
	name := strings.Join(c.Args().Slice(), " ")
	found := findErrors(all, name)
	if found == nil {
		return unknownError(all, name)
	}
	if a.out.json {
		return a.out.line(found)
	}
	for i, e := range found {
		if i > 0 {
			a.out.printf("\n")
		}
		if err := a.explain(e); err != nil {
			return err
		}
	}
	return nil
}

// findErrors returns the entry that is called name in any case, or all closes with
// the number.
func findErrors(all []wire.ErrorInfo, name string) (found []wire.ErrorInfo) {
	number, _ := strconv.Atoi(name)
	for _, e := range all {
		if strings.EqualFold(e.Name, name) || e.Kind == wire.KindClose && number > 0 && e.CloseCode == number {
			found = append(found, e)
		}
	}
	return found
}

func unknownError(all []wire.ErrorInfo, name string) error {
	names := make([]string, len(all))
	for i, e := range all {
		names[i] = strings.ToUpper(e.Name)
	}
	near := nearest(names, strings.ToUpper(name))
	for _, e := range all {
		if strings.EqualFold(e.Name, near) {
			return usagef("there is no code %q (did you mean %q?)", name, e.Name)
		}
	}
	return usagef("there is no code %q; see: coderclaw explain", name)
}

// explain prints one entry.
func (a *App) explain(e wire.ErrorInfo) error {
	is, retry, closes := string(e.Kind), "no", ""
	if e.Error != "" {
		is += ", with " + e.Error
	}
	if e.Retryable {
		retry = "yes"
	}
	if e.CloseCode != 0 {
		closes = strconv.Itoa(e.CloseCode)
	}
	a.out.printf("%s\n", a.out.style(bold, e.Name))
	return a.out.facts(
		[2]string{"  is", is},
		[2]string{"  means", e.Meaning},
		[2]string{"  cause", e.Cause},
		[2]string{"  fix", e.Fix},
		[2]string{"  retry", retry},
		[2]string{"  next step", e.NextStep},
		[2]string{"  closes with", closes},
	)
}

func (a *App) listErrors(all []wire.ErrorInfo) error {
	if a.out.json {
		return a.out.line(all)
	}
	rows := make([][]string, len(all))
	for i, e := range all {
		rows[i] = []string{e.Name, string(e.Kind), e.Meaning}
	}
	return a.out.table([]string{"CODE", "IS", "MEANS"}, rows)
}
