package render

import (
	"strconv"

	"github.com/coderclaw/gateway/tools/protogen/internal/load"
	"github.com/coderclaw/gateway/tools/protogen/internal/plan"
)

// encode renders AppendJSON of a named type.
func (c *codec) encode(def *plan.Def) {
	c.temp = 0
	t := def.Type
	c.f("// AppendJSON appends the JSON of v to b, members in the order of the schema.")
	c.f("func (v %s) AppendJSON(b []byte) []byte {", def.Name)
	switch t.Kind {
	case plan.Object:
		c.members(t)
	case plan.Union:
		c.f("switch {")
		for _, v := range t.Variants {
			c.f("case v.%s != nil: return v.%s.AppendJSON(b)", v.To.Name, v.To.Name)
		}
		c.f("}")
		c.f("return wire.AppendRaw(b, v.Other)")
	case plan.Enum:
		c.f("return wire.AppendText(b, string(v))")
	case plan.Checked, plan.Untyped:
		c.f("return wire.AppendRaw(b, wire.Raw(v))")
	case plan.Nullable:
		c.write(t, "v.Null")
		c.f("return b")
	case plan.Array, plan.Map:
		x := "v"
		if untypedRecord(t) {
			x = "wire.Object(v)" // a definition's own type
		}
		c.write(t, x)
		c.f("return b")
	default:
		c.write(t, goType(t)+"(v)")
		c.f("return b")
	}
	c.f("}\n")
}

// members renders an object's members. Once a required one has been written, every
// later one is known to need its comma.
func (c *codec) members(t *plan.Type) {
	if len(t.Fields) == 0 {
		c.f("return append(b, \"{}\"...)")
		return
	}
	c.f("b = append(b, '{')")
	comma := "first"
	for _, f := range t.Fields {
		value := "v." + f.GoName
		presence := how(f)
		switch presence {
		case asNil:
			c.f("if %s != nil {", value)
		case asOpt, asOptNull:
			c.f("if %s.Set {", value)
		}
		key := load.Quote(f.JSON) + ":"
		switch comma {
		case "first":
			c.f("b = append(b, %s...)", quoteGo(key))
		case "maybe":
			c.f("b = append(wire.AppendComma(b), %s...)", quoteGo(key))
		default:
			c.f("b = append(b, %s...)", quoteGo(","+key))
		}
		c.member(f, presence, value)
		if presence != always {
			c.f("}")
		}
		switch {
		case presence == always:
			comma = "sure"
		case comma == "first":
			comma = "maybe"
		}
	}
	c.f("return append(b, '}')")
}

func (c *codec) member(f *plan.Field, how presence, value string) {
	switch how {
	case asOpt:
		c.write(f.Type, value+".V")
	case asOptNull:
		c.f("if %s.Null {", value)
		c.f("b = append(b, \"null\"...)")
		c.f("} else {")
		c.write(f.Type.Elem, value+".V")
		c.f("}")
	default:
		c.write(f.Type, value)
	}
}

// write renders the encoding of one value.
func (c *codec) write(t *plan.Type, x string) {
	switch t.Kind {
	case plan.Ref:
		c.f("b = %s.AppendJSON(b)", x)
	case plan.Literal:
		c.f("b = append(b, %s...)", quoteGo(t.Schema.Const.JSON()))
	case plan.String:
		c.f("b = wire.AppendText(b, %s)", x)
	case plan.Integer:
		c.f("b = strconv.AppendInt(b, %s, 10)", x)
	case plan.Number:
		c.f("b = wire.AppendFloat(b, %s)", x)
	case plan.Boolean:
		c.f("b = strconv.AppendBool(b, %s)", x)
	case plan.Untyped:
		c.f("b = wire.AppendRaw(b, %s)", x)
	case plan.Nullable:
		c.f("if %s.Valid {", x)
		c.write(t.Elem, x+".V")
		c.f("} else {")
		c.f("b = append(b, \"null\"...)")
		c.f("}")
	case plan.Array:
		i := c.name("i")
		c.f("b = append(b, '[')")
		c.f("for %s := range %s {", i, x)
		c.f("if %s > 0 { b = append(b, ',') }", i)
		c.write(t.Elem, x+"["+i+"]")
		c.f("}")
		c.f("b = append(b, ']')")
	case plan.Map:
		if untypedRecord(t) {
			c.f("b = wire.AppendObject(b, %s)", x)
			return
		}
		key := c.name("k")
		c.f("b = append(b, '{')")
		c.f("for _, %s := range wire.SortedKeys(%s) {", key, x)
		c.f("b = append(wire.AppendText(wire.AppendComma(b), %s), ':')", key)
		c.write(t.Elem, x+"["+key+"]")
		c.f("}")
		c.f("b = append(b, '}')")
	default:
		panic("kind " + strconv.Itoa(int(t.Kind)) + " has no place inside another type")
	}
}

// quoteGo returns s as a Go string literal, raw where that is easier to read.
func quoteGo(s string) string {
	if strconv.CanBackquote(s) {
		return "`" + s + "`"
	}
	return strconv.Quote(s)
}
