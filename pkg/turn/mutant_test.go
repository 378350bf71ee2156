package turn

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// edit replaces what stands once in a file.
type edit struct{ file, old, new string }

// mutant is this package with a defence taken out.
type mutant struct {
	name  string
	test  string // who must notice
	edits []edit
}

var mutants = []mutant{
	{"the task is written after the message", "TestEveryCrashPoint", []edit{
		{"request.go", "t, replayed, err := r.tasks.Submit(ctx, run.submission(), func(tx *store.Tx) error {",
			"err := r.db.Update(ctx, func(tx *store.Tx) error {"},
		{"request.go", "return run.ask(tx, run.key.Key)\n\t})\n",
			"return run.ask(tx, run.key.Key)\n\t})\n\tif err != nil {\n\t\treturn err\n\t}\n\tt, replayed, err := r.tasks.Submit(ctx, run.submission())\n"},
	}},
	// Words left behind would be found, so both defences go.
	{"the outcome is written after the reply", "TestEveryCrashPoint", []edit{
		{"ending.go", "return run.finish(ctx, &e.outcome, func(tx *store.Tx) error { return run.write(tx, e, now) })",
			"if err := run.runs.db.Update(ctx, func(tx *store.Tx) error { return run.write(tx, e, now) }); err != nil {\n\t\treturn err\n\t}\n\treturn run.finish(ctx, &e.outcome)"},
		{"resume.go", "case found:", "case found && false:"},
	}},
	{"words left behind are not looked at", "TestWordsLeftBehindCloseTheRun", []edit{
		{"resume.go", "case found:", "case found && false:"},
	}},
	{"an abort is told before it is written", "TestEveryCrashPoint", []edit{
		{"turn.go", "run.persistOrKeep(&e)\n\tdefer close(run.terminal)\n\trun.settle(e.outcome)\n\trun.emitAborted(cause.reason)",
			"run.emitAborted(cause.reason)\n\trun.persistOrKeep(&e)\n\tdefer close(run.terminal)\n\trun.settle(e.outcome)"},
	}},
	{"what an earlier life has left is not loaded", "TestEveryCrashPoint", []edit{
		{"resume.go", "for _, t := range list {", "for _, t := range list[:0] {"},
	}},
	{"the hash of the params is not compared on disk", "TestEveryCrashPoint", []edit{
		{"request.go", "!bytes.Equal(t.ParamsHash, paramsHash[:])", "!bytes.Equal(nil, nil)"},
	}},
	{"the hash of the params is not compared in memory", "TestKeyRules", []edit{
		{"request.go", "known.paramsHash != req.ParamsHash", "false"},
	}},
	{"a turn does not wait for the backend before it", "TestAbortOfABackendThatLingers", []edit{
		{"run.go", "case !run.behind(), !run.admit():", "case !run.admit():"},
	}},
	{"a task that is cancelled from elsewhere runs on", "TestCancelReachesTheTurn", []edit{
		{"stored.go", "case errors.Is(err, task.ErrTerminal):\n\t\t\t\trun.cancel(run.endedElsewhere())", "case errors.Is(err, task.ErrTerminal):"},
	}},
	{"a session that is reset takes new runs", "TestMessagesDuringAReset", []edit{
		{"request.go", "if held, ok := r.holds[req.SessionKey]; ok {", "if held, ok := r.holds[req.SessionKey]; ok && false {"},
	}},
	{"a graceful stop ends what has said nothing", "TestGracefulStopAndStart", []edit{
		{"turn.go", "run.suspend()", "run.fail(protocol.DetailShuttingDown, errShutdown)"},
	}},
	{"a run that kills the gateway is never given up", "TestARunThatKillsTheGateway", []edit{
		{"resume.go", "case t.Attempt >= attemptsMax && !run.adopted:", "case false:"},
	}},
	{"a message of a chat is tried again in silence", "TestPassingFaultIsTriedAgain", []edit{
		{"resume.go", "!run.adopted || run.stream.heard ||", "run.stream.heard ||"},
	}},
	{"a turn that has said a word is tried again", "TestPassingFaultIsTriedAgain", []edit{
		{"resume.go", "!run.adopted || run.stream.heard ||", "!run.adopted ||"},
	}},
	{"the last attempt is put off too", "TestPassingFaultIsTriedAgain", []edit{
		{"resume.go", "t.Attempt+1 >= t.MaxAttempts", "t.Attempt+1 >= t.MaxAttempts && false"},
	}},
	{"interrupted runs do not wait for their clients", "TestResumedRunsWaitForTheirClients", []edit{
		{"turns.go", "r.resumeAfter > 0 && r.interrupted(ctx)", "false"},
	}},
	{"a retry forgets the images", "TestRetryAsksWithImagesAndSystemPrompt", []edit{
		{"stored.go", "orElse(private.RawSessionKey, q.RawSessionKey), private.Images, private.System", "orElse(private.RawSessionKey, q.RawSessionKey), nil, private.System"},
	}},
	{"system events are dropped whatever becomes of the turn", "TestNotesOutliveATurnThatFails", []edit{
		{"turn.go", "e := ending{message: msg, outcome:", "e := ending{message: msg, notes: run.notes, outcome:"},
	}},
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
			dir := t.TempDir()
			replace := map[string]string{}
			for _, e := range m.edits {
				original, mutated := filepath.Join(here, e.file), filepath.Join(dir, e.file)
				if replace[original] == "" {
					replace[original] = mutated
					copyFile(t, original, mutated)
				}
				text, err := os.ReadFile(mutated)
				require.NoError(t, err)
				require.Equal(t, 1, strings.Count(string(text), e.old), "%s holds once: %s", e.file, e.old)
				require.NoError(t, os.WriteFile(mutated, []byte(strings.Replace(string(text), e.old, e.new, 1)), 0o600))
			}
			raw, err := json.Marshal(map[string]any{"Replace": replace})
			require.NoError(t, err)
			overlay := filepath.Join(dir, "overlay.json")
			require.NoError(t, os.WriteFile(overlay, raw, 0o600))

			cmd := exec.Command("go", "test", "-overlay", overlay, "-count=1", "-failfast", "-timeout=2m", "-run", "^("+m.test+")$", ".")
			cmd.Env = append(os.Environ(), "SOAK=")
			out, err := cmd.CombinedOutput()
			require.Error(t, err, "nobody notices:\n%s", out)
			require.Contains(t, string(out), "--- FAIL: "+m.test, "it did not come to the test:\n%s", out)
			t.Logf("%.400s", out)
		})
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, raw, 0o600))
}
