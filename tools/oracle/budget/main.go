// Command budget measures what the gateway promises about itself: the time from
// spawn to hello-ok, the memory at rest and the size of the binary. It prints each
// figure beside its goal and fails when one is above twice the goal, so that a
// busy machine does not fail a build that a regression would.
//
// Method: a warm state directory, the median of several spawns, anonymous memory
// only (a mapped database counts in RSS but is the page cache's), one second after
// the first hello-ok with that client still connected. Every child is stopped with
// SIGTERM and waited for.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
)

// The goals: performance goals of the project, hello-ok included authentication
// with a device signature.
const (
	helloGoal  = 100 * time.Millisecond
	memoryGoal = 30 << 20
	binaryGoal = 30 << 20
	slack      = 2
)

func main() {
	bin := flag.String("bin", "bin/coderclaw", "binary to measure")
	spawns := flag.Int("spawns", 20, "how often to start it")
	flag.Parse()
	ok, err := run(*bin, *spawns)
	if err != nil {
		fmt.Fprintln(os.Stderr, "budget:", err)
		os.Exit(1)
	}
	if !ok {
		os.Exit(1)
	}
}

func run(bin string, spawns int) (bool, error) {
	info, err := os.Stat(bin)
	if err != nil {
		return false, fmt.Errorf("%w (make build makes it)", err)
	}
	dir, err := os.MkdirTemp("", "coderclaw-budget-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)

	if _, err := spawn(bin, dir); err != nil { // makes the state directory warm
		return false, err
	}
	var hellos []time.Duration
	var memory []int64
	for i := range spawns {
		m, err := spawn(bin, dir)
		if err != nil {
			return false, fmt.Errorf("spawn %d: %w", i+1, err)
		}
		hellos, memory = append(hellos, m.hello), append(memory, m.anonymous)
	}
	slices.Sort(hellos)
	slices.Sort(memory)

	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "what\tmeasured\tgoal\tverdict\n")
	pass := row(w, fmt.Sprintf("spawn to hello-ok, median of %d", spawns), float64(hellos[len(hellos)/2].Microseconds())/1000, float64(helloGoal.Milliseconds()), "ms")
	pass = row(w, "anonymous memory at rest, median", mib(memory[len(memory)/2]), mib(memoryGoal), "MiB") && pass
	pass = row(w, "binary", float64(info.Size())/1e6, binaryGoal/(1<<20), "MB") && pass
	return pass, w.Flush()
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

func row(w *tabwriter.Writer, what string, got, goal float64, unit string) bool {
	verdict := "within"
	switch {
	case got > slack*goal:
		verdict = "FAILED: above twice the goal"
	case got > goal:
		verdict = "above the goal, below the gate"
	}
	fmt.Fprintf(w, "%s\t%.1f %s\t%.0f %s\t%s\n", what, got, unit, goal, unit, verdict)
	return got <= slack*goal
}

type measurement struct {
	hello     time.Duration
	anonymous int64
}

func spawn(bin, dir string) (m measurement, err error) {
	port, err := freePort()
	if err != nil {
		return m, err
	}
	const token = "budget-token-that-never-leaves-this-machine"
	cmd := exec.Command(bin, "gateway", "--port", strconv.Itoa(port), "--token", token)
	cmd.Env = append(os.Environ(), "CODERCLAW_STATE_DIR="+dir, "OPENAI_BASE_URL=", "CODERCLAW_CONFIG_PATH=")
	identity, err := client.LoadIdentity(filepath.Join(dir, "client"))
	if err != nil {
		return m, err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return m, err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if werr := cmd.Wait(); err == nil && werr != nil {
			err = fmt.Errorf("gateway: %w", werr)
		}
	}()

	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	if err := awaitPort(addr); err != nil {
		return m, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := client.Dial(ctx, client.Options{
		URL: "ws://" + addr, Token: token, Identity: identity, Scopes: []string{protocol.ScopeOperatorRead},
		Client: protocol.ConnectClient{ID: protocol.GatewayClientIdTest, Version: "budget", Platform: "linux", Mode: protocol.GatewayClientModeTest},
	})
	if err != nil {
		return m, err
	}
	m.hello = time.Since(start)
	time.Sleep(time.Second)
	m.anonymous, err = anonymous(cmd.Process.Pid)
	_ = conn.Close()
	return m, err
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func awaitPort(addr string) error {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return c.Close()
		}
	}
	return fmt.Errorf("nothing listens on %s after 10 s", addr)
}

// anonymous reads the anonymous resident memory of a process, in bytes.
func anonymous(pid int) (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no RssAnon", pid)
}
