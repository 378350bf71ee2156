package load

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// TestRefused tells each fault with its file and pointer.
func TestRefused(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"no JSON", `{`, "a.json: the file ends early"},
		{"no object", `[]`, "a.json: a schema file is an object"},
		{"member twice", `{"$defs":{},"$defs":{}}`, "a.json: a.json#/$defs: named twice"},
		{"trailing text", `{} {}`, "a.json: text after the value at byte 4"},
		{"unknown key of a file", `{"definitions":{}}`, "a.json#/definitions: unknown key of a schema file"},
		{"unknown keyword", `{"$defs":{"A":{"nor":{}}}}`, `a.json#/$defs/A/nor: keyword "nor" is not in the generator's subset`},
		{"misspelt keyword", `{"$defs":{"A":{"minlength":1}}}`, `a.json#/$defs/A/minlength: keyword "minlength" is not in the generator's subset`},
		{"keyword below", `{"$defs":{"A":{"items":{"properties":{"a/b":{"form":"x"}}}}}}`, `a.json#/$defs/A/items/properties/a~1b/form: keyword "form" is not in the generator's subset`},
		{"keyword of another dialect", `{"$defs":{"A":{"dependencies":{}}}}`, `a.json#/$defs/A/dependencies: keyword "dependencies" is not in the generator's subset`},
		{"no type", `{"$defs":{"A":{"type":[]}}}`, "a.json#/$defs/A/type: type names no type"},
		{"divisor of nothing", `{"$defs":{"A":{"multipleOf":0.0e5}}}`, "a.json#/$defs/A/multipleOf: must be above zero"},
		{"bound beyond numbers", `{"$defs":{"A":{"maximum":1e999}}}`, "a.json#/$defs/A/maximum: the number 1e999 is out of range"},
		{"type", `{"$defs":{"A":{"type":"float"}}}`, `a.json#/$defs/A/type: unknown type "float"`},
		{"no schema", `{"$defs":{"A":7}}`, "a.json#/$defs/A: a schema is an object"},
		{"negative length", `{"$defs":{"A":{"minLength":-1}}}`, "a.json#/$defs/A/minLength: must be a natural number"},
		{"bound that is no number", `{"$defs":{"A":{"minimum":"0"}}}`, "a.json#/$defs/A/minimum: must be a number"},
		{"empty enum", `{"$defs":{"A":{"enum":[]}}}`, "a.json#/$defs/A/enum: enum must be a non-empty array"},
		{"empty union", `{"$defs":{"A":{"anyOf":[]}}}`, "a.json#/$defs/A/anyOf: must be a non-empty array"},
		{"reference to nothing", `{"$defs":{"A":{"$ref":"#/$defs/B"}}}`, `a.json#/$defs/A: $ref "#/$defs/B" means no definition`},
		{"reference to another place", `{"$defs":{"A":{"$ref":"https://example.test/x"}}}`, `a.json#/$defs/A: $ref "https://example.test/x" means no definition`},
		{"circle", `{"$defs":{"A":{"$ref":"#/$defs/A"}}}`, "a.json#/$defs/A: $ref goes round in a circle"},
		{"pattern that is no RE2", `{"$defs":{"A":{"pattern":"(?=a)"}}}`, "a.json#/$defs/A/pattern: pattern \"(?=a)\" is not RE2: error parsing regexp: invalid or unsupported Perl syntax: `(?=`"},
		{"pattern read in two ways", `{"$defs":{"A":{"pattern":"^\\w+$"}}}`, `a.json#/$defs/A/pattern: pattern "^\\w+$" uses \w, which ECMAScript and RE2 read differently`},
		{"example without its text", `{"$defs":{"A":{"x-invalid":[{"value":1}]}}}`, "a.json#/$defs/A/x-invalid/0: an invalid example has value and errors"},
		{"method key", `{"x-methods":{"m":{"scopes":"x"}}}`, "a.json#/x-methods/m/scopes: unknown key of a method"},
		{"method value", `{"x-methods":{"m":{"listed":"yes"}}}`, "a.json#/x-methods/m/listed: must be a boolean, is string"},
		{"event key", `{"x-events":{"e":{"scope":"x"}}}`, "a.json#/x-events/e/scope: unknown key of an event"},
		{"event audience", `{"x-events":{"e":{"audience":"all"}}}`, "a.json#/x-events/e/audience: must be an array of strings, is string"},
		{"table key", `{"x-scopes":{"s":{"grants":[]}}}`, "a.json#/x-scopes/s/grants: unknown key of a table entry"},
		{"two at once, in order", `{"$defs":{"B":{"nor":{}},"A":{"nand":{}}}}`,
			"a.json#/$defs/A/nand: keyword \"nand\" is not in the generator's subset\na.json#/$defs/B/nor: keyword \"nor\" is not in the generator's subset"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Dir(fstest.MapFS{"a.json": {Data: []byte(c.file)}})
			require.EqualError(t, err, c.want)
		})
	}
}

// TestAcrossFiles follows references between files and keeps the files' order.
func TestAcrossFiles(t *testing.T) {
	m, err := Dir(fstest.MapFS{
		"b.json": {Data: []byte(`{"$defs":{"Z":{"type":"string"},"B":{"$ref":"a.json#/$defs/A"}}}`)},
		"a.json": {Data: []byte(`{"description":"d","$defs":{"A":{"type":"integer","minimum":1.50}},"x-methods":{"m":{"params":{"$ref":"b.json#/$defs/B"}}}}`)},
	})
	require.NoError(t, err)
	require.Len(t, m.Files, 2)
	require.Equal(t, "a", m.Files[0].Domain)
	require.Equal(t, "d", m.Files[0].Doc)
	require.Equal(t, []string{"Z", "B"}, []string{m.Files[1].Defs[0].Name, m.Files[1].Defs[1].Name})
	params := m.Files[0].Methods[0].Params
	require.Equal(t, "B", params.To.Name)
	require.Equal(t, "1.50", params.Follow().Minimum, "numbers keep their spelling")
}

func TestValueKeepsItsText(t *testing.T) {
	const text = `{"b":[1.50,-0,1e3,true,null],"a":{"<&>":"é\u0000\""}}`
	v, err := ParseJSON("f", []byte(" "+text+" "))
	require.NoError(t, err)
	require.Equal(t, text, v.JSON())
	require.Equal(t, "f#/b/0", v.Get("b").Items[0].Pos.String())
}
