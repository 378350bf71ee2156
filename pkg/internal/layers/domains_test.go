package layers

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// domains reads the schema files and returns those that declare methods: one
// noun each. frames is the gateway's own and has no service.
func domains(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root(t), "schema", "*.json"))
	require.NoError(t, err)
	var nouns []string
	for _, f := range files {
		raw, err := os.ReadFile(f)
		require.NoError(t, err)
		var doc struct {
			Methods map[string]json.RawMessage `json:"x-methods"`
		}
		require.NoError(t, json.Unmarshal(raw, &doc), f)
		noun := strings.TrimSuffix(filepath.Base(f), ".json")
		if len(doc.Methods) > 0 && noun != "frames" {
			nouns = append(nouns, noun)
		}
	}
	require.NotEmpty(t, nouns)
	return nouns
}

func TestOneWordFindsEverything(t *testing.T) {
	top := root(t)
	known := map[string]bool{}
	for _, noun := range domains(t) {
		known[noun] = true
		require.FileExists(t, filepath.Join(top, "gen/protocol", noun+".gen.go"))
		require.DirExists(t, filepath.Join(top, "pkg/service", noun))
		files, _ := filepath.Glob(filepath.Join(top, "testdata/conformance", noun, "*.txtar"))
		require.NotEmpty(t, files, "testdata/conformance/%s holds no conversation", noun)
	}
	for _, dir := range []string{"pkg/service", "testdata/conformance"} {
		entries, err := os.ReadDir(filepath.Join(top, dir))
		require.NoError(t, err)
		for _, e := range entries {
			if e.IsDir() && e.Name() != "frames" {
				require.True(t, known[e.Name()], "%s/%s has no schema file of that name", dir, e.Name())
			}
		}
	}
}
