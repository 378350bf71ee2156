package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
)

// desk is the command line, as processes, on one state directory.
type desk struct {
	t       *testing.T
	env     []string
	port    string
	gateway *exec.Cmd
}

func newDesk(t *testing.T) *desk {
	dir := t.TempDir()
	d := &desk{t: t, port: "0", env: append(os.Environ(), "HOME="+dir, "CODERCLAW_STATE_DIR="+filepath.Join(dir, "state"), "GORACE=atexit_sleep_ms=0")}
	t.Cleanup(func() {
		if d.gateway != nil {
			_ = d.gateway.Process.Kill()
			_ = d.gateway.Wait()
		}
	})
	return d
}

func (d *desk) command(args ...string) *exec.Cmd {
	cmd := exec.Command("coderclaw", args...)
	cmd.Env = d.env
	return cmd
}

// start starts the gateway, on the same port in each of its lives.
func (d *desk) start() {
	d.t.Helper()
	d.gateway = d.command("gateway", "--port", d.port)
	stderr, err := d.gateway.StderrPipe()
	require.NoError(d.t, err)
	require.NoError(d.t, d.gateway.Start())
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if _, url, ok := strings.Cut(lines.Text(), "listens on "); ok {
			d.port = url[strings.LastIndex(url, ":")+1:]
		}
		if strings.HasPrefix(lines.Text(), "talk to it") {
			go func() { _, _ = io.Copy(io.Discard, stderr) }()
			return
		}
	}
	require.Fail(d.t, "the gateway did not start")
}

// end ends the gateway by a signal.
func (d *desk) end(sig syscall.Signal) {
	d.t.Helper()
	require.NoError(d.t, d.gateway.Process.Signal(sig))
	_ = d.gateway.Wait() // killed or not, it is gone
	d.gateway = nil
}

// do runs a command and returns its standard output.
func (d *desk) do(args ...string) string {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "coderclaw", args...)
	cmd.Env = d.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(d.t, err, "%v: %s", args, stderr.String())
	return string(out)
}

// follower is a command that runs beside others.
type follower struct {
	d   *desk
	cmd *exec.Cmd

	mu          sync.Mutex
	out, notes  []string
	read, ended chan struct{}
}

func (d *desk) follow(args ...string) *follower {
	d.t.Helper()
	f := &follower{d: d, cmd: d.command(args...), read: make(chan struct{}, 1), ended: make(chan struct{})}
	stdout, err := f.cmd.StdoutPipe()
	require.NoError(d.t, err)
	stderr, err := f.cmd.StderrPipe()
	require.NoError(d.t, err)
	require.NoError(d.t, f.cmd.Start())
	var wg sync.WaitGroup
	scan := func(r io.Reader, into *[]string) {
		wg.Go(func() {
			for lines := bufio.NewScanner(r); lines.Scan(); {
				f.mu.Lock()
				*into = append(*into, lines.Text())
				f.mu.Unlock()
				select {
				case f.read <- struct{}{}:
				default:
				}
			}
		})
	}
	scan(stdout, &f.out)
	scan(stderr, &f.notes)
	go func() { wg.Wait(); close(f.ended) }()
	d.t.Cleanup(func() { _ = f.cmd.Process.Kill() })
	return f
}

// until waits for a state of what the command has said.
func (f *follower) until(what string, ok func(out, notes []string) bool) {
	f.d.t.Helper()
	limit := time.After(time.Minute)
	for {
		f.mu.Lock()
		out, notes := slices.Clone(f.out), slices.Clone(f.notes)
		f.mu.Unlock()
		if ok(out, notes) {
			return
		}
		select {
		case <-f.read:
		case <-limit:
			require.Fail(f.d.t, "waited a minute for "+what, "%q\n%q", out, notes)
		}
	}
}

// reconnected waits until the command has come back so many times.
func (f *follower) reconnected(times int) {
	f.d.t.Helper()
	f.until("a connection", func(_, notes []string) bool {
		n := 0
		for _, line := range notes {
			if strings.Contains(line, "connected again") {
				n++
			}
		}
		return n >= times
	})
}

// exit waits for the command's end and returns its exit code.
func (f *follower) exit() int {
	f.d.t.Helper()
	select {
	case <-f.ended:
	case <-time.After(time.Minute):
		require.Fail(f.d.t, "the command does not end")
	}
	_ = f.cmd.Wait()
	return f.cmd.ProcessState.ExitCode()
}

// A watch goes on when the gateway stops, is killed, or gets another secret: what it
// tells from cursor 0 on is the whole history of all tasks, each event once.
func TestWatchTellsAllAcrossTheGatewaysLives(t *testing.T) {
	d := newDesk(t)
	d.start()
	far := strings.TrimSpace(d.do("tasks", "submit", "later", "--not-before", "10h"))
	all, one := d.follow("tasks", "watch", "--cursor", "0", "--json"), d.follow("tasks", "watch", far, "--json")
	ids := []string{far}
	task := func() {
		t.Helper()
		id := strings.TrimSpace(d.do("tasks", "submit", "hello"))
		ids = append(ids, id)
		all.until("the end of a task", func(out, _ []string) bool {
			return len(out) > 0 && strings.Contains(out[len(out)-1], `"newStatus":"completed"`) && strings.Contains(out[len(out)-1], id)
		})
	}
	task()
	one.until("the first event", func(out, _ []string) bool { return len(out) == 1 })
	for i, loss := range []func(){
		func() { d.end(syscall.SIGINT); d.start() },
		func() { d.end(syscall.SIGKILL); d.start() },
		func() { d.do("auth", "rotate") },
		func() { d.end(syscall.SIGKILL); d.start() }, // by the device token from here on
	} {
		loss()
		all.reconnected(i + 1)
		one.reconnected(i + 1)
		task()
	}
	d.do("tasks", "cancel", far, "--reason", "changed my mind")
	require.Equal(t, 1, one.exit(), "a task that does not complete")
	require.Contains(t, one.notes[len(one.notes)-1], "the task was cancelled: changed my mind")
	require.Contains(t, strings.Join(one.notes, "\n"), "the gateway hung up without a word")

	var want []string
	for _, id := range ids {
		want = append(want, strings.Split(strings.TrimSpace(d.do("tasks", "events", id, "--json")), "\n")...)
	}
	slices.SortFunc(want, func(a, b string) int { return cursorOf(t, a) - cursorOf(t, b) })
	all.until("the last event", func(out, _ []string) bool { return len(out) == len(want) })
	require.NoError(t, all.cmd.Process.Signal(os.Interrupt))
	require.Zero(t, all.exit())
	require.Equal(t, want, all.out)
	require.Equal(t, strings.Split(strings.TrimSpace(d.do("tasks", "events", far, "--json")), "\n"), one.out)
}

func cursorOf(t *testing.T, line string) int {
	var e protocol.TaskEvent
	require.NoError(t, json.Unmarshal([]byte(line), &e))
	return int(e.Cursor)
}

// Whichever command asks for a run, it is a task, and the history of that is the same.
func TestCommandsLeaveOneHistory(t *testing.T) {
	d := newDesk(t)
	d.start()
	d.do("tasks", "submit", "hello", "--session-key", "one", "--wait")
	d.do("agent", "--message", "hello", "--session-key", "two")
	chat := d.command("chat", "--session-key", "three")
	chat.Stdin = strings.NewReader("hello\n")
	require.NoError(t, chat.Run())
	d.do("call", "chat.send", "--params", `{"sessionKey":"four","message":"hello","idempotencyKey":"by-call"}`)
	d.do("tasks", "watch", "by-call")

	var list protocol.TasksListResult
	require.NoError(t, json.Unmarshal([]byte(d.do("tasks", "list", "--json")), &list))
	require.Len(t, list.Tasks, 4)
	var first []string
	for _, task := range list.Tasks {
		require.Equal(t, protocol.TaskStatusCompleted, task.Status)
		var steps []string
		for line := range strings.Lines(d.do("tasks", "events", task.ID, "--json")) {
			var e protocol.TaskEvent
			require.NoError(t, json.Unmarshal([]byte(line), &e))
			steps = append(steps, string(e.Event)+" "+string(e.NewStatus.Or("")))
		}
		if first == nil {
			first = steps
		}
		require.Equal(t, first, steps, "%s", task.Source)
	}
}
