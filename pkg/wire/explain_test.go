package wire

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// explained lists errors as path|keyword|message|params.
func explained(t *testing.T, rule Rule, mode Mode, instance string) string {
	err := Explain([]byte(instance), mode, &rule, func(string) *Rule { return nil })
	var list ValidationErrors
	require.ErrorAs(t, err, &list)
	var parts []string
	for _, e := range list {
		parts = append(parts, fmt.Sprintf("%s|%s|%s|%s", e.InstancePath, e.Keyword, e.Message, e.Params))
	}
	return strings.Join(parts, "\n")
}

// TestExplainOrder holds what ajv 8.17 (allErrors, not strict) says of the same
// schemas and instances, word for word and in its order.
func TestExplainOrder(t *testing.T) {
	text := Rule{Types: []string{"string"}}
	for _, c := range []struct {
		name     string
		rule     Rule
		instance string
		want     []string
	}{
		{"number group", Rule{Types: []string{"number"}, Maximum: "5", Minimum: "10", ExclusiveMaximum: "5", ExclusiveMinimum: "10"}, `7`, []string{
			`|maximum|must be <= 5|{"comparison":"<=","limit":5}`, `|minimum|must be >= 10|{"comparison":">=","limit":10}`,
			`|exclusiveMaximum|must be < 5|{"comparison":"<","limit":5}`, `|exclusiveMinimum|must be > 10|{"comparison":">","limit":10}`,
		}},
		{"integer is asked before its bounds", Rule{Types: []string{"integer"}, Minimum: "20"}, `1.5`, []string{
			`|type|must be integer|{"type":"integer"}`, `|minimum|must be >= 20|{"comparison":">=","limit":20}`,
		}},
		{"bounds do not speak of strings", Rule{Types: []string{"integer"}, Minimum: "20"}, `"x"`, []string{`|type|must be integer|{"type":"integer"}`}},
		{"string group counts characters", Rule{Types: []string{"string"}, MaxLength: "1", MinLength: "3", Pattern: "^a", Match: regexp.MustCompile("^a")}, `"bé"`, []string{
			`|maxLength|must NOT have more than 1 characters|{"limit":1}`, `|minLength|must NOT have fewer than 3 characters|{"limit":3}`,
			`|pattern|must match pattern "^a"|{"pattern":"^a"}`,
		}},
		{"type after const when its own group follows", Rule{Types: []string{"string"}, MinLength: "2", Const: `"xx"`}, `5`, []string{
			`|const|must be equal to constant|{"allowedValue":"xx"}`, `|type|must be string|{"type":"string"}`,
		}},
		{"type before const when no group follows", Rule{Types: []string{"string"}, Const: `"xx"`}, `5`, []string{
			`|type|must be string|{"type":"string"}`, `|const|must be equal to constant|{"allowedValue":"xx"}`,
		}},
		{"const before the string group", Rule{Types: []string{"string"}, MinLength: "3", Const: `"xx"`}, `"y"`, []string{
			`|const|must be equal to constant|{"allowedValue":"xx"}`, `|minLength|must NOT have fewer than 3 characters|{"limit":3}`,
		}},
		{"enum", Rule{Enum: []string{`"a"`, `1`, `null`}}, `"b"`, []string{`|enum|must be equal to one of the allowed values|{"allowedValues":["a",1,null]}`}},
		{"list of types", Rule{Types: []string{"string", "null"}, MinLength: "2"}, `1`, []string{`|type|must be string,null|{"type":["string","null"]}`}},
		{"array group", Rule{Types: []string{"array"}, MaxItems: "1", MinItems: "3", Items: &Rule{Types: []string{"string"}, MinLength: "1"}}, `["",1]`, []string{
			`|maxItems|must NOT have more than 1 items|{"limit":1}`, `|minItems|must NOT have fewer than 3 items|{"limit":3}`,
			`/0|minLength|must NOT have fewer than 1 characters|{"limit":1}`, `/1|type|must be string|{"type":"string"}`,
		}},
		{"object group: required in the list's order, unexpected in the instance's with indexes first, properties in the schema's", Rule{
			Types: []string{"object"}, Required: []string{"b", "a"}, Closed: true,
			Properties: []PropertyRule{{Name: "a", Rule: text}, {Name: "z", Rule: text}, {Name: "y", Rule: Rule{Types: []string{"integer"}}}},
		}, `{"q":1,"y":"s","10":1,"2":1,"z":1}`, []string{
			`|required|must have required property 'b'|{"missingProperty":"b"}`, `|required|must have required property 'a'|{"missingProperty":"a"}`,
			`|additionalProperties|must NOT have additional properties|{"additionalProperty":"2"}`,
			`|additionalProperties|must NOT have additional properties|{"additionalProperty":"10"}`,
			`|additionalProperties|must NOT have additional properties|{"additionalProperty":"q"}`,
			`/z|type|must be string|{"type":"string"}`, `/y|type|must be integer|{"type":"integer"}`,
		}},
		{"no object", Rule{Types: []string{"object"}, Required: []string{"b"}}, `[]`, []string{`|type|must be object|{"type":"object"}`}},
		{"patterns and pointer escapes", Rule{Types: []string{"object"}, Patterns: []PropertyRule{{Name: "^(.*)$", Rule: text}}}, `{"b":1,"a":2,"~/":3}`, []string{
			`/b|type|must be string|{"type":"string"}`, `/a|type|must be string|{"type":"string"}`, `/~0~1|type|must be string|{"type":"string"}`,
		}},
		{"schema for the rest", Rule{Types: []string{"object"}, Properties: []PropertyRule{{Name: "a", Rule: Rule{}}}, Additional: &Rule{Types: []string{"integer"}}}, `{"b":"x","a":"x"}`, []string{
			`/b|type|must be integer|{"type":"integer"}`,
		}},
		{"branches before anyOf", Rule{AnyOf: []Rule{{Types: []string{"integer"}, Minimum: "0"}, {Types: []string{"null"}}}}, `-1`, []string{
			`|minimum|must be >= 0|{"comparison":">=","limit":0}`, `|type|must be null|{"type":"null"}`, `|anyOf|must match a schema in anyOf|{}`,
		}},
		{"anyOf before the string group", Rule{Types: []string{"string"}, MinLength: "5", AnyOf: []Rule{{Const: `"a"`}, {Const: `"b"`}}}, `"c"`, []string{
			`|const|must be equal to constant|{"allowedValue":"a"}`, `|const|must be equal to constant|{"allowedValue":"b"}`,
			`|anyOf|must match a schema in anyOf|{}`, `|minLength|must NOT have fewer than 5 characters|{"limit":5}`,
		}},
		{"oneOf that nothing fits", Rule{OneOf: []Rule{{Types: []string{"integer"}}, {Types: []string{"null"}}}}, `"x"`, []string{
			`|type|must be integer|{"type":"integer"}`, `|type|must be null|{"type":"null"}`,
			`|oneOf|must match exactly one schema in oneOf|{"passingSchemas":null}`,
		}},
		{"oneOf that two fit", Rule{OneOf: []Rule{{Types: []string{"integer"}}, {Types: []string{"number"}}}}, `1`, []string{
			`|oneOf|must match exactly one schema in oneOf|{"passingSchemas":[0,1]}`,
		}},
		{"const of an object", Rule{Const: `{"a":[1,"x"]}`}, `{"a":[1,"y"]}`, []string{`|const|must be equal to constant|{"allowedValue":{"a":[1,"x"]}}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, strings.Join(c.want, "\n"), explained(t, c.rule, Closed, c.instance))
		})
	}
}

func TestExplainText(t *testing.T) {
	rule := Rule{
		Types: []string{"object"}, Required: []string{"sessionKey"}, Closed: true,
		Properties: []PropertyRule{
			{Name: "sessionKey", Rule: Rule{Types: []string{"string"}}},
			{Name: "limit", Rule: Rule{Types: []string{"integer"}, Minimum: "1"}},
			{Name: "id", Rule: Rule{AnyOf: []Rule{{Const: `"a"`, Types: []string{"string"}}, {Const: `"b"`, Types: []string{"string"}}}}},
			{Name: "in", Rule: Rule{Types: []string{"object"}, Closed: true}},
		},
	}
	for _, c := range []struct{ name, instance, want string }{
		{"required, unexpected, bound", `{"foo":1,"limit":0}`, "must have required property 'sessionKey'; at root: unexpected property 'foo'; at /limit: must be >= 1"},
		{"said once", `{"sessionKey":"x","id":"c"}`, "at /id: must be equal to constant; at /id: must match a schema in anyOf"},
		{"unexpected below the root", `{"sessionKey":"x","in":{"a/b":1}}`, "at /in: unexpected property 'a/b'"},
		{"unexpected without a name to show", `{"sessionKey":"x","in":{" ":1}}`, "at /in: must NOT have additional properties"},
		{"root type", `[]`, "must be object"},
		{"twice", `{"sessionKey":"x","sessionKey":"y"}`, `member "sessionKey" is named twice`},
		{"twice below", `{"sessionKey":"x","in":{"\u0061":1,"a":1}}`, `at /in: member "a" is named twice`},
		{"beyond 64 bits", `{"sessionKey":"x","limit":9223372036854775808}`, "at /limit: integer beyond 64 bits"},
		{"exponent that nobody expands", `{"sessionKey":"x","limit":1e1000000000000000000000}`, "at /limit: integer beyond 64 bits"},
		{"a broken rule is told before a number's size", `{"limit":1e400}`, "must have required property 'sessionKey'"},
		{"not JSON", `{"sessionKey":`, "malformed JSON"},
		{"trailing text", `{} {}`, "malformed JSON"},
		{"nothing", ``, "empty text"},
		{"not UTF-8", "{\"sessionKey\":\"\xff\"}", "invalid UTF-8"},
		{"deep", strings.Repeat("[", 513) + strings.Repeat("]", 513), "nests too deep"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Explain([]byte(c.instance), Closed, &rule, func(string) *Rule { return nil })
			require.EqualError(t, err, c.want)
		})
	}
}

// TestExplainOpen checks what a client tolerates: unexpected members and unknown
// values of an enum, nothing else.
func TestExplainOpen(t *testing.T) {
	rule := Rule{
		Types: []string{"object"}, Required: []string{"k"}, Closed: true,
		Properties: []PropertyRule{{Name: "e", Rule: Rule{Enum: []string{`"a"`}}}, {Name: "u", Rule: Rule{AnyOf: []Rule{{Const: `"a"`}, {Types: []string{"null"}}}}}},
	}
	require.Equal(t, `|required|must have required property 'k'|{"missingProperty":"k"}`, explained(t, rule, Open, `{"x":1,"e":"new","u":"new"}`))
	require.Equal(t, `/e|enum|must be equal to one of the allowed values|{"allowedValues":["a"]}`, explained(t, rule, Open, `{"k":1,"e":1}`))
}

// TestExplainBounded checks that a hostile instance can't make a refusal endless.
func TestExplainBounded(t *testing.T) {
	rule := Rule{Types: []string{"array"}, Items: &Rule{Types: []string{"string"}}}
	var list ValidationErrors
	require.ErrorAs(t, Explain([]byte("["+strings.Repeat("1,", 5000)+"1]"), Closed, &rule, nil), &list)
	require.Len(t, list, errorsMax)

	var members strings.Builder
	for i := range membersMax + 1 {
		fmt.Fprintf(&members, `,"m%d":0`, i)
	}
	closed := Rule{Types: []string{"object"}, Closed: true}
	err := Explain([]byte("{"+members.String()[1:]+"}"), Closed, &closed, nil)
	require.EqualError(t, err, "too many members")
}

func TestConforms(t *testing.T) {
	rule := Rule{OneOf: []Rule{{Ref: "Name"}, {Types: []string{"integer"}}}}
	find := func(string) *Rule { return &Rule{Types: []string{"string"}, MinLength: "1"} }
	for instance, want := range map[string]bool{`"x"`: true, `7`: true, `1e3`: true, `""`: false, `1.5`: false, `99999999999999999999`: false, ` null`: false} {
		require.Equal(t, want, Conforms([]byte(instance), Closed, &rule, find), instance)
	}
}
