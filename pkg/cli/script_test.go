package cli_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent/agenttest"
	"github.com/coderclaw/gateway/pkg/cli"
	"github.com/coderclaw/gateway/pkg/daemon"
	"github.com/coderclaw/gateway/pkg/gateway"
	"github.com/coderclaw/gateway/pkg/identity"
	"github.com/coderclaw/gateway/pkg/wire"
)

// The scripts in testdata/script run the command as a process, against a real
// gateway. Besides testscript's own commands they have:
//
//	exits CODE CMD [ARG...]   runs a command that must exit with CODE
//	gateway [ARG...]          starts `coderclaw gateway ARG...` and waits until it listens;
//	                          sets $URL and $TOKEN
//	stopgateway               ends it with SIGINT; it must exit with 0
//	killgateway               ends it with SIGKILL
//	damage FILE               overwrites all of a database but its meta pages
//	hashes DIR FILE           writes the SHA-256, mode, time and name of all below DIR to FILE
//	refusing CODE TEXT        starts a gateway that refuses everybody, at $REFUSING
//	model WORDS INTERVAL      starts a model server for the gateway started next
//	asked                     waits until the model has been asked
//	proxied                   starts a proxy that the gateway does not know, at $PROXIED
//	tailscaled                starts a counterpart of tailscaled, at $TAILSCALED
//	capture NAME REGEXP       sets $NAME to what the group finds in the last output

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"coderclaw": func() {
			os.Exit(cli.New(cli.Config{
				Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Version: "1.2.3-test",
				Gateway: func(ctx context.Context, o cli.GatewayOptions) error {
					return daemon.Serve(ctx, daemon.Config(o))
				},
			}).Run(context.Background(), os.Args))
		},
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("CODERCLAW_STATE_DIR", filepath.Join(env.WorkDir, "state"))
			fixtureDir, err := filepath.Abs(filepath.Join("..", "importer", "testdata"))
			if err != nil {
				return err
			}
			env.Setenv("FIXTURES", fixtureDir)
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else each process sleeps for a second at its end
			env.Values[fixture{}] = &fixtures{asked: make(chan struct{}, 16)}
			return os.MkdirAll(filepath.Join(env.WorkDir, "home"), 0o700)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":       exits,
			"gateway":     startGateway,
			"stopgateway": stopGateway,
			"killgateway": killGateway,
			"damage":      damage,
			"hashes":      hashes,
			"refusing":    startRefusing,
			"model":       startModel,
			"asked":       waitAsked,
			"proxied":     startProxy,
			"tailscaled":  startTailscaled,
			"capture":     capture,
		},
		ContinueOnError: false,
	})
}

// fixture is the key of a script's fixtures.
type fixture struct{}

type fixtures struct {
	gateway *exec.Cmd
	asked   chan struct{} // one token for each question to the model
}

func of(ts *testscript.TestScript) *fixtures { return ts.Value(fixture{}).(*fixtures) }

func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if (got == want) == neg {
		ts.Fatalf("%s exited with %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

func startGateway(ts *testscript.TestScript, _ bool, args []string) {
	f := of(ts)
	cmd := exec.Command(lookIn(ts.Getenv("PATH"), "coderclaw"), append([]string{"gateway"}, args...)...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "CODERCLAW_STATE_DIR", "CODERCLAW_CONFIG_PATH", "CODERCLAW_GATEWAY_PORT", "CODERCLAW_GATEWAY_TOKEN", "CODERCLAW_GATEWAY_PASSWORD", "OPENAI_BASE_URL", "OPENAI_MODEL"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	stderr, err := cmd.StderrPipe()
	ts.Check(err)
	log, err := os.Create(ts.MkAbs("gateway.log"))
	ts.Check(err)
	defer log.Close()
	cmd.Stdout = log
	ts.Check(cmd.Start())
	f.gateway = cmd
	ts.Defer(func() {
		if f.gateway == cmd {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		ts.Logf("[gateway] %s", lines.Text())
		if _, url, ok := strings.Cut(lines.Text(), "listens on "); ok {
			ts.Setenv("URL", url)
		}
		if strings.HasPrefix(lines.Text(), "talk to it") {
			go io.Copy(io.Discard, stderr)
			if token, err := os.ReadFile(filepath.Join(ts.MkAbs(ts.Getenv("CODERCLAW_STATE_DIR")), "gateway.token")); err == nil {
				ts.Setenv("TOKEN", strings.TrimSpace(string(token)))
			}
			return
		}
	}
	ts.Fatalf("the gateway did not start: %v", cmd.Wait())
}

func lookIn(path, name string) string {
	for _, dir := range filepath.SplitList(path) {
		if p := filepath.Join(dir, name); isExecutable(p) {
			return p
		}
	}
	return name
}

func isExecutable(p string) bool {
	info, err := os.Stat(p)
	return err == nil && info.Mode()&0o111 != 0
}

func stopGateway(ts *testscript.TestScript, _ bool, _ []string) {
	f := of(ts)
	cmd := f.gateway
	f.gateway = nil
	ts.Check(cmd.Process.Signal(syscall.SIGINT))
	if err := cmd.Wait(); err != nil {
		ts.Fatalf("the gateway ended with %v", err)
	}
}

// refuser is a guard that lets nobody in.
type refuser struct{ err *wire.Error }

func (r refuser) Connect(context.Context, identity.Attempt) (identity.Grant, error) {
	return identity.Grant{}, &identity.Refusal{Err: r.err, CloseCode: 1008, CloseReason: r.err.Message}
}
func (refuser) Holds(identity.Grant) (bool, error)             { return true, nil }
func (refuser) HostAllowed(string) bool                        { return true }
func (refuser) Local(netip.AddrPort, string, http.Header) bool { return true }
func (refuser) ClientAddr(remote netip.AddrPort, _ http.Header) (netip.Addr, bool) {
	return remote.Addr(), true
}
func (refuser) BearerCheck(context.Context, netip.Addr, string) (bool, time.Duration) {
	return false, 0
}
func (refuser) PeerConnected(*wire.Peer)    {}
func (refuser) PeerReady(*wire.Peer)        {}
func (refuser) PeerDisconnected(*wire.Peer) {}

func startRefusing(ts *testscript.TestScript, _ bool, args []string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	guard := refuser{&wire.Error{Code: args[0], Message: args[1]}}
	g := gateway.New(gateway.Config{
		Log: slog.New(slog.DiscardHandler), Guard: guard, Observer: guard, Versions: &wire.StateVersions{}, Version: "test",
		Snapshot: func(*wire.Peer) protocol.Snapshot { return protocol.Snapshot{} },
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx, ln) }()
	ts.Defer(func() { cancel(); <-ended })
	ts.Setenv("REFUSING", fmt.Sprintf("ws://%s", ln.Addr()))
}

func startModel(ts *testscript.TestScript, _ bool, args []string) {
	f := of(ts)
	words, err := strconv.Atoi(args[0])
	ts.Check(err)
	interval, err := time.ParseDuration(args[1])
	ts.Check(err)
	model := agenttest.NewModel(agenttest.ModelOptions{Interval: interval, Reply: func(string) []string {
		f.asked <- struct{}{}
		var reply []string
		for i := range words {
			reply = append(reply, fmt.Sprintf("word%d ", i))
		}
		return reply
	}})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- model.Serve(ctx, ln) }()
	ts.Defer(func() { cancel(); <-ended })
	ts.Setenv("OPENAI_BASE_URL", fmt.Sprintf("http://%s/v1", ln.Addr()))
}

func waitAsked(ts *testscript.TestScript, _ bool, _ []string) {
	select {
	case <-of(ts).asked:
	case <-time.After(20 * time.Second):
		ts.Fatalf("nobody asked the model")
	}
}
