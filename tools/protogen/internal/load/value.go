package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Kind is the JSON type of a Value.
type Kind uint8

// The JSON types.
const (
	Null Kind = iota
	Bool
	Number
	String
	Array
	Object
)

func (k Kind) String() string {
	return [...]string{"null", "boolean", "number", "string", "array", "object"}[k]
}

// Pos is a place in a schema file.
type Pos struct {
	// File is the file's name inside the schema folder.
	File string
	// Pointer is a JSON pointer into it; empty for the whole file.
	Pointer string
}

// At returns the place of a member or element below p.
func (p Pos) At(token string) Pos {
	return Pos{p.File, p.Pointer + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(token)}
}

func (p Pos) String() string {
	if p.Pointer == "" {
		return p.File
	}
	return p.File + "#" + p.Pointer
}

// Value is one JSON value that remembers its place and the order of its members.
type Value struct {
	Pos     Pos
	Kind    Kind
	Text    string // of a String the text, of a Number its spelling
	Bool    bool
	Items   []*Value
	Members []Member
}

// Member is a name and value of an Object.
type Member struct {
	Name  string
	Value *Value
}

// Get returns the member called name, or nil.
func (v *Value) Get(name string) *Value {
	for _, m := range v.Members {
		if m.Name == name {
			return m.Value
		}
	}
	return nil
}

// JSON returns the value as compact JSON, its members in their order.
func (v *Value) JSON() string {
	var b strings.Builder
	v.write(&b)
	return b.String()
}

func (v *Value) write(b *strings.Builder) {
	switch v.Kind {
	case Null:
		b.WriteString("null")
	case Bool:
		b.WriteString(strconv.FormatBool(v.Bool))
	case Number:
		b.WriteString(v.Text)
	case String:
		b.WriteString(Quote(v.Text))
	case Array:
		b.WriteByte('[')
		for i, item := range v.Items {
			if i > 0 {
				b.WriteByte(',')
			}
			item.write(b)
		}
		b.WriteByte(']')
	case Object:
		b.WriteByte('{')
		for i, m := range v.Members {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(Quote(m.Name) + ":")
			m.Value.write(b)
		}
		b.WriteByte('}')
	}
}

// Quote returns s as a JSON string without HTML escapes.
func Quote(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic(err) // a string always encodes
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// ParseJSON reads one JSON text. A member named twice is an error.
func ParseJSON(file string, data []byte) (*Value, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	v, err := parseValue(dec, Pos{File: file})
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file ends early")
	}
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("text after the value at byte %d", dec.InputOffset())
	}
	return v, nil
}

func parseValue(dec *json.Decoder, pos Pos) (*Value, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, fmt.Errorf("byte %d: %w", dec.InputOffset(), err)
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '[' {
			return parseArray(dec, pos)
		}
		return parseObject(dec, pos)
	case string:
		return &Value{Pos: pos, Kind: String, Text: t}, nil
	case json.Number:
		return &Value{Pos: pos, Kind: Number, Text: t.String()}, nil
	case bool:
		return &Value{Pos: pos, Kind: Bool, Bool: t}, nil
	}
	return &Value{Pos: pos, Kind: Null}, nil
}

func parseArray(dec *json.Decoder, pos Pos) (*Value, error) {
	v := &Value{Pos: pos, Kind: Array}
	for dec.More() {
		item, err := parseValue(dec, pos.At(strconv.Itoa(len(v.Items))))
		if err != nil {
			return nil, err
		}
		v.Items = append(v.Items, item)
	}
	_, err := dec.Token()
	return v, err
}

func parseObject(dec *json.Decoder, pos Pos) (*Value, error) {
	v := &Value{Pos: pos, Kind: Object}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("byte %d: %w", dec.InputOffset(), err)
		}
		name, _ := token.(string)
		if v.Get(name) != nil {
			return nil, fmt.Errorf("%s: named twice", pos.At(name))
		}
		item, err := parseValue(dec, pos.At(name))
		if err != nil {
			return nil, err
		}
		v.Members = append(v.Members, Member{name, item})
	}
	_, err := dec.Token()
	return v, err
}
