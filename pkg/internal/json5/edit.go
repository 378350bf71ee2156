package json5

import (
	"bytes"
	"slices"
	"sort"
	"strings"
)

// Edit is one change of a text: the bytes from Start to End become Text.
type Edit struct {
	Start, End int
	Text       string
}

// Apply performs edits, which must not overlap, in any order.
func Apply(raw []byte, edits []Edit) []byte {
	sorted := slices.Clone(edits)
	sort.SliceStable(sorted, func(i, j int) bool { return sorted[i].Start < sorted[j].Start })
	var out []byte
	at := 0
	for _, e := range sorted {
		out = append(append(out, raw[at:e.Start]...), e.Text...)
		at = e.End
	}
	return append(out, raw[at:]...)
}

// MergePatch applies an RFC 7396 merge patch to a text whose root is an object and
// leaves everything it does not name as it stands, comments included. A list whose
// entries are objects that all have an id is merged by id, as the original does;
// any other list is replaced. Comments inside a replaced value go with it.
//
// raw must parse; an object with duplicate keys must not be patched. The result of
// a root that is no object is the patched value alone.
func MergePatch(raw []byte, patch *Node, depthMax int) ([]byte, error) {
	root, err := Parse(raw, depthMax)
	if err != nil {
		return nil, err
	}
	if root.Kind != Object || patch.Kind != Object {
		return append(merged(nil, patch).Indented(""), '\n'), nil
	}
	// What goes and what changes first, what is new then: their places in the text
	// would overlap.
	old := editor{raw: raw}
	old.change(root, patch)
	raw = Apply(raw, old.edits)
	if root, err = Parse(raw, depthMax); err != nil {
		return nil, err
	}
	fresh := editor{raw: raw}
	fresh.add(root, patch)
	return Apply(raw, fresh.edits), nil
}

type editor struct {
	raw   []byte
	edits []Edit
}

// change removes and replaces what is there.
func (e *editor) change(target, patch *Node) {
	for _, m := range patch.Members {
		at := slices.IndexFunc(target.Members, func(t Member) bool { return t.Key == m.Key })
		if at < 0 {
			continue
		}
		old := target.Members[at]
		switch {
		case m.Value.Kind == Null:
			e.remove(target, old)
		case m.Value.Kind == Object && old.Value.Kind == Object:
			e.change(old.Value, m.Value)
		default:
			e.edits = append(e.edits, Edit{old.Value.Start, old.Value.End, string(merged(old.Value, m.Value).Indented(e.indent(old.Start)))})
		}
	}
}

// add puts in what is new.
func (e *editor) add(target, patch *Node) {
	var added []Member
	for _, m := range patch.Members {
		old := target.Member(m.Key)
		switch {
		case m.Value.Kind == Null:
		case old == nil:
			added = append(added, Member{Key: m.Key, Value: merged(nil, m.Value)})
		case m.Value.Kind == Object && old.Kind == Object:
			e.add(old, m.Value)
		}
	}
	if len(added) > 0 {
		e.insert(target, added)
	}
}

// insert writes new members before the closing bracket, laid out like the others.
func (e *editor) insert(target *Node, added []Member) {
	outer := e.indent(target.Start)
	inner, oneLine := outer+"  ", false
	end := target.End - 1 // the closing bracket
	if n := len(target.Members); n > 0 {
		first := target.Members[0]
		if oneLine = !bytes.ContainsRune(e.raw[target.Start:first.Start], '\n'); !oneLine {
			inner = e.indent(first.Start)
		}
		at := target.Members[n-1].Value.End
		if _, ok := e.comma(at, end); !ok {
			e.edits = append(e.edits, Edit{at, at, ","})
		}
	}
	tail := len(bytes.TrimRight(e.raw[:end], " \t\r\n"))
	// A new member must not end up behind a comment that runs to the end of its line.
	oneLine = oneLine && !bytes.Contains(e.raw[target.Start:end], []byte("//"))
	var b strings.Builder
	for i, m := range added {
		if i > 0 {
			b.WriteByte(',')
		}
		if oneLine {
			b.WriteString(" " + Quote(m.Key) + ": ")
			b.Write(m.Value.AppendJSON(nil))
			continue
		}
		b.WriteString("\n" + inner + Quote(m.Key) + ": ")
		b.Write(m.Value.Indented(inner))
	}
	if !oneLine {
		b.WriteString("\n" + outer)
	}
	e.edits = append(e.edits, Edit{tail, end, b.String()})
}

// remove takes one member out, with the comma behind it and, when it had its lines
// for itself, the lines. Behind the last one the comma before it may stay.
func (e *editor) remove(target *Node, m Member) {
	start, end, limit := m.Start, m.Value.End, target.End-1
	if at, ok := e.comma(end, limit); ok {
		end = at + 1
	}
	lineStart := bytes.LastIndexByte(e.raw[:start], '\n') + 1
	rest := end
	for rest < limit && (e.raw[rest] == ' ' || e.raw[rest] == '\t' || e.raw[rest] == '\r') {
		rest++
	}
	if len(bytes.TrimSpace(e.raw[lineStart:start])) == 0 && rest < limit && e.raw[rest] == '\n' && lineStart > target.Start {
		start, end = lineStart, rest+1
	}
	e.edits = append(e.edits, Edit{start, end, ""})
}

// comma finds a comma between from and to, behind white space and comments.
func (e *editor) comma(from, to int) (int, bool) {
	p := parser{raw: e.raw[:to], at: from}
	if p.space() != nil || p.at >= to || e.raw[p.at] != ',' {
		return 0, false
	}
	return p.at, true
}

// indent returns the white space that begins the line of an offset.
func (e *editor) indent(at int) string {
	start := bytes.LastIndexByte(e.raw[:at], '\n') + 1
	end := start
	for end < at && (e.raw[end] == ' ' || e.raw[end] == '\t') {
		end++
	}
	return string(e.raw[start:end])
}

// merged returns what becomes of a value under a patch. old may be nil.
func merged(old, patch *Node) *Node {
	switch {
	case patch.Kind == Object:
		out := &Node{Kind: Object}
		if old != nil && old.Kind == Object {
			out = old.Clone()
		}
		for _, m := range patch.Members {
			if m.Value.Kind == Null {
				out.Remove(m.Key)
				continue
			}
			out.Set(m.Key, merged(out.Member(m.Key), m.Value))
		}
		return out
	case patch.Kind == Array && old != nil && old.Kind == Array && haveIDs(old) && haveIDs(patch):
		return mergedByID(old, patch)
	}
	return patch.Clone()
}

func haveIDs(list *Node) bool {
	for _, item := range list.Items {
		if id := item.Member("id"); id == nil || id.Kind != String {
			return false
		}
	}
	return len(list.Items) > 0
}

func mergedByID(old, patch *Node) *Node {
	out := old.Clone()
	for _, item := range patch.Items {
		id := item.Member("id").Text
		at := slices.IndexFunc(out.Items, func(n *Node) bool { return n.Member("id").Text == id })
		if at < 0 {
			out.Items = append(out.Items, merged(nil, item))
			continue
		}
		out.Items[at] = merged(out.Items[at], item)
	}
	return out
}
