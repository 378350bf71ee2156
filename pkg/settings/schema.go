package settings

import (
	"encoding/json"
	"reflect"

	"github.com/invopop/jsonschema"
)

// Schema returns the JSON Schema (draft 2020-12) of coderclaw.json, reflected from
// the struct tree. Every object is closed and no key is required. It is the schema of
// what config.get shows, so that a form can be made of it: a file may also write a
// ModelChoice as its name alone, which no form of the original's clients can edit.
func Schema() []byte {
	r := jsonschema.Reflector{
		Anonymous:                  true,
		DoNotReference:             true,
		RequiredFromJSONSchemaTags: true,
		Mapper: func(t reflect.Type) *jsonschema.Schema {
			if t == reflect.TypeFor[Secret]() {
				return &jsonschema.Schema{Type: "string", WriteOnly: true}
			}
			return nil
		},
	}
	schema := r.ReflectFromType(reflect.TypeFor[Settings]())
	schema.Title = configFileName
	raw, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		panic("settings: the schema does not encode: " + err.Error())
	}
	return append(raw, '\n')
}
