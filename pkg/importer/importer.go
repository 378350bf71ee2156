// Package importer takes over what an OpenClaw or original CoderClaw gateway keeps in
// its state directory: paired devices with their tokens, sessions with their
// transcripts, the agents' folders, the config as far as this gateway knows its keys,
// and the command line's own device key.
//
// It changes nothing in the source: files are opened for reading below an os.Root, so
// that not even a symbolic link leads out of it, and what is no regular file is left
// alone. It imports nothing twice and replaces nothing that is here already, so it
// may be run again at any time; what it leaves out it counts and names, without
// showing a value. What the original writes around a user's words for its model alone
// does not come along.
//
// Neither gateway may run meanwhile: files that change under the reader would be
// taken half, and the database has one owner. An Importer is for one goroutine.
package importer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/coderclaw/gateway/pkg/identity"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/store"
)

// The limits of the source's files in bytes.
const (
	storeBytesMax  = 64 << 20 // of a JSON file
	configBytesMax = 1 << 20
	problemsMax    = 20
)

// The kinds of an Item.
const (
	KindDevice   = "device"
	KindPending  = "pairing request"
	KindNode     = "node pairing"
	KindSession  = "session"
	KindArchive  = "archive"
	KindConfig   = "config"
	KindIdentity = "device key"
)

// The verdicts of an Item.
const (
	// VerdictNew is what is imported.
	VerdictNew = "new"
	// VerdictThere is what an earlier run imported, or what is here anyway.
	VerdictThere = "there"
	// VerdictSkipped is what is left out, for the reason in Note.
	VerdictSkipped = "skipped"
)

// Config says from where to where.
type Config struct {
	// From is the state directory of the other gateway.
	From string
	// StateDir and ConfigPath are those of this one.
	StateDir, ConfigPath string
	// Guard and Sessions are of the open store of StateDir.
	Guard    *identity.Guard
	Sessions *session.Sessions
	// Apply writes; without it Run only tells.
	Apply bool
}

// Item is one thing that was found.
type Item struct {
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	Verdict string `json:"verdict"`
	Note    string `json:"note,omitempty"`
}

// Report is what was found and what became of it.
type Report struct {
	From    string `json:"from"`
	Applied bool   `json:"applied"`
	Items   []Item `json:"items"`
	// Messages is how many messages of new sessions were read, ToolMessages how many
	// results and calls of tools were left out, BrokenLines how many lines of
	// transcripts are no JSON.
	Messages     int `json:"messages"`
	ToolMessages int `json:"toolMessages"`
	BrokenLines  int `json:"brokenLines"`
	// Problems names the first broken lines and files, at most 20.
	Problems []string `json:"problems,omitempty"`
	// Config tells of the keys; those that are kept have no effect here.
	ConfigTaken   []string     `json:"configTaken,omitempty"`
	ConfigKept    []string     `json:"configKept,omitempty"`
	ConfigUnknown []string     `json:"configUnknown,omitempty"`
	ConfigRefused []RefusedKey `json:"configRefused,omitempty"`
}

// RefusedKey is a config key that was left out, and why.
type RefusedKey struct {
	Key    string `json:"key"`
	Reason string `json:"reason"`
}

// Count counts the items of a verdict.
func (r *Report) Count(verdict string) (n int) {
	for _, i := range r.Items {
		if i.Verdict == verdict {
			n++
		}
	}
	return n
}

func (r *Report) add(kind, name, verdict, format string, args ...any) {
	r.Items = append(r.Items, Item{kind, name, verdict, fmt.Sprintf(format, args...)})
}

func (r *Report) problem(format string, args ...any) {
	if len(r.Problems) < problemsMax {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// importer is one run.
type importer struct {
	Config
	root   *os.Root
	report Report
}

// ErrSameDirectory says that source and destination are one place.
var ErrSameDirectory = errors.New("the source is this gateway's own state directory")

// Run imports what is new, or tells what would be. An error means that the source
// cannot be read at all, or that this gateway's store failed; what was imported until
// then stays, and a second run goes on.
func Run(ctx context.Context, c Config) (Report, error) {
	if err := Apart(c.From, c.StateDir); err != nil {
		return Report{}, err
	}
	root, err := os.OpenRoot(c.From)
	if err != nil {
		return Report{}, fmt.Errorf("open the other gateway's state directory: %w", err)
	}
	defer root.Close()
	i := importer{Config: c, root: root, report: Report{From: c.From, Applied: c.Apply, Items: []Item{}}}
	if err := i.recognise(); err != nil {
		return i.report, err
	}
	for _, step := range []func(context.Context) error{i.devices, i.nodes, i.sessions, i.workspaces, i.config, i.identity} {
		if err := step(ctx); err != nil {
			return i.report, err
		}
	}
	return i.report, nil
}

// Apart refuses, as ErrSameDirectory, a source that is the destination, or that has it inside: the import
// would change it.
func Apart(from, to string) error {
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		return fmt.Errorf("open the other gateway's state directory: %w", err)
	}
	// The destination may not exist yet; what exists of its path decides.
	for dir := to; ; dir = filepath.Dir(dir) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			if rest, err := filepath.Rel(from, real); err == nil && (dir == to || rest != ".") && (rest == "." || !strings.HasPrefix(rest, "..")) {
				return ErrSameDirectory
			}
			return nil
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// sourceConfigs are the names of the other gateways' configs.
var sourceConfigs = []string{"openclaw.json", "coderclaw.json"}

// recognise refuses a folder that holds nothing of a gateway's, and says where there
// may be something.
func (i *importer) recognise() error {
	if _, err := i.root.Lstat(store.FileName); err == nil {
		return fmt.Errorf("%s is the state directory of a gateway like this one: take it over with coderclaw backup and coderclaw restore", i.From)
	}
	for _, name := range append([]string{"devices", "agents", "identity"}, sourceConfigs...) {
		if _, err := i.root.Lstat(name); err == nil {
			return nil
		}
	}
	var near []string
	entries, _ := fs.ReadDir(i.root.FS(), ".")
	for _, e := range entries {
		if _, err := i.root.Stat(filepath.Join(e.Name(), "agents")); e.IsDir() && err == nil {
			near = append(near, filepath.Join(i.From, e.Name()))
		}
	}
	if near != nil {
		return fmt.Errorf("%s holds no state of a gateway, but these do: %s", i.From, strings.Join(near, ", "))
	}
	return fmt.Errorf("%s holds no state of an OpenClaw or CoderClaw gateway", i.From)
}

// read returns a file of the source. A file that is missing is fs.ErrNotExist; one
// that is no regular file, too large, or a link that leads out, is refused.
func (i *importer) read(name string, bytesMax int64) ([]byte, error) {
	f, err := i.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, bytesMax+1))
	if err == nil && int64(len(raw)) > bytesMax {
		err = fmt.Errorf("%s is larger than %d MiB", name, bytesMax>>20)
	}
	return raw, err
}

// open opens a regular file of the source for reading; a fifo would block.
func (i *importer) open(name string) (*os.File, error) {
	f, err := i.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", name)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// readMap reads a JSON object whose members are decoded one by one, so that a broken
// one hides no other. A file that is not there has none.
func (i *importer) readMap(name string) map[string]json.RawMessage {
	raw, err := i.read(name, storeBytesMax)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var m map[string]json.RawMessage
	if err == nil {
		err = json.Unmarshal(raw, &m)
	}
	if err != nil {
		i.report.problem("%s: %s", name, unreadable(err))
	}
	return m
}

// unreadable words an error without what the file says.
func unreadable(err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("it is not JSON at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Sprintf("it is of the wrong kind (%s) at byte %d", kind.Value, kind.Offset)
	}
	return err.Error()
}

func sortedKeys(m map[string]json.RawMessage) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
