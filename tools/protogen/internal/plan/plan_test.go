package plan

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/tools/protogen/internal/load"
)

func TestGoName(t *testing.T) {
	for in, want := range map[string]string{
		"sessionKey": "SessionKey", "runId": "RunID", "runIds": "RunIDs", "baseUrl": "BaseURL", "ts": "Ts", "updatedAtMs": "UpdatedAtMs", "paramsJSON": "ParamsJSON",
		"JSONPath": "JSONPath", "a.b-c_d": "ABCD", "one-two.three": "OneTwoThree", "INVALID_REQUEST": "InvalidRequest", "DEVICE_ID": "DeviceID", "slow consumer": "SlowConsumer",
		"iOS": "IOS", "v2": "V2", "3d": "X3d", "x-y": "XY", "": "X", "ui": "UI", "toolResult": "ToolResult",
	} {
		require.Equal(t, want, GoName(in), in)
	}
}

func model(t *testing.T, files map[string]string) *load.Model {
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	m, err := load.Dir(fsys)
	require.NoError(t, err)
	return m
}

// TestRefused holds what no file can see alone: names that meet and shapes that can't be.
func TestRefused(t *testing.T) {
	const object = `{"type":"object","additionalProperties":false,"required":["k"],"properties":{"k":{"const":"x","type":"string"}}}`
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"one name in two files", map[string]string{"a.json": `{"$defs":{"A":{"type":"string"}}}`, "b.json": `{"$defs":{"A":{"type":"string"}}}`},
			"b.json#/$defs/A: the name A is already taken by a.json#/$defs/A"},
		{"a definition and the enum of a member", map[string]string{"a.json": `{"$defs":{"AKind":{"type":"string"},"A":{"type":"object","properties":{"kind":{"enum":["x"]}}}}}`},
			"a.json#/$defs/A/properties/kind: the name AKind is already taken by a.json#/$defs/AKind"},
		{"two members with one Go name", map[string]string{"a.json": `{"$defs":{"A":{"type":"object","properties":{"runId":{"type":"string"},"run-id":{"type":"string"}}}}}`},
			"a.json#/$defs/A/properties/run-id: the field name RunID is already taken"},
		{"a definition and a decoder", map[string]string{"a.json": `{"$defs":{"A":{"type":"string"},"DecodeA":{"type":"string"}}}`},
			"a.json#/$defs/A: the name DecodeA is already taken by a.json#/$defs/DecodeA"},
		{"two methods with one Go name", map[string]string{"a.json": `{"$defs":{"A":` + object + `},"x-methods":{"a.b":{"params":{"$ref":"#/$defs/A"},"result":{"$ref":"#/$defs/A"}},"a-b":{"params":{"$ref":"#/$defs/A"},"result":{"$ref":"#/$defs/A"}}}}`},
			"a.json#/x-methods/a.b: the name MethodAB is already taken by a.json#/x-methods/a-b"},
		{"two codes with one Go name", map[string]string{"a.json": `{"x-errors":{"A_B":{"doc":"x"},"A-B":{"doc":"x"}}}`},
			"a.json#/x-errors/A_B: the name ErrorAB is already taken by a.json#/x-errors/A-B"},
		{"version in two files", map[string]string{"a.json": `{"x-protocol":1}`, "b.json": `{"x-protocol":1}`}, "b.json#/x-protocol: x-protocol stands in two files"},
		{"params that are no reference", map[string]string{"a.json": `{"$defs":{"A":` + object + `},"x-methods":{"m":{"params":{"type":"object"},"result":{"$ref":"#/$defs/A"}}}}`},
			"a.json#/x-methods/m: params must be a $ref to a definition"},
		{"variant without the discriminator", map[string]string{"a.json": `{"$defs":{"A":` + object + `,"B":` + object + `,"U":{"x-discriminator":"type","anyOf":[{"$ref":"#/$defs/A"}, {"$ref":"#/$defs/B"}]}}}`},
			"a.json#/$defs/U: variant A has no string const \"type\"\na.json#/$defs/U: variant B has no string const \"type\""},
		{"variant that does not require the discriminator", map[string]string{"a.json": `{"$defs":{"A":` + strings.Replace(object, `"required":["k"],`, "", 1) + `,"B":` + object + `,"U":{"x-discriminator":"k","anyOf":[{"$ref":"#/$defs/A"},{"$ref":"#/$defs/B"}]}}}`},
			"a.json#/$defs/U: variant A does not require \"k\"\na.json#/$defs/U: two variants have k \"x\""},
		{"a member with the name of a method", map[string]string{"a.json": `{"$defs":{"A":{"type":"object","properties":{"append-json":{"type":"string"}}}}}`},
			"a.json#/$defs/A/properties/append-json: the field name AppendJSON is already taken"},
		{"two variants with one tag", map[string]string{"a.json": `{"$defs":{"A":` + object + `,"B":` + object + `,"U":{"x-discriminator":"k","anyOf":[{"$ref":"#/$defs/A"},{"$ref":"#/$defs/B"}]}}}`},
			"a.json#/$defs/U: two variants have k \"x\""},
		{"a type that holds itself", map[string]string{"a.json": `{"$defs":{"A":{"type":"object","properties":{"b":{"$ref":"#/$defs/B"}}},"B":{"type":"object","properties":{"a":{"$ref":"#/$defs/A"}}}}}`},
			"a.json#/$defs/A: the type A holds itself: put a list, a map or a union between"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Make(model(t, c.files))
			require.EqualError(t, err, c.want)
		})
	}
}

// TestKinds decides the kind of each shape.
func TestKinds(t *testing.T) {
	for schema, want := range map[string]Kind{
		`{}`: Untyped, `true`: Untyped, `{"type":"string"}`: String, `{"type":"integer"}`: Integer, `{"type":"number"}`: Number, `{"type":"boolean"}`: Boolean,
		`{"const":"a"}`: Literal, `{"const":true,"type":"boolean"}`: Literal, `{"const":3}`: Literal, `{"const":1.5}`: Checked, `{"const":[1]}`: Checked, `{"const":"a","type":"integer"}`: Checked,
		`{"enum":["a","b"]}`: Enum, `{"enum":["a",1]}`: Checked, `{"anyOf":[{"const":"a"},{"const":"b"}]}`: Enum,
		`{"anyOf":[{"type":"integer"},{"type":"null"}]}`: Nullable, `{"type":["null","string"]}`: Nullable, `{"oneOf":[{"type":"integer"},{"type":"null"}]}`: Nullable,
		`{"anyOf":[{"const":"a"},{"type":"string","minLength":2}]}`: String, `{"anyOf":[{"type":"string"},{"type":"integer"}]}`: Checked,
		`{"anyOf":[{"const":"a"},{"const":"b"}],"type":"string"}`: Checked, `{"type":["string","integer"]}`: Checked, `{"minLength":1}`: Checked, `{"type":"null"}`: Checked,
		`{"type":"array"}`: Array, `{"type":"array","items":{"type":"string"}}`: Array,
		`{"type":"object"}`: Object, `{"type":"object","properties":{"a":{}}}`: Object, `{"type":"object","additionalProperties":{"type":"string"}}`: Map,
		`{"type":"object","patternProperties":{"^(.*)$":{}}}`: Map, `{"type":"object","patternProperties":{"^a":{}}}`: Checked,
		`{"const":"a","minLength":1}`: Checked, `{"enum":["a"],"maxLength":1}`: Checked, `{"anyOf":[{"const":"a","maxLength":1},{"const":"b"}]}`: String,
		`{"oneOf":[{"const":"a"},{"const":"a"}]}`: Checked, `{"oneOf":[{"type":"null"},{}]}`: Checked, `{"oneOf":[{"type":"null"},{"enum":[null]}]}`: Checked,
		`{"type":["string","null"],"enum":["a"]}`: Checked, `{"type":["string","null"],"const":"a"}`: Checked, `{"type":["null","null"]}`: Checked,
		`{"type":"string","minimum":1}`: String, `{"not":{}}`: Checked, `{"type":"object","minProperties":1}`: Checked, `false`: Checked,
		`{"type":"object","required":["b"],"properties":{"a":{}}}`: Checked, `{"type":"object","properties":{"a":{}},"additionalProperties":{"type":"string"}}`: Checked,
	} {
		pkg, err := Make(model(t, map[string]string{"a.json": `{"$defs":{"A":` + schema + `}}`}))
		require.NoError(t, err, schema)
		require.Equal(t, want, pkg.Domains[0].Types[0].Type.Kind, schema)
	}
}
