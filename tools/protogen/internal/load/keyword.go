package load

import (
	"math"
	"strconv"
	"strings"
)

// Dialect is the version of JSON Schema that a schema is written in.
type Dialect string

// The dialects that are understood. The house writes Draft2020.
const (
	Draft2020 Dialect = "https://json-schema.org/draft/2020-12/schema"
	Draft7    Dialect = "http://json-schema.org/draft-07/schema"
)

// reader reads the schemas of one document.
type reader struct {
	*Problems
	dialect Dialect
	base    string
	index   *index
}

// schema reads one schema and checks every keyword. What is not understood is refused,
// because a keyword that is ignored is a rule that nobody checks.
func (r reader) schema(v *Value) *Schema {
	s := &Schema{Pos: v.Pos, Value: v}
	switch {
	case v.Kind == Bool:
		if !v.Bool {
			s.Rare = &Rare{Never: true}
			s.unusual(v.Pos, "a schema is an object")
		}
	case v.Kind != Object:
		r.Addf(v.Pos, "a schema is an object")
	default:
		r.object(s)
	}
	s.base = r.base
	r.index.schemas[v] = s
	return s
}

// object reads the keywords of s, the base URI first because the rest depends on it.
func (r *reader) object(s *Schema) {
	ref := s.Value.Get("$ref")
	alone := ref != nil && r.dialect == Draft7 // nothing counts beside a reference there
	if id := s.Value.Get("$id"); id != nil && !alone {
		s.unusual(id.Pos, "keyword \"$id\" is not in the house's subset")
		r.rebase(s, r.text(id))
	}
	for _, m := range s.Value.Members {
		switch {
		case alone && m.Name != "$ref" && m.Name != "definitions":
			continue
		case m.Name == "$id", m.Name == "$ref":
		default:
			r.keyword(s, m)
		}
	}
	if ref == nil {
		return
	}
	s.Ref = r.text(ref)
	if !alone && s.besideRef() {
		inner := &Schema{Pos: s.Pos, Value: s.Value, Ref: s.Ref, base: r.base}
		s.Ref = ""
		s.rare().AllOf = append(s.rare().AllOf, inner)
	}
}

// keyword reads one keyword into s.
func (r reader) keyword(s *Schema, m Member) {
	v := m.Value
	switch m.Name {
	case "type":
		r.types(s, v)
	case "description":
		s.Description = r.text(v)
	case "title", "$comment":
	case "default":
		s.Default = v
	case "const":
		s.Const = v
	case "enum":
		if v.Kind != Array || len(v.Items) == 0 {
			r.Addf(v.Pos, "enum must be a non-empty array")
		}
		s.Enum = v.Items
	case "properties":
		s.Properties = r.properties(v)
	case "required":
		s.Required = r.texts(v)
	case "additionalProperties":
		r.additional(s, v)
	case "patternProperties":
		s.Patterns = r.properties(v)
		for _, p := range s.Patterns {
			checkPattern(p.Name, p.Schema.Pos, r.Problems)
		}
	case "items":
		r.items(s, v)
	case "anyOf":
		s.AnyOf = r.list(v)
	case "oneOf":
		s.OneOf = r.list(v)
	case "pattern":
		s.Pattern = r.text(v)
		checkPattern(s.Pattern, v.Pos, r.Problems)
	default:
		if r.count(s, m) || r.bound(s, m) || r.annotation(s, m) {
			return
		}
		if !r.place(s, m) && !r.rare(s, m) {
			r.Addf(v.Pos, "keyword %q is not in the generator's subset", m.Name)
			return
		}
		s.unusual(v.Pos, "keyword "+strconv.Quote(m.Name)+" is not in the house's subset")
	}
}

func (s *Schema) unusual(pos Pos, text string) { s.Unusual = append(s.Unusual, Problem{pos, text}) }

func (r reader) types(s *Schema, v *Value) {
	if v.Kind == String {
		s.Types = []string{v.Text}
	} else if s.Types = r.texts(v); len(s.Types) == 0 {
		r.Addf(v.Pos, "type names no type")
	}
	for _, t := range s.Types {
		switch t {
		case "string", "integer", "number", "boolean", "null", "array", "object":
		default:
			r.Addf(v.Pos, "unknown type %q", t)
		}
	}
}

func (r reader) additional(s *Schema, v *Value) {
	switch {
	case v.Kind == Bool && !v.Bool:
		s.Closed = true
	case v.Kind == Bool:
		s.Open = true
	default:
		s.Additional = r.schema(v)
	}
}

// count reads the keywords whose value is a natural number, which may be written 2.0.
func (r reader) count(s *Schema, m Member) bool {
	var to *string
	switch m.Name {
	case "minLength":
		to = &s.MinLength
	case "maxLength":
		to = &s.MaxLength
	case "minItems":
		to = &s.MinItems
	case "maxItems":
		to = &s.MaxItems
	default:
		return false
	}
	*to = r.natural(m.Value)
	return true
}

func (r reader) natural(v *Value) string {
	n, err := strconv.ParseFloat(v.Text, 64)
	if v.Kind != Number || err != nil || n < 0 || n > math.MaxInt32 || n != math.Trunc(n) {
		r.Addf(v.Pos, "must be a natural number")
		return ""
	}
	return strconv.Itoa(int(n))
}

// bound reads the keywords whose value is any number.
func (r reader) bound(s *Schema, m Member) bool {
	var to *string
	switch m.Name {
	case "minimum":
		to = &s.Minimum
	case "maximum":
		to = &s.Maximum
	case "exclusiveMinimum":
		to = &s.ExclusiveMinimum
	case "exclusiveMaximum":
		to = &s.ExclusiveMaximum
	default:
		return false
	}
	*to = r.number(m.Value)
	return true
}

// number reads a number that a float64 can hold, in its own spelling.
func (r reader) number(v *Value) string {
	if v.Kind != Number {
		r.Addf(v.Pos, "must be a number")
	} else if _, err := strconv.ParseFloat(v.Text, 64); err != nil {
		r.Addf(v.Pos, "the number %s is out of range", v.Text)
	}
	return v.Text
}

// annotation reads the keywords that rule nothing.
func (r reader) annotation(s *Schema, m Member) bool {
	v := m.Value
	switch m.Name {
	case "deprecated", "x-deprecated":
		s.Deprecated = v.Kind != Bool || v.Bool
	case "x-removed":
	case "x-since":
		s.Since = r.text(v)
	case "x-open":
		s.Open = r.boolean(v)
	case "x-secret":
		s.Secret = r.boolean(v)
	case "x-untyped":
		s.Untyped = r.text(v)
	case "x-discriminator":
		s.Discriminator = r.text(v)
	case "examples":
		s.Examples = v.Items
	case "x-invalid":
		for _, item := range v.Items {
			one := Invalid{Pos: item.Pos, Value: item.Get("value")}
			if e := item.Get("errors"); e != nil {
				one.Errors = e.Text
			}
			if one.Value == nil || one.Errors == "" {
				r.Addf(item.Pos, "an invalid example has value and errors")
				continue
			}
			s.Invalid = append(s.Invalid, one)
		}
	default:
		return false
	}
	return true
}

// besideRef reports whether there are rules beside $ref, and notes that the house does
// without: there a reference means exactly its target.
func (s *Schema) besideRef() bool {
	found := false
	for _, m := range s.Value.Members {
		switch m.Name {
		case "$ref", "description", "title", "$comment", "default", "deprecated", "examples":
		default:
			if !strings.HasPrefix(m.Name, "x-") {
				s.unusual(m.Value.Pos, "keyword "+strconv.Quote(m.Name)+" beside $ref")
				found = true
			}
		}
	}
	return found
}

func (r reader) properties(v *Value) []Property {
	if v.Kind != Object {
		r.Addf(v.Pos, "must be an object")
	}
	var list []Property
	for _, m := range v.Members {
		list = append(list, Property{m.Name, r.schema(m.Value)})
	}
	return list
}

func (r reader) list(v *Value) []*Schema {
	if v.Kind != Array || len(v.Items) == 0 {
		r.Addf(v.Pos, "must be a non-empty array")
	}
	var list []*Schema
	for _, item := range v.Items {
		list = append(list, r.schema(item))
	}
	return list
}
