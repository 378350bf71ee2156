package settings

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/coderclaw/gateway/pkg/internal/json5"
)

// The refusals of a write that callers tell apart.
var (
	// ErrHashRequired is told when the file exists and the writer did not say which
	// version of it it has read.
	ErrHashRequired = errors.New("config base hash required")
	// ErrChanged is told when the file is not the version that the writer has read.
	ErrChanged = errors.New("config changed since last load")
	// ErrNotObject is told of a patch that is no object.
	ErrNotObject = errors.New("config patch must be an object")
	// ErrBroken is told when a patch meets a file that has faults itself.
	ErrBroken = errors.New("the config file has faults; mend it before patching it")
)

// SyntaxError says where a text stops being JSON5.
type SyntaxError = json5.SyntaxError

// InvalidError lists the faults of a text that was not written.
type InvalidError struct{ Issues []Issue }

func (e *InvalidError) Error() string {
	d := Document{Issues: e.Issues}
	return d.Err().Error()
}

// Store changes the config file. One Store per file and process; writers in other
// processes are kept apart by a lock (lockFile), and by the hash that each write names.
type Store struct {
	src Source

	mu sync.Mutex // held over reading, checking and writing
	w  writer
}

// NewStore returns a Store for the file of src, whose flags and environment a new
// text is checked with.
func NewStore(src Source) *Store { return &Store{src: src} }

// Read reads the file anew.
func (s *Store) Read() (*Document, error) { return Read(s.src) }

// Check works out what a text would mean, without writing it.
func (s *Store) Check(raw []byte) *Document { return Compile(s.src, raw) }

// Written is what a write has done.
type Written struct{ Before, After *Document }

// Replace makes raw the text of the file, with placeholders of secrets replaced by
// what is stored, if the file is still the version baseHash and the text has no
// fault. Of the text of a form only what it changes is written. The errors are
// those above, *SyntaxError, *InvalidError and those of the file system.
func (s *Store) Replace(baseHash string, raw []byte) (Written, error) {
	return s.write(baseHash, raw, s.replaced, nil)
}

// Patch applies a JSON merge patch (RFC 7396) to the file: null removes a key, lists
// whose entries have ids are merged by id. What the patch does not name, comments
// included, stays as it is written. What an included file says cannot be removed so,
// nor can its lists be merged with: that is a fault that names the file.
func (s *Store) Patch(baseHash string, patch []byte) (Written, error) {
	return s.write(baseHash, patch, patched, outOfReach)
}

// changer makes the new text of a file of what a client has sent, and of that with
// its placeholders resolved.
type changer func(before *Document, sent, restored []byte) ([]byte, error)

func patched(before *Document, _, restored []byte) ([]byte, error) {
	patch, err := json5.Parse(restored, fileDepthMax)
	if err != nil {
		return nil, err
	}
	if patch.Kind != json5.Object {
		return nil, ErrNotObject
	}
	if before.Syntax != nil || hasTwice(before.main) { // which of two would be meant?
		return nil, ErrBroken
	}
	text := before.Raw
	if json5.Blank(text) {
		text = []byte("{}\n")
	}
	return json5.MergePatch(text, patch, fileDepthMax)
}

// Set returns the text of the file with one key changed, for a client that edits a
// text it was given. value is JSON5; nil removes the key, and leaves a text alone that
// does not have it.
func Set(raw []byte, key []string, value []byte) ([]byte, error) {
	node := &json5.Node{Kind: json5.Null}
	if value == nil && !has(raw, key) {
		return raw, nil
	}
	if value != nil {
		var err error
		if node, err = json5.Parse(value, fileDepthMax); err != nil {
			return nil, err
		}
	}
	for i := len(key) - 1; i >= 0; i-- {
		node = &json5.Node{Kind: json5.Object, Members: []json5.Member{{Key: key[i], Value: node}}}
	}
	if json5.Blank(raw) {
		raw = []byte("{}\n")
	}
	return json5.MergePatch(raw, node, fileDepthMax)
}

// has reports whether a text gives a key itself.
func has(raw []byte, key []string) bool {
	n, err := json5.Parse(raw, fileDepthMax)
	if err != nil {
		return !json5.Blank(raw) // what is wrong is told by the write
	}
	for _, part := range key {
		n = n.Member(part)
	}
	return n != nil
}

func (s *Store) write(baseHash string, raw []byte, change changer, check func(before, after *Document, raw []byte) []Issue) (Written, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	unlock, err := lockFile(s.src.Path)
	if err != nil {
		return Written{}, err
	}
	defer unlock()
	before, err := Read(s.src)
	if err != nil {
		return Written{}, err
	}
	if before.Exists && baseHash == "" {
		return Written{}, ErrHashRequired
	}
	if before.Exists && baseHash != before.Hash {
		return Written{}, ErrChanged
	}
	text, err := s.compose(before, raw, change)
	if err != nil {
		return Written{}, err
	}
	after := Compile(s.src, text)
	switch {
	case after.Syntax != nil:
		return Written{}, after.Syntax
	case len(after.Issues) > 0:
		return Written{}, &InvalidError{after.Issues}
	}
	if check != nil {
		if issues := check(before, after, raw); len(issues) > 0 {
			return Written{}, &InvalidError{issues}
		}
	}
	if after.Hash == before.Hash {
		return Written{before, after}, nil
	}
	if err := s.w.replace(s.src.Path, text, true); err != nil {
		return Written{}, fmt.Errorf("save config: %w", err)
	}
	return Written{before, after}, nil
}

// outOfReach finds what a patch asks for and cannot bring about, because an included
// file says otherwise.
func outOfReach(before, after *Document, raw []byte) (issues []Issue) {
	patch, err := json5.Parse(raw, fileDepthMax)
	if err != nil {
		return nil // told before
	}
	var walk func(path string, patch, main, was, is *json5.Node)
	walk = func(path string, patch, main, was, is *json5.Node) {
		switch patch.Kind {
		case json5.Null:
			if is != nil {
				issues = append(issues, Issue{Path: printable(path), File: is.File, Line: is.Line,
					Message: fmt.Sprintf("%s cannot be removed by a patch, because an included file has it: remove it there, or give it another value here", printable(path))})
			}
		case json5.Object:
			for _, m := range patch.Members {
				walk(join(path, m.Key), m.Value, main.Member(m.Key), was.Member(m.Key), is.Member(m.Key))
			}
		case json5.Array:
			if main == nil && was != nil && was.Kind == json5.Array && len(patch.Items) > 0 && patch.Items[0].Member("id") != nil {
				issues = append(issues, Issue{Path: printable(path), File: was.File, Line: was.Line,
					Message: fmt.Sprintf("%s is a list of an included file, whose entries a patch cannot merge with: change it there, or write the whole list with config.set", printable(path))})
				return
			}
			for i, item := range patch.Items {
				walk(fmt.Sprintf("%s[%d]", path, i), item, counterpart(item, i, main), counterpart(item, i, was), counterpart(item, i, is))
			}
		}
	}
	walk("", patch, before.main, before.merged, after.merged)
	return issues
}

// compose makes the new text of what a client sent.
func (s *Store) compose(before *Document, raw []byte, change changer) ([]byte, error) {
	if len(raw) > fileBytesMax {
		return nil, &InvalidError{[]Issue{{Message: fmt.Sprintf("the text is larger than %d bytes", fileBytesMax)}}}
	}
	stored := before
	if before.Syntax != nil {
		stored = &Document{merged: &json5.Node{Kind: json5.Object}} // nothing that a placeholder could mean
	}
	restored, issues, err := stored.Restore(raw)
	if err != nil {
		return nil, err
	}
	if len(issues) > 0 {
		return nil, &InvalidError{issues}
	}
	return change(before, raw, restored)
}

// Rollback makes an earlier version the text of the file again; the current one
// becomes the newest backup. A version that has faults today is refused.
func (s *Store) Rollback(b Backup) (Written, error) {
	text, err := ReadBackup(b)
	if err != nil {
		return Written{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	unlock, err := lockFile(s.src.Path)
	if err != nil {
		return Written{}, err
	}
	defer unlock()
	before, err := Read(s.src)
	if err != nil {
		return Written{}, err
	}
	after := Compile(s.src, text)
	if after.Settings == nil {
		return Written{}, &InvalidError{after.Issues}
	}
	if err := s.w.replace(s.src.Path, text, true); err != nil {
		return Written{}, fmt.Errorf("save config: %w", err)
	}
	return Written{before, after}, nil
}

// KeepBackup puts aside a text that something else than a Store has replaced, such
// as an editor, so that the history has no hole.
func (s *Store) KeepBackup(raw []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := s.src.Path
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // where Backups looks
	}
	if newest, err := readFile(backupPath(path, 1)); err != nil || string(newest) == string(raw) {
		return err
	}
	for n := BackupsMax - 1; n >= 1; n-- {
		if err := moveBackup(path, n); err != nil {
			return err
		}
	}
	return s.w.replace(backupPath(path, 1), raw, false)
}
