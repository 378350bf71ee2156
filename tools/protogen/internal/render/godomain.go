package render

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/coderclaw/gateway/tools/protogen/internal/plan"
)

// goDomain renders what people read of a domain: types, descriptors, the service
// interface and its Mount.
func goDomain(pkg *plan.Package, d *plan.Domain, structs map[string]string) ([]byte, error) {
	p := goFile(d.File.Name, "context", wirePath)
	for _, def := range d.Types {
		p.doc(typeDoc(def))
		if text, ok := structs[def.Name]; ok {
			p.WriteString(text)
		} else {
			goOther(p, def)
		}
		p.f("")
	}
	for _, m := range d.Methods {
		goMethod(p, d, m)
	}
	for _, e := range d.Events {
		goEvent(p, d, e)
	}
	if len(d.Methods) > 0 && !d.Own {
		goService(p, d)
	}
	if d.Name == tableDomain(pkg) {
		goTables(p, pkg)
	}
	if len(pkg.Errors) > 0 && len(d.File.Errors) > 0 {
		goCatalogue(p, pkg)
	}
	return p.done()
}

func typeDoc(def *plan.Def) string {
	text := def.Type.Schema.Description
	if text == "" {
		text = def.Name + " has no name of its own in the schema."
	}
	if def.Type.Schema.Deprecated {
		text += "\n\nDeprecated: kept for older clients."
	}
	return text
}

// goOther declares the kinds that are neither struct nor enum.
func goOther(p *printer, def *plan.Def) {
	if def.Type.Kind != plan.Union {
		p.f("type %s %s", def.Name, underlying(def.Type))
		return
	}
	p.f("//\n// Exactly one member is set.")
	p.f("type %s struct {", def.Name)
	for _, v := range def.Type.Variants {
		p.f("%s *%s", v.To.Name, v.To.Name)
	}
	p.f("// Other is a variant that this version does not know; only open decoding sets it.")
	p.f("Other wire.Raw")
	p.f("}")
}

func goMethod(p *printer, d *plan.Domain, m *plan.Method) {
	p.f("// Method%s describes %s: %s", m.GoName, m.Name, strings.Join(wrap(m.Doc, 90), "\n// "))
	if m.Ack != nil {
		p.f("var Method%s = wire.StagedMethod[%s, %s, %s]{", m.GoName, m.Params.Name, m.Ack.Name, m.Result.Name)
	} else {
		p.f("var Method%s = wire.Method[%s, %s]{", m.GoName, m.Params.Name, m.Result.Name)
	}
	p.f("MethodInfo: %s,", methodInfo(d, m))
	if m.Lenient {
		p.f("Params: wire.Codec[%s]{Decode: Decode%sLenient, DecodeOpen: Decode%sLenient, Append: append%s},",
			m.Params.Name, m.Params.Name, m.Params.Name, m.Params.Name)
	} else {
		p.f("Params: Codec%s,", m.Params.Name)
	}
	if m.Ack != nil {
		p.f("Ack: Codec%s,", m.Ack.Name)
	}
	p.f("Result: Codec%s,", m.Result.Name)
	p.f("}\n")
}

func methodInfo(d *plan.Domain, m *plan.Method) string {
	idempotency := m.Idempotency
	if idempotency == "none" {
		idempotency = ""
	}
	return fmt.Sprintf("wire.MethodInfo{Name: %q, Domain: %q, Role: %q, Scope: %q, Idempotency: %q, Replay: %q, Staged: %t, Listed: %t, Since: %q, Doc: %s}",
		m.Name, d.Name, m.Role, m.Scope, idempotency, m.Replay, m.Ack != nil, m.Listed, m.Since, strconv.Quote(m.Doc))
}

func goEvent(p *printer, d *plan.Domain, e *plan.Event) {
	p.f("// Event%s describes %s: %s", e.GoName, e.Name, strings.Join(wrap(e.Doc, 90), "\n// "))
	p.f("var Event%s = wire.Event[%s]{", e.GoName, e.Payload.Name)
	p.f("EventInfo: %s,", eventInfo(d, e))
	p.f("Payload: Codec%s,", e.Payload.Name)
	p.f("}\n")
}

func eventInfo(d *plan.Domain, e *plan.Event) string {
	return fmt.Sprintf("wire.EventInfo{Name: %q, Domain: %q, Audience: %#v, StateVersion: %t, Droppable: %q, Since: %q, Doc: %s}",
		e.Name, d.Name, e.Audience, e.StateVersion, e.Droppable, e.Since, strconv.Quote(e.Doc))
}

func goService(p *printer, d *plan.Domain) {
	p.f("// %sService does what the %s methods promise. Handlers run concurrently.", d.GoName, d.Name)
	p.f("type %sService interface {", d.GoName)
	for _, m := range d.Methods {
		p.doc(m.GoName + " handles " + m.Name + ": " + m.Doc)
		if m.Ack != nil {
			p.f("%s(ctx context.Context, peer *wire.Peer, params %s, ack func(%s) error) (%s, error)", m.GoName, m.Params.Name, m.Ack.Name, m.Result.Name)
		} else {
			p.f("%s(ctx context.Context, peer *wire.Peer, params %s) (%s, error)", m.GoName, m.Params.Name, m.Result.Name)
		}
	}
	p.f("}\n")
	p.f("// Mount%s binds every %s method to s.", d.GoName, d.Name)
	p.f("func Mount%s(r wire.Registry, s %sService) {", d.GoName, d.GoName)
	for _, m := range d.Methods {
		call := "Handle"
		if m.Ack != nil {
			call = "HandleStaged"
		}
		p.f("wire.%s(r, Method%s, s.%s)", call, m.GoName, m.GoName)
	}
	p.f("}")
}
