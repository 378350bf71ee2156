// Package compat tells what a change of the schema breaks, and for whom. It compares
// two bundles of schema files, the one that people's programs were written against
// and the one that is to replace it, and reports every difference with a level: WIRE
// when a program that works today would fail against the new gateway, SOURCE when it
// would go on working but not compile against the new models, INFO for the rest.
//
// A type is judged by the direction in which it travels, through every reference. What
// clients send (params) may not become narrower: the gateway refuses what it does not
// accept. What the gateway sends (results, acks, event payloads) may not become wider:
// clients decode it with the old types. They decode openly, so new members and new
// enum values are no break; bounds they do check. A type that nothing refers to, such
// as a frame, is judged in both directions.
//
// The package reads bytes and decides; it prints nothing, and it does not ask whether
// a schema is well made: the generator does. What surprises: definitions are followed,
// not compared by name, so a renamed definition breaks sources only. A raised protocol
// version, or an entry in a file's x-waive, turns a break into a waived one that is
// still reported.
package compat

import (
	"cmp"
	"slices"
	"strings"
)

// Level tells how bad a change is.
type Level string

// The levels, worst first.
const (
	// Wire: a program that works today fails or is misled.
	Wire Level = "WIRE"
	// Source: programs go on working; code written against the generated models has
	// to be changed to compile.
	Source Level = "SOURCE"
	// Info: nobody has to do anything.
	Info Level = "INFO"
)

func (l Level) rank() int { return slices.Index([]Level{Wire, Source, Info}, l) }

// Role tells in which direction the changed type travels; it is empty for what is no
// type.
type Role string

// The roles. Acks count as results.
const (
	Params Role = "params"
	Result Role = "result"
	Event  Role = "event"
)

// Change is one difference between two bundles.
type Change struct {
	Level Level `json:"level"`
	// Rule names the kind of change.
	Rule Rule `json:"rule"`
	// Path is the file and JSON pointer of the change: in the new bundle, or in the
	// old one for what is gone.
	Path string `json:"path"`
	Role Role   `json:"role,omitempty"`
	// Via lists the methods and events that lead to a type, sorted.
	Via []string `json:"via,omitempty"`
	// Message tells what breaks whom.
	Message string `json:"message"`
	// Breaking reports whether the gate fails: WIRE, and not waived.
	Breaking bool `json:"breaking"`
	// Waived is the reason for which a WIRE change is let through.
	Waived string `json:"waived,omitempty"`
}

// Breaking reports whether any of the changes breaks and is not waived.
func Breaking(changes []Change) bool {
	return slices.ContainsFunc(changes, func(c Change) bool { return c.Breaking })
}

// Compare returns every change from old to new: the worst level first, then by path.
func Compare(old, new *Bundle) []Change {
	c := &comparison{old: old, new: new, found: map[string]*Change{}, reached: map[place]bool{}}
	c.protocol()
	c.roles()
	c.scopes()
	c.methods()
	c.events()
	c.rest()
	c.definitions()
	c.catalogue()
	c.waive()
	list := make([]Change, 0, len(c.found))
	for _, change := range c.found {
		list = append(list, *change)
	}
	slices.SortFunc(list, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Level.rank(), b.Level.rank()), cmp.Compare(a.Path, b.Path),
			cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Role, b.Role), cmp.Compare(a.Message, b.Message))
	})
	return list
}

// comparison is the state of one Compare.
type comparison struct {
	old, new *Bundle
	found    map[string]*Change
	// reached holds the definitions of the old bundle that a method or event leads to.
	reached map[place]bool

	// What is being walked: the direction, the method or event, whether its params
	// are checked at all, and the pairs of schemas met on the way.
	role    Role
	via     string
	lenient bool
	seen    map[[2]place]bool
}

// report notes a change; the same change met on several ways is one change.
func (c *comparison) report(level Level, rule Rule, at place, message string) {
	key := strings.Join([]string{string(level), string(rule), at.String(), string(c.role), message}, "\x00")
	change := c.found[key]
	if change == nil {
		change = &Change{Level: level, Rule: rule, Path: at.String(), Role: c.role, Message: message, Breaking: level == Wire}
		c.found[key] = change
	}
	if i, known := slices.BinarySearch(change.Via, c.via); c.via != "" && !known {
		change.Via = slices.Insert(change.Via, i, c.via)
	}
}

// walk compares two schemas in a role, from the root that via names.
func (c *comparison) walk(role Role, via string, lenient bool, old, new schema) {
	c.role, c.via, c.lenient, c.seen = role, via, lenient, map[[2]place]bool{}
	c.schemas(old, new)
	c.role, c.via, c.lenient = "", "", false
}

// narrowed and widened judge a change by its direction: what becomes narrower breaks
// those who send it to the gateway, what becomes wider those who receive it. Params that
// are not checked can't become narrower for those who send them.
func (c *comparison) narrowed(rule Rule, at place, otherwise Level, sender, receiver string) {
	if c.role == Params && !c.lenient {
		c.report(Wire, rule, at, sender)
		return
	}
	c.report(otherwise, rule, at, receiver)
}

func (c *comparison) widened(rule Rule, at place, otherwise Level, sender, receiver string) {
	if c.role == Params {
		c.report(otherwise, rule, at, sender)
		return
	}
	c.report(Wire, rule, at, receiver)
}
