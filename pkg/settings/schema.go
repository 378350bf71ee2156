package settings

import (
	"encoding/json"
	"reflect"

	"github.com/invopop/jsonschema"
)

// Schema returns the JSON Schema (draft 2020-12) of coderclaw.json, reflected from
// the struct tree. Every object is closed and no key is required.
func Schema() []byte {
	r := jsonschema.Reflector{
		Anonymous:                  true,
		DoNotReference:             true,
		RequiredFromJSONSchemaTags: true,
		Mapper: func(t reflect.Type) *jsonschema.Schema {
			if t == reflect.TypeFor[Secret]() {
				return &jsonschema.Schema{Type: "string", WriteOnly: true}
			}
			if t == choiceType {
				return choiceSchema()
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
