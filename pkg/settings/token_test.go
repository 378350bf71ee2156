package settings

import (
	"bytes"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTokenIsGeneratedOnceAndFoundAgain(t *testing.T) {
	var logged bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	dir := filepath.Join(t.TempDir(), "state")
	_, err := ReadToken(dir, log)
	require.ErrorIs(t, err, fs.ErrNotExist)

	token, err := Token(dir, Secret{}, log)
	require.NoError(t, err)
	require.Regexp(t, regexp.MustCompile(`^[0-9a-f]{48}$`), token.Reveal())
	require.Equal(t, fs.FileMode(0o600), mode(t, filepath.Join(dir, "gateway.token")))
	require.Equal(t, fs.FileMode(0o700), mode(t, dir))

	again, err := Token(dir, Secret{}, log)
	require.NoError(t, err)
	require.Equal(t, token, again)
	read, err := ReadToken(dir, log)
	require.NoError(t, err)
	require.Equal(t, token, read)

	configured, err := Token(dir, NewSecret("configured"), log)
	require.NoError(t, err)
	require.Equal(t, "configured", configured.Reveal())
	require.NotContains(t, logged.String(), token.Reveal())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file stays behind")
}

func TestTokenOfProcessesThatStartTogether(t *testing.T) {
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	require.NoError(t, os.Chmod(dir, 0o700))
	tokens := make([]Secret, 16)
	errs := make([]error, len(tokens))
	var group sync.WaitGroup
	for i := range tokens {
		group.Go(func() { tokens[i], errs[i] = Token(dir, Secret{}, log) })
	}
	group.Wait()
	for i := range tokens {
		require.NoError(t, errs[i])
		require.Equal(t, tokens[0], tokens[i])
	}
}

func TestTokenFileIsMendedOrRefused(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	file := func(t *testing.T, content string, perm fs.FileMode) (dir, path string) {
		dir = t.TempDir()
		path = filepath.Join(dir, "gateway.token")
		require.NoError(t, os.WriteFile(path, []byte(content), perm))
		require.NoError(t, os.Chmod(path, perm))
		return dir, path
	}
	t.Run("open modes are mended with a warning", func(t *testing.T) {
		dir, path := file(t, "abc\r\n", 0o644)
		require.NoError(t, os.Chmod(dir, 0o755))
		var logged bytes.Buffer
		token, err := Token(dir, Secret{}, slog.New(slog.NewTextHandler(&logged, nil)))
		require.NoError(t, err)
		require.Equal(t, "abc", token.Reveal())
		require.Equal(t, fs.FileMode(0o600), mode(t, path))
		require.Equal(t, fs.FileMode(0o700), mode(t, dir))
		require.Contains(t, logged.String(), "token file was open to other users")
		require.Contains(t, logged.String(), "state directory was open to other users")
	})
	t.Run("an empty file is refused, not taken for a token", func(t *testing.T) {
		dir, _ := file(t, "\n", 0o600)
		_, err := Token(dir, Secret{}, log)
		require.ErrorContains(t, err, "is empty")
	})
	t.Run("a symbolic link is refused", func(t *testing.T) {
		dir, path := file(t, "abc", 0o600)
		require.NoError(t, os.Rename(path, path+".real"))
		require.NoError(t, os.Symlink(path+".real", path))
		_, err := ReadToken(dir, log)
		require.ErrorContains(t, err, "is a symbolic link")
	})
	t.Run("a directory is refused", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, "gateway.token"), 0o700))
		_, err := ReadToken(dir, log)
		require.ErrorContains(t, err, "is not a regular file")
	})
	t.Run("a shared directory is refused", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.Chmod(dir, 0o777|fs.ModeSticky))
		_, err := Token(dir, Secret{}, log)
		require.ErrorContains(t, err, "is shared with other users")
		require.NoFileExists(t, filepath.Join(dir, "gateway.token"))
	})
	t.Run("another user's file is refused", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("needs root to give a file away")
		}
		dir, path := file(t, "abc", 0o600)
		require.NoError(t, os.Chown(path, 65534, 65534))
		_, err := ReadToken(dir, log)
		require.ErrorContains(t, err, "belongs to another user")
	})
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Mode().Perm()
}
