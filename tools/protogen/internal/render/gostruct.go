package render

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"

	"github.com/atombender/go-jsonschema/pkg/generator"
	"github.com/atombender/go-jsonschema/pkg/schemas"

	"github.com/coderclaw/gateway/tools/protogen/internal/plan"
)

// This file is the only door to go-jsonschema. It prints our structs and enums from
// a lowered schema: every member already has its Go type and name, so the library
// decides neither, and what it reads differently from JSON Schema (unions, null,
// closed objects, constants, bounds) never reaches it. It sorts struct fields by name.
// It would spell our names its own way, so it sees placeholders for types, and constants
// are renamed by their value. An object without members, which it would print as a map,
// is printed here.

// goStructs returns the declaration of every struct and enum by its name.
func goStructs(pkg *plan.Package) (map[string]string, error) {
	out := map[string]string{}
	lowered := map[string]*schemas.Type{}
	named := map[string]*plan.Def{}
	for _, d := range pkg.Domains {
		for _, def := range d.Types {
			alias := placeholder(len(named))
			switch {
			case def.Type.Kind == plan.Object && len(def.Type.Fields) == 0:
				out[def.Name] = "type " + def.Name + " struct{}"
				continue
			case def.Type.Kind == plan.Object:
				lowered[alias] = lowerObject(def.Type)
			case def.Type.Kind == plan.Enum:
				lowered[alias] = lowerEnum(def.Type)
			default:
				continue
			}
			named[alias] = def
		}
	}
	source, err := printLowered(lowered)
	if err != nil {
		return nil, fmt.Errorf("go-jsonschema: %w", err)
	}
	printed, err := declarations(source, named)
	if err != nil {
		return nil, fmt.Errorf("go-jsonschema: %w", err)
	}
	for alias, def := range named {
		if printed[alias] == "" {
			return nil, fmt.Errorf("go-jsonschema printed no type for %s", def.Name)
		}
		out[def.Name] = printed[alias]
	}
	return out, nil
}

// placeholder returns the name under which the library sees definition number n: one
// word of letters, so that it is left as it is.
func placeholder(n int) string {
	name := ""
	for range 4 {
		name = string(rune('a'+n%26)) + name
		n /= 26
	}
	return "Zz" + name
}

func lowerObject(t *plan.Type) *schemas.Type {
	low := &schemas.Type{Type: schemas.TypeList{"object"}, Properties: map[string]*schemas.Type{}}
	for _, f := range t.Fields {
		name, typ := f.GoName, goFieldType(f)
		low.Properties[f.JSON] = &schemas.Type{
			Type:        schemas.TypeList{"string"},
			Description: f.Doc,
			GoJSONSchemaExtension: &schemas.GoJSONSchemaExtension{
				Type: &typ, Identifier: &name, Nillable: !f.Required, ExtraTags: ruleTags(f.Type),
			},
		}
		if f.Required {
			low.Required = append(low.Required, f.JSON)
		}
	}
	return low
}

// ruleTags returns the struct tags that tell the rules of a member to whoever reflects
// the struct, in the spelling of invopop/jsonschema. Rules of a list's elements stand
// beside its own.
func ruleTags(t *plan.Type) map[string]string {
	var rules []string
	add := func(keyword, value string) {
		if value == "" || strings.Contains(value, "`") { // a tag has no way to say it
			return
		}
		quoted := strconv.Quote(strings.ReplaceAll(value, ",", `\,`))
		rules = append(rules, keyword+"="+quoted[1:len(quoted)-1])
	}
	if t.Kind == plan.Nullable {
		t = t.Elem
	}
	if t.Kind == plan.Array {
		add("minItems", t.Schema.MinItems)
		add("maxItems", t.Schema.MaxItems)
		t = t.Elem
	}
	tags := map[string]string{}
	switch s := t.Schema; t.Kind {
	case plan.Literal:
		if t.Elem.Kind == plan.Boolean {
			tags["jsonschema_extras"] = "const=" + strconv.FormatBool(s.Const.Bool)
			break
		}
		add("enum", s.Const.Text)
	case plan.String:
		add("minLength", s.MinLength)
		add("maxLength", s.MaxLength)
		add("pattern", s.Pattern)
	case plan.Integer, plan.Number:
		add("minimum", s.Minimum)
		add("maximum", s.Maximum)
		add("exclusiveMinimum", s.ExclusiveMinimum)
		add("exclusiveMaximum", s.ExclusiveMaximum)
	}
	if len(rules) > 0 {
		tags["jsonschema"] = strings.Join(rules, ",")
	}
	return tags
}

func lowerEnum(t *plan.Type) *schemas.Type {
	low := &schemas.Type{Type: schemas.TypeList{"string"}}
	for _, v := range t.Values {
		low.Enum = append(low.Enum, v.Value)
	}
	return low
}

// printLowered runs the library over the definitions and returns its Go file.
func printLowered(defs schemas.Definitions) ([]byte, error) {
	const file = "protocol.go"
	var warnings []string
	g, err := generator.New(generator.Config{
		DefaultPackageName:        "protocol",
		DefaultOutputName:         file,
		Tags:                      []string{"json"},
		OnlyModels:                true,
		DisableOmitEmpty:          true,
		DisableCustomTypesForMaps: true,
		Warner:                    func(text string) { warnings = append(warnings, text) },
	})
	if err != nil {
		return nil, err
	}
	if err := g.AddFile("protocol.json", &schemas.Schema{ObjectAsType: &schemas.ObjectAsType{}, Definitions: defs}); err != nil {
		return nil, err
	}
	if len(warnings) > 0 {
		return nil, fmt.Errorf("warns: %s", strings.Join(warnings, "; "))
	}
	sources, err := g.Sources()
	if err != nil {
		return nil, err
	}
	return sources[file], nil
}

// declarations cuts a Go file into its types, by placeholder: the text of each type
// under its real name, with its constants.
func declarations(source []byte, named map[string]*plan.Def) (map[string]string, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "", source, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	out, consts := map[string]string{}, map[string]string{}
	for _, decl := range file.Decls {
		d, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if def := named[s.Name.Name]; def != nil {
					body := source[fset.Position(s.Type.Pos()).Offset:fset.Position(s.Type.End()).Offset]
					out[s.Name.Name] = "type " + def.Name + " " + string(body)
				}
			case *ast.ValueSpec:
				alias, line := constant(s, named)
				consts[alias] += line
			}
		}
	}
	for alias, lines := range consts {
		if alias != "" {
			out[alias] += "\n\nconst (\n" + lines + ")"
		}
	}
	return out, nil
}

// constant returns the placeholder of an enum constant's type and its line under the
// planned name.
func constant(s *ast.ValueSpec, named map[string]*plan.Def) (alias, line string) {
	id, ok := s.Type.(*ast.Ident)
	if !ok || named[id.Name] == nil || len(s.Values) != 1 {
		return "", ""
	}
	literal, ok := s.Values[0].(*ast.BasicLit)
	if !ok {
		return "", ""
	}
	def := named[id.Name]
	for _, v := range def.Type.Values {
		if strconv.Quote(v.Value) == literal.Value {
			return id.Name, v.GoName + " " + def.Name + " = " + literal.Value + "\n"
		}
	}
	return "", ""
}
