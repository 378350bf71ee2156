package wire

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAppendText(t *testing.T) {
	for in, want := range map[string]string{
		"": `""`, "plain": `"plain"`, "a\"b\\c/": `"a\"b\\c/"`, "\b\f\n\r\t": `"\b\f\n\r\t"`, "\x00\x1f\x7f": `"\u0000\u001f` + "\x7f" + `"`,
		"<&>\u2028é😀": "\"<&>\u2028é😀\"", "bad\xffbyte": "\"bad\ufffdbyte\"", "\xed\xa0\x80": "\"\ufffd\ufffd\ufffd\"", "cut\xc3": "\"cut\ufffd\"", "real\ufffd": "\"real\ufffd\"",
	} {
		got := AppendText(nil, in)
		require.Equal(t, want, string(got))
		require.True(t, ValidJSON(got), in)
	}
}

func TestAppendFloat(t *testing.T) {
	for want, in := range map[string]float64{
		"0": 0, "-0": math.Copysign(0, -1), "1": 1, "1.5": 1.5, "-2.25": -2.25, "0.000001": 1e-6, "1e-7": 1e-7, "1.5e-10": 1.5e-10, "100000000000000000000": 1e20, "1e+21": 1e21, "1.7976931348623157e+308": math.MaxFloat64, "5e-324": math.SmallestNonzeroFloat64,
	} {
		require.Equal(t, want, string(AppendFloat(nil, in)))
	}
	for _, in := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		require.Equal(t, "null", string(AppendFloat(nil, in)))
	}
}

func TestAppendRaw(t *testing.T) {
	require.Equal(t, "null", string(AppendRaw(nil, nil)))
	require.Equal(t, "[1]", string(AppendRaw(nil, Raw("[1]"))))
	require.Equal(t, "{", string(AppendComma([]byte("{"))))
	require.Equal(t, "{1,", string(AppendComma([]byte("{1"))))
	require.Equal(t, []string{"a", "b", "c"}, SortedKeys(map[string]int{"c": 1, "a": 2, "b": 3}))
}

func FuzzAppendText(f *testing.F) {
	f.Add("a\"\\\x00\xff\u2028")
	f.Fuzz(func(t *testing.T, s string) {
		var other, own string
		got := AppendText(nil, s)
		d := NewDecoder(got, Closed)
		if json.Unmarshal(got, &other) != nil || !d.Text(&own) || !d.End() || own != other {
			t.Fatalf("AppendText(%q) = %s, read as %q and %q", s, got, own, other)
		}
	})
}
