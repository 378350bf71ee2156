package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agents"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/identity"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task/durable"
)

// databaseWait is how long a copy of the database may take by default.
const databaseWait = 10 * time.Minute

const dbCheckHelp = `Looks at every page of gateway.db and decodes every row. The check is a process of its own, so
that a damaged file can crash nothing else, and only reads. While the gateway runs it takes a
copy and has that checked; otherwise the file itself is checked. With FILE, such as a copy in the
backups folder, that file is.

The exit code is 0 when nothing is found, and 1 when something is.`

func (a *App) dbCommand() *cli.Command {
	return &cli.Command{
		Name: "db", Category: categoryGateway,
		Usage: "look after the database",
		Subcommands: []*cli.Command{
			{
				Name: "check", Usage: "check the database, or a copy of it", ArgsUsage: "[FILE]",
				UsageText: "coderclaw db check [FILE] [--timeout 10s] [--json]", Description: dbCheckHelp,
				Action: a.runDBCheck,
			},
			{Name: checkChildCommand, Hidden: true, Action: a.runCheckChild},
		},
	}
}

// checkChildCommand is what the checking child is called with: see verifier.
const checkChildCommand = "check-child"

// verifier checks database files in a child that runs this very program.
func verifier() store.Verify { return store.Self("db", checkChildCommand) }

// storeLog tells a person what opening the store has found out.
func storeLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// tables are all buckets of this build.
func tables() []store.Table {
	return slices.Concat(agents.Tables(), audit.Tables(), identity.Tables(), session.Tables(), durable.Tables())
}

func (a *App) runCheckChild(c *cli.Context) error {
	if c.NArg() != 1 {
		return usagef("%s is for the gateway's own use; see: coderclaw db check --help", checkChildCommand)
	}
	return store.ServeCheck(c.Args().First(), tables(), a.Stdin, a.Stdout)
}

// checked is what db check prints as JSON.
type checked struct {
	OK bool `json:"ok"`
	// Via is "gateway", when a running one had a copy checked, or "file".
	Via         string   `json:"via"`
	Path        string   `json:"path"`
	Sound       bool     `json:"sound"`
	Bytes       int64    `json:"bytes"`
	Version     int64    `json:"schemaVersion"`
	Rows        int64    `json:"rows"`
	Faults      []string `json:"faults"`
	FaultCount  int64    `json:"faultCount"`
	BadRows     []string `json:"badRows"`
	BadRowCount int64    `json:"badRowCount"`
	Ms          int64    `json:"durationMs"`
}

func (a *App) runDBCheck(c *cli.Context) error {
	if c.NArg() > 1 {
		return usagef("db check takes one file; see: coderclaw db check --help")
	}
	wait, err := timeout(c, 0)
	if err != nil {
		return err
	}
	if err := localOnly(c, "db check"); err != nil {
		return err
	}
	ctx := c.Context
	if wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	out, err := a.checkDatabase(ctx, c, c.Args().First())
	if err != nil {
		return err
	}
	if err := a.printChecked(out); err != nil {
		return err
	}
	if !out.OK {
		return errTold
	}
	return nil
}

// localOnly refuses --url for what works on this machine's files.
func localOnly(c *cli.Context, what string) error {
	if _, elsewhere := globalString(c, flagURL); elsewhere {
		return usagef("%s works on this machine's state directory: leave out --url, and run it where the gateway runs", what)
	}
	return nil
}

func (a *App) checkDatabase(ctx context.Context, c *cli.Context, file string) (checked, error) {
	stateDir, _ := settings.Paths(a.getenv(c))
	path := filepath.Join(stateDir, store.FileName)
	if file == "" {
		if _, running := runningPort(stateDir); running {
			var r protocol.BackupCheckResult
			err := a.askLong(ctx, c, func(ctx context.Context, client protocol.Client) (err error) {
				r, err = client.BackupCheck(ctx, protocol.BackupCheckParams{})
				return err
			})
			return checked{
				OK: r.FaultCount == 0 && r.BadRowCount == 0, Via: viaGateway, Path: path, Sound: r.Sound, Bytes: r.Bytes, Version: r.SchemaVersion, Rows: r.Rows,
				Faults: r.Faults, FaultCount: r.FaultCount, BadRows: r.BadRows, BadRowCount: r.BadRowCount, Ms: r.DurationMs,
			}, err
		}
	} else {
		path = file
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return checked{}, withHint(fmt.Errorf("there is no %s", path), "start a gateway once with: coderclaw gateway; or name another directory with --state-dir")
	}
	r, err := verifier()(ctx, path)
	if err != nil {
		return checked{}, err
	}
	return checked{
		OK: r.Clean(), Via: "file", Path: path, Sound: r.Sound(), Bytes: r.Bytes, Version: int64(r.Version), Rows: int64(r.Rows()),
		Faults: append([]string{}, r.Faults...), FaultCount: int64(r.FaultCount), BadRows: append([]string{}, r.BadRows...), BadRowCount: int64(r.BadRowCount), Ms: r.Ms,
	}, nil
}

// askLong makes one call that may take as long as a copy of the database does.
func (a *App) askLong(ctx context.Context, c *cli.Context, call func(context.Context, protocol.Client) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, databaseWait)
	defer cancel()
	var conn *client.Conn
	if conn, _, err = a.dial(ctx, c, nil); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return call(ctx, protocol.Client{Caller: conn})
}

func (a *App) printChecked(out checked) error {
	if a.out.json {
		return a.out.line(out)
	}
	verdict := a.out.style(green, "whole")
	switch {
	case !out.Sound:
		verdict = a.out.style(red, "damaged")
	case !out.OK:
		verdict = a.out.style(bold, "whole, but some rows do not decode")
	}
	a.out.printf("%s is %s\n", out.Path, verdict)
	for _, f := range append(append([]string{}, out.Faults...), out.BadRows...) {
		a.out.printf("  %s\n", clean(f))
	}
	if more := out.FaultCount + out.BadRowCount - int64(len(out.Faults)+len(out.BadRows)); more > 0 {
		a.out.printf("  and %d more\n", more)
	}
	how := "read while no gateway runs"
	if out.Via == viaGateway {
		how = "in a copy that the running gateway took"
	}
	a.out.printf("%s, %s, schema version %d, checked in %d ms, %s\n", count(out.Rows, "row", "rows"), size(out.Bytes), out.Version, out.Ms, how)
	if !out.Sound {
		a.out.note("stop the gateway and start it again: it goes back to what is whole, and says what is lost; or: coderclaw restore FILE")
	}
	return nil
}

// size words a number of bytes.
func size(n int64) string {
	const unit = 1024
	switch {
	case n < unit:
		return fmt.Sprintf("%d B", n)
	case n < unit*unit:
		return fmt.Sprintf("%.1f KiB", float64(n)/unit)
	case n < unit*unit*unit:
		return fmt.Sprintf("%.1f MiB", float64(n)/(unit*unit))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(unit*unit*unit))
}
