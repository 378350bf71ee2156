package render

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/coderclaw/gateway/tools/protogen/internal/plan"
)

// tableDomain is the domain whose file states the protocol's version, roles and
// scopes.
func tableDomain(pkg *plan.Package) string {
	for _, d := range pkg.Domains {
		if d.Own {
			return d.Name
		}
	}
	return ""
}

// goTables renders version, roles and scopes.
func goTables(p *printer, pkg *plan.Package) {
	p.f("// Version is the protocol version that this package speaks.")
	p.f("const Version = %s\n", pkg.Protocol)
	goConsts(p, "The roles of a peer.", pkg.Roles)
	goConsts(p, "The scopes of an operator.", pkg.Scopes)
	p.f("// ScopeAllows reports whether a peer that has these scopes may do what needs need.")
	p.f("// An empty need is always met.")
	p.f("func ScopeAllows(have []string, need string) bool {")
	p.f("if need == \"\" { return true }")
	p.f("for _, h := range have {")
	p.f("if h == need { return true }")
	p.f("switch h {")
	for _, s := range pkg.Scopes {
		implied, all := closure(pkg.Scopes, s.Entry.Name)
		switch {
		case all:
			p.f("case %s: return true", s.GoName)
		case len(implied) > 0:
			p.f("case %s:", s.GoName)
			p.f("switch need { case %s: return true }", strings.Join(implied, ", "))
		}
	}
	p.f("}\n}\nreturn false\n}\n")
}

// closure returns the constants of all scopes that name implies, and whether it
// implies every one.
func closure(scopes []*plan.Const, name string) (implied []string, all bool) {
	seen := map[string]bool{name: true}
	queue := []string{name}
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		for _, s := range scopes {
			if s.Entry.Name != next {
				continue
			}
			for _, i := range s.Entry.Implies {
				if i == "*" {
					return nil, true
				}
				if !seen[i] {
					seen[i] = true
					queue = append(queue, i)
				}
			}
		}
	}
	for _, s := range scopes {
		if seen[s.Entry.Name] && s.Entry.Name != name {
			implied = append(implied, s.GoName)
		}
	}
	return implied, false
}

func goConsts(p *printer, doc string, consts []*plan.Const) {
	p.doc(doc)
	p.f("const (")
	for _, c := range consts {
		p.doc(c.GoName + ": " + c.Entry.Doc)
		p.f("%s = %q", c.GoName, c.Entry.Name)
	}
	p.f(")\n")
}

// packageDoc is the comment of the generated package.
const packageDoc = `Package protocol is the protocol in Go: types, decoding with validation, encoding,
descriptors of methods and events, service interfaces with their Mount, a typed client,
and the names of roles, scopes and error codes. All of it is generated from schema/.

It holds no behaviour: it refuses what the schema refuses and nothing else. Decode
functions are strict, as the gateway is with requests, and tell every broken rule in
the words, paths and order that clients know. Decode...Open functions drop unknown
members and keep unknown enum values, as a client does with results and events.
Decode...Lenient functions, for the methods that were never validated, accept
anything and take what does not fit for absent.

What surprises: a member with a single permitted value (a const) is written with
that value whatever the field holds. Decoded strings and wire.Raw values alias the
bytes that were decoded, so those must not change, and a short string kept for long
should be cloned. Everything here may be used by any number of goroutines at once.`

// goPackage renders what spans the domains: Mount, the lists, validation by name.
func goPackage(pkg *plan.Package) ([]byte, error) {
	p := goFile("*.json", "fmt", wirePath)
	p.before("package protocol", packageDoc)
	p.f("// Mount binds every method of every domain. A domain without a service does not compile.")
	var params []string
	for _, d := range pkg.Domains {
		if len(d.Methods) > 0 && !d.Own {
			params = append(params, paramName(d.GoName)+" "+d.GoName+"Service")
		}
	}
	p.f("func Mount(r wire.Registry, %s) {", strings.Join(params, ", "))
	for _, d := range pkg.Domains {
		if len(d.Methods) > 0 && !d.Own {
			p.f("Mount%s(r, %s)", d.GoName, paramName(d.GoName))
		}
	}
	p.f("}\n")
	goInfos(p, pkg)
	goByName(p, pkg)
	return p.done()
}

func paramName(goName string) string { return strings.ToLower(goName[:1]) + goName[1:] }

func goInfos(p *printer, pkg *plan.Package) {
	methods, events := map[string]string{}, map[string]string{}
	for _, d := range pkg.Domains {
		for _, m := range d.Methods {
			methods[m.Name] = "Method" + m.GoName + ".MethodInfo"
		}
		for _, e := range d.Events {
			events[e.Name] = "Event" + e.GoName + ".EventInfo"
		}
	}
	p.f("// Methods returns every method, sorted by name, in a fresh slice.")
	p.f("func Methods() []wire.MethodInfo {\nreturn []wire.MethodInfo{")
	for _, name := range sorted(methods) {
		p.f("%s,", methods[name])
	}
	p.f("}\n}\n")
	p.f("// Events returns every event, sorted by name, in a fresh slice.")
	p.f("func Events() []wire.EventInfo {\nreturn []wire.EventInfo{")
	for _, name := range sorted(events) {
		p.f("%s,", events[name])
	}
	p.f("}\n}\n")
}

func goByName(p *printer, pkg *plan.Package) {
	defs := map[string]string{}
	for _, d := range pkg.Domains {
		for _, def := range d.Types {
			if !def.Inline {
				defs[def.Name] = def.Name
			}
		}
	}
	p.f("// Definitions returns the name of every definition of the schema, sorted, in a fresh slice.")
	p.f("func Definitions() []string {\nreturn []string{")
	for _, name := range sorted(defs) {
		p.f("%s,", strconv.Quote(name))
	}
	p.f("}\n}\n")
	p.f("// Validate checks raw against the definition called def, strictly, as the gateway checks a request.")
	p.f("// The error is a wire.ValidationErrors, a *wire.SyntaxError, or tells that there is no such definition.")
	p.f("func Validate(def string, raw []byte) error {")
	p.f("var err error")
	p.f("switch def {")
	for _, name := range sorted(defs) {
		p.f("case %q: _, err = Decode%s(raw)", name, name)
	}
	p.f("default: err = fmt.Errorf(\"no definition is called %%q\", def)")
	p.f("}\nreturn err\n}\n")
	p.f("// rule finds the rules of a definition by name: the rules refer to each other so.")
	p.f("func rule(def string) *wire.Rule {")
	p.f("switch def {")
	for _, name := range sorted(defs) {
		p.f("case %q: return &rule%s", name, name)
	}
	p.f("}\nreturn nil\n}\n")
}

// goClient renders the typed client.
func goClient(pkg *plan.Package) ([]byte, error) {
	p := goFile("*.json", "context", wirePath)
	p.f("// Client calls the methods of a gateway with typed params and results. Results are decoded open:")
	p.f("// members that this version does not know are dropped. It is as safe for concurrent use as its Caller.")
	p.f("type Client struct{ Caller wire.Caller }\n")
	for _, d := range pkg.Domains {
		if d.Own {
			continue
		}
		for _, m := range d.Methods {
			p.doc(m.GoName + " calls " + m.Name + ": " + m.Doc)
			if m.Ack != nil {
				p.f("//\n// onAck, which may be nil, receives the first of the two responses.")
				p.f("func (c Client) %s(ctx context.Context, params %s, onAck func(%s)) (%s, error) {", m.GoName, m.Params.Name, m.Ack.Name, m.Result.Name)
				p.f("return wire.CallStaged(ctx, c.Caller, Method%s, params, onAck)", m.GoName)
			} else {
				p.f("func (c Client) %s(ctx context.Context, params %s) (%s, error) {", m.GoName, m.Params.Name, m.Result.Name)
				p.f("return wire.Call(ctx, c.Caller, Method%s, params)", m.GoName)
			}
			p.f("}\n")
		}
	}
	return p.done()
}

// goTypeTable renders the types by name, for the test that reflects all of them. It is
// another module's, because the library that reflects stays out of this one.
func goTypeTable(pkg *plan.Package) ([]byte, error) {
	p := goFile("*.json", "reflect", "github.com/coderclaw/gateway/gen/protocol")
	names := map[string]bool{}
	for _, d := range pkg.Domains {
		for _, def := range d.Types {
			names[def.Name] = true
		}
	}
	p.f("// types holds every generated type, also those that the schema does not name.")
	p.f("var types = map[string]reflect.Type{")
	for _, name := range sorted(names) {
		p.f("%q: reflect.TypeFor[protocol.%s](),", name, name)
	}
	p.f("}")
	text, err := p.done()
	return bytes.Replace(text, []byte("package protocol\n"), []byte("package oracle\n"), 1), err
}

// goCodecTable renders the codecs by name, for tests that go through all of them.
func goCodecTable(pkg *plan.Package) ([]byte, error) {
	p := goFile("*.json", "github.com/coderclaw/gateway/gen/protocol")
	defs := map[string]string{}
	for _, d := range pkg.Domains {
		for _, def := range d.Types {
			if !def.Inline {
				defs[def.Name] = def.Name
			}
		}
	}
	p.f("// codecs goes through every definition: each entry decodes, encodes and compares.")
	p.f("var codecs = map[string]anyCodec{")
	for _, name := range sorted(defs) {
		p.f("%q: of(protocol.Codec%s),", name, name)
	}
	p.f("}")
	text, err := p.done()
	return bytes.Replace(text, []byte("package protocol\n"), []byte("package protocol_test\n"), 1), err
}
