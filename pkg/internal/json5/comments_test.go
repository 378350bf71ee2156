package json5

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReplaceInComments(t *testing.T) {
	for in, want := range map[string]string{
		"{word: 1} // word and word":               "{word: 1} // X and X",
		"/* word\nword */{a: 'word'}":              "/* X\nX */{a: 'word'}",
		`{a: "// word", b: '/* word */'} // word`:  `{a: "// word", b: '/* word */'} // X`,
		`{a: "\"// word", b: '\'// word'}/*word*/`: `{a: "\"// word", b: '\'// word'}/*X*/`,
		"// word\u2028{word: 1}// word\r{word: 2}": "// X\u2028{word: 1}// X\r{word: 2}",
		"{a: 'x\\\n// word'}":                      "{a: 'x\\\n// word'}",
		"/**/word/*":                               "/**/word/*",
		"word":                                     "word",
		"":                                         "",
	} {
		require.Equal(t, want, string(ReplaceInComments([]byte(in), []string{"word"}, "X")), in)
	}
}
