// Command flood measures what floods cost everybody else: the times of a client that
// asks politely, alone and beside two sockets that send as fast as they can, in the same
// run and as a ratio, because a figure of one machine says little about another.
//
// Method: the gateway is a process, each flooding socket is one, and so is the client
// that is measured. That client asks for health and for the history of its conversation
// in turn, one call a millisecond at most. The flood has begun before it is measured.
// What the gateway holds in memory is read before the floods and after them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
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

// p99Goal is the project's goal for the client beside a flood, on a quiet machine.
const p99Goal = 10 * time.Millisecond

const token = "flood-token-that-never-leaves-this-machine"

// floods are what two sockets do at once.
var floods = []struct {
	name  string
	kinds [2]string
}{
	{"strangers that connect, guests that ask", [2]string{"connect", "health"}},
	{"two guests that ask", [2]string{"health", "health"}},
	{"two guests that ask for what does not exist", [2]string{"unknown", "unknown"}},
	{"two guests that send faulty frames", [2]string{"faulty", "faulty"}},
	{"two guests that ping", [2]string{"ping", "ping"}},
}

func main() {
	bin := flag.String("bin", "bin/coderclaw", "binary to measure")
	span := flag.Duration("for", 5*time.Second, "how long each measurement takes")
	kind := flag.String("flooder", "", "be a flooding socket of this kind (the command starts these itself)")
	url := flag.String("url", "", "the gateway of -flooder")
	state := flag.String("state", "", "the folder of the device of -flooder")
	flag.Parse()
	var err error
	if *kind != "" {
		err = (&flooder{kind: *kind, addr: strings.TrimPrefix(*url, "ws://"), state: *state}).run()
	} else {
		err = run(*bin, *span)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "flood:", err)
		os.Exit(1)
	}
}

func run(bin string, span time.Duration) (err error) {
	dir, err := os.MkdirTemp("", "coderclaw-flood-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	g, err := start(bin, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.stop()) }()

	quiet, err := measure(g.url, dir, span)
	if err != nil {
		return err
	}
	before, err := g.resident()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "beside\tcalls\tp50\tp99\tp99 to alone\tflood/s\tlog lines/s\n")
	fmt.Fprintf(w, "nobody\t%d\t%s\t%s\t1.0\t\t\n", len(quiet), at(quiet, 50), at(quiet, 99))
	worst := time.Duration(0)
	for _, f := range floods {
		lines := g.lines()
		began := time.Now()
		times, sent, err := g.beside(f.kinds, dir, span)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		worst = max(worst, at(times, 99))
		took := time.Since(began).Seconds()
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%.1f\t%s\t%.1f\n", f.name, len(times), at(times, 50), at(times, 99),
			float64(at(times, 99))/float64(at(quiet, 99)), sent, float64(g.lines()-lines)/took)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	time.Sleep(time.Second)
	after, err := g.resident()
	if err != nil {
		return err
	}
	fmt.Printf("resident, anonymous: %.1f MiB before the floods, %.1f MiB after\n", float64(before)/(1<<20), float64(after)/(1<<20))
	verdict := "within"
	if worst > p99Goal {
		verdict = "above"
	}
	fmt.Printf("worst p99 %s, %s the goal of %s on a quiet machine\n", worst, verdict, p99Goal)
	return nil
}

// at returns a percentile of sorted times, rounded.
func at(times []time.Duration, percent int) time.Duration {
	if len(times) == 0 {
		return 0
	}
	return times[min(len(times)*percent/100, len(times)-1)].Round(10 * time.Microsecond)
}

// beside measures while two flooding processes run. It also returns what they sent per
// second.
func (g *process) beside(kinds [2]string, dir string, span time.Duration) (times []time.Duration, sent string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	type running struct {
		cmd *exec.Cmd
		out strings.Builder
		in  io.Closer
	}
	var all []*running
	for i, kind := range kinds {
		r := &running{cmd: exec.Command(self, "-flooder", kind, "-url", g.url, "-state", filepath.Join(dir, "flooder"+strconv.Itoa(i)))}
		r.cmd.Stdout, r.cmd.Stderr = &r.out, os.Stderr
		if r.in, err = r.cmd.StdinPipe(); err == nil {
			err = r.cmd.Start()
		}
		if err != nil {
			return nil, "", err
		}
		all = append(all, r)
	}
	time.Sleep(time.Second) // until the flood is at its height
	times, err = measure(g.url, dir, span)
	var rates []string
	for _, r := range all {
		_ = r.in.Close() // the sign to stop
		err = errors.Join(err, r.cmd.Wait())
		rates = append(rates, strings.TrimSpace(r.out.String()))
	}
	return times, strings.Join(rates, " + "), err
}

// measure asks for a while and returns how long each answer took, sorted.
func measure(url, dir string, span time.Duration) ([]time.Duration, error) {
	identity, err := client.LoadIdentity(filepath.Join(dir, "victim"))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), span+30*time.Second)
	defer cancel()
	conn, err := client.Dial(ctx, client.Options{
		URL: url, Token: token, Identity: identity, Scopes: []string{protocol.ScopeOperatorRead, protocol.ScopeOperatorWrite},
		Client: protocol.ConnectClient{ID: protocol.GatewayClientIdTest, Version: "flood", Platform: "linux", Mode: protocol.GatewayClientModeTest},
	})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	typed := protocol.Client{Caller: conn}
	var times []time.Duration
	for end := time.Now().Add(span); time.Now().Before(end); {
		begin := time.Now()
		if len(times)%2 == 0 {
			_, err = typed.Health(ctx, protocol.HealthParams{})
		} else {
			_, err = typed.ChatHistory(ctx, protocol.ChatHistoryParams{SessionKey: "main"})
		}
		if err != nil {
			return nil, err
		}
		took := time.Since(begin)
		times = append(times, took)
		time.Sleep(time.Millisecond - took)
	}
	slices.Sort(times)
	return times, nil
}

// process is the gateway that is measured.
type process struct {
	cmd *exec.Cmd
	url string
	log string
}

func start(bin, dir string) (*process, error) {
	g := &process{log: filepath.Join(dir, "state", "logs", "gateway.log")}
	g.cmd = exec.Command(bin, "gateway", "--port", "0", "--token", token)
	g.cmd.Env = append(os.Environ(), "CODERCLAW_STATE_DIR="+filepath.Join(dir, "state"), "OPENAI_BASE_URL=", "CODERCLAW_CONFIG_PATH=")
	said, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		return nil, err
	}
	defer said.Close()
	g.cmd.Stderr = said
	if err := g.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w (make build makes it)", err)
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		raw, err := os.ReadFile(said.Name())
		if err != nil {
			return nil, err
		}
		if _, rest, ok := strings.Cut(string(raw), "listens on "); ok {
			if line, _, whole := strings.Cut(rest, "\n"); whole {
				g.url = line
				return g, nil
			}
		}
	}
	return nil, errors.Join(errors.New("the gateway did not start within 10 s"), g.stop())
}

func (g *process) stop() error {
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	return g.cmd.Wait()
}

// lines counts the lines of the log.
func (g *process) lines() int {
	raw, _ := os.ReadFile(g.log)
	return strings.Count(string(raw), "\n")
}

// resident returns the anonymous memory of the gateway in bytes.
func (g *process) resident() (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(raw), "RssAnon:")
	if !ok {
		return 0, errors.New("the kernel tells no RssAnon")
	}
	kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	return kib << 10, err
}
