package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/coderclaw/gateway/pkg/certificate"
	"github.com/coderclaw/gateway/pkg/internal/bundle"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/store"
)

// The limits of what a backup takes of the agents' folders, all together.
const (
	workspaceFilesMax = 20_000
	workspaceBytesMax = 4 << 30
)

// dependencyFolder is left out of agents' folders: it can be installed again.
const dependencyFolder = "node_modules"

// configName is what the config is called in a backup, wherever it lies.
const configName = "coderclaw.json"

// packedFiles are the files of a state directory that a backup holds besides the
// database, the config's parts and the agents' folders, and that restore accepts.
func packedFiles() []string {
	return []string{
		configName, settings.TokenFileName, "identity/device.json", "identity/device-auth.json", "identity/known_gateways.json",
		"tls/" + certificate.FileName, // without its key, clients that pinned it would have to pin anew
	}
}

// isWorkspace reports whether a folder of the state directory is an agent's, by its
// name: workspace, or workspace-ID. Those of deleted agents have one with a dot.
func isWorkspace(name string) bool {
	return name == "workspace" || strings.HasPrefix(name, "workspace-") && !strings.Contains(name, ".")
}

// belongs reports whether a file of the name may be in a backup: what backup packs,
// and no name that the gateway itself keeps something else under.
func belongs(name string) bool {
	top, rest, below := strings.Cut(name, "/")
	switch {
	case name == store.FileName || slices.Contains(packedFiles(), name):
		return true
	case isWorkspace(top):
		return below && rest != ""
	}
	return isInclude(name)
}

// isInclude reports whether a file may be a part of the config, by its name.
func isInclude(name string) bool {
	top, _, _ := strings.Cut(name, "/")
	if strings.HasPrefix(top, ".") || strings.HasPrefix(top, "config-") || slices.Contains([]string{"identity", "tls", "logs", store.BackupsDir, "restore.commit"}, top) {
		return false
	}
	ext := strings.ToLower(filepath.Ext(name))
	return ext == ".json" || ext == ".json5"
}

// leftOut is something that a reader of the backup might look for in vain.
type leftOut struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// gathered is what a backup is made of, besides the database.
type gathered struct {
	files []bundle.File
	left  []leftOut
	bytes int64 // of agents' folders
	count int   // of files in them
}

func (g *gathered) leave(path, format string, args ...any) {
	g.left = append(g.left, leftOut{path, fmt.Sprintf(format, args...)})
}

// gather lists the files of a state directory that belong into a backup.
func gather(stateDir, configPath string, getenv func(string) string, workspaces bool) (*gathered, error) {
	g := &gathered{}
	for _, name := range packedFiles() {
		source := filepath.Join(stateDir, name)
		if name == configName {
			source = configPath
		}
		if info, err := os.Stat(source); err == nil && info.Mode().IsRegular() {
			g.files = append(g.files, bundle.File{Name: name, Source: source})
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("back up: %w", err)
		}
	}
	g.config(configPath, getenv)
	entries, err := os.ReadDir(stateDir)
	if err != nil {
		return nil, fmt.Errorf("back up: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(stateDir, e.Name())
		switch {
		case !isWorkspace(e.Name()):
		case !workspaces:
			g.leave(path, "--no-workspaces was given")
		case !e.IsDir():
			g.leave(path, "it is no folder; what it leads to needs a backup of its own")
		default:
			if err := g.workspace(stateDir, e.Name()); err != nil {
				return nil, err
			}
		}
	}
	return g, nil
}

// config adds the files that the config includes, and names those that it mentions
// and that are elsewhere. A config with faults has no parts to speak of: it is packed
// as it is.
func (g *gathered) config(configPath string, getenv func(string) string) {
	doc, err := settings.Read(settings.Source{Path: configPath, Getenv: getenv})
	if err != nil {
		return
	}
	for _, file := range doc.Files[min(1, len(doc.Files)):] {
		name, err := filepath.Rel(filepath.Dir(configPath), file)
		name = filepath.ToSlash(name)
		if _, statErr := os.Stat(file); statErr != nil {
			continue // it is missing now, and is not missed
		}
		if err != nil || !fs.ValidPath(name) || !isInclude(name) || slices.ContainsFunc(g.files, func(f bundle.File) bool { return f.Name == name }) {
			g.leave(file, "the config includes it, under a name that a backup cannot take: call it NAME.json")
			continue
		}
		g.files = append(g.files, bundle.File{Name: name, Source: file})
	}
	if s := doc.Settings; s != nil {
		for _, path := range []string{s.Gateway.TLS.CertPath, s.Gateway.TLS.KeyPath} {
			if path != "" {
				g.leave(path, "the config names it; it stays where it is and needs a backup of its own")
			}
		}
	}
}

// workspace adds the files of an agent's folder. Links are left out: they could lead
// anywhere, and what they lead to is not the agent's.
func (g *gathered) workspace(stateDir, top string) error {
	links := 0
	err := filepath.WalkDir(filepath.Join(stateDir, top), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // it went meanwhile
			}
			return err
		}
		if e.IsDir() {
			if e.Name() == dependencyFolder {
				g.leave(path, "it can be installed again")
				return fs.SkipDir
			}
			return nil
		}
		name, err := filepath.Rel(stateDir, path)
		if err != nil {
			return err
		}
		if !e.Type().IsRegular() {
			links++
			return nil
		}
		if name = filepath.ToSlash(name); !utf8.ValidString(name) || !fs.ValidPath(name) {
			g.leave(path, "its name is no text")
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return nil // it went meanwhile
		}
		g.count++
		if g.bytes += info.Size(); g.count > workspaceFilesMax || g.bytes > workspaceBytesMax {
			return withHint(fmt.Errorf("the agents' folders hold more than %d files or %d GiB", workspaceFilesMax, workspaceBytesMax>>30),
				"back %s up by other means, and leave the folders out here: coderclaw backup --no-workspaces", quoted(filepath.Join(stateDir, top)))
		}
		g.files = append(g.files, bundle.File{Name: name, Source: path, Exec: info.Mode()&0o100 != 0})
		return nil
	})
	if links > 0 {
		g.leave(filepath.Join(stateDir, top), "%s in it, which %s somewhere else", count(int64(links), "link or device", "links or devices"), map[bool]string{true: "leads", false: "lead"}[links == 1])
	}
	return err
}
