package settings

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/titanous/json5"
)

// parse reads a config file over the defaults. given names the keys the file has;
// problems has one line for each fault found, all of them at once.
func parse(raw []byte) (s *Settings, given map[string]bool, problems []string) {
	s, given = Default(), map[string]bool{}
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
	if len(bytes.TrimSpace(raw)) == 0 {
		return s, given, nil
	}
	if !utf8.Valid(raw) {
		return s, given, []string{"not valid UTF-8"}
	}
	if lexDepth(raw) > fileDepthMax {
		return s, given, []string{fmt.Sprintf("nested deeper than %d levels", fileDepthMax)}
	}
	var doc any
	if err := json5.Unmarshal(raw, &doc); err != nil {
		return s, given, []string{syntaxProblem(raw, err)}
	}
	w := walker{given: given, known: knownKeys(reflect.TypeFor[Settings](), "")}
	for _, path := range duplicateKeys(raw) {
		w.bad("%s is given twice", path)
	}
	w.fill("", doc, reflect.ValueOf(s).Elem())
	return s, given, w.problems
}

// syntaxProblem says where the file stops being JSON5.
func syntaxProblem(raw []byte, err error) string {
	var syntax *json5.SyntaxError
	if !errors.As(err, &syntax) {
		return "not JSON5: " + err.Error()
	}
	before := raw[:min(int(max(syntax.Offset-1, 0)), len(raw))]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return fmt.Sprintf("not JSON5 at line %d, column %d: %v", line, column, err)
}

// walker copies a decoded document into the struct tree.
type walker struct {
	given    map[string]bool
	known    []string
	problems []string
}

func (w *walker) bad(format string, args ...any) {
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

// fill stores v, found at path, in dst. It panics on a field type it does not know,
// which no file can cause: the test of Schema walks every field.
func (w *walker) fill(path string, v any, dst reflect.Value) {
	if dst.Kind() == reflect.Struct && dst.Type() != reflect.TypeFor[Secret]() {
		w.fillStruct(path, v, dst)
		return
	}
	w.given[path] = true
	switch dst.Interface().(type) {
	case string:
		if text, ok := v.(string); ok {
			dst.SetString(text)
			return
		}
		w.bad("%s must be a string, not %s", path, kind(v))
	case Secret:
		if text, ok := v.(string); ok {
			dst.Set(reflect.ValueOf(NewSecret(text)))
			return
		}
		w.bad("%s must be a string, not %s", path, kind(v))
	case bool:
		if b, ok := v.(bool); ok {
			dst.SetBool(b)
			return
		}
		w.bad("%s must be true or false, not %s", path, kind(v))
	case int, int64:
		// 2^53 bounds the integers that a float64 holds exactly.
		if n, ok := v.(float64); ok && n == math.Trunc(n) && math.Abs(n) <= 1<<53 {
			dst.SetInt(int64(n))
			return
		}
		w.bad("%s must be a whole number, not %s", path, kind(v))
	case float64:
		if n, ok := v.(float64); ok && !math.IsNaN(n) && !math.IsInf(n, 0) {
			dst.SetFloat(n)
			return
		}
		w.bad("%s must be a number, not %s", path, kind(v))
	case []string:
		w.fillList(path, v, dst)
	default:
		panic("settings: no reader for the type of " + path)
	}
}

func (w *walker) fillStruct(path string, v any, dst reflect.Value) {
	doc, ok := v.(map[string]any)
	if !ok {
		name := path
		if name == "" {
			name = "the file"
		}
		w.bad("%s must be an object, not %s", name, kind(v))
		return
	}
	for i := range dst.NumField() {
		key := dst.Type().Field(i).Tag.Get("json")
		if value, ok := doc[key]; ok {
			w.fill(join(path, key), value, dst.Field(i))
			delete(doc, key)
		}
	}
	unknown := make([]string, 0, len(doc))
	for key := range doc {
		unknown = append(unknown, key)
	}
	sort.Strings(unknown)
	for _, key := range unknown {
		full := join(path, key)
		hint := ""
		if near := nearest(full, w.known); near != "" {
			hint = " (did you mean " + near + "?)"
		}
		w.bad("unknown key %s%s", printable(full), hint)
	}
}

func (w *walker) fillList(path string, v any, dst reflect.Value) {
	list, ok := v.([]any)
	if !ok {
		w.bad("%s must be a list of strings, not %s", path, kind(v))
		return
	}
	if len(list) > listEntriesMax {
		w.bad("%s has more than %d entries", path, listEntriesMax)
		return
	}
	out := make([]string, 0, len(list))
	for i, item := range list {
		text, ok := item.(string)
		if !ok {
			w.bad("%s[%d] must be a string, not %s", path, i, kind(item))
			continue
		}
		out = append(out, text)
	}
	dst.Set(reflect.ValueOf(out))
}

// kind names a decoded value's type without showing the value.
func kind(v any) string {
	switch n := v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "true or false"
	case float64:
		if n == math.Trunc(n) && !math.IsInf(n, 0) {
			return "a whole number"
		}
		return "a number"
	case []any:
		return "a list"
	default:
		return "an object"
	}
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
		if f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[Secret]() {
			keys = append(keys, knownKeys(f.Type, full)...)
		}
	}
	return keys
}

// nearest returns the known key that path most likely means, or nothing. The last
// word counts most: gateway.token means gateway.auth.token.
func nearest(path string, known []string) string {
	best, bestScore := "", math.MaxInt
	word := lastWord(path)
	if len(word) > 64 || len(path) > 256 {
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
