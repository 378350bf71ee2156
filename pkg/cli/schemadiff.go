package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/schema"
	"github.com/coderclaw/gateway/schema/compat"
)

func (a *App) schemaDiffCommand() *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "tell what a change of the schema breaks, and for whom",
		UsageText: "coderclaw schema diff OLD NEW",
		ArgsUsage: "OLD NEW",
		Description: `OLD and NEW are folders of schema files, files that "schema print" or "protogen -release"
wrote, or the words released (what this program promises) and current (what it speaks).

WIRE changes break programs that work today, SOURCE changes only code that is compiled against
the models, INFO changes nobody. The exit code is 1 if anything breaks that no x-waive entry and
no raised protocol version waives.`,
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "all", DisableDefaultText: true, Usage: "show INFO changes too"}},
		Action: a.runSchemaDiff,
	}
}

func (a *App) runSchemaDiff(c *cli.Context) error {
	if c.NArg() != 2 {
		return usagef("schema diff takes OLD and NEW; see: coderclaw schema diff --help")
	}
	old, err := openBundle(c.Args().Get(0))
	if err != nil {
		return err
	}
	new, err := openBundle(c.Args().Get(1))
	if err != nil {
		return err
	}
	changes := compat.Compare(old, new)
	if a.out.json {
		err = a.out.line(map[string]any{"breaking": compat.Breaking(changes), "changes": changes})
	} else {
		err = a.printChanges(changes, c.Bool("all"))
	}
	if err == nil && compat.Breaking(changes) {
		return errTold
	}
	return err
}

// openBundle reads the schema that an argument names.
func openBundle(name string) (b *compat.Bundle, err error) {
	switch name {
	case "released":
		b, err = compat.Parse(schema.Released())
	case "current":
		b, err = compat.Load(schema.FS())
	default:
		var info os.FileInfo
		if info, err = os.Stat(name); err != nil {
			return nil, err
		}
		if info.IsDir() {
			b, err = compat.Load(os.DirFS(name))
			break
		}
		var text []byte
		if text, err = os.ReadFile(name); err == nil {
			b, err = compat.Parse(text)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", name, err)
	}
	return b, nil
}

// printChanges prints a table of what somebody has to know, and a sum of all.
func (a *App) printChanges(changes []compat.Change, all bool) error {
	var rows [][]string
	breaking, counts := int64(0), map[compat.Level]int64{}
	for _, c := range changes {
		counts[c.Level]++
		if c.Breaking {
			breaking++
		}
		if c.Level == compat.Info && !all {
			continue
		}
		level, text := string(c.Level), c.Message
		if c.Waived != "" {
			level, text = "waived", text+" (waived: "+c.Waived+")"
		}
		rows = append(rows, []string{level, string(c.Rule), c.Path, affected(c), text})
	}
	if rows != nil {
		if err := a.out.table([]string{"LEVEL", "RULE", "WHERE", "IN", "WHAT"}, rows); err != nil {
			return err
		}
	}
	sum := "nothing breaks"
	if breaking > 0 {
		sum = count(breaking, "change breaks", "changes break") + " programs that work today"
	}
	a.out.printf("%s: %d WIRE, %d SOURCE, %d INFO\n", sum, counts[compat.Wire], counts[compat.Source], counts[compat.Info])
	return nil
}

// affected words the direction of a change and who leads to it.
func affected(c compat.Change) string {
	const most = 3
	via := c.Via
	if len(via) > most {
		via = append(via[:most:most], fmt.Sprintf("%d more", len(c.Via)-most))
	}
	if via == nil {
		return string(c.Role)
	}
	return string(c.Role) + " of " + strings.Join(via, ", ")
}
