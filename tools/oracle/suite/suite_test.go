package suite

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/google/jsonschema-go/jsonschema" // keeps the module that carries the suite
	"github.com/stretchr/testify/require"
)

var (
	update = flag.Bool("update", false, "rewrite the golden list")
	other  = flag.String("suite", "", "folder of another copy of the suite's tests; nothing is compared with the golden list")
)

const (
	root   = "../../.."
	golden = root + "/testdata/suite/refused.txt"
)

// TestSuite runs everything. The generator is a program that the test starts, so go test
// does not see that it changed: run with -count=1, as make test does.
func TestSuite(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/google/jsonschema-go").Output()
	require.NoError(t, err)
	module := filepath.Join(strings.TrimSpace(string(out)), "jsonschema")
	tests := filepath.Join(module, "testdata")
	if *other != "" {
		tests = *other
	}
	groups, err := Read(tests)
	require.NoError(t, err)
	documents, err := Documents(filepath.Join(module, "testdata", "remotes"), filepath.Join(module, "meta-schemas"))
	require.NoError(t, err)
	var all []Group
	for _, g := range groups {
		all = append(append(all, g), g.Twins()...)
	}
	require.Greater(t, len(groups), 500)
	require.Greater(t, len(all), len(groups)+300)
	married := Married(groups)
	require.Greater(t, len(married), 200)
	all = append(all, married...)

	work, err := filepath.Abs(root + "/.cache/suite")
	require.NoError(t, err)
	program, refused, err := Build(root, work, all, documents)
	require.NoError(t, err)
	verdicts, err := Verdicts(program, all, refused)
	require.NoError(t, err)
	labelled := len(all) - len(married)
	report := Judge(all[:labelled], refused, verdicts)
	require.Empty(t, report.Wrong)
	cross := append(crossed(groups), crossed(married)...)
	verdicts, err = Verdicts(program, cross, refused)
	require.NoError(t, err)
	n, differ := compare(t, cross, refused, verdicts, documents)
	require.Empty(t, differ)
	require.Greater(t, n, 10_000)
	t.Logf("%d more verdicts agree with an independent validator", n)

	for draft, tally := range report.ByDraft {
		t.Logf("%s: %+v", draft, *tally)
	}
	t.Logf("twins: %+v", report.Twins)
	text, err := report.Golden()
	require.NoError(t, err)
	if *other != "" {
		t.Log(text)
		return
	}
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(golden), 0o755))
		require.NoError(t, os.WriteFile(golden, []byte(text), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), text)
}

// TestJudge proves that a wrong verdict is seen, in each direction and form.
func TestJudge(t *testing.T) {
	group := Group{Draft: "draft7", File: "f.json", Description: "d", Name: "S1", Tests: []Test{{"yes", []byte("1"), true}, {"no", []byte("2"), false}}}
	judge := func(verdicts ...string) Report { return Judge([]Group{group}, nil, verdicts) }
	require.Empty(t, judge("accepted", "refused").Wrong)
	require.Equal(t, 2, judge("accepted", "refused").ByDraft["draft7"].Passed)
	require.Len(t, judge("refused", "refused").Wrong, 1)
	require.Len(t, judge("accepted", "accepted").Wrong, 1)
	require.Len(t, judge("panic: index out of range", "panic: index out of range").Wrong, 2)
	require.Len(t, judge("wrong: encoded as 1, refused: x", "wrong: encoded as 1, refused: x").Wrong, 2)
	require.Len(t, judge("unread: malformed JSON", "refused").Wrong, 1)
	unread := judge("unread: at /a: integer beyond 64 bits", "unread: number out of range")
	require.Empty(t, unread.Wrong)
	require.Equal(t, 1, unread.ByDraft["draft7"].Unread)
	require.Equal(t, 1, unread.ByDraft["draft7"].Passed)

	report := Judge([]Group{group}, map[string]string{"S1": "S1.json#/x: because\nS1.json: of that"}, nil)
	require.Equal(t, []string{"draft7/f.json: d\t/x: because (and 1 more)"}, report.Refused)
	twin := Group{Name: "S1_x", Original: "S1", Twin: "x"}
	require.Len(t, Judge([]Group{twin}, map[string]string{"S1_x": "because"}, nil).Wrong, 1)
	require.Empty(t, Judge([]Group{twin}, map[string]string{"S1_x": "because", "S1": "because"}, nil).Wrong)
	_, err := report.Golden()
	require.ErrorContains(t, err, "no explanation covers")
}

// TestTwins checks what the twins say on paper, without compiling them.
func TestTwins(t *testing.T) {
	group := Group{Name: "S1", Schema: []byte(`{"minLength": 2}`), Tests: []Test{{"short", []byte(`"a"`), false}, {"long", []byte(`"ab"`), true}, {"other", []byte(`7`), true}}}
	twins := group.Twins()
	require.Len(t, twins, 2)
	require.Equal(t, "S1_stringMember", twins[0].Name)
	require.JSONEq(t, `{"type":"object","additionalProperties":false,"required":["must"],"properties":{"must":{"type":"string","minLength":2},"may":{"type":"string","minLength":2}}}`, string(twins[0].Schema))
	require.Equal(t, Test{"long", []byte(`{"must":"ab"}`), true}, twins[0].Tests[4])
	require.JSONEq(t, `{"type":["string","null"],"minLength":2}`, string(twins[1].Schema))
	require.Equal(t, []bool{false, true, false}, []bool{twins[1].Tests[0].Valid, twins[1].Tests[1].Valid, twins[1].Tests[2].Valid})

	for _, none := range []string{`true`, `{"type":"string"}`, `{"$ref":"#"}`, `{"properties":{"a":{"$ref":"#"}}}`, `{"not":{}}`, `{"$id":"x","minLength":2}`} {
		group.Schema = []byte(none)
		require.Empty(t, group.Twins(), none)
	}
}
