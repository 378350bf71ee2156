package settings

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Class says what it takes for a changed key to take effect.
type Class string

// The classes, from the mildest on.
const (
	// ClassNone is a key that is read anew wherever it is used.
	ClassNone Class = "none"
	// ClassHot is a key that a running gateway puts into effect by itself.
	ClassHot Class = "hot"
	// ClassRestart is a key that takes a restart in place.
	ClassRestart Class = "restart"
)

// Key is one key of the struct tree, a group of keys included.
type Key struct {
	// Path is the full name, such as gateway.auth.token. An entry of a list is
	// written [], one of a record *.
	Path string
	// Type is what the file holds there: object, string, boolean, integer, number,
	// list of strings and so on.
	Type string
	// Group reports whether the key holds keys of its own.
	Group bool
	// Secret reports whether the value is never shown.
	Secret   bool
	Advanced bool
	Class    Class
	// Env is the environment variable that overrides the key.
	Env string
	// Default is the value of an empty file, as JSON; empty when there is none.
	Default string
	Doc     string
	// Enum lists the only values there are.
	Enum []string
	// Bounds words the bounds, such as "0 to 65535".
	Bounds string
	// Example is a value as JSON5.
	Example string
}

// Keys lists every key in the order of the struct tree. What a key's tags leave
// out it has from the group it is in: the tag reload of gateway holds for every key
// below it that has none of its own.
func Keys() []Key {
	var keys []Key
	walkKeys(reflect.ValueOf(Default()).Elem(), "", ClassRestart, &keys)
	return keys
}

func walkKeys(v reflect.Value, path string, class Class, out *[]Key) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		k := Key{
			Path: join(path, f.Tag.Get("json")), Class: class, Env: f.Tag.Get("env"), Doc: f.Tag.Get("jsonschema_description"),
			Secret: f.Type == secretType, Advanced: f.Tag.Get("advanced") == "true", Example: f.Tag.Get("example"),
		}
		if c := f.Tag.Get("reload"); c != "" {
			k.Class = Class(c)
		}
		k.readTag(f.Tag.Get("jsonschema"))
		k.Type = typeName(f.Type)
		inner, suffix := innermost(f.Type)
		k.Group = isGroup(inner)
		if value := v.Field(i); !k.Group && !k.Secret && !value.IsZero() {
			k.Default = string(encodeValue(value, k.Path, nil).AppendJSON(nil))
		}
		*out = append(*out, k)
		if k.Group {
			below := reflect.New(inner).Elem()
			if inner == f.Type {
				below = v.Field(i)
			}
			walkKeys(below, k.Path+suffix, k.Class, out)
		}
	}
}

// readTag takes enum and bounds from a tag of the schema library.
func (k *Key) readTag(tag string) {
	var least, most string
	for part := range strings.SplitSeq(tag, ",") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "enum":
			k.Enum = append(k.Enum, value)
		case "minimum":
			least = value
		case "maximum":
			most = value
		}
	}
	if least != "" && most != "" {
		k.Bounds = fmt.Sprintf("%s to %s", least, most)
	}
}

var secretType = reflect.TypeFor[Secret]()

// innermost returns what a list or a record holds in the end, and how the path of
// such a value is written.
func innermost(t reflect.Type) (inner reflect.Type, suffix string) {
	for t != secretType && (t.Kind() == reflect.Slice || t.Kind() == reflect.Map || t.Kind() == reflect.Pointer) {
		suffix += map[reflect.Kind]string{reflect.Slice: "[]", reflect.Map: ".*"}[t.Kind()]
		t = t.Elem()
	}
	return t, suffix
}

// isGroup reports whether values of a type hold keys.
func isGroup(t reflect.Type) bool { return t.Kind() == reflect.Struct && t != secretType }

func typeName(t reflect.Type) string {
	switch {
	case t == secretType:
		return "secret string"
	case isGroup(t):
		return "object"
	}
	switch t.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int64:
		return "integer"
	case reflect.Float64:
		return "number"
	case reflect.Slice:
		return "list of " + typeName(t.Elem()) + "s"
	case reflect.Map:
		return "record of " + typeName(t.Elem()) + "s"
	case reflect.Pointer:
		return typeName(t.Elem())
	}
	panic("settings: no reader for " + t.String())
}

// fieldOf returns the field of a struct that a key names.
func fieldOf(t reflect.Type, key string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("json") == key {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// Change is a key whose value differs between two settings.
type Change struct {
	Key   string
	Class Class
}

// Diff lists the keys in which two settings differ, in the order of the tree. A
// list counts as one key; of a record, each entry has its keys.
func Diff(a, b *Settings) []Change {
	var out []Change
	diffValues(reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem(), "", ClassRestart, &out)
	return out
}

func diffValues(a, b reflect.Value, path string, class Class, out *[]Change) {
	for i := range a.NumField() {
		f := a.Type().Field(i)
		c := class
		if own := f.Tag.Get("reload"); own != "" {
			c = Class(own)
		}
		key := join(path, f.Tag.Get("json"))
		if isGroup(f.Type) {
			diffValues(a.Field(i), b.Field(i), key, c, out)
			continue
		}
		if f.Type.Kind() == reflect.Map && isGroup(f.Type.Elem()) {
			diffRecords(a.Field(i), b.Field(i), key, c, out)
			continue
		}
		if !equalValues(a.Field(i), b.Field(i)) {
			*out = append(*out, Change{key, c})
		}
	}
}

// diffRecords lists the entries that only one of two records has, and the keys in which
// the others differ, by name.
func diffRecords(a, b reflect.Value, path string, class Class, out *[]Change) {
	names := map[string]bool{}
	for _, v := range []reflect.Value{a, b} {
		for _, name := range v.MapKeys() {
			names[name.String()] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		one, other := a.MapIndex(reflect.ValueOf(name)), b.MapIndex(reflect.ValueOf(name))
		if !one.IsValid() || !other.IsValid() {
			*out = append(*out, Change{join(path, name), class})
			continue
		}
		diffValues(one, other, join(path, name), class, out)
	}
}

// equalValues is reflect.DeepEqual with an empty list and none alike.
func equalValues(a, b reflect.Value) bool {
	if a.Kind() == reflect.Slice || a.Kind() == reflect.Map {
		if a.Len() == 0 && b.Len() == 0 {
			return true
		}
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// Strongest returns the class of a set of changes: that of the one that takes most.
func Strongest(changes []Change) Class {
	order := []Class{ClassNone, ClassHot, ClassRestart}
	best := 0
	for _, c := range changes {
		best = max(best, slices.Index(order, c.Class))
	}
	return order[best]
}
