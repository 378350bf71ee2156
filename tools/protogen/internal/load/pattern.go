package load

import (
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// AnyName is how the schema says "a member of any name": it is taken to match names
// with a line break too, and never compiled.
const AnyName = "^(.*)$"

// checkPattern refuses a pattern that ECMAScript and RE2 may read differently.
func checkPattern(pattern string, pos Pos, problems *Problems) {
	if _, err := syntax.Parse(pattern, syntax.Perl); err != nil {
		problems.Addf(pos, "pattern %q is not RE2: %v", pattern, err)
		return
	}
	for _, odd := range []string{
		`\s`, `\S`, `\w`, `\W`, `\b`, `\B`, `\p`, `\P`, `\c`, `\z`, `\A`, `\Q`, `\C`, `\a`, `\x{`, `\0`, `\1`, `\2`, `\3`, `\4`, `\5`, `\6`, `\7`, `(?`, `[[:`, `{,`, `[^\n]`,
	} {
		if strings.Contains(pattern, odd) {
			problems.Addf(pos, "pattern %q uses %s, which ECMAScript and RE2 read differently", pattern, odd)
		}
	}
}

// RE2 returns the pattern as RE2 has to read it to match what ECMAScript matches: there
// a dot is none of four line ends, not one.
func RE2(pattern string) string {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return pattern // checkPattern has told
	}
	if !dots(re) {
		return pattern
	}
	return re.String()
}

// dots replaces every dot below re and reports whether there was one.
func dots(re *syntax.Regexp) bool {
	found := false
	if re.Op == syntax.OpAnyCharNotNL {
		re.Op = syntax.OpCharClass
		re.Rune = []rune{0, '\n' - 1, '\n' + 1, '\r' - 1, '\r' + 1, '\u2027', '\u202a', utf8.MaxRune}
		found = true
	}
	for _, sub := range re.Sub {
		found = dots(sub) || found
	}
	return found
}
