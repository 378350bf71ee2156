package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/identity"
	"github.com/coderclaw/gateway/pkg/importer"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/store"
)

const importHelp = `Takes over what an OpenClaw or an original CoderClaw gateway keeps: paired devices with their
tokens (so phones need not be paired again), sessions with their transcripts, the agents' folders
that lie there, the config as far as its keys exist here, and this machine's device key. Stop both
gateways first.

Without --apply it only tells what it would do. Nothing of the source is changed, nothing that is
here already is replaced, and a second run imports nothing twice.

   coderclaw import --from ~/.openclaw
   coderclaw import --from ~/.openclaw --apply

The original CoderClaw kept its state in ~/.coderclaw, where this gateway keeps its own. Move it
out of the way: mv ~/.coderclaw ~/.coderclaw-old; coderclaw import --from ~/.coderclaw-old`

func (a *App) importCommand() *cli.Command {
	return &cli.Command{
		Name: "import", Category: categoryGateway,
		Usage:     "take over devices, sessions, folders and config of an OpenClaw or original CoderClaw gateway",
		UsageText: "coderclaw import --from DIR [--apply] [--json]", Description: importHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "state `DIR` of the other gateway, such as ~/.openclaw"},
			&cli.BoolFlag{Name: "apply", DisableDefaultText: true, Usage: "do it; without this nothing is written"},
			&cli.BoolFlag{Name: "dry-run", DisableDefaultText: true, Usage: "only tell what would be done, as without --apply"},
		},
		Action: a.runImport,
	}
}

func (a *App) runImport(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	if err := localOnly(c, "import"); err != nil {
		return err
	}
	from, apply := c.String("from"), c.Bool("apply")
	switch {
	case from == "":
		return usagef("import from where? coderclaw import --from ~/.openclaw")
	case apply && c.Bool("dry-run"):
		return usagef("--apply and --dry-run exclude each other")
	}
	getenv := a.getenv(c)
	if home := getenv("HOME"); home != "" && (from == "~" || strings.HasPrefix(from, "~/")) {
		from = filepath.Join(home, from[1:]) // a shell leaves it in --from=~/x
	}
	from, err := filepath.Abs(from)
	if err != nil {
		return err
	}
	stateDir, configPath := settings.Paths(getenv)
	if port, running := runningPort(stateDir); running {
		return withHint(fmt.Errorf("a gateway runs on %s (port %d)", stateDir, port), "stop it, and run this again")
	}
	if err := importer.Running(from, os.TempDir()); err != nil {
		if apply {
			return withHint(err, "stop it, and run this again: what it writes meanwhile would be left out")
		}
		a.out.note("%v: stop it before you add --apply", err)
	}
	report, err := runImporter(c.Context, from, stateDir, configPath, apply)
	if errors.Is(err, importer.ErrSameDirectory) {
		return withHint(err, "move it away first: mv %s %s; then: coderclaw import --from %s", quoted(from), quoted(from+"-old"), quoted(from+"-old"))
	}
	if err != nil {
		return err
	}
	if a.out.json {
		return a.out.line(report)
	}
	return a.printImport(report)
}

// runImporter opens the store of the state directory. A dry run for a gateway that
// does not exist yet has an empty one, elsewhere.
func runImporter(ctx context.Context, from, stateDir, configPath string, apply bool) (_ importer.Report, err error) {
	dir := stateDir
	if _, err := os.Stat(filepath.Join(stateDir, store.FileName)); errors.Is(err, fs.ErrNotExist) && !apply {
		if dir, err = os.MkdirTemp("", "coderclaw-import-*"); err != nil {
			return importer.Report{}, err
		}
		defer os.RemoveAll(dir)
	}
	// Told before the directory is made, or a mistyped source would leave one behind.
	if err := importer.Apart(from, stateDir); err != nil {
		return importer.Report{}, err
	}
	db, err := store.Open(store.Options{Dir: dir, Verify: verifier(), Log: storeLog()})
	if err != nil {
		return importer.Report{}, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	record, err := audit.New(audit.Config{DB: db})
	if err != nil {
		return importer.Report{}, err
	}
	guard, err := identity.New(identity.Config{DB: db, Audit: record, Token: settings.NewSecret(rand.Text())})
	if err != nil {
		return importer.Report{}, err
	}
	sessions, err := session.New(session.Config{DB: db})
	if err != nil {
		return importer.Report{}, err
	}
	return importer.Run(ctx, importer.Config{From: from, StateDir: stateDir, ConfigPath: configPath, Guard: guard, Sessions: sessions, Apply: apply})
}

func (a *App) printImport(r importer.Report) error {
	rows := make([][]string, 0, len(r.Items))
	for _, i := range r.Items {
		rows = append(rows, []string{i.Verdict, i.Kind, shorten(i.Name, 60), shorten(i.Note, 120)})
	}
	if err := a.out.table([]string{"VERDICT", "WHAT", "NAME", "NOTE"}, rows); err != nil {
		return err
	}
	list := func(title string, keys []string) {
		if len(keys) > 0 {
			a.out.printf("%s: %s\n", title, clean(strings.Join(keys, ", ")))
		}
	}
	list("config keys taken over", r.ConfigTaken)
	list("of these without effect here, yet", r.ConfigKept)
	list("config keys that this gateway does not know", r.ConfigUnknown)
	for _, k := range r.ConfigRefused {
		a.out.printf("config key left out: %s: %s\n", clean(k.Key), clean(k.Reason))
	}
	if r.ToolMessages > 0 {
		a.out.printf("left out of transcripts: %s\n", count(int64(r.ToolMessages), "call or result of a tool", "calls and results of tools"))
	}
	if r.BrokenLines > 0 {
		a.out.printf("left out of transcripts: %s\n", count(int64(r.BrokenLines), "broken line", "broken lines"))
	}
	for _, p := range r.Problems {
		a.out.printf("  %s\n", clean(p))
	}
	done := "would be imported"
	if r.Applied {
		done = "imported"
	}
	a.out.printf("%s %s, %s; %d there already, %d left out\n", count(int64(r.Count(importer.VerdictNew)), "item", "items"), done,
		count(int64(r.Messages), "message", "messages"), r.Count(importer.VerdictThere), r.Count(importer.VerdictSkipped))
	if !r.Applied && r.Count(importer.VerdictNew) > 0 {
		a.out.note("nothing was changed; to do it, add --apply")
	}
	return nil
}
