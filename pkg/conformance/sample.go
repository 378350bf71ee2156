package conformance

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

// sample returns a value that a node of the schema allows: its example where it
// has one, reduced to the members that must be there.
func (n *node) sample() any {
	example := n.example()
	switch {
	case n.Const != nil:
		return mustParse(n.Const)
	case len(n.Enum) > 0:
		return n.Enum[0]
	}
	switch n.Type {
	case "object":
		return n.sampleObject(example)
	case "null":
		return nil
	}
	if example != nil {
		return example
	}
	switch n.Type {
	case "string":
		return "text"
	case "integer", "number":
		if n.Minimum != "" {
			return n.Minimum
		}
		return json.Number("1")
	case "boolean":
		return true
	case "array":
		list := []any{}
		for range n.MinItems {
			list = append(list, placeOf(n.Items).sample())
		}
		return list
	}
	return map[string]any{}
}

func (n *node) sampleObject(example any) any {
	whole, _ := example.(map[string]any)
	object := map[string]any{}
	for _, key := range n.Required {
		if value, ok := whole[key]; ok {
			object[key] = value
			continue
		}
		object[key] = placeOf(n.Properties[key]).sample()
	}
	return object
}

func (n *node) example() any {
	if len(n.Examples) == 0 {
		return nil
	}
	return mustParse(n.Examples[0])
}

// mustParse parses JSON that has been parsed before.
func mustParse(raw json.RawMessage) any {
	v, err := parse(raw)
	if err != nil {
		panic("conformance: " + err.Error())
	}
	return v
}

// sample returns a value for a place, one that says something if there is a choice.
func (p place) sample() any {
	for _, n := range p {
		if n.Type != "null" {
			return n.sample()
		}
	}
	if len(p) > 0 {
		return nil
	}
	return map[string]any{}
}

// allows reports whether a value of the JSON type may stand here.
func (p place) allows(kinds ...string) bool {
	return p.silent() || slices.ContainsFunc(p, func(n *node) bool { return slices.Contains(kinds, n.Type) })
}

// fabricate returns a value that matches the pattern and that the schema allows at
// this place: what the pattern leaves open comes from the schema. A variable that
// has no value yet gets one.
func (vars variables) fabricate(at place, pattern any) any {
	switch pattern := pattern.(type) {
	case map[string]any:
		return vars.fabricateObject(at, pattern)
	case []any:
		list := []any{}
		for _, p := range pattern {
			if p != "..." {
				list = append(list, vars.fabricate(at.element(), p))
			}
		}
		return list
	case string:
		return vars.fabricateString(at, pattern)
	}
	return pattern
}

func (vars variables) fabricateObject(at place, pattern map[string]any) any {
	object := map[string]any{}
	variant := at.variant(pattern)
	if variant != nil {
		if m, ok := variant.sample().(map[string]any); ok {
			object = maps.Clone(m)
		}
	}
	for _, key := range sortedKeys(pattern) {
		if pattern[key] == "<absent>" {
			delete(object, key)
			continue
		}
		child, _ := at.member(key)
		if variant != nil {
			child, _ = place{variant}.member(key)
		}
		object[key] = vars.fabricate(child, pattern[key])
	}
	return object
}

// variant returns the first object type of a union that a pattern can mean: it
// permits each member, and where it permits few values, the one that is named.
func (p place) variant(pattern map[string]any) *node {
	var objects []*node
	for _, n := range p {
		if n.Type == "object" || len(n.Properties) > 0 {
			objects = append(objects, n)
		}
	}
	for _, n := range objects {
		if n.suits(pattern) {
			return n
		}
	}
	if len(objects) > 0 {
		return objects[0]
	}
	return nil
}

func (n *node) suits(pattern map[string]any) bool {
	for key, value := range pattern {
		if value == "<absent>" {
			continue
		}
		child, permitted := place{n}.member(key)
		if !permitted {
			return false
		}
		if text, ok := value.(string); ok && !child.takes(text) {
			return false
		}
	}
	return true
}

// takes reports whether a word of a pattern can stand for a string here.
func (p place) takes(text string) bool {
	if strings.HasPrefix(text, "<") || strings.HasPrefix(text, "$") || p.silent() {
		return true
	}
	return slices.ContainsFunc(p, func(n *node) bool {
		return n.Type == "string" && (n.Const == nil || mustParse(n.Const) == any(text))
	})
}

func (vars variables) fabricateString(at place, pattern string) any {
	switch pattern {
	case "<any>", "<number>", "<int>", "<bool>":
		if pattern != "<any>" && at.silent() {
			return map[string]any{"<number>": json.Number("1"), "<int>": json.Number("1"), "<bool>": true}[pattern]
		}
		return at.sample()
	case "<string>":
		for _, n := range at {
			if n.Type == "string" {
				return n.sample()
			}
		}
		return "text"
	case "<uuid>":
		return newUUID()
	}
	if re, ok := strings.CutPrefix(pattern, "<~"); ok && strings.HasSuffix(re, ">") {
		return matching(strings.TrimSuffix(re, ">"))
	}
	if variableName.FindString(pattern) != pattern || pattern == "" {
		return vars.fillValue(pattern)
	}
	if value, ok := vars[pattern]; ok {
		return value
	}
	switch {
	case at.allows("string"):
		vars[pattern] = newUUID()
	default:
		vars[pattern] = at.sample()
	}
	return vars[pattern]
}

// matching returns a short text that a regular expression matches.
func matching(expression string) string {
	re, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return fmt.Sprintf("no expression: %v", err)
	}
	text := shortest(re)
	if ok, err := regexp.MatchString(expression, text); err != nil || !ok {
		return "nothing short matches " + expression
	}
	return text
}

func shortest(re *syntax.Regexp) string {
	switch re.Op {
	case syntax.OpLiteral:
		return string(re.Rune)
	case syntax.OpCharClass:
		return string(re.Rune[:1])
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return "x"
	case syntax.OpCapture, syntax.OpPlus:
		return shortest(re.Sub[0])
	case syntax.OpAlternate:
		return shortest(re.Sub[0])
	case syntax.OpRepeat:
		return strings.Repeat(shortest(re.Sub[0]), re.Min)
	case syntax.OpConcat:
		var b strings.Builder
		for _, sub := range re.Sub {
			b.WriteString(shortest(sub))
		}
		return b.String()
	}
	return "" // stars, options and anchors
}
