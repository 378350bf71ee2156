package agents

import (
	"os"
	"strings"
)

// What of a folder goes into a turn: so much of each file, and of all together, in
// bytes. The first is the original's limit.
const (
	promptFileMax = 20_000
	promptMax     = 60_000
)

// promptFiles are the files that every turn is told. HEARTBEAT.md is for heartbeats,
// and the memory for conversations with the owner alone.
var promptFiles = [...]string{"AGENTS.md", "SOUL.md", "TOOLS.md", identityFile, "USER.md", "BOOTSTRAP.md"}

// Prompt is what an agent's folder tells the model, each file under its name; empty
// when there is nothing. Files that may not be read are left out. memory adds the
// memory, which may hold what is not for everybody whom the agent talks to.
func (r *Registry) Prompt(id string, memory bool) string {
	a, root, err := r.folder(id)
	if err != nil || root == nil {
		return ""
	}
	defer root.Close()
	names := promptFiles[:]
	if memory {
		names = append(append([]string{}, names...), memoryOf(root, a.Workspace))
	}
	var b strings.Builder
	for _, name := range names {
		f, err := read(root, a.Workspace, name)
		text := strings.TrimSpace(f.Content)
		room := min(promptFileMax, promptMax-b.Len())
		if err != nil || text == "" || room <= 0 {
			continue
		}
		if b.Len() == 0 {
			b.WriteString("These files of your folder tell how you work, who you are and for whom:")
		}
		b.WriteString("\n\n## " + name + "\n\n" + cut(text, room))
	}
	return b.String()
}

// memoryOf is the name under which a folder keeps its memory.
func memoryOf(root *os.Root, dir string) string {
	if look(root, dir, memoryFile).Missing && !look(root, dir, memoryLower).Missing {
		return memoryLower
	}
	return memoryFile
}

// cut shortens a text to n bytes at the end of a character, and says so.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "") + "\n[cut here: the file is longer]"
}
