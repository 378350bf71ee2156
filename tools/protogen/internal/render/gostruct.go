package render

import (
	"slices"
	"strings"

	"github.com/coderclaw/gateway/tools/protogen/internal/plan"
)

// goStructs returns the declaration of every struct and enum by its name.
func goStructs(pkg *plan.Package) (map[string]string, error) {
	out := map[string]string{}
	for _, d := range pkg.Domains {
		for _, def := range d.Types {
			switch def.Type.Kind {
			case plan.Object:
				out[def.Name] = goStruct(def)
			case plan.Enum:
				out[def.Name] = goEnum(def)
			}
		}
	}
	return out, nil
}

func goStruct(def *plan.Def) string {
	p := &printer{}
	p.f("type %s struct {", def.Name)
	fields := slices.Clone(def.Type.Fields)
	slices.SortFunc(fields, func(a, b *plan.Field) int { return strings.Compare(a.JSON, b.JSON) })
	for i, f := range fields {
		if i > 0 {
			p.f("")
		}
		p.doc(f.Doc)
		tag := f.JSON
		if !f.Required {
			tag += ",omitzero"
		}
		p.f("%s %s `json:%q`", f.GoName, goFieldType(f), tag)
	}
	p.f("}")
	return p.String()
}

func goEnum(def *plan.Def) string {
	p := &printer{}
	p.f("type %s string\n", def.Name)
	p.f("const (")
	for _, v := range def.Type.Values {
		p.f("%s %s = %q", v.GoName, def.Name, v.Value)
	}
	p.f(")")
	return p.String()
}
