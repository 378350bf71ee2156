package load

import (
	"slices"
	"strings"
)

// Schema is one schema object. A keyword that is absent has its zero value; numbers
// keep their spelling. A boolean schema true is a Schema without keywords, false one
// that is Never met. A $ref with rules beside it is read as those rules and an allOf.
type Schema struct {
	Pos   Pos
	Value *Value
	// base is the URI that references inside are relative to.
	base string
	// Name is the definition's name when the schema is one.
	Name string

	// Ref is the text of $ref and To what it means.
	Ref string
	To  *Def

	Types       []string
	Description string
	Const       *Value
	Enum        []*Value
	Default     *Value

	Properties []Property
	Required   []string
	// Closed is additionalProperties: false; Additional a schema for them; Open
	// tells that additionalProperties was true or x-open was set.
	Closed     bool
	Open       bool
	Additional *Schema
	Patterns   []Property

	Items              *Schema
	MinItems, MaxItems string

	MinLength, MaxLength string
	Pattern              string

	Minimum, Maximum                   string
	ExclusiveMinimum, ExclusiveMaximum string

	AnyOf, OneOf []*Schema

	// Rare holds the rules that shape no type; nil when there are none.
	Rare *Rare
	// Unusual are the keywords that the generator understands and that the house does
	// without.
	Unusual []Problem

	// The house's own annotations.
	Discriminator string
	Untyped       string
	Secret        bool
	Deprecated    bool
	Since         string
	Examples      []*Value
	Invalid       []Invalid
}

// Property is a named (or, in Patterns, pattern-matched) part of an object.
type Property struct {
	Name   string
	Schema *Schema
}

// Invalid is an example that must be refused, with the text a client is told.
type Invalid struct {
	Pos    Pos
	Value  *Value
	Errors string
}

// Follow returns the schema that s means: s itself, or the end of its references.
func (s *Schema) Follow() *Schema {
	for range 100 {
		if s.To == nil {
			return s
		}
		s = s.To.Schema
	}
	return s
}

// Type returns the only type, or an empty string when there is none or several.
func (s *Schema) Type() string {
	if len(s.Types) == 1 {
		return s.Types[0]
	}
	return ""
}

// Unknown reports whether any value fits s.
func (s *Schema) Unknown() bool { return s.Only() }

// Only reports whether every rule of s is of one of the groups: "type", "const", "enum",
// "anyOf", "oneOf", "string", "number", "array", "object". Nothing but a reference and
// nothing but a rare keyword is in any group.
func (s *Schema) Only(groups ...string) bool {
	for _, g := range []struct {
		name  string
		there bool
	}{
		{"type", len(s.Types) > 0},
		{"const", s.Const != nil},
		{"enum", s.Enum != nil},
		{"anyOf", s.AnyOf != nil},
		{"oneOf", s.OneOf != nil},
		{"string", s.MinLength+s.MaxLength+s.Pattern != ""},
		{"number", s.Minimum+s.Maximum+s.ExclusiveMinimum+s.ExclusiveMaximum != ""},
		{"array", s.Items != nil || s.MinItems+s.MaxItems != ""},
		{"object", len(s.Properties) > 0 || len(s.Required) > 0 || s.Closed || s.Additional != nil || len(s.Patterns) > 0},
		{"", s.Ref != "" || s.Rare != nil},
	} {
		if g.there && !slices.Contains(groups, g.name) {
			return false
		}
	}
	return true
}

// Walk calls fn for s and every schema inside it, in the order of the file. It does
// not follow references.
func (s *Schema) Walk(fn func(*Schema)) {
	fn(s)
	for _, inner := range s.inside() {
		inner.Walk(fn)
	}
}

// inside lists the schemas directly inside s.
func (s *Schema) inside() []*Schema {
	var list []*Schema
	add := func(more ...*Schema) {
		for _, one := range more {
			if one != nil {
				list = append(list, one)
			}
		}
	}
	for _, p := range slices.Concat(s.Properties, s.Patterns) {
		add(p.Schema)
	}
	add(s.Additional, s.Items)
	add(s.AnyOf...)
	add(s.OneOf...)
	if r := s.Rare; r != nil {
		add(r.AllOf...)
		add(r.Not, r.If, r.Then, r.Else, r.Contains, r.Names, r.UnevaluatedItems, r.UnevaluatedProperties)
		add(r.Prefix...)
		for _, p := range r.DependentSchemas {
			add(p.Schema)
		}
	}
	return list
}

// resolve follows every $ref of the model.
func (m *Model) resolve(problems *Problems) {
	for _, f := range m.Files {
		follow := func(s *Schema) {
			if s.Ref == "" {
				return
			}
			target := s.Ref
			if strings.HasPrefix(target, "#") {
				target = f.Name + target
			}
			if s.To = m.defs[target]; s.To == nil {
				problems.Addf(s.Pos, "$ref %q means no definition", s.Ref)
			}
		}
		for _, d := range f.Defs {
			d.Schema.Walk(follow)
		}
		for _, e := range f.Methods {
			for _, s := range []*Schema{e.Params, e.Ack, e.Result} {
				if s != nil {
					s.Walk(follow)
				}
			}
		}
		for _, e := range f.Events {
			if e.Payload != nil {
				e.Payload.Walk(follow)
			}
		}
	}
	m.refuseLoops(problems)
}

// refuseLoops finds definitions that are nothing but references to each other.
func (m *Model) refuseLoops(problems *Problems) {
	for _, f := range m.Files {
		for _, d := range f.Defs {
			if d.Schema.Follow().To != nil {
				problems.Addf(d.Schema.Pos, "$ref goes round in a circle")
			}
		}
	}
}
