package settings

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/coderclaw/gateway/pkg/internal/json5"
)

// Redacted stands in the place of a secret wherever settings are shown. Whoever
// writes it back keeps what is stored.
const Redacted = "__CODERCLAW_REDACTED__"

// redactedElsewhere is the same word of the original, which existing clients send.
const redactedElsewhere = "__OPENCLAW_REDACTED__"

// secretBytesMin is the shortest secret that is also looked for in comments: a
// shorter one would hide pieces of other words.
const secretBytesMin = 6

func isPlaceholder(text string) bool { return text == Redacted || text == redactedElsewhere }

// View is a document as it may be shown: without a secret, whoever put it where.
// What stands under a key that nobody knows is hidden too, because it may be a
// secret in the wrong place.
type View struct {
	// Raw is the text of the file; nil when there is none, or when it is no JSON5, so
	// that nobody can tell what in it is a secret.
	Raw []byte
	// Parsed is the file, Resolved the file with includes and environment, Config what
	// the file and the defaults say, all as JSON objects. A value that came from the
	// environment is hidden in the latter two.
	Parsed, Resolved, Config []byte
}

// View returns the document without its secrets.
func (d *Document) View() View {
	v := View{Parsed: []byte("{}"), Resolved: []byte("{}"), Config: []byte("{}")}
	if d.Syntax != nil {
		return v
	}
	root := reflect.TypeFor[Settings]()
	v.Parsed = hide(d.main, root, "", nil).AppendJSON(nil)
	v.Resolved = hide(d.resolved, root, "", d.fromEnv).AppendJSON(nil)
	w := newWalker()
	w.fill("", d.resolved, reflect.ValueOf(Default()).Elem())
	v.Config = encodeValue(reflect.ValueOf(d.filed).Elem(), "", func(path string) (given, hidden bool) { return w.given[path], d.fromEnv[path] }).AppendJSON(nil)
	if d.Exists {
		v.Raw = d.hideRaw()
	}
	return v
}

// hide returns a copy of n with every secret replaced. t is the type that n was
// read into, nil where nothing is known about it.
func hide(n *json5.Node, t reflect.Type, path string, fromEnv map[string]bool) *json5.Node {
	switch n.Kind {
	case json5.Object:
		out := *n
		out.Members = slices.Clone(n.Members)
		for i, m := range out.Members {
			out.Members[i].Value = hide(m.Value, typeBelow(t, m.Key), join(path, m.Key), fromEnv)
		}
		return &out
	case json5.Array:
		out := *n
		out.Items = make([]*json5.Node, len(n.Items))
		for i, item := range n.Items {
			out.Items[i] = hide(item, typeInside(t), fmt.Sprintf("%s[%d]", path, i), fromEnv)
		}
		return &out
	}
	if !hidden(n, t) && !fromEnv[path] {
		return n
	}
	return &json5.Node{Kind: json5.String, Text: Redacted}
}

// hidden reports whether a single value may not be shown. A reference to the
// environment may: it names the variable and not the secret.
func hidden(n *json5.Node, t reflect.Type) bool {
	if n.Kind == json5.Null || n.Kind == json5.Bool || n.Kind == json5.String && isReference(n.Text) {
		return false
	}
	return t == nil || t == secretType || isGroup(t) && !(t == choiceType && n.Kind == json5.String)
}

// typeBelow returns the type of a member, nil when there is none of that name.
func typeBelow(t reflect.Type, key string) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case key == includeKey:
		return reflect.TypeFor[[]string]()
	case t == nil:
		return nil
	case isGroup(t):
		if f, ok := fieldOf(t, key); ok {
			return f.Type
		}
	case t.Kind() == reflect.Map:
		return t.Elem()
	}
	return nil
}

func typeInside(t reflect.Type) reflect.Type {
	if t != nil && t.Kind() == reflect.Slice {
		return t.Elem()
	}
	return nil
}

// hideRaw replaces the secrets in the text of the file, and in its comments the
// words that are secrets elsewhere in it.
func (d *Document) hideRaw() []byte {
	var edits []json5.Edit
	var words []string
	var walk func(n *json5.Node, t reflect.Type)
	walk = func(n *json5.Node, t reflect.Type) {
		switch n.Kind {
		case json5.Object:
			for _, m := range n.Members {
				walk(m.Value, typeBelow(t, m.Key))
			}
		case json5.Array:
			for _, item := range n.Items {
				walk(item, typeInside(t))
			}
		default:
			if hidden(n, t) {
				edits = append(edits, json5.Edit{Start: n.Start, End: n.End, Text: json5.Quote(Redacted)})
				if n.Kind == json5.String && len(n.Text) >= secretBytesMin {
					words = append(words, n.Text)
				}
			}
		}
	}
	if len(d.main.Twice) > 0 || hasTwice(d.main) {
		return nil // the value that lost is not in the tree
	}
	walk(d.main, reflect.TypeFor[Settings]())
	raw := json5.Apply(d.Raw, edits)
	for _, word := range words {
		raw = bytes.ReplaceAll(raw, []byte(word), []byte(Redacted))
	}
	return raw
}

func hasTwice(n *json5.Node) bool {
	if len(n.Twice) > 0 {
		return true
	}
	for _, m := range n.Members {
		if hasTwice(m.Value) {
			return true
		}
	}
	return slices.ContainsFunc(n.Items, hasTwice)
}

// encodeValue writes settings as a tree. Keys that were not given and have no
// default are left out. about tells of a path whether it was given and whether it
// is hidden; nil is neither.
func encodeValue(v reflect.Value, path string, about func(path string) (given, hidden bool)) *json5.Node {
	if about == nil {
		about = func(string) (bool, bool) { return false, false }
	}
	if _, hidden := about(path); hidden || v.Type() == secretType {
		return &json5.Node{Kind: json5.String, Text: Redacted}
	}
	switch v.Kind() {
	case reflect.Struct:
		n := &json5.Node{Kind: json5.Object}
		for i := range v.NumField() {
			key := v.Type().Field(i).Tag.Get("json")
			if given, _ := about(join(path, key)); given || !v.Field(i).IsZero() {
				n.Set(key, encodeValue(v.Field(i), join(path, key), about))
			}
		}
		return n
	case reflect.String:
		return &json5.Node{Kind: json5.String, Text: v.String()}
	case reflect.Bool:
		return &json5.Node{Kind: json5.Bool, Bool: v.Bool()}
	case reflect.Int, reflect.Int64:
		return &json5.Node{Kind: json5.Number, Number: float64(v.Int())}
	case reflect.Float64:
		return &json5.Node{Kind: json5.Number, Number: v.Float()}
	case reflect.Pointer:
		if v.IsNil() {
			return &json5.Node{Kind: json5.Null}
		}
		return encodeValue(v.Elem(), path, about)
	case reflect.Slice:
		n := &json5.Node{Kind: json5.Array, Items: []*json5.Node{}}
		for i := range v.Len() {
			n.Items = append(n.Items, encodeValue(v.Index(i), fmt.Sprintf("%s[%d]", path, i), about))
		}
		return n
	case reflect.Map:
		n := &json5.Node{Kind: json5.Object}
		for _, key := range v.MapKeys() {
			n.Set(key.String(), encodeValue(v.MapIndex(key), join(path, key.String()), about))
		}
		slices.SortFunc(n.Members, func(a, b json5.Member) int { return strings.Compare(a.Key, b.Key) })
		return n
	}
	panic("settings: no writer for " + v.Type().String())
}

// Restore puts what is stored in the place of each placeholder of a text that
// comes back from a client: the value's own characters, so that a reference to the
// environment stays one. A placeholder where nothing is stored is a fault, and so
// is one inside a longer text, since nobody could tell what was meant.
func (d *Document) Restore(raw []byte) ([]byte, []Issue, error) {
	root, err := json5.Parse(raw, fileDepthMax)
	if err != nil {
		return nil, nil, err
	}
	var edits []json5.Edit
	var issues []Issue
	var walk func(path string, n, stored *json5.Node)
	walk = func(path string, n, stored *json5.Node) {
		switch n.Kind {
		case json5.Object:
			for _, m := range n.Members {
				walk(join(path, m.Key), m.Value, stored.Member(m.Key))
			}
		case json5.Array:
			for i, item := range n.Items {
				walk(fmt.Sprintf("%s[%d]", path, i), item, counterpart(item, i, stored))
			}
		case json5.String:
			switch {
			case isPlaceholder(n.Text) && stored == nil:
				issues = append(issues, Issue{Path: printable(path), Line: n.Line, Message: "is the placeholder of a secret that is not stored: write the secret itself, or leave the key out"})
			case isPlaceholder(n.Text):
				text := d.texts[stored.File][stored.Start:stored.End]
				edits = append(edits, json5.Edit{Start: n.Start, End: n.End, Text: string(text)})
			case strings.Contains(n.Text, Redacted), strings.Contains(n.Text, redactedElsewhere):
				issues = append(issues, Issue{Path: printable(path), Line: n.Line, Message: "holds the placeholder of a secret among other text: write the whole value"})
			}
		}
	}
	walk("", root, d.merged)
	return json5.Apply(raw, edits), issues, nil
}

// counterpart finds the stored entry of a list: the one with the same id, else the
// one at the same place.
func counterpart(item *json5.Node, i int, stored *json5.Node) *json5.Node {
	if stored == nil || stored.Kind != json5.Array {
		return nil
	}
	if id := item.Member("id"); id != nil {
		for _, s := range stored.Items {
			if other := s.Member("id"); other != nil && other.Kind == json5.String && other.Text == id.Text {
				return s
			}
		}
		return nil
	}
	if i < len(stored.Items) {
		return stored.Items[i]
	}
	return nil
}
