package task

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// mutant is this package with a defence taken out.
type mutant struct {
	name  string
	file  string
	edits []string // what is replaced, and by what, in turn
	test  string   // who must notice
}

var mutants = []mutant{
	{"the record is written after the message", "request.go", []string{
		"return r.db.Update(ctx, func(tx *store.Tx) (err error) {",
		"if err := r.db.Update(ctx, func(tx *store.Tx) (err error) {",
		"return r.ledger.accept(tx, run.record(), run.input())\n\t})",
		"return nil\n\t}); err != nil || run.earlier != nil {\n\t\treturn err\n\t}\n" +
			"\treturn r.db.Update(ctx, func(tx *store.Tx) error { return r.ledger.accept(tx, run.record(), run.input()) })",
	}, "TestEveryCrashPoint"},
	{"the outcome is written after the reply", "ending.go", []string{
		"return run.update(func(tx *store.Tx) error {",
		"err := run.update(func(tx *store.Tx) error {",
		"return r.ledger.finish(tx, run.key, e.outcome)\n\t})",
		"return nil\n\t})\n\tif err != nil {\n\t\treturn err\n\t}\n" +
			"\treturn run.update(func(tx *store.Tx) error { return r.ledger.finish(tx, run.key, e.outcome) })",
	}, "TestEveryCrashPoint"},
	{"an abort is told before it is written", "turn.go", []string{
		"run.persistOrKeep(&e)\n\tdefer close(run.terminal)\n\trun.settle(e.outcome)\n\trun.emitAborted(cause.reason)",
		"run.emitAborted(cause.reason)\n\trun.persistOrKeep(&e)\n\tdefer close(run.terminal)\n\trun.settle(e.outcome)",
	}, "TestEveryCrashPoint"},
	{"what an earlier life has left is not loaded", "resume.go", []string{
		"for _, rec := range list {", "for _, rec := range list[:0] {",
	}, "TestEveryCrashPoint"},
	{"words left behind are not looked at", "resume.go", []string{
		"case found:", "case found && false:",
	}, "TestWordsLeftBehindCloseTheRun"},
	{"the hash of the params is not compared on disk", "request.go", []string{
		"!bytes.Equal(rec.ParamsHash, paramsHash[:])", "!bytes.Equal(nil, nil)",
	}, "TestEveryCrashPoint"},
	{"the hash of the params is not compared in memory", "request.go", []string{
		"known.paramsHash != req.ParamsHash", "false",
	}, "TestKeyRules"},
	{"keys are not scoped to their principal", "ledger.go", []string{
		`string(k.namespace) + "\x00" + k.principal`, "string(k.namespace)",
	}, "TestRestartKnowsWhatEnded"},
	{"a session that is reset takes new runs", "request.go", []string{
		"if held, ok := r.holds[req.SessionKey]; ok {", "if held, ok := r.holds[req.SessionKey]; ok && false {",
	}, "TestMessagesDuringAReset"},
	{"a graceful stop ends what has said nothing", "turn.go", []string{
		"run.suspend()", "run.fail(protocol.DetailShuttingDown, errShutdown)",
	}, "TestGracefulStopAndStart"},
	{"a run that kills the gateway is never given up", "ledger.go", []string{
		"rec.Attempts++", "",
	}, "TestARunThatKillsTheGateway"},
}

// TestMutantsAreNoticed takes each defence out by an overlay and expects the test
// that guards it to fail. It compiles the package anew each time, so it is one of
// the long proofs (tools/soak.sh).
func TestMutantsAreNoticed(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("a long proof: set SOAK=short")
	}
	here, err := os.Getwd()
	require.NoError(t, err)
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			source, err := os.ReadFile(m.file)
			require.NoError(t, err)
			text := string(source)
			for i := 0; i < len(m.edits); i += 2 {
				require.Equal(t, 1, strings.Count(text, m.edits[i]), "%s holds once: %s", m.file, m.edits[i])
				text = strings.Replace(text, m.edits[i], m.edits[i+1], 1)
			}
			dir := t.TempDir()
			mutated, overlay := filepath.Join(dir, m.file), filepath.Join(dir, "overlay.json")
			require.NoError(t, os.WriteFile(mutated, []byte(text), 0o600))
			raw, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(here, m.file): mutated}})
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(overlay, raw, 0o600))

			cmd := exec.Command("go", "test", "-overlay", overlay, "-count=1", "-failfast", "-timeout=2m", "-run", "^("+m.test+")$", ".")
			cmd.Env = append(os.Environ(), "SOAK=")
			out, err := cmd.CombinedOutput()
			require.Error(t, err, "nobody notices:\n%s", out)
			require.Contains(t, string(out), "--- FAIL: "+m.test, "it did not come to the test:\n%s", out)
			t.Logf("%.1500s", out)
		})
	}
}
