package main

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// full returns a value for every definition with all its members, so that a member is
// tried even when no recording and no example has it.
func (p *protocol) full() []sample {
	var list []sample
	for _, name := range sortedKeys(p.defs) {
		list = append(list, sample{id: name + "*", def: name, value: p.fill(&schema{Ref: "#/$defs/" + name}, nil), whole: true})
	}
	return list
}

// fill makes a value that fits s. A definition that comes again inside itself gets only
// what it requires.
func (p *protocol) fill(s *schema, inside []string) any {
	shallow := false
	for s.Ref != "" {
		shallow = slices.Contains(inside, s.target())
		inside = append(slices.Clone(inside), s.target())
		s = p.defs[s.target()]
	}
	rest, _ := s.branches()
	switch {
	case s.Const != nil:
		return s.Const
	case s.enumOf() != nil:
		return s.enumOf()[0]
	case len(rest) > 0:
		return p.fill(rest[0], inside)
	}
	switch s.Type {
	case "string":
		var example string
		if s.Pattern != "" && len(s.Examples) > 0 && json.Unmarshal(s.Examples[0], &example) == nil {
			return example
		}
		return strings.Repeat("x", max(1, atLeast(s.MinLength)))
	case "integer":
		return json.Number(strconv.Itoa(max(1, atLeast(s.Minimum))))
	case "number":
		return json.Number("0.5")
	case "boolean":
		return true
	case "array":
		list := []any{}
		for range max(1, atLeast(s.MinItems)) {
			if s.Items != nil && !shallow {
				list = append(list, p.fill(s.Items, inside))
			}
		}
		return list
	case "object":
		return p.fillObject(s, inside, shallow)
	}
	return map[string]any{"any": []any{json.Number("1"), nil}}
}

func (p *protocol) fillObject(s *schema, inside []string, shallow bool) any {
	out := map[string]any{}
	if each := s.mapOf(); each != nil && !shallow {
		out["name"] = p.fill(each, inside)
	}
	for _, name := range sortedKeys(s.Properties) {
		if !shallow || slices.Contains(s.Required, name) {
			out[name] = p.fill(s.Properties[name], inside)
		}
	}
	return out
}

// atLeast reads a lower bound; absent counts as 0.
func atLeast(n *json.Number) int {
	if n == nil {
		return 0
	}
	i, err := strconv.Atoi(n.String())
	if err != nil {
		panic("schema: the oracle does not fill a bound of " + n.String())
	}
	return i
}
