package load

import (
	"regexp/syntax"
	"strconv"
	"strings"
)

// Schema is one schema object. A keyword that is absent has its zero value; numbers
// keep their spelling. A boolean schema true is a Schema without keywords.
type Schema struct {
	Pos   Pos
	Value *Value
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
func (s *Schema) Unknown() bool {
	return s.Ref == "" && len(s.Types) == 0 && s.Const == nil && s.Enum == nil && len(s.Properties) == 0 &&
		len(s.Required) == 0 && !s.Closed && s.Additional == nil && len(s.Patterns) == 0 && s.Items == nil &&
		s.MinItems+s.MaxItems+s.MinLength+s.MaxLength+s.Pattern+s.Minimum+s.Maximum+s.ExclusiveMinimum+
			s.ExclusiveMaximum == "" && s.AnyOf == nil && s.OneOf == nil
}

// readSchema reads one schema object and checks every keyword against the subset.
func readSchema(v *Value, problems *Problems) *Schema {
	s := &Schema{Pos: v.Pos, Value: v}
	switch {
	case v.Kind == Bool && v.Bool:
		return s
	case v.Kind != Object:
		problems.Addf(v.Pos, "a schema is an object")
		return s
	}
	for _, m := range v.Members {
		s.keyword(m, problems)
	}
	if s.Ref != "" {
		s.onlyAnnotations(problems)
	}
	return s
}

// keyword reads one keyword. What is not listed here is refused.
func (s *Schema) keyword(m Member, problems *Problems) {
	v := m.Value
	switch m.Name {
	case "$ref":
		s.Ref = text(v, problems)
	case "type":
		s.readType(v, problems)
	case "description":
		s.Description = text(v, problems)
	case "title", "$comment", "default":
		if m.Name == "default" {
			s.Default = v
		}
	case "const":
		s.Const = v
	case "enum":
		if v.Kind != Array || len(v.Items) == 0 {
			problems.Addf(v.Pos, "enum must be a non-empty array")
		}
		s.Enum = v.Items
	case "properties":
		s.Properties = readProperties(v, problems)
	case "required":
		s.Required = texts(v, problems)
	case "additionalProperties":
		s.readAdditional(v, problems)
	case "patternProperties":
		s.Patterns = readProperties(v, problems)
		for _, p := range s.Patterns {
			checkPattern(p.Name, p.Schema.Pos, problems)
		}
	case "items":
		s.Items = readSchema(v, problems)
	case "anyOf":
		s.AnyOf = readList(v, problems)
	case "oneOf":
		s.OneOf = readList(v, problems)
	case "pattern":
		s.Pattern = text(v, problems)
		checkPattern(s.Pattern, v.Pos, problems)
	default:
		if !s.count(m, problems) && !s.bound(m, problems) && !s.annotation(m, problems) {
			problems.Addf(v.Pos, "keyword %q is not in the generator's subset", m.Name)
		}
	}
}

func (s *Schema) readType(v *Value, problems *Problems) {
	if v.Kind == String {
		s.Types = []string{v.Text}
	} else {
		s.Types = texts(v, problems)
	}
	for _, t := range s.Types {
		switch t {
		case "string", "integer", "number", "boolean", "null", "array", "object":
		default:
			problems.Addf(v.Pos, "unknown type %q", t)
		}
	}
}

func (s *Schema) readAdditional(v *Value, problems *Problems) {
	switch {
	case v.Kind == Bool && !v.Bool:
		s.Closed = true
	case v.Kind == Bool:
		s.Open = true
	default:
		s.Additional = readSchema(v, problems)
	}
}

// count reads the keywords whose value is a natural number.
func (s *Schema) count(m Member, problems *Problems) bool {
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
	if n, err := strconv.Atoi(m.Value.Text); m.Value.Kind != Number || err != nil || n < 0 {
		problems.Addf(m.Value.Pos, "must be a natural number")
		return true
	}
	*to = m.Value.Text
	return true
}

// bound reads the keywords whose value is any number.
func (s *Schema) bound(m Member, problems *Problems) bool {
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
	if m.Value.Kind != Number {
		problems.Addf(m.Value.Pos, "must be a number")
	}
	*to = m.Value.Text
	return true
}

// annotation reads the keywords that rule nothing.
func (s *Schema) annotation(m Member, problems *Problems) bool {
	v := m.Value
	switch m.Name {
	case "deprecated", "x-deprecated":
		s.Deprecated = v.Kind != Bool || v.Bool
	case "x-removed":
	case "x-since":
		s.Since = text(v, problems)
	case "x-open":
		s.Open = boolean(v, problems)
	case "x-secret":
		s.Secret = boolean(v, problems)
	case "x-untyped":
		s.Untyped = text(v, problems)
	case "x-discriminator":
		s.Discriminator = text(v, problems)
	case "examples":
		s.Examples = v.Items
	case "x-invalid":
		for _, item := range v.Items {
			one := Invalid{Pos: item.Pos, Value: item.Get("value")}
			if e := item.Get("errors"); e != nil {
				one.Errors = e.Text
			}
			if one.Value == nil || one.Errors == "" {
				problems.Addf(item.Pos, "an invalid example has value and errors")
				continue
			}
			s.Invalid = append(s.Invalid, one)
		}
	default:
		return false
	}
	return true
}

// onlyAnnotations refuses rules beside $ref, so that a reference means exactly its
// target.
func (s *Schema) onlyAnnotations(problems *Problems) {
	for _, m := range s.Value.Members {
		switch m.Name {
		case "$ref", "description", "title", "$comment", "default", "deprecated", "examples":
		default:
			if !strings.HasPrefix(m.Name, "x-") {
				problems.Addf(m.Value.Pos, "keyword %q beside $ref", m.Name)
			}
		}
	}
}

func readProperties(v *Value, problems *Problems) []Property {
	if v.Kind != Object {
		problems.Addf(v.Pos, "must be an object")
	}
	var list []Property
	for _, m := range v.Members {
		list = append(list, Property{m.Name, readSchema(m.Value, problems)})
	}
	return list
}

func readList(v *Value, problems *Problems) []*Schema {
	if v.Kind != Array || len(v.Items) == 0 {
		problems.Addf(v.Pos, "must be a non-empty array")
	}
	var list []*Schema
	for _, item := range v.Items {
		list = append(list, readSchema(item, problems))
	}
	return list
}

// checkPattern refuses a pattern that ECMAScript and RE2 may read differently.
func checkPattern(pattern string, pos Pos, problems *Problems) {
	if _, err := syntax.Parse(pattern, syntax.Perl); err != nil {
		problems.Addf(pos, "pattern %q is not RE2: %v", pattern, err)
		return
	}
	for _, odd := range []string{`\s`, `\S`, `\w`, `\W`, `\b`, `\B`, `\p`, `\P`, `\c`, `\z`, `\A`, `\Q`, `\C`, `(?`, `[[:`} {
		if strings.Contains(pattern, odd) {
			problems.Addf(pos, "pattern %q uses %s, which ECMAScript and RE2 read differently", pattern, odd)
		}
	}
}

// Walk calls fn for s and every schema inside it, in the order of the file. It does
// not follow references.
func (s *Schema) Walk(fn func(*Schema)) {
	fn(s)
	for _, list := range [][]Property{s.Properties, s.Patterns} {
		for _, p := range list {
			p.Schema.Walk(fn)
		}
	}
	for _, one := range []*Schema{s.Additional, s.Items} {
		if one != nil {
			one.Walk(fn)
		}
	}
	for _, list := range [][]*Schema{s.AnyOf, s.OneOf} {
		for _, one := range list {
			one.Walk(fn)
		}
	}
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
