package settings

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/coderclaw/gateway/pkg/internal/json5"
)

// The limits of $include.
const (
	includeKey        = "$include"
	includeDepthMax   = 8
	includeFilesMax   = 32
	includeBytesTotal = 4 << 20
)

// includer replaces $include members by what the named files hold. A file is named
// relative to the one that includes it, and must lie in the config file's folder or
// below: it is opened beneath that folder, so that no link leads out either.
type includer struct {
	d     *Document
	root  *os.Root
	bytes int64
}

// include returns the file's tree with its includes in place. Where both give a
// key, the including file wins over the included, and a later file of a list over
// an earlier one; objects are merged, everything else is replaced.
func (d *Document) include() *json5.Node {
	in := &includer{d: d}
	defer func() {
		if in.root != nil {
			_ = in.root.Close() // only read from
		}
	}()
	return in.resolve("", d.main, "", []string{filepath.Base(d.Path)})
}

func (in *includer) bad(path string, n *json5.Node, format string, args ...any) {
	in.d.Issues = append(in.d.Issues, Issue{Path: join(path, includeKey), Message: fmt.Sprintf(format, args...), File: n.File, Line: n.Line})
}

// resolve returns n, found at path in file (relative to the root), with the includes
// below it in place. stack holds the files that are being read.
func (in *includer) resolve(path string, n *json5.Node, file string, stack []string) *json5.Node {
	switch n.Kind {
	case json5.Array:
		out := *n
		out.Items = make([]*json5.Node, len(n.Items))
		for i, item := range n.Items {
			out.Items[i] = in.resolve(fmt.Sprintf("%s[%d]", path, i), item, file, stack)
		}
		return &out
	case json5.Object:
	default:
		return n
	}
	own := *n
	own.Members = nil
	var from *json5.Node
	for _, m := range n.Members {
		if m.Key == includeKey {
			from = m.Value
			continue
		}
		m.Value = in.resolve(join(path, m.Key), m.Value, file, stack)
		own.Members = append(own.Members, m)
	}
	if from == nil {
		return &own
	}
	names := []*json5.Node{from}
	if from.Kind == json5.Array {
		names = from.Items
	}
	base := &json5.Node{Kind: json5.Object, File: n.File, Line: n.Line}
	for _, name := range names {
		if name.Kind != json5.String {
			in.bad(path, from, "must be the name of a file or a list of names, not %s", kind(name))
			continue
		}
		if included := in.load(path, name, file, stack); included != nil {
			base = overlay(base, included)
		}
	}
	return overlay(base, &own)
}

// load reads one included file, nil when it cannot be used.
func (in *includer) load(path string, name *json5.Node, file string, stack []string) *json5.Node {
	target := filepath.Join(filepath.Dir(file), filepath.FromSlash(name.Text))
	switch {
	case in.d.Path == "":
		in.bad(path, name, "has no file to be relative to")
		return nil
	case filepath.IsAbs(name.Text) || !filepath.IsLocal(target):
		in.bad(path, name, "must name a file in the folder of %s or below, relative to the file it stands in", filepath.Base(in.d.Path))
		return nil
	case slices.Contains(stack, target):
		in.bad(path, name, "includes itself: %s", printable(target))
		return nil
	case len(stack) > includeDepthMax:
		in.bad(path, name, "is nested deeper than %d files", includeDepthMax)
		return nil
	case len(in.d.Files) > includeFilesMax:
		in.bad(path, name, "makes more than %d files", includeFilesMax)
		return nil
	}
	full := filepath.Join(filepath.Dir(in.d.Path), target)
	raw, seen := in.d.texts[full]
	if !seen {
		in.d.Files = append(in.d.Files, full) // watched also while it is missing
		var err error
		if raw, err = in.read(target); err != nil {
			in.bad(path, name, "cannot be read: %v", err)
			return nil
		}
		in.d.texts[full] = raw
	}
	if json5.Blank(raw) {
		return nil
	}
	n, err := json5.Parse(raw, fileDepthMax)
	if err != nil {
		var syntax *json5.SyntaxError
		_ = errors.As(err, &syntax)
		in.d.Issues = append(in.d.Issues, Issue{Message: fmt.Sprintf("not JSON5 at line %d, column %d: %s", syntax.Line, syntax.Column, syntax.Message), File: full, Line: syntax.Line})
		return nil
	}
	if n.Kind != json5.Object {
		in.bad(path, name, "names a file that holds %s instead of an object", kind(n))
		return nil
	}
	setFile(n, full)
	return in.resolve(path, n, target, append(slices.Clone(stack), target))
}

func (in *includer) read(target string) ([]byte, error) {
	if in.root == nil {
		root, err := os.OpenRoot(filepath.Dir(in.d.Path))
		if err != nil {
			return nil, err
		}
		in.root = root
	}
	info, err := in.root.Stat(target) // before opening: a fifo would block
	if err != nil {
		return nil, reason(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := in.root.Open(target)
	if err != nil {
		return nil, reason(err)
	}
	defer func() { _ = f.Close() }() // opened for reading
	raw, err := io.ReadAll(io.LimitReader(f, fileBytesMax+1))
	if err != nil {
		return nil, reason(err)
	}
	in.bytes += int64(len(raw))
	if len(raw) > fileBytesMax || in.bytes > includeBytesTotal {
		return nil, fmt.Errorf("larger than %d bytes, or more than %d with the others", fileBytesMax, includeBytesTotal)
	}
	return raw, nil
}

// reason drops the path of a file error, which the issue names already.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

func setFile(n *json5.Node, file string) {
	n.File = file
	for _, m := range n.Members {
		setFile(m.Value, file)
	}
	for _, item := range n.Items {
		setFile(item, file)
	}
}

// overlay merges two trees; top wins.
func overlay(base, top *json5.Node) *json5.Node {
	if base.Kind != json5.Object || top.Kind != json5.Object {
		return top
	}
	out := *base
	out.Members = slices.Clone(base.Members)
	out.Twice = append(slices.Clone(base.Twice), top.Twice...)
	if top.Line != 0 {
		out.File, out.Line = top.File, top.Line
	}
	for _, m := range top.Members {
		if old := out.Member(m.Key); old != nil {
			m.Value = overlay(old, m.Value)
		}
		out.Set(m.Key, m.Value)
	}
	return &out
}
