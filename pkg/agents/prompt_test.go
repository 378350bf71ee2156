package agents

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPrompt(t *testing.T) {
	h := newHome(t)
	dir := h.path("state", "workspace")
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	require.Empty(t, h.Prompt("main", true), "an empty folder says nothing")
	require.Empty(t, h.Prompt("nobody", true))

	write("SOUL.md", "\nBe brief.\n")
	write("AGENTS.md", " \n")
	write("HEARTBEAT.md", "Water the plants.")
	write(memoryLower, "The kettle is blue.")
	require.NoError(t, os.Symlink("/etc/hostname", filepath.Join(dir, "USER.md")))
	const head = "These files of your folder tell how you work, who you are and for whom:\n\n"
	require.Equal(t, head+"## SOUL.md\n\nBe brief.", h.Prompt("MAIN", false))
	require.Equal(t, head+"## SOUL.md\n\nBe brief.\n\n## memory.md\n\nThe kettle is blue.", h.Prompt("main", true))

	for _, name := range []string{"AGENTS.md", "SOUL.md", "TOOLS.md", "IDENTITY.md"} {
		write(name, strings.Repeat("\u00e9", promptFileMax))
	}
	long := h.Prompt("main", true)
	require.Less(t, len(long), promptMax+1000)
	require.Equal(t, 3, strings.Count(long, "[cut here: the file is longer]"))
	require.NotContains(t, long, "\uFFFD")

	require.NoError(t, os.RemoveAll(dir))
	require.Empty(t, h.Prompt("main", true))
}
