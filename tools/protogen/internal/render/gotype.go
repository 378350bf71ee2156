package render

import (
	"github.com/coderclaw/gateway/tools/protogen/internal/plan"
)

const (
	wirePath = "github.com/coderclaw/gateway/pkg/wire"
)

// goType returns the Go type of a present value.
func goType(t *plan.Type) string {
	switch t.Kind {
	case plan.Ref:
		return t.To.Name
	case plan.Literal:
		return goType(t.Elem)
	case plan.String:
		return "string"
	case plan.Integer:
		return "int64"
	case plan.Number:
		return "float64"
	case plan.Boolean:
		return "bool"
	case plan.Array:
		return "[]" + goType(t.Elem)
	case plan.Map:
		if untypedRecord(t) {
			return "wire.Object"
		}
		return "map[string]" + goType(t.Elem)
	case plan.Nullable:
		return "wire.Null[" + goType(t.Elem) + "]"
	case plan.Untyped:
		return "wire.Raw"
	}
	return t.Name
}

// goFieldType returns the Go type of a struct field.
func goFieldType(f *plan.Field) string {
	switch how(f) {
	case asOpt:
		return "wire.Opt[" + goType(f.Type) + "]"
	case asOptNull:
		return "wire.OptNull[" + goType(f.Type.Elem) + "]"
	}
	return goType(f.Type)
}

// presence is how a struct field tells that its member is there.
type presence uint8

const (
	always    presence = iota // required
	asNil                     // optional; nil is absent
	asOpt                     // optional; wire.Opt
	asOptNull                 // optional and nullable; wire.OptNull
)

func how(f *plan.Field) presence {
	switch {
	case f.Required:
		return always
	case f.Type.Kind == plan.Nullable:
		return asOptNull
	case nilable(f.Type):
		return asNil
	}
	return asOpt
}

// nilable reports whether the Go type has a nil that can mean absent.
func nilable(t *plan.Type) bool {
	switch t.Kind {
	case plan.Array, plan.Map, plan.Untyped, plan.Checked:
		return true
	case plan.Ref:
		return nilable(t.To.Type)
	}
	return false
}

// untypedRecord reports whether t is a map of values that have no type, which Go
// keeps as text: most go from one side to the other without being looked at.
func untypedRecord(t *plan.Type) bool {
	return t.Kind == plan.Map && t.Elem.Kind == plan.Untyped
}

// underlying returns the Go type that a declared type stands on.
func underlying(t *plan.Type) string {
	switch t.Kind {
	case plan.Enum:
		return "string"
	case plan.Checked, plan.Untyped:
		return "[]byte"
	case plan.Nullable:
		return "struct{ " + goType(t) + " }"
	}
	return goType(t)
}
