package settings

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/coderclaw/gateway/pkg/internal/json5"
)

// Issue is one fault of a config file.
type Issue struct {
	// Path is the key at fault, such as gateway.port; empty for the file as a whole.
	Path string `json:"path"`
	// Message says what is wrong and what to do. It never shows a value.
	Message string `json:"message"`
	// File is the file at fault, empty where no line is to blame.
	File string `json:"file,omitempty"`
	// Line counts from 1; 0 is unknown.
	Line int `json:"line,omitempty"`
}

// String words the issue in one line. The file is named by its last part.
func (i Issue) String() string {
	text := i.Message
	if i.Path != "" && !strings.Contains(i.Message, i.Path) {
		text = i.Path + " " + i.Message
	}
	if i.Line == 0 {
		return text
	}
	if i.File != "" {
		return fmt.Sprintf("%s line %d: %s", filepath.Base(i.File), i.Line, text)
	}
	return fmt.Sprintf("line %d: %s", i.Line, text)
}

// Document is a config file and what became of it. It is not written after it was
// made and may be shared.
type Document struct {
	Path   string
	Exists bool
	// Raw is the text of the file itself, Hash its SHA-256 in hex; empty when there
	// is no file.
	Raw  []byte
	Hash string
	// Digest names the text of the file and of everything it includes.
	Digest string
	// Files are the file and what it includes, absolute.
	Files []string
	// Issues are all faults found. Settings is nil while there are any.
	Issues   []Issue
	Settings *Settings
	// Warnings tell of the keys that are kept without effect.
	Warnings []Issue
	// Syntax is the fault of a text that is no JSON5 at all.
	Syntax *json5.SyntaxError

	// main is the file, merged the file with its includes, resolved that with the
	// environment put in. filed is what the file and the defaults say.
	main, merged, resolved *json5.Node
	filed                  *Settings
	fromEnv                map[string]bool
	texts                  map[string][]byte
}

// Err returns the document's issues as one error, nil when there are none.
func (d *Document) Err() error {
	if len(d.Issues) == 0 {
		return nil
	}
	texts := make([]string, len(d.Issues))
	for i, issue := range d.Issues {
		texts[i] = issue.String()
	}
	if d.Path == "" {
		return fmt.Errorf("settings: %s", strings.Join(texts, "; "))
	}
	return fmt.Errorf("config %s: %s", d.Path, strings.Join(texts, "; "))
}

// Read reads the config file of src. The error is one of reading the file itself;
// faults of its text are in the document.
func Read(src Source) (*Document, error) {
	raw, err := readFile(src.Path)
	if err != nil {
		return nil, err
	}
	return Compile(src, raw), nil
}

// Compile works out what a text would mean as the config file of src: nil is no
// file. Includes are read from where src.Path lies.
func Compile(src Source, raw []byte) *Document {
	if src.Getenv == nil {
		src.Getenv = os.Getenv
	}
	d := &Document{Path: src.Path, Exists: raw != nil, Raw: raw, filed: Default(), fromEnv: map[string]bool{}, texts: map[string][]byte{"": raw}}
	if src.Path != "" {
		d.Files = []string{src.Path}
	}
	if d.Exists {
		sum := sha256.Sum256(raw)
		d.Hash = hex.EncodeToString(sum[:])
	}
	d.main = &json5.Node{Kind: json5.Object}
	if !json5.Blank(raw) {
		n, err := json5.Parse(raw, fileDepthMax)
		if err != nil {
			_ = errors.As(err, &d.Syntax)
			d.Digest = d.Hash
			d.Issues = []Issue{{Message: fmt.Sprintf("not JSON5 at line %d, column %d: %s", d.Syntax.Line, d.Syntax.Column, d.Syntax.Message), Line: d.Syntax.Line}}
			return d
		}
		d.main = n
	}
	d.merged = d.include()
	d.digest()
	d.resolved = d.expand(src)
	w := newWalker()
	w.fill("", d.resolved, reflect.ValueOf(d.filed).Elem())
	d.Issues, d.Warnings = append(d.Issues, w.issues...), w.warnings
	slices.SortStableFunc(d.Warnings, func(a, b Issue) int { return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line) })
	if len(d.Issues) > 0 {
		return d
	}
	s := Default()
	again := newWalker()
	again.fill("", d.resolved, reflect.ValueOf(s).Elem())
	problems := s.applyEnv(src.Getenv, again.given)
	problems = append(problems, s.applyFlags(src.Flags, again.given)...)
	problems = append(problems, s.resolveModels(src.Getenv)...)
	base := src.Path
	if src.base != "" {
		base = src.base
	}
	s.Gateway.TLS.resolvePaths(base, src.Getenv)
	problems = append(problems, s.check(again.given)...)
	for _, p := range problems {
		d.Issues = append(d.Issues, d.issueOf(p))
	}
	if len(d.Issues) == 0 {
		d.Settings = s
	}
	return d
}

// digest hashes all texts in the order they were read.
func (d *Document) digest() {
	h := sha256.New()
	for _, name := range append([]string{""}, d.Files[min(1, len(d.Files)):]...) {
		fmt.Fprintf(h, "%s\x00%d\x00", name, len(d.texts[name]))
		h.Write(d.texts[name])
	}
	d.Digest = hex.EncodeToString(h.Sum(nil))
}

var leadingKey = regexp.MustCompile(`^[a-z][A-Za-z0-9]*(\.[A-Za-z0-9_-]+|\[\d+\])+`)

// issueOf turns the text of a check, which begins with its key, into an issue with
// the line of that key.
func (d *Document) issueOf(problem string) Issue {
	path := leadingKey.FindString(problem)
	if path == "" {
		return Issue{Message: problem}
	}
	i := Issue{Path: path, Message: strings.TrimSpace(strings.TrimPrefix(problem, path))}
	for at := path; at != ""; at = at[:max(0, strings.LastIndexAny(at, ".["))] { // what is missing is missing in its group
		if n := lookUp(d.resolved, at); n != nil {
			i.File, i.Line = n.File, n.Line
			break
		}
	}
	return i
}

// lookUp finds the value of a path such as a.b[0].c, nil when there is none.
func lookUp(n *json5.Node, path string) *json5.Node {
	for part := range strings.SplitSeq(strings.ReplaceAll(path, "[", ".["), ".") {
		if index, ok := strings.CutPrefix(part, "["); ok {
			i, err := strconv.Atoi(strings.TrimSuffix(index, "]"))
			if err != nil || n == nil || i < 0 || i >= len(n.Items) {
				return nil
			}
			n = n.Items[i]
			continue
		}
		if n = n.Member(part); n == nil {
			return nil
		}
	}
	return n
}

// Has reports whether the file or what it includes gives the key.
func (d *Document) Has(path string) bool { return lookUp(d.merged, path) != nil }

// Unchanged reports whether another document was made of the same texts.
func (d *Document) Unchanged(other *Document) bool {
	return other != nil && d.Digest == other.Digest && slices.Equal(d.Files, other.Files)
}
