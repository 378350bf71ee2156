package logfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const secret = "hunter2-hunter2-hunter2"

type valuer struct{}

func (valuer) LogValue() slog.Value {
	return slog.GroupValue(slog.String("token", secret), slog.Int("n", 1))
}

type config struct {
	Port  int
	Token string
	Inner map[string]string
}

type name string

func (n *name) String() string { return string(*n) }

// newLog returns a logger over a file and what it writes to stdout.
func newLog(t *testing.T, tty bool, level slog.Leveler) (*slog.Logger, *bytes.Buffer, string) {
	t.Helper()
	var stdout bytes.Buffer
	log, closer, path, err := New(Config{Dir: filepath.Join(t.TempDir(), "logs"), Stdout: &stdout, TTY: tty, Level: level})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, closer.Close()) })
	return log, &stdout, path
}

func readLines(t *testing.T, path string) []string {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	return strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
}

func TestFileLine(t *testing.T) {
	log, stdout, path := newLog(t, false, nil)
	log.With("connId", "c1").WithGroup("client").Info("client connected", "id", "cli", "n", 2)
	log.Debug("not at this level")
	lines := readLines(t, path)
	require.Len(t, lines, 1)
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &got))
	require.Equal(t, `{"subsystem":"gateway"}`, got["0"])
	require.Equal(t, "client connected connId=c1 client.id=cli client.n=2", got["1"])
	require.Equal(t, "INFO", got["level"])
	require.Equal(t, "client connected", got["msg"])
	require.Equal(t, "c1", got["connId"])
	require.Equal(t, map[string]any{"id": "cli", "n": 2.0}, got["client"])
	meta := got["_meta"].(map[string]any)
	require.Equal(t, "INFO", meta["logLevelName"])
	require.Equal(t, `{"subsystem":"gateway"}`, meta["name"])
	require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`, meta["date"])
	require.NotEmpty(t, got["time"])

	var out map[string]any
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &out), "stdout that nobody reads gets plain JSON lines")
	require.Equal(t, "client connected", out["msg"])
	require.NotContains(t, out, "_meta")
}

func TestTerminalLine(t *testing.T) {
	log, stdout, _ := newLog(t, true, slog.LevelDebug)
	log.Warn("slow consumer", "connId", "c 1")
	log.Debug("plain")
	log.Error("two\nlines \x1b[31m", "text", "a\nb")
	lines := strings.Split(stdout.String(), "\n")
	require.Len(t, lines, 4, "one line for each record, and the end")
	require.Regexp(t, regexp.MustCompile(`^\d\d:\d\d:\d\d WARN  slow consumer  connId="c 1"$`), lines[0])
	require.Regexp(t, regexp.MustCompile(`^\d\d:\d\d:\d\d DEBUG plain$`), lines[1])
	require.Regexp(t, regexp.MustCompile(`^\d\d:\d\d:\d\d ERROR "two\\nlines \\x1b\[31m"  text="a\\nb"$`), lines[2])
}

func TestLevels(t *testing.T) {
	log, _, path := newLog(t, true, slog.LevelDebug)
	log.Debug("d")
	log.Info("i")
	log.Warn("w")
	log.Error("e")
	var names []string
	for _, line := range readLines(t, path) {
		var got struct {
			Meta tailMeta `json:"_meta"`
		}
		require.NoError(t, json.Unmarshal([]byte(line), &got))
		names = append(names, got.Meta.LogLevelName)
	}
	require.Equal(t, []string{"DEBUG", "INFO", "WARN", "ERROR"}, names)
}

func TestRedaction(t *testing.T) {
	var nobody *name
	cases := []struct {
		name  string
		attrs []any
		keeps string
	}{
		{"by name", []any{"token", secret}, "token"},
		{"by the end of a name", []any{"deviceToken", secret, "X-Api-Key", secret, "private_key", secret}, "deviceToken"},
		{"every kind of value", []any{"password", []byte(secret), "secret", struct{ A string }{secret}, "cookie", errors.New(secret)}, "password"},
		{"authorization and signature", []any{"authorization", "Bearer " + secret, "signature", secret}, "signature"},
		{"a group", []any{slog.Group("auth", "token", secret, "mode", "shared")}, "shared"},
		{"a group with a secret name", []any{slog.Group("credentials", "user", "me", "value", secret)}, "credentials.user"},
		{"a LogValuer", []any{"connect", valuer{}}, "connect.n=1"},
		{"a struct", []any{"config", config{Port: 18789, Token: secret, Inner: map[string]string{"password": secret}}}, "18789"},
		{"a header", []any{"header", http.Header{"Authorization": {secret}, "Accept": {"text/plain"}}}, "text/plain"},
		{"raw JSON", []any{"params", json.RawMessage(`{"auth":{"token":"` + secret + `"},"role":"operator"}`)}, "operator"},
		{"a text with a bearer token", []any{"line", "GET / Authorization: Bearer " + secret}, "GET / Authorization: Bearer [redacted]"},
		{"a text with a query", []any{"url", "ws://h/?token=" + secret + "&x=1"}, "ws://h/?token=[redacted]&x=1"},
		{"a URL with a password", []any{"url", "http://me:" + secret + "@host/"}, "http://me:[redacted]@host/"},
		{"a text with JSON", []any{"body", `{"password": "` + secret + `"}`}, "body"},
		{"an error", []any{"error", errors.New("dial http://h?key=" + secret)}, "dial http://h?key=[redacted]"},
		{"a key of OpenAI", []any{"error", "bad key sk-" + secret}, "bad key [redacted]"},
		{"numbers of tokens stay", []any{"contextTokens", 4096, "tokens", 12}, "4096"},
		{"whether there is a token stays", []any{"hasToken", true, "token", ""}, "hasToken=true"},
		{"keys that are no secrets stay", []any{"sessionKey", "agent:main:main", "publicKey", "pk"}, "agent:main:main"},
		{"a nil Stringer", []any{"who", nobody}, "who="},
		{"what cannot be encoded", []any{"f", func() {}}, "func()"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			log, stdout, path := newLog(t, true, nil)
			log.Info("message", c.attrs...)
			log.With(c.attrs...).Info("bound")
			log.WithGroup("g").Info("grouped", c.attrs...)
			file := strings.Join(readLines(t, path), "\n")
			require.NotContains(t, stdout.String(), secret)
			require.NotContains(t, file, secret)
			require.Equal(t, 3, strings.Count(stdout.String(), c.keeps), stdout.String())
		})
	}
}

func TestRedactionOfMessageAndGroup(t *testing.T) {
	log, stdout, path := newLog(t, true, nil)
	log.Info("sent Bearer " + secret)
	log.WithGroup("token").Info("open group", "value", secret, "deep", slog.GroupValue(slog.String("x", secret)))
	require.NotContains(t, stdout.String(), secret)
	require.NotContains(t, strings.Join(readLines(t, path), ""), secret)
	require.Contains(t, stdout.String(), "sent Bearer [redacted]")
}

func TestLongTextIsCut(t *testing.T) {
	log, _, path := newLog(t, true, nil)
	log.Info("long", "text", strings.Repeat("é", textBytesMax))
	line := readLines(t, path)[0]
	require.Less(t, len(line), 3*textBytesMax)
	require.Contains(t, line, "bytes more]")
	require.True(t, json.Valid([]byte(line)))
}

func TestRotation(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	log, closer, path, err := open(Config{Dir: dir}, 1)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, FileName), path)
	text := strings.Repeat("x", textBytesMax)
	for range 8 * (1 << 20) / (2 * textBytesMax) { // a line holds the text twice
		log.Info("filling", "text", text)
	}
	require.NoError(t, closer.Close())
	require.NoError(t, closer.Close(), "closing twice is harmless")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1+backupsMax)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		require.LessOrEqual(t, info.Size(), int64(1<<20))
		require.Equal(t, os.FileMode(fileMode), info.Mode().Perm(), e.Name())
	}
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(dirMode), info.Mode().Perm())

	log.Info("after close")
	lines := readLines(t, path)
	require.Contains(t, lines[len(lines)-1], "after close")
}

func TestNewTellsWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, _, _, err := New(Config{Dir: filepath.Join(file, "logs")})
	require.ErrorContains(t, err, "make log directory")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "logs", FileName), 0o700))
	_, _, _, err = New(Config{Dir: filepath.Join(dir, "logs")})
	require.ErrorContains(t, err, "open log file")
}

func TestNewWithoutFile(t *testing.T) {
	var stdout bytes.Buffer
	log, closer, path, err := New(Config{Stdout: &stdout})
	require.NoError(t, err)
	require.Empty(t, path)
	log.Info("hello", "token", secret)
	require.NoError(t, closer.Close())
	require.Contains(t, stdout.String(), `"token":"[redacted]"`)
}
