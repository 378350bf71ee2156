package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// parse reads one JSON text; numbers keep their spelling.
func parse(raw []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("text after the value")
	}
	return v, nil
}

// text prints v without spaces, members sorted by their bytes.
func text(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // v came out of parse
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// escape prepares a member's name for a JSON pointer.
func escape(name string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(name) }

func unescape(token string) string { return strings.NewReplacer("~1", "/", "~0", "~").Replace(token) }

// with returns a copy of v in which the value at pointer went through change; keep is
// false when the member is to go. Parts that lie beside the way are shared.
func with(v any, pointer string, change func(old any) (value any, keep bool)) any {
	if pointer == "" {
		v, _ = change(v)
		return v
	}
	token, rest, more := strings.Cut(pointer[1:], "/")
	if more {
		rest = "/" + rest
	}
	switch t := v.(type) {
	case map[string]any:
		out := maps.Clone(t)
		name := unescape(token)
		if rest != "" {
			out[name] = with(t[name], rest, change)
			return out
		}
		value, keep := change(t[name])
		if out[name] = value; !keep {
			delete(out, name)
		}
		return out
	case []any:
		out := slices.Clone(t)
		i, err := strconv.Atoi(token)
		if err != nil || i >= len(t) {
			panic("no element " + pointer)
		}
		out[i] = with(t[i], rest, change)
		return out
	}
	panic("no way to " + pointer)
}

func set(v any, pointer string, value any) any {
	return with(v, pointer, func(any) (any, bool) { return value, true })
}

func remove(v any, pointer string) any {
	return with(v, pointer, func(any) (any, bool) { return nil, false })
}
