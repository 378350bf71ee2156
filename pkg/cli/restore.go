package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/pkg/internal/bundle"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/store"
)

const restoreHelp = `Puts back what "coderclaw backup" has packed, or a single copy of the database from the backups
folder. The gateway must not run. Everything is unpacked and checked first, every file against
its SHA-256 and the database page by page; then the files change places, all or none, even if
the machine loses power meanwhile. Of agents' folders, files that the backup lacks stay. What was there before is kept in a folder beside them, and
the command that goes back is printed.

   coderclaw restore coderclaw-backup-20260301-080000.tar.gz --dry-run
   coderclaw restore ~/.coderclaw/backups/gateway-20260301T080000.000Z-daily.db`

func (a *App) restoreCommand() *cli.Command {
	return &cli.Command{
		Name: "restore", Category: categoryGateway,
		Usage: "bring back a backup; the gateway must not run", ArgsUsage: "FILE",
		UsageText: "coderclaw restore FILE [--dry-run] [--json]", Description: restoreHelp,
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "dry-run", DisableDefaultText: true, Usage: "check the backup and say what would change"}},
		Action: a.runRestore,
	}
}

// restored is what restore prints as JSON.
type restored struct {
	File      string    `json:"file"`
	StateDir  string    `json:"stateDir"`
	DryRun    bool      `json:"dryRun"`
	CreatedAt time.Time `json:"createdAt,omitzero"`
	Version   int       `json:"schemaVersion"`
	Rows      int       `json:"rows"`
	Files     []string  `json:"files"`
	bundled   []bundle.File
	// Kept is where the old files are, and Undo the command that brings them back.
	Kept string `json:"kept,omitempty"`
	Undo string `json:"undo,omitempty"`
}

func (a *App) runRestore(c *cli.Context) error {
	if c.NArg() != 1 {
		return usagef("which backup? coderclaw restore FILE")
	}
	if err := localOnly(c, "restore"); err != nil {
		return err
	}
	stateDir, configPath := settings.Paths(a.getenv(c))
	if port, running := runningPort(stateDir); running {
		return withHint(fmt.Errorf("a gateway runs on %s (port %d)", stateDir, port), "stop it, and run this again")
	}
	out, err := a.restore(c, stateDir)
	if err != nil {
		return err
	}
	if a.out.json {
		return a.out.line(out)
	}
	a.printRestored(out, configPath)
	return nil
}

// restore unpacks into a folder of the state directory, so that the files only have
// to be renamed.
func (a *App) restore(c *cli.Context, stateDir string) (out restored, err error) {
	out = restored{File: c.Args().First(), StateDir: stateDir, DryRun: c.Bool("dry-run")}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return out, err
	}
	lock, err := store.LockDir(stateDir)
	var locked *store.LockedError
	if errors.As(err, &locked) {
		return out, withHint(err, "stop the gateway, and run this again")
	}
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	staged, err := lock.Stage(stateDir)
	if err != nil {
		return out, err
	}
	defer os.RemoveAll(staged)
	if err := a.stage(c, staged, &out); err != nil {
		return out, err
	}
	if out.DryRun {
		return out, nil
	}
	out.Kept = filepath.Join(stateDir, "before-restore-"+time.Now().UTC().Format("20060102T150405.000Z"))
	out.Undo = fmt.Sprintf("cp -a %s/. %s/", quoted(out.Kept), quoted(stateDir))
	return out, lock.Replace(stateDir, staged, out.Kept)
}

// stage unpacks the backup and checks it whole.
func (a *App) stage(c *cli.Context, staged string, out *restored) error {
	m, err := unpackBackup(out.File, staged)
	if err != nil {
		return fmt.Errorf("restore %s: %w", out.File, err)
	}
	r, err := verifier()(c.Context, filepath.Join(staged, store.FileName))
	if err != nil {
		return err
	}
	switch {
	case !r.Sound():
		return withHint(fmt.Errorf("the database in %s is damaged (%s)", out.File, r.Summary()), "restore an older backup")
	case r.Version == 0:
		return fmt.Errorf("the database in %s is no gateway's: it has no schema version", out.File)
	case r.Version > store.SchemaVersion():
		return withHint(fmt.Errorf("the database in %s has schema version %d, this program knows versions up to %d", out.File, r.Version, store.SchemaVersion()), "update coderclaw, and run this again")
	}
	out.bundled = m.Files
	out.CreatedAt, out.Version, out.Rows, out.Files = m.CreatedAt, r.Version, r.Rows(), []string{}
	for _, f := range m.Files {
		out.Files = append(out.Files, f.Name)
	}
	return nil
}

// unpackBackup takes a packed backup, or a bare copy of the database.
func unpackBackup(file, staged string) (m bundle.Manifest, err error) {
	in, err := os.Open(file)
	if err != nil {
		return m, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return m, err
	}
	if !info.Mode().IsRegular() {
		return m, errors.New("it is no regular file")
	}
	magic := make([]byte, 2)
	if _, err := in.ReadAt(magic, 0); err != nil {
		return m, fmt.Errorf("it is no backup: %w", err)
	}
	if magic[0] == 0x1f && magic[1] == 0x8b { // gzip
		return bundle.Read(in, staged, func(m bundle.Manifest) error { return acceptBackup(m, staged) })
	}
	if err := store.Room(staged, info.Size()); err != nil {
		return m, err
	}
	to, err := os.OpenFile(filepath.Join(staged, store.FileName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return m, err
	}
	_, err = to.ReadFrom(in)
	m = bundle.Manifest{CreatedAt: info.ModTime().UTC(), Files: []bundle.File{{Name: store.FileName, Bytes: info.Size()}}}
	return m, errors.Join(err, to.Sync(), to.Close())
}

// acceptBackup refuses a bundle that is no gateway's, and one that does not fit.
func acceptBackup(m bundle.Manifest, staged string) error {
	if !m.Has(store.FileName) {
		return errors.New("it holds no database")
	}
	for _, f := range m.Files {
		if !belongs(f.Name) {
			return fmt.Errorf("it holds %q, which no backup of a gateway does", f.Name)
		}
	}
	return store.Room(staged, m.Bytes())
}

func (a *App) printRestored(out restored, configPath string) {
	verb := "restored"
	if out.DryRun {
		verb = "would restore"
	}
	a.out.printf("%s %s from %s: %s in the database\n", verb, out.StateDir, out.CreatedAt.Local().Format(time.DateTime), count(int64(out.Rows), "row", "rows"))
	a.printBundled(out.bundled)
	if slices.Contains(out.Files, configName) && filepath.Join(out.StateDir, configName) != configPath {
		a.out.note("the config went into %s; this shell names another one (%s), which stays as it is", out.StateDir, configPath)
	}
	if out.DryRun {
		a.out.note("nothing was changed; leave out --dry-run to do it")
		return
	}
	a.out.printf("what was there before is in %s\n", out.Kept)
	a.out.printf("to go back, while no gateway runs: %s\n", out.Undo)
}
