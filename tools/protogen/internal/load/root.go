package load

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Root is a schema from elsewhere: one JSON text that is a schema, not a file of ours.
type Root struct {
	// Name becomes the definition's name.
	Name    string
	Dialect Dialect
	Schema  *Value
}

// Roots reads schemas from elsewhere into a model that can be planned and rendered like
// our own, one file and one definition for each, and a definition more for every place
// that something refers to. documents are the texts that references may lead to, by
// absolute URI; nothing is fetched. A root that is refused is left out of the model, and
// its problems are in the map.
func Roots(roots []Root, documents map[string]*Value) (*Model, map[string]error) {
	m := &Model{defs: map[string]*Def{}}
	refused := map[string]error{}
	for _, root := range roots {
		var problems Problems
		f := &File{Name: root.Name + ".json", Domain: strings.ToLower(root.Name), Root: root.Schema, Foreign: true}
		x := &index{file: f, documents: documents, schemas: map[*Value]*Schema{}, resources: map[string]*Value{}, anchors: map[string]*Schema{}}
		x.root(root, &problems)
		if err := problems.Err(); err != nil {
			refused[root.Name] = err
			continue
		}
		m.Files = append(m.Files, f)
	}
	return m, refused
}

// index knows where the schemas of a document are.
type index struct {
	file      *File
	documents map[string]*Value
	schemas   map[*Value]*Schema
	// resources are the texts of the schemas with an $id, by URI; anchors the schemas
	// with a name, by URI and name.
	resources map[string]*Value
	anchors   map[string]*Schema
}

func newIndex() *index {
	return &index{schemas: map[*Value]*Schema{}, resources: map[string]*Value{}, anchors: map[string]*Schema{}}
}

// rebase takes the $id of s for the base URI of what is inside.
func (r *reader) rebase(s *Schema, id string) {
	uri, fragment := join(r.base, id)
	if fragment != "" {
		if r.dialect != Draft7 || strings.HasPrefix(fragment, "/") {
			r.Addf(s.Pos, "$id %q has a fragment", id)
			return
		}
		r.index.anchors[uri+"#"+fragment] = s
		if uri == r.base {
			return
		}
	}
	r.base = uri
	if r.index.resources[uri] == nil {
		r.index.resources[uri] = s.Value
	}
}

// root reads the schema, then follows every reference, reading more documents as they
// are needed.
func (x *index) root(root Root, problems *Problems) {
	base := "root:/" + root.Name
	x.resources[base] = root.Schema
	r := reader{Problems: problems, dialect: root.Dialect, base: base, index: x}
	s := r.schema(root.Schema)
	s.Name = root.Name
	x.file.Defs = []*Def{{Name: root.Name, File: x.file, Schema: s}}
	for i := 0; i < len(x.file.Defs); i++ { // the list grows
		x.file.Defs[i].Schema.Walk(func(s *Schema) {
			if s.Ref != "" && s.To == nil {
				s.To = x.definition(s, r)
			}
		})
	}
	for _, d := range x.file.Defs {
		if x.endless(d.Schema, map[*Schema]bool{}) {
			problems.Addf(d.Schema.Pos, "the schema leads to itself without a step into the instance")
		}
	}
}

// definition returns the definition that the reference of s means. A schema that is
// referred to for the first time becomes a definition, and a reference takes the place
// where it stood.
func (x *index) definition(s *Schema, r reader) *Def {
	target := x.target(s, r)
	if target == nil {
		r.Addf(s.Pos, "$ref %q means no schema", s.Ref)
		return nil
	}
	for _, d := range x.file.Defs {
		if d.Schema == target || target.To == d {
			return d
		}
	}
	moved := *target
	def := &Def{Name: x.file.Defs[0].Name + "_" + strconv.Itoa(len(x.file.Defs)), File: x.file, Schema: &moved}
	moved.Name = def.Name
	if target == s { // a reference to itself
		r.Addf(s.Pos, "$ref goes round in a circle")
		return nil
	}
	*target = Schema{Pos: target.Pos, Value: target.Value, Ref: fmt.Sprintf("#%s", def.Name), To: def}
	x.file.Defs = append(x.file.Defs, def)
	return def
}

// target finds the schema that a reference means.
func (x *index) target(s *Schema, r reader) *Schema {
	uri, fragment := join(s.base, s.Ref)
	v := x.resources[uri]
	if v == nil {
		if v = x.documents[uri]; v == nil {
			return nil
		}
		if d := v.Get("$schema"); d != nil && trimFragment(d.Text) != string(r.dialect) {
			return nil
		}
		x.resources[uri] = v
		r.base = uri
		r.schema(v)
	}
	if fragment != "" && !strings.HasPrefix(fragment, "/") {
		return x.anchors[uri+"#"+fragment]
	}
	for _, token := range strings.Split(fragment, "/")[1:] {
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		if v.Kind == Array {
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(v.Items) {
				return nil
			}
			v = v.Items[i]
		} else if v = v.Get(token); v == nil {
			return nil
		}
	}
	return x.schemas[v]
}

// endless reports whether s asks about the same instance for ever.
func (x *index) endless(s *Schema, open map[*Schema]bool) bool {
	if open[s] {
		return true
	}
	open[s] = true
	defer delete(open, s)
	next := append(append([]*Schema{}, s.AnyOf...), s.OneOf...)
	if s.To != nil {
		next = append(next, s.To.Schema)
	}
	if r := s.Rare; r != nil {
		next = append(append(next, r.AllOf...), r.Not, r.If, r.Then, r.Else)
		for _, p := range r.DependentSchemas {
			next = append(next, p.Schema)
		}
	}
	for _, one := range next {
		if one != nil && x.endless(one, open) {
			return true
		}
	}
	return false
}

// join resolves a reference against a base URI and splits off the fragment.
func join(base, ref string) (uri, fragment string) {
	ref, fragment, _ = strings.Cut(ref, "#")
	if text, err := url.PathUnescape(fragment); err == nil {
		fragment = text
	}
	if ref == "" {
		return base, fragment
	}
	b, err := url.Parse(base)
	if err != nil {
		return ref, fragment
	}
	u, err := b.Parse(ref)
	if err != nil {
		return ref, fragment
	}
	return u.String(), fragment
}

// trimFragment drops the empty fragment that draft 7 likes to write.
func trimFragment(uri string) string { return strings.TrimSuffix(uri, "#") }
