package render

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"slices"
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
// An object without members, which it would print as a map, is printed here.

// goStructs returns the declaration of every struct and enum by its name.
func goStructs(pkg *plan.Package) (map[string]string, error) {
	out := map[string]string{}
	defs := schemas.Definitions{}
	for _, d := range pkg.Domains {
		for _, def := range d.Types {
			switch {
			case def.Type.Kind == plan.Object && len(def.Type.Fields) == 0:
				out[def.Name] = "type " + def.Name + " struct{}"
			case def.Type.Kind == plan.Object:
				defs[def.Name] = lowerObject(def.Type)
			case def.Type.Kind == plan.Enum:
				defs[def.Name] = lowerEnum(def.Type)
			}
		}
	}
	source, err := printLowered(defs)
	if err != nil {
		return nil, fmt.Errorf("go-jsonschema: %w", err)
	}
	printed, err := declarations(source)
	if err != nil {
		return nil, fmt.Errorf("go-jsonschema: %w", err)
	}
	for name := range defs {
		if printed[name] == "" {
			return nil, fmt.Errorf("go-jsonschema printed no type %s", name)
		}
		out[name] = printed[name]
	}
	return out, checkEnums(pkg, out)
}

func lowerObject(t *plan.Type) *schemas.Type {
	low := &schemas.Type{Type: schemas.TypeList{"object"}, Properties: map[string]*schemas.Type{}}
	for _, f := range t.Fields {
		name, typ := f.GoName, goFieldType(f)
		low.Properties[f.JSON] = &schemas.Type{
			Type:        schemas.TypeList{"string"},
			Description: strings.Join(wrap(f.Doc, 96), "\n"),
			GoJSONSchemaExtension: &schemas.GoJSONSchemaExtension{
				Type: &typ, Identifier: &name, Nillable: !f.Required,
			},
		}
		if f.Required {
			low.Required = append(low.Required, f.JSON)
		}
	}
	return low
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
		Capitalizations:           slices.Sorted(maps.Values(plan.Initialisms())),
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

// declarations cuts a Go file into its types: the text of each declaration with the
// constants of that type.
func declarations(source []byte) (map[string]string, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "", source, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	text := func(n ast.Node) string {
		return string(source[fset.Position(n.Pos()).Offset:fset.Position(n.End()).Offset])
	}
	for _, decl := range file.Decls {
		d, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				out[s.Name.Name] = "type " + text(s) + "\n" + out[s.Name.Name]
			case *ast.ValueSpec:
				if id, ok := s.Type.(*ast.Ident); ok && d.Tok == token.CONST {
					out[id.Name] += "\nconst " + text(s)
				}
			}
		}
	}
	return out, nil
}

// checkEnums fails when the library calls a constant by another name than the plan:
// the plan's names are the ones that were checked for collisions.
func checkEnums(pkg *plan.Package, printed map[string]string) error {
	for _, d := range pkg.Domains {
		for _, def := range d.Types {
			for _, v := range def.Type.Values {
				if !strings.Contains(printed[def.Name], v.GoName+" "+def.Name+" = "+strconv.Quote(v.Value)) {
					return fmt.Errorf("go-jsonschema does not call %q of %s by the planned name %s:\n%s", v.Value, def.Name, v.GoName, printed[def.Name])
				}
			}
		}
	}
	return nil
}
