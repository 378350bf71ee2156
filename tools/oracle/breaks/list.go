package breaks

// All are the mistakes, each with the test that catches it.
var All = []Break{
	// The schema. Recorded cases of ajv and recorded frames know what it ought to say.
	{
		Name: "the schema forgets that a member is required", Kind: Schema, File: "schema/chat.json",
		Old: `"required": ["sessionKey", "message", "idempotencyKey"],`, New: `"required": ["sessionKey", "idempotencyKey"],`,
		Package: "./gen/protocol", Test: "TestLabelledCases", Quick: true,
	},
	{
		Name: "the schema loses a bound", Kind: Schema, File: "schema/chat.json",
		Old: `"minimum": 1, "maximum": 1000`, New: `"minimum": 1`,
		Package: "./gen/protocol", Test: "TestLabelledCases",
	},
	{
		Name: "the schema requires what nobody sends", Kind: Schema, File: "schema/agent.json",
		Old: `"required": ["runId", "seq", "stream", "ts", "data"],`, New: `"required": ["runId", "seq", "stream", "ts", "data", "sessionKey"],`,
		Package: "./gen/protocol", Test: "TestRecordedFrames",
	},
	{
		Name: "the schema renames a member", Kind: Schema, File: "schema/health.json",
		Old: `"heartbeatSeconds"`, New: `"heartbeatSecs"`, All: true,
		Package: "./gen/protocol", Test: "TestRecordedFrames",
	},

	// The generator. An independent validator reads the same schema.
	{
		Name: "the generator skips a bound", Kind: Generator, File: "tools/protogen/internal/render/gocodec.go",
		Old: `{"<", t.Schema.Minimum}`, New: `{"<", ""}`,
		Module: "tools/oracle", Package: ".", Test: "TestMutations", Quick: true,
	},
	{
		Name: "the generator forgets required members", Kind: Generator, File: "tools/protogen/internal/render/gocodec.go",
		Old: "if f.Required {\n\t\t\tmasks", New: "if f.Required && i > 0 {\n\t\t\tmasks",
		Module: "tools/oracle", Package: ".", Test: "TestMutations",
	},
	{
		Name: "the generator lets unknown members pass", Kind: Generator, File: "tools/protogen/internal/render/gocodec.go",
		Old: `c.f("if !d.Unknown() { return false }")`, New: `c.f("if !d.Skip() { return false }")`,
		Module: "tools/oracle", Package: ".", Test: "TestMutations",
	},
	{
		Name: "the generator takes a member that comes twice", Kind: Generator, File: "tools/protogen/internal/render/gocodec.go",
		Old: `c.f("if seen%d&%#x != 0 { return false }", i/64, bit)`, New: ``,
		Package: "./gen/protocol", Test: "TestRefusedSyntax",
	},
	{
		Name: "the generator does not write a member", Kind: Generator, File: "tools/protogen/internal/render/goencode.go",
		Old: `c.f("if %s.Set {", value)`, New: `c.f("if %s.Set && b == nil {", value)`,
		Package: "./gen/protocol", Test: "TestExamples",
	},
	{
		Name: "the generator writes null for absent", Kind: Generator, File: "tools/protogen/internal/render/goencode.go",
		Old: `c.f("if %s != nil {", value)`, New: `c.f("if %s != nil || true {", value)`,
		Package: "./gen/protocol", Test: "TestExamples",
	},
	{
		Name: "a struct loses a bound", Kind: Generator, File: "tools/protogen/internal/render/gostruct.go",
		Old: `add("minLength", s.MinLength)`, New: ``,
		Module: "tools/oracle", Package: ".", Test: "TestReflection", Quick: true,
	},
	{
		Name: "a struct requires what is optional", Kind: Generator, File: "tools/protogen/internal/render/gostruct.go",
		Old: "if f.Required {\n\t\t\tlow.Required", New: "if f.Required || f.Type.Kind == plan.Array {\n\t\t\tlow.Required",
		Module: "tools/oracle", Package: ".", Test: "TestReflection",
	},
	{
		Name: "a refusal keeps a reason to itself", Kind: Generator, File: "tools/protogen/internal/render/gorules.go",
		Old: `add("Required", "[]string{%s}", quoteList(s.Required))`, New: `add("Required", "[]string{%s}", quoteList(s.Required[1:]))`,
		Package: "./gen/protocol", Test: "TestInvalidExamples",
	},
	{
		Name: "the generator ignores what it does not know", File: "tools/protogen/internal/load/keyword.go",
		Old: `r.Addf(v.Pos, "keyword %q is not in the generator's subset", m.Name)`, New: ``,
		Module: "tools", Package: "./protogen/internal/load", Test: "TestRefused",
	},
	{
		Name: "the generator takes one of several for any of them", File: "tools/protogen/internal/plan/shape.go",
		Old: `exclusive && null && !oneNull`, New: `exclusive && null && !oneNull && len(rest) > 9`,
		Module: "tools", Package: "./protogen/internal/plan", Test: "TestKinds",
	},
	{
		Name: "an enum is known although a rule stands beside it", File: "tools/protogen/internal/plan/shape.go",
		Old: `|| !t.Schema.Only("type", "enum")`, New: ``,
		Module: "tools", Package: "./protogen/internal/plan", Test: "TestKinds",
	},
	{
		Name: "the generator reads a reference as the wrong place", File: "tools/protogen/internal/load/root.go",
		Old: `return x.schemas[v]`, New: `return x.schemas[x.resources[uri]]`,
		Module: "tools/oracle", Package: "./suite", Test: "TestSuite",
	},

	{
		Name: "a Swift model can no longer be compared", File: "tools/protogen/internal/render/swifttype.go",
		Old: `p.f("public struct %s: Codable, Sendable, Hashable {", def.Name)`, New: `p.f("public struct %s: Codable, Sendable {", def.Name)`,
		Module: "tools", Package: "./protogen", Test: "TestGolden",
	},
	{
		Name: "a TypeScript type requires what is optional", File: "tools/protogen/internal/render/tstype.go",
		Old: `mark = "?"`, New: `mark = ""`,
		Module: "tools", Package: "./protogen", Test: "TestGolden",
	},

	// The runtime under the generated code.
	{
		Name: "text is not checked for UTF-8", File: "pkg/wire/scan.go",
		Old: `if high&lanesHigh != 0 && !utf8.ValidString(s[start:i]) {`, New: `if high&lanesHigh != 0 && start < 0 && !utf8.ValidString(s[start:i]) {`,
		Package: "./pkg/wire", Test: "TestText",
	},
	{
		Name: "an integer may have a fraction", File: "pkg/wire/decode.go",
		Old: `return 0, intFraction`, New: `return 0, intFits`,
		Package: "./pkg/wire", Test: "TestInt",
	},
	{
		Name: "members are told in another order", File: "pkg/wire/explainobject.go",
		Old: `slices.SortStableFunc(list, compareMembers)`, New: `_ = compareMembers`,
		Package: "./pkg/wire", Test: "TestExplainOrder",
	},
	{
		Name: "uniqueItems counts for nothing", File: "pkg/wire/explainmore.go",
		Old: `if m.Unique {`, New: `if m.Unique && n < 0 {`,
		Package: "./pkg/wire", Test: "TestExplainMore",
	},

	// The gateway.
	{
		Name: "the gateway tells an unknown method in other words", File: "pkg/gateway/request.go",
		Old: `"unknown method: "+name`, New: `"no such method: "+name`,
		Package: "./pkg/gateway", Test: "TestRefusedRequests", Quick: true,
	},
	{
		Name: "the gateway does not ask for a scope", File: "pkg/gateway/request.go",
		Old: `if !protocol.ScopeAllows(p.Scopes, m.info.Scope) {`, New: `if !protocol.ScopeAllows(p.Scopes, "") {`,
		Package: "./pkg/gateway", Test: "TestRefusedRequests",
	},
	{
		Name: "the gateway names the wrong scope", File: "pkg/gateway/request.go",
		Old: `"missing scope: "+m.info.Scope`, New: `"missing scope: "+name`,
		Package: "./pkg/daemon", Test: "TestRecordedConversations",
	},
	{
		Name: "the gateway skips a number", File: "pkg/gateway/hub.go",
		Old: `f.Seq = wire.Some(seq)`, New: `f.Seq = wire.Some(seq + 1)`,
		Package: "./pkg/gateway", Test: "TestEventsGoToTheirAudience",
	},
	{
		Name: "the gateway numbers a targeted event", File: "pkg/gateway/hub.go",
		Old: `if seq != 0 {`, New: `if seq >= 0 {`,
		Package: "./pkg/gateway", Test: "TestTargetedEventsCarryNoSeq",
	},
}
