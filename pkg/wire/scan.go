package wire

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"unicode/utf8"
	"unsafe"
)

const (
	// depthTypedMax is how deep typed values may nest, the envelope included.
	depthTypedMax = 64
	// depthRawMax is how deep values may nest inside one untyped value.
	depthRawMax = 512
)

// Mode says how strictly a Decoder treats what the schema does not name.
type Mode uint8

const (
	// Closed refuses unknown members of closed objects and unknown enum values,
	// as a server does with requests.
	Closed Mode = iota
	// Open drops unknown members and keeps unknown enum values, as a client does
	// with results and events.
	Open
)

// Decoder reads one JSON text in a single pass and only says yes or no: a method
// that returns false leaves the Decoder useless, and Explain finds the reason.
// Generated code is its only intended user. Not safe for concurrent use.
type Decoder struct {
	s     string
	i     int
	depth int
	first bool
	mode  Mode
}

// NewDecoder returns a Decoder over raw, which must not change afterwards:
// decoded strings and Raw values alias it.
func NewDecoder(raw []byte, mode Mode) Decoder {
	return Decoder{s: unsafe.String(unsafe.SliceData(raw), len(raw)), mode: mode}
}

// Mode returns how strict the Decoder is.
func (d *Decoder) Mode() Mode { return d.mode }

// IsOpen reports whether unknown members and enum values are tolerated.
func (d *Decoder) IsOpen() bool { return d.mode == Open }

// Mark returns the place of the next value, for Reset.
func (d *Decoder) Mark() Mark { return Mark{d.i, d.depth, d.first, d.mode} }

// Mark is a place in the input of a Decoder.
type Mark struct {
	i, depth int
	first    bool
	mode     Mode
}

// Reset goes back to m, as if nothing had been read since.
func (d *Decoder) Reset(m Mark) { d.i, d.depth, d.first, d.mode = m.i, m.depth, m.first, m.mode }

// SetMode changes the mode until the next Reset.
func (d *Decoder) SetMode(m Mode) { d.mode = m }

// End reports whether nothing but white space is left.
func (d *Decoder) End() bool {
	d.space()
	return d.i == len(d.s)
}

// space skips white space.
func (d *Decoder) space() { d.i = skipSpace(d.s, d.i) }

// skipSpace returns the index of the first byte at or after i that is no white space. It
// stays out of line, so that the callers' test for the usual case, none, is all they pay.
//
//go:noinline
func skipSpace(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\n' || s[i] == '\t' || s[i] == '\r') {
		i++
	}
	return i
}

// peek skips white space and returns the next byte, or 0 at the end.
func (d *Decoder) peek() (c byte) {
	if d.i < len(d.s) {
		c = d.s[d.i]
	}
	if c > ' ' {
		return
	}
	return d.peekFar()
}

// peekFar is peek where there is white space or the end; apart, so that peek can be
// inlined.
//
//go:noinline
func (d *Decoder) peekFar() byte {
	d.space()
	if d.i < len(d.s) {
		return d.s[d.i]
	}
	return 0
}

const (
	lanesLow  = 0x0101010101010101
	lanesHigh = 0x8080808080808080
)

// stringEnd scans the string whose text starts at s[start]. It returns the index of the
// closing quote, or -1, and whether the text holds an escape. Eight bytes are looked at
// together; bytes above 0x7f are only noted and the whole text is checked for UTF-8 when
// there was one. Escapes are checked as well.
func stringEnd(s string, start int) (end int, escaped bool) {
	i := start
	var high uint64
	for {
		for i+8 <= len(s) {
			w := load64(s, i)
			// A lane's high bit is set when the lane is below 0x20, a quote or a
			// backslash; borrows only spoil lanes above the first hit, and lanes with
			// their own high bit set never count.
			hit := ((w - lanesLow*0x20) | ((w ^ lanesLow*'"') - lanesLow) | ((w ^ lanesLow*'\\') - lanesLow)) &^ w & lanesHigh
			if hit != 0 {
				high |= w & ((hit&-hit)>>7 - 1)
				i += bits.TrailingZeros64(hit) >> 3
				goto special
			}
			high |= w
			i += 8
		}
		for ; i < len(s); i++ {
			c := s[i]
			if c == '"' || c == '\\' || c < 0x20 {
				goto special
			}
			high |= uint64(c)
		}
		return -1, false
	special:
		switch s[i] {
		case '"':
			if high&lanesHigh != 0 && !utf8.ValidString(s[start:i]) {
				return -1, false
			}
			return i, escaped
		case '\\':
			escaped = true
			n := escapeLen(s[i:])
			if n == 0 {
				return -1, false
			}
			i += n
		default:
			return -1, false
		}
	}
}

// escapeLen returns the length of the escape sequence that s starts with, or 0.
func escapeLen(s string) int {
	if len(s) < 2 {
		return 0
	}
	switch s[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if hex4(s, 2) >= 0 {
			return 6
		}
	}
	return 0
}

// hex4 reads four hexadecimal digits at s[i:], or returns -1.
func hex4(s string, i int) rune {
	if len(s) < i+4 {
		return -1
	}
	var r rune
	for _, c := range []byte(s[i : i+4]) {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// unescape resolves the escapes of s, which stringEnd has checked. A surrogate
// without its partner becomes U+FFFD, as it does when a JavaScript program sends
// such a string as UTF-8.
func unescape(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for {
		n := strings.IndexByte(s, '\\')
		if n < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:n])
		s = s[n:]
		switch s[1] {
		case 'u':
			r := hex4(s, 2)
			s = s[6:]
			if isHighSurrogate(r) && len(s) >= 6 && s[0] == '\\' && s[1] == 'u' {
				if low := hex4(s, 2); isLowSurrogate(low) {
					r = (r-0xd800)<<10 + (low - 0xdc00) + 0x10000
					s = s[6:]
				}
			}
			b.WriteRune(r) // a lone surrogate is no rune, so WriteRune writes U+FFFD
			continue
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		default:
			b.WriteByte(s[1])
		}
		s = s[2:]
	}
}

func isHighSurrogate(r rune) bool { return 0xd800 <= r && r < 0xdc00 }
func isLowSurrogate(r rune) bool  { return 0xdc00 <= r && r < 0xe000 }

// load64 reads eight bytes at s[i:], which must be there, little endian.
func load64(s string, i int) uint64 {
	return binary.LittleEndian.Uint64((*[8]byte)(unsafe.Add(unsafe.Pointer(unsafe.StringData(s)), i))[:])
}

// number scans the number at d.i by the grammar of RFC 8259 and returns its end,
// or -1.
func (d *Decoder) number() int { return numberEnd(d.s, d.i) }

// numberEnd is number without a Decoder.
func numberEnd(s string, i int) int {
	if i < len(s) && s[i] == '-' {
		i++
	}
	switch {
	case i >= len(s):
		return -1
	case s[i] == '0':
		i++
	case '1' <= s[i] && s[i] <= '9':
		i = digits(s, i)
	default:
		return -1
	}
	if i == len(s) || s[i] != '.' && s[i]|0x20 != 'e' {
		return i
	}
	if s[i] == '.' {
		n := digits(s, i+1)
		if n == i+1 {
			return -1
		}
		i = n
	}
	if i < len(s) && s[i]|0x20 == 'e' {
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		n := digits(s, i)
		if n == i {
			return -1
		}
		i = n
	}
	return i
}

// digits returns the index of the first byte at or after i that is no digit.
func digits(s string, i int) int {
	for i < len(s) && '0' <= s[i] && s[i] <= '9' {
		i++
	}
	return i
}

// literal consumes word if it comes next.
func (d *Decoder) literal(word string) bool {
	if strings.HasPrefix(d.s[d.i:], word) {
		d.i += len(word)
		return true
	}
	return false
}

// Skip consumes one value of any kind, checking its syntax and UTF-8. It nests at
// most depthRawMax deep and does not recurse. At a fault it stays there.
func (d *Decoder) Skip() (ok bool) {
	d.i, ok = skipValue(d.s, d.i)
	return ok
}

// skipValue returns the index after the value at or after s[i], or where the fault is.
func skipValue(s string, i int) (int, bool) {
	// kinds holds one bit for each open bracket: 1 for an object.
	var kinds [depthRawMax / 64]uint64
	depth := 0
	for {
		if i < len(s) && s[i] <= ' ' {
			i = skipSpace(s, i)
		}
		if i == len(s) {
			return i, false
		}
		switch c := s[i]; c {
		case '"':
			end, _ := stringEnd(s, i+1)
			if end < 0 {
				return i, false
			}
			i = end + 1
		case '{', '[':
			if depth == depthRawMax {
				return i, false
			}
			i = skipSpace(s, i+1)
			if i < len(s) && s[i] == c+2 { // the bracket that closes
				i++
				break
			}
			bit := uint64(1) << (depth & 63)
			kinds[depth>>6] &^= bit
			depth++
			if c == '{' {
				kinds[(depth-1)>>6] |= bit
				ok := false
				if i, ok = skipKey(s, i); !ok {
					return i, false
				}
			}
			continue
		default:
			end := scalarEnd(s, i)
			if end < 0 {
				return i, false
			}
			i = end
		}
		// A value ended: close what closes here, or go on to the next element.
		for {
			if depth == 0 {
				return i, true
			}
			if i < len(s) && s[i] <= ' ' {
				i = skipSpace(s, i)
			}
			if i == len(s) {
				return i, false
			}
			object := kinds[(depth-1)>>6]&(1<<((depth-1)&63)) != 0
			c := s[i]
			i++
			if c == ',' {
				if object {
					ok := false
					if i, ok = skipKey(s, i); !ok {
						return i, false
					}
				}
				break
			}
			if c != '}' || !object {
				if c != ']' || object {
					return i, false
				}
			}
			depth--
		}
	}
}

// skipKey returns the index after a member's name and colon.
func skipKey(s string, i int) (int, bool) {
	if i < len(s) && s[i] <= ' ' {
		i = skipSpace(s, i)
	}
	if i == len(s) || s[i] != '"' {
		return i, false
	}
	end, _ := stringEnd(s, i+1)
	if end < 0 {
		return i, false
	}
	if i = end + 1; i < len(s) && s[i] == ':' {
		return i + 1, true
	}
	i = skipSpace(s, i)
	if i < len(s) && s[i] == ':' {
		return i + 1, true
	}
	return i, false
}

// scalarEnd returns the index after the number, true, false or null at s[i:], or -1.
func scalarEnd(s string, i int) int {
	word := ""
	switch s[i] {
	case 't':
		word = "true"
	case 'f':
		word = "false"
	case 'n':
		word = "null"
	default:
		return numberEnd(s, i)
	}
	if !strings.HasPrefix(s[i:], word) {
		return -1
	}
	return i + len(word)
}

// ValidJSON reports whether raw is one JSON text that this package accepts as an
// untyped value: RFC 8259 syntax, valid UTF-8, at most 512 levels. It does not
// allocate.
func ValidJSON(raw []byte) bool {
	d := NewDecoder(raw, Closed)
	return d.Skip() && d.End()
}
