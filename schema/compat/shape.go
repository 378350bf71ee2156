package compat

import (
	"encoding/json"
	"maps"
	"slices"
)

// schema is one schema object, where it stands, and the bundle it is part of. A
// schema without keywords accepts anything.
type schema struct {
	b    *Bundle
	at   place
	keys map[string]any
}

func (b *Bundle) schema(at place, v any) schema {
	keys, _ := v.(map[string]any) // true is a schema without keywords
	return schema{b, at, keys}
}

// ref returns the name of the definition that s refers to, or "".
func (s schema) ref() string {
	if s.keys["$ref"] == nil {
		return ""
	}
	def, err := s.b.target(s.at, s.keys)
	if err != nil {
		return ""
	}
	return last(def.at)
}

// last returns the name of the definition at p.
func last(p place) string { return p.pointer[len("/$defs/"):] }

// follow returns what s means: itself, or the end of its references. The walk is
// bounded; a schema that only refers to itself means anything.
func (s schema) follow() schema {
	for range 100 {
		if s.keys["$ref"] == nil {
			return s
		}
		def, err := s.b.target(s.at, s.keys)
		if err != nil {
			return schema{s.b, s.at, nil}
		}
		s = def
	}
	return schema{s.b, s.at, nil}
}

func (s schema) deprecated() bool {
	return marked(s.keys["deprecated"]) || marked(s.keys["x-deprecated"])
}

// marked reports whether an annotation is there; its value may be a text.
func marked(v any) bool { return v != nil && v != false }

// child returns the schema under a keyword; an absent one accepts anything.
func (s schema) child(key string) schema { return s.b.schema(s.at.at(key), s.keys[key]) }

func (s schema) list(key string) []schema {
	items, _ := s.keys[key].([]any)
	list := make([]schema, len(items))
	for i, item := range items {
		list[i] = s.b.schema(s.at.index(key, i), item)
	}
	return list
}

// table returns the schemas of properties or patternProperties by name.
func (s schema) table(key string) map[string]schema {
	members, _ := s.keys[key].(map[string]any)
	table := make(map[string]schema, len(members))
	for name, v := range members {
		table[name] = s.b.schema(s.at.at(key, name), v)
	}
	return table
}

func (s schema) texts(key string) []string {
	var list []string
	items, _ := s.keys[key].([]any)
	for _, item := range items {
		if text, ok := item.(string); ok {
			list = append(list, text)
		}
	}
	return list
}

// number returns the value of a bound.
func (s schema) number(key string) (float64, bool) {
	n, ok := s.keys[key].(json.Number)
	if !ok {
		return 0, false
	}
	f, err := n.Float64()
	return f, err == nil
}

// closed reports whether the object refuses members that it does not name.
func (s schema) closed() bool { return s.keys["additionalProperties"] == false }

// extra returns the schema of the members that have no name of their own.
func (s schema) extra() schema {
	for _, one := range s.table("patternProperties") {
		return one // the generator permits one pattern, which fits every name
	}
	return s.child("additionalProperties")
}

// shape is what kind of value a schema accepts, with the ways of writing the same
// evened out: {"type": ["string", "null"]} is anyOf string and null, a list of
// constants is an enum.
type shape struct {
	// schema holds the keywords of the value that is not null.
	schema
	// whole is the place of the schema with its null.
	whole place
	any   bool
	null  bool
	// types are sorted and do not name null.
	types []string
	// values are the JSON texts of an enum; fixed tells that a const permits the only
	// one, which clients do not expect to grow.
	values []string
	fixed  bool
	// variants are the alternatives when there are several.
	variants      []schema
	discriminator string
}

// shapeOf reads the shape of s, which is followed.
func shapeOf(s schema) shape {
	s = s.follow()
	if branches := append(s.list("anyOf"), s.list("oneOf")...); len(branches) > 0 {
		return unionOf(s, branches)
	}
	sh := shape{schema: s, whole: s.at, types: typesOf(s)}
	if v, ok := s.keys["const"]; ok {
		sh.values, sh.fixed = []string{canonical(v)}, true
	}
	if items, ok := s.keys["enum"].([]any); ok {
		for _, v := range items {
			sh.values = append(sh.values, canonical(v))
		}
	}
	if i := slices.Index(sh.types, "null"); i >= 0 {
		sh.null, sh.types = true, slices.Delete(sh.types, i, i+1)
	}
	sh.values = slices.DeleteFunc(sh.values, func(v string) bool { return v == "null" })
	sh.any = len(sh.types) == 0 && !sh.null && sh.values == nil
	return sh
}

// unionOf reads the shape of alternatives.
func unionOf(s schema, branches []schema) shape {
	sh := shape{schema: s, whole: s.at}
	sh.discriminator, _ = s.keys["x-discriminator"].(string)
	constants := true
	var rest []schema
	for _, branch := range branches {
		one := shapeOf(branch)
		if one.null && len(one.types) == 0 {
			sh.null = true
			continue
		}
		rest = append(rest, branch)
		constants = constants && one.fixed && branch.ref() == ""
	}
	switch {
	case constants && len(rest) > 0:
		for _, branch := range rest {
			one := shapeOf(branch)
			sh.values = append(sh.values, one.values...)
			sh.types = append(sh.types, one.types...)
		}
		slices.Sort(sh.types)
		sh.types = slices.Compact(sh.types)
	case len(rest) == 1:
		one := shapeOf(rest[0])
		one.whole, one.null = s.at, one.null || sh.null
		return one
	default:
		sh.variants = rest
	}
	return sh
}

// typesOf returns the JSON types that s permits, sorted; none when it permits all.
func typesOf(s schema) []string {
	if one, ok := s.keys["type"].(string); ok {
		return []string{one}
	}
	if list := s.texts("type"); list != nil {
		slices.Sort(list)
		return list
	}
	var list []string
	values, _ := s.keys["enum"].([]any)
	if v, ok := s.keys["const"]; ok {
		values = append(values, v)
	}
	for _, v := range values {
		list = append(list, typeOf(v))
	}
	if list == nil && (s.keys["properties"] != nil || s.keys["required"] != nil) {
		list = []string{"object"}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func typeOf(v any) string {
	switch v := v.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case json.Number:
		if _, err := v.Int64(); err == nil {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return "null"
}

// canonical returns v as JSON with sorted members.
func canonical(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // it came out of JSON
	}
	return string(data)
}

// rules returns the keywords of a schema that rule something, with references by
// name, so that equal rules have equal texts wherever they stand.
func (s schema) rules() any {
	if name := s.ref(); name != "" {
		return "$" + name
	}
	out := maps.Clone(s.keys)
	for key := range out {
		switch key {
		case "description", "title", "$comment", "examples", "x-invalid", "x-since", "x-deprecated", "deprecated", "default":
			delete(out, key)
		case "anyOf", "oneOf":
			var list []any
			for _, one := range s.list(key) {
				list = append(list, one.rules())
			}
			out[key] = list
		case "properties", "patternProperties":
			table := map[string]any{}
			for name, one := range s.table(key) {
				table[name] = one.rules()
			}
			out[key] = table
		case "items":
			out[key] = s.child(key).rules()
		case "additionalProperties":
			if _, isSchema := s.keys[key].(map[string]any); isSchema {
				out[key] = s.child(key).rules()
			}
		}
	}
	return out
}
