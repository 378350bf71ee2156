package importer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// The limits of the agents' folders, all together.
const (
	workspaceFilesMax = 20_000
	workspaceBytesMax = 4 << 30
	// workspaceFileMax bounds one file in bytes; a larger one is left out.
	workspaceFileMax = 256 << 20
)

// KindWorkspace is the kind of an Item that is an agent's folder.
const KindWorkspace = "workspace"

// workspaces takes over the agents' folders that lie in the source: workspace, and
// workspace-ID, which have the same names here. There an assistant keeps who it is and
// what it remembers.
func (i *importer) workspaces(ctx context.Context) error {
	entries, err := fs.ReadDir(i.root.FS(), ".")
	if err != nil {
		return fmt.Errorf("read the other gateway's state directory: %w", err)
	}
	var total folder
	for _, e := range entries {
		if name := e.Name(); name != "workspace" && !strings.HasPrefix(name, "workspace-") || strings.Contains(name, ".") {
			continue
		} else if !e.IsDir() {
			i.report.add(KindWorkspace, name, VerdictSkipped, "it is no folder; copy what it leads to by hand")
			continue
		}
		if err := i.workspace(ctx, e.Name(), &total); err != nil {
			return err
		}
	}
	return nil
}

// folder counts what became of the files of agents' folders.
type folder struct {
	files               int
	bytes               int64
	fresh, same, differ int
	left                int // links, devices, what is too large, dependencies
}

var errFolderTooLarge = fmt.Errorf("the folders hold more than %d files or %d GiB", workspaceFilesMax, workspaceBytesMax>>30)

func (i *importer) workspace(ctx context.Context, name string, total *folder) error {
	f := folder{files: total.files, bytes: total.bytes}
	err := fs.WalkDir(i.root.FS(), name, func(file string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			i.report.problem("%s: %v", file, err)
			return nil
		case e.IsDir() && e.Name() == "node_modules":
			f.left++
			return fs.SkipDir
		case e.IsDir():
			return nil
		case !e.Type().IsRegular():
			f.left++
			return nil
		}
		return i.workspaceFile(file, &f)
	})
	total.files, total.bytes = f.files, f.bytes
	if errors.Is(err, errFolderTooLarge) {
		i.report.add(KindWorkspace, name, VerdictSkipped, "%v: copy the rest by hand; %d files are taken", err, f.fresh)
		return nil
	}
	if err != nil {
		return err
	}
	note := fmt.Sprintf("%d files", f.fresh)
	if f.differ > 0 {
		note += fmt.Sprintf(", %d are others here and stay", f.differ)
	}
	if f.left > 0 {
		note += fmt.Sprintf(", %d links or dependencies left out", f.left)
	}
	if f.fresh == 0 {
		i.report.add(KindWorkspace, name, VerdictThere, "%s", strings.TrimPrefix(strings.TrimPrefix(note, "0 files"), ", "))
		return nil
	}
	i.report.add(KindWorkspace, name, VerdictNew, "%s", note)
	return nil
}

// workspaceFile takes over one file, unless there is one of its name.
func (i *importer) workspaceFile(file string, f *folder) error {
	in, err := i.open(file)
	if err != nil {
		i.report.problem("%s: %v", file, err)
		return nil
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil || info.Size() > workspaceFileMax {
		f.left++
		i.report.problem("%s: it is larger than %d MiB", file, workspaceFileMax>>20)
		return nil
	}
	f.files++
	if f.bytes += info.Size(); f.files > workspaceFilesMax || f.bytes > workspaceBytesMax {
		return errFolderTooLarge
	}
	there, err := i.unlike(in, info.Size(), file)
	switch {
	case err != nil:
		i.report.problem("%s: %v", file, err)
	case there == isSame:
		f.same++
	case there == isOther:
		f.differ++
	case !i.Apply:
		f.fresh++
	default:
		err := place(i.StateDir, file, in, info)
		if errors.Is(err, fs.ErrExist) {
			f.differ++
			return nil
		}
		if err != nil {
			return fmt.Errorf("import %s: %w", file, err)
		}
		f.fresh++
	}
	return nil
}

// What stands in a file's place here.
const (
	isMissing = iota
	isSame
	isOther
)

// unlike compares a file of the source with the one of its name here, and leaves the
// source's at its beginning.
func (i *importer) unlike(in *os.File, size int64, file string) (int, error) {
	root, err := os.OpenRoot(i.StateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return isMissing, nil
	}
	if err != nil {
		return 0, err
	}
	defer root.Close()
	info, err := root.Lstat(filepath.FromSlash(file))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return isMissing, nil
	case err != nil:
		return 0, err // such as a folder that is a link and leads out
	case !info.Mode().IsRegular() || info.Size() != size:
		return isOther, nil
	}
	here, err := root.Open(filepath.FromSlash(file))
	if err != nil {
		return 0, err
	}
	defer here.Close()
	same, err := sameBytes(in, here)
	if _, seekErr := in.Seek(0, io.SeekStart); err != nil || seekErr != nil {
		return 0, errors.Join(err, seekErr)
	}
	if same {
		return isSame, nil
	}
	return isOther, nil
}

func sameBytes(a, b io.Reader) (bool, error) {
	var x, y [32 << 10]byte
	for {
		n, errA := io.ReadFull(a, x[:])
		m, errB := io.ReadFull(b, y[:])
		if !bytes.Equal(x[:n], y[:m]) {
			return false, nil
		}
		if errA != nil || errB != nil {
			ended := errors.Is(errA, io.EOF) || errors.Is(errA, io.ErrUnexpectedEOF)
			if !ended {
				return false, errors.Join(errA, errB)
			}
			return true, nil
		}
	}
}

// place writes a private file below the state directory, complete from the moment it
// has its name; fs.ErrExist when the name is taken. No link leads it out.
func place(stateDir, file string, in io.Reader, info fs.FileInfo) error {
	root, err := os.OpenRoot(stateDir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll(filepath.FromSlash(path.Dir(file)), 0o700); err != nil {
		return err
	}
	mode := fs.FileMode(0o600)
	if info.Mode()&0o100 != 0 {
		mode = 0o700
	}
	tmp := filepath.FromSlash(path.Join(path.Dir(file), ".coderclaw-import"))
	_ = root.Remove(tmp) // of a run that was killed
	out, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer root.Remove(tmp)
	_, err = io.Copy(out, in)
	err = errors.Join(err, out.Sync(), out.Close())
	if err == nil {
		err = root.Chtimes(tmp, info.ModTime(), info.ModTime())
	}
	if err != nil {
		return err
	}
	return root.Link(tmp, filepath.FromSlash(file))
}
