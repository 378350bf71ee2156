package wire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestExplainMore holds what ajv 8.17 (allErrors, not strict) says of the keywords that
// shape no type.
func TestExplainMore(t *testing.T) {
	text, number := Rule{Types: []string{"string"}}, Rule{Types: []string{"integer"}}
	never := Rule{More: &MoreRule{Never: true}}
	more := func(m MoreRule) Rule { return Rule{More: &m} }
	for _, c := range []struct {
		name     string
		rule     Rule
		instance string
		want     []string
	}{
		{"false", never, `1`, []string{`|false schema|boolean schema is false|{}`}},
		{"not", more(MoreRule{Not: &number}), `1`, []string{`|not|must NOT be valid|{}`}},
		{"allOf", more(MoreRule{AllOf: []Rule{text, {Minimum: "5"}}}), `1`, []string{`|type|must be string|{"type":"string"}`, `|minimum|must be >= 5|{"comparison":">=","limit":5}`}},
		{"then", more(MoreRule{If: &number, Then: &Rule{Minimum: "5"}, Else: &text}), `1`, []string{
			`|minimum|must be >= 5|{"comparison":">=","limit":5}`, `|if|must match "then" schema|{"failingKeyword":"then"}`,
		}},
		{"else", more(MoreRule{If: &number, Then: &Rule{Minimum: "5"}, Else: &text}), `null`, []string{
			`|type|must be string|{"type":"string"}`, `|if|must match "else" schema|{"failingKeyword":"else"}`,
		}},
		{"the order of those that combine", Rule{
			Const: "3", AnyOf: []Rule{never}, OneOf: []Rule{never}, More: &MoreRule{Not: &Rule{}, AllOf: []Rule{never}},
		}, `1`, []string{
			`|const|must be equal to constant|{"allowedValue":3}`, `|not|must NOT be valid|{}`,
			`|false schema|boolean schema is false|{}`, `|anyOf|must match a schema in anyOf|{}`,
			`|false schema|boolean schema is false|{}`, `|oneOf|must match exactly one schema in oneOf|{"passingSchemas":null}`,
			`|false schema|boolean schema is false|{}`,
		}},
		{"multipleOf after the bounds", Rule{Maximum: "0", More: &MoreRule{MultipleOf: "2"}}, `3`, []string{
			`|maximum|must be <= 0|{"comparison":"<=","limit":0}`, `|multipleOf|must be multiple of 2|{"multipleOf":2}`,
		}},
		{"multipleOf is exact", more(MoreRule{MultipleOf: "0.01"}), `0.075`, []string{`|multipleOf|must be multiple of 0.01|{"multipleOf":0.01}`}},
		{"uniqueItems by value", more(MoreRule{Unique: true}), `[1,{"a":1,"b":[2]},{"b":[2.0],"a":1e0}]`, []string{
			`|uniqueItems|must NOT have duplicate items (items ## 1 and 2 are identical)|{"i":2,"j":1}`,
		}},
		{"prefixItems and nothing after", Rule{Items: &never, More: &MoreRule{Prefix: []Rule{text}}}, `[1,2,3]`, []string{
			`/0|type|must be string|{"type":"string"}`, `|items|must NOT have more than 1 items|{"limit":1}`,
		}},
		{"contains too little", more(MoreRule{Contains: &text}), `[1]`, []string{
			`/0|type|must be string|{"type":"string"}`, `|contains|must contain at least 1 valid item(s)|{"minContains":1}`,
		}},
		{"contains too much", more(MoreRule{Contains: &text, MaxContains: "1"}), `["a",1,"b"]`, []string{
			`|contains|must contain at least 1 and no more than 1 valid item(s)|{"minContains":1,"maxContains":1}`,
		}},
		{"counts of members", more(MoreRule{MinProperties: "2", MaxProperties: "0"}), `{"a":1}`, []string{
			`|maxProperties|must NOT have more than 0 properties|{"limit":0}`, `|minProperties|must NOT have fewer than 2 properties|{"limit":2}`,
		}},
		{"propertyNames", more(MoreRule{Names: &Rule{MaxLength: "1"}}), `{"ab":1,"c":1}`, []string{
			`|maxLength|must NOT have more than 1 characters|{"limit":1}`, `|propertyNames|property name must be valid|{"propertyName":"ab"}`,
		}},
		{"dependentRequired", more(MoreRule{DependentRequired: []Dependent{{"a", []string{"b", "c"}}, {"x", []string{"y"}}}}), `{"a":1}`, []string{
			`|dependentRequired|must have properties b, c when property a is present|{"property":"a","missingProperty":"b","depsCount":2,"deps":"b, c"}`,
			`|dependentRequired|must have properties b, c when property a is present|{"property":"a","missingProperty":"c","depsCount":2,"deps":"b, c"}`,
		}},
		{"dependentSchemas", more(MoreRule{DependentSchemas: []PropertyRule{{Name: "a", Rule: Rule{Required: []string{"b"}}}, {Name: "x", Rule: never}}}), `{"a":1}`, []string{
			`|required|must have required property 'b'|{"missingProperty":"b"}`,
		}},
		{"counts before required before properties", Rule{Required: []string{"x"}, Properties: []PropertyRule{{Name: "a", Rule: text}}, More: &MoreRule{MinProperties: "2"}}, `{"a":1}`, []string{
			`|minProperties|must NOT have fewer than 2 properties|{"limit":2}`, `|required|must have required property 'x'|{"missingProperty":"x"}`, `/a|type|must be string|{"type":"string"}`,
		}},
		{"unevaluatedProperties", Rule{Properties: []PropertyRule{{Name: "a"}}, More: &MoreRule{UnevaluatedProperties: &never}}, `{"a":1,"b":2}`, []string{
			`|unevaluatedProperties|must NOT have unevaluated properties|{"unevaluatedProperty":"b"}`,
		}},
		{"unevaluatedItems", more(MoreRule{Prefix: []Rule{{}}, UnevaluatedItems: &never}), `[1,2,3]`, []string{`|unevaluatedItems|must NOT have more than 1 items|{"limit":1}`}},
		{"unevaluatedItems with a rule", more(MoreRule{UnevaluatedItems: &text}), `[1]`, []string{`/0|type|must be string|{"type":"string"}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, strings.Join(c.want, "\n"), explained(t, c.rule, Closed, c.instance))
		})
	}
}

// TestMultipleOf is done in decimal, and gives up on what would keep it busy.
func TestMultipleOf(t *testing.T) {
	for _, c := range []struct {
		instance, of string
		want         bool
	}{
		{"0", "7", true}, {"-14", "7", true}, {"1e3", "10", true}, {"0.0075", "0.0001", true}, {"0.00751", "0.0001", false},
		{"12391239123", "1e-8", true}, {"1e308", "0.123456789", false}, {"1E308", "0.5", true}, {"1e-300", "1e-301", true},
		{"1e1000000000", "2", false}, {"1e-1000000000", "2", false}, {strings.Repeat("4", 2000), "2", false},
	} {
		rule := Rule{More: &MoreRule{MultipleOf: c.of}}
		require.Equal(t, c.want, Conforms([]byte(c.instance), Closed, &rule, nil), "%s of %s", c.instance, c.of)
	}
	rule := Rule{More: &MoreRule{MultipleOf: "2"}}
	require.EqualError(t, Explain([]byte("1e1000000000"), Closed, &rule, nil), "number out of range")
}
