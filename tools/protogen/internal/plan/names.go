package plan

import (
	"strings"
	"unicode"
)

// initialisms are the words that Go writes in capitals. Words that only look like
// one (ts, ms) stay words.
var initialisms = map[string]string{
	"api": "API", "cpu": "CPU", "html": "HTML", "http": "HTTP", "id": "ID", "ids": "IDs", "ip": "IP", "json": "JSON",
	"os": "OS", "tls": "TLS", "ttl": "TTL", "tz": "TZ", "ui": "UI", "url": "URL", "urls": "URLs", "uuid": "UUID",
}

// GoName returns the exported Go name of a wire name: its words in UpperCamel,
// initialisms in capitals.
func GoName(wire string) string {
	var b strings.Builder
	for _, word := range words(wire) {
		lower := strings.ToLower(word)
		if in, ok := initialisms[lower]; ok {
			b.WriteString(in)
			continue
		}
		b.WriteString(strings.ToUpper(lower[:1]) + lower[1:])
	}
	name := b.String()
	if name == "" || !unicode.IsLetter(rune(name[0])) {
		return "X" + name
	}
	return name
}

// words splits at everything that is no letter or digit and where a lower-case
// letter or digit meets a capital; a run of capitals is one word, except that its
// last letter starts the next word when a lower-case letter follows.
func words(s string) []string {
	var list []string
	start := -1
	flush := func(end int) {
		if start >= 0 {
			list = append(list, s[start:end])
			start = -1
		}
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case !isAlnum(c):
			flush(i)
			continue
		case start < 0:
		case isUpper(c) && !isUpper(s[i-1]):
			flush(i)
		case isUpper(c) && i+1 < len(s) && isLower(s[i+1]):
			flush(i)
		}
		if start < 0 {
			start = i
		}
	}
	flush(len(s))
	return list
}

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }
func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isAlnum(c byte) bool { return isUpper(c) || isLower(c) || '0' <= c && c <= '9' }
