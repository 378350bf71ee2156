package compat_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/schema"
	"github.com/coderclaw/gateway/schema/compat"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestRules runs the pair of schemas that shows each rule. A file is named after the
// rule it shows, and there is one for every rule.
func TestRules(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	require.NoError(t, err)
	var shown []string
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		rule, _, _ := strings.Cut(name, "_") // a rule may have a second file: rule_case
		shown = append(shown, rule)
		t.Run(name, func(t *testing.T) {
			parts, order := unpack(t, path)
			old, err := compat.Parse([]byte(parts["old.json"]))
			require.NoError(t, err)
			new, err := compat.Parse([]byte(parts["new.json"]))
			require.NoError(t, err)
			changes := compat.Compare(old, new)
			require.True(t, slices.ContainsFunc(changes, func(c compat.Change) bool { return string(c.Rule) == rule }), "the pair does not show its rule: %v", changes)
			got := print(changes)
			if *update {
				parts["want.txt"] = got
				pack(t, path, parts, order)
			}
			require.Equal(t, parts["want.txt"], got, "rewrite with -update, then read the difference")
			require.Empty(t, compat.Compare(old, old), "a bundle differs from itself")
			if rule != string(compat.WaiverUnused) {
				require.Empty(t, compat.Compare(new, new), "a bundle differs from itself")
			}
		})
	}
	slices.Sort(shown)
	require.Equal(t, declared(t), slices.Compact(shown), "rules and files in testdata")
}

// print writes changes as the golden files hold them.
func print(changes []compat.Change) string {
	var b strings.Builder
	for _, c := range changes {
		state := string(c.Level)
		if c.Waived != "" {
			state += " waived (" + c.Waived + ")"
		}
		about := string(c.Role)
		if c.Via != nil {
			about += " via " + strings.Join(c.Via, ", ")
		}
		if about != "" {
			about = " [" + strings.TrimSpace(about) + "]"
		}
		fmt.Fprintf(&b, "%s %s %s%s\n  %s\n", state, c.Rule, c.Path, about, c.Message)
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

// declared returns the values of the Rule constants.
func declared(t *testing.T) []string {
	file, err := parser.ParseFile(token.NewFileSet(), "rules.go", nil, 0)
	require.NoError(t, err)
	var rules []string
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			require.NoError(t, err)
			rules = append(rules, text)
		}
		return true
	})
	slices.Sort(rules)
	return rules
}

// unpack reads a txtar file: a comment, then "-- name --" lines with their texts.
func unpack(t *testing.T, path string) (parts map[string]string, order []string) {
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	parts, name := map[string]string{}, ""
	for line := range strings.Lines(string(text)) {
		if head, ok := strings.CutPrefix(line, "-- "); ok && strings.HasSuffix(head, " --\n") {
			name = strings.TrimSuffix(head, " --\n")
			order = append(order, name)
			continue
		}
		parts[name] += line
	}
	require.NotEmpty(t, parts[""], "%s: the first line says what it shows", path)
	return parts, order
}

func pack(t *testing.T, path string, parts map[string]string, order []string) {
	text := parts[""]
	if !slices.Contains(order, "want.txt") {
		order = append(order, "want.txt")
	}
	for _, name := range order {
		text += "-- " + name + " --\n" + parts[name]
	}
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

// TestTheSchemaKeepsItsPromise is the gate of `make compat`: what people's programs
// were written against still holds.
func TestTheSchemaKeepsItsPromise(t *testing.T) {
	released, err := compat.Parse(schema.Released())
	require.NoError(t, err)
	current, err := compat.Load(schema.FS())
	require.NoError(t, err)
	for _, c := range compat.Compare(released, current) {
		require.False(t, c.Breaking, "%s %s: %s", c.Rule, c.Path, c.Message)
	}
}

// TestCanonicalForm reads a bundle back from what it writes.
func TestCanonicalForm(t *testing.T) {
	current, err := compat.Load(schema.FS())
	require.NoError(t, err)
	text := current.JSON()
	again, err := compat.Parse(text)
	require.NoError(t, err)
	require.Equal(t, string(text), string(again.JSON()))
	require.Empty(t, compat.Compare(current, again))
	require.Positive(t, again.Protocol())
	released, err := compat.Parse(schema.Released())
	require.NoError(t, err)
	require.Equal(t, string(schema.Released()), string(released.JSON()), "write it with: go run ./tools/protogen -release")
}

// TestEveryMemberIsWatched takes all members of all objects of a file away and expects
// to be told of each: the walk reaches everything that the schema declares.
func TestEveryMemberIsWatched(t *testing.T) {
	current, err := compat.Load(schema.FS())
	require.NoError(t, err)
	var files map[string]map[string]any
	require.NoError(t, json.Unmarshal(current.JSON(), &files))
	for name, file := range files {
		var members []string
		defs, _ := file["$defs"].(map[string]any)
		for def, v := range defs {
			one := v.(map[string]any)
			properties, _ := one["properties"].(map[string]any)
			for member := range properties {
				members = append(members, name+"#/$defs/"+def+"/properties/"+member)
			}
			delete(one, "properties")
		}
		text, err := json.Marshal(files)
		require.NoError(t, err)
		bare, err := compat.Parse(text)
		require.NoError(t, err)
		told := map[string]bool{}
		for _, c := range compat.Compare(current, bare) {
			if c.Rule == compat.PropertyRemoved && c.Level != compat.Info {
				told[c.Path] = true
			}
		}
		for _, member := range members {
			require.True(t, told[member], "nobody was told that %s is gone", member)
		}
	}
}

func TestWhatIsNoBundleIsRefused(t *testing.T) {
	for name, one := range map[string]struct{ text, want string }{
		"no json":           {"{", "unexpected EOF"},
		"two texts":         {`{"$schema": "", "title": "t"} {}`, "text after the JSON value"},
		"no file":           {"{}", "no schema file"},
		"dangling":          {`{"$schema": "", "title": "t", "$defs": {"A": {"items": {"$ref": "#/$defs/B"}}}}`, `t.json#/$defs/A/items: $ref "#/$defs/B" means no definition of this bundle`},
		"dangling method":   {`{"$schema": "", "title": "t", "x-methods": {"m": {"params": {"$ref": "u.json#/$defs/B"}}}}`, `t.json#/x-methods/m/params: $ref "u.json#/$defs/B" means no definition`},
		"wrong file":        {`{"t.json": {"$defs": {"A": {"items": {"$ref": "#/$defs/B"}}}}, "u.json": {"$defs": {"B": {}}}}`, "means no definition"},
		"declared twice":    {`{"t.json": {"$defs": {"A": {}}}, "u.json": {"$defs": {"A": {}}}}`, "u.json#/$defs/A: the definition is already declared at t.json#/$defs/A"},
		"table of no shape": {`{"$schema": "", "title": "t", "x-methods": 5}`, "cannot unmarshal"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := compat.Parse([]byte(one.text))
			require.ErrorContains(t, err, one.want)
		})
	}
}
