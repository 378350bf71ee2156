package settings

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"
)

const (
	// TokenFileName is the file in the state directory that holds a generated token.
	TokenFileName = "gateway.token"
	tokenBytesMax = 4096
)

// CheckToken refuses what is no secret: nothing, white space, and the words that a
// script writes when its variable was empty. The error does not show the token.
func CheckToken(token Secret) error {
	text := token.Reveal()
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "":
		return errors.New("is empty: remove it to have one generated, or set a long random value")
	case "undefined", "null", "nil", "none", "nan", "[object object]":
		return errors.New("is a word that scripts write for a missing value, not a secret: remove it to have one generated, or set a long random value")
	}
	if strings.TrimSpace(text) != text {
		return errors.New("begins or ends with white space")
	}
	if strings.ContainsFunc(text, unicode.IsControl) {
		return errors.New("contains a control character")
	}
	if len(text) > tokenBytesMax {
		return fmt.Errorf("is longer than %d bytes", tokenBytesMax)
	}
	return nil
}

// SharedSecret returns the secret of the configured mode: in mode token that of
// Token, in mode password the configured password, and none in mode trusted-proxy.
// Its precedence is that of Load, flag before environment before file, and the
// generated token file last.
func SharedSecret(stateDir string, auth Auth, log *slog.Logger) (Secret, error) {
	switch auth.Mode {
	case AuthPassword:
		if err := CheckToken(auth.Password); err != nil {
			return Secret{}, fmt.Errorf("gateway.auth.password %w", err)
		}
		return auth.Password, nil
	case AuthTrustedProxy:
		return Secret{}, nil
	}
	return Token(stateDir, auth.Token, log)
}

// Token returns the gateway's token: the configured one, else the one kept
// in gateway.token in stateDir, else a new one (24 random bytes in hex) that it
// writes there with mode 0600 in a directory of mode 0700. Two processes that start
// at once get the same token.
func Token(stateDir string, configured Secret, log *slog.Logger) (Secret, error) {
	if configured.IsSet() {
		if err := CheckToken(configured); err != nil {
			return Secret{}, fmt.Errorf("gateway.auth.token %w", err)
		}
		return configured, nil
	}
	if err := mendDir(stateDir, log); err != nil {
		return Secret{}, err
	}
	token, err := ReadToken(stateDir, log)
	if !errors.Is(err, fs.ErrNotExist) {
		return token, err
	}
	if err := createToken(stateDir); err != nil {
		return Secret{}, fmt.Errorf("create %s: %w", TokenFileName, err)
	}
	log.Info("gateway token generated", "file", filepath.Join(stateDir, TokenFileName))
	return ReadToken(stateDir, log)
}

// ReadToken returns the generated token of a gateway on the same state directory.
// The error is fs.ErrNotExist when there is none. A file that others may read is
// mended to 0600 with a warning, since the owner is about to rely on it; one that
// belongs to another user, or is no regular file, is refused.
func ReadToken(stateDir string, log *slog.Logger) (Secret, error) {
	path := filepath.Join(stateDir, TokenFileName)
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return Secret{}, fmt.Errorf("%s is a symbolic link: remove it and start the gateway again", path)
	}
	if err != nil {
		return Secret{}, fmt.Errorf("read token: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Secret{}, fmt.Errorf("read token: %w", err)
	}
	if !info.Mode().IsRegular() {
		return Secret{}, fmt.Errorf("%s is not a regular file", path)
	}
	if !owned(info) {
		return Secret{}, fmt.Errorf("%s belongs to another user: remove it and start the gateway again", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := f.Chmod(0o600); err != nil {
			return Secret{}, fmt.Errorf("%s may be read by others and its mode cannot be mended: %w", path, err)
		}
		log.Warn("token file was open to other users; mode set to 0600, consider a new token", "file", path)
	}
	raw, err := io.ReadAll(io.LimitReader(f, tokenBytesMax+2))
	if err != nil {
		return Secret{}, fmt.Errorf("read token: %w", err)
	}
	token := NewSecret(strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r"))
	if err := CheckToken(token); err != nil {
		return Secret{}, fmt.Errorf("the token in %s %w", path, err)
	}
	return token, nil
}

// createToken writes a new token under a name of its own and links it into place:
// the link fails if another process was faster, and nobody ever reads half a file.
func createToken(stateDir string) error {
	tmp, err := os.CreateTemp(stateDir, TokenFileName+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(NewToken().Reveal() + "\n")
	err = errors.Join(err, tmp.Chmod(0o600), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	err = os.Link(tmp.Name(), filepath.Join(stateDir, TokenFileName))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		// No hard links here (some network and phone file systems).
		err = os.Rename(tmp.Name(), filepath.Join(stateDir, TokenFileName))
	}
	return errors.Join(err, syncDir(stateDir))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// mendDir makes sure of a private state directory: it creates one with mode 0700
// and tightens one of ours that is open. It refuses a directory of another user,
// and a shared one such as /tmp, whose mode is not ours to change.
func mendDir(dir string, log *slog.Logger) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	if !owned(info) {
		return fmt.Errorf("state directory %s belongs to another user: choose one of your own with CODERCLAW_STATE_DIR", dir)
	}
	if info.Mode()&fs.ModeSticky != 0 {
		return fmt.Errorf("state directory %s is shared with other users: choose one of your own with CODERCLAW_STATE_DIR", dir)
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("state directory %s is open to other users and its mode cannot be mended: %w", dir, err)
	}
	log.Warn("state directory was open to other users; mode set to 0700", "dir", dir)
	return nil
}

func owned(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return !ok || int(stat.Uid) == os.Geteuid()
}
