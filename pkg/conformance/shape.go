package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// compareShape tells how got differs from the recorded value in keys and types.
// Members that the recording lacks are welcome. excused lists members that are
// not compared, as paths in which * stands for any key or index.
func compareShape(recorded, got json.RawMessage, excused []string) []string {
	want, err := parse(recorded)
	if err != nil {
		return []string{"recorded payload: " + err.Error()}
	}
	have, err := parse(got)
	if err != nil {
		return []string{"payload: " + err.Error()}
	}
	return shape{excused: excused}.diff(nil, want, have)
}

func parse(raw json.RawMessage) (any, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}

// encode returns the JSON of a value that always has one: of our own making, or
// JSON before. < and > stay readable.
func encode(v any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("conformance: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

type shape struct{ excused []string }

// diff walks both values; path is where they stand.
func (s shape) diff(path []string, want, have any) []string {
	if _, open := want.(anything); open || s.skip(path) {
		return nil
	}
	if kind(want) != kind(have) {
		return []string{fmt.Sprintf("at %s: %s instead of %s", pointer(path), kind(have), kind(want))}
	}
	switch want := want.(type) {
	case map[string]any:
		return s.diffObject(path, want, have.(map[string]any))
	case []any:
		return s.diffArray(path, want, have.([]any))
	}
	return nil
}

func (s shape) diffObject(path []string, want, have map[string]any) []string {
	var out []string
	for _, key := range sortedKeys(want) {
		at := append(slices.Clone(path), key)
		if s.skip(at) {
			continue
		}
		value, ok := have[key]
		if !ok {
			out = append(out, fmt.Sprintf("at %s: missing", pointer(at)))
			continue
		}
		out = append(out, s.diff(at, want[key], value)...)
	}
	return out
}

// diffArray compares each element with what all recorded elements have in common:
// which elements there are depends on the state of the server.
func (s shape) diffArray(path []string, want, have []any) []string {
	if len(want) == 0 {
		return nil
	}
	if len(have) == 0 {
		return []string{fmt.Sprintf("at %s: empty", pointer(path))}
	}
	common := want[0]
	for _, w := range want[1:] {
		common = intersect(common, w)
	}
	var out []string
	for i, h := range have {
		out = append(out, s.diff(append(slices.Clone(path), strconv.Itoa(i)), common, h)...)
	}
	return out
}

// intersect returns the members that two recorded values share; where their
// kinds differ, anything goes.
func intersect(a, b any) any {
	_, openA := a.(anything)
	_, openB := b.(anything)
	if openA || openB || kind(a) != kind(b) {
		return anything{}
	}
	if list, ok := a.([]any); ok {
		other := b.([]any)
		if len(list) == 0 || len(other) == 0 {
			return []any{}
		}
		return append(slices.Clone(list), other...)
	}
	ma, ok := a.(map[string]any)
	if !ok {
		return a
	}
	out := map[string]any{}
	for key, x := range ma {
		if y, ok := b.(map[string]any)[key]; ok {
			out[key] = intersect(x, y)
		}
	}
	return out
}

// anything marks a place where recorded elements have nothing in common.
type anything struct{}

func (s shape) skip(path []string) bool {
	return slices.ContainsFunc(s.excused, func(pattern string) bool {
		parts := strings.Split(strings.TrimPrefix(pattern, "/"), "/")
		if len(parts) != len(path) {
			return false
		}
		for i, p := range parts {
			if p != "*" && p != path[i] {
				return false
			}
		}
		return true
	})
}

// kind names the JSON type of a parsed value.
func kind(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case json.Number:
		return "number"
	case string:
		return "string"
	case []any:
		return "array"
	}
	return "object"
}

func pointer(path []string) string {
	if len(path) == 0 {
		return "root"
	}
	return "/" + strings.Join(path, "/")
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// strangers lists the members of have that neither the schema permits nor one of
// the recorded values at the same place holds. at is the place of have; recorded
// holds no value when there is no recording. Where the schema says nothing, any
// member goes.
func (s shape) strangers(path []string, at place, recorded []any, have any) []string {
	if s.skip(path) || at.silent() {
		return nil
	}
	var out []string
	switch have := have.(type) {
	case map[string]any:
		for _, key := range sortedKeys(have) {
			child, permitted := at.member(key)
			known := inside(recorded, key)
			below := append(slices.Clone(path), key)
			if !permitted && len(known) == 0 && !s.skip(below) {
				out = append(out, fmt.Sprintf("at %s: unexpected", pointer(below)))
				continue
			}
			out = append(out, s.strangers(below, child, known, have[key])...)
		}
	case []any:
		var known []any
		for _, r := range recorded {
			if list, ok := r.([]any); ok {
				known = append(known, list...)
			}
		}
		for i, h := range have {
			out = append(out, s.strangers(append(slices.Clone(path), strconv.Itoa(i)), at.element(), known, h)...)
		}
	}
	return out
}

// inside returns the values under a key of those values that are objects.
func inside(values []any, key string) []any {
	var out []any
	for _, v := range values {
		if m, ok := v.(map[string]any); ok {
			if child, ok := m[key]; ok {
				out = append(out, child)
			}
		}
	}
	return out
}
