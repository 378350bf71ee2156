package agents

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// FileBytesMax bounds a file that is read or written.
const FileBytesMax = 1 << 20

const (
	identityFile = "IDENTITY.md"
	memoryFile   = "MEMORY.md"
	memoryLower  = "memory.md"
)

// fileNames are the files of the original's folders, in the order in which they
// are listed. A folder has one memory file, under either name.
var fileNames = [...]string{"AGENTS.md", "SOUL.md", "TOOLS.md", identityFile, "USER.md", "HEARTBEAT.md", "BOOTSTRAP.md", memoryFile}

// ErrFileChanged says that a file is not what the caller last read. It is compared
// by identity and never changed.
var ErrFileChanged = fileChanged()

// File is a file of an agent's folder. Content and Hash are set when it was read.
type File struct {
	Name, Path string
	// Missing says that it is not there, or is nothing that may be read.
	Missing         bool
	Size, UpdatedMs int64
	Content         string
	// Hash is the SHA-256 of the bytes in lower-case hex; empty when missing.
	Hash string
}

// Files lists the files of an agent, without their content.
func (r *Registry) Files(id string) (Agent, []File, error) {
	a, root, err := r.folder(id)
	if err != nil {
		return a, nil, err
	}
	if root != nil {
		defer root.Close()
	}
	names := slices.Clone(fileNames[:])
	if root != nil {
		names[len(names)-1] = memoryOf(root, a.Workspace)
	}
	files := make([]File, 0, len(names))
	for _, name := range names {
		files = append(files, look(root, a.Workspace, name))
	}
	return a, files, nil
}

// ReadFile reads a file of an agent. One that is missing is no error.
func (r *Registry) ReadFile(id, name string) (Agent, File, error) {
	a, root, err := r.folder(id)
	if err != nil {
		return a, File{}, err
	}
	if err := allowed(name); err != nil {
		return a, File{}, err
	}
	if root == nil {
		return a, look(nil, a.Workspace, name), nil
	}
	defer root.Close()
	f, err := read(root, a.Workspace, name)
	return a, f, err
}

// WriteFile writes a whole file. When base is not nil, it must be the hash of what
// is there now, empty for nothing; else ErrFileChanged is returned and nothing is
// written. Whoever writes the folder past the gateway can still come in between
// the look and the write.
func (r *Registry) WriteFile(id, name, content string, base *string) (Agent, File, error) {
	if err := allowed(name); err != nil {
		return Agent{}, File{}, err
	}
	if len(content) > FileBytesMax {
		return Agent{}, File{}, refuse("content is %d bytes, and %s may have %d: shorten it", len(content), name, FileBytesMax)
	}
	r.change.Lock()
	defer r.change.Unlock()
	a, root, err := r.folder(id)
	if err != nil {
		return a, File{}, err
	}
	if root == nil {
		return a, File{}, refuse("workspace %s is not there: make it, or name another with agents.update", a.Workspace)
	}
	defer root.Close()
	now, err := read(root, a.Workspace, name)
	if err != nil {
		return a, File{}, err
	}
	if base != nil && *base != now.Hash {
		return a, File{}, ErrFileChanged
	}
	if err := write(root, name, content); err != nil {
		return a, File{}, err
	}
	f, err := read(root, a.Workspace, name)
	return a, f, err
}

// folder opens an agent's folder; root is nil when there is none.
func (r *Registry) folder(id string) (_ Agent, root *os.Root, _ error) {
	a, ok := r.Find(id)
	if !ok {
		return a, nil, refuse("unknown agent id")
	}
	root, err := os.OpenRoot(a.Workspace)
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil, nil
	}
	if err != nil {
		return a, nil, fmt.Errorf("open workspace: %w", err)
	}
	return a, root, nil
}

func allowed(name string) error {
	if name != memoryLower && !slices.Contains(fileNames[:], name) {
		return refuse("unsupported file %q", name)
	}
	return nil
}

// look tells of a file without reading it.
func look(root *os.Root, dir, name string) File {
	f := File{Name: name, Path: filepath.Join(dir, name), Missing: true}
	if root == nil {
		return f
	}
	info, err := root.Lstat(name)
	if err != nil || !plainFile(info) {
		return f
	}
	f.Missing, f.Size, f.UpdatedMs = false, info.Size(), info.ModTime().UnixMilli()
	return f
}

// read reads a file that is regular, has no other name, and is small enough.
func read(root *os.Root, dir, name string) (File, error) {
	f := look(root, dir, name)
	before, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return f, fmt.Errorf("read %s: %w", name, err)
	}
	if !plainFile(before) {
		return f, refuse("unsafe file %q: it is a link, or no regular file; replace it by a plain one", name)
	}
	file, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return f, fmt.Errorf("read %s: %w", name, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return f, fmt.Errorf("read %s: %w", name, err)
	}
	if !plainFile(info) || !os.SameFile(before, info) {
		return f, refuse("unsafe file %q: it was replaced while it was opened; try again", name)
	}
	raw, err := io.ReadAll(io.LimitReader(file, FileBytesMax+1))
	if err != nil {
		return f, fmt.Errorf("read %s: %w", name, err)
	}
	if len(raw) > FileBytesMax {
		return f, refuse("file %q is larger than %d bytes: shorten it on the gateway's machine", name, FileBytesMax)
	}
	f.Size, f.Content, f.Hash = int64(len(raw)), string(bytes.ToValidUTF8(raw, []byte("\uFFFD"))), hashOf(raw)
	return f, nil
}

// write replaces a file by a new one, so that a reader sees the old or the new one
// whole. The new one is readable by its owner alone.
func write(root *os.Root, name, content string) error {
	temporary := "." + name + "." + strings.ToLower(rand.Text()[:8])
	file, err := root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = file.WriteString(content)
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = root.Rename(temporary, name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), root.Remove(temporary))
	}
	return nil
}

// plainFile reports whether a file is regular and has one name only: a second one
// may stand outside the folder.
func plainFile(info fs.FileInfo) bool {
	if !info.Mode().IsRegular() {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return !ok || st.Nlink == 1
}

func hashOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

func fileChanged() *wire.Error {
	details := protocol.ErrorDetails{Code: wire.Some(protocol.DetailFileChanged)}
	if step := protocol.DetailNextStep(protocol.DetailFileChanged); step != "" {
		details.RecommendedNextStep = wire.Some(step)
	}
	return wire.Errorf(protocol.ErrorInvalidRequest, "file changed since it was read; re-run agents.files.get and retry").WithDetails(details.AppendJSON(nil))
}
