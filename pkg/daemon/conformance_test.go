package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/agent/agenttest"
	"github.com/coderclaw/gateway/pkg/conformance"
	"github.com/coderclaw/gateway/pkg/settings"
)

var update = flag.Bool("update", false, "rewrite the golden reports of the conformance tests")

const (
	framesDir        = "../../testdata/frames"
	conversationsDir = "../../testdata/conformance"
)

// TestRecordedConversations replays what was recorded from another implementation.
// The report, with what is excepted and what does not apply yet, is a golden file.
func TestRecordedConversations(t *testing.T) {
	target := conversationPartner(t, "")
	cases := slices.DeleteFunc(recordedCases(t), func(c conformance.Case) bool { return heavy != "" && c.Name == heavy })
	report := conformance.Run(t.Context(), target, cases, nil)
	own := conformance.Select(cases, originalConfig)
	require.Len(t, own, 1)
	at := slices.IndexFunc(report.Outcomes, func(o conformance.Outcome) bool { return o.Name == originalConfig })
	report.Outcomes[at] = conformance.Run(t.Context(), originalPartner(t), own, nil).Outcomes[0]
	golden(t, report, filepath.Join(framesDir, "RESULT.txt"))
}

// originalConfig is a recording of a gateway with a config of its own, which its client
// sends back.
const originalConfig = "config-set-patch-restart.jsonl"

// originalPartner starts a gateway with the very file that the recorded one had: keys
// of the original beside ours. It may restart itself.
func originalPartner(t *testing.T) conformance.Target {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(framesDir, originalConfig))
	require.NoError(t, err)
	text := ""
	for line := range strings.Lines(string(raw)) {
		var l struct {
			Frame struct {
				ID      string
				Payload struct{ Parsed json.RawMessage }
			}
		}
		require.NoError(t, json.Unmarshal([]byte(line), &l))
		if l.Frame.ID == "r2" && l.Frame.Payload.Parsed != nil {
			text = string(l.Frame.Payload.Parsed)
		}
	}
	require.Contains(t, text, `"hooks"`)
	h := prepare(t, nil)
	h.write(strings.ReplaceAll(text, "__OPENCLAW_REDACTED__", testToken))
	h.change = func(c *Config) { loopback := settings.BindLoopback; c.Flags.Bind = &loopback }
	h.serve()
	return conformance.Target{
		URL: h.url(), Token: testToken, HTTPClient: watchErrors(t).client(), Offers: []string{"original-config"}, Patience: 20 * time.Second,
		Restart: func(context.Context) error { return errors.New("this gateway restarts itself") },
	}
}

// TestWrittenConversations runs our own examples: one for each method at least.
func TestWrittenConversations(t *testing.T) {
	cases, err := conformance.LoadConversations(os.DirFS(conversationsDir))
	require.NoError(t, err)
	target := conversationPartner(t, "")
	golden(t, conformance.Run(t.Context(), target, cases, nil), filepath.Join(conversationsDir, "RESULT.txt"))
}

// TestRecordedPasswordConversations replays the recordings of a gateway that takes a
// password and knows a proxy on its own host.
func TestRecordedPasswordConversations(t *testing.T) {
	cases := append(conformance.Select(recordedCases(t), "password-*.jsonl"), conformance.Select(recordedCases(t), "trusted-proxy-*.jsonl")...)
	require.Len(t, cases, 4)
	h := prepare(t, nil)
	require.NoError(t, os.MkdirAll(h.dir, 0o700))
	config := `{gateway: {auth: {mode: "password", rateLimit: {maxAttempts: 3, windowMs: 60000, lockoutMs: 4000}}, trustedProxies: ["127.0.0.1"]}}`
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "coderclaw.json"), []byte(config), 0o600))
	h.env["CODERCLAW_GATEWAY_PASSWORD"] = testToken
	h.start()
	report := conformance.Run(t.Context(), conformance.Target{
		URL: h.url(), Password: testToken, HTTPClient: watchErrors(t).client(), Offers: []string{"trusted-proxy", "rate-limit"}, Patience: 20 * time.Second,
	}, cases, nil)
	require.NoError(t, report.Err())
	for _, o := range report.Outcomes {
		require.Equal(t, conformance.Passed, o.Status, "%s %s", o.Name, o.Note)
	}
}

// TestRecordedRemoteConversations replays the recordings of clients on another host
// over an address of this machine that is not loopback.
func TestRecordedRemoteConversations(t *testing.T) {
	address := os.Getenv("CODERCLAW_TEST_ADDRESS")
	if address == "" {
		t.Skip("tests talk to loopback; tools/conformance.sh replays these in a network namespace, or name an address in CODERCLAW_TEST_ADDRESS")
	}
	cases := conformance.Select(recordedCases(t), "remote-*.jsonl")
	require.Len(t, cases, 3)
	target := conversationPartner(t, `bind: "lan", tls: {allowPlaintextLan: true}, `)
	port := strings.TrimPrefix(target.URL, "ws://127.0.0.1:")
	target.RemoteURL = fmt.Sprintf("ws://%s:%s", address, port)
	report := conformance.Run(t.Context(), target, cases, nil)
	require.NoError(t, report.Err())
	for _, o := range report.Outcomes {
		require.Equal(t, conformance.Passed, o.Status, "%s %s", o.Name, o.Note)
	}
}

// TestOwnRecordings records clients of our gateway, finds none of its secrets in the
// files, and replays them against it.
func TestOwnRecordings(t *testing.T) {
	target := conversationPartner(t, "")
	dir := filepath.Join(t.TempDir(), "frames")
	recorder, err := conformance.NewRecorder(conformance.RecorderConfig{Upstream: target.URL, Dir: dir, Token: testToken})
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- recorder.Run(ctx, listener) }()
	watched := target
	watched.URL = "ws://" + listener.Addr().String()
	cases, err := conformance.LoadConversations(os.DirFS(conversationsDir))
	require.NoError(t, err)
	cases = append(conformance.Select(cases, "chat/send.txtar"), conformance.Select(cases, "frames/connect.txtar")...)
	require.NoError(t, conformance.Run(t.Context(), watched, cases, nil).Err())
	stop()
	require.NoError(t, <-done)

	deviceToken := regexp.MustCompile(`"(?:deviceToken|token|signature)":"([^"]*)"`)
	found := 0
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	for _, name := range files {
		raw, err := os.ReadFile(name)
		require.NoError(t, err)
		require.NotContains(t, string(raw), testToken)
		for _, m := range deviceToken.FindAllSubmatch(raw, -1) {
			found++
			require.Regexp(t, `^<(secret \d+|signature|gateway token)>$`, string(m[1]), name)
		}
	}
	require.Greater(t, found, 10)

	replays, err := conformance.LoadFrames(os.DirFS(dir), nil)
	require.NoError(t, err)
	report := conformance.Run(t.Context(), target, replays, nil)
	require.NoError(t, report.Err())
	require.Equal(t, 5, report.Count(conformance.Passed), report.String())
}

func recordedCases(t *testing.T) []conformance.Case {
	t.Helper()
	frames := os.DirFS(framesDir)
	page, err := fs.ReadFile(frames, "EXCEPTIONS.md")
	require.NoError(t, err)
	cases, err := conformance.LoadFrames(frames, page)
	require.NoError(t, err)
	return slices.Clip(cases)
}

// conversationPartner starts a gateway with the counterpart model behind it.
// gateway holds more members of the configuration's section of that name.
func conversationPartner(t *testing.T, gateway string) conformance.Target {
	t.Helper()
	h := prepare(t, agenttest.StartModel(t, agenttest.ModelOptions{}))
	require.NoError(t, os.MkdirAll(h.dir, 0o700))
	config := `{gateway: {` + gateway + `allowedHosts: ["gw.example.com"]}, agents: {defaults: {model: "openai/mock-1", contextTokens: 32000}}}`
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "coderclaw.json"), []byte(config), 0o600))
	h.start()
	return conformance.Target{
		URL: h.url(), Token: testToken, HTTPClient: watchErrors(t).client(), Offers: []string{"llm"}, Patience: 20 * time.Second,
		Restart: func(ctx context.Context) error { h.restart(); return awaitPort(ctx, h.url()[len("ws://"):]) },
		Stop: func(context.Context) error {
			stopped := make(chan struct{})
			go func() { defer close(stopped); h.stop() }()
			t.Cleanup(func() { <-stopped })
			return nil
		},
	}
}

// golden compares the report with the one in the file; -update rewrites it.
func golden(t *testing.T, report conformance.Report, path string) {
	t.Helper()
	require.NoError(t, report.Err())
	if *update && heavy == "" {
		require.NoError(t, os.WriteFile(path, []byte(report.String()), 0o644))
	}
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	var want strings.Builder
	for line := range strings.Lines(string(raw)) {
		if heavy == "" || !strings.Contains(line, " "+heavy+"-") {
			want.WriteString(line)
		}
	}
	require.Equal(t, want.String(), report.String(), "rewrite with -update, then read the difference")
}

func awaitPort(ctx context.Context, addr string) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return c.Close()
}
