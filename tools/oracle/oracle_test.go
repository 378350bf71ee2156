package oracle

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

const root = "../.."

func newOracle(t testing.TB) *oracle {
	o, err := newValidators(os.DirFS(root + "/schema"))
	require.NoError(t, err)
	return o
}

// examples returns the schema's examples, good and bad, by definition.
func examples(t testing.TB) map[string][]any {
	out := map[string][]any{}
	files, err := os.ReadDir(root + "/schema")
	require.NoError(t, err)
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".json") {
			continue
		}
		data, err := os.ReadFile(root + "/schema/" + f.Name())
		require.NoError(t, err)
		var file struct {
			Defs map[string]struct {
				Examples []any `json:"examples"`
				Invalid  []struct {
					Value any `json:"value"`
				} `json:"x-invalid"`
			} `json:"$defs"`
		}
		require.NoError(t, json.Unmarshal(data, &file))
		for name, def := range file.Defs {
			out[name] = def.Examples
			for _, invalid := range def.Invalid {
				out[name] = append(out[name], invalid.Value)
			}
		}
	}
	return out
}

// odd are the values that a mutation puts in the place of another.
var odd = []any{nil, true, false, 0, -1, 1.5, 9007199254740991, 1e20, "", "x", strings.Repeat("é", 70), []any{}, []any{1}, []any{""}, map[string]any{}, map[string]any{"": 1}}

// mutations calls fn with v after each change of one place in it: another value, a
// member less, a member more, an element more.
func mutations(v any, fn func(any)) {
	for _, other := range odd {
		fn(other)
	}
	switch v := v.(type) {
	case map[string]any:
		for name, old := range v {
			delete(v, name)
			fn(v)
			mutations(old, func(changed any) { v[name] = changed; fn(v) })
			v[name] = old
		}
		v["unexpected"] = 1
		fn(v)
		delete(v, "unexpected")
	case []any:
		for i, old := range v {
			mutations(old, func(changed any) { v[i] = changed; fn(v) })
			v[i] = old
		}
		fn(append(slices.Clone(v), "more"))
	}
}

// TestMutations compares the verdicts over every small change of every example.
func TestMutations(t *testing.T) {
	o := newOracle(t)
	n, faults := 0, 0
	for def, list := range examples(t) {
		for _, example := range list {
			mutations(example, func(v any) {
				raw, err := json.Marshal(v)
				require.NoError(t, err)
				n++
				if diff := o.disagreement(def, raw); diff != "" && faults < 20 {
					faults++
					t.Error(diff)
				}
			})
		}
	}
	t.Logf("%d instances of %d definitions", n, len(protocol.Definitions()))
	require.Greater(t, n, 10_000)
}

// TestLabelledCases compares the verdicts over the cases that ajv labelled.
func TestLabelledCases(t *testing.T) {
	o := newOracle(t)
	data, err := os.ReadFile(root + "/testdata/ajv/cases.jsonl.gz")
	require.NoError(t, err)
	zr, err := gzip.NewReader(bytes.NewReader(data))
	require.NoError(t, err)
	present := protocol.Definitions()
	lines := bufio.NewScanner(zr)
	lines.Buffer(nil, 1<<24)
	n := 0
	for lines.Scan() {
		var c struct {
			Def  string `json:"d"`
			Text string `json:"t"`
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &c))
		if !slices.Contains(present, c.Def) {
			continue
		}
		n++
		require.Empty(t, o.disagreement(c.Def, []byte(c.Text)))
	}
	require.NoError(t, lines.Err())
	require.Greater(t, n, 3000)
}

// TestDisagreement proves that the comparison can fail and what it lets pass.
func TestDisagreement(t *testing.T) {
	o := newOracle(t)
	require.Empty(t, o.disagreement("TickEvent", []byte(`{"ts":1}`)))
	require.Empty(t, o.disagreement("TickEvent", []byte(`{"ts":1,"ts":2}`)), "named twice")
	require.Contains(t, o.disagreement("NoSuchEvent", []byte(`1`)), "NoSuchEvent")

	o.schemas["TickEvent"] = o.schemas["ShutdownEvent"]
	require.Contains(t, o.disagreement("TickEvent", []byte(`{"ts":1}`)), "the oracle accepts: false, ours says: <nil>")
}

// TestValidAllocatesNothing covers what stays raw: it is checked and not copied.
func TestValidAllocatesNothing(t *testing.T) {
	for def, list := range examples(t) {
		for _, example := range list {
			raw, err := json.Marshal(example)
			require.NoError(t, err)
			require.Zero(t, testing.AllocsPerRun(10, func() { wire.ValidJSON(raw) }), def)
		}
	}
}

// hugeExponent finds numbers that would keep the oracle busy for ever: it expands them.
var hugeExponent = regexp.MustCompile(`[eE][+-]?0*[0-9]{3}`)

// FuzzAgainstOracle compares the verdicts over any bytes. What is accepted is encoded
// again, and the oracle must accept that too.
func FuzzAgainstOracle(f *testing.F) {
	o := newOracle(f)
	names := protocol.Definitions()
	all := examples(f)
	for i, name := range names {
		for _, example := range all[name] {
			raw, err := json.Marshal(example)
			require.NoError(f, err)
			f.Add(i, raw)
		}
	}
	f.Fuzz(func(t *testing.T, i int, raw []byte) {
		if hugeExponent.Match(raw) {
			return
		}
		name := names[uint(i)%uint(len(names))]
		if diff := o.disagreement(name, raw); diff != "" {
			t.Fatal(diff)
		}
		var syntax *wire.SyntaxError
		if err := protocol.Validate(name, raw); errors.As(err, &syntax) && syntax.Reason == "fits no known variant" {
			t.Fatalf("%s %q is refused without a reason", name, raw)
		} else if err == nil {
			checkEncoding(t, o, name, raw)
		}
	})
}

// checkEncoding decodes raw, which is valid, and lets the oracle look at its encoding.
func checkEncoding(t *testing.T, o *oracle, name string, raw []byte) {
	v := reflect.New(types[name]).Interface()
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatalf("%s %q is accepted strictly, but not openly: %v", name, raw, err)
	}
	out, err := v.(json.Marshaler).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if accepted, err := o.accepts(name, out); err != nil || !accepted {
		t.Fatalf("%s %q is encoded as %q, which the oracle refuses (%v)", name, raw, out, err)
	}
}
