package daemon

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/conformance"
)

// TestRecordedPasswordProfile replays what was recorded from a server that knew
// its clients by a password, behind a proxy that it trusted, with limits on guesses.
func TestRecordedPasswordProfile(t *testing.T) {
	target := conversationPartner(t, fmt.Sprintf(`auth: {mode: "password", password: %q, rateLimit: {maxAttempts: 3, windowMs: 60000, lockoutMs: 4000}}, `+
		`trustedProxies: ["127.0.0.1"], `, testToken))
	target.Token, target.Password = "", testToken
	target.Offers = append(target.Offers, "trusted-proxy", "rate-limit")
	var cases []conformance.Case
	for _, pattern := range []string{"password-*.jsonl", "trusted-proxy-*.jsonl", "ratelimit-*.jsonl", "controlui-*.jsonl"} {
		cases = append(cases, conformance.Select(recordedCases(t), pattern)...)
	}
	golden(t, conformance.Run(t.Context(), target, cases, nil), filepath.Join(framesDir, "RESULT-password.txt"))
}

// TestEveryRecordingOfTheDoorHasAVerdict: each recording about connecting, pairing,
// tokens, proxies, limits and passwords passes, or its exception has a reason.
func TestEveryRecordingOfTheDoorHasAVerdict(t *testing.T) {
	verdicts := map[string]string{}
	for _, name := range []string{"RESULT-password.txt", "RESULT.txt"} {
		raw, err := os.ReadFile(filepath.Join(framesDir, name))
		require.NoError(t, err)
		for line := range strings.Lines(string(raw)) {
			verdict, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			if verdict != "passed" && verdict != "excepted" {
				continue
			}
			file, _, _ := strings.Cut(rest, " ")
			verdicts[file] = verdict
		}
	}
	page, err := os.ReadFile(filepath.Join(framesDir, "EXCEPTIONS.md"))
	require.NoError(t, err)
	names, err := fs.Glob(os.DirFS(framesDir), "*.jsonl")
	require.NoError(t, err)
	found := 0
	for _, pattern := range []string{
		"connect-*", "first-frame-*", "handshake-*", "payload-*", "device-*", "mode-*", "node-without-*", "controlui-*", "password-*", "ratelimit-*",
		"trusted-proxy-*", "realclient-cli-health-*", "realclient-cli-scope-*",
	} {
		matched := false
		for _, name := range names {
			if ok, err := path.Match(pattern, name); err != nil || !ok {
				continue
			}
			matched = true
			found++
			require.NotEmpty(t, verdicts[name], "%s neither passes nor is it excepted", name)
			if verdicts[name] == "excepted" {
				require.Regexp(t, "(?m)^- `"+name+"`.*\\((entry [0-9]+|partner not recorded)\\): ", string(page), "the reason")
			}
		}
		require.True(t, matched, pattern)
	}
	require.Greater(t, found, 40)
	// Those of remote clients need an address that is not loopback:
	// TestRecordedRemoteConversations, which tools/conformance.sh gives one.
}
