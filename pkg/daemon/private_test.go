package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent/agenttest"
)

// Everything below the state directory is the owner's alone, also where the umask would
// let anybody in, after conversations, a restart and a device's own files in it.
func TestFilesArePrivateWhateverTheUmask(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	model := agenttest.StartModel(t, agenttest.ModelOptions{})
	for range 2 {
		p := spawn(t, dir, model)
		v := p.visit(dir)
		v.terminal(v.say("main", "hello", fmt.Sprintf("key-%s", p.url)))
		_, err := v.SessionsReset(t.Context(), protocol.SessionsResetParams{Key: "main"})
		require.NoError(t, err)
		p.stop()
	}
	found := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		want := os.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		require.Equal(t, want, info.Mode().Perm(), path)
		found++
		return nil
	}))
	require.Greater(t, found, 5)
}
