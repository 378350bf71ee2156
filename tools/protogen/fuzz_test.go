package main

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/tools/protogen/internal/load"
	"github.com/coderclaw/gateway/tools/protogen/internal/render"
)

// FuzzForeign feeds the generator any schema: it is refused, or becomes Go that can be
// formatted. Nothing panics, and nothing runs for ever.
func FuzzForeign(f *testing.F) {
	for _, name := range []string{"base.json", "things.json"} {
		text, err := os.ReadFile(shapes + "/schema/" + name)
		require.NoError(f, err)
		var file struct {
			Defs map[string]json.RawMessage `json:"$defs"`
		}
		require.NoError(f, json.Unmarshal(text, &file))
		for _, def := range file.Defs {
			f.Add([]byte(def))
		}
	}
	for _, seed := range []string{
		`true`, `{"$ref":"#/$defs/a","$defs":{"a":{"items":{"$ref":"#"}}}}`, `{"type":"object","properties":{"a":{"$ref":"#"}}}`,
		`{"oneOf":[{"type":"null"},{"const":"a"},{"enum":["b",null]}]}`, `{"if":{"minLength":1},"then":{"pattern":"^a.*$"},"unevaluatedProperties":false}`,
		`{"type":["string","null"],"const":"` + "`" + `"}`, `{"properties":{"":{},"a-b":{},"aB":{}},"patternProperties":{".":false}}`,
		`{"prefixItems":[{"$anchor":"x"},{"$ref":"#x"}],"contains":{"multipleOf":1e-5},"dependentSchemas":{"a":{"not":{}}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, schema []byte) {
		if !json.Valid(schema) {
			return
		}
		for _, dialect := range []load.Dialect{load.Draft2020, load.Draft7} {
			v, err := load.ParseJSON("Any.json", schema)
			if err != nil {
				return
			}
			model, refused := load.Roots([]load.Root{{Name: "Any", Dialect: dialect, Schema: v}}, nil)
			pkg, err := planned(model, refused)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := render.Go(pkg); err != nil {
				t.Fatal(err)
			}
		}
	})
}
