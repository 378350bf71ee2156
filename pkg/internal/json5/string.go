package json5

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// quoted reads a string in either kind of quotes.
func (p *parser) quoted() (string, error) {
	quote := p.raw[p.at]
	var b strings.Builder
	for p.at++; p.at < len(p.raw); {
		switch c := p.raw[p.at]; {
		case c == quote:
			p.at++
			return b.String(), nil
		case c == '\\':
			p.at++
			if err := p.escape(&b); err != nil {
				return "", err
			}
		case c == '\n' || c == '\r':
			return "", p.invalid()
		case c < utf8.RuneSelf:
			b.WriteByte(c)
			p.at++
		default:
			r, size := utf8.DecodeRune(p.raw[p.at:])
			if r == utf8.RuneError && size == 1 {
				return "", p.invalid()
			}
			b.WriteRune(r)
			p.at += size
		}
	}
	return "", p.invalid()
}

// escape reads what follows a backslash.
func (p *parser) escape(b *strings.Builder) error {
	if p.at >= len(p.raw) {
		return p.invalid()
	}
	c := p.raw[p.at]
	if i := strings.IndexByte("bfnrtv", c); i >= 0 {
		b.WriteByte("\b\f\n\r\t\v"[i])
		p.at++
		return nil
	}
	switch {
	case c == '0':
		p.at++
		if p.at < len(p.raw) && p.raw[p.at] >= '0' && p.raw[p.at] <= '9' {
			return p.invalid()
		}
		b.WriteByte(0)
	case c >= '1' && c <= '9':
		return p.invalid()
	case c == 'x':
		p.at++
		v, err := p.hex(2)
		if err != nil {
			return err
		}
		b.WriteRune(rune(v))
	case c == 'u':
		return p.unicode(b)
	case c == '\r': // a line that continues
		p.at++
		if p.at < len(p.raw) && p.raw[p.at] == '\n' {
			p.at++
		}
	case c == '\n':
		p.at++
	default:
		r, size := utf8.DecodeRune(p.raw[p.at:])
		if r == utf8.RuneError && size == 1 {
			return p.invalid()
		}
		p.at += size
		if r != '\u2028' && r != '\u2029' {
			b.WriteRune(r)
		}
	}
	return nil
}

// unicode reads \uXXXX and joins a surrogate pair; half of one becomes U+FFFD.
func (p *parser) unicode(b *strings.Builder) error {
	p.at++
	v, err := p.hex(4)
	if err != nil {
		return err
	}
	r := rune(v)
	if utf16.IsSurrogate(r) {
		mark := p.at
		if p.at+1 < len(p.raw) && p.raw[p.at] == '\\' && p.raw[p.at+1] == 'u' {
			p.at += 2
			low, err := p.hex(4)
			if err != nil {
				return err
			}
			if joined := utf16.DecodeRune(r, rune(low)); joined != utf8.RuneError {
				b.WriteRune(joined)
				return nil
			}
			p.at = mark
		}
		r = utf8.RuneError
	}
	b.WriteRune(r)
	return nil
}
