package daemon

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/agent/agenttest"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/settings"
)

// childDirEnv names the state directory of a gateway that this test binary is to be
// instead of running tests, childPortEnv its port.
const (
	childDirEnv  = "DAEMON_TEST_CHILD"
	childPortEnv = "DAEMON_TEST_CHILD_PORT"
)

// TestMain runs the process as a gateway that a test starts, and kills, when
// childDirEnv is set.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDirEnv); dir != "" {
		os.Exit(runChild(dir))
	}
	os.Exit(m.Run())
}

// runChild is the life of a gateway as a process of its own. It tells its URL on
// standard output and stops gracefully at the end of its input, so that it does not
// outlive the test that started it.
func runChild(dir string) int {
	syscall.Umask(0) // what the gateway makes is private by its own doing
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	token := testToken
	port, err := strconv.Atoi(os.Getenv(childPortEnv))
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		return 2
	}
	err = Serve(ctx, Config{
		StateDir: dir, ConfigPath: filepath.Join(dir, "coderclaw.json"), Version: "test", Stdout: io.Discard,
		Flags: settings.Flags{Port: &port, Token: &token},
		Ready: func(url, _ string) { fmt.Println(url) },
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		return 1
	}
	return 0
}

// process is a gateway in a process of its own.
type process struct {
	t     *testing.T
	url   string
	cmd   *exec.Cmd
	stdin io.Closer
}

// spawn starts a gateway on a state directory, with model behind it, and returns
// when it accepts connections.
func spawn(t *testing.T, dir string, model *agenttest.Model) *process {
	t.Helper()
	return spawnAt(t, "0", dir, model)
}

// spawnAt is spawn on a port of one's choice, for clients that come back.
func spawnAt(t *testing.T, port, dir string, model *agenttest.Model) *process {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	p := &process{t: t, cmd: exec.Command(exe)}
	p.cmd.Env = append(os.Environ(), childDirEnv+"="+dir, childPortEnv+"="+port, "OPENAI_BASE_URL="+model.URL, "OPENAI_API_KEY="+testAPIKey)
	p.cmd.Stderr = os.Stderr
	stdin, err := p.cmd.StdinPipe()
	require.NoError(t, err)
	p.stdin = stdin
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		_ = p.cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err, "the gateway ended before it was ready")
	p.url = strings.TrimSpace(line)
	return p
}

// kill ends the process as kill -9 does, and waits until it is gone.
func (p *process) kill() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Kill())
	require.ErrorContains(p.t, p.cmd.Wait(), "killed")
}

// stop ends the process gracefully.
func (p *process) stop() {
	p.t.Helper()
	require.NoError(p.t, p.stdin.Close())
	require.NoError(p.t, p.cmd.Wait())
}

// visit connects as the device whose identity is in a directory.
func (p *process) visit(identity string) *visitor {
	p.t.Helper()
	id, err := client.LoadIdentity(identity)
	require.NoError(p.t, err)
	return (&house{t: p.t}).visit("unused", func(o *client.Options) { o.URL, o.Identity = p.url, id })
}
