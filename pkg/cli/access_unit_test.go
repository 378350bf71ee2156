package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

func TestFindID(t *testing.T) {
	ids := []string{"aaaa1111", "aaaa2222", "bbbb1111", "bbbb"}
	for _, tc := range []struct {
		name, prefix string
		want         int
		err          string
	}{
		{"a whole id", "aaaa2222", 1, ""},
		{"a part that one thing bears", "aaaa1", 0, ""},
		{"in capitals and with space around it", " AAAA1 ", 0, ""},
		{"a whole id that is the beginning of another", "bbbb", 3, ""},
		{"the beginning of two", "aaaa", 0, `"aaaa" is more than one device: aaaa1111 and aaaa2222; give more of the id`},
		{"too short, though it is clear", "bbb", 0, `"bbb" is too short for a device: give at least 4 characters of its id`},
		{"nothing", "", 0, `"" is too short for a device: give at least 4 characters of its id`},
		{"unknown", "cccc", -1, ""},
		{"unknown and short", "c", -1, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := findID(ids, tc.prefix, "device")
			if tc.err != "" {
				require.EqualError(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}

func TestConfirmTakesNothingForYes(t *testing.T) {
	for in, want := range map[string]bool{"y\n": true, "Yes\n": true, "\n": false, "": false, "n\n": false, "yep\n": false, "no\ny\n": false} {
		var errOut bytes.Buffer
		a := New(Config{Stdin: strings.NewReader(in), Stderr: &errOut, Getenv: func(string) string { return "" }})
		require.Equal(t, want, a.confirm("remove %s?", "desk\x1b[2J"), "%q", in)
		require.Equal(t, "remove desk [2J? [y/N] ", errOut.String(), "a device's name moves no cursor")
	}
}

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.Local)
	for text, want := range map[string]time.Time{
		"30m": now.Add(-30 * time.Minute), "7d": now.AddDate(0, 0, -7), "0d": now,
		"2026-03-01": time.Date(2026, 3, 1, 0, 0, 0, 0, time.Local), "2026-03-01T09:00:00Z": time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC),
	} {
		got, err := parseSince(text, now)
		require.NoError(t, err, text)
		require.True(t, want.Equal(got), "%s: got %s, want %s", text, got, want)
	}
	for _, text := range []string{"-5m", "-3d", "7 d", "1.5d", "d", "soon", "2026-13-01"} {
		_, err := parseSince(text, now)
		require.Error(t, err, text)
	}
}

func TestFingerprintGivesNoSecretAway(t *testing.T) {
	require.Equal(t, "9f9f5111", fingerprint("0123456789abcdef"), "the first digits of its SHA-256")
	require.Equal(t, "not shown: shorter than 16 characters", fingerprint("0123456789abcde"), "it could be found by guessing")
}

func TestRemedy(t *testing.T) {
	explained, ok := protocol.FindError(protocol.DetailHostNotAllowed)
	require.True(t, ok)
	file := secretFact{From: "/s/gateway.token", Gateway: true, text: "right"}
	for _, tc := range []struct {
		name  string
		facts authFacts
		fix   string
	}{
		{"no gateway", authFacts{Local: true, StateDir: "/a b"}, "coderclaw gateway --state-dir '/a b'"},
		{"no gateway and none will start", authFacts{Local: true, StateDir: "/s", ConfigError: "x"}, "coderclaw doctor --state-dir /s"},
		{"accepted", authFacts{Connect: connectFact{Tried: true, OK: true}}, ""},
		{"waits for approval", authFacts{Connect: connectFact{Tried: true, Code: protocol.DetailPairingRequired, requestID: "r1"}}, "coderclaw devices approve r1"},
		{"a stale secret in the environment", authFacts{
			Secrets: []secretFact{{From: envToken, Sent: true, text: "stale"}, file},
			Connect: connectFact{Tried: true, Code: protocol.DetailAuthTokenMismatch},
		}, "unset CODERCLAW_GATEWAY_TOKEN"},
		{"a wrong one on the command line", authFacts{
			StateDir: "/s", Secrets: []secretFact{{From: "--token", Sent: true, text: "stale"}, file},
			Connect: connectFact{Tried: true, Code: protocol.DetailAuthDeviceTokenMismatch},
		}, "coderclaw --state-dir /s status"},
		{"the gateway was given another one", authFacts{
			StateDir: "/s", PID: 7, Secrets: []secretFact{{From: "/s/gateway.token", Sent: true, Gateway: true, text: "right"}},
			Connect: connectFact{Tried: true, Code: protocol.DetailAuthTokenMismatch},
		}, "kill -INT 7 && coderclaw gateway --state-dir /s"},
		{"nothing to send elsewhere", authFacts{
			URL: "wss://host", Connect: connectFact{Tried: true, Code: protocol.DetailAuthTokenMissing},
		}, "coderclaw --url wss://host --token SECRET status"},
		{"anything else is as the catalogue says", authFacts{
			Connect: connectFact{Tried: true, Code: protocol.DetailHostNotAllowed, Explained: &explained},
		}, commandIn(explained.Fix)},
		{"no connection", authFacts{Connect: connectFact{Tried: true, Answer: "no answer", hint: "check --url"}}, "check --url"},
	} {
		t.Run(tc.name, func(t *testing.T) { require.Equal(t, tc.fix, tc.facts.remedy().Fix) })
	}
}

func TestQuoted(t *testing.T) {
	for in, want := range map[string]string{"/plain/path-1.x": "/plain/path-1.x", "a b": "'a b'", "it's": `'it'\''s'`, "": "''", "$(x)": "'$(x)'", "~/x": "'~/x'"} {
		require.Equal(t, want, quoted(in))
	}
}

func TestTokensLine(t *testing.T) {
	now := time.Now().UnixMilli()
	require.Equal(t, "used 1h ago, revoked just now, unused", tokensLine([]protocol.DeviceToken{
		{LastUsedAtMs: wire.Some(now - 3_700_000)},
		{LastUsedAtMs: wire.Some(now - 3_700_000), RevokedAtMs: wire.Some(now)},
		{},
	}))
}

func TestWeakness(t *testing.T) {
	require.Equal(t, "", weakness("0123456789abcdef"))
	require.Equal(t, "is shorter than 16 characters", weakness("0123456789abcde"))
	require.Equal(t, "repeats a few characters", weakness(strings.Repeat("ab", 20)))
}
