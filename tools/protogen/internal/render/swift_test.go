package render

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/tools/protogen/internal/load"
	"github.com/coderclaw/gateway/tools/protogen/internal/plan"
)

func TestSwiftCamel(t *testing.T) {
	for wire, want := range map[string]string{
		"delta":         "delta",
		"toolResult":    "toolResult",
		"talk.get-it":   "talkGetIt",
		"in_flight":     "inFlight",
		"NOT_READY":     "notReady",
		"slow consumer": "slowConsumer",
		"2fa":           "_2fa",
		"self":          "selfValue",
		"":              "empty",
		"--":            "empty",
	} {
		require.Equal(t, want, swiftCamel(wire), wire)
	}
}

func TestSwiftProperty(t *testing.T) {
	for wire, want := range map[string]string{
		"runId":   "runId",
		"baseUrl": "baseUrl",
		"__mark":  "__mark",
		"a-b":     "aB",
		"7th":     "_7th",
		"_":       "empty",
		"init":    "initValue",
	} {
		require.Equal(t, want, swiftProperty(wire), wire)
	}
	require.Equal(t, "`default`", swiftIdent("default"))
	require.Equal(t, "open", swiftIdent("open"))
}

func TestSwiftQuote(t *testing.T) {
	require.Equal(t, `"a \"b\" \\(c) \n é"`, swiftQuote("a \"b\" \\(c) \n é"))
}

func TestSwiftVariants(t *testing.T) {
	for _, c := range []struct {
		what  string
		names []string
		want  []string
	}{
		{"a common end", []string{"RedBox", "BlueBox"}, []string{"red", "blue"}},
		{"a common beginning", []string{"BoxRed", "BoxDarkBlue"}, []string{"red", "darkBlue"}},
		{"both", []string{"MyRedBox", "MyBlueBox"}, []string{"red", "blue"}},
		{"nothing", []string{"Red", "Blue"}, []string{"red", "blue"}},
		{"one is the beginning of the other", []string{"Box", "BoxRed"}, []string{"box", "boxRed"}},
		{"only one", []string{"RedBox"}, []string{"redBox"}},
	} {
		union := &plan.Type{Kind: plan.Union}
		for _, name := range c.names {
			union.Variants = append(union.Variants, &plan.Variant{To: &plan.Def{Name: name}})
		}
		require.Equal(t, c.want, swiftVariants(union), c.what)
	}
}

// TestSwiftNamesTaken tells names that the schema may use and Swift may not, all at once.
func TestSwiftNamesTaken(t *testing.T) {
	model, err := load.Dir(fstest.MapFS{"protocol.json": {Data: []byte(`{"$defs":{
		"JSONValue": {"type":"object","properties":{"a-b":{"type":"string"},"a.b":{"type":"string"}}},
		"Word": {"enum":["on-off","on_off"]}
	}}`)}})
	require.NoError(t, err)
	pkg, err := plan.Make(model)
	require.Error(t, err) // Go has no room for a-b beside a.b either
	_, err = swiftPackage(pkg)
	require.EqualError(t, err, "render Swift: protocol.json: the file name Protocol is already taken in Swift\n"+
		"protocol.json#/$defs/JSONValue: the type name JSONValue is already taken in Swift\n"+
		"protocol.json#/$defs/JSONValue/properties/a.b: the property name aB is already taken in Swift\n"+
		"protocol.json#/$defs/Word: the case name onOff is already taken in Swift")
}
