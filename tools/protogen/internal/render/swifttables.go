package render

import (
	"strings"

	"github.com/coderclaw/gateway/tools/protogen/internal/plan"
)

// swiftProtocol renders what spans the domains: the events.
func swiftProtocol(pkg *plan.Package) []byte {
	p := swiftFile("*.json")
	events := map[string]*plan.Event{}
	for _, d := range pkg.Domains {
		for _, e := range d.Events {
			events[e.Name] = e
		}
	}
	p.f("")
	p.doc("What happened, with a payload of the type that the event's name tells.")
	p.f("public enum GatewayEvent: Sendable, Hashable {")
	for _, name := range sorted(events) {
		// No attribute on a deprecated event: the switches below would warn.
		p.doc(events[name].Doc)
		if events[name].Value.Get("x-deprecated") != nil {
			p.doc("\n> Warning: Deprecated, kept for older gateways.")
		}
		p.f("case %s(%s)", swiftIdent(swiftCamel(name)), events[name].Payload.Name)
		p.f("")
	}
	p.f("/// An event that this version of the protocol does not name, with its payload as it came.")
	p.f("case unknown(name: String, payload: JSONValue?)")
	p.f("")
	p.f("/// Reads the payload of the event called name.")
	p.f("///")
	p.f("/// - Throws: `DecodingError` when the payload is missing or has another shape.")
	p.f("public init(name: String, payload: JSONValue?) throws {")
	p.f("let value = payload ?? .null")
	p.f("switch name {")
	for _, name := range sorted(events) {
		p.sw("case %s: self = .%s(try value.decode(as: %s.self, at: .payload))", swiftQuote(name), swiftIdent(swiftCamel(name)), events[name].Payload.Name)
	}
	p.sw("default: self = .unknown(name: name, payload: payload)")
	p.f("}")
	p.f("}")
	p.f("")
	p.f("/// The name of the event on the wire.")
	p.f("public var name: String {")
	p.f("switch self {")
	for _, name := range sorted(events) {
		p.sw("case .%s: %s", swiftIdent(swiftCamel(name)), swiftQuote(name))
	}
	p.sw("case .unknown(let name, _): name")
	p.f("}")
	p.f("}")
	p.f("}")
	return p.Bytes()
}

// swiftConstants renders version, roles and scopes.
func swiftConstants(p *swiftPrinter, pkg *plan.Package) {
	p.f("")
	p.f("/// The protocol that this package speaks.")
	p.f("public enum GatewayProtocol {")
	p.f("/// Its version, for the range in the handshake.")
	p.f("public static let version: Int64 = %s", pkg.Protocol)
	p.f("}")
	swiftNamespace(p, "GatewayRole", "The roles of a peer.", pkg.Roles, func() {})
	swiftNamespace(p, "GatewayScope", "The scopes of an operator.", pkg.Scopes, func() { swiftAllows(p, pkg) })
}

// swiftNamespace renders names of the wire as constants.
func swiftNamespace(p *swiftPrinter, name, doc string, consts []*plan.Const, more func()) {
	if len(consts) == 0 {
		return
	}
	p.f("")
	p.doc(doc)
	p.f("public enum %s {", name)
	for i, c := range consts {
		if i > 0 {
			p.f("")
		}
		p.doc(c.Entry.Doc)
		p.deprecated(c.Entry.Value.Get("x-deprecated"))
		p.f("public static let %s = %s", swiftIdent(swiftCamel(c.Entry.Name)), swiftQuote(c.Entry.Name))
	}
	more()
	p.f("}")
}

// swiftAllows renders what scopes imply.
func swiftAllows(p *swiftPrinter, pkg *plan.Package) {
	p.f("")
	p.f("/// Reports whether a connection with these scopes may do what needs the scope need, nil")
	p.f("/// being no scope at all.")
	p.f("public static func allows(_ have: [String], need: String?) -> Bool {")
	p.f("guard let need else { return true }")
	p.f("return have.contains { scope in")
	p.depth++
	p.f("switch scope {")
	p.sw("case need: true")
	for _, s := range pkg.Scopes {
		implied, all := closure(pkg.Scopes, s.Entry.Name)
		if all {
			p.sw("case Self.%s: true", swiftIdent(swiftCamel(s.Entry.Name)))
		} else if len(implied) > 0 {
			var names []string
			for _, other := range pkg.Scopes {
				for _, name := range implied {
					if other.GoName == name {
						names = append(names, "Self."+swiftIdent(swiftCamel(other.Entry.Name)))
					}
				}
			}
			p.sw("case Self.%s: [%s].contains(need)", swiftIdent(swiftCamel(s.Entry.Name)), strings.Join(names, ", "))
		}
	}
	p.sw("default: false")
	p.f("}")
	p.f("}")
	p.f("}")
}

// swiftCatalogue renders the catalogue of errors.
func swiftCatalogue(p *swiftPrinter, pkg *plan.Package) {
	swiftNamespace(p, "GatewayErrorCode", "The codes of `error.code`.", pkg.Errors, func() {})
	swiftNamespace(p, "GatewayErrorDetail", "The codes of `error.details.code`.", pkg.Details, func() {})
	p.f("")
	p.f("extension GatewayClose {")
	for i, c := range pkg.Closes {
		if i > 0 {
			p.f("")
		}
		p.doc(c.Entry.Doc)
		p.f("public static let %s = GatewayClose(code: %s, reason: %s, isRetryable: %t)",
			swiftIdent(swiftCamel(c.Entry.Name)), orZero(c.CloseCode), swiftQuote(c.Reason), retryable(c))
	}
	p.f("}")
	p.f("")
	p.f("extension GatewayErrorInfo {")
	p.f("/// The whole catalogue: codes, then details codes, then closes, each sorted by name.")
	p.f("public static let catalogue: [GatewayErrorInfo] = [")
	for _, table := range [][]*plan.Const{pkg.Errors, pkg.Details, pkg.Closes} {
		for _, c := range table {
			swiftErrorInfo(p, c)
		}
	}
	p.f("]")
	p.f("}")
}

func swiftErrorInfo(p *swiftPrinter, c *plan.Const) {
	e := c.Entry
	p.f("GatewayErrorInfo(")
	p.f("name: %s,", swiftQuote(e.Name))
	p.f("meaning: %s,", swiftQuote(e.Doc))
	p.f("cause: %s,", swiftQuote(e.Cause))
	p.f("fix: %s,", swiftQuote(e.Fix))
	p.f("isRetryable: %t,", retryable(c))
	p.f("error: %s, nextStep: %s, closeCode: %s", orNil(e.Error), orNil(e.NextStep), strings.Trim(orNil(c.CloseCode), `"`))
	p.f("),")
}

func retryable(c *plan.Const) bool { return c.Entry.Retryable != nil && *c.Entry.Retryable }

func orNil(s string) string {
	if s == "" {
		return "nil"
	}
	return swiftQuote(s)
}

func orZero(s string) string {
	if s == "" {
		return "0"
	}
	return s
}

// swiftDefinitions renders the table in which tests find a type by its name in the
// schema.
func swiftDefinitions(pkg *plan.Package) []byte {
	p := swiftFile("*.json")
	p.f("")
	p.f("import CoderClawProtocol")
	p.f("")
	p.f("/// The type of every definition of the schema.")
	p.f("let definitions: [String: any (Codable & Sendable).Type] = [")
	names := map[string]bool{}
	for _, d := range pkg.Domains {
		for _, def := range d.Types {
			names[def.Name] = true
		}
	}
	for _, name := range sorted(names) {
		p.f("%s: %s.self,", swiftQuote(name), name)
	}
	p.f("]")
	return p.Bytes()
}
