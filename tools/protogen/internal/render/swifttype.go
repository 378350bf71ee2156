package render

import (
	"strings"

	"github.com/coderclaw/gateway/tools/protogen/internal/load"
	"github.com/coderclaw/gateway/tools/protogen/internal/plan"
)

// swiftType declares one definition.
func swiftType(p *swiftPrinter, def *plan.Def) {
	text := def.Type.Schema.Description
	if text == "" {
		text = def.Name + " has no name of its own in the schema."
	}
	// No attribute: every use inside this package would warn, and nobody outside could
	// do without the type while the member that holds it is there.
	if def.Type.Schema.Deprecated {
		text += "\n\n> Warning: Deprecated, kept for older gateways."
	}
	p.doc(text)
	switch def.Type.Kind {
	case plan.Object:
		swiftStruct(p, def)
	case plan.Enum:
		swiftEnum(p, def)
	case plan.Union:
		swiftUnion(p, def)
	default:
		p.f("public typealias %s = %s", def.Name, swiftSpell(def.Type))
	}
}

// swiftSpell returns the type of a value.
func swiftSpell(t *plan.Type) string {
	switch t.Kind {
	case plan.Ref:
		return t.To.Name
	case plan.Literal:
		return swiftSpell(t.Elem)
	case plan.String:
		return "String"
	case plan.Integer:
		return "Int64"
	case plan.Number:
		return "Double"
	case plan.Boolean:
		return "Bool"
	case plan.Array:
		return "[" + swiftSpell(t.Elem) + "]"
	case plan.Map:
		return "[String: " + swiftSpell(t.Elem) + "]"
	case plan.Nullable:
		return swiftSpell(t.Elem) + "?"
	}
	return "JSONValue"
}

// meant follows references that are only another name.
func meant(t *plan.Type) *plan.Type {
	for t.Kind == plan.Ref && t.To.Type.Kind != plan.Object && t.To.Type.Kind != plan.Enum && t.To.Type.Kind != plan.Union {
		t = t.To.Type
	}
	return t
}

// swiftHow is how a property tells that its member is there.
type swiftHow uint8

const (
	swiftPlain         swiftHow = iota // required: the type itself
	swiftRequiredNull                  // required and nullable: nil is null
	swiftOptional                      // optional: nil is absent
	swiftOptionalNull                  // optional and nullable: Nullable<T>?
	swiftOptionalAny                   // optional and untyped: null is a JSONValue
	swiftConstant                      // required constant: not stored
	swiftMaybeConstant                 // optional constant: nil is absent
)

func swiftPresence(f *plan.Field) swiftHow {
	t := meant(f.Type)
	switch {
	case t.Kind == plan.Literal && f.Required:
		return swiftConstant
	case t.Kind == plan.Literal:
		return swiftMaybeConstant
	case t.Kind == plan.Nullable && f.Required:
		return swiftRequiredNull
	case t.Kind == plan.Nullable:
		return swiftOptionalNull
	case f.Required:
		return swiftPlain
	case t.Kind == plan.Untyped || t.Kind == plan.Checked:
		return swiftOptionalAny
	}
	return swiftOptional
}

// swiftField is a property with all that its lines need.
type swiftField struct {
	*plan.Field
	how        swiftHow
	name       string // as declared, in backticks where that is needed
	key        string // name of its coding key
	stored     string // name of the stored property
	spell      string // its type
	elem       string // the type without what makes it optional
	deprecated *load.Value
}

func swiftFields(t *plan.Type) []*swiftField {
	var list []*swiftField
	for _, field := range t.Fields {
		f := &swiftField{Field: field, how: swiftPresence(field), name: swiftProperty(field.JSON), deprecated: deprecation(field.Schema)}
		f.elem = swiftSpell(field.Type)
		f.spell = f.elem
		switch f.how {
		case swiftOptional, swiftOptionalAny, swiftMaybeConstant:
			f.spell = f.elem + "?"
		case swiftOptionalNull:
			f.elem = "Nullable<" + swiftSpell(meant(field.Type).Elem) + ">"
			f.spell = f.elem + "?"
		}
		f.key = f.name
		f.stored = f.name
		if f.deprecated != nil && f.how != swiftConstant {
			// The initializer and the coding speak of the stored property, so that
			// only the users of the public one are warned.
			f.stored = "_" + f.name
			f.key = f.stored
		}
		f.name, f.stored, f.key = swiftIdent(f.name), swiftIdent(f.stored), swiftIdent(f.key)
		list = append(list, f)
	}
	return list
}

// swiftStruct declares an object. Coding is left to the compiler wherever what it makes
// is what the schema says.
func swiftStruct(p *swiftPrinter, def *plan.Def) {
	fields := swiftFields(def.Type)
	keys, coding := len(fields) == 0, len(fields) == 0
	for _, f := range fields {
		keys = keys || strings.Trim(f.key, "`") != f.JSON
		coding = coding || f.how != swiftPlain && f.how != swiftOptional
	}
	p.f("public struct %s: Codable, Sendable, Hashable {", def.Name)
	for _, f := range fields {
		swiftVar(p, f)
	}
	swiftInit(p, fields)
	if keys || coding {
		swiftKeys(p, fields)
	}
	if coding {
		swiftDecode(p, fields)
		swiftEncode(p, fields)
	}
	p.f("}")
}

// swiftVar declares a property.
func swiftVar(p *swiftPrinter, f *swiftField) {
	text := f.Doc
	if f.Schema.Secret {
		text += "\n\n> Important: A secret. Keep it out of logs."
	}
	p.doc(text)
	p.deprecated(f.deprecated)
	switch {
	case f.how == swiftConstant:
		p.f("public var %s: %s { %s }", f.name, f.elem, swiftLiteral(f.Type))
	case f.stored != f.name:
		p.f("public var %s: %s {", f.name, f.spell)
		p.f("get { %s }", f.stored)
		p.f("set { %s = newValue }", f.stored)
		p.f("}")
		p.f("private var %s: %s", f.stored, f.spell)
	default:
		p.f("public var %s: %s", f.name, f.spell)
	}
	p.f("")
}

// swiftLiteral returns the only value of a constant.
func swiftLiteral(t *plan.Type) string {
	v := meant(t).Schema.Const
	if v.Kind == load.String {
		return swiftQuote(v.Text)
	}
	return v.JSON()
}

func swiftInit(p *swiftPrinter, fields []*swiftField) {
	var params []string
	for _, f := range fields {
		switch f.how {
		case swiftConstant:
		case swiftPlain, swiftRequiredNull:
			params = append(params, f.name+": "+f.spell)
		default:
			params = append(params, f.name+": "+f.spell+" = nil")
		}
	}
	p.f("/// Creates a value from its members.")
	line := "public init(" + strings.Join(params, ", ") + ")"
	switch {
	case len(params) == 0:
		p.f("public init() {}")
		return
	case len(line) < 100:
		p.f("%s {", line)
	default:
		p.f("public init(")
		for i, param := range params {
			if i < len(params)-1 {
				param += ","
			}
			p.f("%s", param)
		}
		p.f(") {")
	}
	for _, f := range fields {
		if f.how != swiftConstant {
			p.f("self.%s = %s", f.stored, f.name)
		}
	}
	p.f("}")
}

func swiftKeys(p *swiftPrinter, fields []*swiftField) {
	p.f("")
	if len(fields) == 0 {
		p.f("private enum CodingKeys: CodingKey {}")
		return
	}
	p.f("private enum CodingKeys: String, CodingKey {")
	for _, f := range fields {
		if strings.Trim(f.key, "`") == f.JSON {
			p.f("case %s", f.key)
		} else {
			p.f("case %s = %s", f.key, swiftQuote(f.JSON))
		}
	}
	p.f("}")
}

func swiftDecode(p *swiftPrinter, fields []*swiftField) {
	p.f("")
	p.f("public init(from decoder: any Decoder) throws {")
	if len(fields) == 0 {
		p.f("_ = try decoder.container(keyedBy: CodingKeys.self)")
		p.f("}")
		return
	}
	p.f("let members = try decoder.container(keyedBy: CodingKeys.self)")
	for _, f := range fields {
		switch f.how {
		case swiftConstant:
			p.f("try members.decodeConstant(%s, forKey: .%s)", swiftLiteral(f.Type), f.key)
		case swiftMaybeConstant:
			p.f("%s = try members.decodeConstantIfPresent(%s, forKey: .%s)", f.stored, swiftLiteral(f.Type), f.key)
		case swiftPlain, swiftRequiredNull:
			p.f("%s = try members.decode(%s.self, forKey: .%s)", f.stored, f.spell, f.key)
		case swiftOptional:
			p.f("%s = try members.decodeIfPresent(%s.self, forKey: .%s)", f.stored, f.elem, f.key)
		default:
			p.f("%s = try members.decodePresent(%s.self, forKey: .%s)", f.stored, f.elem, f.key)
		}
	}
	p.f("}")
}

func swiftEncode(p *swiftPrinter, fields []*swiftField) {
	p.f("")
	p.f("public func encode(to encoder: any Encoder) throws {")
	if len(fields) == 0 {
		p.f("_ = encoder.container(keyedBy: CodingKeys.self)")
		p.f("}")
		return
	}
	p.f("var members = encoder.container(keyedBy: CodingKeys.self)")
	for _, f := range fields {
		switch f.how {
		case swiftConstant:
			p.f("try members.encode(%s, forKey: .%s)", swiftLiteral(f.Type), f.key)
		case swiftPlain, swiftRequiredNull:
			p.f("try members.encode(%s, forKey: .%s)", f.stored, f.key)
		default:
			p.f("try members.encodeIfPresent(%s, forKey: .%s)", f.stored, f.key)
		}
	}
	p.f("}")
}
