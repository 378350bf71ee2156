package agents

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
)

func TestFilesOfAnEmptyFolder(t *testing.T) {
	h := newHome(t)
	a, files, err := h.Files("MAIN")
	require.NoError(t, err)
	require.Equal(t, "main", a.ID)
	var names []string
	for _, f := range files {
		require.True(t, f.Missing)
		require.Equal(t, filepath.Join(a.Workspace, f.Name), f.Path)
		names = append(names, f.Name)
	}
	require.Equal(t, []string{"AGENTS.md", "SOUL.md", "TOOLS.md", "IDENTITY.md", "USER.md", "HEARTBEAT.md", "BOOTSTRAP.md", "MEMORY.md"}, names)
	_, f, err := h.ReadFile("main", "SOUL.md")
	require.NoError(t, err)
	require.Equal(t, File{Name: "SOUL.md", Path: filepath.Join(a.Workspace, "SOUL.md"), Missing: true}, f)

	require.NoError(t, os.WriteFile(filepath.Join(a.Workspace, memoryLower), []byte("m"), 0o600))
	_, files, err = h.Files("main")
	require.NoError(t, err)
	require.Equal(t, memoryLower, files[len(files)-1].Name, "a folder that keeps its memory under the other name")
	require.False(t, files[len(files)-1].Missing)

	require.NoError(t, os.RemoveAll(a.Workspace))
	_, files, err = h.Files("main")
	require.NoError(t, err)
	require.Len(t, files, 8)
	_, f, err = h.ReadFile("main", "SOUL.md")
	require.NoError(t, err)
	require.True(t, f.Missing)
	_, _, err = h.WriteFile("main", "SOUL.md", "x", nil)
	refused(t, err, "is not there")
}

func TestWriteAndRead(t *testing.T) {
	h := newHome(t)
	none, stale := "", hashOf([]byte("older"))
	a, f, err := h.WriteFile("main", "SOUL.md", "Kind\n", &none)
	require.NoError(t, err)
	require.Equal(t, []any{"Kind\n", int64(5), hashOf([]byte("Kind\n")), false}, []any{f.Content, f.Size, f.Hash, f.Missing})
	require.NotZero(t, f.UpdatedMs)
	info, err := os.Stat(f.Path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	for _, base := range []*string{&none, &stale} {
		_, _, err = h.WriteFile("main", "SOUL.md", "Rude\n", base)
		require.ErrorIs(t, err, ErrFileChanged)
	}
	require.Contains(t, string(ErrFileChanged.Details), protocol.DetailFileChanged)
	_, again, err := h.ReadFile("main", "SOUL.md")
	require.NoError(t, err)
	require.Equal(t, f, again, "nothing was written")
	_, f, err = h.WriteFile("main", "SOUL.md", "Brief\n", &f.Hash)
	require.NoError(t, err)
	_, f, err = h.WriteFile("main", "SOUL.md", "", nil)
	require.NoError(t, err)
	require.Equal(t, hashOf(nil), f.Hash)
	require.False(t, f.Missing)
	entries, err := os.ReadDir(a.Workspace)
	require.NoError(t, err)
	require.Len(t, entries, 1, "no half-written file is left")
}

func TestFilesThatAreRefused(t *testing.T) {
	h := newHome(t)
	for _, name := range []string{"soul.md", "../gateway.db", "notes.md", "SOUL.md/", "/etc/passwd", ""} {
		_, _, err := h.ReadFile("main", name)
		refused(t, err, "unsupported file")
		_, _, err = h.WriteFile("main", name, "x", nil)
		refused(t, err, "unsupported file")
	}
	_, _, err := h.ReadFile("nobody", "SOUL.md")
	refused(t, err, "unknown agent id")
	_, _, err = h.WriteFile("nobody", "SOUL.md", "x", nil)
	refused(t, err, "unknown agent id")
	_, _, err = h.Files("nobody")
	refused(t, err, "unknown agent id")
	_, _, err = h.WriteFile("main", "SOUL.md", strings.Repeat("x", FileBytesMax+1), nil)
	refused(t, err, "shorten it")
	require.NoError(t, os.WriteFile(h.path("state", "workspace", "USER.md"), make([]byte, FileBytesMax+1), 0o600))
	_, _, err = h.ReadFile("main", "USER.md")
	refused(t, err, "larger than")
}

// An agent writes its folder, so what lies there may have been made to lead the
// gateway to a file outside.
func TestLinksAreNotFollowed(t *testing.T) {
	h := newHome(t)
	dir, secret := h.path("state", "workspace"), h.path("secret")
	require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o600))
	require.NoError(t, os.Symlink(secret, filepath.Join(dir, "SOUL.md")))
	require.NoError(t, os.Symlink("TOOLS.md", filepath.Join(dir, "AGENTS.md")))
	require.NoError(t, os.Link(secret, filepath.Join(dir, "USER.md")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "TOOLS.md"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "HEARTBEAT.md"), 0o700))
	_, files, err := h.Files("main")
	require.NoError(t, err)
	for _, f := range files {
		require.True(t, f.Missing, f.Name)
	}
	for _, name := range []string{"SOUL.md", "AGENTS.md", "USER.md", "TOOLS.md", "HEARTBEAT.md"} {
		_, f, err := h.ReadFile("main", name)
		refused(t, err, "unsafe file")
		require.Empty(t, f.Content)
		_, _, err = h.WriteFile("main", name, "mine", nil)
		refused(t, err, "unsafe file")
	}
	raw, err := os.ReadFile(secret)
	require.NoError(t, err)
	require.Equal(t, "secret", string(raw))
}
