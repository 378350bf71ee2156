package lint

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/tools/protogen/internal/load"
)

// good is a file that the house likes.
const good = `{
	"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.test/a.json", "title": "a", "description": "About a.",
	"x-roles": {"operator": {"doc": "A person."}}, "x-scopes": {"operator.look": {"doc": "Look.", "implies": ["*"]}},
	"$defs": {
		"Ask": {"description": "Asks.", "type": "object", "additionalProperties": false, "required": ["idempotencyKey"],
			"properties": {"idempotencyKey": {"description": "Key.", "type": "string"}, "hint": {"description": "Any."}},
			"examples": [{"idempotencyKey": "k"}], "x-invalid": [{"value": 1, "errors": "must be object"}]},
		"Answer": {"description": "Answers.", "type": "object", "x-open": true, "properties": {"data": {"description": "Any.", "x-untyped": "Because."}, "inner": {"$ref": "#/$defs/Inner", "description": "In."}},
			"examples": [{}], "x-invalid": [{"value": 1, "errors": "must be object"}]},
		"Inner": {"description": "Is inside.", "type": "object", "additionalProperties": true}
	},
	"x-methods": {"a.do": {"params": {"$ref": "#/$defs/Ask"}, "result": {"$ref": "#/$defs/Answer"}, "role": "operator", "scope": "operator.look", "idempotency": "required", "replay": "handler", "reply": "once", "listed": true, "since": "3", "doc": "Does."}},
	"x-events": {"a.done": {"payload": {"$ref": "#/$defs/Answer"}, "audience": ["operator.look"], "stateVersion": false, "droppable": "never", "since": "3", "doc": "Done."}}
}`

func lint(t *testing.T, text string) error {
	m, err := load.Dir(fstest.MapFS{"a.json": {Data: []byte(text)}})
	require.NoError(t, err)
	return House(m)
}

// TestHouse breaks one rule of a good file at a time.
func TestHouse(t *testing.T) {
	require.NoError(t, lint(t, good))
	for _, c := range []struct{ name, old, new, want string }{
		{"dialect", "2020-12/schema", "2019-09/schema", "a.json: $schema must be https://json-schema.org/draft/2020-12/schema"},
		{"id", "test/a.json", "test/b.json", "a.json: $id must end in /a.json"},
		{"title", `"title": "a"`, `"title": "b"`, `a.json: title must be "a"`},
		{"description of the file", `"About a."`, `""`, "a.json: the file has no description"},
		{"doc of a table", `"Look."`, `""`, "a.json#/x-scopes/operator.look: the entry has no doc"},
		{"implied scope", `["*"]`, `["touch"]`, `a.json#/x-scopes/operator.look: implies the unknown scope "touch"`},
		{"name of a definition", `"Inner": {`, `"inner": {`, ""},
		{"description of a definition", `"Is inside."`, `""`, "a.json#/$defs/Inner: the definition has no description"},
		{"description of a property", `"description": "Key.", `, ``, "a.json#/$defs/Ask/properties/idempotencyKey: the property has no description"},
		{"neither open nor closed", `"x-open": true, `, ``, "a.json#/$defs/Answer: the object says neither additionalProperties nor x-open"},
		{"object inside", `{"$ref": "#/$defs/Inner", "description": "In."}`, `{"type": "object", "additionalProperties": false, "description": "In."}`,
			"a.json#/$defs/Answer/properties/inner: an object inside another is a definition of its own: use $ref"},
		{"keyword that is only checked", `"Is inside."`, `"Is inside.", "minProperties": 1`, `a.json#/$defs/Inner/minProperties: keyword "minProperties" is not in the house's subset`},
		{"keyword that rules nothing", `"description": "Key.", "type": "string"`, `"description": "Key.", "type": "string", "format": "uuid"`, `a.json#/$defs/Ask/properties/idempotencyKey/format: keyword "format" is not in the house's subset`},
		{"rule beside a reference", `"$ref": "#/$defs/Inner", "description"`, `"$ref": "#/$defs/Inner", "minLength": 1, "description"`,
			`a.json#/$defs/Answer/properties/inner/minLength: keyword "minLength" beside $ref`},
		{"boolean schema", `"hint": {"description": "Any."}`, `"hint": {"description": "Any.", "x-open": true}, "never": false`, "a.json#/$defs/Ask/properties/never: the property has no description\na.json#/$defs/Ask/properties/never: a schema is an object"},
		{"required that is no property", `"required": ["idempotencyKey"]`, `"required": ["idempotencyKey", "x"]`, `a.json#/$defs/Ask: requires "x", which is no property`},
		{"required twice", `"required": ["idempotencyKey"]`, `"required": ["idempotencyKey", "idempotencyKey"]`, `a.json#/$defs/Ask: requires "idempotencyKey" twice`},
		{"array of what", `"hint": {"description": "Any."}`, `"hint": {"description": "Any.", "type": "array"}`, "a.json#/$defs/Ask/properties/hint: an array says what it holds: items"},
		{"untyped without a reason", `, "x-untyped": "Because."`, ``, "a.json#/$defs/Answer/properties/data: an untyped value that the gateway sends needs its reason: x-untyped"},
		{"reason on a typed value", `"x-untyped": "Because."`, `"x-untyped": "Because.", "type": "string"`, "a.json#/$defs/Answer/properties/data: x-untyped on a schema that has a type"},
		{"secret object", `"Is inside."`, `"Is inside.", "x-secret": true`, "a.json#/$defs/Inner: x-secret belongs to strings"},
		{"discriminator without a union", `"Is inside."`, `"Is inside.", "x-discriminator": "k"`, "a.json#/$defs/Inner: x-discriminator belongs to a union"},
		{"no example", `"examples": [{"idempotencyKey": "k"}], `, ``, "a.json#/$defs/Ask: crosses the wire and has no example"},
		{"no invalid example", `"examples": [{"idempotencyKey": "k"}], "x-invalid": [{"value": 1, "errors": "must be object"}]`, `"examples": [{"idempotencyKey": "k"}]`,
			"a.json#/$defs/Ask: crosses the wire and has no x-invalid example"},
		{"no params", `"params": {"$ref": "#/$defs/Ask"}, `, ``, "a.json#/x-methods/a.do: params is missing"},
		{"params without a name", `"params": {"$ref": "#/$defs/Ask"}`, `"params": {"type": "object"}`, "a.json#/x-methods/a.do/params: params must be a $ref to a definition"},
		{"role", `"role": "operator"`, `"role": "king"`, `a.json#/x-methods/a.do: role "king" is none of ["any" "operator"]`},
		{"scope", `"scope": "operator.look"`, `"scope": "peek"`, `a.json#/x-methods/a.do: scope "peek" is none of ["" "operator.look"]`},
		{"no scope", `"scope": "operator.look", `, ``, "a.json#/x-methods/a.do: scope is missing: without one every operator may call the method"},
		{"reply", `"reply": "once", `, ``, "a.json#/x-methods/a.do: reply is missing"},
		{"staged without an ack", `"reply": "once"`, `"reply": "staged"`, "a.json#/x-methods/a.do: ack is missing"},
		{"ack without stages", `"reply": "once"`, `"reply": "once", "ack": {"$ref": "#/$defs/Answer"}`, "a.json#/x-methods/a.do: only a staged method has an ack"},
		{"replay", `, "replay": "handler"`, ``, "a.json#/x-methods/a.do: replay is missing"},
		{"replay without a key", `"idempotency": "required", `, ``, `a.json#/x-methods/a.do: replay "handler" is none of [""]`},
		{"key that is not required", `"required": ["idempotencyKey"],`, ``, "a.json#/x-methods/a.do: idempotency is required and the params do not require idempotencyKey"},
		{"listed", `"listed": true, `, ``, "a.json#/x-methods/a.do: listed is missing"},
		{"since", `"listed": true, "since": "3"`, `"listed": true`, "a.json#/x-methods/a.do: since is missing"},
		{"doc", `"doc": "Does."`, `"doc": ""`, "a.json#/x-methods/a.do: doc is missing"},
		{"validation", `"reply": "once"`, `"reply": "once", "validation": "some"`, `a.json#/x-methods/a.do: validation "some" is none of ["" "none"]`},
		{"unvalidated and closed", `"reply": "once"`, `"reply": "once", "validation": "none"`, "a.json#/x-methods/a.do: params that are not validated are an open object"},
		{"audience", `"audience": ["operator.look"]`, `"audience": []`, "a.json#/x-events/a.done: audience is missing"},
		{"unknown audience", `"audience": ["operator.look"]`, `"audience": ["operator.look", "sky"]`, `a.json#/x-events/a.done: audience "sky" is none of ["all" "operator" "operator.look"]`},
		{"droppable", `"droppable": "never"`, `"droppable": "often"`, `a.json#/x-events/a.done: droppable "often" is none of ["never" "always" "delta"]`},
		{"stateVersion", `"stateVersion": false, `, ``, "a.json#/x-events/a.done: stateVersion is missing"},
		{"payload", `"payload": {"$ref": "#/$defs/Answer"}, `, ``, "a.json#/x-events/a.done: payload is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, 1, min(strings.Count(good, c.old), 1), "the good file holds %q", c.old)
			text := strings.Replace(good, c.old, c.new, 1)
			if c.want == "" { // the name is used by a reference too
				text = strings.ReplaceAll(text, "$defs/Inner", "$defs/inner")
				c.want = "a.json#/$defs/inner: a definition is called in UpperCamel"
			}
			require.EqualError(t, lint(t, text), c.want)
		})
	}
}

// TestAllAtOnce tells several faults in one run.
func TestAllAtOnce(t *testing.T) {
	text := strings.NewReplacer(`"Is inside."`, `""`, `"doc": "Does."`, `"doc": ""`).Replace(good)
	require.EqualError(t, lint(t, text), "a.json#/$defs/Inner: the definition has no description\na.json#/x-methods/a.do: doc is missing")
}

// TestTwoFiles finds a method that two files declare.
func TestTwoFiles(t *testing.T) {
	m, err := load.Dir(fstest.MapFS{"a.json": {Data: []byte(good)}, "b.json": {Data: []byte(`{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.test/b.json", "title": "b", "description": "About b.",
		"x-methods": {"a.do": {"params": {"$ref": "a.json#/$defs/Ask"}, "result": {"$ref": "a.json#/$defs/Answer"}, "role": "any", "reply": "once", "listed": false, "since": "3", "doc": "Does."}}}`)}})
	require.NoError(t, err)
	require.EqualError(t, House(m), "b.json#/x-methods/a.do: the method is already declared by a.json#/x-methods/a.do")
}

// TestProtocol lints the real schema.
func TestProtocol(t *testing.T) {
	m, err := load.Dir(os.DirFS("../../../../schema"))
	require.NoError(t, err)
	require.NoError(t, House(m))
}
