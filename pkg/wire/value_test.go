package wire

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOpt(t *testing.T) {
	var absent Opt[string]
	require.True(t, absent.IsZero())
	require.Equal(t, "def", absent.Or("def"))
	_, ok := absent.Get()
	require.False(t, ok)

	empty := Some("")
	require.False(t, empty.IsZero(), "present and empty is not absent")
	require.Empty(t, empty.Or("def"))
	_, ok = empty.Get()
	require.True(t, ok)
}

func TestNull(t *testing.T) {
	require.Equal(t, 7, NotNull(7).Or(1))
	require.Equal(t, 1, Null[int]{}.Or(1))
	_, ok := Null[int]{}.Get()
	require.False(t, ok)
}

// TestOptNull tells the three states apart.
func TestOptNull(t *testing.T) {
	for _, c := range []struct {
		name         string
		value        OptNull[int]
		zero, isNull bool
		or           int
	}{{"absent", OptNull[int]{}, true, false, 1}, {"null", SomeNull[int](), false, true, 1}, {"value", SomeValue(7), false, false, 7}} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.zero, c.value.IsZero())
			require.Equal(t, c.isNull, c.value.Null)
			require.Equal(t, c.or, c.value.Or(1))
			_, ok := c.value.Get()
			require.Equal(t, c.name == "value", ok)
		})
	}
}

func TestRawInEncodingJSON(t *testing.T) {
	var v struct {
		A Raw `json:"a"`
		B Raw `json:"b,omitempty"`
	}
	in := []byte(`{"a":{"x":[1,2]}}`)
	require.NoError(t, json.Unmarshal(in, &v))
	in[6] = 'y'
	require.Equal(t, `{"x":[1,2]}`, string(v.A), "a copy")
	out, err := json.Marshal(v)
	require.NoError(t, err)
	require.Equal(t, `{"a":{"x":[1,2]}}`, string(out))
	v.A = nil
	out, err = json.Marshal(v)
	require.NoError(t, err)
	require.Equal(t, `{"a":null}`, string(out))
}

func TestObject(t *testing.T) {
	type holder struct {
		O Object `json:"o"`
	}
	var h holder
	require.NoError(t, json.Unmarshal([]byte(`{"o": {"a": [1, 2], "b\n": {"c": null}}}`), &h))
	var names []string
	for name, value := range h.O.Members() {
		names = append(names, name+"="+string(value))
	}
	require.Equal(t, []string{"a=[1, 2]", "b\n={\"c\": null}"}, names)
	value, ok := h.O.Get("b\n")
	require.True(t, ok)
	require.Equal(t, `{"c": null}`, string(value))
	_, ok = h.O.Get("c")
	require.False(t, ok)

	out, err := json.Marshal(holder{})
	require.NoError(t, err)
	require.JSONEq(t, `{"o":{}}`, string(out), "a required record is never null")
	for _, bad := range []string{`{"o":[]}`, `{"o":null}`, `{"o":7}`} {
		require.Error(t, json.Unmarshal([]byte(bad), &h), bad)
	}
	for range Object(`{"a":1,"b":2}`).Members() {
		break
	}
	require.Empty(t, maps.Collect(Object(nil).Members()))
}
