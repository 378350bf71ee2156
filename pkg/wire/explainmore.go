package wire

import (
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// hasGroup is Rule.hasGroup for the rare keywords.
func (m *MoreRule) hasGroup(kind string) bool {
	switch {
	case m == nil:
		return false
	case kind == "array":
		return m.Prefix != nil || m.Contains != nil || m.Unique
	}
	return m.MaxProperties != "" || m.MinProperties != "" || m.Names != nil || m.DependentRequired != nil || m.DependentSchemas != nil
}

// never reports whether r is the schema false.
func (r *Rule) never() bool { return r != nil && r.More != nil && r.More.Never }

// seen holds what the rules have asked about of one instance. A nil seen notes nothing.
type seen struct {
	names map[string]bool
	first int          // elements before this one
	some  map[int]bool // and these
}

func (s *seen) member(name string) {
	if s == nil {
		return
	}
	if s.names == nil {
		s.names = map[string]bool{}
	}
	s.names[name] = true
}

func (s *seen) items(first int) {
	if s != nil {
		s.first = max(s.first, first)
	}
}

func (s *seen) item(i int) {
	if s == nil {
		return
	}
	if s.some == nil {
		s.some = map[int]bool{}
	}
	s.some[i] = true
}

func (s *seen) merge(other *seen) {
	if s == nil || other == nil {
		return
	}
	s.items(other.first)
	for name := range other.names {
		s.member(name)
	}
	for i := range other.some {
		s.item(i)
	}
}

// combined asks the keywords that combine rules about one instance.
func (x *explainer) combined(m *MoreRule, start int, at *place, depth int, see *seen) {
	if m.Never {
		x.add(at, "false schema", "boolean schema is false", "{}")
	}
	for i := range m.AllOf {
		x.value(&m.AllOf[i], start, at, depth, see)
	}
	if m.If == nil {
		return
	}
	then, failing := m.Then, "then"
	if !x.holds(m.If, start, at, depth, see) {
		then, failing = m.Else, "else"
	}
	if then != nil && !x.branch(then, start, at, depth, see) {
		x.add(at, "if", `must match "`+failing+`" schema`, `{"failingKeyword":"`+failing+`"}`)
	}
}

// holds asks r without telling anybody what is wrong.
func (x *explainer) holds(r *Rule, start int, at *place, depth int, see *seen) bool {
	count, quiet := x.count, x.quiet
	x.quiet = true
	ok := x.branch(r, start, at, depth, see)
	x.count, x.quiet = count, quiet
	return ok
}

// multiple asks multipleOf, in exact decimal arithmetic.
func (x *explainer) multiple(of string, start int, at *place) {
	text := x.numberAt(start)
	n, nExp, ok := decimal(text)
	if !ok {
		x.tooBig = &SyntaxError{Offset: start, InstancePath: at.path(), Reason: "number out of range"}
		return
	}
	d, dExp, _ := decimal(of)
	// Both as whole numbers of the finer unit.
	if nExp > dExp {
		n.Mul(n, power10(nExp-dExp))
	} else {
		d.Mul(d, power10(dExp-nExp))
	}
	if new(big.Int).Rem(n, d).Sign() != 0 {
		x.add(at, "multipleOf", "must be multiple of "+of, `{"multipleOf":`+of+`}`)
	}
}

// decimal returns number text as n * 10^exp. It gives up on exponents that no float64
// has and on more digits than anybody writes, because the work grows with them.
func decimal(text string) (n *big.Int, exp int, ok bool) {
	mantissa := text
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		mantissa, exp = text[:i], exponent(text[i+1:])
	}
	whole, frac, _ := strings.Cut(mantissa, ".")
	exp -= len(frac)
	if len(mantissa) > 1000 || exp > 400 || exp < -1400 {
		return nil, 0, false
	}
	n, ok = new(big.Int).SetString(whole+frac, 10)
	return n, exp, ok
}

func power10(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }

// elements asks the rare keywords of an array with n elements.
func (x *explainer) elements(m *MoreRule, n, start int, at *place, depth int, see *seen) {
	if m.Contains != nil {
		x.contains(m, start, at, depth, see)
	}
	if m.Unique {
		x.unique(n, start, at)
	}
}

func (x *explainer) contains(m *MoreRule, start int, at *place, depth int, see *seen) {
	least, most := 1, -1
	if n, ok := limit(m.MinContains); ok {
		least = n
	}
	params := `{"minContains":` + strconv.Itoa(least)
	if n, ok := limit(m.MaxContains); ok {
		most = n
		params += `,"maxContains":` + m.MaxContains
	}
	found, count, length := 0, x.count, len(x.list)
	d := Decoder{s: x.s, i: start}
	d.OpenArray()
	for i := 0; d.Element(); i++ {
		if x.branch(m.Contains, d.i, &place{parent: at, index: i}, depth+1, nil) {
			see.item(i)
			found++
		}
		d.Skip()
	}
	if found >= least {
		x.count, x.list = count, x.list[:length]
	}
	if found < least || most >= 0 && found > most {
		message := "must contain at least " + strconv.Itoa(least) + " valid item(s)"
		if most >= 0 {
			message = "must contain at least " + strconv.Itoa(least) + " and no more than " + m.MaxContains + " valid item(s)"
		}
		x.add(at, "contains", message, params+"}")
	}
}

// unique asks uniqueItems. Equal values have equal canonical texts, so that the work
// grows with the length of the array and not with its square.
func (x *explainer) unique(n, start int, at *place) {
	first := make(map[string]int, n)
	d := Decoder{s: x.s, i: start}
	d.OpenArray()
	for i := 0; d.Element(); i++ {
		text := string(x.canonical(nil, d.i, at))
		if j, twice := first[text]; twice {
			x.add(at, "uniqueItems", "must NOT have duplicate items (items ## "+strconv.Itoa(j)+" and "+strconv.Itoa(i)+" are identical)",
				`{"i":`+strconv.Itoa(i)+`,"j":`+strconv.Itoa(j)+`}`)
			return
		}
		first[text] = i
		d.Skip()
	}
}

// canonical appends the value at x.s[start:] in a spelling that equal values share.
func (x *explainer) canonical(b []byte, start int, at *place) []byte {
	d := Decoder{s: x.s, i: start}
	switch kind := kindOf(d.peek()); kind {
	case "number":
		return AppendFloat(b, parseFloat(x.numberAt(d.i)))
	case "string":
		return AppendText(b, x.textAt(d.i))
	case "array":
		b = append(b, '[')
		d.OpenArray()
		for d.Element() {
			b = append(x.canonical(b, d.i, at), ',')
			d.Skip()
		}
		return append(b, ']')
	case "object":
		members, _ := x.members(d.i, at) // a name that comes twice is noted there
		slices.SortFunc(members, func(a, b instanceMember) int { return strings.Compare(a.name, b.name) })
		b = append(b, '{')
		for _, m := range members {
			b = append(AppendText(b, m.name), ':')
			b = append(x.canonical(b, m.start, at), ',')
		}
		return append(b, '}')
	default:
		return append(b, x.s[d.i]) // true, false, null
	}
}

// memberRules asks the rare keywords of an object.
func (x *explainer) memberRules(m *MoreRule, members []instanceMember, byName map[string]int, start int, at *place, depth int, see *seen) {
	if most, ok := limit(m.MaxProperties); ok && len(members) > most {
		x.add(at, "maxProperties", "must NOT have more than "+m.MaxProperties+" properties", `{"limit":`+m.MaxProperties+`}`)
	}
	if least, ok := limit(m.MinProperties); ok && len(members) < least {
		x.add(at, "minProperties", "must NOT have fewer than "+m.MinProperties+" properties", `{"limit":`+m.MinProperties+`}`)
	}
	if m.Names != nil {
		for _, one := range members {
			x.name(m.Names, one.name, at)
		}
	}
	for _, dep := range m.DependentRequired {
		if _, ok := byName[dep.Name]; !ok {
			continue
		}
		all, word := strings.Join(dep.Needs, ", "), "properties"
		if len(dep.Needs) == 1 {
			word = "property"
		}
		for _, need := range dep.Needs {
			if _, ok := byName[need]; !ok {
				x.add(at, "dependentRequired", "must have "+word+" "+all+" when property "+dep.Name+" is present",
					`{"property":`+quote(dep.Name)+`,"missingProperty":`+quote(need)+`,"depsCount":`+strconv.Itoa(len(dep.Needs))+`,"deps":`+quote(all)+`}`)
			}
		}
	}
	for i := range m.DependentSchemas {
		dep := &m.DependentSchemas[i]
		if _, ok := byName[dep.Name]; ok {
			x.value(&dep.Rule, start, at, depth, see)
		}
	}
}

// name asks a rule about a member's name.
func (x *explainer) name(r *Rule, name string, at *place) {
	of := explainer{s: quote(name), mode: x.mode, find: x.find, quiet: x.quiet}
	of.value(r, 0, at, 0, nil)
	if of.count > 0 {
		x.count += of.count
		x.list = append(x.list, of.list[:min(len(of.list), errorsMax-min(len(x.list), errorsMax))]...)
		x.add(at, "propertyNames", "property name must be valid", `{"propertyName":`+quote(name)+`}`)
	}
}

// unevaluated asks about what no other rule has seen.
func (x *explainer) unevaluated(m *MoreRule, start int, at *place, depth int, see *seen) {
	d := Decoder{s: x.s, i: start}
	switch kind := kindOf(d.peek()); {
	case kind == "array" && m.UnevaluatedItems != nil:
		d.OpenArray()
		for i := 0; d.Element(); i++ {
			if i >= see.first && !see.some[i] {
				if m.UnevaluatedItems.never() {
					limit := strconv.Itoa(see.first)
					x.add(at, "unevaluatedItems", "must NOT have more than "+limit+" items", `{"limit":`+limit+`}`)
					return
				}
				x.value(m.UnevaluatedItems, d.i, &place{parent: at, index: i}, depth+1, nil)
				see.item(i)
			}
			d.Skip()
		}
	case kind == "object" && m.UnevaluatedProperties != nil:
		members, _ := x.members(start, at)
		for _, one := range members {
			if see.names[one.name] {
				continue
			}
			see.member(one.name)
			if m.UnevaluatedProperties.never() {
				x.add(at, "unevaluatedProperties", "must NOT have unevaluated properties", `{"unevaluatedProperty":`+quote(one.name)+`}`)
				continue
			}
			x.value(m.UnevaluatedProperties, one.start, &place{parent: at, name: one.name, member: true}, depth+1, nil)
		}
	}
}
