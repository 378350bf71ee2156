package json5

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Quote returns text as a JSON string.
func Quote(text string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(text) // a string always encodes
	return strings.TrimSuffix(b.String(), "\n")
}

// AppendJSON appends the value as JSON on one line. What JSON cannot say, an
// infinity or NaN, becomes null.
func (n *Node) AppendJSON(b []byte) []byte { return n.append(b, "", "") }

// Indented returns the value as JSON over several lines, each further level
// indented by two spaces, the first line without indent.
func (n *Node) Indented(indent string) []byte { return n.append(nil, "\n"+indent, "  ") }

// append writes the value; line is the line break with the indent at hand, empty
// for one line.
func (n *Node) append(b []byte, line, step string) []byte {
	switch n.Kind {
	case Bool:
		return strconv.AppendBool(b, n.Bool)
	case Number:
		return appendNumber(b, n.Number)
	case String:
		return append(b, Quote(n.Text)...)
	case Array:
		b = append(b, '[')
		for i, item := range n.Items {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(append(b, line...), pad(line, step)...)
			b = item.append(b, deeper(line, step), step)
		}
		if len(n.Items) > 0 {
			b = append(b, line...)
		}
		return append(b, ']')
	case Object:
		b = append(b, '{')
		for i, m := range n.Members {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(append(b, line...), pad(line, step)...)
			b = append(append(b, Quote(m.Key)...), ':')
			if line != "" {
				b = append(b, ' ')
			}
			b = m.Value.append(b, deeper(line, step), step)
		}
		if len(n.Members) > 0 {
			b = append(b, line...)
		}
		return append(b, '}')
	}
	return append(b, "null"...)
}

func pad(line, step string) string {
	if line == "" {
		return ""
	}
	return step
}

func deeper(line, step string) string {
	if line == "" {
		return ""
	}
	return line + step
}

func appendNumber(b []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 0) || math.IsNaN(f):
		return append(b, "null"...)
	case f == math.Trunc(f) && math.Abs(f) < 1<<53 && !(f == 0 && math.Signbit(f)):
		return strconv.AppendInt(b, int64(f), 10)
	}
	raw, _ := json.Marshal(f)
	return append(b, raw...)
}

// Clone returns a deep copy.
func (n *Node) Clone() *Node {
	if n == nil {
		return nil
	}
	c := *n
	c.Items, c.Members = make([]*Node, len(n.Items)), slices.Clone(n.Members)
	for i, item := range n.Items {
		c.Items[i] = item.Clone()
	}
	for i := range c.Members {
		c.Members[i].Value = c.Members[i].Value.Clone()
	}
	if n.Items == nil {
		c.Items = nil
	}
	return &c
}

// Set puts a value under a key of an object, in the place of the old one or last.
func (n *Node) Set(key string, value *Node) {
	for i := range n.Members {
		if n.Members[i].Key == key {
			n.Members[i].Value = value
			return
		}
	}
	n.Members = append(n.Members, Member{Key: key, Value: value})
}

// Remove takes a key out of an object.
func (n *Node) Remove(key string) {
	n.Members = slices.DeleteFunc(n.Members, func(m Member) bool { return m.Key == key })
}
