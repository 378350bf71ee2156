package oracle

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/invopop/jsonschema"
	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// This file goes the other way round: what do the Go types say, if one asks nobody but
// them? Structs, lists and maps are reflected by a library that knows nothing of the
// generator; what no struct can say is found out by trying: which words an enum knows
// (Known) and whether an object takes members that it does not name (Decode). Both are
// compared with the schema after the differences of spelling are gone.

// TestReflection compares every definition.
func TestReflection(t *testing.T) {
	source, words := sourceSchemas(t)
	require.Greater(t, len(source), 100)
	instances := instances(t)
	for _, name := range slices.Sorted(maps.Keys(source)) {
		got := reflected(t, name, words)
		closed(t, name, got, instances)
		require.Equal(t, canonical(source[name]), canonical(normal(inlined(t, got, words))), name)
	}
}

// TestReflectionSees breaks a type in each way and expects another schema.
func TestReflectionSees(t *testing.T) {
	type whole struct {
		ID   string   `json:"id" jsonschema:"minLength=1"`
		List []string `json:"list,omitzero" jsonschema:"maxItems=2"`
	}
	of := func(v any) string { return canonical(normal(schemaOf(t, reflect.TypeOf(v), nil))) }
	want := of(whole{})
	for name, broken := range map[string]any{
		"lost required": struct {
			ID   string   `json:"id,omitzero" jsonschema:"minLength=1"`
			List []string `json:"list,omitzero" jsonschema:"maxItems=2"`
		}{},
		"lost bound": struct {
			ID   string   `json:"id"`
			List []string `json:"list,omitzero" jsonschema:"maxItems=2"`
		}{},
		"other bound": struct {
			ID   string   `json:"id" jsonschema:"minLength=1"`
			List []string `json:"list,omitzero" jsonschema:"maxItems=3"`
		}{},
		"lost member": struct {
			ID string `json:"id" jsonschema:"minLength=1"`
		}{},
		"other type": struct {
			ID   wire.Null[string] `json:"id" jsonschema:"minLength=1"`
			List []string          `json:"list,omitzero" jsonschema:"maxItems=2"`
		}{},
	} {
		require.NotEqual(t, want, of(broken), name)
	}
	open := normal(map[string]any{"type": "object", "additionalProperties": false})
	closedness(open, true)
	require.NotEqual(t, canonical(normal(map[string]any{"type": "object", "additionalProperties": false})), canonical(open))
}

// sourceSchemas returns the definitions in normal form, and every word that a const or
// enum of the schema holds.
func sourceSchemas(t *testing.T) (map[string]any, []string) {
	files, err := os.ReadDir(root + "/schema")
	require.NoError(t, err)
	out, words := map[string]any{}, map[string]bool{}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".json") {
			continue
		}
		data, err := os.ReadFile(root + "/schema/" + f.Name())
		require.NoError(t, err)
		var file struct {
			Defs map[string]any `json:"$defs"`
		}
		require.NoError(t, json.Unmarshal(data, &file))
		for name, def := range file.Defs {
			collect(def, words)
			out[name] = normal(def)
		}
	}
	return out, slices.Sorted(maps.Keys(words))
}

// collect gathers the words of consts and enums.
func collect(v any, words map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		if word, ok := v["const"].(string); ok {
			words[word] = true
		}
		list, _ := v["enum"].([]any)
		for _, one := range list {
			if word, ok := one.(string); ok {
				words[word] = true
			}
		}
		for _, inner := range v {
			collect(inner, words)
		}
	case []any:
		for _, inner := range v {
			collect(inner, words)
		}
	}
}

// reflected returns what the Go type says.
func reflected(t *testing.T, name string, words []string) any {
	typ, ok := types[name]
	require.True(t, ok, name)
	return schemaOf(t, typ, words)
}

func schemaOf(t *testing.T, typ reflect.Type, words []string) any {
	r := jsonschema.Reflector{Anonymous: true, ExpandedStruct: true}
	r.Mapper = func(inner reflect.Type) *jsonschema.Schema { return mapped(inner, typ, words) }
	text, err := json.Marshal(r.ReflectFromType(typ))
	require.NoError(t, err)
	var v map[string]any
	require.NoError(t, json.Unmarshal(text, &v))
	delete(v, "$schema")
	delete(v, "$defs")
	return v
}

// mapped says what a type of the runtime, or a type that is no plain struct, list or map,
// means. The rest is the library's: it gets nil.
func mapped(t, whole reflect.Type, words []string) *jsonschema.Schema {
	switch {
	case t == reflect.TypeFor[wire.Raw]():
		return &jsonschema.Schema{}
	case t == reflect.TypeFor[wire.Object]():
		return &jsonschema.Schema{Type: "object"}
	case t.PkgPath() == reflect.TypeFor[wire.Raw]().PkgPath():
		s := mappedOr(t.Field(0).Type, whole, words)
		if !strings.HasPrefix(t.Name(), "Opt[") {
			s.Extras = map[string]any{"x-null": true}
		}
		return s
	case t != whole && t.PkgPath() == reflect.TypeFor[protocol.TickEvent]().PkgPath():
		return &jsonschema.Schema{Ref: "#/$defs/" + t.Name()}
	case t.Kind() == reflect.String && t.Name() != "string":
		return enum(t, words)
	case t.Kind() == reflect.Struct && t.NumField() == 1 && t.Field(0).Anonymous:
		return mapped(t.Field(0).Type, whole, words)
	case t.Kind() == reflect.Struct && t.NumField() > 1 && t.Field(t.NumField()-1).Name == "Other" && t.Field(0).Type.Kind() == reflect.Pointer:
		s := &jsonschema.Schema{}
		for i := range t.NumField() - 1 {
			s.AnyOf = append(s.AnyOf, &jsonschema.Schema{Ref: "#/$defs/" + t.Field(i).Type.Elem().Name()})
		}
		return s
	}
	return nil
}

// mappedOr is mapped for what stands inside a type of the runtime, where the library does
// not look.
func mappedOr(t, whole reflect.Type, words []string) *jsonschema.Schema {
	if s := mapped(t, whole, words); s != nil {
		return s
	}
	switch t.Kind() {
	case reflect.String:
		return &jsonschema.Schema{Type: "string"}
	case reflect.Int64:
		return &jsonschema.Schema{Type: "integer"}
	case reflect.Float64:
		return &jsonschema.Schema{Type: "number"}
	case reflect.Bool:
		return &jsonschema.Schema{Type: "boolean"}
	case reflect.Slice:
		return &jsonschema.Schema{Type: "array", Items: mappedOr(t.Elem(), whole, words)}
	}
	panic("no schema for " + t.String())
}

// enum asks the type which of all words it knows.
func enum(t reflect.Type, words []string) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "string"}
	for _, word := range append(words, "a word that nobody knows") {
		v := reflect.New(t).Elem()
		v.SetString(word)
		if v.Interface().(interface{ Known() bool }).Known() {
			s.Enum = append(s.Enum, word)
		}
	}
	return s
}

// inlined replaces references to types that the schema does not name by their meaning.
func inlined(t *testing.T, v any, words []string) any {
	switch v := v.(type) {
	case map[string]any:
		ref, _ := v["$ref"].(string)
		if name := strings.TrimPrefix(ref, "#/$defs/"); ref != "" && !slices.Contains(protocol.Definitions(), name) {
			meaning := reflected(t, name, words).(map[string]any)
			if v["x-null"] == true {
				meaning["x-null"] = true
			}
			return meaning
		}
		for key := range v {
			v[key] = inlined(t, v[key], words)
		}
	case []any:
		for i := range v {
			v[i] = inlined(t, v[i], words)
		}
	}
	return v
}

// instances finds a value that is accepted for as many definitions as possible, among the
// examples and whatever is inside them.
func instances(t *testing.T) map[string]map[string]any {
	out := map[string]map[string]any{}
	var try func(v any)
	try = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			raw, err := json.Marshal(v)
			require.NoError(t, err)
			for _, def := range protocol.Definitions() {
				if out[def] == nil && protocol.Validate(def, raw) == nil {
					out[def] = v
				}
			}
			for _, inner := range v {
				try(inner)
			}
		case []any:
			for _, inner := range v {
				try(inner)
			}
		}
	}
	all := examples(t)
	for _, def := range slices.Sorted(maps.Keys(all)) {
		for _, example := range all[def] {
			try(example)
		}
	}
	return out
}

// closed corrects what reflection assumes of every struct, that it is closed, by asking
// the decoder.
func closed(t *testing.T, name string, v any, instances map[string]map[string]any) {
	if types[name].Kind() != reflect.Struct || v.(map[string]any)["properties"] == nil {
		return
	}
	instance := maps.Clone(instances[name])
	if instance == nil {
		instance = map[string]any{}
	}
	instance["unheard of"] = 1
	raw, err := json.Marshal(instance)
	require.NoError(t, err)
	err = protocol.Validate(name, raw)
	var list wire.ValidationErrors
	require.True(t, err == nil || errors.As(err, &list), "%s: %v", name, err)
	open := !slices.ContainsFunc(list, func(e wire.ValidationError) bool {
		return e.InstancePath == "" && e.Keyword == "additionalProperties"
	})
	require.True(t, instances[name] != nil || open == (err == nil), "%s has no instance to try", name)
	closedness(v, open)
}

func closedness(v any, open bool) {
	if open {
		delete(v.(map[string]any), "additionalProperties")
	}
}

// normal brings a schema into the form in which both sides are compared: no annotations,
// names instead of references, a const as an enum of one, choices of words as one enum,
// records in one spelling.
func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return normalObject(v)
	case []any:
		list := []any{}
		for _, inner := range v {
			list = append(list, normal(inner))
		}
		return list
	case bool:
		if v {
			return map[string]any{}
		}
	}
	return v
}

func normalObject(v map[string]any) any {
	out := map[string]any{}
	for key, value := range v {
		switch {
		case key == "description", key == "title", key == "examples", key == "deprecated", key == "default", strings.HasPrefix(key, "x-"):
		case key == "$ref":
			ref := value.(string)
			out["$ref"] = ref[strings.LastIndexByte(ref, '/')+1:]
		case key == "const":
			out["enum"] = []any{fmt.Sprint(value)}
		case key == "enum":
			var list []any
			for _, one := range value.([]any) {
				list = append(list, fmt.Sprint(one))
			}
			out["enum"] = list
		case key == "properties":
			properties := map[string]any{}
			for name, inner := range value.(map[string]any) {
				properties[name] = normal(inner)
			}
			out["properties"] = properties
		case key == "required":
			list := slices.Clone(value.([]any))
			slices.SortFunc(list, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
			out["required"] = list
		case key == "patternProperties":
			out["additionalProperties"] = normal(value.(map[string]any)["^(.*)$"])
		default:
			out[key] = normal(value)
		}
	}
	choices(out, v["x-null"] == true)
	if empty(out["additionalProperties"]) {
		delete(out, "additionalProperties") // any member, which is what saying nothing means
	}
	if list, ok := out["required"].([]any); ok && len(list) == 0 {
		delete(out, "required")
	}
	if properties, ok := out["properties"].(map[string]any); ok && len(properties) == 0 {
		delete(out, "properties")
	}
	return out
}

// empty reports whether a schema rules nothing.
func empty(v any) bool {
	m, ok := v.(map[string]any)
	return v == true || ok && len(m) == 0
}

// choices makes one enum of all words of an anyOf and sorts what is left; or null is one
// more choice.
func choices(v map[string]any, orNull bool) {
	branches, _ := v["anyOf"].([]any)
	if orNull {
		plain := maps.Clone(v)
		clear(v)
		branches = append([]any{plain}, map[string]any{"type": "null"})
	}
	var words []any
	var rest []any
	for _, b := range branches {
		m := b.(map[string]any)
		if list, ok := m["enum"].([]any); ok {
			words = append(words, list...)
			continue
		}
		rest = append(rest, b)
	}
	if words != nil {
		rest = append(rest, map[string]any{"enum": words})
	}
	for _, b := range append(rest, v) {
		if m := b.(map[string]any); m["enum"] != nil {
			delete(m, "type") // the words tell
			slices.SortFunc(m["enum"].([]any), func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
		}
	}
	switch {
	case branches == nil:
	case len(rest) == 1:
		delete(v, "anyOf")
		maps.Copy(v, rest[0].(map[string]any))
	default:
		slices.SortFunc(rest, func(a, b any) int { return strings.Compare(canonical(a), canonical(b)) })
		v["anyOf"] = rest
	}
}

// canonical spells a normal schema.
func canonical(v any) string {
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		panic(err)
	}
	return string(text)
}
