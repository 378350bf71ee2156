package compat

import (
	"fmt"
	"slices"
)

// unions compares alternatives. A shape that is no union counts as its only one.
func (c *comparison) unions(old, new shape) {
	if old.variants != nil && new.variants != nil && old.discriminator != new.discriminator {
		c.widened(DiscriminatorChanged, new.at, Source,
			fmt.Sprintf("the alternatives were told apart by %q and are by %q", old.discriminator, new.discriminator),
			fmt.Sprintf("clients tell the alternatives apart by %q, which is now %q", old.discriminator, new.discriminator))
	}
	gone, come := alternatives(old), alternatives(new)
	for _, same := range []func(a, b schema) bool{sameName, sameRules, sameTag(old.discriminator, new.discriminator), sameTypes} {
		gone, come = c.pair(gone, come, same)
	}
	if len(gone) == 1 && len(come) == 1 && isObject(gone[0]) && isObject(come[0]) {
		c.alternative(gone[0], come[0])
		return
	}
	for _, one := range gone {
		c.narrowed(VariantRemoved, one.at, Source, "a request with "+variantName(one)+" is refused", variantName(one)+" is never sent again")
	}
	for _, one := range come {
		c.widened(VariantAdded, one.at, Info, "may now be "+variantName(one), "clients do not know what to make of "+variantName(one))
	}
}

func alternatives(s shape) []schema {
	if s.variants != nil {
		return s.variants
	}
	return []schema{s.schema}
}

// pair compares the alternatives that are the same by one measure and returns the
// others.
func (c *comparison) pair(gone, come []schema, same func(a, b schema) bool) (left, right []schema) {
	right = slices.Clone(come)
	for _, a := range gone {
		i := slices.IndexFunc(right, func(b schema) bool { return same(a, b) })
		if i < 0 {
			left = append(left, a)
			continue
		}
		c.alternative(a, right[i])
		right = slices.Delete(right, i, i+1)
	}
	return left, right
}

// alternative compares two that were paired: what they are called is no difference.
func (c *comparison) alternative(old, new schema) {
	c.mark(old)
	c.schemas(old.follow(), new.follow())
}

// sameName compares the definitions' names; a shape that was followed has one too.
func sameName(a, b schema) bool {
	return variantName(a) == variantName(b) && isObject(a) && isObject(b)
}

func sameRules(a, b schema) bool {
	return canonical(a.follow().rules()) == canonical(b.follow().rules())
}

// sameTag reports whether the discriminators of two variants have the same value.
func sameTag(before, after string) func(a, b schema) bool {
	return func(a, b schema) bool {
		old, new := tag(a, before), tag(b, after)
		return old != "" && old == new
	}
}

func tag(s schema, discriminator string) string {
	member, ok := s.follow().table("properties")[discriminator]
	if !ok {
		return ""
	}
	if sh := shapeOf(member); sh.fixed {
		return sh.values[0]
	}
	return ""
}

// sameTypes pairs what is no object by its JSON types.
func sameTypes(a, b schema) bool {
	return !isObject(a) && !isObject(b) && slices.Equal(shapeOf(a).types, shapeOf(b).types)
}

func isObject(s schema) bool { return slices.Contains(shapeOf(s).types, "object") }

// variantName words an alternative: by its definition's name, else its type.
func variantName(s schema) string {
	if name := s.ref(); name != "" {
		return name
	}
	if file := s.b.files[s.at.file]; file != nil {
		for name := range file.Defs {
			if s.at == (place{file: s.at.file}).at("$defs", name) {
				return name
			}
		}
	}
	return kind(shapeOf(s))
}
