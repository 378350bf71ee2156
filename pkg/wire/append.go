package wire

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// AppendText appends s as a JSON string with the escapes that JavaScript's
// JSON.stringify writes and no others. Bytes that are not UTF-8 become U+FFFD, so
// that the output always is.
func AppendText(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				b = append(append(b, s[start:i]...), "\ufffd"...)
				start = i + 1
			}
			i += n
			continue
		}
		if c >= 0x20 && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		b = appendEscape(b, c)
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\b':
		return append(b, '\\', 'b')
	case '\f':
		return append(b, '\\', 'f')
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// AppendFloat appends f the way JavaScript prints numbers. What JSON can't say (NaN,
// infinities) becomes null, as in JSON.stringify.
func AppendFloat(b []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(b, "null"...)
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	b = strconv.AppendFloat(b, f, format, -1, 64)
	if format == 'e' {
		// e-09 is spelled e-9 in JavaScript.
		if n := len(b); n >= 4 && b[n-4] == 'e' && b[n-2] == '0' {
			b[n-2] = b[n-1]
			b = b[:n-1]
		}
	}
	return b
}

// AppendRaw appends r as it is, or null when it is nil.
func AppendRaw(b []byte, r Raw) []byte {
	if r == nil {
		return append(b, "null"...)
	}
	return append(b, r...)
}

// AppendObject appends o as it is, or an empty object when it is nil.
func AppendObject(b []byte, o Object) []byte {
	if o == nil {
		return append(b, "{}"...)
	}
	return append(b, o...)
}

// AppendComma appends a comma unless b ends in the brace that opened the object.
func AppendComma(b []byte) []byte {
	if b[len(b)-1] == '{' {
		return b
	}
	return append(b, ',')
}

// SortedKeys returns the keys of m in order: the same value always has the same JSON.
func SortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
