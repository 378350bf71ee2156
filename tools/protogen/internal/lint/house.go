// Package lint holds the rules that this house adds to JSON Schema: everything is
// described, objects say whether they are closed, every object has a name, methods
// and events are complete and agree with the rest, and what crosses the wire comes
// with an example that is accepted and one that is refused.
//
// Which keywords are understood is package load's to say, so that schemas from elsewhere
// can go through the generator without our manners. The house does without those that
// shape no type, because what a type cannot show a client has to be told some other way. All problems are
// reported at once.
package lint

import (
	"slices"
	"strings"

	"github.com/coderclaw/gateway/tools/protogen/internal/load"
)

const dialect = "https://json-schema.org/draft/2020-12/schema"

// house collects the problems of one model.
type house struct {
	load.Problems
	model *load.Model
	// wire marks the definitions that are params, result, ack or payload; lenient
	// those that are params without validation; told those that the gateway says:
	// reachable from a result, an ack or a payload.
	wire, lenient, told map[*load.Def]bool
	roles, scopes       []string
}

// House checks the model against the rules of the house.
func House(m *load.Model) error {
	h := &house{model: m, wire: map[*load.Def]bool{}, lenient: map[*load.Def]bool{}, told: map[*load.Def]bool{}}
	for _, f := range m.Files {
		for _, r := range f.Roles {
			h.roles = append(h.roles, r.Name)
		}
		for _, s := range f.Scopes {
			h.scopes = append(h.scopes, s.Name)
		}
	}
	h.methods()
	h.events()
	for _, f := range m.Files {
		h.file(f)
		for _, d := range f.Defs {
			h.def(d)
		}
	}
	return h.Err()
}

func (h *house) file(f *load.File) {
	pos := load.Pos{File: f.Name}
	if v := f.Root.Get("$schema"); v == nil || v.Text != dialect {
		h.Addf(pos, "$schema must be %s", dialect)
	}
	if v := f.Root.Get("$id"); v == nil || !strings.HasSuffix(v.Text, "/"+f.Name) {
		h.Addf(pos, "$id must end in /%s", f.Name)
	}
	if v := f.Root.Get("title"); v == nil || v.Text != f.Domain {
		h.Addf(pos, "title must be %q", f.Domain)
	}
	if f.Doc == "" {
		h.Addf(pos, "the file has no description")
	}
	h.catalogue(f)
	for _, table := range [][]*load.Entry{f.Roles, f.Scopes} {
		for _, e := range table {
			if e.Doc == "" {
				h.Addf(e.Pos, "the entry has no doc")
			}
			for _, i := range e.Implies {
				if i != "*" && !slices.Contains(h.scopes, i) {
					h.Addf(e.Pos, "implies the unknown scope %q", i)
				}
			}
		}
	}
}

func (h *house) def(d *load.Def) {
	s := d.Schema
	if d.Name == "" || d.Name[0] < 'A' || d.Name[0] > 'Z' || strings.ContainsAny(d.Name, "-_. $") {
		h.Addf(s.Pos, "a definition is called in UpperCamel")
	}
	if s.Description == "" {
		h.Addf(s.Pos, "the definition has no description")
	}
	if h.wire[d] && len(s.Examples) == 0 {
		h.Addf(s.Pos, "crosses the wire and has no example")
	}
	if h.wire[d] && len(s.Invalid) == 0 && !h.lenient[d] {
		h.Addf(s.Pos, "crosses the wire and has no x-invalid example")
	}
	s.Walk(func(inner *load.Schema) { h.schema(d, inner) })
}

// schema checks one schema object of the definition d.
func (h *house) schema(d *load.Def, s *load.Schema) {
	for _, u := range s.Unusual {
		h.Addf(u.Pos, "%s", u.Text)
	}
	for _, p := range s.Properties {
		if p.Schema.Description == "" {
			h.Addf(p.Schema.Pos, "the property has no description")
		}
	}
	if s.Type() == "object" {
		h.object(d, s)
	}
	if s.Secret && s.Follow().Type() != "string" {
		h.Addf(s.Pos, "x-secret belongs to strings")
	}
	if s.Type() == "array" && s.Items == nil {
		h.Addf(s.Pos, "an array says what it holds: items")
	}
	if s.Discriminator != "" && s.AnyOf == nil && s.OneOf == nil {
		h.Addf(s.Pos, "x-discriminator belongs to a union")
	}
	if s.Unknown() && s.Untyped == "" && h.told[d] {
		h.Addf(s.Pos, "an untyped value that the gateway sends needs its reason: x-untyped")
	}
	if s.Untyped != "" && !holdsUnknown(s) {
		h.Addf(s.Pos, "x-untyped on a schema that has a type")
	}
}

// holdsUnknown reports whether s is untyped or has an untyped value directly inside.
func holdsUnknown(s *load.Schema) bool {
	found := false
	s.Walk(func(inner *load.Schema) { found = found || inner.Unknown() })
	return found
}

func (h *house) object(d *load.Def, s *load.Schema) {
	named := len(s.Properties) > 0 || len(s.Required) > 0 || s.Closed
	if named && s != d.Schema {
		h.Addf(s.Pos, "an object inside another is a definition of its own: use $ref")
	}
	if !s.Closed && !s.Open && s.Additional == nil && len(s.Patterns) == 0 {
		h.Addf(s.Pos, "the object says neither additionalProperties nor x-open")
	}
	for i, r := range s.Required {
		if !slices.ContainsFunc(s.Properties, func(p load.Property) bool { return p.Name == r }) {
			h.Addf(s.Pos, "requires %q, which is no property", r)
		}
		if slices.Contains(s.Required[:i], r) {
			h.Addf(s.Pos, "requires %q twice", r)
		}
	}
}

// reach marks in set every definition that can be reached from s.
func reach(s *load.Schema, set map[*load.Def]bool) {
	if s == nil {
		return
	}
	s.Walk(func(inner *load.Schema) {
		if inner.To != nil && !set[inner.To] {
			set[inner.To] = true
			reach(inner.To.Schema, set)
		}
	})
}
