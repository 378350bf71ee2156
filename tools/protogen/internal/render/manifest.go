package render

import (
	"strings"

	"github.com/coderclaw/gateway/tools/protogen/internal/load"
	"github.com/coderclaw/gateway/tools/protogen/internal/plan"
)

// manifest renders every method and event on a line of its own, sorted: the diff in
// which a reviewer sees what a change does to the protocol.
func manifest(pkg *plan.Package) []byte {
	methods, events := map[string]string{}, map[string]string{}
	for _, d := range pkg.Domains {
		for _, m := range d.Methods {
			methods[m.Name] = manifestMethod(d, m)
		}
		for _, e := range d.Events {
			events[e.Name] = manifestEvent(d, e)
		}
	}
	var b strings.Builder
	b.WriteString("{\n  \"protocol\": " + pkg.Protocol + ",\n")
	manifestTable(&b, "methods", methods)
	b.WriteString(",\n")
	manifestTable(&b, "events", events)
	b.WriteString("\n}\n")
	return []byte(b.String())
}

func manifestTable(b *strings.Builder, name string, lines map[string]string) {
	b.WriteString("  " + load.Quote(name) + ": {")
	for i, key := range sorted(lines) {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString("\n    " + load.Quote(key) + ": " + lines[key])
	}
	b.WriteString("\n  }")
}

func manifestMethod(d *plan.Domain, m *plan.Method) string {
	w := &objectWriter{}
	w.text("domain", d.Name)
	w.text("params", m.Params.Name)
	if m.Ack != nil {
		w.text("ack", m.Ack.Name)
	}
	w.text("result", m.Result.Name)
	for _, name := range []string{"role", "scope", "idempotency", "replay", "reply", "validation", "listed", "since", "stability", "x-deprecated", "x-removed"} {
		if v := m.Value.Get(name); v != nil {
			w.raw(name, v.JSON())
		}
	}
	return w.done()
}

func manifestEvent(d *plan.Domain, e *plan.Event) string {
	w := &objectWriter{}
	w.text("domain", d.Name)
	w.text("payload", e.Payload.Name)
	for _, name := range []string{"audience", "stateVersion", "droppable", "since", "x-deprecated", "x-removed"} {
		if v := e.Value.Get(name); v != nil {
			w.raw(name, v.JSON())
		}
	}
	return w.done()
}

// objectWriter writes a JSON object on one line.
type objectWriter struct{ strings.Builder }

func (w *objectWriter) text(name, value string) { w.raw(name, load.Quote(value)) }

func (w *objectWriter) raw(name, json string) {
	if w.Len() == 0 {
		w.WriteString("{")
	} else {
		w.WriteString(", ")
	}
	w.WriteString(load.Quote(name) + ": " + json)
}

func (w *objectWriter) done() string { return w.String() + "}" }
