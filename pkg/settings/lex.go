package settings

import (
	"bytes"
	"fmt"

	"github.com/titanous/json5"
)

// The JSON5 library keeps the last of two equal keys and recurses as deep as the
// text says. This file reads the tokens once more for what it does not tell: how
// deep a text nests, and which keys an object has twice. It accepts any bytes.

// token is a bracket, a comma, a colon, or a run of text: a string with its quotes
// or a bare word.
type token struct {
	mark byte
	text []byte
}

// lexer cuts JSON5 into tokens and drops white space and comments.
type lexer struct {
	raw []byte
	at  int
}

// next returns the next token, and false at the end of the text.
func (l *lexer) next() (token, bool) {
	for l.at < len(l.raw) {
		c := l.raw[l.at]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			l.at++
		case c == '/' && l.at+1 < len(l.raw) && l.raw[l.at+1] == '/':
			for l.at < len(l.raw) && l.raw[l.at] != '\n' && l.raw[l.at] != '\r' {
				l.at++
			}
		case c == '/' && l.at+1 < len(l.raw) && l.raw[l.at+1] == '*':
			if end := bytes.Index(l.raw[l.at+2:], []byte("*/")); end >= 0 {
				l.at += 2 + end + 2
			} else {
				l.at = len(l.raw)
			}
		case c == '{' || c == '}' || c == '[' || c == ']' || c == ',' || c == ':':
			l.at++
			return token{mark: c}, true
		case c == '"' || c == '\'':
			return token{text: l.quoted(c)}, true
		default:
			return token{text: l.word()}, true
		}
	}
	return token{}, false
}

func (l *lexer) quoted(quote byte) []byte {
	start := l.at
	for l.at++; l.at < len(l.raw); l.at++ {
		if l.raw[l.at] == '\\' {
			l.at++
			continue
		}
		if l.raw[l.at] == quote {
			break
		}
	}
	l.at = min(l.at+1, len(l.raw))
	return l.raw[start:l.at]
}

func (l *lexer) word() []byte {
	start := l.at
	for l.at++; l.at < len(l.raw); l.at++ {
		switch l.raw[l.at] {
		case ' ', '\t', '\n', '\r', '{', '}', '[', ']', ',', ':', '"', '\'', '/':
			return l.raw[start:l.at]
		}
	}
	return l.raw[start:]
}

// lexDepth returns how deep the brackets of raw nest.
func lexDepth(raw []byte) int {
	depth, deepest := 0, 0
	l := lexer{raw: raw}
	for t, ok := l.next(); ok; t, ok = l.next() {
		switch t.mark {
		case '{', '[':
			depth++
			deepest = max(deepest, depth)
		case '}', ']':
			depth--
		}
	}
	return deepest
}

// duplicateKeys returns the full paths of keys that an object of raw has more than
// once, in the order found. raw must be JSON5 that parsed.
func duplicateKeys(raw []byte) []string {
	type level struct {
		path  string
		seen  map[string]bool // nil in a list
		index int
		key   string
	}
	var found []string
	stack := []level{{}}
	l := lexer{raw: raw}
	var last []byte
	for t, ok := l.next(); ok; t, ok = l.next() {
		top := &stack[len(stack)-1]
		switch t.mark {
		case 0:
			last = t.text
		case ':':
			if top.seen == nil {
				return found // not the JSON5 that parsed
			}
			top.key = keyText(last)
			if top.seen[top.key] {
				found = append(found, printable(join(top.path, top.key)))
			}
			top.seen[top.key] = true
		case ',':
			top.index++
		case '{', '[':
			child := level{path: top.path}
			if len(stack) > 1 && top.seen != nil {
				child.path = join(top.path, top.key)
			} else if len(stack) > 1 {
				child.path = fmt.Sprintf("%s[%d]", top.path, top.index)
			}
			if t.mark == '{' {
				child.seen = map[string]bool{}
			}
			stack = append(stack, child)
		case '}', ']':
			if len(stack) > 1 {
				stack = stack[:len(stack)-1]
			}
		}
	}
	return found
}

// keyText returns what a key token means: escapes resolved, quotes dropped.
func keyText(text []byte) string {
	var s string
	if len(text) > 0 && (text[0] == '"' || text[0] == '\'') && json5.Unmarshal(text, &s) == nil {
		return s
	}
	return string(text)
}
