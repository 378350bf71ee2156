package turn

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task"
)

// unpack writes a database of an earlier version as a state directory's.
func unpack(t *testing.T, name string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	packed, err := os.Open(name)
	require.NoError(t, err)
	defer packed.Close()
	text, err := gzip.NewReader(packed)
	require.NoError(t, err)
	out, err := os.OpenFile(filepath.Join(dir, store.FileName), os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	_, err = io.Copy(out, text)
	require.NoError(t, err)
	require.NoError(t, out.Close())
	return dir
}

// testdata/v1.db.gz was left by a gateway of schema version 1 that was killed with
// four ended runs, one under way, one in line and a command that nobody had released.
// After the upgrade what was accepted runs, with all that was asked, and every key
// answers as before.
func TestUpgradeFromVersion1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := unpack(t, "testdata/v1.db.gz")
		var turns []agent.Turn
		g := openRig(t, dir, watching(&turns))
		stop := g.live()
		defer stop()
		want := map[string]struct {
			state  State
			status task.Status
		}{
			"final": {StateFinal, task.Completed}, "chat": {StateFinal, task.Completed}, "failed": {StateError, task.Failed},
			"aborted": {StateAborted, task.Cancelled}, "hanging": {StateFinal, task.Completed}, "queued": {StateFinal, task.Completed},
			"command": {StateFinal, task.Completed},
		}
		asked := map[string]Request{
			"final": ask("final", "hi", byAgent), "chat": ask("chat", "hi"), "failed": ask("failed", "fail"), "aborted": ask("aborted", "hang"),
			"hanging": ask("hanging", "hang"), "queued": ask("queued", "and then"), "command": ask("command", "/help", in("other")),
		}
		for key, w := range want {
			require.Equal(t, w.state, g.waited(key), key)
			ended, err := g.engine.ByRunID(t.Context(), key)
			require.NoError(t, err)
			require.Equal(t, w.status, ended.Status, key)
			require.NotEmpty(t, g.steps(ended.ID), "its history links")
			run, replayed, err := g.Start(t.Context(), asked[key])
			require.NoError(t, err, key)
			require.True(t, replayed, key)
			require.Equal(t, w.state, g.finish(run).State)
			require.True(t, g.remembers(asked[key]))
		}
		out, ok := g.Wait(t.Context(), "final")
		require.True(t, ok)
		require.Equal(t, []string{"fine", "stop", "m"}, []string{out.Text, out.StopReason, out.Model})
		require.Equal(t, agent.Usage{Input: 1, Output: 2, Total: 3}, out.Usage)
		out, _ = g.Wait(t.Context(), "failed")
		require.Equal(t, "HTTP 401: mock invalid api key", out.Error)

		require.Len(t, turns, 2)
		first := turns[0]
		require.Equal(t, []string{"hanging", "high", "main"}, []string{first.RunID, first.Thinking, first.AgentID})
		require.Contains(t, first.System, "Be brief.")
		last := first.Messages[len(first.Messages)-1]
		require.Equal(t, agent.Message{Role: "user", Text: "hang", Images: []agent.Image{{MimeType: "image/png", Data: []byte("png")}}}, last)
		list, _, err := g.engine.List(t.Context(), task.Filter{}, task.Page{OldestFirst: true})
		require.NoError(t, err)
		require.Len(t, list, 7)
		s, err := g.engine.Stats(t.Context())
		require.NoError(t, err)
		require.Equal(t, map[task.Status]int{task.Completed: 5, task.Failed: 1, task.Cancelled: 1}, s.ByStatus)
		g.finish(g.start(ask("new", "hi")))
	})
}
