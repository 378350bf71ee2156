package settings

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/coderclaw/gateway/pkg/internal/json5"
)

// ErrNotLiteral says that a config file does not hold a secret as plain text of its
// own, so that there is nothing that could be replaced in it.
var ErrNotLiteral = errors.New("is not a plain text in the file")

// NewToken returns a fresh secret: 24 random bytes in hex.
func NewToken() Secret {
	random := make([]byte, generatedTokenBytes)
	_, _ = rand.Read(random) // crypto/rand.Read never fails
	return NewSecret(hex.EncodeToString(random))
}

// WriteToken puts a secret into gateway.token in stateDir, mode 0600, in place of
// what is there. Whoever reads the file meanwhile reads the old one or the new one.
func WriteToken(stateDir string, token Secret) error {
	if err := CheckToken(token); err != nil {
		return fmt.Errorf("the new token %w", err)
	}
	path := filepath.Join(stateDir, TokenFileName)
	if err := replaceFile(path, []byte(token.Reveal()+"\n"), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", TokenFileName, err)
	}
	return nil
}

// ReplaceSecret replaces the secret at the full path key, such as gateway.auth.token,
// in the config file and leaves every other byte as it is, comments included. Its
// error is ErrNotLiteral when the file does not have the key, or names a variable in
// its place. The file is replaced at once and ends up closed to other users.
func ReplaceSecret(path, key string, secret Secret) error {
	if err := CheckToken(secret); err != nil {
		return fmt.Errorf("the new value of %s %w", key, err)
	}
	raw, err := readFile(path)
	if err != nil {
		return err
	}
	root, err := json5.Parse(raw, fileDepthMax)
	if err != nil {
		return fmt.Errorf("%s %w %s", key, ErrNotLiteral, path)
	}
	old := lookUp(root, key)
	if old == nil || old.Kind != json5.String || strings.Contains(old.Text, "${") || hasTwice(root) {
		return fmt.Errorf("%s %w %s", key, ErrNotLiteral, path)
	}
	next := json5.Apply(raw, []json5.Edit{{Start: old.Start, End: old.End, Text: json5.Quote(secret.Reveal())}})
	// The file that a link names is the one to change.
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return fmt.Errorf("write config: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("write config: %w", err)
	}
	if err := replaceFile(path, next, info.Mode().Perm()&0o700); err != nil {
		return fmt.Errorf("write config: %w", err)
	}
	return nil
}

// replaceFile writes a file under a name of its own beside path and renames it.
func replaceFile(path string, data []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}
