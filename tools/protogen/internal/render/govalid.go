package render

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/coderclaw/gateway/tools/protogen/internal/plan"
)

// GoValid renders a package that only answers yes or no: the same single pass as the
// decoders, without making values, and so without allocations. Nothing ships it, because
// all that stays raw in this protocol is untyped, for which wire.ValidJSON is enough; it
// is there to measure what decoding costs beyond validation.
//
// Of a map it does not see names that come twice: that would need the memory it saves.
func GoValid(pkg *plan.Package) ([]byte, error) {
	p := goFile("*.json", "regexp", wirePath)
	p.before("package protocol", "Package valid tells whether JSON keeps the rules of a definition.")
	v := &validity{codec{printer: p, domain: &plan.Domain{}, patterns: map[string]string{}}}
	for _, d := range pkg.Domains {
		for _, def := range d.Types {
			v.def(def)
		}
	}
	for _, pattern := range sorted(v.patterns) {
		p.f("var %s = %s\n", v.patterns[pattern], matcher(pattern))
	}
	text, err := p.done()
	return []byte(strings.Replace(string(text), "\npackage protocol\n", "\npackage valid\n", 1)), err
}

type validity struct{ codec }

func (c *validity) def(def *plan.Def) {
	c.temp = 0
	t := def.Type
	if !def.Inline {
		c.f("// %s reports whether raw is one %s, strictly.", def.Name, def.Name)
		c.f("func %s(raw []byte) bool {", def.Name)
		c.f("d := wire.NewDecoder(raw, wire.Closed)")
		c.f("return valid%s(&d) && d.End()", def.Name)
		c.f("}\n")
	}
	c.f("func valid%s(d *wire.Decoder) bool {", def.Name)
	switch t.Kind {
	case plan.Object:
		c.object(t)
	case plan.Union:
		c.union(t)
	case plan.Enum:
		var values []string
		for _, value := range t.Values {
			values = append(values, strconv.Quote(value.Value))
		}
		c.f("var x string")
		c.f("if !d.Text(&x) { return false }")
		c.f("switch x {")
		c.f("case %s: return true", strings.Join(values, ", "))
		c.f("}\nreturn false")
	default:
		c.check(t)
		c.f("return true")
	}
	c.f("}\n")
}

func (c *validity) object(t *plan.Type) {
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
		c.check(f.Type)
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
		c.f("return false")
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

// check renders the reading of one value; at a fault it returns false.
func (c *validity) check(t *plan.Type) {
	switch t.Kind {
	case plan.Ref:
		c.f("if !valid%s(d) { return false }", t.To.Name)
	case plan.String:
		c.text(t)
	case plan.Literal, plan.Integer, plan.Number, plan.Boolean:
		c.scalar(t)
	case plan.Untyped:
		c.f("if !d.Skip() { return false }")
	case plan.Nullable:
		c.f("if !d.Null() {")
		c.check(t.Elem)
		c.f("}")
	case plan.Array:
		c.array(t)
	case plan.Map:
		c.f("if !d.OpenObject() { return false }")
		c.f("for _, ok := d.Member(); ok; _, ok = d.Member() {")
		c.check(t.Elem)
		c.f("}")
		c.f("if !d.CloseObject() { return false }")
	default:
		panic(fmt.Sprintf("kind %d of %s cannot be validated in one pass", t.Kind, t.Schema.Pos))
	}
}

// text checks a string. One that only has to be there, or not to be empty, is not even
// unescaped.
func (c *validity) text(t *plan.Type) {
	x := c.name("x")
	switch s := t.Schema; {
	case t.Alternatives == nil && s.Only("type"):
		c.f("if _, ok := d.TextLen(); !ok { return false }")
	case t.Alternatives == nil && s.MinLength == "1" && s.MaxLength+s.Pattern == "":
		c.f("if n, ok := d.TextLen(); !ok || n == 0 { return false }")
	default:
		c.f("var %s string", x)
		c.read(t, x)
	}
}

func (c *validity) scalar(t *plan.Type) {
	x := c.name("x")
	c.f("var %s %s", x, goType(t))
	c.read(t, x)
	if t.Kind != plan.Literal && len(numberFaults(t, x)) == 0 {
		c.f("_ = %s", x)
	}
}

func (c *validity) array(t *plan.Type) {
	n, counted := c.name("n"), t.Schema.MinItems+t.Schema.MaxItems != ""
	c.f("if !d.OpenArray() { return false }")
	if counted {
		c.f("%s := 0", n)
	}
	c.f("for d.Element() {")
	if counted {
		c.f("%s++", n)
	}
	c.check(t.Elem)
	c.f("}")
	faults := []string{"!d.CloseArray()"}
	if least := t.Schema.MinItems; least != "" {
		faults = append(faults, n+" < "+least)
	}
	if most := t.Schema.MaxItems; most != "" {
		faults = append(faults, n+" > "+most)
	}
	c.f("if %s { return false }", strings.Join(faults, " || "))
}

func (c *validity) union(t *plan.Type) {
	if t.Discriminator != "" {
		c.f("tag, _ := d.PeekText(%q)", t.Discriminator)
		c.f("switch tag {")
		for _, v := range t.Variants {
			c.f("case %q: return valid%s(d)", v.Tag, v.To.Name)
		}
		c.f("}\nreturn false")
		return
	}
	c.f("start := d.Mark()")
	for _, v := range t.Variants {
		c.f("if valid%s(d) { return true }", v.To.Name)
		c.f("d.Reset(start)")
	}
	c.f("return false")
}
