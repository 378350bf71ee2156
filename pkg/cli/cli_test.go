package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/wire"
)

func TestReorder(t *testing.T) {
	app := New(Config{Getenv: func(string) string { return "" }}).root
	for in, want := range map[string]string{
		"":                                 "",
		"health --json":                    "health --json",
		"call health --json":               "call --json health",
		"call health --params {} --json":   "call --params {} --json health",
		"call --params={} health --url x":  "call --params={} --url x health",
		"--url x call health":              "--url x call health",
		"--url call call health -p 1":      "--url call call -p 1 health",
		"agent two words -m x":             "agent -m x two words",
		"agent -- --not-a-flag":            "agent -- --not-a-flag",
		"agent --json -- -x --url":         "agent --json -- -x --url",
		"schema print X --json":            "schema print --json X",
		"schema --help":                    "schema --help",
		"unknown --flag x":                 "unknown --flag x",
		"call - --json":                    "call --json -",
		"events --filter a --count 2 more": "events --filter a --count 2 more",
	} {
		args := append([]string{"coderclaw"}, strings.Fields(in)...)
		got, err := reorder(app, args)
		require.NoError(t, err)
		require.Equal(t, want, strings.Join(got[1:], " "), "args %q", in)
	}
	completion := []string{"coderclaw", "call", "x", "--json", completionFlag}
	got, err := reorder(app, completion)
	require.NoError(t, err)
	require.Equal(t, completion, got, "completion sees what was typed")
}

func TestAnswerPrintsWhatIsNew(t *testing.T) {
	assistant := func(run, text string) client.Event {
		return client.Event{Name: "agent", Payload: []byte(`{"runId":"` + run + `","seq":1,"stream":"assistant","ts":1,"data":{"text":"` + text + `","delta":"ignored"}}`)}
	}
	for _, tc := range []struct {
		name string
		do   func(w *answer)
		want string
	}{
		{"cumulative text", func(w *answer) {
			w.event(assistant("r", "one"))
			w.event(assistant("r", "one two"))
			w.done("one two three")
		}, "one two three\n"},
		{"an event that was lost, and one that came twice", func(w *answer) {
			w.event(assistant("r", "one"))
			w.event(assistant("r", "one two three"))
			w.event(assistant("r", "one two"))
			w.done("one two three")
		}, "one two three\n"},
		{"text after a tool begins anew", func(w *answer) {
			w.event(assistant("r", "I look it up."))
			w.event(assistant("r", "It"))
			w.done("It is 5.")
		}, "I look it up.\n\nIt is 5.\n"},
		{"no events at all", func(w *answer) { w.done("whole") }, "whole\n"},
		{"a final text that ends its line", func(w *answer) { w.done("whole\n") }, "whole\n"},
		{"another run's text", func(w *answer) { w.event(assistant("other", "no")); w.done("yes") }, "yes\n"},
		{"an event after the end", func(w *answer) { w.done("a"); w.event(assistant("r", "a b")) }, "a\n"},
		{"nothing", func(w *answer) { w.done("") }, ""},
		{"escape sequences stay harmless", func(w *answer) { w.update("a\x1b[2Jb\tc\nd\u009b") }, "a\ufffd[2Jb\tc\nd\ufffd"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			tc.do(&answer{out: &printer{out: &out}, runID: "r"})
			require.Equal(t, tc.want, out.String())
		})
	}
}

func TestParseTimeout(t *testing.T) {
	for text, want := range map[string]time.Duration{"30": 30 * time.Second, " 5m ": 5 * time.Minute, "0": 0, "1.5s": 1500 * time.Millisecond} {
		got, err := parseTimeout(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "soon", "-3s", "-3", "99999999999"} {
		_, err := parseTimeout(text)
		require.Error(t, err, text)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"health", "history", "sessions", "chat", "call"}
	for typed, want := range map[string]string{"helth": "health", "sesions": "sessions", "cat": "chat", "cal": "call", "nope": "", "x": "", "status": ""} {
		require.Equal(t, want, nearest(names, typed), typed)
	}
}

func TestWordsForTimes(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "just now", 4 * time.Second: "just now", 59 * time.Second: "59s ago", 90 * time.Second: "1m ago",
		119 * time.Minute: "1h ago", 47 * time.Hour: "47h ago", 72 * time.Hour: "3d ago", -time.Hour: "just now",
	} {
		require.Equal(t, want, age(d), d.String())
	}
	for d, want := range map[time.Duration]string{
		45 * time.Second: "45s", 12*time.Minute + 30*time.Second: "12m", 200 * time.Minute: "3h 20m", 122 * time.Hour: "5d 2h",
	} {
		require.Equal(t, want, span(d), d.String())
	}
	require.Equal(t, "never", ago(0))
}

func TestTableIsSafeAndAligned(t *testing.T) {
	var out bytes.Buffer
	p := &printer{out: &out}
	require.NoError(t, p.table([]string{"A", "B"}, [][]string{{"one\x1b[31m\n", ""}, {"2", "x"}}))
	require.Equal(t, "A          B\none [31m   -\n2          x\n", out.String())
	require.Equal(t, "ab…", shorten("abcd", 3))
	require.Equal(t, "äöü", shorten("äöü", 3))
}

func TestReadableLine(t *testing.T) {
	got := readableLine(`{"time":"2026-11-22T13:31:53.854Z","level":"WARN","1":"text k=v","msg":"text"}`)
	require.Regexp(t, `^2026-11-2\d \d\d:\d\d:53\.854 WARN  text k=v$`, got)
	for _, line := range []string{"plain text", "{broken", `{"other":1}`} {
		require.Equal(t, line, readableLine(line))
	}
}

func TestGatewayOptions(t *testing.T) {
	var got GatewayOptions
	var out, errOut bytes.Buffer
	app := New(Config{
		Stdout: &out, Stderr: &errOut, Version: "1.2.3",
		Getenv: func(name string) string { return map[string]string{"HOME": "/home/x", "OTHER": "kept"}[name] },
		Gateway: func(_ context.Context, o GatewayOptions) error {
			got = o
			o.Ready("ws://127.0.0.1:7", "/state/gateway.token")
			return nil
		},
	})
	code := app.Run(t.Context(), []string{"coderclaw", "--state-dir", "/state", "gateway", "--port", "0", "--bind", "lan", "--token", "secret", "--config", "/conf.json", "--verbose"})
	require.Zero(t, code, errOut.String())
	port, bind, token := 0, "lan", "secret"
	require.Equal(t, settings.Flags{Port: &port, Bind: &bind, Token: &token}, got.Flags)
	require.Equal(t, "/state", got.StateDir)
	require.Equal(t, "/conf.json", got.ConfigPath)
	require.Equal(t, slog.LevelDebug, got.Level)
	require.Equal(t, "1.2.3", got.Version)
	require.Equal(t, "kept", got.Getenv("OTHER"))
	require.Empty(t, out.String(), "a log collector reads standard output")
	require.Equal(t, `what follows --token can be read by every user of this machine while the gateway runs; the config, the environment and files of your own cannot
coderclaw gateway listens on ws://127.0.0.1:7
the secret for other machines and clients is in /state/gateway.token
talk to it from another terminal: coderclaw --state-dir /state --token SECRET agent --message "hello"
`, errOut.String())
}

func TestGatewayTakesAPasswordFromAFile(t *testing.T) {
	var got GatewayOptions
	var errOut bytes.Buffer
	app := New(Config{
		Stdin: strings.NewReader("from standard input\n"), Stdout: io.Discard, Stderr: &errOut,
		Getenv: func(name string) string { return map[string]string{"HOME": "/home/x"}[name] },
		Gateway: func(_ context.Context, o GatewayOptions) error {
			got = o
			o.Ready("ws://127.0.0.1:7", "")
			return nil
		},
	})
	require.Zero(t, app.Run(t.Context(), []string{"coderclaw", "gateway", "--auth", "password", "--password-file", "-"}))
	password, mode := "from standard input", "password"
	require.Equal(t, settings.Flags{Password: &password, AuthMode: &mode}, got.Flags)
	require.Equal(t, `coderclaw gateway listens on ws://127.0.0.1:7
talk to it from another terminal: coderclaw --password-file FILE agent --message "hello"
`, errOut.String(), "nothing to warn of")
}

func TestGatewayWithoutFlagsLeavesEverythingToTheConfig(t *testing.T) {
	var got GatewayOptions
	app := New(Config{
		Stdout: io.Discard, Stderr: io.Discard,
		Getenv:  func(name string) string { return map[string]string{"HOME": "/home/x"}[name] },
		Gateway: func(_ context.Context, o GatewayOptions) error { got = o; return nil },
	})
	require.Zero(t, app.Run(t.Context(), []string{"coderclaw", "gateway"}))
	require.Equal(t, settings.Flags{}, got.Flags)
	require.Equal(t, "/home/x/.coderclaw", got.StateDir)
	require.Equal(t, "/home/x/.coderclaw/coderclaw.json", got.ConfigPath)
}

// What cannot be brought about without a network is described from its error.
func TestDescribe(t *testing.T) {
	remote := target{url: "wss://gw.example.com"}
	for _, tc := range []struct {
		name string
		err  error
		want failure
	}{
		{"unknown host", remote.wrap(fmt.Errorf("dial: %w", &net.DNSError{Name: "gw.example.com", IsNotFound: true})),
			failure{Exit: 3, Message: `there is no host "gw.example.com"`, Hint: "check --url"}},
		{"silence", remote.wrap(fmt.Errorf("handshake: %w", context.DeadlineExceeded)),
			failure{Exit: 3, Message: "no answer from wss://gw.example.com", Hint: "something listens there, but not a gateway, or it is out of reach: check --url"}},
		{"hang-up", remote.wrap(&client.CloseError{Code: 1006, Err: io.EOF}),
			failure{Exit: 3, Message: "wss://gw.example.com hung up during the handshake", Hint: "check that a gateway runs there, and that ws:// or wss:// is right"}},
		{"lost later", &client.CloseError{Code: 1008, Reason: "slow consumer"},
			failure{Exit: 3, Message: "gateway closed the connection (1008): slow consumer"}},
		{"a scope is missing", &wire.Error{Code: protocol.ErrorInvalidRequest, Message: "missing scope: operator.admin", Details: []byte(`{"code":"MISSING_SCOPE"}`)},
			failure{Exit: 4, Message: "missing scope: operator.admin", Code: "INVALID_REQUEST", Details: []byte(`{"code":"MISSING_SCOPE"}`)}},
		{"refused", wire.Errorf(protocol.ErrorUnavailable, "later"), failure{Exit: 1, Message: "later", Code: "UNAVAILABLE"}},
		{"too slow", fmt.Errorf("call: %w", context.DeadlineExceeded),
			failure{Exit: 1, Message: "no answer in time", Hint: "give it longer with --timeout, or look at: coderclaw logs"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := describe(tc.err)
			if tc.want.Hint == "" {
				got.Hint = "" // the catalogue's
			}
			require.Equal(t, tc.want, failure{Exit: got.Exit, Message: got.Message, Hint: got.Hint, Code: got.Code, Details: got.Details})
		})
	}
}
