package suite

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Twins returns the variants of g that name a type. The verdict on an instance is the
// original's for that type, and no for any other. Schemas that refer to themselves as a
// whole have none: the added type would bind them at every depth.
func (g Group) Twins() []Group {
	var schema map[string]json.RawMessage
	if json.Unmarshal(g.Schema, &schema) != nil || schema["type"] != nil || selfish(g.Schema) {
		return nil
	}
	var list []Group
	for _, typ := range g.types(schema) {
		plain := g.variant(typ, schema, `"`+typ+`"`, func(kinds []string) bool { return slices.Contains(kinds, typ) })
		list = append(list, plain.member())
		if typ != "null" {
			list = append(list, g.variant(typ+"OrNull", schema, `["`+typ+`","null"]`, func(kinds []string) bool {
				return slices.Contains(kinds, typ) || slices.Contains(kinds, "null")
			}))
		}
	}
	return list
}

// about tells which types a keyword speaks of, if it speaks of few.
var about = map[string][]string{
	"properties": {"object"}, "required": {"object"}, "additionalProperties": {"object"}, "patternProperties": {"object"},
	"items": {"array"}, "minItems": {"array"}, "maxItems": {"array"},
	"minLength": {"string"}, "maxLength": {"string"}, "pattern": {"string"},
	"minimum": {"integer", "number"}, "maximum": {"integer", "number"}, "exclusiveMinimum": {"integer", "number"}, "exclusiveMaximum": {"integer", "number"},
	"const": nil, "enum": nil, "anyOf": nil, "oneOf": nil,
	"$schema": {}, "$defs": {}, "definitions": {}, "$comment": {}, "title": {}, "description": {}, "default": {},
}

// types returns the types that g's twins are worth having for: those that its keywords
// and its instances speak of. Keywords that no decoder knows make every twin the same.
func (g Group) types(schema map[string]json.RawMessage) []string {
	var spoken, shown []string
	for keyword := range schema {
		types, known := about[keyword]
		if !known {
			return nil
		}
		if types == nil {
			types = []string{"null", "boolean", "object", "array", "number", "integer", "string"}
		}
		spoken = append(spoken, types...)
	}
	for _, t := range g.Tests {
		shown = append(shown, kinds(t.Data)...)
	}
	slices.Sort(shown)
	return slices.DeleteFunc(slices.Compact(shown), func(typ string) bool { return !slices.Contains(spoken, typ) })
}

func (g Group) variant(twin string, schema map[string]json.RawMessage, types string, fits func(kinds []string) bool) Group {
	v := g
	v.Twin, v.Original, v.Name = twin, g.Name, g.Name+"_"+twin
	v.Tests = nil
	changed := map[string]json.RawMessage{"type": json.RawMessage(types)}
	for name, value := range schema {
		changed[name] = value
	}
	v.Schema, _ = json.Marshal(changed) // what was read can be written
	for _, t := range g.Tests {
		t.Valid = t.Valid && fits(kinds(t.Data))
		v.Tests = append(v.Tests, t)
	}
	return v
}

// member returns the twin that holds g's schema twice, as a required and as an optional
// member of a closed object.
func (g Group) member() Group {
	v := g
	v.Twin, v.Name = g.Twin+"Member", g.Name+"Member"
	// One schema has a reference as data: it moves as well.
	moved := func(text json.RawMessage) string {
		return strings.ReplaceAll(string(text), `"#/`, `"#/properties/must/`)
	}
	inner := moved(g.Schema)
	v.Schema = json.RawMessage(`{"type":"object","additionalProperties":false,"required":["must"],"properties":{"must":` + inner + `,"may":` + inner + `}}`)
	v.Tests = nil
	for _, t := range g.Tests {
		t.Data = json.RawMessage(moved(t.Data))
		for _, form := range []string{`{"must":%s}`, `{"may":%[1]s,"must":%[1]s}`} {
			v.Tests = append(v.Tests, Test{t.Description, fmt.Appendf(nil, form, t.Data), t.Valid})
		}
		v.Tests = append(v.Tests,
			Test{t.Description + ", beside an unexpected member", fmt.Appendf(nil, `{"must":%s,"x":1}`, t.Data), false},
			Test{t.Description + ", in the wrong place", fmt.Appendf(nil, `{"may":%s}`, t.Data), false})
	}
	return v
}

// Married returns schemas that hold the rules of two at once, because the suite shows most
// keywords alone. Their names start with M. Nobody has labelled them: they are judged by
// comparison with another validator.
func Married(groups []Group) []Group {
	var single []Group
	for _, g := range groups {
		if len(g.rules()) > 0 && g.Draft == Drafts[0].Dir {
			single = append(single, g)
		}
	}
	var list []Group
	for i, one := range single {
		for _, stride := range []int{7, 31, 59} { // far enough to meet other files
			other := single[(i*stride+stride)%len(single)]
			if both := marry(one, other); both != nil {
				child := one
				child.Name, child.Twin, child.Original = fmt.Sprintf("M%04d", len(list)+1), "married", one.Name
				child.Description += " AND " + other.Place()
				child.Schema, child.Tests = both, append(slices.Clone(one.Tests), other.Tests...)
				list = append(list, child)
			}
		}
	}
	return list
}

// rules returns a schema's keywords if it is one that decoders know and that stands for
// itself.
func (g Group) rules() map[string]json.RawMessage {
	var schema map[string]json.RawMessage
	if json.Unmarshal(g.Schema, &schema) != nil || bytes.Contains(g.Schema, []byte(`"$ref"`)) || selfish(g.Schema) {
		return nil
	}
	delete(schema, "$schema")
	for keyword := range schema {
		if _, known := about[keyword]; !known && keyword != "type" {
			return nil
		}
	}
	return schema
}

// marry returns the rules of both, or nil when they share a keyword.
func marry(one, other Group) json.RawMessage {
	both := one.rules()
	for keyword, value := range other.rules() {
		if both[keyword] != nil {
			return nil
		}
		both[keyword] = value
	}
	text, _ := json.Marshal(both) // what was read can be written
	return text
}

// selfish reports whether a schema refers to anything but named places inside itself.
func selfish(schema json.RawMessage) bool {
	for _, word := range []string{`"$id"`, `"$dynamicRef"`, `"$anchor"`} {
		if bytes.Contains(schema, []byte(word)) {
			return true
		}
	}
	for rest := string(schema); ; {
		_, after, found := strings.Cut(rest, `"$ref"`)
		if !found {
			return false
		}
		if !strings.HasPrefix(strings.TrimLeft(after, " :\n\t\r"), `"#/`) {
			return true
		}
		rest = after
	}
}

// kinds returns the types that fit an instance.
func kinds(data json.RawMessage) []string {
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return []string{"number"} // beyond what a float64 holds
	}
	switch v := v.(type) {
	case nil:
		return []string{"null"}
	case bool:
		return []string{"boolean"}
	case float64:
		if v == math.Trunc(v) {
			return []string{"integer", "number"}
		}
		return []string{"number"}
	case string:
		return []string{"string"}
	case []any:
		return []string{"array"}
	}
	return []string{"object"}
}
