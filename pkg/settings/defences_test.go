package settings

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var defencesFlag = flag.Bool("defences", false, "remove each defence in turn and see that a test fails without it")

// defence is a piece of this package that keeps a secret in or a bad file out, and
// what the package would be without it. The number is that of the entry in the
// catalogue of published vulnerabilities that it answers; 0 is our own.
type defence struct {
	name, file, with, without string
	// caughtBy is the pattern of the tests, one of which must fail.
	caughtBy string
}

var defences = []defence{
	{"63 secrets in what is shown", "redact.go", `t == secretType || isGroup(t)`, `isGroup(t)`, "TestViewHides"},
	{"63 secrets in the wrong place", "redact.go", `return t == nil || t == secretType`, `return t == secretType`, "TestViewHides"},
	{"63 secrets in comments", "redact.go", `raw = bytes.ReplaceAll(raw, []byte(word), []byte(Redacted))`, `_, _ = bytes.ReplaceAll, word`, "TestViewHides"},
	{"63 a secret that is given twice", "redact.go", `if len(d.main.Twice) > 0 || hasTwice(d.main) {`, `if false {`, "TestViewHides"},
	{"63 what the environment holds", "redact.go", `if !hidden(n, t) && !fromEnv[path] {`, `if !hidden(n, t) {`, "TestEnvironmentReferences"},
	{"63 defaults with the environment", "redact.go", `if _, hidden := about(path); hidden || v.Type()`, `if _, hidden := about(path); hidden && false || v.Type()`, "TestEnvironmentReferences"},
	{"64 a placeholder of nothing", "redact.go", `case isPlaceholder(n.Text) && stored == nil:`, `case false:`, "TestPlaceholders"},
	{"64 a placeholder among text", "redact.go", `case strings.Contains(n.Text, Redacted), strings.Contains(n.Text, redactedElsewhere):`, `case false:`, "TestPlaceholders"},
	{"64 a placeholder saved as the secret", "redact.go", `return text == Redacted || text == redactedElsewhere`, `return text == Redacted`, "TestPlaceholders"},
	{"6 references to nothing", "expand.go", `} else if value == "" {`, `} else if false {`, "TestEnvironmentReferences"},
	{"112 includes from elsewhere", "include.go", `case filepath.IsAbs(name.Text) || !filepath.IsLocal(target):`, `case false:`, "TestIncludesRefuse"},
	{"134 includes in a circle", "include.go", `case slices.Contains(stack, target):`, `case false:`, "TestIncludesRefuse"},
	{"134 deep includes", "include.go", `case len(stack) > includeDepthMax:`, `case false:`, "TestIncludesRefuse"},
	{"134 many includes", "include.go", `case len(in.d.Files) > includeFilesMax:`, `case false:`, "TestIncludesRefuse"},
	{"134 misspelt keys", "parse.go", `w.bad(full, m.Value, "unknown key`, `_ = fmt.Sprintf("unknown key`, "TestLoadRefuses"},
	{"134 keys given twice", "parse.go", `for _, key := range n.Twice {`, `for _, key := range n.Twice[:0] {`, "TestLoadRefuses"},
	{"134 deep texts", "document.go", `n, err := json5.Parse(raw, fileDepthMax)`, `n, err := json5.Parse(raw, 1000)`, "TestLoadRefuses"},
	{"0 a write over another's", "edit.go", `if before.Exists && baseHash != before.Hash {`, `if false {`, "TestStoreRefuses"},
	{"0 a write without a look", "edit.go", `if before.Exists && baseHash == "" {`, `if false {`, "TestStoreRefuses"},
	{"0 a text with faults", "edit.go", `case len(after.Issues) > 0:`, `case false:`, "TestStoreRefuses"},
	{"0 a version with faults", "edit.go", `if after.Settings == nil {`, `if false {`, "TestBackups"},
	{"0 half a file", "write.go", `tmp, err := os.CreateTemp(dir, filepath.Base(path)+tempPattern) // mode 0600`, `tmp, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)`, "TestACrash"},
	{"0 a faulty file as the last good one", "lastgood.go", `if d.Settings == nil {`, `if false {`, "TestLastGood"},
	{"0 a mended file that is rolled back", "lastgood.go", `if raw == nil || HashOf(raw) != p.Hash {`, `if raw == nil {`, "TestProbation"},
}

// TestDefencesAreThere keeps the list true: each piece stands where it says, once,
// and names a test that exists.
func TestDefencesAreThere(t *testing.T) {
	tests := ""
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		tests += string(raw)
	}
	for _, d := range defences {
		raw, err := os.ReadFile(d.file)
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(string(raw), d.with), "%s: %q in %s", d.name, d.with, d.file)
		require.Contains(t, tests, d.caughtBy)
	}
}

// TestDefences removes each defence in a copy of its file and requires the tests to
// fail. It builds the package once for each,
// which takes a minute or two, and runs with -defences.
func TestDefences(t *testing.T) {
	if !*defencesFlag {
		t.Skip("runs with -defences")
	}
	here, err := os.Getwd()
	require.NoError(t, err)
	for _, d := range defences {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(d.file)
			require.NoError(t, err)
			dir := t.TempDir()
			weak := filepath.Join(dir, d.file)
			require.NoError(t, os.WriteFile(weak, []byte(strings.Replace(string(raw), d.with, d.without, 1)), 0o600))
			overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(here, d.file): weak}})
			require.NoError(t, err)
			list := filepath.Join(dir, "overlay.json")
			require.NoError(t, os.WriteFile(list, overlay, 0o600))
			out, err := exec.CommandContext(context.Background(), "go", "test", "-vet=off", "-count=1", "-failfast", "-ldflags=-s -w", "-overlay", list, "-run", d.caughtBy, ".").CombinedOutput()
			require.Error(t, err, "no test missed it")
			require.Contains(t, string(out), "--- FAIL", "a test failed, not the build:\n%s", out)
		})
	}
}
