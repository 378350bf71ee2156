// Package suite puts the official JSON-Schema-Test-Suite through the generator: every
// schema is either refused, with a reason, or becomes Go code that gives the right
// verdict on every instance. There is no third way, and what is refused is a golden list.
//
// The suite's files come from the module cache (google/jsonschema-go carries them in its
// testdata), so nothing is copied into this repository and nothing is fetched. Besides
// each schema as it is, its twins are tried: the same rules with a type added, once for
// each type among the instances and once as a member of an object. The suite hardly ever
// names a type, and only a schema with a type gets a decoder of its own.
package suite

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Draft is one version of the suite.
type Draft struct {
	// Dir is the folder's name, Dialect the URI that stands for it.
	Dir, Dialect string
}

// Drafts are the versions that the generator reads.
var Drafts = []Draft{
	{"draft2020-12", "https://json-schema.org/draft/2020-12/schema"},
	{"draft7", "http://json-schema.org/draft-07/schema"},
}

// Group is a schema of the suite with its instances.
type Group struct {
	// Draft and File say where it stands, Description what it is about.
	Draft       string
	Dialect     string
	File        string
	Description string          `json:"description"`
	Schema      json.RawMessage `json:"schema"`
	Tests       []Test          `json:"tests"`
	// Name is the definition's name in the generated package.
	Name string
	// Twin is empty for the suite's own schemas; of a twin, Original is their Name.
	Twin, Original string
}

// Test is an instance and whether it is valid.
type Test struct {
	Description string          `json:"description"`
	Data        json.RawMessage `json:"data"`
	Valid       bool            `json:"valid"`
}

// Place names a group in words.
func (g Group) Place() string {
	return g.Draft + "/" + g.File + ": " + g.Description
}

// Read reads the suite below dir, the folder that holds one folder for each draft.
func Read(dir string) ([]Group, error) {
	var all []Group
	for _, draft := range Drafts {
		root := filepath.Join(dir, draft.Dir)
		err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
			// The optional tests of format want it to rule; by default it does not.
			if err != nil || d.IsDir() || filepath.Ext(path) != ".json" || strings.HasPrefix(path, "optional/format") {
				return err
			}
			text, err := os.ReadFile(filepath.Join(root, path))
			if err != nil {
				return err
			}
			var groups []Group
			if err := json.Unmarshal(text, &groups); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			for _, g := range groups {
				g.Draft, g.Dialect, g.File = draft.Dir, draft.Dialect, path
				g.Name = fmt.Sprintf("S%04d", len(all)+1)
				all = append(all, g)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Documents reads what the suite's references lead to, by URI: the files that it wants
// served, and the dialects' own schemas.
func Documents(remotes, dialects string) (map[string]json.RawMessage, error) {
	out := map[string]json.RawMessage{}
	add := func(dir, prefix string) error {
		return fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(path, ".md") {
				return err
			}
			text, err := os.ReadFile(filepath.Join(dir, path))
			out[prefix+path] = text
			return err
		})
	}
	if err := add(remotes, "http://localhost:1234/"); err != nil {
		return nil, err
	}
	for _, draft := range Drafts {
		text, err := os.ReadFile(filepath.Join(dialects, draft.Dir, "schema.json"))
		if err != nil {
			return nil, err
		}
		out[draft.Dialect] = text
	}
	return out, nil
}
