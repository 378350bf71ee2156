package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/wire"
)

// faultMark begins the lines that tell faults in an edited text. They are taken
// out before it is saved.
const faultMark = "//! "

// newConfigText is what an editor begins with when there is no file.
const newConfigText = `// The configuration of the gateway. coderclaw config schema --format markdown tells
// every key.
{
}
`

func (a *App) runConfigEdit(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	getenv := a.getenv(c)
	editor := getenv("VISUAL")
	if editor == "" {
		editor = getenv("EDITOR")
	}
	if editor == "" {
		return withHint(errors.New("no editor is named"), "name one: EDITOR=nano coderclaw config edit")
	}
	stateDir, _ := settings.Paths(getenv)
	return a.atConfig(c, func(ctx context.Context, d configDesk) error {
		now, err := d.read(ctx)
		if err != nil {
			return err
		}
		_, elsewhere := globalString(c, flagURL)
		if via, _ := d.way(); via == viaGateway && now.exists && now.raw == nil && !elsewhere {
			// The gateway does not show a text in which it cannot tell the secrets; this
			// machine's own file can be opened all the same, and the gateway sees it change.
			d = a.openConfigFile(c)
			if now, err = d.read(ctx); err != nil {
				return err
			}
			a.out.note("the file is no JSON5, so it is opened itself, secrets included: %s", now.path)
		}
		text := now.raw
		switch {
		case text == nil && now.exists:
			return a.editBroken(now)
		case text == nil:
			text = []byte(newConfigText)
		}
		return a.editUntilGood(ctx, editor, stateDir, d, now, text)
	})
}

// editBroken tells what to do about a file that the gateway cannot show without its
// secrets.
func (a *App) editBroken(now configState) error {
	return withHint(fmt.Errorf("%s cannot be shown without its secrets, because it is no JSON5:\n%s", now.path, bullets(now.issues)),
		"open it on the gateway's machine with an editor, then: coderclaw config check")
}

// editUntilGood opens the editor until the text has no fault. To leave a text as it
// is gives up.
func (a *App) editUntilGood(ctx context.Context, editor, stateDir string, d configDesk, now configState, text []byte) error {
	file, err := editFile(stateDir, text)
	if err != nil {
		return err
	}
	kept := false
	defer func() {
		if !kept {
			_ = os.Remove(file) // it may hold secrets
		}
	}()
	last := text
	var refused error
	for {
		if err := a.runEditor(ctx, editor, file); err != nil {
			return err
		}
		shown, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read the edited text: %w", err)
		}
		text := withoutFaults(shown)
		if bytes.Equal(text, last) {
			if refused != nil {
				return refused
			}
			a.out.note("nothing is changed")
			return nil
		}
		var faults *faultsError
		refused = d.write(ctx, now.hash, text)
		if refused == nil {
			return a.printWritten(d, now.path, "the text", a.strongest(now, text))
		}
		if !errors.As(refused, &faults) {
			// Somebody else was faster, or the disk is full: the work must not be lost.
			kept = os.WriteFile(file, text, 0o600) == nil
			if kept {
				a.out.note("your text is kept in %s", file)
			}
			return refused
		}
		a.out.note("%s", refused)
		last = text
		var b bytes.Buffer
		for _, f := range faults.faults {
			b.WriteString(faultMark + clean(f) + "\n")
		}
		b.Write(text)
		if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
			return err
		}
	}
}

// strongest returns what the change of a text takes.
func (a *App) strongest(now configState, text []byte) settings.Class {
	src := settings.Source{Path: now.path, Getenv: a.Getenv, EnvOptional: true}
	before, after := settings.Compile(src, now.raw), settings.Compile(src, text)
	if before.Settings == nil || after.Settings == nil {
		return settings.ClassRestart
	}
	return settings.Strongest(settings.Diff(before.Settings, after.Settings))
}

func withoutFaults(text []byte) []byte {
	var out []byte
	for line := range bytes.Lines(text) {
		if !bytes.HasPrefix(line, []byte(faultMark)) {
			out = append(out, line...)
		}
	}
	return out
}

// runEditor runs the editor as a shell would, since EDITOR may hold arguments.
func (a *App) runEditor(ctx context.Context, editor, file string) error {
	cmd := exec.CommandContext(ctx, "sh", "-c", editor+` "$1"`, "sh", file)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.Stdin, a.Stdout, a.Stderr
	if err := cmd.Run(); err != nil {
		return withHint(fmt.Errorf("the editor %q ended with an error, nothing is saved: %w", editor, err), "name another one in EDITOR")
	}
	return nil
}

func (a *App) runConfigCheck(c *cli.Context) error {
	if c.NArg() > 1 {
		return usagef("config check takes one file, got %d arguments; see: coderclaw config check --help", c.NArg())
	}
	getenv := a.getenv(c)
	_, path := settings.Paths(getenv)
	if c.NArg() == 1 {
		path = c.Args().First()
		if _, err := os.Stat(path); err != nil {
			return err
		}
		if abs, err := filepath.Abs(path); err == nil {
			path = abs
		}
	}
	doc, err := settings.Read(settings.Source{Path: path, Getenv: getenv})
	if err != nil {
		return err
	}
	if a.out.json {
		issues := doc.Issues
		if issues == nil {
			issues = []settings.Issue{}
		}
		warnings := doc.Warnings
		if warnings == nil {
			warnings = []settings.Issue{}
		}
		err = a.out.line(map[string]any{"path": path, "exists": doc.Exists, "valid": doc.Settings != nil, "issues": issues, "warnings": warnings})
	} else {
		for _, i := range doc.Issues {
			a.out.printf("%s  %s\n", a.out.style(red, "fault"), clean(i.String()))
		}
		for _, w := range doc.Warnings {
			a.out.printf("%s   %s\n", a.out.style(bold, "warn"), clean(w.String()))
		}
		if doc.Settings != nil {
			word := "has no fault"
			if !doc.Exists {
				word = "is not there: the defaults hold"
			}
			a.out.printf("%s %s\n", path, word)
		}
	}
	if err == nil && doc.Settings == nil {
		return errTold
	}
	return err
}

// version is one line of the history.
type version struct {
	N      int       `json:"n"`
	At     time.Time `json:"at"`
	Hash   string    `json:"hash"`
	By     string    `json:"by,omitempty"`
	Action string    `json:"action,omitempty"`
	Note   string    `json:"note,omitempty"`
	Keys   []string  `json:"keys,omitempty"`
	Path   string    `json:"path"`
}

// versions joins the file and its backups with what the journal tells of them.
func versions(stateDir, path string) ([]version, error) {
	backups, err := settings.Backups(path)
	if err != nil {
		return nil, err
	}
	entries, err := settings.ReadJournal(stateDir)
	if err != nil {
		return nil, err
	}
	var out []version
	doc, err := settings.Read(settings.Source{Path: path, Getenv: func(string) string { return "" }})
	if err != nil {
		return nil, err
	}
	if info, statErr := os.Stat(path); statErr == nil {
		out = append(out, version{Hash: doc.Hash, At: info.ModTime(), Path: path})
	} else if !errors.Is(statErr, fs.ErrNotExist) {
		return nil, statErr
	}
	for _, b := range backups {
		out = append(out, version{N: b.N, Hash: b.Hash, At: b.At, Path: b.Path})
	}
	for i := range out {
		aside := out[i].At
		for _, e := range entries { // the last one that made this text, before it was put aside
			if e.Hash == out[i].Hash && (out[i].N == 0 || !e.At.After(aside)) {
				out[i].By, out[i].Action, out[i].Note, out[i].Keys, out[i].At = e.By, e.Action, e.Note, e.Keys, e.At
			}
		}
		out[i].At = out[i].At.UTC().Truncate(time.Second)
	}
	return out, nil
}

func (a *App) runConfigHistory(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	if err := hereOnly(c, "history"); err != nil {
		return err
	}
	stateDir, path := settings.Paths(a.getenv(c))
	list, err := versions(stateDir, path)
	if err != nil {
		return err
	}
	if a.out.json {
		for _, v := range list {
			if err := a.out.line(v); err != nil {
				return err
			}
		}
		return nil
	}
	if len(list) == 0 {
		a.out.note("there is no config yet: %s", path)
		return nil
	}
	rows := make([][]string, 0, len(list))
	for _, v := range list {
		n := strconv.Itoa(v.N)
		if v.N == 0 {
			n = "now"
		}
		what := v.Action
		if v.Note != "" {
			what += ": " + v.Note
		}
		rows = append(rows, []string{n, v.At.Local().Format(time.DateTime), shortID(v.Hash), shortID(v.By), shorten(what, 60), shorten(strings.Join(v.Keys, ", "), 80)})
	}
	return a.out.table([]string{"N", "TIME", "HASH", "BY", "WHAT", "KEYS"}, rows)
}

// hereOnly refuses --url where files of this machine are meant.
func hereOnly(c *cli.Context, name string) error {
	if _, elsewhere := globalString(c, flagURL); elsewhere {
		return usagef("config %s reads files of this machine: leave out --url, or run it where the gateway runs", name)
	}
	return nil
}

func (a *App) runConfigRollback(c *cli.Context) error {
	n, err := strconv.Atoi(c.Args().First())
	if c.NArg() != 1 || err != nil || n < 1 {
		return usagef("config rollback takes the number of a version; see them with: coderclaw config history")
	}
	if err := hereOnly(c, "rollback"); err != nil {
		return err
	}
	_, path := settings.Paths(a.getenv(c))
	backups, err := settings.Backups(path)
	if err != nil {
		return err
	}
	for _, b := range backups {
		if b.N == n {
			return a.atConfig(c, func(ctx context.Context, d configDesk) error { return a.rollBack(ctx, d, b) })
		}
	}
	return withHint(fmt.Errorf("there is no version %d", n), "see what there is: coderclaw config history")
}

func (a *App) rollBack(ctx context.Context, d configDesk, b settings.Backup) error {
	now, err := d.read(ctx)
	if err != nil {
		return err
	}
	text, err := settings.ReadBackup(b)
	if err != nil {
		return err
	}
	class := a.strongest(configState{path: now.path, raw: now.raw}, text)
	note := fmt.Sprintf("rollback to version %d", b.N)
	switch d := d.(type) {
	case *fileConfig:
		w, err := d.store.Rollback(b)
		if err != nil {
			return fileFaults(err)
		}
		if err := d.record("rollback", note, w); err != nil {
			return err
		}
	case *gatewayConfig:
		ctx, cancel := within(ctx, d.limit)
		defer cancel()
		params := protocol.ConfigApplyParams{Raw: string(text), Note: wire.Some(note), RestartDelayMs: wire.Some(int64(0))}
		if now.hash != "" {
			params.BaseHash = wire.Some(now.hash)
		}
		r, err := protocol.Client{Caller: d.conn}.ConfigApply(ctx, params)
		if err != nil {
			return withFaults(err)
		}
		class = map[string]settings.Class{"hot": settings.ClassHot, "none": settings.ClassNone}[r.Restart.Mode]
		if class == "" {
			class = settings.ClassRestart
		}
	}
	return a.printWritten(d, now.path, "the text, back to version "+strconv.Itoa(b.N)+",", class)
}

func (a *App) runConfigPath(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	if err := hereOnly(c, "path"); err != nil {
		return err
	}
	stateDir, path := settings.Paths(a.getenv(c))
	if !a.out.json {
		a.out.printf("%s\n", path)
		return nil
	}
	_, err := os.Stat(path)
	return a.out.line(map[string]any{"path": path, "exists": err == nil, "lastGood": filepath.Join(stateDir, settings.LastGoodFileName)})
}
