package defences

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// defence is a piece of code that keeps somebody out, and what stands in its place
// when it is gone.
type defence struct {
	// name begins with the number of the entry in SECURITY.md that it answers.
	name string
	// In file, which lies in the folder of the list, with stands once.
	file, with, without string
	// caughtBy is the pattern of the tests of which one must fail. "pkg/daemon
	// TestX" is in another package.
	caughtBy string
}

// list is the defences of one folder.
type list struct {
	dir      string
	defences []defence
}

var lists = []list{
	{"pkg/identity", identityDefences},
	{"pkg/gateway", gatewayDefences},
	{"pkg/wire", wireDefences},
	{"gen/protocol", protocolDefences},
	{"pkg/settings", settingsDefences},
	{"pkg/store", storeDefences},
	{"pkg/client", clientDefences},
	{"pkg/certificate", certificateDefences},
	{"pkg/cli", cliDefences},
	{"pkg/daemon", daemonDefences},
	{"pkg/internal/logfile", logfileDefences},
	{"pkg/service/device", deviceDefences},
	{"pkg/service/health", healthDefences},
	{"pkg/service/logs", logsDefences},
	{"tools/protogen/internal/lint", lintDefences},
}

// entry returns the number of the entry in SECURITY.md.
func (d defence) entry() string {
	number, _, _ := strings.Cut(d.name, " ")
	return number
}

// test returns the folder and the pattern of the tests that must notice.
func (l list) test(d defence) (dir, pattern string) {
	if dir, pattern, ok := strings.Cut(d.caughtBy, " "); ok {
		return dir, pattern
	}
	return l.dir, d.caughtBy
}

// root returns the top folder of the tree.
func root(t *testing.T) string {
	t.Helper()
	top, err := filepath.Abs(filepath.Join("..", "..", ".."))
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(top, "go.work"))
	return top
}

// index finds tests by folder; it reads each folder once.
type index map[string][]string

var testName = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// match returns the names of the tests in a folder that a pattern means, sorted.
func (x index) match(t *testing.T, dir, pattern string) (names []string) {
	t.Helper()
	if x[dir] == nil {
		files, err := filepath.Glob(filepath.Join(root(t), dir, "*_test.go"))
		require.NoError(t, err)
		for _, file := range files {
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, m := range testName.FindAllStringSubmatch(string(raw), -1) {
				x[dir] = append(x[dir], m[1])
			}
		}
		slices.Sort(x[dir])
	}
	pattern, _, _ = strings.Cut(pattern, "/")
	wanted, err := regexp.Compile(pattern)
	require.NoError(t, err)
	for _, name := range x[dir] {
		if wanted.MatchString(name) {
			names = append(names, name)
		}
	}
	return names
}

// TestDefencesStand keeps the lists true: each piece stands where it says, once, and
// names tests that exist.
func TestDefencesStand(t *testing.T) {
	named, tests := map[string]bool{}, index{}
	for _, l := range lists {
		for _, d := range l.defences {
			require.False(t, named[d.name], "%s is there twice", d.name)
			named[d.name] = true
			require.Regexp(t, `^[1-9][0-9]* [a-zA-Z0-9]`, d.name)
			require.NotEqual(t, d.with, d.without, d.name)
			raw, err := os.ReadFile(filepath.Join(root(t), l.dir, d.file))
			require.NoError(t, err)
			require.Equal(t, 1, strings.Count(string(raw), d.with), "%s: %q in %s/%s must stand there once: adapt the list to the code", d.name, d.with, l.dir, d.file)
			dir, pattern := l.test(d)
			require.NotEmpty(t, tests.match(t, dir, pattern), "%s: no test of %s is called %s", d.name, dir, pattern)
		}
	}
}

// quick are the entries of which the first defence is removed with every change; the
// long form removes all.
var quick = []string{"3", "9", "18", "25", "28", "34", "42", "51", "60", "104", "135", "136", "139", "140", "142"}

// TestDefencesAreNeeded removes each defence and requires the tests that guard it to
// fail. It builds a package for each, which takes minutes, so it is one of
// the long proofs (tools/soak.sh). A part of them: -run TestDefencesAreNeeded/pkg/gateway.
func TestDefencesAreNeeded(t *testing.T) {
	soak := os.Getenv("SOAK")
	if soak == "" {
		t.Skip("a long proof: set SOAK=short or SOAK=long")
	}
	seen := map[string]bool{}
	for _, l := range lists {
		for _, d := range l.defences {
			first := !seen[d.entry()]
			seen[d.entry()] = true
			if soak == "short" && (!first || !slices.Contains(quick, d.entry())) {
				continue
			}
			t.Run(l.dir+"/"+d.name, func(t *testing.T) {
				t.Parallel()
				failed, output := l.remove(t, d)
				require.NotContains(t, output, buildFailed, "%s: what stands in its place does not build", d.name)
				require.True(t, failed, "%s in %s/%s is gone and nobody notices: write the test\n%s", d.name, l.dir, d.file, output)
			})
		}
	}
}

// TestHarmlessChangesAreNotNoticed: a proof that fails whatever happens would prove
// nothing.
func TestHarmlessChangesAreNotNoticed(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("a long proof: set SOAK=short or SOAK=long")
	}
	l := list{dir: "pkg/gateway"}
	failed, output := l.remove(t, defence{file: "admission.go", with: "// mu guards held.", without: "// mu guards what is held.", caughtBy: "TestConnectionsBeforeAuthentication"})
	require.False(t, failed, output)
	_, output = l.remove(t, defence{file: "admission.go", with: "a.total++", without: "a.total+", caughtBy: "TestConnectionsBeforeAuthentication"})
	require.Contains(t, output, buildFailed, "what does not build is told apart")
}

// buildFailed is what the go command says of code that proves nothing.
const buildFailed = "[build failed]"

// ran is what a test binary prints when a test fails, panics or hangs.
var ran = regexp.MustCompile(`(?m)^\s*--- FAIL: |^panic: |^fatal error: `)

// remove runs the tests without a defence and reports whether one of them failed.
func (l list) remove(t *testing.T, d defence) (failed bool, output string) {
	t.Helper()
	original, dir := filepath.Join(root(t), l.dir, d.file), t.TempDir()
	raw, err := os.ReadFile(original)
	require.NoError(t, err)
	text := strings.Replace(string(raw), d.with, d.without, 1)
	weak := filepath.Join(dir, filepath.Base(d.file))
	require.NoError(t, os.WriteFile(weak, []byte(text), 0o600))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{original: weak}})
	require.NoError(t, err)
	replaced := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(replaced, overlay, 0o600))
	where, pattern := l.test(d)
	cmd := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-count=1", "-failfast", "-timeout=1m", "-ldflags=-s -w",
		"-overlay", replaced, "-run", pattern, fmt.Sprintf("./%s", where))
	cmd.Dir, cmd.Env = root(t), append(os.Environ(), "SOAK=")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false, string(out)
	}
	if !strings.Contains(string(out), buildFailed) {
		require.Regexp(t, ran, string(out), "the tests did not run")
	}
	return !strings.Contains(string(out), buildFailed), string(out)
}
