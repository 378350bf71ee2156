package json5

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// parser reads one text. lineAt and lineNumber remember the last line that was
// looked up, so that positions cost one pass over the text.
type parser struct {
	raw      []byte
	at       int
	depth    int
	depthMax int

	lineAt, lineNumber int
}

func (p *parser) document() (*Node, error) {
	if err := p.space(); err != nil {
		return nil, err
	}
	n, err := p.value()
	if err != nil {
		return nil, err
	}
	if err := p.space(); err != nil {
		return nil, err
	}
	if p.at < len(p.raw) {
		return nil, p.invalid()
	}
	return n, nil
}

// invalid says that the character at hand fits nothing.
func (p *parser) invalid() error { return p.invalidAt(p.at) }

func (p *parser) invalidAt(at int) error {
	e := &SyntaxError{}
	e.Line, e.Column = position(p.raw, at)
	if at >= len(p.raw) {
		e.Message = "invalid end of input"
		return e
	}
	r, size := utf8.DecodeRune(p.raw[at:])
	switch {
	case r == utf8.RuneError && size < 2:
		e.Message = "not valid UTF-8"
	case r == '\'' || r == '"' || r == '\\':
		e.Message = fmt.Sprintf(`invalid character '\%c'`, r)
	case unicode.IsPrint(r):
		e.Message = fmt.Sprintf("invalid character '%c'", r)
	default:
		e.Message = fmt.Sprintf("invalid character '\\u%04x'", r)
	}
	if e.Message == `invalid character '\"'` {
		e.Message = `invalid character '"'`
	}
	return e
}

// space skips white space and comments.
func (p *parser) space() error {
	for p.at < len(p.raw) {
		switch c := p.raw[p.at]; {
		case c == ' ' || c >= '\t' && c <= '\r':
			p.at++
		case c == '/' && p.at+1 < len(p.raw) && p.raw[p.at+1] == '/':
			end := bytes.IndexAny(p.raw[p.at:], "\n\r\u2028\u2029")
			if end < 0 {
				end = len(p.raw) - p.at
			}
			p.at += end
		case c == '/' && p.at+1 < len(p.raw) && p.raw[p.at+1] == '*':
			end := bytes.Index(p.raw[p.at+2:], []byte("*/"))
			if end < 0 {
				return p.invalidAt(len(p.raw))
			}
			p.at += 2 + end + 2
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRune(p.raw[p.at:])
			if r != '\ufeff' && r != '\u2028' && r != '\u2029' && !unicode.Is(unicode.Zs, r) {
				return nil
			}
			p.at += size
		default:
			return nil
		}
	}
	return nil
}

// value reads a value whose first character is at hand.
func (p *parser) value() (*Node, error) {
	if p.at >= len(p.raw) {
		return nil, p.invalid()
	}
	n := &Node{Start: p.at}
	n.Line, n.Column = p.position(p.at)
	var err error
	switch c := p.raw[p.at]; {
	case c == '{' || c == '[':
		if p.depth++; p.depth > p.depthMax {
			return nil, &SyntaxError{Message: fmt.Sprintf("nested deeper than %d levels", p.depthMax), Line: n.Line, Column: n.Column}
		}
		if c == '{' {
			err = p.object(n)
		} else {
			err = p.array(n)
		}
		p.depth--
	case c == '"' || c == '\'':
		n.Kind = String
		n.Text, err = p.quoted()
	case c == '+' || c == '-' || c == '.' || c >= '0' && c <= '9':
		n.Kind = Number
		n.Number, err = p.number()
	default:
		err = p.word(n)
	}
	n.End = p.at
	return n, err
}

// position is the package's position for offsets that grow.
func (p *parser) position(at int) (line, column int) {
	p.lineNumber += bytes.Count(p.raw[p.lineAt:at], []byte("\n"))
	p.lineAt = at
	start := bytes.LastIndexByte(p.raw[:at], '\n') + 1
	return p.lineNumber + 1, 1 + utf8.RuneCount(p.raw[start:at])
}

func (p *parser) object(n *Node) error {
	n.Kind = Object
	seen := map[string]int{}
	for p.at++; ; {
		if err := p.space(); err != nil {
			return err
		}
		if p.at < len(p.raw) && p.raw[p.at] == '}' {
			p.at++
			return nil
		}
		m := Member{Start: p.at}
		var err error
		if m.Key, err = p.key(); err != nil {
			return err
		}
		m.End = p.at
		if err := p.space(); err != nil {
			return err
		}
		if p.at >= len(p.raw) || p.raw[p.at] != ':' {
			return p.invalid()
		}
		p.at++
		if err := p.space(); err != nil {
			return err
		}
		if m.Value, err = p.value(); err != nil {
			return err
		}
		if i, twice := seen[m.Key]; twice {
			n.Twice = append(n.Twice, m.Key)
			n.Members[i] = m
		} else {
			seen[m.Key] = len(n.Members)
			n.Members = append(n.Members, m)
		}
		if more, err := p.comma('}'); !more {
			return err
		}
	}
}

func (p *parser) array(n *Node) error {
	n.Kind = Array
	for p.at++; ; {
		if err := p.space(); err != nil {
			return err
		}
		if p.at < len(p.raw) && p.raw[p.at] == ']' {
			p.at++
			return nil
		}
		item, err := p.value()
		if err != nil {
			return err
		}
		n.Items = append(n.Items, item)
		if more, err := p.comma(']'); !more {
			return err
		}
	}
}

// comma reads what stands behind an entry and reports whether the list goes on.
func (p *parser) comma(end byte) (bool, error) {
	if err := p.space(); err != nil {
		return false, err
	}
	if p.at >= len(p.raw) {
		return false, p.invalid()
	}
	switch p.raw[p.at] {
	case ',':
		p.at++
		return true, nil
	case end:
		p.at++
		return false, nil
	}
	return false, p.invalid()
}

func (p *parser) key() (string, error) {
	if p.at >= len(p.raw) {
		return "", p.invalid()
	}
	if c := p.raw[p.at]; c == '"' || c == '\'' {
		return p.quoted()
	}
	return p.identifier()
}

// identifier reads an ECMAScript 5.1 identifier name.
func (p *parser) identifier() (string, error) {
	var b strings.Builder
	for p.at < len(p.raw) {
		at := p.at
		r, size := utf8.DecodeRune(p.raw[p.at:])
		if r == '\\' {
			if p.at+1 >= len(p.raw) || p.raw[p.at+1] != 'u' {
				return "", p.invalid()
			}
			p.at += 2
			unit, err := p.hex(4)
			if err != nil {
				return "", err
			}
			r, size = rune(unit), 0
			if !identifierRune(r, b.Len() == 0) {
				return "", p.invalidAt(at)
			}
		}
		if r == utf8.RuneError && size == 1 || !identifierRune(r, b.Len() == 0) {
			break
		}
		b.WriteRune(r)
		p.at += size
	}
	if b.Len() == 0 {
		return "", p.invalid()
	}
	return b.String(), nil
}

func identifierRune(r rune, first bool) bool {
	if r == '$' || r == '_' || unicode.IsLetter(r) || unicode.Is(unicode.Nl, r) {
		return true
	}
	return !first && (unicode.In(r, unicode.Mn, unicode.Mc, unicode.Nd, unicode.Pc) || r == '\u200c' || r == '\u200d')
}

// word reads a literal: null, true, false, Infinity or NaN.
func (p *parser) word(n *Node) error {
	for _, w := range []struct {
		text string
		set  Node
	}{
		{"null", Node{Kind: Null}}, {"true", Node{Kind: Bool, Bool: true}}, {"false", Node{Kind: Bool}},
		{"Infinity", Node{Kind: Number, Number: math.Inf(1)}}, {"NaN", Node{Kind: Number, Number: math.NaN()}},
	} {
		if !bytes.HasPrefix(p.raw[p.at:], []byte(w.text[:1])) {
			continue
		}
		for i := range len(w.text) {
			if p.at >= len(p.raw) || p.raw[p.at] != w.text[i] {
				return p.invalid()
			}
			p.at++
		}
		n.Kind, n.Bool, n.Number = w.set.Kind, w.set.Bool, w.set.Number
		return p.boundary()
	}
	return p.invalid()
}

// boundary refuses a literal that runs on.
func (p *parser) boundary() error {
	if p.at < len(p.raw) {
		if r, _ := utf8.DecodeRune(p.raw[p.at:]); identifierRune(r, false) || r == '.' || r == '"' || r == '\'' || r == '\\' {
			return p.invalid()
		}
	}
	return nil
}

func (p *parser) digits() int {
	start := p.at
	for p.at < len(p.raw) && p.raw[p.at] >= '0' && p.raw[p.at] <= '9' {
		p.at++
	}
	return p.at - start
}

func (p *parser) number() (float64, error) {
	sign := 1.0
	if c := p.raw[p.at]; c == '+' || c == '-' {
		if c == '-' {
			sign = -1
		}
		if p.at++; p.at >= len(p.raw) {
			return 0, p.invalid()
		}
	}
	rest := p.raw[p.at:]
	if rest[0] == 'I' || rest[0] == 'N' {
		var n Node
		err := p.word(&n)
		return sign * n.Number, err
	}
	if len(rest) > 1 && rest[0] == '0' && (rest[1] == 'x' || rest[1] == 'X') {
		p.at += 2
		start := p.at
		for p.at < len(p.raw) && isHex(p.raw[p.at]) {
			p.at++
		}
		if p.at == start {
			return 0, p.invalid()
		}
		var v float64
		for _, c := range p.raw[start:p.at] {
			v = v*16 + float64(hexValue(c))
		}
		return sign * v, p.boundary()
	}
	start := p.at
	if rest[0] == '0' && len(rest) > 1 && rest[1] >= '0' && rest[1] <= '9' {
		return 0, p.invalidAt(p.at + 1) // octal is not JSON5
	}
	n := p.digits()
	if p.at < len(p.raw) && p.raw[p.at] == '.' {
		p.at++
		n += p.digits()
	}
	if n == 0 {
		return 0, p.invalid()
	}
	if p.at < len(p.raw) && (p.raw[p.at] == 'e' || p.raw[p.at] == 'E') {
		p.at++
		if p.at < len(p.raw) && (p.raw[p.at] == '+' || p.raw[p.at] == '-') {
			p.at++
		}
		if p.digits() == 0 {
			return 0, p.invalid()
		}
	}
	// A number out of range becomes infinite, as in ECMAScript; the syntax is checked above.
	v, _ := strconv.ParseFloat(string(p.raw[start:p.at]), 64)
	return sign * v, p.boundary()
}

func isHex(c byte) bool { return hexValue(c) >= 0 }

func hexValue(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func (p *parser) hex(n int) (int, error) {
	v := 0
	for range n {
		if p.at >= len(p.raw) || !isHex(p.raw[p.at]) {
			return 0, p.invalid()
		}
		v = v<<4 | hexValue(p.raw[p.at])
		p.at++
	}
	return v, nil
}
