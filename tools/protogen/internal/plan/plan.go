// Package plan decides names, kinds and order: it turns the loaded schema into the
// one language-neutral model that every renderer prints. It reads no files and
// writes none; the same schema always gives the same plan.
//
// A definition keeps its name as its type's name. Two names that would meet in the
// generated package are an error here, not a compile error later. A schema whose
// shape has no type of its own (a union of a string and a number, say) becomes
// untyped bytes that are checked against the rules: never a guess.
package plan

import (
	"cmp"
	"slices"

	"github.com/coderclaw/gateway/tools/protogen/internal/load"
)

// Package is all that is generated.
type Package struct {
	// Domains are sorted by name.
	Domains []*Domain
	// Protocol is the version number, as written.
	Protocol string
	// Roles, Scopes, Errors, Details and Closes are the constant tables.
	Roles, Scopes, Errors, Details, Closes []*Const
}

// Domain is one schema file.
type Domain struct {
	Name string
	// GoName is the name in identifiers, such as the prefix of its service.
	GoName string
	File   *load.File
	// Types are the definitions in the order of the file, each followed by the
	// unnamed types inside it that need a name.
	Types   []*Def
	Methods []*Method
	Events  []*Event
	// Own tells that the gateway itself answers these methods: no service.
	Own bool
}

// Def is one named type.
type Def struct {
	Name   string
	Domain *Domain
	// Inline tells that the schema gives no name: it was made from the parent's.
	Inline bool
	Type   *Type
	// Lenient tells that the type is the params of a method without validation.
	Lenient bool
}

// Const is a named constant of the protocol. Of an entry of the catalogue of errors,
// Entry tells meaning (Doc), cause, fix and the rest.
type Const struct {
	GoName string
	Entry  *load.Entry
	// CloseCode is the code of a close, or of the close that follows a refusal;
	// empty when the connection stays open.
	CloseCode string
	// Reason is the text of a close on the wire, which may be empty.
	Reason string
}

// Method is one method with its types.
type Method struct {
	GoName              string
	Params, Ack, Result *Def
	Lenient             bool
	*load.Method
}

// Event is one event with its type.
type Event struct {
	GoName  string
	Payload *Def
	*load.Event
}

// Kind is the shape of a Type.
type Kind uint8

// The kinds. Literal is a single permitted value; Untyped is any value; Checked is
// any value that the rules accept.
const (
	Ref Kind = iota
	Object
	Enum
	Literal
	String
	Integer
	Number
	Boolean
	Array
	Map
	Nullable
	Union
	Untyped
	Checked
)

// Type is a shape. Schema holds the rules; the other fields only shape the code.
type Type struct {
	Kind   Kind
	Schema *load.Schema
	// To is the definition of a Ref.
	To *Def
	// Name is set on types that need a declaration of their own.
	Name string
	// Elem is what an Array, Map or Nullable holds, or the scalar of a Literal.
	Elem   *Type
	Fields []*Field
	// Open tells that an Object permits members it does not name.
	Open     bool
	Values   []EnumValue
	Variants []*Variant
	// Alternatives of a String: one of them must hold.
	Alternatives []*Type
	// Discriminator is the member that tells the variants of a Union apart, or
	// empty when they have to be tried.
	Discriminator string
}

// Field is a member of an Object, in the order of the schema.
type Field struct {
	JSON     string
	GoName   string
	Doc      string
	Required bool
	Type     *Type
	Schema   *load.Schema
}

// EnumValue is one value of an Enum.
type EnumValue struct {
	Value, GoName string
}

// Variant is one alternative of a Union.
type Variant struct {
	To *Def
	// Tag is the discriminator's value.
	Tag string
}

// planner holds what is known so far.
type planner struct {
	problems load.Problems
	defs     map[*load.Def]*Def
	names    map[string]load.Pos
	domain   *Domain
}

// Make plans the model. The error holds all problems.
func Make(m *load.Model) (*Package, error) {
	p := &planner{defs: map[*load.Def]*Def{}, names: map[string]load.Pos{}}
	pkg := &Package{}
	for _, f := range m.Files {
		d := &Domain{Name: f.Domain, GoName: GoName(f.Domain), File: f, Own: f.Protocol != ""}
		pkg.Domains = append(pkg.Domains, d)
		for _, def := range f.Defs {
			p.defs[def] = &Def{Name: def.Name, Domain: d}
			p.claim(def.Name, def.Schema.Pos)
		}
	}
	for _, d := range pkg.Domains {
		p.domain = d
		for _, def := range d.File.Defs {
			planned := p.defs[def]
			d.Types = append(d.Types, planned)
			planned.Type = p.shape(def.Schema, def.Name, true)
			planned.Type.Name = def.Name
		}
	}
	for _, d := range pkg.Domains {
		for _, def := range d.Types {
			p.variants(def)
		}
		p.methods(d)
		p.events(d)
		p.tables(pkg, d.File)
	}
	if p.problems.Err() == nil { // else one clash would be told four times
		p.claimDerived(pkg)
	}
	p.refuseRecursion(pkg)
	slices.SortFunc(pkg.Domains, func(a, b *Domain) int { return cmp.Compare(a.Name, b.Name) })
	return pkg, p.problems.Err()
}

// claim takes a name of the generated package.
func (p *planner) claim(name string, pos load.Pos) {
	if first, taken := p.names[name]; taken {
		p.problems.Addf(pos, "the name %s is already taken by %s", name, first)
		return
	}
	p.names[name] = pos
}

// taken reports whether a name of the generated package is taken.
func (p *planner) taken(name string) bool {
	_, taken := p.names[name]
	return taken
}

// claimDerived takes the names that are made from others.
func (p *planner) claimDerived(pkg *Package) {
	for _, d := range pkg.Domains {
		for _, def := range d.Types {
			pos := def.Type.Schema.Pos
			p.claim("Decode"+def.Name, pos)
			p.claim("Decode"+def.Name+"Open", pos)
			p.claim("Codec"+def.Name, pos)
			for _, v := range def.Type.Values {
				p.claim(v.GoName, pos)
			}
		}
		for _, m := range d.Methods {
			p.claim("Method"+m.GoName, m.Pos)
		}
		for _, e := range d.Events {
			p.claim("Event"+e.GoName, e.Pos)
		}
		if len(d.Methods) > 0 && !d.Own {
			p.claim(d.GoName+"Service", load.Pos{File: d.File.Name})
			p.claim("Mount"+d.GoName, load.Pos{File: d.File.Name})
		}
	}
	for _, table := range [][]*Const{pkg.Roles, pkg.Scopes, pkg.Errors, pkg.Details, pkg.Closes} {
		for _, c := range table {
			p.claim(c.GoName, c.Entry.Pos)
		}
	}
}

func (p *planner) methods(d *Domain) {
	for _, m := range d.File.Methods {
		planned := &Method{
			GoName: GoName(m.Name), Method: m, Lenient: m.Validation == "none",
			Params: p.target(m.Params, m.Pos, "params"),
			Result: p.target(m.Result, m.Pos, "result"),
		}
		if m.Reply == "staged" {
			planned.Ack = p.target(m.Ack, m.Pos, "ack")
		}
		if planned.Lenient && planned.Params != nil {
			planned.Params.Lenient = true
			if planned.Params.Type.Kind != Object {
				p.problems.Addf(m.Pos, "params that are not validated must be an object")
			}
		}
		d.Methods = append(d.Methods, planned)
	}
	slices.SortFunc(d.Methods, func(a, b *Method) int { return cmp.Compare(a.Name, b.Name) })
}

func (p *planner) events(d *Domain) {
	for _, e := range d.File.Events {
		d.Events = append(d.Events, &Event{GoName: GoName(e.Name), Event: e, Payload: p.target(e.Payload, e.Pos, "payload")})
	}
	slices.SortFunc(d.Events, func(a, b *Event) int { return cmp.Compare(a.Name, b.Name) })
}

// target returns the definition that a method or event refers to.
func (p *planner) target(s *load.Schema, pos load.Pos, what string) *Def {
	if s == nil || s.To == nil {
		p.problems.Addf(pos, "%s must be a $ref to a definition", what)
		return nil
	}
	return p.defs[s.To]
}

func (p *planner) tables(pkg *Package, f *load.File) {
	if f.Protocol != "" {
		if pkg.Protocol != "" {
			p.problems.Addf(load.Pos{File: f.Name, Pointer: "/x-protocol"}, "x-protocol stands in two files")
		}
		pkg.Protocol = f.Protocol
	}
	add := func(to *[]*Const, prefix string, entries []*load.Entry) {
		for _, e := range entries {
			*to = append(*to, &Const{GoName: prefix + GoName(e.Name), Entry: e})
		}
		slices.SortFunc(*to, func(a, b *Const) int { return cmp.Compare(a.Entry.Name, b.Entry.Name) })
	}
	add(&pkg.Roles, "Role", f.Roles)
	add(&pkg.Scopes, "Scope", f.Scopes)
	add(&pkg.Errors, "Error", f.Errors)
	add(&pkg.Details, "Detail", f.Details)
	add(&pkg.Closes, "Close", f.Closes)
	p.closes(pkg)
}

// closes finds out which close a refusal leads to.
func (p *planner) closes(pkg *Package) {
	codes := map[string]string{}
	for _, c := range pkg.Closes {
		codes[c.Entry.Name] = c.Entry.Code
		c.CloseCode, c.Reason = c.Entry.Code, c.Entry.Name
		if c.Entry.Reason != nil {
			c.Reason = *c.Entry.Reason
		}
	}
	for _, c := range pkg.Details {
		c.CloseCode = codes[c.Entry.Close]
	}
}
