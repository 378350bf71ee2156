package wire

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// OpenObject consumes the brace that opens an object.
func (d *Decoder) OpenObject() bool {
	if d.peek() != '{' || d.depth == depthTypedMax {
		return false
	}
	d.i++
	d.depth++
	d.first = true
	return true
}

// Member consumes the next member's name and colon and returns the name. It
// returns false at the end of the object and at a fault; CloseObject tells which.
func (d *Decoder) Member() (string, bool) {
	s, i := d.s, d.i
	if i < len(s) && s[i] <= ' ' {
		i = skipSpace(s, i)
	}
	if d.first {
		d.first = false
	} else {
		if i == len(s) || s[i] != ',' {
			d.i = i
			return "", false
		}
		if i++; i < len(s) && s[i] <= ' ' {
			i = skipSpace(s, i)
		}
		if i == len(s) || s[i] != '"' {
			d.i = len(s) // so that CloseObject does not take {"a":1,} for an end
			return "", false
		}
	}
	if i == len(s) || s[i] != '"' {
		d.i = i
		return "", false
	}
	start := i + 1
	end, escaped := stringEnd(s, start)
	if end < 0 {
		d.i = len(s)
		return "", false
	}
	if i = end + 1; i < len(s) && s[i] == ':' {
		d.i = i + 1
	} else if d.i = skipSpace(s, i); d.i < len(s) && s[d.i] == ':' {
		d.i++
	} else {
		d.i = len(s)
		return "", false
	}
	if escaped {
		return unescape(s[start:end]), true
	}
	return s[start:end], true
}

// CloseObject consumes the brace that ends an object.
func (d *Decoder) CloseObject() bool {
	if d.peek() != '}' {
		return false
	}
	d.i++
	d.depth--
	d.first = false
	return true
}

// OpenArray consumes the bracket that opens an array.
func (d *Decoder) OpenArray() bool {
	if d.peek() != '[' || d.depth == depthTypedMax {
		return false
	}
	d.i++
	d.depth++
	d.first = true
	return true
}

// Element moves to the next element. It returns false at the end of the array and
// at a fault; CloseArray tells which.
func (d *Decoder) Element() bool {
	s, i := d.s, d.i
	if i < len(s) && s[i] <= ' ' {
		i = skipSpace(s, i)
	}
	d.i = i
	if i == len(s) {
		return false
	}
	if d.first {
		d.first = false
		return s[i] != ']'
	}
	if s[i] != ',' {
		return false
	}
	if i++; i < len(s) && s[i] <= ' ' {
		i = skipSpace(s, i)
	}
	if i < len(s) && s[i] == ']' {
		i = len(s)
	}
	d.i = i
	return i < len(s)
}

// CloseArray consumes the bracket that ends an array.
func (d *Decoder) CloseArray() bool {
	if d.peek() != ']' {
		return false
	}
	d.i++
	d.depth--
	d.first = false
	return true
}

// Hint guesses how many elements the array that was just opened has, at most max,
// so that a slice is made once. It counts commas up to the next closing bracket.
func (d *Decoder) Hint(max int) int {
	rest := d.s[d.i:]
	end := strings.IndexByte(rest, ']')
	if end <= 0 {
		return 0
	}
	return min(strings.Count(rest[:end], ",")+1, max)
}

// HintObjects is Hint for elements that are objects and write at least each braces: too
// much room for a large struct costs more than a second slice.
func (d *Decoder) HintObjects(each, max int) int {
	rest := d.s[d.i:]
	end := strings.IndexByte(rest, ']')
	if end <= 0 {
		return 0
	}
	return min((strings.Count(rest[:end], "{")+each-1)/each, max)
}

// Unknown treats a member that the schema does not name, in a closed object.
func (d *Decoder) Unknown() bool { return d.mode == Open && d.Skip() }

// Null consumes null if it comes next.
func (d *Decoder) Null() bool { return d.peek() == 'n' && d.literal("null") }

// Text reads a string of any length.
func (d *Decoder) Text(to *string) bool {
	s, i := d.s, d.i
	if i < len(s) && s[i] <= ' ' {
		i = skipSpace(s, i)
	}
	if i == len(s) || s[i] != '"' {
		return false
	}
	start := i + 1
	end, escaped := stringEnd(s, start)
	if end < 0 {
		return false
	}
	d.i = end + 1
	if escaped {
		*to = unescape(s[start:end])
	} else {
		*to = s[start:end]
	}
	return true
}

// TextLen consumes a string and returns the number of bytes between its quotes, which is
// zero only for the empty string. It does not allocate.
func (d *Decoder) TextLen() (int, bool) {
	s, i := d.s, d.i
	if i < len(s) && s[i] <= ' ' {
		i = skipSpace(s, i)
	}
	if i == len(s) || s[i] != '"' {
		return 0, false
	}
	start := i + 1
	end, _ := stringEnd(s, start)
	if end < 0 {
		return 0, false
	}
	d.i = end + 1
	return end - start, true
}

// Bool reads true or false.
func (d *Decoder) Bool(to *bool) bool {
	switch d.peek() {
	case 't':
		*to = true
		return d.literal("true")
	case 'f':
		*to = false
		return d.literal("false")
	}
	return false
}

// Int reads a number without fraction that fits 64 bits. 1.0 and 1e3 count as
// integers, as in JSON Schema.
func (d *Decoder) Int(to *int64) bool {
	d.peek()
	s, i := d.s, d.i
	neg := i < len(s) && s[i] == '-'
	if neg {
		i++
	}
	start := i
	var n int64
	for i < len(s) && '0' <= s[i] && s[i] <= '9' && i-start < 18 {
		n = n*10 + int64(s[i]-'0')
		i++
	}
	if i == start || s[start] == '0' && i > start+1 {
		return false
	}
	if i < len(s) && (s[i] == '.' || s[i]|0x20 == 'e' || '0' <= s[i] && s[i] <= '9') {
		return d.intSlow(to)
	}
	if neg {
		n = -n
	}
	*to = n
	d.i = i
	return true
}

// intSlow reads the integers that are long or written with a point or exponent.
func (d *Decoder) intSlow(to *int64) bool {
	end := d.number()
	if end < 0 {
		return false
	}
	n, kind := integer(d.s[d.i:end])
	if kind != intFits {
		return false
	}
	*to = n
	d.i = end
	return true
}

type intKind uint8

const (
	intFits intKind = iota
	intTooBig
	intFraction
)

// integer tells whether the number text has an integral value and whether it fits
// 64 bits. Its work grows with the length of the text, never with the exponent.
func integer(text string) (int64, intKind) {
	mantissa, exp := text, 0
	if n := strings.IndexAny(text, "eE"); n >= 0 {
		mantissa = text[:n]
		exp = exponent(text[n+1:])
	}
	neg := mantissa[0] == '-'
	if neg {
		mantissa = mantissa[1:]
	}
	whole, frac, _ := strings.Cut(mantissa, ".")
	frac = strings.TrimRight(frac, "0")
	all := whole + frac
	exp -= len(frac)
	trimmed := strings.TrimRight(all, "0")
	exp += len(all) - len(trimmed)
	trimmed = strings.TrimLeft(trimmed, "0")
	switch {
	case trimmed == "":
		return 0, intFits
	case exp < 0:
		return 0, intFraction
	case len(trimmed)+exp > 19:
		return 0, intTooBig
	}
	u, _ := strconv.ParseUint(trimmed+strings.Repeat("0", exp), 10, 64)
	switch {
	case neg && u <= 1<<63:
		return -int64(u), intFits
	case !neg && u < 1<<63:
		return int64(u), intFits
	}
	return 0, intTooBig
}

// exponent reads a decimal exponent and stops counting at a size no frame's digits
// can outweigh.
func exponent(text string) int {
	const enough = 1 << 40
	neg := text[0] == '-'
	n := 0
	for _, c := range []byte(strings.TrimLeft(text, "+-")) {
		n = min(n*10+int(c-'0'), enough)
	}
	if neg {
		return -n
	}
	return n
}

// Float reads a number that a float64 can hold.
func (d *Decoder) Float(to *float64) bool {
	d.peek()
	end := d.number()
	if end < 0 {
		return false
	}
	f, err := strconv.ParseFloat(d.s[d.i:end], 64)
	if err != nil || math.IsInf(f, 0) {
		return false
	}
	*to = f
	d.i = end
	return true
}

// Raw reads any value as it is.
func (d *Decoder) Raw(to *Raw) bool {
	d.peek()
	start := d.i
	if !d.Skip() {
		return false
	}
	n := d.i - start
	*to = unsafe.Slice(unsafe.StringData(d.s[start:]), n)[:n:n]
	return true
}

// Object reads an object as it is. Like everything untyped, it may name a member twice.
func (d *Decoder) Object(to *Object) bool {
	return d.peek() == '{' && d.Raw((*Raw)(to))
}

// PeekText returns the string member called name of the object that comes next,
// without consuming anything: how a union finds its variant.
func (d *Decoder) PeekText(name string) (string, bool) {
	m := d.Mark()
	defer d.Reset(m)
	if !d.OpenObject() {
		return "", false
	}
	for key, ok := d.Member(); ok; key, ok = d.Member() {
		if key == name {
			var v string
			ok := d.Text(&v)
			return v, ok
		}
		if !d.Skip() {
			break
		}
	}
	return "", false
}

// AtLeast reports whether s has n characters (code points) or more.
func AtLeast(s string, n int) bool {
	return len(s) >= n && (len(s) >= n*utf8.UTFMax || utf8.RuneCountInString(s) >= n)
}

// AtMost reports whether s has n characters (code points) or fewer.
func AtMost(s string, n int) bool {
	return len(s) <= n || len(s) <= n*utf8.UTFMax && utf8.RuneCountInString(s) <= n
}
