package render

import (
	"strings"

	"github.com/coderclaw/gateway/tools/protogen/internal/plan"
)

// swiftEnum declares a set of words as an open enum.
func swiftEnum(p *swiftPrinter, def *plan.Def) {
	values := def.Type.Values
	open := swiftOpenCase(values)
	p.f("public enum %s: OpenEnum {", def.Name)
	for _, v := range values {
		p.f("/// The word `%s`.", v.Value)
		p.f("case %s", swiftIdent(swiftCamel(v.Value)))
		p.f("")
	}
	p.f("/// A word that this version of the protocol does not name.")
	p.f("case %s(String)", open)
	p.f("")
	p.f("/// Takes any word.")
	p.f("public init(rawValue: String) {")
	p.f("switch rawValue {")
	for _, v := range values {
		p.sw("case %s: self = .%s", swiftQuote(v.Value), swiftIdent(swiftCamel(v.Value)))
	}
	p.sw("default: self = .%s(rawValue)", open)
	p.f("}")
	p.f("}")
	p.f("")
	p.f("/// The word on the wire.")
	p.f("public var rawValue: String {")
	p.f("switch self {")
	for _, v := range values {
		p.sw("case .%s: %s", swiftIdent(swiftCamel(v.Value)), swiftQuote(v.Value))
	}
	p.sw("case .%s(let word): word", open)
	p.f("}")
	p.f("}")
	p.f("}")
}

// swiftUnion declares a choice between objects.
func swiftUnion(p *swiftPrinter, def *plan.Def) {
	t := def.Type
	names := swiftVariants(t)
	indirect := ""
	if holdsItself(def) {
		indirect = "indirect "
	}
	p.f("public %senum %s: Codable, Sendable, Hashable {", indirect, def.Name)
	for i, v := range t.Variants {
		summary, _, _ := strings.Cut(v.To.Type.Schema.Description, ". ")
		p.doc(strings.TrimSuffix(summary, ".") + ".")
		p.f("case %s(%s)", swiftIdent(names[i]), v.To.Name)
		p.f("")
	}
	if t.Discriminator == "" {
		swiftTried(p, def, names)
	} else {
		swiftTagged(p, def, names)
	}
	p.f("")
	p.f("public func encode(to encoder: any Encoder) throws {")
	p.f("switch self {")
	for i := range t.Variants {
		p.sw("case .%s(let value): try value.encode(to: encoder)", swiftIdent(names[i]))
	}
	if t.Discriminator != "" {
		p.sw("case .unknown(_, let value): try value.encode(to: encoder)")
	}
	p.f("}")
	p.f("}")
	p.f("}")
}

// swiftTagged renders the choice by a member's value. A variant of a later version is
// kept as it came.
func swiftTagged(p *swiftPrinter, def *plan.Def, names []string) {
	t := def.Type
	p.f("/// A variant that this version of the protocol does not name, with all its JSON.")
	p.f("case unknown(%s: String, value: JSONValue)", swiftIdent(swiftProperty(t.Discriminator)))
	p.f("")
	p.f("public init(from decoder: any Decoder) throws {")
	p.f("let tag = try decoder.container(keyedBy: AnyKey.self).decode(String.self, forKey: AnyKey(%s))", swiftQuote(t.Discriminator))
	p.f("switch tag {")
	for i, v := range t.Variants {
		p.sw("case %s: self = .%s(try %s(from: decoder))", swiftQuote(v.Tag), swiftIdent(names[i]), v.To.Name)
	}
	p.sw("default: self = .unknown(%s: tag, value: try JSONValue(from: decoder))", swiftIdent(swiftProperty(t.Discriminator)))
	p.f("}")
	p.f("}")
}

// swiftTried renders the choice by what fits: the first variant that has all the members
// and no unknown one, else the first that can be read.
func swiftTried(p *swiftPrinter, def *plan.Def, names []string) {
	t := def.Type
	p.f("public init(from decoder: any Decoder) throws {")
	p.f("let members = try decoder.container(keyedBy: AnyKey.self)")
	for _, exact := range []bool{true, false} {
		for i, v := range t.Variants {
			if !exact && (v.To.Type.Kind != plan.Object || v.To.Type.Open) {
				continue // read the same way before
			}
			guard := swiftGuard(v.To.Type, exact)
			if guard == "" {
				p.f("if let value = try? %s(from: decoder) {", v.To.Name)
			} else {
				p.f("if %s, let value = try? %s(from: decoder) {", guard, v.To.Name)
			}
			p.f("self = .%s(value)", swiftIdent(names[i]))
			p.f("return")
			p.f("}")
		}
	}
	p.f("throw DecodingError.noVariant(%s.self, decoder)", def.Name)
	p.f("}")
}

// swiftGuard returns the condition under which a variant is worth reading.
func swiftGuard(t *plan.Type, exact bool) string {
	if t.Kind != plan.Object {
		return ""
	}
	var required, known []string
	for _, f := range t.Fields {
		known = append(known, swiftQuote(f.JSON))
		if f.Required {
			required = append(required, swiftQuote(f.JSON))
		}
	}
	guard := "members.fits(required: [" + strings.Join(required, ", ") + "]"
	if exact && !t.Open {
		guard += ", known: [" + strings.Join(known, ", ") + "]"
	}
	return guard + ")"
}

// holdsItself reports whether a union is reached again from its variants without an
// array or a map between: such an enum needs a box.
func holdsItself(def *plan.Def) bool {
	seen := map[*plan.Def]bool{}
	var reaches func(t *plan.Type) bool
	reaches = func(t *plan.Type) bool {
		switch t.Kind {
		case plan.Nullable:
			return reaches(t.Elem)
		case plan.Ref:
			if t.To == def {
				return true
			}
			if seen[t.To] {
				return false
			}
			seen[t.To] = true
			return reaches(t.To.Type)
		}
		for _, f := range t.Fields {
			if reaches(f.Type) {
				return true
			}
		}
		for _, v := range t.Variants {
			if v.To == def || reaches(v.To.Type) {
				return true
			}
		}
		return false
	}
	return reaches(def.Type)
}
