package wire

import (
	"slices"
	"strconv"
	"strings"
)

// instanceMember is a member of an instance: its name and where its value starts.
type instanceMember struct {
	name  string
	start int
}

// object asks the rules of objects: required in the order of the list, unexpected
// members in the order of the instance, properties in the order of the schema.
func (x *explainer) object(r *Rule, start int, at *place, depth int, see *seen) {
	members, ok := x.members(start, at)
	if !ok {
		return
	}
	byName := make(map[string]int, len(members))
	for _, m := range members {
		byName[m.name] = m.start
	}
	if r.More != nil {
		x.memberRules(r.More, members, byName, start, at, depth, see)
	}
	for _, name := range r.Required {
		if _, ok := byName[name]; !ok {
			x.add(at, "required", "must have required property '"+name+"'", `{"missingProperty":`+quote(name)+`}`)
		}
	}
	if r.Closed && x.mode == Closed || r.Additional != nil {
		x.additional(r, members, at, depth, see)
	}
	for i := range r.Properties {
		p := &r.Properties[i]
		if start, ok := byName[p.Name]; ok {
			see.member(p.Name)
			x.value(&p.Rule, start, &place{parent: at, name: p.Name, member: true}, depth+1, nil)
		}
	}
	for i := range r.Patterns {
		p := &r.Patterns[i]
		for _, m := range members {
			if p.matches(m.name) {
				see.member(m.name)
				x.value(&p.Rule, m.start, &place{parent: at, name: m.name, member: true}, depth+1, nil)
			}
		}
	}
}

// additional asks additionalProperties about the members that nothing else names.
func (x *explainer) additional(r *Rule, members []instanceMember, at *place, depth int, see *seen) {
	for _, m := range members {
		if slices.ContainsFunc(r.Properties, func(p PropertyRule) bool { return p.Name == m.name }) ||
			slices.ContainsFunc(r.Patterns, func(p PropertyRule) bool { return p.matches(m.name) }) {
			continue
		}
		see.member(m.name)
		if r.Additional != nil {
			x.value(r.Additional, m.start, &place{parent: at, name: m.name, member: true}, depth+1, nil)
			continue
		}
		x.add(at, "additionalProperties", "must NOT have additional properties", `{"additionalProperty":`+quote(m.name)+`}`)
		if len(x.list) <= errorsMax && x.count == len(x.list) {
			x.list[len(x.list)-1].property = m.name
		}
	}
}

// members lists an object's members as JavaScript enumerates them: names that are
// array indexes first, in numeric order, then the rest as written. A name that comes
// twice is a fault.
func (x *explainer) members(start int, at *place) ([]instanceMember, bool) {
	d := Decoder{s: x.s, i: start}
	d.OpenObject()
	var list []instanceMember
	seen := map[string]bool{}
	indexes := false
	for name, ok := d.Member(); ok; name, ok = d.Member() {
		switch {
		case seen[name]:
			x.fault = &SyntaxError{Offset: d.i, InstancePath: at.path(), Reason: "member " + quote(name) + " is named twice"}
			return nil, false
		case len(list) == membersMax:
			x.fault = &SyntaxError{Offset: d.i, InstancePath: at.path(), Reason: "too many members"}
			return nil, false
		}
		seen[name] = true
		if _, ok := arrayIndex(name); ok {
			indexes = true
		}
		list = append(list, instanceMember{name, d.i})
		d.Skip()
	}
	if indexes {
		slices.SortStableFunc(list, compareMembers)
	}
	return list, true
}

func compareMembers(a, b instanceMember) int {
	i, aIndex := arrayIndex(a.name)
	j, bIndex := arrayIndex(b.name)
	switch {
	case aIndex && bIndex:
		return int(int64(i) - int64(j))
	case aIndex:
		return -1
	case bIndex:
		return 1
	}
	return 0
}

// arrayIndex reads a name that JavaScript takes for an array index.
func arrayIndex(name string) (uint32, bool) {
	n, err := strconv.ParseUint(name, 10, 32)
	return uint32(n), err == nil && n < 1<<32-1 && strconv.FormatUint(n, 10) == name
}

// matches reports whether the rule is about members called name.
func (p *PropertyRule) matches(name string) bool {
	return p.Match == nil || p.Match.MatchString(name)
}

// equal reports whether the value at s[start:] equals the JSON text want, members in
// any order and numbers by value.
func (x *explainer) equal(want string, start int) bool {
	a := explainer{s: want}
	return equalAt(&a, 0, x, start)
}

func equalAt(a *explainer, i int, b *explainer, j int) bool {
	da, db := Decoder{s: a.s, i: i}, Decoder{s: b.s, i: j}
	kind := kindOf(da.peek())
	if kindOf(db.peek()) != kind {
		return false
	}
	i, j = da.i, db.i
	switch kind {
	case "string":
		return a.textAt(i) == b.textAt(j)
	case "number":
		return parseFloat(a.numberAt(i)) == parseFloat(b.numberAt(j))
	case "array":
		da.OpenArray()
		db.OpenArray()
		for {
			more := da.Element()
			if db.Element() != more {
				return false
			}
			if !more {
				return true
			}
			if !equalAt(a, da.i, b, db.i) {
				return false
			}
			da.Skip()
			db.Skip()
		}
	case "object":
		return equalObjects(a, i, b, j)
	}
	return a.s[i] == b.s[j] // true, false, null
}

func equalObjects(a *explainer, i int, b *explainer, j int) bool {
	ma, okA := a.members(i, nil)
	mb, okB := b.members(j, nil)
	if !okA || !okB || len(ma) != len(mb) {
		return false
	}
	byName := map[string]int{}
	for _, m := range mb {
		byName[m.name] = m.start
	}
	for _, m := range ma {
		start, ok := byName[m.name]
		if !ok || !equalAt(a, m.start, b, start) {
			return false
		}
	}
	return true
}

// quote returns s as a JSON string.
func quote(s string) string { return string(AppendText(nil, s)) }

func quoteAll(list []string) string {
	var parts []string
	for _, s := range list {
		parts = append(parts, quote(s))
	}
	return strings.Join(parts, ",")
}
