package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agents"
	"github.com/coderclaw/gateway/pkg/internal/bundle"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/store"
)

const backupHelp = `Packs what makes this gateway yours into one file: the database (paired devices, sessions,
transcripts, runs, the record), the config with the files that it includes, the gateway's token,
its certificate, this machine's device key, and the agents' folders (workspace, workspace-ID) in
the state directory. The gateway may run: it takes the copy of its database itself, and the copy
is checked before it is packed.

Left out, and named: agents' folders elsewhere, links, node_modules, certificate files that the
config names. Logs, older copies and what can be made anew are not in it either. Folders of more
than 20,000 files or 4 GiB are refused: leave them out with --no-workspaces.

The file holds secrets. It is made for you alone (mode 0600) and replaces nothing. Without FILE
it is coderclaw-backup-DATE-TIME.tar.gz in the current folder. To bring it back:
coderclaw restore FILE`

func (a *App) backupCommand() *cli.Command {
	return &cli.Command{
		Name: "backup", Category: categoryGateway,
		Usage: "pack database, config and keys into one verified file", ArgsUsage: "[FILE]",
		UsageText: "coderclaw backup [FILE] [--no-workspaces] [--json]", Description: backupHelp,
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "no-workspaces", DisableDefaultText: true, Usage: "leave the agents' folders out"}},
		Action: a.runBackup,
	}
}

// backedUp is what backup prints as JSON.
type backedUp struct {
	File    string        `json:"file"`
	Bytes   int64         `json:"bytes"`
	Via     string        `json:"via"`
	Rows    int64         `json:"rows"`
	Version int64         `json:"schemaVersion"`
	Files   []bundle.File `json:"files"`
	// LeftOut names what a reader of the backup might look for in vain.
	LeftOut []leftOut `json:"leftOut"`
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
	a.printBundled(out.Files)
	for _, l := range out.LeftOut {
		a.out.note("not in it: %s (%s)", clean(l.Path), clean(l.Reason))
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
	m, g, err := a.pack(c, stateDir, configPath, target, copied)
	if err != nil {
		return out, err
	}
	info, err := os.Stat(target)
	if err != nil {
		return out, fmt.Errorf("back up: %w", err)
	}
	return backedUp{File: target, Bytes: info.Size(), Via: via, Rows: copied.rows, Version: copied.version, Files: m.Files, LeftOut: append([]leftOut{}, g.left...)}, nil
}

// packTries is how often a backup is begun anew because a file changed under it.
const packTries = 3

// pack collects the files and writes the bundle. An agent may be writing into its
// folder, so that a file can change or go meanwhile.
func (a *App) pack(c *cli.Context, stateDir, configPath, target string, copied databaseCopy) (m bundle.Manifest, g *gathered, err error) {
	for range packTries {
		if g, err = gather(stateDir, configPath, a.getenv(c), !c.Bool("no-workspaces")); err != nil {
			return m, g, err
		}
		for _, folder := range copied.folders {
			if name, err := filepath.Rel(stateDir, folder); err != nil || !isWorkspace(name) {
				g.leave(folder, "an agent works there, outside of the state directory; it needs a backup of its own")
			}
		}
		m = bundle.Manifest{CreatedAt: time.Now().UTC(), Version: a.Version, Files: append([]bundle.File{{Name: store.FileName, Source: copied.path}}, g.files...)}
		m, err = writeBundle(target, m)
		if !errors.Is(err, bundle.ErrChanged) && !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	switch {
	case errors.Is(err, bundle.ErrChanged):
		return m, g, withHint(fmt.Errorf("back up: %w", err), "wait until nothing writes to it, or leave the agents' folders out: --no-workspaces")
	case err != nil:
		return m, g, fmt.Errorf("back up: %w", err)
	}
	return m, g, nil
}

// printBundled lists the files of a backup; those of an agent's folder are one line.
func (a *App) printBundled(files []bundle.File) {
	type total struct {
		n     int
		bytes int64
	}
	folders := map[string]total{}
	for _, f := range files {
		if top, _, _ := strings.Cut(f.Name, "/"); isWorkspace(top) {
			folders[top] = total{folders[top].n + 1, folders[top].bytes + f.Bytes}
			continue
		}
		sum := ""
		if len(f.SHA256) > 16 {
			sum = f.SHA256[:16]
		}
		a.out.printf("  %-26s %10s  %s\n", clean(f.Name), size(f.Bytes), sum)
	}
	for _, name := range slices.Sorted(maps.Keys(folders)) {
		a.out.printf("  %-26s %10s  %s\n", clean(name)+"/", size(folders[name].bytes), count(int64(folders[name].n), "file", "files"))
	}
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
	// folders are those that agents work in.
	folders []string
}

// copyDatabase has the running gateway copy its database, or does it itself.
func (a *App) copyDatabase(c *cli.Context, stateDir string) (out databaseCopy, via string, err error) {
	if _, running := runningPort(stateDir); running {
		err := a.askLong(c.Context, c, func(ctx context.Context, client protocol.Client) error {
			r, err := client.BackupCreate(ctx, protocol.BackupCreateParams{})
			if err != nil {
				return err
			}
			out = databaseCopy{path: r.Path, rows: r.Check.Rows, version: r.Check.SchemaVersion}
			out.folders, err = askFolders(ctx, client)
			return err
		})
		return out, viaGateway, err
	}
	db, err := openState(stateDir)
	if err != nil {
		return out, "", err
	}
	keeper := &store.Keeper{DB: db, Verify: verifier(), Log: storeLog()}
	folders, err := agentFolders(db, stateDir)
	if err != nil {
		return out, "", errors.Join(err, db.Close())
	}
	made, report, err := keeper.Create(c.Context, store.ReasonRequest)
	if err := errors.Join(err, db.Close()); err != nil {
		return out, "", err
	}
	return databaseCopy{made.Path, int64(report.Rows()), int64(report.Version), folders}, viaState, nil
}

// askFolders asks the gateway where its agents work.
func askFolders(ctx context.Context, client protocol.Client) (folders []string, err error) {
	list, err := client.AgentsList(ctx, protocol.AgentsListParams{})
	if err != nil {
		return nil, err
	}
	for _, agent := range list.Agents {
		files, err := client.AgentsFilesList(ctx, protocol.AgentsFilesListParams{AgentID: agent.ID})
		if err != nil {
			return nil, err
		}
		folders = append(folders, files.Workspace)
	}
	return folders, nil
}

// agentFolders reads where the agents work while no gateway runs.
func agentFolders(db *store.DB, stateDir string) (folders []string, err error) {
	registry, err := agents.New(agents.Config{DB: db, DefaultID: "main", Workspace: filepath.Join(stateDir, "workspace"), StateDir: stateDir})
	if err != nil {
		return nil, err
	}
	for _, agent := range registry.List() {
		folders = append(folders, agent.Workspace)
	}
	return folders, nil
}
