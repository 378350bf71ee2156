package settings

import (
	"encoding/json"
	"reflect"

	"github.com/coderclaw/gateway/pkg/internal/json5"
)

// Clients that show the configuration as a form take Config of the View, change a
// member and send the whole back: the defaults with it, what stands in included
// files, and no comment. The original compares such a text with what it had shown
// and writes the difference; so does this, which keeps the file as its owner wrote
// it, and defaults that may be better in a later release out of it.

// replaced is the new text of a file that a client replaces by raw: raw itself, or
// the file with what a form has changed in it.
func (s *Store) replaced(before *Document, sent, raw []byte) ([]byte, error) {
	if !json.Valid(sent) {
		return raw, nil
	}
	patch := before.formChanges(raw)
	if patch == nil {
		return raw, nil
	}
	text := before.Raw
	if json5.Blank(text) {
		text = []byte("{}\n")
	}
	text, err := json5.MergePatch(text, patch, fileDepthMax)
	if err != nil {
		return raw, nil
	}
	// What counts is what was sent: a difference that cannot be told by a patch, such
	// as a key taken out of an included file, is written in full.
	want, got := Compile(s.src, raw), Compile(s.src, text)
	if want.Settings == nil || !reflect.DeepEqual(want.Settings, got.Settings) || len(ChangedKeys(want, got)) > 0 {
		return raw, nil
	}
	return text, nil
}

// formFilledMin is how many values a form adds at least: fewer may be a person's.
const formFilledMin = 4

// formChanges returns what raw, with its placeholders resolved, changes in the
// configuration that was shown, as a merge patch; nil when raw is no text of a
// form. Such a text is plain JSON, since a comment shows that a person wrote it, and
// has most of what the shown configuration has beyond the file.
func (d *Document) formChanges(raw []byte) *json5.Node {
	if d.Settings == nil || hasTwice(d.main) {
		return nil
	}
	sent, err := json5.Parse(raw, fileDepthMax)
	if err != nil || hasTwice(sent) {
		return nil
	}
	config, issues, err := d.Restore(d.View().Config)
	if err != nil || len(issues) > 0 {
		return nil
	}
	shown, err := json5.Parse(config, fileDepthMax)
	if err != nil {
		return nil
	}
	filled, kept := 0, 0
	countFilled(shown, d.main, sent, &filled, &kept)
	if filled < formFilledMin || 2*kept <= filled {
		return nil
	}
	return difference(shown, sent)
}

// countFilled counts the values that shown has and the file has not, and those of
// them that came back, changed or not.
func countFilled(shown, file, sent *json5.Node, filled, kept *int) {
	for _, m := range shown.Members {
		there := file.Member(m.Key)
		if m.Value.Kind == json5.Object {
			countFilled(m.Value, there, sent.Member(m.Key), filled, kept)
			continue
		}
		if there != nil {
			continue
		}
		*filled++
		if sent.Member(m.Key) != nil {
			*kept++
		}
	}
}

// difference returns the merge patch that makes b of a. Both are objects.
func difference(a, b *json5.Node) *json5.Node {
	patch := &json5.Node{Kind: json5.Object}
	for _, m := range a.Members {
		if b.Member(m.Key) == nil {
			patch.Set(m.Key, &json5.Node{Kind: json5.Null})
		}
	}
	for _, m := range b.Members {
		old := a.Member(m.Key)
		switch {
		case old != nil && old.Kind == json5.Object && m.Value.Kind == json5.Object:
			if below := difference(old, m.Value); len(below.Members) > 0 {
				patch.Set(m.Key, below)
			}
		case old == nil || !same(old, m.Value):
			patch.Set(m.Key, m.Value)
		}
	}
	return patch
}

// same reports whether two values are the same JSON.
func same(a, b *json5.Node) bool {
	return string(a.AppendJSON(nil)) == string(b.AppendJSON(nil))
}
