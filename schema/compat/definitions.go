package compat

import (
	"fmt"
	"maps"
	"slices"
)

// rest compares the definitions that no method and no event leads to, such as the
// frames themselves: nothing tells their direction, so they are judged in both.
func (c *comparison) rest() {
	roots := map[place]bool{}
	for name, def := range c.old.defs {
		if _, kept := c.new.defs[name]; kept && !c.reached[def.at] {
			roots[def.at] = true
		}
	}
	for name, def := range c.old.defs {
		if roots[def.at] {
			c.walk(Params, "", false, def, c.new.defs[name])
			c.walk(Result, "", false, def, c.new.defs[name])
		}
	}
}

// definitions tells which names of types are gone from the models. What that does to
// the wire was found by following the references.
func (c *comparison) definitions() {
	var fresh []string
	for _, name := range slices.Sorted(maps.Keys(c.new.defs)) {
		if _, known := c.old.defs[name]; !known {
			fresh = append(fresh, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.old.defs)) {
		if _, kept := c.new.defs[name]; kept {
			continue
		}
		old := c.old.defs[name]
		i := slices.IndexFunc(fresh, func(other string) bool {
			return canonical(old.rules()) == canonical(c.new.defs[other].rules())
		})
		if i < 0 {
			c.report(Source, DefinitionRemoved, old.at, fmt.Sprintf("the type %s is gone from the models", name))
			continue
		}
		c.report(Source, DefinitionRenamed, c.new.defs[fresh[i]].at, fmt.Sprintf("the type %s is now called %s", name, fresh[i]))
		fresh = slices.Delete(fresh, i, i+1)
	}
}
