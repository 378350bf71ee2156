package render

import (
	"fmt"
	"strings"

	"github.com/coderclaw/gateway/tools/protogen/internal/load"
	"github.com/coderclaw/gateway/tools/protogen/internal/plan"
)

// tsDeclare renders a definition: its type and, under the same name, its codec.
func tsDeclare(def *plan.Def) (shape, codec string) {
	p, t := &printer{}, def.Type
	p.tsDoc("", tsText(def), tsDeprecated(t.Schema))
	switch {
	case t.Kind == plan.Object && len(t.Fields) > 0:
		p.f("export interface %s {", def.Name)
		for _, f := range t.Fields {
			mark := ""
			if !f.Required {
				mark = "?"
			}
			p.tsDoc("  ", f.Doc+tsBounds(f.Type), tsDeprecated(f.Schema))
			p.f("  readonly %s%s: %s;", tsKey(f.JSON), mark, tsShape(f.Type))
		}
		p.f("}")
	case t.Kind == plan.Object:
		p.f("export type %s = Readonly<Record<string, never>>;", def.Name)
	default:
		p.f("export type %s = %s;", def.Name, tsShape(t))
	}
	return p.String(), fmt.Sprintf("export const %s: Codec<%s> = %s;", def.Name, def.Name, tsDefCodec(def))
}

func tsText(def *plan.Def) string {
	if text := def.Type.Schema.Description; text != "" {
		return text
	}
	return def.Name + " has no name of its own in the schema."
}

func tsDeprecated(s *load.Schema) string {
	if s.Deprecated {
		return "@deprecated Kept for older gateways."
	}
	return ""
}

// tsBounds returns the rules of a value, which this side does not check, in brackets.
func tsBounds(t *plan.Type) string {
	if text := bounds(t); text != "" {
		return " (" + text + ")"
	}
	return ""
}

// tsShape returns the TypeScript type of a value.
func tsShape(t *plan.Type) string {
	switch t.Kind {
	case plan.Ref:
		return t.To.Name
	case plan.Literal:
		return t.Schema.Const.JSON()
	case plan.String:
		return "string"
	case plan.Integer:
		return "Int64"
	case plan.Number:
		return "number"
	case plan.Boolean:
		return "boolean"
	case plan.Array:
		elem := tsShape(t.Elem)
		if strings.Contains(elem, " ") {
			elem = "(" + elem + ")"
		}
		return "readonly " + elem + "[]"
	case plan.Map:
		return "Readonly<Record<string, " + tsShape(t.Elem) + ">>"
	case plan.Nullable:
		return tsShape(t.Elem) + " | null"
	case plan.Enum:
		return "Open<" + strings.Join(tsValues(t), " | ") + ">"
	case plan.Union:
		var names []string
		for _, v := range t.Variants {
			names = append(names, v.To.Name)
		}
		if t.Discriminator != "" {
			names = append(names, fmt.Sprintf("Unknown<%s>", load.Quote(t.Discriminator)))
		}
		return strings.Join(names, " | ")
	}
	return "JSONValue"
}

func tsValues(t *plan.Type) []string {
	var list []string
	for _, v := range t.Values {
		list = append(list, load.Quote(v.Value))
	}
	return list
}

// tsDefCodec returns the codec of a definition. An object's is checked against its
// interface, member by member, by the compiler.
func tsDefCodec(def *plan.Def) string {
	if def.Type.Kind == plan.Object {
		return tsObject(def)
	}
	return tsCodec(def.Type)
}

// tsCodec returns the codec of a value. A name is looked up late, since it may be
// declared further down or in a file that imports this one.
func tsCodec(t *plan.Type) string {
	switch t.Kind {
	case plan.Ref:
		return "ref(() => " + t.To.Name + ")"
	case plan.Literal:
		return "literal(" + t.Schema.Const.JSON() + ")"
	case plan.String:
		return "string"
	case plan.Integer:
		return "integer"
	case plan.Number:
		return "number"
	case plan.Boolean:
		return "boolean"
	case plan.Array:
		return "array(" + tsCodec(t.Elem) + ")"
	case plan.Map:
		return "record(" + tsCodec(t.Elem) + ")"
	case plan.Nullable:
		return "nullable(" + tsCodec(t.Elem) + ")"
	case plan.Enum:
		return "openEnum(" + strings.Join(tsValues(t), ", ") + ")"
	case plan.Union:
		return tsUnion(t)
	}
	return "json"
}

func tsObject(def *plan.Def) string {
	t := def.Type
	var b strings.Builder
	b.WriteString("object<" + def.Name + ">({")
	for _, f := range t.Fields {
		one := tsCodec(f.Type)
		if !f.Required {
			one = "optional(" + one + ")"
		}
		b.WriteString("\n  " + tsKey(f.JSON) + ": " + one + ",")
	}
	if len(t.Fields) > 0 {
		b.WriteString("\n")
	}
	b.WriteString("}")
	if t.Open {
		b.WriteString(", true")
	}
	return b.String() + ")"
}

func tsUnion(t *plan.Type) string {
	var names, list []string
	for _, v := range t.Variants {
		names = append(names, v.To.Name)
		if t.Discriminator == "" {
			list = append(list, "\n  "+"ref(() => "+v.To.Name+"),")
		} else {
			list = append(list, "\n  "+tsKey(v.Tag)+": ref(() => "+v.To.Name+"),")
		}
	}
	all := strings.Join(names, " | ")
	if t.Discriminator == "" {
		return "either<" + all + ">(" + strings.Join(list, "") + "\n)"
	}
	tag := load.Quote(t.Discriminator)
	return "tagged<" + tag + ", " + all + ">(" + tag + ", {" + strings.Join(list, "") + "\n})"
}
