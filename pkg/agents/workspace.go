package agents

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// starters are the files that a new folder begins with.
//
//go:embed starters/*.md
var starters embed.FS

// openWorkspace resolves a folder that an operator named, makes it when it is not
// there, and says whether it did.
func (r *Registry) openWorkspace(id, named string) (path string, made bool, err error) {
	path, err = r.resolve(named)
	if err != nil {
		return "", false, err
	}
	for _, a := range r.List() {
		if a.ID != id && a.Workspace == path {
			return "", false, refuse("workspace %s is agent %q's: name another folder", path, a.ID)
		}
	}
	made, err = makeFolder(path)
	return path, made, err
}

// resolve turns the name of a folder into an absolute path, and refuses folders
// that hold more than one agent's things.
func (r *Registry) resolve(named string) (string, error) {
	path := strings.TrimSpace(named)
	if path == "" || len(path) > pathBytesMax || strings.ContainsFunc(path, unseen) {
		return "", refuse("workspace must be a path of 1 to %d bytes of printable text", pathBytesMax)
	}
	if rest, ok := strings.CutPrefix(path, "~"); ok {
		if r.cfg.Home == "" || rest != "" && !strings.HasPrefix(rest, "/") {
			return "", refuse("workspace %s: write the whole path", path)
		}
		path = filepath.Join(r.cfg.Home, rest)
	}
	if !filepath.IsAbs(path) {
		if !filepath.IsLocal(path) {
			return "", refuse("workspace %s leads out of the state directory: write the whole path", path)
		}
		path = filepath.Join(r.cfg.StateDir, path)
	}
	path = filepath.Clean(path)
	for _, taken := range []string{r.cfg.StateDir, r.cfg.Home} {
		if taken != "" && within(path, filepath.Clean(taken)) {
			return "", refuse("workspace %s holds more than an agent's files: name a folder of its own", path)
		}
	}
	for _, own := range []string{"logs", "identity", "backups"} {
		if within(filepath.Join(r.cfg.StateDir, own), path) {
			return "", refuse("workspace %s is the gateway's own: name another folder", path)
		}
	}
	return path, nil
}

// portable is a folder as it is stored, located the folder that a stored one is.
func (r *Registry) portable(path string) string {
	if r.cfg.StateDir != "" && within(r.cfg.StateDir, path) {
		if rel, err := filepath.Rel(r.cfg.StateDir, path); err == nil {
			return rel
		}
	}
	return path
}

func (r *Registry) located(stored string) string {
	if stored == "" || filepath.IsAbs(stored) {
		return stored
	}
	return filepath.Join(r.cfg.StateDir, stored)
}

// within reports whether path is dir or lies below it.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// seed writes the files that a folder begins with, except those that are there.
func seed(dir, name, emoji, avatar string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open workspace: %w", err)
	}
	defer root.Close()
	entries, err := starters.ReadDir("starters")
	if err != nil {
		return err
	}
	for _, e := range entries {
		raw, err := starters.ReadFile("starters/" + e.Name())
		if err != nil {
			return err
		}
		text := string(raw)
		if e.Name() == identityFile {
			for _, line := range [][2]string{{"Name", name}, {"Emoji", emoji}, {"Avatar", avatar}} {
				text = withIdentityLine(text, line[0], line[1])
			}
		}
		f, err := root.OpenFile(e.Name(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", e.Name(), err)
		}
		_, err = f.WriteString(text)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("write %s: %w", e.Name(), err)
		}
	}
	return nil
}

// moveAside renames a folder beside its place, to a name that says when.
func moveAside(dir string) (string, error) {
	if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
		return "", fmt.Errorf("%s is no folder any more", dir)
	}
	base := dir + ".removed-" + time.Now().UTC().Format("20060102T150405Z")
	to := base
	for n := 2; ; n++ {
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil || n > 100 {
			return "", fmt.Errorf("no free name beside %s", dir)
		}
		to = fmt.Sprintf("%s-%d", base, n)
	}
	return to, os.Rename(dir, to)
}
