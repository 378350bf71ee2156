package load

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func roots(t *testing.T, dialect Dialect, schema string, documents map[string]string) (*Model, error) {
	parse := func(text string) *Value {
		v, err := ParseJSON("A.json", []byte(text))
		require.NoError(t, err, text)
		return v
	}
	docs := map[string]*Value{}
	for uri, text := range documents {
		docs[uri] = parse(text)
	}
	m, refused := Roots([]Root{{Name: "A", Dialect: dialect, Schema: parse(schema)}}, docs)
	return m, refused["A"]
}

// TestRootReferences follows each kind of reference to the schema it means.
func TestRootReferences(t *testing.T) {
	for _, c := range []struct {
		name, schema, want string
		dialect            Dialect
		documents          map[string]string
	}{
		{"pointer", `{"$ref":"#/$defs/a~1b%25","$defs":{"a/b%":{"title":"here"}}}`, "/$defs/a~1b%", Draft2020, nil},
		{"pointer into a list", `{"properties":{"x":{"$ref":"#/anyOf/1"}},"anyOf":[{},{"type":"string"}]}`, "/anyOf/1", Draft7, nil},
		{"anchor", `{"properties":{"x":{"$ref":"#here"}},"$defs":{"a":{"$anchor":"here"}}}`, "/$defs/a", Draft2020, nil},
		{"anchor of draft 7", `{"properties":{"x":{"$ref":"#here"}},"definitions":{"a":{"$id":"#here"}}}`, "/definitions/a", Draft7, nil},
		{"id", `{"$id":"https://x.test/a/b","properties":{"x":{"$ref":"c"}},"$defs":{"a":{"$id":"/a/c"}}}`, "/$defs/a", Draft2020, nil},
		{"base of the place", `{"$id":"https://x.test/","properties":{"x":{"$id":"in/","$ref":"#/$defs/y","$defs":{"y":{}}}}}`, "/properties/x/$defs/y", Draft2020, nil},
		{"document", `{"$ref":"https://x.test/d#/$defs/y"}`, "/$defs/y", Draft2020, map[string]string{"https://x.test/d": `{"$defs":{"y":{"type":"null"}}}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := roots(t, c.dialect, c.schema, c.documents)
			require.NoError(t, err)
			require.Len(t, m.Files[0].Defs, 2)
			require.Equal(t, "A_1", m.Files[0].Defs[1].Name)
			require.Equal(t, c.want, m.Files[0].Defs[1].Schema.Pos.Pointer)
		})
	}
}

// TestRootRefused leaves a schema out with its reason.
func TestRootRefused(t *testing.T) {
	for _, c := range []struct{ name, schema, want string }{
		{"nothing there", `{"$ref":"#/$defs/a"}`, `A.json: $ref "#/$defs/a" means no schema`},
		{"data", `{"const":{"a":{}},"$ref":"#/const/a"}`, `A.json: $ref "#/const/a" means no schema`},
		{"unknown document", `{"$ref":"https://x.test/"}`, `A.json: $ref "https://x.test/" means no schema`},
		{"itself", `{"$ref":"#"}`, "A.json: the schema leads to itself without a step into the instance"},
		{"round about", `{"allOf":[{"$ref":"#/$defs/b"}],"$defs":{"b":{"anyOf":[{"$ref":"#"}]}}}`,
			"A.json: the schema leads to itself without a step into the instance\nA.json#/$defs/b: the schema leads to itself without a step into the instance"},
		{"another dialect", `{"properties":{"a":{"$schema":"http://json-schema.org/draft-07/schema#"}}}`,
			`A.json#/properties/a/$schema: the dialect "http://json-schema.org/draft-07/schema#" is not https://json-schema.org/draft/2020-12/schema`},
		{"unknown keyword", `{"$dynamicRef":"#a"}`, `A.json#/$dynamicRef: keyword "$dynamicRef" is not in the generator's subset`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := roots(t, Draft2020, c.schema, nil)
			require.EqualError(t, err, c.want)
			require.Empty(t, m.Files)
		})
	}
	_, err := roots(t, Draft7, `{"$ref":"#/anyOf/1","anyOf":[{},{"type":"string"}]}`, nil)
	require.EqualError(t, err, `A.json: $ref "#/anyOf/1" means no schema`, "nothing beside a reference is there in draft 7")

	m, err := roots(t, Draft2020, `{"properties":{"a":{"$ref":"#"}}}`, nil)
	require.NoError(t, err, "a step into the instance ends it")
	require.Same(t, m.Files[0].Defs[0], m.Files[0].Defs[0].Schema.Properties[0].Schema.To)
}

// TestRE2 spells out the dot, which JavaScript reads more narrowly.
func TestRE2(t *testing.T) {
	require.Equal(t, `^[a-z]+\.x$`, RE2(`^[a-z]+\.x$`))
	const dot = `[^\n\r\x{2028}\x{2029}]`
	require.Equal(t, "a"+dot+"*", RE2("a.*"))
}
