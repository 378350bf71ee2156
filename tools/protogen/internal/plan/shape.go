package plan

import (
	"slices"
	"strings"

	"github.com/coderclaw/gateway/tools/protogen/internal/load"
)

// shape decides what kind of type s is. name is what an unnamed type inside would be
// called; root tells that s is a definition.
func (p *planner) shape(s *load.Schema, name string, root bool) *Type {
	t := &Type{Schema: s}
	switch {
	case s.To != nil:
		t.Kind, t.To = Ref, p.defs[s.To]
		return t
	case s.Ref != "", s.Unknown():
		t.Kind = Untyped
	case s.Rare != nil:
		t.Kind = Checked
	case s.Const != nil:
		p.literal(t)
	case s.Enum != nil:
		p.enum(t, name, s.Enum)
	case s.AnyOf != nil, s.OneOf != nil:
		return p.union(t, name)
	case len(s.Types) == 2 && (s.Types[0] == "null") != (s.Types[1] == "null"):
		return p.typeOrNull(t, name)
	case s.Type() == "object":
		p.object(t, name, root)
	case s.Type() == "array":
		p.array(t, name)
	default:
		p.scalar(t)
	}
	if !root && (t.Kind == Enum || t.Kind == Object || t.Kind == Checked) {
		return p.hoist(t, name)
	}
	return t
}

// hoist gives an unnamed type a definition of its own, called after its parent.
func (p *planner) hoist(t *Type, name string) *Type {
	for p.domain.File.Foreign && p.taken(name) {
		name += "_"
	}
	t.Name = name
	def := &Def{Name: name, Domain: p.domain, Inline: true, Type: t}
	p.claim(name, t.Schema.Pos)
	p.domain.Types = append(p.domain.Types, def)
	return &Type{Kind: Ref, Schema: t.Schema, To: def}
}

func (p *planner) scalar(t *Type) {
	switch t.Schema.Type() {
	case "string":
		t.Kind = String
	case "integer":
		t.Kind = Integer
	case "number":
		t.Kind = Number
	case "boolean":
		t.Kind = Boolean
	default:
		t.Kind = Checked
	}
}

// literal makes a Literal of a string, a boolean or a small integer.
func (p *planner) literal(t *Type) {
	t.Kind = Literal
	types := t.Schema.Types
	kind := map[load.Kind]Kind{load.String: String, load.Bool: Boolean, load.Number: Integer}[t.Schema.Const.Kind]
	plain := len(types) == 0 || len(types) == 1 && types[0] == map[Kind]string{String: "string", Boolean: "boolean", Integer: "integer"}[kind]
	if kind == 0 || !plain || !t.Schema.Only("type", "const") || kind == Integer && !isInt(t.Schema.Const.Text) {
		t.Kind = Checked
		return
	}
	t.Elem = &Type{Kind: kind, Schema: t.Schema}
}

func isInt(text string) bool {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return i == 0 && text[0] == '-' && len(text) > 1
		}
	}
	return len(text) < 18
}

// enum makes an Enum of string values; other values are checked only.
func (p *planner) enum(t *Type, name string, values []*load.Value) {
	t.Kind = Enum
	if ty := t.Schema.Type(); ty != "string" && len(t.Schema.Types) > 0 || !t.Schema.Only("type", "enum") {
		t.Kind = Checked
		return
	}
	for _, v := range values {
		if v.Kind != load.String {
			t.Kind = Checked
			return
		}
	}
	p.values(t, name, values)
}

// values names the values of an enum. A schema from elsewhere may have values that no
// names can tell apart.
func (p *planner) values(t *Type, name string, values []*load.Value) {
	named := map[string]bool{}
	for _, v := range values {
		value := EnumValue{v.Text, name + GoName(v.Text)}
		if p.domain.File.Foreign && (named[value.GoName] || !tagSafe(v.Text)) {
			t.Kind, t.Values = Checked, nil
			return
		}
		named[value.GoName] = true
		t.Values = append(t.Values, value)
	}
}

// union sorts out anyOf and oneOf: enum, nullable, string with alternatives, objects
// to choose from, or none of these.
func (p *planner) union(t *Type, name string) *Type {
	s := t.Schema
	branches, exclusive := s.AnyOf, false
	if branches == nil {
		branches, exclusive = s.OneOf, true
	}
	var rest []*load.Schema
	null := false
	for _, b := range branches {
		if b.Type() == "null" && b.Only("type") {
			null = true
			continue
		}
		rest = append(rest, b)
	}
	oneNull := len(branches)-len(rest) <= 1 && !slices.ContainsFunc(rest, acceptsNull)
	alone := len(branches) == 1 && branches[0].To == nil && constStrings(rest) == nil
	if !s.Only("anyOf") && !s.Only("oneOf") || len(rest) == 0 || exclusive && null && !oneNull || alone {
		t.Kind = Checked
		return p.hoistUnless(t, name)
	}
	t = p.choice(t, name, rest, exclusive)
	if t.Kind == Checked && null {
		// The rules of the whole union, null included, decide.
		return p.hoistUnless(t, name)
	}
	if null {
		elem := t
		if elem.Kind == Enum || elem.Kind == Union {
			elem = p.hoist(elem, name+nullableSuffix(s))
		}
		return &Type{Kind: Nullable, Schema: s, Elem: elem}
	}
	if t.Kind == Enum || t.Kind == Union || t.Kind == Checked {
		return p.hoistUnless(t, name)
	}
	return t
}

// acceptsNull reports whether null may fit s.
func acceptsNull(s *load.Schema) bool {
	s = s.Follow()
	switch {
	case len(s.Types) > 0:
		return slices.Contains(s.Types, "null")
	case s.Const != nil:
		return s.Const.Kind == load.Null
	}
	return true
}

// nullableSuffix keeps the name of a nullable definition apart from its value's.
func nullableSuffix(s *load.Schema) string {
	if s.Name != "" {
		return "Value"
	}
	return ""
}

// hoistUnless hoists t unless it is a definition already.
func (p *planner) hoistUnless(t *Type, name string) *Type {
	if t.Schema.Name != "" {
		return t
	}
	return p.hoist(t, name)
}

// choice classifies the branches of a union that are not null.
func (p *planner) choice(t *Type, name string, rest []*load.Schema, exclusive bool) *Type {
	if values := constStrings(rest); values != nil && !(exclusive && repeats(values)) {
		t.Kind = Enum
		p.values(t, name, values)
		return t
	}
	if len(rest) == 1 {
		return p.shape(rest[0], name+nullableSuffix(t.Schema), false)
	}
	if objects(rest) && (!exclusive || t.Schema.Discriminator != "") {
		t.Kind, t.Discriminator = Union, t.Schema.Discriminator
		for _, b := range rest {
			t.Variants = append(t.Variants, &Variant{To: p.defs[b.To]})
		}
		return t
	}
	if !exclusive && allStrings(rest) {
		t.Kind = String
		for _, b := range rest {
			t.Alternatives = append(t.Alternatives, &Type{Kind: String, Schema: b})
		}
		return t
	}
	t.Kind = Checked
	return t
}

func constStrings(branches []*load.Schema) []*load.Value {
	var list []*load.Value
	for _, b := range branches {
		if b.Const == nil || b.Const.Kind != load.String || len(b.Types) > 0 && b.Type() != "string" || !b.Only("type", "const") {
			return nil
		}
		list = append(list, b.Const)
	}
	return list
}

func repeats(values []*load.Value) bool {
	seen := map[string]bool{}
	for _, v := range values {
		if seen[v.Text] {
			return true
		}
		seen[v.Text] = true
	}
	return false
}

// objects reports whether every branch refers to a definition of its own that is an
// object or again a union of objects.
func objects(branches []*load.Schema) bool {
	seen := map[*load.Def]bool{}
	for _, b := range branches {
		if b.To == nil || seen[b.To] {
			return false
		}
		seen[b.To] = true
		target := b.Follow()
		if target.AnyOf != nil && target.Only("anyOf") && objects(target.AnyOf) {
			continue
		}
		if target.Type() != "object" || len(target.Properties) == 0 {
			return false
		}
	}
	return true
}

func allStrings(branches []*load.Schema) bool {
	for _, b := range branches {
		isConst := b.Const != nil && b.Const.Kind == load.String
		if b.Type() != "string" && !(isConst && len(b.Types) == 0) || !b.Only("type", "const", "string") {
			return false
		}
	}
	return true
}

// typeOrNull reads {"type": ["string", "null"], ...}: the other keywords bind the value
// that is not null.
func (p *planner) typeOrNull(t *Type, name string) *Type {
	plain := *t.Schema
	name += nullableSuffix(t.Schema)
	plain.Name = ""
	plain.Types = []string{t.Schema.Types[0]}
	if plain.Types[0] == "null" {
		plain.Types[0] = t.Schema.Types[1]
	}
	elem := p.shape(&plain, name, false)
	return &Type{Kind: Nullable, Schema: t.Schema, Elem: elem}
}

func (p *planner) array(t *Type, name string) {
	t.Kind = Array
	if t.Schema.Items == nil {
		t.Elem = &Type{Kind: Untyped, Schema: &load.Schema{}}
		return
	}
	t.Elem = p.shape(t.Schema.Items, name+"Item", false)
}

// object tells structs from maps. A map is an object without named members.
func (p *planner) object(t *Type, name string, root bool) {
	s := t.Schema
	switch {
	case len(s.Properties) == 0 && len(s.Required) == 0 && !s.Closed && len(s.Patterns) == 1 && s.Patterns[0].Name == "^(.*)$" && s.Additional == nil:
		t.Kind, t.Elem = Map, p.shape(s.Patterns[0].Schema, name+"Value", false)
	case len(s.Patterns) > 0:
		t.Kind = Checked
	case len(s.Properties) == 0 && len(s.Required) == 0 && s.Additional != nil:
		t.Kind, t.Elem = Map, p.shape(s.Additional, name+"Value", false)
	case len(s.Properties) == 0 && len(s.Required) == 0 && !s.Closed && !root:
		t.Kind, t.Elem = Map, &Type{Kind: Untyped, Schema: &load.Schema{}}
	case s.Additional != nil && !s.Additional.Unknown(), !requiredNamed(s):
		t.Kind = Checked
	default:
		t.Kind, t.Open = Object, !s.Closed
		if p.domain.File.Foreign && !nameable(s) {
			t.Kind = Checked
			return
		}
		p.fields(t, name)
	}
}

// methodNames are the Go names that every struct's methods take.
var methodNames = []string{"AppendJSON", "MarshalJSON", "UnmarshalJSON"}

// nameable reports whether the members of an object from elsewhere can be fields.
func nameable(s *load.Schema) bool {
	taken := map[string]bool{}
	for _, prop := range s.Properties {
		name := GoName(prop.Name)
		if taken[name] || slices.Contains(methodNames, name) || !tagSafe(prop.Name) {
			return false
		}
		taken[name] = true
	}
	return true
}

// tagSafe reports whether a name can stand in a struct tag as it is.
func tagSafe(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool { return !isAlnum(byte(min(r, 0x7f))) && !strings.ContainsRune("_-.$ ", r) })
}

// requiredNamed reports whether every required member is a property.
func requiredNamed(s *load.Schema) bool {
	for _, r := range s.Required {
		if property(s, r) == nil {
			return false
		}
	}
	return true
}

func property(s *load.Schema, name string) *load.Schema {
	for _, f := range s.Properties {
		if f.Name == name {
			return f.Schema
		}
	}
	return nil
}

func (p *planner) fields(t *Type, name string) {
	taken := map[string]bool{}
	for _, prop := range t.Schema.Properties {
		f := &Field{JSON: prop.Name, GoName: GoName(prop.Name), Doc: prop.Schema.Description, Schema: prop.Schema}
		for _, r := range t.Schema.Required {
			f.Required = f.Required || r == prop.Name
		}
		if taken[f.GoName] || slices.Contains(methodNames, f.GoName) {
			p.problems.Addf(prop.Schema.Pos, "the field name %s is already taken", f.GoName)
		}
		taken[f.GoName] = true
		f.Type = p.shape(prop.Schema, name+f.GoName, false)
		t.Fields = append(t.Fields, f)
	}
}

// variants finds the discriminator's values once every definition has its shape.
func (p *planner) variants(def *Def) {
	t := def.Type
	if t.Kind != Union || t.Discriminator == "" {
		return
	}
	seen := map[string]bool{}
	for _, v := range t.Variants {
		tag := property(v.To.Type.Schema, t.Discriminator)
		if tag == nil || tag.Follow().Const == nil || tag.Follow().Const.Kind != load.String {
			p.problems.Addf(t.Schema.Pos, "variant %s has no string const %q", v.To.Name, t.Discriminator)
			continue
		}
		if !slices.Contains(v.To.Type.Schema.Required, t.Discriminator) {
			p.problems.Addf(t.Schema.Pos, "variant %s does not require %q", v.To.Name, t.Discriminator)
		}
		v.Tag = tag.Follow().Const.Text
		if seen[v.Tag] {
			p.problems.Addf(t.Schema.Pos, "two variants have %s %q", t.Discriminator, v.Tag)
		}
		seen[v.Tag] = true
	}
}
