// Package json5 reads JSON5 (https://spec.json5.org) into a tree that knows where
// in the text each value stands, and changes single values without touching the
// text around them.
//
// It exists because a configuration file is written by people: faults have to be
// told with their line, and a program that sets one key must leave comments and
// layout alone. It knows nothing of what the keys mean.
//
// Where it is stricter than the specification: a text is at most as deep as the
// caller says, must be UTF-8, and duplicate keys are reported (Node.Twice), since
// the last one would win silently.
package json5

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// Kind is the type of a value.
type Kind uint8

// The kinds of values.
const (
	Null Kind = iota
	Bool
	Number
	String
	Array
	Object
)

// Node is one value. Offsets count bytes, lines and columns from 1, columns in
// characters.
type Node struct {
	Kind   Kind
	Bool   bool
	Number float64
	Text   string // of a String, escapes resolved
	Items  []*Node
	// Members are in the order of the text, without those whose key comes again.
	Members []Member
	// Twice are the keys of this object that the text has more than once.
	Twice []string

	// Start and End delimit the value in the text.
	Start, End   int
	Line, Column int
	// File names the text, for callers that join several.
	File string
}

// Member is one key of an object.
type Member struct {
	Key string
	// Start and End delimit the key in the text.
	Start, End int
	Value      *Node
}

// Member returns the value of a key, nil when n is no object or has no such key.
func (n *Node) Member(key string) *Node {
	if n == nil {
		return nil
	}
	for i := range n.Members {
		if n.Members[i].Key == key {
			return n.Members[i].Value
		}
	}
	return nil
}

// SyntaxError says where a text stops being JSON5. Its text is that of the
// reference implementation, which clients show.
type SyntaxError struct {
	Message      string // such as "invalid character '}'"
	Line, Column int
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("JSON5: %s at %d:%d", e.Message, e.Line, e.Column)
}

// Parse reads raw, which may nest depthMax levels deep. The error is a
// *SyntaxError. A byte order mark is skipped.
func Parse(raw []byte, depthMax int) (*Node, error) {
	p := parser{raw: raw, depthMax: depthMax}
	if bytes.HasPrefix(raw, []byte("\xef\xbb\xbf")) {
		p.at = 3
	}
	return p.document()
}

// Blank reports whether raw holds nothing but white space.
func Blank(raw []byte) bool {
	return len(bytes.TrimSpace(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")))) == 0
}

// position returns line and column of an offset.
func position(raw []byte, at int) (line, column int) {
	before := raw[:min(at, len(raw))]
	line = 1 + bytes.Count(before, []byte("\n"))
	return line, 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
}
