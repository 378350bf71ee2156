package settings

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite docs/configuration.md")

// TestACrashDuringAWriteLeavesTheOldFileOrTheNew crashes at every step of a write.
func TestACrashDuringAWriteLeavesTheOldFileOrTheNew(t *testing.T) {
	crash := errors.New("crash")
	text := func(n int) string { return fmt.Sprintf("{gateway: {port: %d}} // %0200d\n", n, n) }
	for step := 1; ; step++ {
		src := folder(t, map[string]string{configFileName: text(1)})
		store := NewStore(src)
		for n := 2; n <= 3; n++ { // so that there are backups to move
			_, err := store.Replace(read(t, src).Hash, []byte(text(n)))
			require.NoError(t, err)
		}
		at, name := 0, ""
		store.w.at = func(s string) error {
			if at++; at == step {
				name = s
				return crash
			}
			return nil
		}
		_, err := store.Replace(read(t, src).Hash, []byte(text(4)))
		d := read(t, src)
		require.NotNil(t, d.Settings, "step %d (%s) left half a file", step, name)
		if err == nil {
			require.Greater(t, step, 10, "every step was tried")
			require.Equal(t, text(4), string(d.Raw))
			return
		}
		require.ErrorIs(t, err, crash)
		require.Contains(t, []string{text(3), text(4)}, string(d.Raw), "step %d (%s)", step, name)

		// The next process finishes the work and has lost no version.
		after := NewStore(src)
		_, err = after.Replace(d.Hash, []byte(text(5)))
		require.NoError(t, err, "after a crash at step %d (%s)", step, name)
		list, err := Backups(src.Path)
		require.NoError(t, err)
		kept := map[string]bool{}
		for _, b := range list {
			raw, err := ReadBackup(b)
			require.NoError(t, err)
			require.NotNil(t, Compile(src, raw).Settings, "step %d (%s): half a backup", step, name)
			kept[string(raw)] = true
		}
		for _, n := range []int{1, 2, 3} {
			require.True(t, kept[text(n)], "step %d (%s): version %d is lost", step, name, n)
		}
	}
}

func TestBackupsAreFiveAndPrivate(t *testing.T) {
	src := folder(t, nil)
	store := NewStore(src)
	for n := range 8 {
		_, err := store.Replace(read(t, src).Hash, fmt.Appendf(nil, "{gateway: {port: %d}}", n))
		require.NoError(t, err)
	}
	list, err := Backups(src.Path)
	require.NoError(t, err)
	require.Len(t, list, BackupsMax)
	require.Equal(t, src.Path+".bak", list[0].Path)
	require.Equal(t, src.Path+".bak.4", list[4].Path)
	for i, b := range list {
		raw, err := ReadBackup(b)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("{gateway: {port: %d}}", 6-i), string(raw))
		require.Equal(t, fs.FileMode(0o600), mode(t, b.Path))
	}
	entries, err := os.ReadDir(filepath.Dir(src.Path))
	require.NoError(t, err)
	require.Len(t, entries, 6, "nothing else is left behind")

	w, err := store.Rollback(list[2])
	require.NoError(t, err)
	require.Equal(t, 4, w.After.Settings.Gateway.Port)
	require.Equal(t, 4, read(t, src).Settings.Gateway.Port)
	require.NoError(t, os.WriteFile(src.Path+".bak", []byte(`{gateway: {port: "x"}}`), 0o600))
	list, err = Backups(src.Path)
	require.NoError(t, err)
	var invalid *InvalidError
	_, err = store.Rollback(list[0])
	require.ErrorAs(t, err, &invalid, "a version with faults is not taken back")
}

func TestALinkKeepsPointing(t *testing.T) {
	src := folder(t, map[string]string{"real/config.json5": "{}"})
	require.NoError(t, os.Symlink("real/config.json5", src.Path))
	_, err := NewStore(src).Replace(HashOf([]byte("{}")), []byte(`{gateway: {port: 1}}`))
	require.NoError(t, err)
	info, err := os.Lstat(src.Path)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&fs.ModeSymlink)
	require.Equal(t, 1, read(t, src).Settings.Gateway.Port)
	list, err := Backups(src.Path)
	require.NoError(t, err)
	require.Len(t, list, 1)
}

func TestLastGood(t *testing.T) {
	src := folder(t, map[string]string{configFileName: `{$include: "more.json5", gateway: {auth: {token: "${TOKEN}"}}}`, "more.json5": `{gateway: {port: 5}}`})
	src.Getenv = env("TOKEN", "from-the-environment")
	stateDir := t.TempDir()
	_, err := ReadLastGood(stateDir, src)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, SaveLastGood(stateDir, read(t, src)))
	path := filepath.Join(stateDir, LastGoodFileName)
	require.Equal(t, fs.FileMode(0o600), mode(t, path))
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NotContains(t, string(raw), "from-the-environment")

	require.NoError(t, os.WriteFile(src.Path, []byte("{"), 0o600))
	require.Error(t, SaveLastGood(stateDir, read(t, src)))
	d, err := ReadLastGood(stateDir, src)
	require.NoError(t, err)
	require.Equal(t, 5, d.Settings.Gateway.Port, "with what was included")
	require.Equal(t, "from-the-environment", d.Settings.Gateway.Auth.Token.Reveal())
	s, err := LoadOrLastGood(stateDir, src)
	require.NoError(t, err)
	require.Equal(t, 5, s.Gateway.Port)
	_, err = LoadOrLastGood(t.TempDir(), src)
	require.ErrorContains(t, err, "not JSON5")
}

func TestProbation(t *testing.T) {
	src := folder(t, map[string]string{configFileName: `{gateway: {port: 1}}`})
	stateDir := t.TempDir()
	require.Nil(t, ReadProbation(stateDir))
	before := read(t, src)
	w, err := NewStore(src).Replace(before.Hash, []byte(`{gateway: {port: 2}}`))
	require.NoError(t, err)
	require.NoError(t, BeginProbation(stateDir, before, w.After, []string{"gateway.port"}))
	p := ReadProbation(stateDir)
	require.Equal(t, []string{w.After.Hash, before.Hash}, []string{p.Hash, p.Previous})
	done, err := p.Restore(src.Path)
	require.NoError(t, err)
	require.True(t, done)
	require.Equal(t, before.Hash, read(t, src).Hash)
	done, err = p.Restore(src.Path)
	require.NoError(t, err)
	require.False(t, done, "a file that is no longer the one on trial stays")
	require.NoError(t, EndProbation(stateDir))
	require.NoError(t, EndProbation(stateDir))
	require.Nil(t, ReadProbation(stateDir))
}

func TestJournal(t *testing.T) {
	stateDir := t.TempDir()
	list, err := ReadJournal(stateDir)
	require.NoError(t, err)
	require.Empty(t, list)
	require.NoError(t, AppendJournal(stateDir, JournalEntry{Action: "config.set", By: "me", Hash: "a", Keys: []string{"gateway.port"}}))
	path := filepath.Join(stateDir, journalName)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	for range 9000 {
		_, err = f.WriteString(`{"action":"edit","note":"` + strings.Repeat("x", 120) + "\"}\n")
		require.NoError(t, err)
	}
	_, err = f.WriteString("torn\n")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, AppendJournal(stateDir, JournalEntry{Action: "rollback"}))
	list, err = ReadJournal(stateDir)
	require.NoError(t, err)
	require.Less(t, len(list), journalKept+2)
	require.Equal(t, "rollback", list[len(list)-1].Action)
	require.Equal(t, fs.FileMode(0o600), mode(t, path))
}

func TestWatchTellsOfEveryWayToChangeAFile(t *testing.T) {
	src := folder(t, map[string]string{"sub/more.json5": "{}"})
	more := filepath.Join(filepath.Dir(src.Path), "sub", "more.json5")
	var told atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Watch(ctx, func() []string { return []string{src.Path, more} }, func() time.Duration { return 50 * time.Millisecond }, func() { told.Add(1) })
	}()
	require.Eventually(t, func() bool { return told.Load() == 1 }, 20*time.Second, 5*time.Millisecond, "what was there before is looked at once")
	for i, change := range []func() error{
		func() error { return os.WriteFile(src.Path, []byte("{}"), 0o600) },
		func() error { return os.WriteFile(src.Path, []byte("{a:1}"), 0o600) },
		func() error { return writer{}.replace(src.Path, []byte("{b: 12}"), true) },
		func() error { return os.WriteFile(more, []byte("{c: 123}"), 0o600) },
		func() error { return os.Remove(src.Path) },
	} {
		seen := told.Load()
		require.NoError(t, change())
		require.Eventually(t, func() bool { return told.Load() > seen }, 20*time.Second, 5*time.Millisecond, "change %d", i)
	}
	stop()
	require.NoError(t, <-ended)
}
