package wire

import "iter"

// Raw is untyped JSON: one syntax-checked value, or nil when it is absent. A Raw
// that was decoded may alias the frame it came from.
type Raw []byte

// MarshalJSON returns the bytes of r as they are, or null when r is nil.
func (r Raw) MarshalJSON() ([]byte, error) {
	if r == nil {
		return []byte("null"), nil
	}
	return r, nil
}

// UnmarshalJSON stores a copy of data.
func (r *Raw) UnmarshalJSON(data []byte) error {
	*r = append(Raw{}, data...)
	return nil
}

// Opt is an optional member: V counts only when Set is true.
type Opt[T any] struct {
	V   T
	Set bool
}

// Some returns an Opt that is present with v.
func Some[T any](v T) Opt[T] { return Opt[T]{V: v, Set: true} }

// Get returns the value and whether it is present.
func (o Opt[T]) Get() (T, bool) { return o.V, o.Set }

// Or returns the value, or def when it is absent.
func (o Opt[T]) Or(def T) T {
	if o.Set {
		return o.V
	}
	return def
}

// IsZero reports whether the member is absent, for the omitzero struct tag.
func (o Opt[T]) IsZero() bool { return !o.Set }

// Null is a member that must be there but may be null: V counts only when Valid.
type Null[T any] struct {
	V     T
	Valid bool
}

// NotNull returns a Null that holds v.
func NotNull[T any](v T) Null[T] { return Null[T]{V: v, Valid: true} }

// Get returns the value and whether it is not null.
func (n Null[T]) Get() (T, bool) { return n.V, n.Valid }

// Or returns the value, or def when it is null.
func (n Null[T]) Or(def T) T {
	if n.Valid {
		return n.V
	}
	return def
}

// OptNull is a member with three states: absent (Set is false), null (Set and
// Null), or the value V (Set and not Null).
type OptNull[T any] struct {
	V    T
	Set  bool
	Null bool
}

// SomeNull returns an OptNull that is present and null.
func SomeNull[T any]() OptNull[T] { return OptNull[T]{Set: true, Null: true} }

// SomeValue returns an OptNull that is present with v.
func SomeValue[T any](v T) OptNull[T] { return OptNull[T]{V: v, Set: true} }

// Get returns the value and whether there is one: present and not null.
func (o OptNull[T]) Get() (T, bool) { return o.V, o.Set && !o.Null }

// Or returns the value, or def when it is absent or null.
func (o OptNull[T]) Or(def T) T {
	if o.Set && !o.Null {
		return o.V
	}
	return def
}

// IsZero reports whether the member is absent, for the omitzero struct tag.
func (o OptNull[T]) IsZero() bool { return !o.Set }

// Object is one JSON object whose members have no type, kept as its text: decoding
// checks its syntax and copies nothing. nil is an absent optional member, and is
// written as an empty object where the member is required. An Object that was decoded
// may alias the frame it came from.
type Object []byte

// MarshalJSON returns the bytes of o as they are, or an empty object when o is nil.
func (o Object) MarshalJSON() ([]byte, error) { return AppendObject(nil, o), nil }

// UnmarshalJSON stores a copy of data, which must be an object.
func (o *Object) UnmarshalJSON(data []byte) error {
	d := NewDecoder(append([]byte(nil), data...), Closed)
	if !d.Object(o) || !d.End() {
		return &SyntaxError{Offset: d.i, Reason: "not an object"}
	}
	return nil
}

// Get returns the first member called name, and whether there is one. Its work grows
// with the length of o.
func (o Object) Get(name string) (Raw, bool) {
	for key, value := range o.Members() {
		if key == name {
			return value, true
		}
	}
	return nil, false
}

// Members returns the members in the order of the text.
func (o Object) Members() iter.Seq2[string, Raw] {
	return func(yield func(string, Raw) bool) {
		d := NewDecoder(o, Open)
		if !d.OpenObject() {
			return
		}
		for key, ok := d.Member(); ok; key, ok = d.Member() {
			var value Raw
			if !d.Raw(&value) || !yield(key, value) {
				return
			}
		}
	}
}
