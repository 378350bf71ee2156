package json5

import "bytes"

// ReplaceInComments replaces each of words in the comments of a text, which must be
// JSON5, and nowhere else.
func ReplaceInComments(raw []byte, words []string, by string) []byte {
	if len(words) == 0 {
		return raw
	}
	var out []byte
	for len(raw) > 0 {
		n, comment := span(raw)
		part := raw[:n]
		if comment {
			for _, word := range words {
				part = bytes.ReplaceAll(part, []byte(word), []byte(by))
			}
		}
		out, raw = append(out, part...), raw[n:]
	}
	return out
}

// span returns the length of what the text begins with: a comment, or all up to the
// next one.
func span(raw []byte) (n int, comment bool) {
	var end string
	switch {
	case bytes.HasPrefix(raw, []byte("//")):
		for i, r := range string(raw) {
			if r == '\n' || r == '\r' || r == '\u2028' || r == '\u2029' {
				return i, true
			}
		}
		return len(raw), true
	case bytes.HasPrefix(raw, []byte("/*")):
		if end = "*/"; len(raw) > 2 {
			if i := bytes.Index(raw[2:], []byte(end)); i >= 0 {
				return i + 4, true
			}
		}
		return len(raw), true
	}
	var quote byte
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '/' && i > 0:
			return i, false
		}
	}
	return len(raw), false
}
