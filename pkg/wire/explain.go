package wire

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"
)

const (
	// errorsMax is how many broken rules one refusal lists. ajv knows no limit; a
	// hostile frame may break millions.
	errorsMax = 1000
	// membersMax is how many members an object may have for its refusal to be
	// explained rule by rule.
	membersMax = 100_000
)

// Explain tells why raw was refused: every broken rule in ajv's words, paths and
// order (ajv 8, allErrors, not strict), or the fault in its syntax as a
// *SyntaxError. It is slow and allocates; only a refusal pays for it. find returns
// the rule of a definition.
//
// It differs from ajv where JavaScript's JSON.parse does: members named twice and
// integers beyond 64 bits are refused, and at most 1000 errors are listed.
func Explain(raw []byte, mode Mode, rule *Rule, find func(def string) *Rule) error {
	if err := Malformed(raw); err != nil {
		return err
	}
	x := explainer{s: unsafe.String(unsafe.SliceData(raw), len(raw)), mode: mode, find: find}
	x.value(rule, 0, nil, 0, nil)
	switch {
	case x.fault != nil:
		return x.fault
	case len(x.list) > 0:
		return ValidationErrors(x.list)
	case x.tooBig != nil:
		return x.tooBig
	}
	return &SyntaxError{Reason: "fits no known variant"}
}

// Conforms reports whether raw, whose syntax has been checked, keeps the rule. It is
// for the few shapes that have no decoder of their own.
func Conforms(raw []byte, mode Mode, rule *Rule, find func(def string) *Rule) bool {
	x := explainer{s: unsafe.String(unsafe.SliceData(raw), len(raw)), mode: mode, find: find, quiet: true}
	x.value(rule, 0, nil, 0, nil)
	return x.count == 0 && x.fault == nil && x.tooBig == nil
}

// Malformed tells what is wrong with the syntax of raw; it returns nil when raw is one
// JSON text.
func Malformed(raw []byte) error {
	d := NewDecoder(raw, Closed)
	if d.Skip() && d.End() {
		return nil
	}
	reason := "malformed JSON"
	switch {
	case !utf8.Valid(raw):
		reason = "invalid UTF-8"
	case len(raw) == 0:
		reason = "empty text"
	case tooDeep(raw):
		reason = "nests too deep"
	}
	return &SyntaxError{Offset: min(d.i, len(raw)), Reason: reason}
}

// tooDeep reports whether more brackets are open somewhere than Skip follows.
func tooDeep(raw []byte) bool {
	depth, inText := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
		if depth > depthRawMax {
			return true
		}
	}
	return false
}

// explainer walks an instance along the rules. It keeps no tree of the instance: a
// value is the index where its text starts, so that its memory does not grow with
// what the rules leave untyped.
type explainer struct {
	s    string
	mode Mode
	find func(string) *Rule
	list []ValidationError
	// count is how many errors there were, those beyond errorsMax included.
	count int
	// quiet counts errors without telling them, which is all that trying an
	// alternative needs.
	quiet bool
	// fault outranks the list; tooBig counts only when the list is empty.
	fault, tooBig *SyntaxError
}

// place is a step of the way to a value; it becomes a path only in an error.
type place struct {
	parent *place
	name   string
	index  int // used when name is empty and member is false
	member bool
}

func (p *place) path() string {
	if p == nil {
		return ""
	}
	if !p.member {
		return p.parent.path() + "/" + strconv.Itoa(p.index)
	}
	name := p.name
	if strings.ContainsAny(name, "~/") {
		name = strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
	}
	return p.parent.path() + "/" + name
}

func (x *explainer) add(at *place, keyword, message, params string) {
	x.count++
	if !x.quiet && len(x.list) < errorsMax {
		x.list = append(x.list, ValidationError{InstancePath: at.path(), Keyword: keyword, Message: message, Params: Raw(params)})
	}
}

// value checks the value at s[start:] against r. The order is ajv's: the type first
// unless its own group of keywords follows, then const, enum, anyOf, oneOf, then the
// groups for numbers, strings, arrays and objects, whose rules are asked when the
// instance, not the schema, has that type. What the rules have seen of the instance is
// noted in see, unless that is nil: only unevaluated members and elements need it.
func (x *explainer) value(r *Rule, start int, at *place, depth int, see *seen) {
	for r != nil && r.Ref != "" {
		r = x.find(r.Ref)
	}
	if r == nil {
		return
	}
	if depth > depthTypedMax {
		x.fault = &SyntaxError{Offset: start, InstancePath: at.path(), Reason: "nests too deep"}
		return
	}
	for start < len(x.s) && strings.IndexByte(" \t\r\n", x.s[start]) >= 0 {
		start++
	}
	if r.More != nil && (r.More.UnevaluatedItems != nil || r.More.UnevaluatedProperties != nil) {
		before, own := x.count, &seen{}
		defer func() {
			x.unevaluated(r.More, start, at, depth, own)
			if see != nil && x.count == before {
				see.merge(own)
			}
		}()
		x.rules(r, start, at, depth, own)
		return
	}
	x.rules(r, start, at, depth, see)
}

// rules asks r's keywords.
func (x *explainer) rules(r *Rule, start int, at *place, depth int, see *seen) {
	kind := kindOf(x.s[start])
	late := len(r.Types) == 1 && r.hasGroup(r.Types[0])
	if len(r.Types) > 0 && !late && !x.isType(r, kind, start, at) {
		x.wrongType(r, at)
	}
	x.anyType(r, kind, start, at, depth, see)
	switch {
	case kind == "number" && r.hasGroup("number"):
		x.number(r, start, at)
	case kind == "string" && r.hasGroup("string"):
		x.text(r, start, at)
	case kind == "array" && r.hasGroup("array"):
		x.array(r, start, at, depth, see)
	case kind == "object" && r.hasGroup("object"):
		x.object(r, start, at, depth, see)
	}
	if late && kind != r.Types[0] {
		x.wrongType(r, at)
	}
}

// kindOf tells the JSON type of a value by its first byte.
func kindOf(c byte) string {
	switch c {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}

// hasGroup reports whether r has keywords for instances of that type. Integer is no
// group: ajv asks such a type before the keywords for numbers.
func (r *Rule) hasGroup(kind string) bool {
	switch kind {
	case "number":
		return r.Maximum != "" || r.Minimum != "" || r.ExclusiveMaximum != "" || r.ExclusiveMinimum != "" || r.More != nil && r.More.MultipleOf != ""
	case "string":
		return r.MaxLength != "" || r.MinLength != "" || r.Pattern != ""
	case "array":
		return r.MaxItems != "" || r.MinItems != "" || r.Items != nil || r.More.hasGroup(kind)
	case "object":
		return r.Required != nil || r.Closed || r.Additional != nil || r.Properties != nil || r.Patterns != nil || r.More.hasGroup(kind)
	}
	return false
}

func (x *explainer) wrongType(r *Rule, at *place) {
	params := quote(r.Types[0])
	if len(r.Types) > 1 {
		params = "[" + quoteAll(r.Types) + "]"
	}
	x.add(at, "type", "must be "+strings.Join(r.Types, ","), `{"type":`+params+`}`)
}

func (x *explainer) isType(r *Rule, kind string, start int, at *place) bool {
	for _, t := range r.Types {
		if t == kind {
			if t == "number" {
				x.checkRange(start, at)
			}
			return true
		}
		if t == "integer" && kind == "number" {
			switch _, k := integer(x.numberAt(start)); k {
			case intFits:
				return true
			case intTooBig:
				x.tooBig = &SyntaxError{Offset: start, InstancePath: at.path(), Reason: "integer beyond 64 bits"}
				return true
			}
		}
	}
	return false
}

// checkRange notes a number that no float64 holds.
func (x *explainer) checkRange(start int, at *place) {
	if math.IsInf(parseFloat(x.numberAt(start)), 0) {
		x.tooBig = &SyntaxError{Offset: start, InstancePath: at.path(), Reason: "number out of range"}
	}
}

func (x *explainer) numberAt(start int) string {
	d := Decoder{s: x.s, i: start}
	return x.s[start:d.number()]
}

// parseFloat reads a number as JavaScript does: too big is infinite.
func parseFloat(text string) float64 {
	f, _ := strconv.ParseFloat(text, 64) // its error is told by the infinity
	return f
}

func (x *explainer) textAt(start int) string {
	d := Decoder{s: x.s, i: start}
	var s string
	d.Text(&s)
	return s
}

// anyType asks the keywords that fit every instance.
func (x *explainer) anyType(r *Rule, kind string, start int, at *place, depth int, see *seen) {
	if r.Const != "" && !x.equal(r.Const, start) {
		x.add(at, "const", "must be equal to constant", `{"allowedValue":`+r.Const+`}`)
	}
	tolerant := x.mode == Open && kind == "string"
	if r.Enum != nil && !tolerant && !slices.ContainsFunc(r.Enum, func(v string) bool { return x.equal(v, start) }) {
		x.add(at, "enum", "must be equal to one of the allowed values", `{"allowedValues":[`+strings.Join(r.Enum, ",")+`]}`)
	}
	if r.More != nil && r.More.Not != nil && x.holds(r.More.Not, start, at, depth, nil) {
		x.add(at, "not", "must NOT be valid", "{}")
	}
	if r.AnyOf != nil && !(tolerant && onlyConsts(r.AnyOf)) {
		x.anyOf(r, start, at, depth, see)
	}
	if r.OneOf != nil && !(tolerant && onlyConsts(r.OneOf)) {
		x.oneOf(r, start, at, depth, see)
	}
	if r.More != nil {
		x.combined(r.More, start, at, depth, see)
	}
}

// onlyConsts reports whether the branches are an enum of strings, null aside.
func onlyConsts(branches []Rule) bool {
	for i := range branches {
		if !strings.HasPrefix(branches[i].Const, `"`) && !slices.Equal(branches[i].Types, []string{"null"}) {
			return false
		}
	}
	return true
}

func (x *explainer) anyOf(r *Rule, start int, at *place, depth int, see *seen) {
	passed := false
	for i := range r.AnyOf {
		if x.holds(&r.AnyOf[i], start, at, depth, see) {
			if passed = true; see == nil {
				break
			}
		}
	}
	if passed {
		return
	}
	if !x.quiet { // now the reasons are wanted
		for i := range r.AnyOf {
			x.value(&r.AnyOf[i], start, at, depth, nil)
		}
	}
	x.add(at, "anyOf", "must match a schema in anyOf", "{}")
}

// branch asks r and notes what it has seen only if it holds.
func (x *explainer) branch(r *Rule, start int, at *place, depth int, see *seen) bool {
	before := x.count
	var own *seen
	if see != nil {
		own = &seen{}
	}
	x.value(r, start, at, depth, own)
	if x.count != before {
		return false
	}
	see.merge(own)
	return true
}

func (x *explainer) oneOf(r *Rule, start int, at *place, depth int, see *seen) {
	count, length := x.count, len(x.list)
	var passing []string
	for i := range r.OneOf {
		if x.branch(&r.OneOf[i], start, at, depth, see) {
			passing = append(passing, strconv.Itoa(i))
		}
		if len(passing) == 2 {
			break
		}
	}
	if len(passing) == 1 {
		x.count, x.list = count, x.list[:length]
		return
	}
	params := "null"
	if len(passing) > 0 {
		params = "[" + strings.Join(passing, ",") + "]"
	}
	x.add(at, "oneOf", "must match exactly one schema in oneOf", `{"passingSchemas":`+params+`}`)
}

func (x *explainer) number(r *Rule, start int, at *place) {
	f := parseFloat(x.numberAt(start))
	if slices.Equal(r.Types, []string{"number"}) {
		x.checkRange(start, at)
	}
	for _, b := range []struct {
		keyword, sign, limit string
		holds                func(f, limit float64) bool
	}{
		{"maximum", "<=", r.Maximum, func(f, limit float64) bool { return f <= limit }},
		{"minimum", ">=", r.Minimum, func(f, limit float64) bool { return f >= limit }},
		{"exclusiveMaximum", "<", r.ExclusiveMaximum, func(f, limit float64) bool { return f < limit }},
		{"exclusiveMinimum", ">", r.ExclusiveMinimum, func(f, limit float64) bool { return f > limit }},
	} {
		if b.limit != "" && !b.holds(f, parseFloat(b.limit)) {
			x.add(at, b.keyword, "must be "+b.sign+" "+b.limit, `{"comparison":"`+b.sign+`","limit":`+b.limit+`}`)
		}
	}
	if r.More != nil && r.More.MultipleOf != "" {
		x.multiple(r.More.MultipleOf, start, at)
	}
}

func (x *explainer) text(r *Rule, start int, at *place) {
	s := x.textAt(start)
	if n, ok := limit(r.MaxLength); ok && !AtMost(s, n) {
		x.add(at, "maxLength", "must NOT have more than "+r.MaxLength+" characters", `{"limit":`+r.MaxLength+`}`)
	}
	if n, ok := limit(r.MinLength); ok && !AtLeast(s, n) {
		x.add(at, "minLength", "must NOT have fewer than "+r.MinLength+" characters", `{"limit":`+r.MinLength+`}`)
	}
	if r.Match != nil && !r.Match.MatchString(s) {
		x.add(at, "pattern", `must match pattern "`+r.Pattern+`"`, `{"pattern":`+quote(r.Pattern)+`}`)
	}
}

// limit reads the value of a counting keyword.
func limit(text string) (int, bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil
}

func (x *explainer) array(r *Rule, start int, at *place, depth int, see *seen) {
	d := Decoder{s: x.s, i: start}
	d.OpenArray()
	n := 0
	for d.Element() {
		d.Skip()
		n++
	}
	if most, ok := limit(r.MaxItems); ok && n > most {
		x.add(at, "maxItems", "must NOT have more than "+r.MaxItems+" items", `{"limit":`+r.MaxItems+`}`)
	}
	if least, ok := limit(r.MinItems); ok && n < least {
		x.add(at, "minItems", "must NOT have fewer than "+r.MinItems+" items", `{"limit":`+r.MinItems+`}`)
	}
	var prefix []Rule
	if r.More != nil {
		x.elements(r.More, n, start, at, depth, see)
		prefix = r.More.Prefix
	}
	see.items(len(prefix))
	if r.Items == nil && prefix == nil {
		return
	}
	d = Decoder{s: x.s, i: start}
	d.OpenArray()
	for i := 0; d.Element(); i++ {
		rule := r.Items
		switch {
		case i < len(prefix):
			rule = &prefix[i]
		case prefix != nil && rule.never():
			limit := strconv.Itoa(len(prefix))
			x.add(at, "items", "must NOT have more than "+limit+" items", `{"limit":`+limit+`}`)
			return
		}
		x.value(rule, d.i, &place{parent: at, index: i}, depth+1, nil)
		d.Skip()
	}
	if r.Items != nil {
		see.items(n)
	}
}
