package daemon

import (
	"context"
	"flag"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/agent/agenttest"
	"github.com/coderclaw/gateway/pkg/conformance"
)

var update = flag.Bool("update", false, "rewrite the golden reports of the conformance tests")

// TestRecordedConversations replays what was recorded from another implementation.
// The report, with what is excepted and what does not apply yet, is a golden file.
func TestRecordedConversations(t *testing.T) {
	cases, err := conformance.LoadFrames("../../testdata/frames")
	require.NoError(t, err)
	replay(t, cases, "../../testdata/frames/RESULT.txt")
}

// TestWrittenConversations runs our own examples: one for each method at least.
func TestWrittenConversations(t *testing.T) {
	cases, err := conformance.LoadConversations("../../testdata/conformance")
	require.NoError(t, err)
	replay(t, cases, "../../testdata/conformance/RESULT.txt")
}

func replay(t *testing.T, cases []conformance.Case, golden string) {
	h := prepare(t, agenttest.StartModel(t, agenttest.ModelOptions{}))
	require.NoError(t, os.MkdirAll(h.dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "coderclaw.json"), []byte(`{gateway: {allowedHosts: ["gw.example.com"]}, agent: {openai: {model: "mock-1", contextTokens: 32000}}}`), 0o600))
	h.start()
	report := conformance.Run(t.Context(), conformance.Target{
		URL: h.url(), Token: testToken, Offers: []string{"llm"}, Patience: 20 * time.Second,
		Restart: func(ctx context.Context) error { h.restart(); return awaitPort(ctx, h.url()[len("ws://"):]) },
		Stop:    func(context.Context) error { go h.stop(); return nil },
	}, cases)
	require.NoError(t, report.Err())
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(report.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), report.String(), "rewrite with -update, then read the difference")
}

func awaitPort(ctx context.Context, addr string) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return c.Close()
}
