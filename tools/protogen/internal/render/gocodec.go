package render

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/coderclaw/gateway/tools/protogen/internal/load"
	"github.com/coderclaw/gateway/tools/protogen/internal/plan"
)

// goCodec renders decoding and encoding of a domain's types.
func goCodec(d *plan.Domain) ([]byte, error) {
	p := goFile(d.File.Name, "regexp", "strconv", wirePath)
	c := &codec{printer: p, domain: d, patterns: map[string]string{}}
	for _, def := range d.Types {
		if !def.Inline {
			c.public(def)
		}
		c.decode(def)
		if def.Lenient {
			c.lenient(def)
		}
		c.encode(def)
	}
	for _, pattern := range sorted(c.patterns) {
		p.f("var %s = %s\n", c.patterns[pattern], matcher(pattern))
	}
	return p.done()
}

type codec struct {
	*printer
	domain   *plan.Domain
	patterns map[string]string
	temp     int
}

// name returns a fresh local name.
func (c *codec) name(prefix string) string {
	c.temp++
	return prefix + strconv.Itoa(c.temp)
}

// public renders the exported functions of a type.
func (c *codec) public(def *plan.Def) {
	n := def.Name
	c.f("// Decode%s reads one %s strictly. The error is a wire.ValidationErrors or a *wire.SyntaxError.", n, n)
	c.f("func Decode%s(raw []byte) (%s, error) {", n, n)
	c.f("var v %s", n)
	c.f("d := wire.NewDecoder(raw, wire.Closed)")
	c.f("if v.decode(&d) && d.End() { return v, nil }")
	c.f("return *new(%s), wire.Explain(raw, wire.Closed, &rule%s, rule)", n, n)
	c.f("}\n")
	c.f("// Decode%sOpen reads one %s as a client does: unknown members are dropped, unknown enum values kept.", n, n)
	c.f("func Decode%sOpen(raw []byte) (%s, error) {", n, n)
	c.f("var v %s", n)
	c.f("d := wire.NewDecoder(raw, wire.Open)")
	c.f("if v.decode(&d) && d.End() { return v, nil }")
	c.f("return *new(%s), wire.Explain(raw, wire.Open, &rule%s, rule)", n, n)
	c.f("}\n")
	c.f("// Codec%s converts between %s and JSON.", n, n)
	c.f("var Codec%s = wire.Codec[%s]{Decode: Decode%s, DecodeOpen: Decode%sOpen, Append: append%s}\n", n, n, n, n, n)
	c.f("func append%s(b []byte, v %s) []byte { return v.AppendJSON(b) }\n", n, n)
	c.f("// MarshalJSON encodes v.")
	c.f("func (v %s) MarshalJSON() ([]byte, error) { return v.AppendJSON(nil), nil }\n", n)
	c.f("// UnmarshalJSON decodes a copy of data openly.")
	c.f("func (v *%s) UnmarshalJSON(data []byte) (err error) {", n)
	c.f("*v, err = Decode%sOpen(append([]byte(nil), data...))", n)
	c.f("return err")
	c.f("}\n")
}

// decode renders the method that reads a value of a named type in one pass.
func (c *codec) decode(def *plan.Def) {
	c.temp = 0
	t := def.Type
	if t.Kind == plan.Enum {
		c.f("// Known reports whether v is one of the values that this version of the protocol names.")
		c.f("func (v %s) Known() bool {", def.Name)
		c.f("switch v {")
		var names []string
		for _, value := range t.Values {
			names = append(names, value.GoName)
		}
		c.f("case %s: return true", strings.Join(names, ", "))
		c.f("}\nreturn false\n}\n")
	}
	c.f("func (v *%s) decode(d *wire.Decoder) bool {", def.Name)
	switch t.Kind {
	case plan.Object:
		c.object(t)
	case plan.Union:
		c.union(t)
	case plan.Enum:
		c.f("return d.Text((*string)(v)) && (v.Known() || d.IsOpen())")
	case plan.Checked:
		c.f("var raw wire.Raw")
		c.f("if !d.Raw(&raw) || !wire.Conforms(raw, d.Mode(), &rule%s, rule) { return false }", def.Name)
		c.f("*v = %s(raw)", def.Name)
		c.f("return true")
	case plan.Untyped:
		c.f("return d.Raw((*wire.Raw)(v))")
	case plan.Nullable:
		c.read(t, "v.Null")
		c.f("return true")
	default:
		c.f("var x %s", goType(t))
		c.read(t, "x")
		c.f("*v = %s(x)", def.Name)
		c.f("return true")
	}
	c.f("}\n")
}

// object renders the loop over an object's members.
func (c *codec) object(t *plan.Type) {
	words := (len(t.Fields) + 63) / 64
	c.f("if !d.OpenObject() { return false }")
	for w := range words {
		c.f("var seen%d uint64", w)
	}
	key := "key"
	if len(t.Fields) == 0 {
		key = "_"
	}
	c.f("for %s, ok := d.Member(); ok; %s, ok = d.Member() {", key, key)
	if len(t.Fields) > 0 {
		c.f("switch key {")
	}
	masks := make([]uint64, words)
	for i, f := range t.Fields {
		bit := uint64(1) << (i % 64)
		c.f("case %q:", f.JSON)
		c.f("if seen%d&%#x != 0 { return false }", i/64, bit)
		c.f("seen%d |= %#x", i/64, bit)
		c.field(f, "v."+f.GoName)
		if f.Required {
			masks[i/64] |= bit
		}
	}
	if len(t.Fields) > 0 {
		c.f("default:")
	}
	if t.Open {
		c.f("if !d.Skip() { return false }")
	} else {
		c.f("if !d.Unknown() { return false }")
	}
	if len(t.Fields) > 0 {
		c.f("}")
	}
	c.f("}")
	result := "return d.CloseObject()"
	for w, mask := range masks {
		if mask != 0 {
			result += fmt.Sprintf(" && seen%d&%#x == %#x", w, mask, mask)
		}
	}
	c.f("%s", result)
}

// field reads a member into dst, which has the field's Go type.
func (c *codec) field(f *plan.Field, dst string) {
	switch how(f) {
	case asOpt:
		c.f("%s.Set = true", dst)
		c.read(f.Type, dst+".V")
	case asOptNull:
		c.f("%s.Set = true", dst)
		c.f("if d.Null() {")
		c.f("%s.Null = true", dst)
		c.f("} else {")
		c.read(f.Type.Elem, dst+".V")
		c.f("}")
	default:
		c.read(f.Type, dst)
	}
}

// read renders the reading of one value into dst; at a fault it returns false.
func (c *codec) read(t *plan.Type, dst string) {
	refuse := func(call string, faults []string) {
		c.f("if %s { return false }", strings.Join(append([]string{"!" + call}, faults...), " || "))
	}
	switch t.Kind {
	case plan.Ref:
		refuse(dst+".decode(d)", nil)
	case plan.Literal:
		fault := dst + " != " + t.Schema.Const.JSON()
		if t.Elem.Kind == plan.Boolean {
			fault = dst
			if t.Schema.Const.Bool {
				fault = "!" + dst
			}
		}
		refuse(scalarCall(t.Elem, dst), []string{fault})
	case plan.String:
		refuse(scalarCall(t, dst), c.textFaults(t, dst))
	case plan.Integer, plan.Number, plan.Boolean:
		refuse(scalarCall(t, dst), numberFaults(t, dst))
	case plan.Untyped:
		refuse("d.Raw(&"+dst+")", nil)
	case plan.Nullable:
		c.f("if !d.Null() {")
		c.read(t.Elem, dst+".V")
		c.f("%s.Valid = true", dst)
		c.f("}")
	case plan.Array:
		c.array(t, dst)
	case plan.Map:
		if untypedRecord(t) {
			refuse("d.Object(&"+dst+")", nil)
			return
		}
		c.mapping(t, dst)
	default:
		panic(fmt.Sprintf("kind %d of %s has no place inside another type", t.Kind, t.Schema.Pos))
	}
}

func scalarCall(t *plan.Type, dst string) string {
	method := map[plan.Kind]string{plan.String: "Text", plan.Integer: "Int", plan.Number: "Float", plan.Boolean: "Bool"}[t.Kind]
	return "d." + method + "(&" + dst + ")"
}

func (c *codec) array(t *plan.Type, dst string) {
	item := c.name("e")
	hint := "Hint(1024)" // elements to make room for on the strength of a guess
	switch n := braces(t.Elem, 0); {
	case n > 0:
		hint = fmt.Sprintf("HintObjects(%d, 64)", n)
	case t.Elem.Kind == plan.Ref, t.Elem.Kind == plan.Nullable:
		hint = "Hint(64)"
	}
	c.f("if !d.OpenArray() { return false }")
	c.f("%s = make(%s, 0, d.%s)", dst, goType(t), hint)
	c.f("for d.Element() {")
	if t.Elem.Kind == plan.Ref {
		// A struct is decoded where it stays.
		c.f("%s = append(%s, *new(%s))", dst, dst, goType(t.Elem))
		c.read(t.Elem, dst+"[len("+dst+")-1]")
	} else {
		c.f("var %s %s", item, goType(t.Elem))
		c.read(t.Elem, item)
		c.f("%s = append(%s, %s)", dst, dst, item)
	}
	c.f("}")
	faults := []string{"!d.CloseArray()"}
	if n := t.Schema.MinItems; n != "" && n != "0" {
		faults = append(faults, fmt.Sprintf("len(%s) < %s", dst, n))
	}
	if n := t.Schema.MaxItems; n != "" {
		faults = append(faults, fmt.Sprintf("len(%s) > %s", dst, n))
	}
	c.f("if %s { return false }", strings.Join(faults, " || "))
}

// braces returns how many opening braces the JSON of t has at least.
func braces(t *plan.Type, depth int) int {
	switch {
	case depth > 10: // a type that holds itself
		return 0
	case t.Kind == plan.Ref:
		return braces(t.To.Type, depth+1)
	case t.Kind == plan.Map, t.Kind == plan.Union:
		return 1
	case t.Kind != plan.Object:
		return 0
	}
	n := 1
	for _, f := range t.Fields {
		if f.Required {
			n += braces(f.Type, depth+1)
		}
	}
	return n
}

func (c *codec) mapping(t *plan.Type, dst string) {
	key, item := c.name("k"), c.name("e")
	c.f("if !d.OpenObject() { return false }")
	c.f("%s = %s{}", dst, goType(t))
	c.f("for %s, ok := d.Member(); ok; %s, ok = d.Member() {", key, key)
	c.f("if _, twice := %s[%s]; twice { return false }", dst, key)
	c.f("var %s %s", item, goType(t.Elem))
	c.read(t.Elem, item)
	c.f("%s[%s] = %s", dst, key, item)
	c.f("}")
	c.f("if !d.CloseObject() { return false }")
}

// textFaults returns the conditions under which a string is refused.
func (c *codec) textFaults(t *plan.Type, x string) []string {
	if len(t.Alternatives) > 0 {
		var all []string
		for _, a := range t.Alternatives {
			faults := c.textFaults(a, x)
			if len(faults) == 0 {
				return nil
			}
			all = append(all, "("+strings.Join(faults, " || ")+")")
		}
		return []string{strings.Join(all, " && ")}
	}
	s := t.Schema
	var faults []string
	switch {
	case s.MinLength == "1":
		faults = append(faults, x+` == ""`)
	case s.MinLength != "" && s.MinLength != "0":
		faults = append(faults, fmt.Sprintf("!wire.AtLeast(%s, %s)", x, s.MinLength))
	}
	if s.MaxLength != "" {
		faults = append(faults, fmt.Sprintf("!wire.AtMost(%s, %s)", x, s.MaxLength))
	}
	if s.Pattern != "" {
		faults = append(faults, fmt.Sprintf("!%s.MatchString(%s)", c.pattern(s.Pattern), x))
	}
	if s.Const != nil && s.Const.Kind == load.String {
		faults = append(faults, x+" != "+strconv.Quote(s.Const.Text))
	}
	return faults
}

func (c *codec) pattern(text string) string {
	if c.patterns[text] == "" {
		c.patterns[text] = "pattern" + c.domain.GoName + strconv.Itoa(len(c.patterns)+1)
	}
	return c.patterns[text]
}

// numberFaults returns the conditions under which a number is refused. A bound of an
// integer that is no int64 itself is compared as a float64.
func numberFaults(t *plan.Type, x string) []string {
	var faults []string
	for _, b := range []struct{ op, bound string }{
		{">", t.Schema.Maximum}, {"<", t.Schema.Minimum}, {">=", t.Schema.ExclusiveMaximum}, {"<=", t.Schema.ExclusiveMinimum},
	} {
		if b.bound == "" || t.Kind == plan.Boolean {
			continue
		}
		left := x
		if _, err := strconv.ParseInt(b.bound, 10, 64); err != nil && t.Kind == plan.Integer {
			left = "float64(" + x + ")"
		}
		faults = append(faults, left+" "+b.op+" "+b.bound)
	}
	return faults
}

// union renders the choice between variants.
func (c *codec) union(t *plan.Type) {
	if t.Discriminator != "" {
		c.f("tag, ok := d.PeekText(%q)", t.Discriminator)
		c.f("switch tag {")
		for _, v := range t.Variants {
			c.f("case %q:", v.Tag)
			c.f("v.%s = new(%s)", v.To.Name, v.To.Name)
			c.f("return v.%s.decode(d)", v.To.Name)
		}
		c.f("}")
		c.f("return ok && d.IsOpen() && d.Raw(&v.Other)")
		return
	}
	c.f("start := d.Mark()")
	c.f("open := d.IsOpen()")
	c.f("d.SetMode(wire.Closed)")
	for _, v := range t.Variants {
		c.f("if x := new(%s); x.decode(d) {", v.To.Name)
		c.f("if open { d.SetMode(wire.Open) }")
		c.f("v.%s = x", v.To.Name)
		c.f("return true")
		c.f("}")
		c.f("d.Reset(start)")
		c.f("d.SetMode(wire.Closed)")
	}
	c.f("if !open { return false }")
	for _, v := range t.Variants {
		c.f("d.Reset(start)")
		c.f("if x := new(%s); x.decode(d) {", v.To.Name)
		c.f("v.%s = x", v.To.Name)
		c.f("return true")
		c.f("}")
	}
	c.f("return false")
}

// lenient renders the reading of params that the protocol never validates: whatever
// does not fit counts as absent.
func (c *codec) lenient(def *plan.Def) {
	n := def.Name
	c.f("// Decode%sLenient reads params that the protocol does not validate: a member of the wrong type", n)
	c.f("// counts as absent, params that are no object as an empty one. The error is a *wire.SyntaxError.")
	c.f("func Decode%sLenient(raw []byte) (%s, error) {", n, n)
	c.f("var v %s", n)
	c.f("d := wire.NewDecoder(raw, wire.Open)")
	c.f("if len(raw) == 0 || v.decodeLenient(&d) && d.End() { return v, nil }")
	c.f("return %s{}, wire.Malformed(raw)", n)
	c.f("}\n")
	c.f("func (v *%s) decodeLenient(d *wire.Decoder) bool {", n)
	c.f("if !d.OpenObject() { return d.Skip() }")
	key := "key"
	if len(def.Type.Fields) == 0 {
		key = "_"
	}
	c.f("for %s, ok := d.Member(); ok; %s, ok = d.Member() {", key, key)
	if len(def.Type.Fields) > 0 {
		c.f("start := d.Mark()")
		c.f("switch key {")
	}
	for _, f := range def.Type.Fields {
		c.f("case %q:", f.JSON)
		c.f("var x %s", goFieldType(f))
		c.f("fits := func() bool {")
		c.field(f, "x")
		c.f("return true")
		c.f("}")
		c.f("if fits() {")
		c.f("v.%s = x", f.GoName)
		c.f("} else {")
		c.f("v.%s = *new(%s)", f.GoName, goFieldType(f))
		c.f("d.Reset(start)")
		c.f("if !d.Skip() { return false }")
		c.f("}")
	}
	if len(def.Type.Fields) > 0 {
		c.f("default:")
		c.f("if !d.Skip() { return false }")
		c.f("}")
	} else {
		c.f("if !d.Skip() { return false }")
	}
	c.f("}")
	c.f("return d.CloseObject()")
	c.f("}\n")
}
