package durable

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task"
)

// childDirEnv names the state directory of an engine that this test binary is to run
// instead of running tests.
const childDirEnv = "DURABLE_TEST_CHILD"

// The load of one kill round, and how many of the tasks are cancelled on the way.
const (
	killTasks   = 200
	killWorkers = 8
	killCancel  = 10 // each tenth
)

// diaryName is the file in which a child notes what it was told, in the state directory.
// It survives the child, since the page cache does.
const diaryName = "diary"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDirEnv); dir != "" {
		if err := runChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child is an engine with everybody who uses it, until all tasks have ended.
type child struct {
	*Engine
	mu    sync.Mutex
	diary *os.File
}

// note writes what somebody was told, after the fact, and lets the parent know that
// it did.
func (c *child) note(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(c.diary, format+"\n", args...)
	fmt.Println("noted")
}

func runChild(dir string) error {
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(store.Options{Dir: dir, Log: log})
	if err != nil {
		return err
	}
	defer db.Close()
	e, err := New(Config{DB: db, Log: log, Limits: Limits{LeaseTTL: 20 * time.Millisecond, Retention: time.Hour}})
	if err != nil {
		return err
	}
	defer e.Close()
	diary, err := os.OpenFile(filepath.Join(dir, diaryName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer diary.Close()
	c := &child{Engine: e, diary: diary}
	ctx, stop := context.WithCancel(context.Background())
	go func() { // it does not outlive the test that started it
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(2)
	}()
	var drivers, users sync.WaitGroup
	drivers.Go(func() { _ = e.Run(ctx) })
	for w := range killWorkers {
		drivers.Go(func() { c.work(ctx, w) })
	}
	for s := range 4 {
		users.Go(func() { c.submit(ctx, s) })
	}
	users.Wait()
	err = c.ended(ctx)
	stop()
	drivers.Wait()
	return err
}

// ended waits until no task is open.
func (c *child) ended(ctx context.Context) error {
	s, err := c.Watch(ctx, task.Filter{}, c.Head())
	if err != nil {
		return err
	}
	defer s.Close()
	open := task.Filter{Statuses: []task.Status{task.Pending, task.Planning, task.Running, task.Waiting}}
	for {
		list, _, err := c.List(ctx, open, task.Page{})
		if err != nil || len(list) == 0 {
			return err
		}
		if _, err := s.Next(ctx); err != nil {
			return err
		}
	}
}

// overtaken waits until somebody else has begun a task after its lease was lost, or for
// long enough that nobody will.
func (c *child) overtaken(l task.Lease) {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	s, err := c.Watch(ctx, task.Filter{ID: l.Task().ID}, 0)
	if err != nil {
		return
	}
	defer s.Close()
	for {
		ev, err := s.Next(ctx)
		if err != nil || ev.Attempt > l.Task().Attempt || ev.NewStatus.Terminal() {
			return
		}
	}
}

// submit asks for a quarter of the tasks, and cancels some of them.
func (c *child) submit(ctx context.Context, quarter int) {
	for i := quarter; i < killTasks; i += 4 {
		key := fmt.Sprint("k", i)
		t, _, err := c.Submit(ctx, task.Request{
			Description: key, Input: key, SessionID: fmt.Sprint("s", i%40), MaxAttempts: task.AttemptsMax,
			Key: task.Key{Principal: "p", Namespace: task.NamespaceTask, Key: key}, ParamsHash: []byte(key),
		})
		if err != nil {
			c.note("E submit %v", err)
			continue
		}
		c.note("S %s %s", key, t.ID)
		if i%killCancel != 0 {
			continue
		}
		if res, err := c.Cancel(ctx, t.ID, "not wanted", "p"); err == nil && res.Cancelled {
			c.note("X %s", t.ID)
		}
	}
}

// work completes tasks. One in five claims hangs until its lease is lost, and reports
// its result all the same.
func (c *child) work(ctx context.Context, w int) {
	for i := 0; ; i++ {
		l, err := c.Claim(ctx, task.ClaimOpts{Worker: fmt.Sprint(w)})
		if err != nil {
			return
		}
		id := l.Task().ID
		c.note("L %s %d", id, l.Epoch())
		if (i+w)%5 == 0 {
			<-l.Done()
			c.overtaken(l)
		}
		if err := l.Complete(context.Background(), task.Output{Text: "done " + id}); err == nil {
			c.note("C %s %d", id, l.Epoch())
		} else if !errors.Is(err, task.ErrFenced) && !errors.Is(err, task.ErrTerminal) {
			c.note("E complete %v", err)
		}
	}
}

// diary is what all lives of a round were told.
type diary struct {
	ids       map[string]string // by key
	cancelled map[string]bool
	completed map[string][]uint64 // epochs
	leases    map[string]uint64   // the greatest epoch
	other     []string
}

func readDiary(t *testing.T, dir string) diary {
	t.Helper()
	d := diary{map[string]string{}, map[string]bool{}, map[string][]uint64{}, map[string]uint64{}, nil}
	file, err := os.Open(filepath.Join(dir, diaryName))
	require.NoError(t, err)
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var id, key string
		var epoch uint64
		switch text := lines.Text(); text[:1] {
		case "S":
			_, err = fmt.Sscanf(text, "S %s %s", &key, &id)
			require.NoError(t, err)
			if known, ok := d.ids[key]; ok {
				require.Equal(t, known, id, "a key was answered by two tasks: the first is lost")
			}
			d.ids[key] = id
		case "X":
			d.cancelled[text[2:]] = true
		case "L":
			_, err = fmt.Sscanf(text, "L %s %d", &id, &epoch)
			require.NoError(t, err)
			d.leases[id] = max(d.leases[id], epoch)
		case "C":
			_, err = fmt.Sscanf(text, "C %s %d", &id, &epoch)
			require.NoError(t, err)
			d.completed[id] = append(d.completed[id], epoch)
		default:
			d.other = append(d.other, text)
		}
	}
	require.NoError(t, lines.Err())
	return d
}

// TestKillNine kills an engine that 8 workers and 4 submitters use, twice, and lets it
// end in its third life: nothing that was acknowledged is lost or undone, nothing is
// completed twice or by a worker whose lease was lost, nothing that was cancelled is
// completed. SOAK=short makes more rounds, SOAK=long sixty.
func TestKillNine(t *testing.T) {
	rounds := map[string]int{"": 2, "short": 4, "long": 60}[os.Getenv("SOAK")]
	require.NotZero(t, rounds, "SOAK is short or long")
	for round := range rounds {
		t.Run(fmt.Sprint(round+1), killRound)
	}
}

func killRound(t *testing.T) {
	dir := t.TempDir()
	for life := range 3 {
		kill := 0 // never
		if life < 2 {
			kill = 1 + rand.IntN(2*killTasks)
		}
		liveUntil(t, dir, kill)
	}
	checkRound(t, dir)
}

// liveUntil runs a child until it has noted so many things, then kills it; 0 lets it
// come to its end.
func liveUntil(t *testing.T, dir string, kill int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDirEnv+"="+dir)
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	stuck := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	killed := false
	noted := bufio.NewScanner(stdout)
	for n := 1; noted.Scan(); n++ {
		if n == kill {
			killed = true
			require.NoError(t, cmd.Process.Kill())
		}
	}
	err = cmd.Wait()
	require.True(t, stuck.Stop(), "the engine does not come to an end: %s", stderr.String())
	if !killed {
		require.NoError(t, err, stderr.String())
	}
}

// checkRound compares what everybody was told with what is stored.
func checkRound(t *testing.T, dir string) {
	d := readDiary(t, dir)
	require.Empty(t, d.other)
	require.Len(t, d.ids, killTasks)
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(store.Options{Dir: dir, Log: log})
	require.NoError(t, err)
	defer db.Close()
	e, err := New(Config{DB: db, Log: log})
	require.NoError(t, err)
	defer e.Close()
	var lost, twice, stale, undead, undone []string
	for _, id := range d.ids {
		rec, err := e.Get(t.Context(), id)
		if err != nil || !rec.Status.Terminal() || rec.Status == task.Failed {
			lost = append(lost, fmt.Sprint(id, " ", rec.Status, " ", err))
			continue
		}
		epochs := d.completed[id]
		if len(epochs) > 1 {
			twice = append(twice, id)
		}
		for _, epoch := range epochs {
			if d.leases[id] > epoch {
				stale = append(stale, id)
			}
		}
		if d.cancelled[id] && (len(epochs) > 0 || rec.Status != task.Cancelled) {
			undead = append(undead, id)
		}
		if len(epochs) > 0 && rec.Status != task.Completed {
			undone = append(undone, id)
		}
		events, err := e.Events(t.Context(), id, 0, 0)
		require.NoError(t, err)
		require.NoError(t, task.Verify(events))
		ends := 0
		for _, ev := range events {
			if ev.NewStatus.Terminal() {
				ends++
			}
		}
		require.Equal(t, 1, ends, "a history has one end")
	}
	require.Empty(t, lost, "lost")
	require.Empty(t, twice, "completed twice")
	require.Empty(t, stale, "completed by a worker whose lease was lost")
	require.Empty(t, undead, "cancelled, then completed")
	require.Empty(t, undone, "completed, then something else")
}

// defences are what the kill rounds and the contract must miss when it is gone.
var defences = []struct{ name, file, with, without, test, says string }{
	{"the fencing token", "lease.go", "case !rec.Leased || rec.Epoch != epoch:", "case false:", "TestKillNine", "completed by a worker whose lease was lost"},
	{"the fencing token, among calls at the same time", "lease.go", "case !rec.Leased || rec.Epoch != epoch:", "case false:", "TestContract/TestLinearizable", "a history that no order of the calls explains"},
	{"the end is the end", "lease.go", "case rec.Status.Terminal():\n\t\treturn fmt.Errorf(\"task %s is %s: %w\", rec.ID, rec.Status, task.ErrTerminal)\n\tcase !rec.Leased || rec.Epoch != epoch:", "case false:", "TestContract", "TestCancelledNeverBecomesFailed"},
	{"keys belong to their principal", "record.go", `string(k.Namespace) + "\x00" + k.Principal`, "string(k.Namespace)", "TestContract", "TestSubmitIsIdempotent"},
	{"leases of an earlier life are void", "cancel.go", "case rec.Leased && e.leased(id):", "case rec.Leased:", "TestContract", "TestWithdraw"},
	{"dependents fail", "write.go", "if err != nil || status == task.Completed {\n\t\treturn err\n\t}\n\treturn c.endDependents(rec)", "return err", "TestContract", "TestDependentsOfAFailedTaskDoNotRun"},
	{"children are cancelled", "cancel.go", "if child.Detach {", "if child.Detach || true {", "TestContract", "TestCancelReachesTheChildren"},
	{"a retry waits for its delay", "schedule.go", "rec.RetryDelayMs > 0 &&", "false &&", "TestStampsOfAnotherClock", "a retry waits for its delay, and not for an hour"},
	{"also in the transaction", "submit.go", "if err := all(c.tx, also); err != nil {\n\t\t\treturn err\n\t\t}\n\t\tt = rec.Task", "_ = all(c.tx, also)\n\t\tt = rec.Task", "TestContract", "TestAlsoIsOneUnit"},
}

// TestDefencesAreMissed takes each defence out by an overlay and expects a test to
// fail. It compiles the package anew each time, so it is one of the long proofs.
func TestDefencesAreMissed(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("a long proof: set SOAK=short")
	}
	here, err := os.Getwd()
	require.NoError(t, err)
	for _, d := range defences {
		t.Run(d.name, func(t *testing.T) {
			dir := t.TempDir()
			text, err := os.ReadFile(d.file)
			require.NoError(t, err)
			require.Equal(t, 1, strings.Count(string(text), d.with), "%s holds once: %s", d.file, d.with)
			broken := filepath.Join(dir, d.file)
			require.NoError(t, os.WriteFile(broken, []byte(strings.Replace(string(text), d.with, d.without, 1)), 0o600))
			raw, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(here, d.file): broken}})
			require.NoError(t, err)
			overlay := filepath.Join(dir, "overlay.json")
			require.NoError(t, os.WriteFile(overlay, raw, 0o600))
			cmd := exec.Command("go", "test", "-overlay", overlay, "-count=1", "-timeout=2m", "-run", "^"+d.test+"$", ".")
			cmd.Env = append(os.Environ(), "SOAK=")
			out, err := cmd.CombinedOutput()
			require.Error(t, err, "nobody misses it:\n%s", out)
			require.Contains(t, string(out), "--- FAIL: "+d.test, "it did not come to the test:\n%s", out)
			require.Contains(t, string(out), d.says, "it fails for another reason:\n%s", out)
		})
	}
}
