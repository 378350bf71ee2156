package suite

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

// crossed gives each schema the instances of its whole file, and a few more. What the
// suite expects of them is unknown, but an independent validator has an opinion.
func crossed(groups []Group) []Group {
	byFile := map[string][]Test{}
	seen := map[string]bool{}
	for _, g := range groups {
		for _, t := range g.Tests {
			var text bytes.Buffer
			if err := json.Compact(&text, t.Data); err != nil {
				panic(err) // it was read as JSON
			}
			file := g.Draft + "/" + g.File
			if key := file + text.String(); !seen[key] {
				seen[key] = true
				byFile[file] = append(byFile[file], Test{Data: text.Bytes()})
			}
		}
	}
	var list []Group
	for _, g := range groups {
		if ruledElsewhere(g) {
			continue
		}
		own := g.Tests
		g.Tests = nil
		for _, odd := range []string{`null`, `true`, `0`, `-1.5`, `1e3`, `""`, `"é\u0000"`, `[]`, `[[]]`, `[1,"a",null,{}]`, `{}`, `{"":1}`, `{"foo":1,"bar":[2],"baz":"x"}`, `{"foo":{"bar":{"baz":null}}}`} {
			g.Tests = append(g.Tests, Test{Data: []byte(odd)})
		}
		g.Tests = append(append(g.Tests, own...), byFile[g.Draft+"/"+g.File]...)
		list = append(list, g)
	}
	return list
}

// ruledElsewhere are the keywords that only annotate here and rule in the other validator.
func ruledElsewhere(g Group) bool {
	for _, word := range []string{`"format"`, `"contentMediaType"`, `"contentEncoding"`} {
		if bytes.Contains(g.Schema, []byte(word)) {
			return true
		}
	}
	return false
}

// compare counts the verdicts on crossed groups and lists those that the independent
// validator does not share.
func compare(t *testing.T, groups []Group, refused map[string]string, verdicts []string, documents map[string]json.RawMessage) (n int, differ []string) {
	for _, g := range groups {
		if refused[g.Name] != "" {
			continue
		}
		validator, err := compile(g, documents)
		require.NoError(t, err, g.Place())
		for _, test := range g.Tests {
			verdict := verdicts[0]
			verdicts = verdicts[1:]
			n++
			if strings.HasPrefix(verdict, "unread: ") && policy.MatchString(verdict) {
				continue
			}
			v, err := jsonschema.UnmarshalJSON(bytes.NewReader(test.Data))
			require.NoError(t, err)
			want := "accepted"
			if validator.Validate(v) != nil {
				want = "refused"
			}
			if verdict != want {
				differ = append(differ, fmt.Sprintf("%s: %s: %s: the oracle says %s, the generated code %s", g.Place(), g.Schema, test.Data, want, verdict))
			}
		}
	}
	return n, differ
}

func compile(g Group, documents map[string]json.RawMessage) (*jsonschema.Schema, error) {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if g.Dialect == Drafts[1].Dialect {
		c.DefaultDraft(jsonschema.Draft7)
	}
	for uri, text := range documents {
		if strings.HasPrefix(uri, "http://localhost") {
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
			if err != nil {
				return nil, err
			}
			if err := c.AddResource(uri, doc); err != nil {
				return nil, err
			}
		}
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(g.Schema))
	if err != nil {
		return nil, err
	}
	if err := c.AddResource("http://root.test/"+g.Name, doc); err != nil {
		return nil, err
	}
	return c.Compile("http://root.test/" + g.Name)
}
