package compat

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// schemas compares what two schemas accept, in the role of the walk.
func (c *comparison) schemas(old, new schema) {
	c.reference(old, new)
	if a, b := orNone(old.keys["default"]), orNone(new.keys["default"]); a != b {
		c.report(Info, DefaultChanged, new.at, fmt.Sprintf("the default was %s and is %s", a, b))
	}
	c.deprecated(new.at, old.deprecated(), new.deprecated())
	c.mark(old)
	old, new = old.follow(), new.follow()
	pair := [2]place{old.at, new.at}
	if c.seen[pair] {
		return
	}
	c.seen[pair] = true
	c.deprecated(new.at, old.deprecated(), new.deprecated())
	c.keywords(old, new)
	c.shapes(shapeOf(old), shapeOf(new))
}

// keywords compares the rules that nothing else here weighs: any difference may break
// either side.
func (c *comparison) keywords(old, new schema) {
	all := map[string]any{}
	maps.Copy(all, old.keys)
	maps.Copy(all, new.keys)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if weighed(key) {
			continue
		}
		if a, b := orNone(old.keys[key]), orNone(new.keys[key]); a != b {
			c.report(Wire, KeywordChanged, new.at.at(key), fmt.Sprintf("%s was %s and is %s: whether that breaks anybody is not known", key, a, b))
		}
	}
}

// weighed reports whether a keyword rules nothing or is compared elsewhere.
func weighed(key string) bool {
	switch key {
	case "$ref", "type", "const", "enum", "properties", "required", "additionalProperties", "patternProperties", "items", "anyOf", "oneOf",
		"minLength", "maxLength", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems",
		"description", "title", "default", "deprecated", "examples", "$comment":
		return true
	}
	return strings.HasPrefix(key, "x-")
}

// mark notes which definitions s leads to by references alone.
func (c *comparison) mark(s schema) {
	for name := s.ref(); name != ""; name = s.ref() {
		s = c.old.defs[name]
		if c.reached[s.at] {
			return
		}
		c.reached[s.at] = true
	}
}

// reference tells that a member is now of a type of another name. A name that is gone
// or new altogether is the business of definitions.
func (c *comparison) reference(old, new schema) {
	before, after := old.ref(), new.ref()
	if before == after {
		return
	}
	_, kept := c.new.defs[before]
	_, known := c.old.defs[after]
	if (before == "" || kept) && (after == "" || known) {
		c.report(Source, ReferenceChanged, new.at, fmt.Sprintf("its type was %s and is %s", orInline(before), orInline(after)))
	}
}

func orInline(name string) string {
	if name == "" {
		return "unnamed"
	}
	return name
}

func (c *comparison) deprecated(at place, old, new bool) {
	if new && !old {
		c.report(Info, Deprecated, at, "is deprecated from now on")
	}
}

// shapes compares two schemas whose references are followed.
func (c *comparison) shapes(old, new shape) {
	switch {
	case old.any && new.any:
		return
	case old.any:
		c.narrowed(TypeNarrowed, new.at, Source, "a request with anything but "+kind(new)+" here is refused",
			"was anything and is now always "+kind(new))
		return
	case new.any:
		c.widened(TypeWidened, new.at, Source, "was "+kind(old)+" and may now be anything",
			"clients expect "+kind(old)+" and may now get anything")
		return
	}
	if new.null && !old.null {
		c.widened(NullableAdded, new.whole, Source, "may now be null", "clients that expect a value may now get null")
	}
	if old.null && !new.null {
		c.narrowed(NullableRemoved, new.whole, Source, "a request with null here is refused", "is null no more")
	}
	if old.variants != nil || new.variants != nil {
		c.unions(old, new)
		return
	}
	if !c.types(old, new) {
		return
	}
	c.values(old, new)
	c.bounds(old, new)
	if slices.Contains(old.types, "array") && slices.Contains(new.types, "array") {
		c.schemas(old.child("items"), new.child("items"))
	}
	if slices.Contains(old.types, "object") && slices.Contains(new.types, "object") {
		c.objects(old.schema, new.schema)
	}
}

// kind words what a shape accepts.
func kind(s shape) string {
	if s.variants != nil {
		return "one of several types"
	}
	if len(s.types) == 0 {
		return "null"
	}
	return strings.Join(s.types, " or ")
}

// types compares the JSON types and reports whether there is anything left to compare.
func (c *comparison) types(old, new shape) bool {
	lost, gained := uncovered(old.types, new.types), uncovered(new.types, old.types)
	if lost != nil {
		c.narrowed(TypeNarrowed, new.at, Source, "a request with "+strings.Join(lost, " or ")+" here is refused; it wants "+kind(new),
			"is no longer "+strings.Join(lost, " or "))
	}
	if gained != nil {
		c.widened(TypeWidened, new.at, Source, "may now be "+strings.Join(gained, " or "),
			"clients expect "+kind(old)+" and may now get "+strings.Join(gained, " or "))
	}
	return len(lost) < len(old.types)
}

// uncovered returns the types of list that none of cover accepts; every integer is a
// number.
func uncovered(list, cover []string) []string {
	var out []string
	for _, t := range list {
		if !slices.Contains(cover, t) && !(t == "integer" && slices.Contains(cover, "number")) {
			out = append(out, t)
		}
	}
	return out
}

// values compares enums and constants.
func (c *comparison) values(old, new shape) {
	switch {
	case old.values == nil && new.values == nil:
	case new.values == nil:
		if old.fixed {
			c.widened(ConstChanged, new.at, Source, "may now be more than "+old.values[0], "clients expect "+old.values[0]+" and may now get anything else")
			return
		}
		c.report(Source, EnumOpened, new.at, "is no longer a closed list: its type and constants are gone from the models")
	case old.values == nil:
		c.narrowed(EnumClosed, new.at, Source, "a request with a value outside "+strings.Join(new.values, ", ")+" is refused",
			"is now one of "+strings.Join(new.values, ", "))
	case old.fixed && !slices.Contains(new.values, old.values[0]):
		c.report(Wire, ConstChanged, new.at, fmt.Sprintf("was %s and is now %s: both sides go by the old value", old.values[0], strings.Join(new.values, ", ")))
	case old.fixed && len(new.values) > 1:
		c.widened(ConstChanged, new.at, Source, "may now be more than "+old.values[0], "clients expect "+old.values[0]+" and may now get "+strings.Join(without(new.values, old.values), ", "))
	default:
		for _, v := range without(old.values, new.values) {
			c.narrowed(EnumValueRemoved, new.at, Source, "a request with "+v+" is refused", "the constant "+v+" is gone from the models")
		}
		for _, v := range without(new.values, old.values) {
			// Open decoding keeps a value that it does not know.
			c.report(Info, EnumValueAdded, new.at, "may now be "+v)
		}
	}
}

func without(list, drop []string) []string {
	var out []string
	for _, v := range list {
		if !slices.Contains(drop, v) {
			out = append(out, v)
		}
	}
	return out
}

// bounds compares lengths, limits and patterns. Clients check them when they decode.
func (c *comparison) bounds(old, new shape) {
	for _, key := range []string{"minLength", "minimum", "exclusiveMinimum", "minItems", "maxLength", "maximum", "exclusiveMaximum", "maxItems"} {
		a, before := old.number(key)
		b, after := new.number(key)
		if before == after && a == b {
			continue
		}
		was, is := orNone(old.keys[key]), orNone(new.keys[key])
		lower := strings.HasPrefix(key, "min") || key == "exclusiveMinimum"
		if narrower := after && (!before || lower == (b > a)); narrower {
			c.narrowed(BoundsNarrowed, new.at.at(key), Info, fmt.Sprintf("%s was %s and is %s: a request beyond it is refused", key, was, is),
				fmt.Sprintf("%s was %s and is %s", key, was, is))
		} else {
			c.widened(BoundsWidened, new.at.at(key), Info, fmt.Sprintf("%s was %s and is %s", key, was, is),
				fmt.Sprintf("%s was %s and is %s: clients that check it refuse what goes beyond", key, was, is))
		}
	}
	a, before := old.keys["pattern"].(string)
	b, after := new.keys["pattern"].(string)
	if a == b && before == after {
		return
	}
	text := fmt.Sprintf("the pattern was %s and is %s", orNone(old.keys["pattern"]), orNone(new.keys["pattern"]))
	level := Info
	// Whether a pattern is narrower than another is not known: with two, assume the worse.
	if after && c.role == Params && !c.lenient || before && c.role != Params {
		level = Wire
		text += ": what does not match it is refused"
	}
	c.report(level, PatternChanged, new.at.at("pattern"), text)
}

func orNone(v any) string {
	if v == nil {
		return "none"
	}
	return canonical(v)
}

// objects compares the members of two objects.
func (c *comparison) objects(old, new schema) {
	switch {
	case new.closed() && !old.closed():
		c.narrowed(ObjectClosed, new.at, Info, "a request with a member that has no name here is refused", "has no other members any more")
	case old.closed() && !new.closed():
		c.report(Info, ObjectOpened, new.at, "may now have other members")
	case !old.closed() && !new.closed():
		c.schemas(old.extra(), new.extra())
	}
	before, after := old.table("properties"), new.table("properties")
	needed, needs := old.texts("required"), new.texts("required")
	for _, name := range slices.Sorted(maps.Keys(before)) {
		member, kept := after[name]
		if !kept {
			c.removed(before[name].at, name, new.closed())
			continue
		}
		was, is := slices.Contains(needed, name), slices.Contains(needs, name)
		if is && !was {
			c.narrowed(RequiredAdded, member.at, Source, fmt.Sprintf("a request without %q is refused", name), fmt.Sprintf("%q is now always there", name))
		}
		if was && !is {
			c.widened(PropertyOptional, member.at, Source, fmt.Sprintf("%q may now be left out", name), fmt.Sprintf("clients that count on %q may not get it", name))
		}
		c.schemas(before[name], member)
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if _, known := before[name]; known {
			continue
		}
		if slices.Contains(needs, name) && c.role == Params && !c.lenient {
			c.report(Wire, RequiredAdded, after[name].at, fmt.Sprintf("a request without %q is refused", name))
			continue
		}
		c.report(Info, PropertyAdded, after[name].at, fmt.Sprintf("%q is new", name))
	}
}

// removed judges a member that is gone. An open object still accepts it in a request,
// and ignores it.
func (c *comparison) removed(at place, name string, closed bool) {
	switch {
	case c.role == Params && (!closed || c.lenient):
		c.report(Source, PropertyRemoved, at, fmt.Sprintf("%q is ignored and gone from the models", name))
	case c.role == Params:
		c.report(Wire, PropertyRemoved, at, fmt.Sprintf("a request with %q is refused", name))
	default:
		c.report(Wire, PropertyRemoved, at, fmt.Sprintf("clients that read %q get nothing", name))
	}
}
