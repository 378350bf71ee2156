package render

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/coderclaw/gateway/tools/protogen/internal/plan"
)

// swiftReserved are the words that need backticks where a name is declared or used
// without a dot before it.
var swiftReserved = strings.Fields(`actor Any as associatedtype async await break case catch class continue convenience default
	defer deinit didSet do dynamic else enum extension fallthrough false fileprivate final for func get guard if import in
	indirect infix init inout internal is lazy let mutating nil nonmutating open operator optional override postfix
	precedencegroup prefix private protocol public repeat required rethrows return self Self set some static struct
	subscript super switch throw throws true try typealias unowned var weak where while willSet`)

// swiftContextual are those of the reserved words that are words of the language only
// in some places, none of which a generated name stands in.
var swiftContextual = strings.Fields(`actor async await convenience didSet dynamic final get indirect infix lazy mutating
	nonmutating open optional override postfix precedencegroup prefix required set some unowned weak willSet`)

// swiftIdent returns a name as an identifier.
func swiftIdent(name string) string {
	if slices.Contains(swiftReserved, name) && !slices.Contains(swiftContextual, name) {
		return "`" + name + "`"
	}
	return name
}

// swiftCamel returns the lowerCamel name of a wire name: talk-get, talk.get and
// TALK_GET become talkGet, and a name that is camelCase already stays as it is.
func swiftCamel(wire string) string {
	parts := strings.FieldsFunc(wire, func(r rune) bool { return r > utf8.RuneSelf || !isLetterOrDigit(byte(r)) })
	name := ""
	for _, part := range parts {
		if part == strings.ToUpper(part) {
			part = strings.ToLower(part)
		}
		if name == "" {
			name = strings.ToLower(part[:1]) + part[1:]
		} else {
			name += strings.ToUpper(part[:1]) + part[1:]
		}
	}
	switch {
	case name == "":
		return "empty"
	case '0' <= name[0] && name[0] <= '9':
		return "_" + name
	case name == "self" || name == "init": // members with a meaning of their own, backticks or not
		return name + "Value"
	}
	return name
}

// swiftProperty returns the name of a property: the wire name where Swift can say it.
func swiftProperty(wire string) string {
	for i := range len(wire) {
		if c := wire[i]; !isLetterOrDigit(c) && c != '_' || i == 0 && '0' <= c && c <= '9' {
			return swiftCamel(wire)
		}
	}
	if wire == "" || strings.Trim(wire, "_") == "" || wire == "self" || wire == "init" {
		return swiftCamel(wire)
	}
	return wire
}

func isLetterOrDigit(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// swiftVariants returns the case names of a union: the names of its variants without
// the words that all of them begin or end with.
func swiftVariants(t *plan.Type) []string {
	var split [][]string
	for _, v := range t.Variants {
		split = append(split, upperCamelWords(v.To.Name))
	}
	var names []string
	head := shared(split, func(words []string, i int) string { return words[i] })
	tail := shared(split, func(words []string, i int) string { return words[len(words)-1-i] })
	for _, words := range split {
		if head+tail < len(words) {
			words = words[head : len(words)-tail]
		}
		words[0] = strings.ToLower(words[0])
		names = append(names, strings.Join(words, ""))
	}
	return names
}

// shared returns how many words all names have in common, as at counts them.
func shared(names [][]string, at func(words []string, i int) string) int {
	if len(names) < 2 {
		return 0
	}
	for n := 0; ; n++ {
		for _, words := range names {
			if n+1 >= len(words) || at(words, n) != at(names[0], n) {
				return n
			}
		}
	}
}

// upperCamelWords splits before every capital that follows something else.
func upperCamelWords(name string) []string {
	var words []string
	start := 0
	for i := 1; i < len(name); i++ {
		if 'A' <= name[i] && name[i] <= 'Z' && !('A' <= name[i-1] && name[i-1] <= 'Z') {
			words = append(words, name[start:i])
			start = i
		}
	}
	return append(words, name[start:])
}

// swiftOpenCase returns the name of the case for words that an enum does not name.
func swiftOpenCase(values []plan.EnumValue) string {
	for _, v := range values {
		if swiftCamel(v.Value) == "unknown" {
			return "unlisted"
		}
	}
	return "unknown"
}

// swiftQuote returns s as a Swift string literal.
func swiftQuote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch r {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
