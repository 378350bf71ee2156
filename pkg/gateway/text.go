package gateway

import "unicode/utf8"

// clip cuts s to at most n bytes, at the beginning of a UTF-8 character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
