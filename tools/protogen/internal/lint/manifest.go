package lint

import (
	"slices"
	"strings"

	"github.com/coderclaw/gateway/tools/protogen/internal/load"
)

// methods checks every x-methods entry.
func (h *house) methods() {
	first := map[string]load.Pos{}
	for _, f := range h.model.Files {
		for _, m := range f.Methods {
			if pos, twice := first[m.Name]; twice {
				h.Addf(m.Pos, "the method is already declared by %s", pos)
			}
			first[m.Name] = m.Pos
			h.method(m)
		}
	}
}

func (h *house) method(m *load.Method) {
	h.mark(m.Pos, "params", m.Params)
	h.mark(m.Pos, "result", m.Result)
	h.said(m.Result)
	h.oneOf(m.Pos, "reply", m.Reply, "once", "staged")
	switch {
	case m.Reply == "staged":
		h.mark(m.Pos, "ack", m.Ack)
		h.said(m.Ack)
	case m.Ack != nil:
		h.Addf(m.Pos, "only a staged method has an ack")
	}
	h.oneOf(m.Pos, "role", m.Role, append([]string{"any"}, h.roles...)...)
	h.oneOf(m.Pos, "scope", m.Scope, append([]string{""}, h.scopes...)...)
	if m.Scope == "" && h.scoped(m.Role) {
		h.Addf(m.Pos, "scope is missing: without one every %s may call the method", m.Role)
	}
	h.oneOf(m.Pos, "idempotency", m.Idempotency, "", "none", "required")
	h.oneOf(m.Pos, "validation", m.Validation, "", "none")
	if m.Idempotency == "required" {
		h.oneOf(m.Pos, "replay", m.Replay, "outcome", "handler")
		h.key(m)
	} else {
		h.oneOf(m.Pos, "replay", m.Replay, "")
	}
	if m.Value.Get("listed") == nil {
		h.Addf(m.Pos, "listed is missing")
	}
	if m.Since == "" {
		h.Addf(m.Pos, "since is missing")
	}
	if m.Doc == "" {
		h.Addf(m.Pos, "doc is missing")
	}
	if m.Validation == "none" && m.Params != nil && m.Params.To != nil {
		h.lenient[m.Params.To] = true
		if !m.Params.To.Schema.Open {
			h.Addf(m.Pos, "params that are not validated are an open object")
		}
	}
}

// scoped reports whether the scopes are those of a role, which their names begin with.
func (h *house) scoped(role string) bool {
	return slices.ContainsFunc(h.scopes, func(scope string) bool { return strings.HasPrefix(scope, role+".") })
}

// key checks that a method with idempotency demands the key.
func (h *house) key(m *load.Method) {
	if m.Params == nil || m.Params.To == nil {
		return
	}
	if !slices.Contains(m.Params.To.Schema.Required, "idempotencyKey") {
		h.Addf(m.Pos, "idempotency is required and the params do not require idempotencyKey")
	}
}

// events checks every x-events entry.
func (h *house) events() {
	first := map[string]load.Pos{}
	for _, f := range h.model.Files {
		for _, e := range f.Events {
			if pos, twice := first[e.Name]; twice {
				h.Addf(e.Pos, "the event is already declared by %s", pos)
			}
			first[e.Name] = e.Pos
			h.event(e)
		}
	}
}

func (h *house) event(e *load.Event) {
	h.mark(e.Pos, "payload", e.Payload)
	h.said(e.Payload)
	if len(e.Audience) == 0 {
		h.Addf(e.Pos, "audience is missing")
	}
	for _, a := range e.Audience {
		h.oneOf(e.Pos, "audience", a, slices.Concat([]string{"all"}, h.roles, h.scopes)...)
	}
	h.oneOf(e.Pos, "droppable", e.Droppable, "never", "always", "delta")
	if e.Value.Get("stateVersion") == nil {
		h.Addf(e.Pos, "stateVersion is missing")
	}
	if e.Since == "" {
		h.Addf(e.Pos, "since is missing")
	}
	if e.Doc == "" {
		h.Addf(e.Pos, "doc is missing")
	}
}

// mark notes that what s refers to crosses the wire.
func (h *house) mark(pos load.Pos, what string, s *load.Schema) {
	switch {
	case s == nil:
		h.Addf(pos, "%s is missing", what)
	case s.To != nil:
		h.wire[s.To] = true
	case s.Ref == "":
		h.Addf(s.Pos, "%s must be a $ref to a definition", what)
	}
}

// said notes that the gateway sends what s refers to.
func (h *house) said(s *load.Schema) { reach(s, h.told) }

// oneOf checks a word against a closed list, in which an empty word means that the
// key may be absent.
func (h *house) oneOf(pos load.Pos, what, word string, allowed ...string) {
	if slices.Contains(allowed, word) {
		return
	}
	if word == "" {
		h.Addf(pos, "%s is missing", what)
		return
	}
	h.Addf(pos, "%s %q is none of %q", what, word, allowed)
}
