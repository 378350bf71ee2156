package schema_test

import (
	"encoding/json"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/coderclaw/gateway/schema"
	"github.com/stretchr/testify/require"
)

type document struct {
	Schema  string                     `json:"$schema"`
	ID      string                     `json:"$id"`
	Title   string                     `json:"title"`
	Doc     string                     `json:"description"`
	Defs    map[string]json.RawMessage `json:"$defs"`
	Methods map[string]method          `json:"x-methods"`
	Events  map[string]event           `json:"x-events"`
	Scopes  map[string]json.RawMessage `json:"x-scopes"`
	Roles   map[string]json.RawMessage `json:"x-roles"`
}

type reference struct {
	Ref string `json:"$ref"`
}

type method struct {
	Params, Result, Ack                  reference
	Role, Scope, Reply, Since            string
	Idempotency, Replay, Doc, Validation string
	Listed                               *bool
}

type event struct {
	Payload      reference
	Audience     []string
	StateVersion *bool
	Droppable    string
	Since, Doc   string
}

func load(t *testing.T) map[string]document {
	t.Helper()
	docs := map[string]document{}
	for _, domain := range schema.Domains() {
		raw, err := schema.File(domain)
		require.NoError(t, err)
		var d document
		require.NoError(t, json.Unmarshal(raw, &d), domain)
		docs[domain] = d
	}
	require.NotEmpty(t, docs)
	return docs
}

func TestFileOfUnknownDomainDoesNotExist(t *testing.T) {
	_, err := schema.File("nonsense")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestFilesNameThemselves(t *testing.T) {
	for domain, d := range load(t) {
		require.Equal(t, "https://json-schema.org/draft/2020-12/schema", d.Schema, domain)
		require.Equal(t, "https://coderclaw.dev/protocol/"+domain+".json", d.ID)
		require.Equal(t, domain, d.Title)
		require.NotEmpty(t, d.Doc, domain)
	}
}

func TestDefinitionNamesAreUnique(t *testing.T) {
	owner := map[string]string{}
	for domain, d := range load(t) {
		for name := range d.Defs {
			require.Empty(t, owner[name], "%s is declared in %s and %s", name, owner[name], domain)
			owner[name] = domain
		}
	}
}

// TestDefinitionsAreDescribed walks every definition: it and each of its
// properties needs a description, and no object may stand unnamed inside another.
func TestDefinitionsAreDescribed(t *testing.T) {
	for domain, d := range load(t) {
		for name, raw := range d.Defs {
			var def struct {
				Description string
				Type        string
				Examples    []json.RawMessage
				Properties  map[string]struct {
					Description string
					Properties  json.RawMessage
				}
			}
			require.NoError(t, json.Unmarshal(raw, &def))
			require.NotEmpty(t, def.Description, "%s.%s", domain, name)
			if def.Type == "object" {
				require.NotEmpty(t, def.Examples, "%s.%s has no example", domain, name)
			}
			for prop, p := range def.Properties {
				require.NotEmpty(t, p.Description, "%s.%s.%s", domain, name, prop)
				require.Empty(t, p.Properties, "%s.%s.%s is an unnamed object", domain, name, prop)
			}
		}
	}
}

func TestReferencesResolve(t *testing.T) {
	docs := load(t)
	for domain, d := range docs {
		raw, err := schema.File(domain)
		require.NoError(t, err)
		var tree any
		require.NoError(t, json.Unmarshal(raw, &tree))
		for _, ref := range references(tree) {
			file, name, ok := strings.Cut(ref, "#/$defs/")
			require.True(t, ok, ref)
			target := d
			if file != "" {
				target, ok = docs[strings.TrimSuffix(file, ".json")]
				require.True(t, ok, ref)
			}
			require.Contains(t, target.Defs, name, "%s refers to %s", domain, ref)
		}
	}
}

func references(v any) []string {
	var refs []string
	switch v := v.(type) {
	case map[string]any:
		for key, x := range v {
			if s, ok := x.(string); ok && key == "$ref" {
				refs = append(refs, s)
				continue
			}
			refs = append(refs, references(x)...)
		}
	case []any:
		for _, x := range v {
			refs = append(refs, references(x)...)
		}
	}
	return refs
}

func TestManifestEntriesAreWhole(t *testing.T) {
	docs := load(t)
	scopes, roles := docs["frames"].Scopes, docs["frames"].Roles
	require.NotEmpty(t, scopes)
	seen := map[string]bool{}
	for domain, d := range docs {
		for name, m := range d.Methods {
			require.False(t, seen[name], "%s is declared twice", name)
			seen[name] = true
			require.NotEmpty(t, m.Params.Ref, name)
			require.NotEmpty(t, m.Result.Ref, name)
			require.NotEmpty(t, m.Since, name)
			require.NotEmpty(t, m.Doc, name)
			require.NotNil(t, m.Listed, name)
			require.Contains(t, []string{"once", "staged"}, m.Reply, name)
			require.Equal(t, m.Reply == "staged", m.Ack.Ref != "", name)
			require.Equal(t, m.Idempotency != "", m.Replay != "", name)
			require.Contains(t, []string{"", "none"}, m.Validation, name)
			if m.Role != "any" {
				require.Contains(t, roles, m.Role, name)
				require.Contains(t, scopes, m.Scope, "%s.%s", domain, name)
			}
		}
		for name, e := range d.Events {
			require.NotEmpty(t, e.Payload.Ref, name)
			require.NotEmpty(t, e.Audience, name)
			require.NotNil(t, e.StateVersion, name)
			require.NotEmpty(t, e.Since, name)
			require.NotEmpty(t, e.Doc, name)
			require.Contains(t, []string{"never", "always", "delta"}, e.Droppable, name)
			for _, who := range e.Audience {
				_, isScope := scopes[who]
				require.True(t, isScope || slices.Contains([]string{"all", "node"}, who), "%s: %s", name, who)
			}
		}
	}
}
