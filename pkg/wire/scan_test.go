package wire

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// tricky are JSON texts and near misses, at every offset of the eight-byte scan.
func tricky() []string {
	list := []string{
		``, ` `, `null`, `nul`, `nulll`, `true`, `false`, `tru`, `0`, `-0`, `01`, `-`, `+1`, `.5`, `1.`, `1.e1`, `1e`, `1e+`, `1e5`, `1E-7`, `1.25e+3`, `0x1`,
		`""`, `"a"`, `"a`, `"\`, `"\"`, `"\u12"`, `"\u12G4"`, `"\u1234"`, `"\x"`, `"\ud800"`, `"\ud83d\ude00"`, "\"\x00\"", "\"\x1f\"", "\"\t\"", "\"\x7f\"",
		`[]`, `[`, `]`, `[1`, `[1,`, `[1,]`, `[,1]`, `[1 2]`, `[1,2]`, `{}`, `{`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1 , }`, `{,"a":1}`, `{a:1}`, `{"a":1}`, `{"a":1]`, `[1}`, `{"a":{"b":[{}]}}`,
		` [ 1 , { "a" : [ ] } ] `, "\ufeff1", `1 1`, "[1]\x00", "\"\xff\"", "\"\xc3\xa9\"", "\"\xc3\"", "\"\xed\xa0\x80\"", "\"\xf0\x9f\x98\x80\"",
	}
	for i := range 18 {
		pad := strings.Repeat("x", i)
		list = append(list, `"`+pad+`\n"`, `"`+pad+"\x1e"+`"`, `"`+pad+`é`+pad+`"`, `"`+pad+"\xff"+pad+`"`, `"`+pad, `"`+pad+`\\"`, `"`+pad+"\x80\x01"+`"`, `"`+pad+"é\x01"+`"`)
	}
	return list
}

func TestValidJSON(t *testing.T) {
	for _, s := range tricky() {
		require.Equal(t, json.Valid([]byte(s)) && utf8.ValidString(s), ValidJSON([]byte(s)), "%q", s)
	}
	for n, want := range map[int]bool{1: true, 511: true, 512: true, 513: false, 100000: false} {
		require.Equal(t, want, ValidJSON([]byte(strings.Repeat("[", n)+strings.Repeat("]", n))), "%d arrays", n)
		require.Equal(t, want, ValidJSON([]byte(strings.Repeat(`{"a":`, n)+"1"+strings.Repeat("}", n))), "%d objects", n)
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { ValidJSON([]byte(`{"a":["é\n",1.5,null,{"b":true}]}`)) }))
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		`"plain"`: "plain", `"\"\\\/\b\f\n\r\t"`: "\"\\/\b\f\n\r\t", `"\u00e9\u20AC"`: "é€", `"\ud83d\ude00!"`: "😀!",
		`"\ud83d"`: "\ufffd", `"\ude00x"`: "\ufffdx", `"\ud83dx"`: "\ufffdx", `"\ud83d\ud83d\ude00"`: "\ufffd😀", `"\ud83d\n"`: "\ufffd\n", `"\u0000"`: "\x00",
	} {
		d := NewDecoder([]byte(in), Closed)
		var got string
		require.True(t, d.Text(&got) && d.End(), in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{``, `x`, `"`, `"\q"`, "\"\n\"", "\"\xff\"", `5`} {
		d := NewDecoder([]byte(in), Closed)
		var got string
		require.False(t, d.Text(&got), "%q", in)
	}
}

func TestInt(t *testing.T) {
	for in, want := range map[string]int64{
		`0`: 0, `-0`: 0, `7`: 7, `-7`: -7, `123456789012345678`: 123456789012345678, `9223372036854775807`: math.MaxInt64, `-9223372036854775808`: math.MinInt64,
		`1.0`: 1, `1e3`: 1000, `1E+3`: 1000, `-2.50e1`: -25, `1200e-2`: 12, `0e999999999999`: 0, `0.000`: 0, `-0.0e-5`: 0, `9223372036854775807.000`: math.MaxInt64, `922337203685477580.7e1`: math.MaxInt64,
		`000000000000000000001e0`: -1, // a fault, see below
	} {
		d := NewDecoder([]byte(in), Closed)
		var got int64
		ok := d.Int(&got) && d.End()
		if in[0] == '0' && len(in) > 1 && in[1] == '0' {
			require.False(t, ok, in)
			continue
		}
		require.True(t, ok, in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{
		``, `-`, `1.5`, `1e-1`, `01`, `-01`, `00`, `1.`, `1e`, `9223372036854775808`, `-9223372036854775809`, `1e19`, `1e400`, `1e99999999999999999999`, `-1e99999999999999999999`,
		`1e-99999999999999999999`, `12345678901234567890123`, `"1"`, `null`, `NaN`, `1 2`,
	} {
		d := NewDecoder([]byte(in), Closed)
		var got int64
		require.False(t, d.Int(&got) && d.End(), in)
	}
}

func TestFloat(t *testing.T) {
	for in, want := range map[string]float64{`0`: 0, `1.5`: 1.5, `-1e-7`: -1e-7, `1e308`: 1e308, `1e-400`: 0, `123456789012345678901234567890`: 123456789012345678901234567890} {
		d := NewDecoder([]byte(in), Closed)
		var got float64
		require.True(t, d.Float(&got) && d.End(), in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{``, `1e309`, `-1e999999`, `.5`, `Inf`, `NaN`, `"1"`, `0x1p3`, `1_0`} {
		d := NewDecoder([]byte(in), Closed)
		var got float64
		require.False(t, d.Float(&got) && d.End(), in)
	}
}

// members reads an object of integers the way generated code does.
func members(raw string) ([]string, bool) {
	d := NewDecoder([]byte(raw), Closed)
	if !d.OpenObject() {
		return nil, false
	}
	names := []string{}
	for key, ok := d.Member(); ok; key, ok = d.Member() {
		var n int64
		if !d.Int(&n) {
			return nil, false
		}
		names = append(names, key)
	}
	return names, d.CloseObject() && d.End()
}

func TestMembers(t *testing.T) {
	for in, want := range map[string][]string{`{}`: {}, ` { } `: {}, `{"a":1}`: {"a"}, ` { "a" : 1 , "\u0062" : 2 } `: {"a", "b"}, `{"":0}`: {""}} {
		got, ok := members(in)
		require.True(t, ok, in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{``, `{`, `}`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{"a":1 , }`, `{,}`, `{"a":1 "b":2}`, `{"a" 1}`, `{a:1}`, `{"a":1}}`, `{"a":1]`, `[1]`, `{"a\q":1}`, "{\"\xff\":1}"} {
		_, ok := members(in)
		require.False(t, ok, in)
	}
}

func elements(raw string) (int, bool) {
	d := NewDecoder([]byte(raw), Closed)
	if !d.OpenArray() {
		return 0, false
	}
	n := 0
	for d.Element() {
		var v int64
		if !d.Int(&v) {
			return 0, false
		}
		n++
	}
	return n, d.CloseArray() && d.End()
}

func TestElements(t *testing.T) {
	for in, want := range map[string]int{`[]`: 0, ` [ ] `: 0, `[1]`: 1, `[ 1 , 2 ]`: 2} {
		got, ok := elements(in)
		require.True(t, ok, in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{``, `[`, `]`, `[1`, `[1,`, `[1,]`, `[1, ]`, `[,1]`, `[1 2]`, `[1}`, `[1]]`, `{}`} {
		_, ok := elements(in)
		require.False(t, ok, in)
	}
}

func TestDepthOfTypedValues(t *testing.T) {
	for n, want := range map[int]bool{depthTypedMax: true, depthTypedMax + 1: false} {
		d := NewDecoder([]byte(strings.Repeat("[", n)+strings.Repeat("]", n)), Closed)
		ok := true
		for range n {
			ok = ok && d.OpenArray() && (d.Element() || true)
		}
		require.Equal(t, want, ok, n)
		d = NewDecoder([]byte(strings.Repeat(`{"a":`, n)), Closed)
		ok = true
		for range n {
			ok = ok && d.OpenObject()
			d.Member()
		}
		require.Equal(t, want, ok, n)
	}
}

// TestRawAliases checks that a raw value is a view that can't be grown into what
// follows it.
func TestRawAliases(t *testing.T) {
	in := []byte(`  {"a":[1, 2]} ,`)
	d := NewDecoder(in, Closed)
	var r Raw
	require.True(t, d.Raw(&r))
	require.Equal(t, `{"a":[1, 2]}`, string(r))
	require.Same(t, &in[2], &r[0])
	require.Equal(t, len(r), cap(r))
}

func TestPeekText(t *testing.T) {
	d := NewDecoder([]byte(` {"a":{"type":"no"},"type":"yes"}`), Closed)
	tag, ok := d.PeekText("type")
	require.True(t, ok)
	require.Equal(t, "yes", tag)
	require.True(t, d.Skip() && d.End(), "nothing was consumed")
	for _, in := range []string{`{}`, `[]`, `{"type":1}`, `{"type"`, `{"a":,"type":"x"}`} {
		d := NewDecoder([]byte(in), Closed)
		_, ok := d.PeekText("type")
		require.False(t, ok, in)
	}
}

func TestLengths(t *testing.T) {
	for _, c := range []struct {
		s               string
		n               int
		atLeast, atMost bool
	}{{"", 0, true, true}, {"", 1, false, true}, {"éé", 2, true, true}, {"éé", 3, false, true}, {"éé", 1, true, false}, {"abc", 2, true, false}, {"😀", 1, true, true}, {"😀", 2, false, true}} {
		require.Equal(t, c.atLeast, AtLeast(c.s, c.n), "%q at least %d", c.s, c.n)
		require.Equal(t, c.atMost, AtMost(c.s, c.n), "%q at most %d", c.s, c.n)
	}
}

func FuzzValidJSON(f *testing.F) {
	for _, s := range tricky() {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		want := json.Valid(raw) && utf8.Valid(raw)
		if got := ValidJSON(raw); got != want && !tooDeep(raw) {
			t.Fatalf("ValidJSON(%q) = %t, want %t", raw, got, want)
		}
		if want && !tooDeep(raw) {
			d := NewDecoder(raw, Closed)
			var s string
			if d.Text(&s) && d.End() {
				var other string
				if json.Unmarshal(raw, &other) != nil || other != s {
					t.Fatalf("Text(%q) = %q, want %q", raw, s, other)
				}
			}
		}
	})
}
