package compat

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// located is a method, an event or an entry with its place.
type located[T any] struct {
	at    place
	value T
}

// gather collects one table over all files of a bundle.
func gather[T any](b *Bundle, key string, table func(*document) map[string]T) map[string]located[T] {
	all := map[string]located[T]{}
	for file, doc := range b.files {
		for name, value := range table(doc) {
			all[name] = located[T]{place{file: file}.at(key, name), value}
		}
	}
	return all
}

func (c *comparison) protocol() {
	old, new := c.old.Protocol(), c.new.Protocol()
	for file, doc := range c.new.files {
		if doc.Protocol == "" {
			continue
		}
		at := place{file: file}.at("x-protocol")
		if new > old {
			c.report(Info, ProtocolRaised, at, fmt.Sprintf("the protocol was %d and is %d", old, new))
		}
		if new < old {
			c.report(Wire, ProtocolLowered, at, fmt.Sprintf("the protocol was %d and is %d: clients of %d are refused", old, new, old))
		}
	}
}

func (c *comparison) roles() {
	table := func(d *document) map[string]entry { return d.Roles }
	old, new := gather(c.old, "x-roles", table), gather(c.new, "x-roles", table)
	for name, role := range old {
		if _, kept := new[name]; !kept {
			c.report(Wire, RoleRemoved, role.at, fmt.Sprintf("a connect as %s is refused", name))
		}
	}
	for name, role := range new {
		if _, known := old[name]; !known {
			c.report(Info, RoleAdded, role.at, fmt.Sprintf("the role %s is new", name))
		}
	}
}

func (c *comparison) scopes() {
	table := func(d *document) map[string]entry { return d.Scopes }
	old, new := gather(c.old, "x-scopes", table), gather(c.new, "x-scopes", table)
	for name, scope := range old {
		if _, kept := new[name]; !kept {
			c.report(Wire, ScopeRemoved, scope.at, fmt.Sprintf("peers that ask for %s do not get it", name))
			continue
		}
		for other := range old {
			if _, kept := new[other]; kept && c.old.allows(name, other) && !c.new.allows(name, other) {
				c.report(Wire, ScopeNarrowed, new[name].at, fmt.Sprintf("peers with %s may no longer do what needs %s", name, other))
			}
		}
	}
	for name, scope := range new {
		if _, known := old[name]; !known {
			c.report(Info, ScopeAdded, scope.at, fmt.Sprintf("the scope %s is new", name))
		}
	}
}

// allows reports whether a peer with scope have may do what needs need.
func (b *Bundle) allows(have, need string) bool {
	seen := map[string]bool{}
	queue := []string{have}
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		if next == need || next == "*" || need == "" {
			return true
		}
		if seen[next] {
			continue
		}
		seen[next] = true
		for _, doc := range b.files {
			queue = append(queue, doc.Scopes[next].Implies...)
		}
	}
	return false
}

func (c *comparison) methods() {
	table := func(d *document) map[string]method { return d.Methods }
	old, new := gather(c.old, "x-methods", table), gather(c.new, "x-methods", table)
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if after, kept := new[name]; kept {
			c.method(name, old[name], after)
			continue
		}
		text := "clients that call " + name + " are refused"
		for other, m := range new {
			if _, known := old[other]; !known && sameMethod(old[name].value, m.value) {
				text += "; it looks like " + other + " now"
			}
		}
		c.report(Wire, MethodRemoved, old[name].at, text)
	}
	for name, m := range new {
		if _, known := old[name]; !known {
			c.report(Info, MethodAdded, m.at, "the method "+name+" is new")
		}
	}
}

// sameMethod reports whether two methods differ by their name only.
func sameMethod(a, b method) bool {
	return canonical([]any{a.Params, a.Ack, a.Result}) == canonical([]any{b.Params, b.Ack, b.Result}) && a.Role == b.Role && a.Scope == b.Scope
}

func (c *comparison) method(name string, before, after located[method]) {
	old, new, at := before.value, after.value, after.at
	if old.Role != new.Role {
		if new.Role == "any" {
			c.report(Info, RoleLoosened, at.at("role"), fmt.Sprintf("%s needed the role %s and is now for everybody", name, old.Role))
		} else {
			c.report(Wire, RoleChanged, at.at("role"), fmt.Sprintf("%s was for %s and is now for %s alone", name, old.Role, new.Role))
		}
	}
	if old.Scope != new.Scope {
		if old.Scope != "" && c.new.allows(old.Scope, new.Scope) || new.Scope == "" {
			c.report(Info, ScopeLoosened, at.at("scope"), fmt.Sprintf("%s needed %s and needs %s", name, old.Scope, orNothing(new.Scope)))
		} else {
			c.report(Wire, ScopeTightened, at.at("scope"), fmt.Sprintf("peers with %s could call %s, which now needs %s", orNothing(old.Scope), name, new.Scope))
		}
	}
	c.promises(name, before, after)
	c.deprecated(at, marked(old.Deprecated), marked(new.Deprecated))
	lenient := new.Validation == "none"
	if old.Validation == "none" && !lenient {
		c.report(Wire, ValidationAdded, at.at("validation"), "params of "+name+" were never checked; from now on what does not fit is refused")
	}
	c.walk(Params, name, lenient, c.old.schema(before.at.at("params"), old.Params), c.new.schema(at.at("params"), new.Params))
	c.walk(Result, name, false, c.old.schema(before.at.at("result"), old.Result), c.new.schema(at.at("result"), new.Result))
	if old.Ack != nil && new.Ack != nil {
		c.walk(Result, name, false, c.old.schema(before.at.at("ack"), old.Ack), c.new.schema(at.at("ack"), new.Ack))
	}
}

// promises compares how a method answers, and how it treats a repeated request.
func (c *comparison) promises(name string, before, after located[method]) {
	old, new, at := before.value, after.value, after.at
	if old.Reply != new.Reply {
		text := "clients of " + name + " take the ack for the result"
		if new.Reply == "once" {
			text = "clients of " + name + " wait for a second response"
		}
		c.report(Wire, ReplyChanged, at.at("reply"), text)
	}
	switch was, is := old.Idempotency == "required", new.Idempotency == "required"; {
	case is && !was:
		c.report(Wire, IdempotencyRequired, at.at("idempotency"), "a "+name+" without an idempotency key is refused")
	case was && !is:
		c.report(Wire, IdempotencyDropped, at.at("idempotency"), "clients that send "+name+" again with the same key have it done twice")
	case old.Replay != new.Replay:
		c.report(Info, ReplayChanged, at.at("replay"), fmt.Sprintf("a repeated %s was answered by %s and is by %s", name, old.Replay, new.Replay))
	}
	listed := func(m method) bool { return m.Listed == nil || *m.Listed }
	if listed(old) && !listed(new) {
		c.report(Wire, MethodUnlisted, at.at("listed"), "clients that look into hello-ok.features take "+name+" for absent")
	}
}

func orNothing(scope string) string {
	if scope == "" {
		return "no scope"
	}
	return scope
}

func (c *comparison) events() {
	table := func(d *document) map[string]event { return d.Events }
	old, new := gather(c.old, "x-events", table), gather(c.new, "x-events", table)
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if after, kept := new[name]; kept {
			c.event(name, old[name], after)
			continue
		}
		c.report(Wire, EventRemoved, old[name].at, "clients that wait for "+name+" never see it")
	}
	for name, e := range new {
		if _, known := old[name]; !known {
			c.report(Info, EventAdded, e.at, "the event "+name+" is new")
		}
	}
}

func (c *comparison) event(name string, before, after located[event]) {
	old, new, at := before.value, after.value, after.at
	for _, who := range old.Audience {
		if !slices.ContainsFunc(new.Audience, func(to string) bool { return c.hears(who, to) }) {
			c.report(Wire, AudienceNarrowed, at.at("audience"), fmt.Sprintf("%s no longer goes to %s", name, who))
		}
	}
	for _, who := range new.Audience {
		if !slices.ContainsFunc(old.Audience, func(to string) bool { return c.hears(who, to) }) {
			c.report(Info, AudienceWidened, at.at("audience"), fmt.Sprintf("%s also goes to %s", name, who))
		}
	}
	if old.StateVersion && !new.StateVersion {
		c.report(Wire, StateVersionRemoved, at.at("stateVersion"), "clients that mirror state by the counters of "+name+" get none")
	}
	rank := func(d string) int { return slices.Index([]string{"never", "delta", "always"}, d) }
	if rank(new.Droppable) > rank(old.Droppable) {
		c.report(Wire, DroppableLoosened, at.at("droppable"), fmt.Sprintf("%s was dropped %s and is now dropped %s: slow clients miss some", name, old.Droppable, new.Droppable))
	}
	c.deprecated(at, marked(old.Deprecated), marked(new.Deprecated))
	c.walk(Event, name, false, c.old.schema(before.at.at("payload"), old.Payload), c.new.schema(at.at("payload"), new.Payload))
}

// hears reports whether everybody in the audience who is also in to.
func (c *comparison) hears(who, to string) bool {
	return to == "all" || who == to || strings.HasPrefix(who, to+".") || strings.Contains(who, ".") && c.new.allows(who, to)
}
