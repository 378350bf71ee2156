package json5

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const deep = 64

func parse(t *testing.T, text string) *Node {
	t.Helper()
	n, err := Parse([]byte(text), deep)
	require.NoError(t, err, "%s", text)
	return n
}

func TestParseReadsWhatJSONLacks(t *testing.T) {
	n := parse(t, "\ufeff// c\n{ /* \n */ $a_1: 'it\\'s \\\n on', \"b\": [+1, -.5, 0x1F, 1e3, 5., Infinity, -NaN,], \\u0063: null, true: true,\u00a0é: \"\\u00e9\\ud83d\\ude00\\x41\\0\",}")
	require.Equal(t, Object, n.Kind)
	require.Equal(t, "it's  on", n.Member("$a_1").Text)
	var got []float64
	for _, item := range n.Member("b").Items[:6] {
		got = append(got, item.Number)
	}
	require.Equal(t, []float64{1, -0.5, 31, 1000, 5, math.Inf(1)}, got)
	require.True(t, math.IsNaN(n.Member("b").Items[6].Number))
	require.Equal(t, Null, n.Member("c").Kind)
	require.True(t, n.Member("true").Bool)
	require.Equal(t, "é😀A\x00", n.Member("é").Text)
	require.Nil(t, n.Member("none"))
	require.Nil(t, (*Node)(nil).Member("none"))
}

func TestParseTellsWhere(t *testing.T) {
	n := parse(t, "{\n  é: 1, b: [\n 'x' ]\n}")
	b := n.Member("b")
	require.Equal(t, []int{2, 12}, []int{b.Line, b.Column}, "columns count characters")
	require.Equal(t, []int{3, 2}, []int{b.Items[0].Line, b.Items[0].Column})
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"{":             "JSON5: invalid end of input at 1:2", // the words of the reference implementation
		"":              "JSON5: invalid end of input at 1:1",
		"{a:1,,}":       "JSON5: invalid character ',' at 1:6",
		"{a 1}":         "JSON5: invalid character '1' at 1:4",
		"[1 2]":         "JSON5: invalid character '2' at 1:4",
		"{}x":           "JSON5: invalid character 'x' at 1:3",
		"{a:tru}":       "JSON5: invalid character '}' at 1:7",
		"truex":         "JSON5: invalid character 'x' at 1:5",
		"01":            "JSON5: invalid character '1' at 1:2",
		"0x":            "JSON5: invalid end of input at 1:3",
		"1.2.3":         "JSON5: invalid character '.' at 1:4",
		"-":             "JSON5: invalid end of input at 1:2",
		".":             "JSON5: invalid end of input at 1:2",
		"1e":            "JSON5: invalid end of input at 1:3",
		"'a\nb'":        "JSON5: invalid character '\\u000a' at 1:3",
		`"\1"`:          "JSON5: invalid character '1' at 1:3",
		`"\u12g4"`:      "JSON5: invalid character 'g' at 1:6",
		"/* x":          "JSON5: invalid end of input at 1:5",
		"\"\xff\"":      "JSON5: not valid UTF-8 at 1:2",
		`{\u0020:1}`:    "JSON5: invalid character '\\\\' at 1:2",
		"{a:1}\n\n  'b": "JSON5: invalid character '\\'' at 3:3",
		"[[[":           "JSON5: nested deeper than 2 levels at 1:3",
	} {
		_, err := Parse([]byte(text), 2)
		require.EqualError(t, err, want, "%q", text)
	}
}

func TestParseTellsDuplicates(t *testing.T) {
	n := parse(t, `{a: 1, "\u0061": 2, b: 3}`)
	require.Equal(t, []string{"a"}, n.Twice)
	require.Len(t, n.Members, 2)
	require.EqualValues(t, 2, n.Member("a").Number)
}

func TestIndented(t *testing.T) {
	require.Equal(t, "{\n    \"a\": [\n      1,\n      \"<\"\n    ],\n    \"b\": {}\n  }", string(parse(t, `{a:[1,'<'],b:{}}`).Indented("  ")))
	require.Equal(t, `{"a":[1,0.5,null],"b":[]}`, string(parse(t, `{a:[1,.5,NaN],b:[]}`).AppendJSON(nil)))
}

func TestMergePatchKeepsTheRest(t *testing.T) {
	const before = `// mine
{
  gateway: {
    port: 1, // the port
    bind: 'lan', // where
    /* kept */ auth: {token: "x"} // no comma
  },
  list: [{id: "a", n: 1}, {id: "b"}],
}
`
	for _, c := range []struct{ name, patch, from, to string }{
		{"a value", `{gateway:{port:2}}`, "port: 1,", "port: 2,"},
		{"nothing to remove", `{gateway:{none:null}}`, "", ""},
		{"a line goes", `{gateway:{bind:null}}`, "    bind: 'lan', // where\n", "     // where\n"},
		{"a key of one line", `{gateway:{auth:{mode:"token"}}}`, `{token: "x"}`, `{token: "x", "mode": "token"}`},
		{"a key behind a comment", `{gateway:{x:[1]}}`, `{token: "x"} // no comma` + "\n  }", `{token: "x"}, // no comma` + "\n    \"x\": [\n      1\n    ]\n  }"},
		{"an object", `{ui:{a:{b:1,c:null}}}`, "{id: \"b\"}],\n", "{id: \"b\"}],\n  \"ui\": {\n    \"a\": {\n      \"b\": 1\n    }\n  }\n"},
		{"entries with ids", `{list:[{id:"a",n:2},{id:"c"}]}`, `[{id: "a", n: 1}, {id: "b"}]`,
			"[\n    {\n      \"id\": \"a\",\n      \"n\": 2\n    },\n    {\n      \"id\": \"b\"\n    },\n    {\n      \"id\": \"c\"\n    }\n  ]"},
		{"entries without ids", `{list:["x"]}`, `[{id: "a", n: 1}, {id: "b"}]`, "[\n    \"x\"\n  ]"},
		{"one goes, one comes", `{gateway:{auth:null,z:true}}`, `/* kept */ auth: {token: "x"} // no comma` + "\n", `/* kept */  // no comma` + "\n    \"z\": true\n"},
	} {
		got, err := MergePatch([]byte(before), parse(t, c.patch), deep)
		require.NoError(t, err, c.name)
		require.Equal(t, strings.Replace(before, c.from, c.to, 1), string(got), c.name)
	}
	got, err := MergePatch([]byte("{}"), parse(t, `{a:1}`), deep)
	require.NoError(t, err)
	require.Equal(t, "{\n  \"a\": 1\n}", string(got))
}

// FuzzParse: no text breaks the reader, what encoding/json accepts means the same,
// and a tree written out reads back as itself.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{`{gateway:{port:1,auth:{token:"x"}}}`, `{/*/**/a:1,'a':[{b:1,b:2}]}`, `{a:"\`, `[[[`, `{"\u0061":+Infinity}`, "//", `{a:-}`, `{a:0x}`, `[1,]`, `"\ud800"`, `1e999`, "\u2028{}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		n, err := Parse(raw, deep)
		if err != nil {
			var se *SyntaxError
			require.ErrorAs(t, err, &se)
			return
		}
		line := n.AppendJSON(nil)
		require.True(t, json.Valid(line), "%s", line)
		again, err := Parse(n.Indented(""), deep)
		require.NoError(t, err)
		require.Equal(t, string(line), string(again.AppendJSON(nil)))
		require.Equal(t, string(line), string(n.Clone().AppendJSON(nil)))
		var doc any
		if d := json.Unmarshal(raw, &doc); d == nil && len(n.Twice) == 0 {
			want, err := json.Marshal(doc)
			require.NoError(t, err)
			var ours any
			require.NoError(t, json.Unmarshal(line, &ours))
			got, err := json.Marshal(ours)
			require.NoError(t, err)
			if !strings.Contains(string(raw), "\\u") && !hasTwice(n) { // halves of pairs, keys given twice deep inside
				require.Equal(t, string(want), string(got))
			}
		}
	})
}

// FuzzMergePatch: the patched text means what RFC 7396 says.
func FuzzMergePatch(f *testing.F) {
	for _, seed := range [][2]string{
		{"{a:1}", "{b:2}"}, {"{a:{b:1,},}", "{a:{b:null,c:{d:null}}}"}, {"{a:1 // x\n}", "{a:null,b:1}"}, {"{/*a*/}", "{a:[]}"},
		{"{a:1,/*x*/b:2/*,*/}", "{b:null,c:3}"}, {"{a:[{id:'x'}]}", "{a:[{id:'x',n:1},{id:'y'}]}"}, {"{\na:1,\n//x\n}", "{c:{}}"}, {"{a:1,b:2}", "{a:null,b:null,c:1}"},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, raw, change []byte) {
		root, err := Parse(raw, deep)
		if err != nil || root.Kind != Object || hasTwice(root) {
			return
		}
		patch, err := Parse(change, deep)
		if err != nil || patch.Kind != Object || hasTwice(patch) {
			return
		}
		want := string(sorted(merged(root, patch)))
		got, err := MergePatch(raw, patch, deep)
		require.NoError(t, err)
		after, err := Parse(got, deep)
		require.NoError(t, err, "%s", got)
		require.Equal(t, want, string(sorted(after)), "%s", got)
	})
}

func hasTwice(n *Node) bool {
	if len(n.Twice) > 0 {
		return true
	}
	for _, m := range n.Members {
		if hasTwice(m.Value) {
			return true
		}
	}
	for _, item := range n.Items {
		if hasTwice(item) {
			return true
		}
	}
	return false
}

// sorted is the value's JSON with its keys in order.
func sorted(n *Node) []byte {
	var v any
	_ = json.Unmarshal(n.AppendJSON(nil), &v)
	raw, _ := json.Marshal(v)
	return raw
}
