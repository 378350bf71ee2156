package settings

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/coderclaw/gateway/pkg/internal/json5"
)

// walker copies a document into the struct tree and notes each fault.
type walker struct {
	// given names the keys that the document has.
	given  map[string]bool
	known  []string
	issues []Issue
	// warnings tell of the keys that have no effect.
	warnings []Issue
}

func newWalker() *walker {
	return &walker{given: map[string]bool{}, known: knownKeys(reflect.TypeFor[Settings](), "")}
}

// bad notes a fault of the value n. The message follows the path, unless it names
// it.
func (w *walker) bad(path string, n *json5.Node, format string, args ...any) {
	w.issues = append(w.issues, Issue{Path: printable(path), Message: fmt.Sprintf(format, args...), File: n.File, Line: n.Line})
}

// fill stores n, found at path, in dst. It panics on a field type it does not know,
// which no file can cause: the test of Keys walks every field.
func (w *walker) fill(path string, n *json5.Node, dst reflect.Value) {
	if isGroup(dst.Type()) {
		w.fillStruct(path, n, dst)
		return
	}
	w.given[path] = true
	if dst.Type() == secretType {
		if n.Kind == json5.String {
			dst.Set(reflect.ValueOf(NewSecret(n.Text)))
			return
		}
		w.bad(path, n, "must be a string, not %s", kind(n))
		return
	}
	switch dst.Kind() {
	case reflect.String:
		if n.Kind == json5.String {
			dst.SetString(n.Text)
			return
		}
		w.bad(path, n, "must be a string, not %s", kind(n))
	case reflect.Bool:
		if n.Kind == json5.Bool {
			dst.SetBool(n.Bool)
			return
		}
		w.bad(path, n, "must be true or false, not %s", kind(n))
	case reflect.Int, reflect.Int64:
		// 2^53 bounds the integers that a float64 holds exactly.
		if f := n.Number; n.Kind == json5.Number && f == math.Trunc(f) && math.Abs(f) <= 1<<53 {
			dst.SetInt(int64(f))
			return
		}
		w.bad(path, n, "must be a whole number, not %s", kind(n))
	case reflect.Float64:
		if n.Kind == json5.Number && !math.IsInf(n.Number, 0) && !math.IsNaN(n.Number) {
			dst.SetFloat(n.Number)
			return
		}
		w.bad(path, n, "must be a number, not %s", kind(n))
	case reflect.Pointer:
		value := reflect.New(dst.Type().Elem())
		w.fill(path, n, value.Elem())
		dst.Set(value)
	case reflect.Slice:
		w.fillList(path, n, dst)
	case reflect.Map:
		w.fillRecord(path, n, dst)
	default:
		panic("settings: no reader for the type of " + path)
	}
}

func (w *walker) fillStruct(path string, n *json5.Node, dst reflect.Value) {
	if dst.Type() == choiceType && n.Kind == json5.String {
		w.given[path] = true
		dst.Set(reflect.ValueOf(ModelChoice{Primary: n.Text}))
		return
	}
	if n.Kind != json5.Object {
		if path == "" {
			w.bad("the file", n, "must be an object, not %s", kind(n))
			return
		}
		w.bad(path, n, "must be an object, not %s", kind(n))
		return
	}
	w.twice(path, n)
	rest := map[string]*json5.Node{}
	for _, m := range n.Members {
		rest[m.Key] = m.Value
	}
	for i := range dst.NumField() {
		key := dst.Type().Field(i).Tag.Get("json")
		if value, ok := rest[key]; ok {
			w.fill(join(path, key), value, dst.Field(i))
			delete(rest, key)
		}
	}
	for _, m := range n.Members {
		if rest[m.Key] == nil {
			continue
		}
		if full := join(path, m.Key); !w.moved(full, m.Value) && !w.foreign(full, m.Value) {
			w.unknown(full, m.Value)
		}
	}
}

// unknown notes a key that nobody knows.
func (w *walker) unknown(path string, n *json5.Node) {
	hint := ""
	if near := nearest(path, w.known); near != "" {
		hint = " (did you mean " + near + "?)"
	}
	w.bad(path, n, "unknown key %s%s", printable(path), hint)
}

// twice notes the keys that an object has more than once.
func (w *walker) twice(path string, n *json5.Node) {
	for _, key := range n.Twice {
		w.bad(join(path, key), n, "is given twice")
	}
}

func (w *walker) fillList(path string, n *json5.Node, dst reflect.Value) {
	if n.Kind != json5.Array {
		w.bad(path, n, "must be a %s, not %s", typeName(dst.Type()), kind(n))
		return
	}
	if len(n.Items) > listEntriesMax {
		w.bad(path, n, "has more than %d entries", listEntriesMax)
		return
	}
	out := reflect.MakeSlice(dst.Type(), len(n.Items), len(n.Items))
	for i, item := range n.Items {
		w.fill(fmt.Sprintf("%s[%d]", path, i), item, out.Index(i))
	}
	dst.Set(out)
}

func (w *walker) fillRecord(path string, n *json5.Node, dst reflect.Value) {
	if n.Kind != json5.Object {
		w.bad(path, n, "must be an object, not %s", kind(n))
		return
	}
	w.twice(path, n)
	if len(n.Members) > listEntriesMax {
		w.bad(path, n, "has more than %d entries", listEntriesMax)
		return
	}
	out := reflect.MakeMap(dst.Type())
	for _, m := range n.Members {
		value := reflect.New(dst.Type().Elem()).Elem()
		w.fill(join(path, m.Key), m.Value, value)
		out.SetMapIndex(reflect.ValueOf(m.Key), value)
	}
	dst.Set(out)
}

// kind names a value's type without showing the value.
func kind(n *json5.Node) string {
	switch n.Kind {
	case json5.Null:
		return "null"
	case json5.String:
		return "a string"
	case json5.Bool:
		return "true or false"
	case json5.Number:
		if n.Number == math.Trunc(n.Number) && !math.IsInf(n.Number, 0) {
			return "a whole number"
		}
		return "a number"
	case json5.Array:
		return "a list"
	}
	return "an object"
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// printable keeps a hostile key from breaking the line it is reported on.
func printable(key string) string {
	const keyBytesMax = 120
	if len(key) > keyBytesMax {
		key = strings.ToValidUTF8(key[:keyBytesMax], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, key)
}

// knownKeys lists every key of the struct tree by its full path, groups included.
func knownKeys(t reflect.Type, path string) []string {
	var keys []string
	for i := range t.NumField() {
		f := t.Field(i)
		full := join(path, f.Tag.Get("json"))
		keys = append(keys, full)
		if inner, suffix := innermost(f.Type); isGroup(inner) {
			keys = append(keys, knownKeys(inner, full+suffix)...)
		}
	}
	return keys
}

// nearest returns the known key that path most likely means, or nothing. The last
// word counts most: gateway.token means gateway.auth.token.
func nearest(path string, known []string) string {
	best, bestScore := "", math.MaxInt
	word := lastWord(path)
	if len(word) > 64 || len(path) > 256 || slices.Contains(known, path) {
		return ""
	}
	for _, candidate := range known {
		other := lastWord(candidate)
		off := distance(strings.ToLower(word), strings.ToLower(other))
		if off > max(2, len(other)/3) || 2*off > len(other) {
			continue
		}
		if score := off*100 + distance(path, candidate); score < bestScore {
			best, bestScore = candidate, score
		}
	}
	return best
}

func lastWord(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }

// distance is the edit distance of two short strings, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
