package importer

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/session"
)

// recorded is what openclaw 2026.2.19 itself has written while it talked to a model
// that echoes, less what it says to its model on its own account.
const (
	recorded   = "testdata/recorded"
	recordedID = "5879e2df-8500-4d26-966a-971d7d4f1517"
)

// said is a message as a person reads it.
type said struct {
	Type, Role, Text string
	At               int64
}

func saidIn(t *testing.T, h *house, key string) (out []said) {
	list, err := h.sessions.History(key, 0)
	require.NoError(t, err)
	for _, m := range list {
		out = append(out, said{m.Type, m.Role, m.Text, m.Timestamp})
	}
	return out
}

func TestWhatTheOriginalWroteComesMessageByMessage(t *testing.T) {
	h := newHouse(t)
	before := tree(t, recorded)
	r := h.run(t, recorded, true)
	require.Empty(t, r.Problems)
	require.Zero(t, r.BrokenLines)
	require.Equal(t, 1, r.ToolMessages)
	require.Equal(t, []said{
		{"", "user", "Hello, who are you?", 1795375196068},
		{"", "assistant", "Echo 1: Hello, who are you?", 1795375196072},
		{"", "user", "Please usetool now", 1795375196336},
		{"", "assistant", "Let me look. ", 1795375196337},
		{"", "assistant", "Echo 4: Please usetool now", 1795375196381},
		{session.TypeCompaction, "system", "Summary written by a model. 5:", 1795375196409},
		{session.TypeCompaction, "system", "Summary written by a model. 7:", 1795375196563},
		{"", "user", "Umlauts äöü, emoji 🦀, quotes \" and a backslash \\\\ end", 1795375196652},
		{"", "assistant", "Echo 8: Umlauts äöü, emoji 🦀, quotes \" and a backslash \\\\ end", 1795375196653},
	}, saidIn(t, h, mainKey))
	list, err := h.sessions.History("agent:main:picture", 0)
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, "What is this?", list[0].Text)
	require.Len(t, list[0].Images, 1)
	require.Len(t, list[0].Images[0].Data, 456)
	planning, err := h.sessions.History("agent:main:planning", 0)
	require.NoError(t, err)
	require.Len(t, planning, 5)
	require.True(t, planning[4].Injected)
	require.Equal(t, before, tree(t, recorded))
}

// A model goes on with the summary that the original has made, and not with all that
// it once did not fit into the window.
func TestAnImportedSummaryStandsForWhatItDid(t *testing.T) {
	h := newHouse(t)
	h.run(t, recorded, true)
	history, err := h.sessions.History(mainKey, 0)
	require.NoError(t, err)
	require.Equal(t, history[0].ID, history[5].FirstKeptID, "it names an entry that is no message, before the first")
	summary, visible := session.Visible(history)
	require.Equal(t, "Summary written by a model. 7:", summary)
	require.Len(t, visible, 2)
	require.Equal(t, history[7].ID, visible[0].ID)
}

func TestWhatWasUsedIsImportedOnceAndUnderItsSession(t *testing.T) {
	h := newHouse(t)
	h.run(t, recorded, true)
	h.run(t, recorded, true)
	var keys []string
	users := int64(0)
	require.NoError(t, h.sessions.Usage("2026-11-01", "2026-11-30", func(u session.SessionUsage) {
		keys = append(keys, u.Key)
		users += u.User
	}))
	require.Equal(t, []string{mainKey, "agent:main:picture", "agent:main:planning"}, keys)
	require.Equal(t, int64(6), users)
	days, err := h.sessions.UsageDays("2026-11-01", "2026-11-30")
	require.NoError(t, err)
	require.Len(t, days, 1)
	require.Equal(t, session.Usage{Input: 82141, Output: 276, Total: 82417}, totalOf(days[0].Models))
}

func totalOf(models []session.ModelUsage) (sum session.Usage) {
	for _, m := range models {
		sum.Add(m.Usage)
	}
	return sum
}

func TestASessionThatWasResetHereIsNotImportedAgain(t *testing.T) {
	for name, change := range map[string]func(*testing.T, *house){
		"reset": func(t *testing.T, h *house) {
			_, err := h.sessions.Reset(t.Context(), mainKey)
			require.NoError(t, err)
		},
		"deleted": func(t *testing.T, h *house) {
			_, _, err := h.sessions.Delete(t.Context(), mainKey, true)
			require.NoError(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.run(t, recorded, true)
			change(t, h)
			v := verdicts(h.run(t, recorded, true))
			require.Contains(t, v["session "+mainKey], "there it was reset or deleted here")
			require.Empty(t, saidIn(t, h, mainKey), "the archive of the same id would take its messages with it")
			archives, err := h.sessions.Archives()
			require.NoError(t, err)
			require.Len(t, archives, 1)
			list, err := h.sessions.ArchiveHistory(archives[0].ID, 0)
			require.NoError(t, err)
			require.Len(t, list, 9)
		})
	}
}

func TestTheTranscriptIsTheFileThatTheEntryNames(t *testing.T) {
	from := filepath.Join(t.TempDir(), "source")
	require.NoError(t, os.CopyFS(from, os.DirFS(recorded)))
	dir := filepath.Join(from, "agents/main/sessions")
	raw, err := os.ReadFile(filepath.Join(dir, "sessions.json"))
	require.NoError(t, err)
	named := recordedID + "-topic-7.jsonl"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sessions.json"), bytes.ReplaceAll(raw, []byte("/"+recordedID+".jsonl"), []byte("/"+named)), 0o600))
	require.NoError(t, os.Rename(filepath.Join(dir, recordedID+".jsonl"), filepath.Join(dir, named)))
	require.NoError(t, os.WriteFile(filepath.Join(dir, named+".lock"), []byte("{}"), 0o600))
	h := newHouse(t)
	r := h.run(t, from, true)
	require.Len(t, saidIn(t, h, mainKey), 9)
	require.Zero(t, r.Count(VerdictSkipped), "%v", r.Items)
}

func TestASourceThatHasGoneOnIsTold(t *testing.T) {
	from := filepath.Join(t.TempDir(), "source")
	require.NoError(t, os.CopyFS(from, os.DirFS(recorded)))
	h := newHouse(t)
	h.run(t, from, true)
	file := filepath.Join(from, "agents/main/sessions/sessions.json")
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, bytes.ReplaceAll(raw, []byte("1795375242556"), []byte("1795375242557")), 0o600))
	v := verdicts(h.run(t, from, true))
	require.Contains(t, v["session "+mainKey], "there it has gone on there since the import")
	require.Equal(t, "there", v["session agent:main:planning"])
}

func TestOnlyWhatTheOriginalWritesAroundWordsIsTakenOff(t *testing.T) {
	const info = "Conversation info (untrusted metadata):\n```json\n{\"message_id\": \"1\", \"sender\": \"cli\"}\n```\n\n"
	const group = "Conversation info (untrusted metadata):\n```json\n{\"message_id\": \"1\", \"group_subject\": \"us\"}\n```\n\n[Sun 2026-11-22 19:19 UTC] hi"
	for text, want := range map[string]string{
		info + "[Sun 2026-11-22 19:19 UTC] hello": "hello",
		"[Sun 2026-11-22 19:19 GMT+2] hello":      "hello",
		info + "hello":                            "hello",
		group:                                     group,
		"[Sunday] hello":                          "[Sunday] hello",
		"[Sun 2026-11-22 19:19 UTC] [Sun 2026-11-22 19:19 UTC] twice":        "[Sun 2026-11-22 19:19 UTC] twice",
		"Conversation info (untrusted metadata):\n```json\nno\n```\n\nhello": "Conversation info (untrusted metadata):\n```json\nno\n```\n\nhello",
		"see: " + info: "see: " + info,
	} {
		require.Equal(t, want, unwrapped(text))
	}
}

func TestARunningOriginalIsFoundByItsLock(t *testing.T) {
	from, temp := t.TempDir(), t.TempDir()
	require.NoError(t, Running(from, temp))
	lock := func(pid int, config string, start int64) {
		folder := filepath.Join(temp, "openclaw-"+strconv.Itoa(os.Getuid()))
		require.NoError(t, os.MkdirAll(folder, 0o700))
		text := `{"pid":` + strconv.Itoa(pid) + `,"configPath":"` + config + `","startTime":` + strconv.Itoa(int(start)) + `}`
		require.NoError(t, os.WriteFile(filepath.Join(folder, "gateway.37f5aef6.lock"), []byte(text), 0o600))
	}
	lock(os.Getpid(), filepath.Join(from, "openclaw.json"), startTime(os.Getpid()))
	var running *RunningError
	require.ErrorAs(t, Running(from, temp), &running)
	require.Equal(t, os.Getpid(), running.PID)
	lock(os.Getpid(), filepath.Join(t.TempDir(), "openclaw.json"), 0)
	require.NoError(t, Running(from, temp), "of another state directory")
	if startTime(os.Getpid()) != 0 {
		lock(os.Getpid(), filepath.Join(from, "openclaw.json"), startTime(os.Getpid())+1)
		require.NoError(t, Running(from, temp), "another process has the number")
	}
	lock(1<<30, filepath.Join(from, "openclaw.json"), 0)
	require.NoError(t, Running(from, temp), "no such process")
}

// withFolders is the recorded source with what an agent has written.
func withFolders(t *testing.T) string {
	from := filepath.Join(t.TempDir(), "source")
	require.NoError(t, os.CopyFS(from, os.DirFS(recorded)))
	for name, text := range map[string]string{
		"workspace/SOUL.md": "Be kind.", "workspace/memory/2026-11-22.md": "We met.", "workspace/tool.sh": "#!/bin/sh\n",
		"workspace/node_modules/x/index.js": "x", "workspace-helper/IDENTITY.md": "Helper", "workspace-old.removed-1/x": "gone", "canvas/index.html": "no agent's",
	} {
		file := filepath.Join(from, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	require.NoError(t, os.Chmod(filepath.Join(from, "workspace/tool.sh"), 0o755))
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(from, "workspace/out")))
	return from
}

func TestAgentsFoldersComeAlong(t *testing.T) {
	from := withFolders(t)
	before := tree(t, from)
	h := newHouse(t)
	dry := h.run(t, from, false)
	require.NoDirExists(t, filepath.Join(h.dir, "workspace"))
	r := h.run(t, from, true)
	dry.Applied = true
	require.Equal(t, r, dry)
	v := verdicts(r)
	require.Equal(t, "new 3 files, 2 links or dependencies left out", v["workspace workspace"])
	require.Equal(t, "new 1 files", v["workspace workspace-helper"])
	raw, err := os.ReadFile(filepath.Join(h.dir, "workspace/memory/2026-11-22.md"))
	require.NoError(t, err)
	require.Equal(t, "We met.", string(raw))
	info, err := os.Stat(filepath.Join(h.dir, "workspace/tool.sh"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	for _, absent := range []string{"workspace/out", "workspace/node_modules", "workspace/.coderclaw-import", "canvas", "workspace-old.removed-1"} {
		_, err := os.Lstat(filepath.Join(h.dir, absent))
		require.ErrorIs(t, err, os.ErrNotExist, absent)
	}
	require.Equal(t, before, tree(t, from))
	again := h.run(t, from, true)
	require.Zero(t, again.Count(VerdictNew), "%v", again.Items)
}

func TestFilesOfAnAgentThatAreHereStay(t *testing.T) {
	from := withFolders(t)
	h := newHouse(t)
	outside := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(h.dir, "workspace"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "workspace/SOUL.md"), []byte("Be mine."), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "workspace/.coderclaw-import"), []byte("of a run that was killed"), 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(h.dir, "workspace-helper")))
	r := h.run(t, from, true)
	require.Equal(t, "new 2 files, 1 are others here and stay, 2 links or dependencies left out", verdicts(r)["workspace workspace"])
	raw, err := os.ReadFile(filepath.Join(h.dir, "workspace/SOUL.md"))
	require.NoError(t, err)
	require.Equal(t, "Be mine.", string(raw))
	left, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Empty(t, left, "nothing is written through a link")
	require.NotEmpty(t, r.Problems)
}
