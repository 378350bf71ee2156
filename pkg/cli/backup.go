package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/certificate"
	"github.com/coderclaw/gateway/pkg/internal/bundle"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/store"
)

const backupHelp = `Packs what makes this gateway yours into one file: the database (paired devices, sessions,
transcripts, runs, the record), the config, the gateway's token and this machine's device key.
The gateway may run: it takes the copy of its database itself, and the copy is checked before it
is packed. The agent's workspace folder is not in it.

The file holds secrets. It is made for you alone (mode 0600) and replaces nothing. Without FILE
it is coderclaw-backup-DATE-TIME.tar.gz in the current folder. To bring it back:
coderclaw restore FILE`

func (a *App) backupCommand() *cli.Command {
	return &cli.Command{
		Name: "backup", Category: categoryGateway,
		Usage: "pack database, config and keys into one verified file", ArgsUsage: "[FILE]",
		UsageText: "coderclaw backup [FILE] [--json]", Description: backupHelp,
		Action: a.runBackup,
	}
}

// packedFiles are the files of a state directory that a backup holds besides the
// database, and that restore accepts.
func packedFiles() []string {
	return []string{
		configName, settings.TokenFileName, "identity/device.json", "identity/device-auth.json", "identity/known_gateways.json",
		"tls/" + certificate.FileName, // without its key, clients that pinned it would have to pin anew
	}
}

// configName is what the config is called in a backup, wherever it lies.
const configName = "coderclaw.json"

// backedUp is what backup prints as JSON.
type backedUp struct {
	File    string        `json:"file"`
	Bytes   int64         `json:"bytes"`
	Via     string        `json:"via"`
	Rows    int64         `json:"rows"`
	Version int64         `json:"schemaVersion"`
	Files   []bundle.File `json:"files"`
}

func (a *App) runBackup(c *cli.Context) error {
	if c.NArg() > 1 {
		return usagef("backup takes one file; see: coderclaw backup --help")
	}
	if err := localOnly(c, "backup"); err != nil {
		return err
	}
	target := c.Args().First()
	if target == "" {
		target = "coderclaw-backup-" + time.Now().Format("20060102-150405") + ".tar.gz"
	}
	if _, err := os.Lstat(target); err == nil {
		return withHint(fmt.Errorf("%s exists", target), "name another file: a backup replaces nothing")
	}
	stateDir, configPath := settings.Paths(a.getenv(c))
	out, err := a.backUp(c, stateDir, configPath, target)
	if err != nil {
		return err
	}
	if a.out.json {
		return a.out.line(out)
	}
	a.out.printf("%s  %s, %s in the database, taken and checked\n", out.File, size(out.Bytes), count(out.Rows, "row", "rows"))
	for _, f := range out.Files {
		a.out.printf("  %-26s %10s  %s\n", f.Name, size(f.Bytes), f.SHA256[:16])
	}
	a.out.note("it holds the gateway's secrets: keep it like a key. To bring it back: coderclaw restore %s", quoted(out.File))
	return nil
}

func (a *App) backUp(c *cli.Context, stateDir, configPath, target string) (out backedUp, err error) {
	copied, via, err := a.copyDatabase(c, stateDir)
	if err != nil {
		return out, err
	}
	defer os.Remove(copied.path)
	m := bundle.Manifest{CreatedAt: time.Now().UTC(), Version: a.Version, Files: []bundle.File{{Name: store.FileName, Source: copied.path}}}
	for _, name := range packedFiles() {
		source := filepath.Join(stateDir, name)
		if name == configName {
			source = configPath
		}
		if info, err := os.Stat(source); err == nil && info.Mode().IsRegular() {
			m.Files = append(m.Files, bundle.File{Name: name, Source: source})
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return out, fmt.Errorf("back up: %w", err)
		}
	}
	if m, err = writeBundle(target, m); err != nil {
		return out, fmt.Errorf("back up: %w", err)
	}
	info, err := os.Stat(target)
	if err != nil {
		return out, fmt.Errorf("back up: %w", err)
	}
	return backedUp{File: target, Bytes: info.Size(), Via: via, Rows: copied.rows, Version: copied.version, Files: m.Files}, nil
}

// writeBundle makes the file under a name of its own, reads it back, and only then
// gives it its name.
func writeBundle(target string, m bundle.Manifest) (_ bundle.Manifest, err error) {
	tmp, err := os.CreateTemp(filepath.Dir(target), ".coderclaw-backup-*") // mode 0600
	if err != nil {
		return m, err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if m, err = bundle.Write(tmp, m); err != nil {
		return m, err
	}
	if err := tmp.Sync(); err != nil {
		return m, err
	}
	if _, err := tmp.Seek(0, 0); err != nil {
		return m, err
	}
	if _, err := bundle.Read(tmp, "", nil); err != nil {
		return m, fmt.Errorf("the file does not read back: %w", err)
	}
	// A link fails where a rename would replace what somebody made meanwhile.
	if err := os.Link(tmp.Name(), target); err == nil || errors.Is(err, fs.ErrExist) {
		return m, err
	}
	return m, os.Rename(tmp.Name(), target) // no hard links here
}

// databaseCopy is a verified copy of the database.
type databaseCopy struct {
	path          string
	rows, version int64
}

// copyDatabase has the running gateway copy its database, or does it itself.
func (a *App) copyDatabase(c *cli.Context, stateDir string) (out databaseCopy, via string, err error) {
	if _, running := runningPort(stateDir); running {
		err := a.askLong(c.Context, c, func(ctx context.Context, client protocol.Client) error {
			r, err := client.BackupCreate(ctx, protocol.BackupCreateParams{})
			out = databaseCopy{r.Path, r.Check.Rows, r.Check.SchemaVersion}
			return err
		})
		return out, viaGateway, err
	}
	db, err := openState(stateDir)
	if err != nil {
		return out, "", err
	}
	keeper := &store.Keeper{DB: db, Verify: verifier(), Log: storeLog()}
	made, report, err := keeper.Create(c.Context, store.ReasonRequest)
	if err := errors.Join(err, db.Close()); err != nil {
		return out, "", err
	}
	return databaseCopy{made.Path, int64(report.Rows()), int64(report.Version)}, viaState, nil
}
