package logs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/internal/logfile"
	"github.com/coderclaw/gateway/pkg/wire"
)

// newService serves a file with this content.
func newService(t *testing.T, content string) (*Service, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "logs", "gateway.log")
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return New(Config{Path: path}), path
}

func tail(t *testing.T, s *Service, params protocol.LogsTailParams) protocol.LogsTailResult {
	t.Helper()
	result, err := s.LogsTail(t.Context(), &wire.Peer{}, params)
	require.NoError(t, err)
	require.NoError(t, protocol.Validate("LogsTailResult", result.AppendJSON(nil)))
	return result
}

// numbered is n lines of 5 bytes each: "0000\n" and so on.
func numbered(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, "%04d\n", i)
	}
	return s.String()
}

func TestLogsTail(t *testing.T) {
	some := wire.Some[int64]
	cases := []struct {
		name      string
		content   string
		params    protocol.LogsTailParams
		lines     []string
		cursor    int64
		truncated bool
		reset     bool
	}{
		{name: "an empty file", lines: []string{}},
		{name: "the whole of a small one", content: "a\nb\n", lines: []string{"a", "b"}, cursor: 4},
		{name: "empty lines count", content: "a\n\nb\n", lines: []string{"a", "", "b"}, cursor: 5},
		{name: "the last lines", content: numbered(9), params: protocol.LogsTailParams{Limit: some(2)}, lines: []string{"0007", "0008"}, cursor: 45},
		{name: "since a cursor", content: numbered(9), params: protocol.LogsTailParams{Cursor: some(35)}, lines: []string{"0007", "0008"}, cursor: 45},
		{name: "cursor zero is the beginning", content: numbered(3), params: protocol.LogsTailParams{Cursor: some(0)}, lines: []string{"0000", "0001", "0002"}, cursor: 15},
		{name: "nothing new", content: numbered(9), params: protocol.LogsTailParams{Cursor: some(45)}, lines: []string{}, cursor: 45},
		{name: "a cursor in mid-line", content: numbered(9), params: protocol.LogsTailParams{Cursor: some(37)}, lines: []string{"0008"}, cursor: 45},
		{name: "a cursor at the end of a line but for its \\n", content: numbered(9), params: protocol.LogsTailParams{Cursor: some(39)}, lines: []string{"0008"}, cursor: 45},
		{name: "a cursor beyond the end", content: numbered(3), params: protocol.LogsTailParams{Cursor: some(16)}, lines: []string{"0000", "0001", "0002"}, cursor: 15, reset: true},
		{name: "a cursor beyond the end of a large file", content: numbered(9), params: protocol.LogsTailParams{Cursor: some(99), MaxBytes: some(12)}, lines: []string{"0007", "0008"}, cursor: 45, reset: true, truncated: true},
		{name: "more than maxBytes behind", content: numbered(9), params: protocol.LogsTailParams{Cursor: some(5), MaxBytes: some(12)}, lines: []string{"0007", "0008"}, cursor: 45, reset: true, truncated: true},
		{name: "exactly maxBytes behind", content: numbered(9), params: protocol.LogsTailParams{Cursor: some(35), MaxBytes: some(10)}, lines: []string{"0007", "0008"}, cursor: 45},
		{name: "maxBytes without a cursor", content: numbered(9), params: protocol.LogsTailParams{MaxBytes: some(10)}, lines: []string{"0007", "0008"}, cursor: 45, truncated: true},
		{name: "default limit", content: numbered(501), lines: strings.Fields(numbered(501))[1:], cursor: 2505},
		{name: "default maxBytes", content: strings.Repeat(strings.Repeat("x", 99_999)+"\n", 4), lines: []string{strings.Repeat("x", 99_999), strings.Repeat("x", 99_999)}, cursor: 400_000, truncated: true},
		{name: "values beyond the caps", content: numbered(5001), params: protocol.LogsTailParams{Limit: some(1 << 40), MaxBytes: some(1 << 40)}, lines: strings.Fields(numbered(5001))[1:], cursor: 25_005},
		{name: "a line that is still being written", content: "a\nhal", lines: []string{"a"}, cursor: 2},
		{name: "only a line that is being written", content: "hal", lines: []string{}, cursor: 0},
		{name: "a line longer than maxBytes", content: "a\n" + strings.Repeat("x", 50) + "\n", params: protocol.LogsTailParams{MaxBytes: some(10)}, lines: []string{}, cursor: 53, truncated: true},
		{name: "a line longer than maxBytes being written", content: "a\n" + strings.Repeat("x", 50), params: protocol.LogsTailParams{MaxBytes: some(10)}, lines: []string{}, cursor: 52, truncated: true},
		{name: "characters and other bytes", content: "é\xff\x00\"\n", lines: []string{"é\uFFFD\x00\""}, cursor: 6},
		{name: "maxBytes cuts a character", content: "ab\néé\nz\n", params: protocol.LogsTailParams{MaxBytes: some(6)}, lines: []string{"z"}, cursor: 10, truncated: true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s, path := newService(t, c.content)
			result := tail(t, s, c.params)
			require.Equal(t, protocol.LogsTailResult{
				File: path, Cursor: c.cursor, Size: int64(len(c.content)), Lines: c.lines,
				Truncated: wire.Some(c.truncated), Reset: wire.Some(c.reset),
			}, result)
		})
	}
}

func TestLogsTailFollows(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	log, closer, path, err := logfile.New(logfile.Config{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, closer.Close()) })
	s := New(Config{Path: path})
	result := tail(t, s, protocol.LogsTailParams{})
	require.Empty(t, result.Lines)
	for i := range 3 {
		log.Info("client connected", "n", i, "token", "hunter2")
		result = tail(t, s, protocol.LogsTailParams{Cursor: wire.Some(result.Cursor)})
		require.Len(t, result.Lines, 1)
		require.Contains(t, result.Lines[0], fmt.Sprintf(`"n":%d`, i))
		require.NotContains(t, result.Lines[0], "hunter2")
		require.False(t, result.Reset.V)
	}

	// After a rotation the file is a new, smaller one.
	require.NoError(t, os.Truncate(path, 0))
	log.Info("new file")
	result = tail(t, s, protocol.LogsTailParams{Cursor: wire.Some(result.Cursor)})
	require.True(t, result.Reset.V)
	require.Len(t, result.Lines, 1)
}

func TestLogsTailTornLineComesWhole(t *testing.T) {
	s, path := newService(t, "a\nhal")
	first := tail(t, s, protocol.LogsTailParams{})
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString("f a line\n")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.Equal(t, []string{"half a line"}, tail(t, s, protocol.LogsTailParams{Cursor: wire.Some(first.Cursor)}).Lines)
}

func TestLogsTailWithoutFile(t *testing.T) {
	for _, path := range []string{"missing.log", filepath.Join("missing", "gateway.log")} {
		s := New(Config{Path: filepath.Join(t.TempDir(), path)})
		result := tail(t, s, protocol.LogsTailParams{Cursor: wire.Some[int64](10)})
		require.Zero(t, result.Cursor)
		require.Empty(t, result.Lines)
		require.False(t, result.Reset.V)
	}
}

func TestLogsTailReadsNothingElse(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	require.NoError(t, os.WriteFile(outside, []byte("treasure\n"), 0o600))
	logs := filepath.Join(dir, "logs")
	require.NoError(t, os.Mkdir(logs, 0o700))
	require.NoError(t, os.Symlink(outside, filepath.Join(logs, "gateway.log")))
	require.NoError(t, os.Mkdir(filepath.Join(logs, "folder"), 0o700))
	for _, name := range []string{"gateway.log", "folder"} {
		_, err := New(Config{Path: filepath.Join(logs, name)}).LogsTail(t.Context(), &wire.Peer{}, protocol.LogsTailParams{})
		var refusal *wire.Error
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, protocol.ErrorUnavailable, refusal.Code)
		require.Equal(t, "log read failed: "+name+" is no regular file", refusal.Message)
	}
}
