package settings

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/titanous/json5"
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
	start, end, ok := findText(raw, key)
	if !ok || strings.Contains(string(raw[start:end]), "${") {
		return fmt.Errorf("%s %w %s", key, ErrNotLiteral, path)
	}
	quoted, err := json.Marshal(secret.Reveal())
	if err != nil {
		return err
	}
	next := append(append(append([]byte{}, raw[:start]...), quoted...), raw[end:]...)
	if got, ok := textAt(next, key); !ok || got != secret.Reveal() {
		return fmt.Errorf("%s %w %s", key, ErrNotLiteral, path)
	}
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

// findText returns where the quoted text at a full path stands, quotes included.
func findText(raw []byte, key string) (start, end int, ok bool) {
	type level struct {
		path, key string
		list      bool
	}
	stack := []level{{}}
	l := lexer{raw: raw}
	var last []byte
	value := false // a colon has come, so that the next text is a value
	for {
		t, more := l.next()
		if !more {
			return start, end, ok
		}
		top := &stack[len(stack)-1]
		switch t.mark {
		case 0:
			last = t.text
			if value && !top.list && join(top.path, top.key) == key && (t.text[0] == '"' || t.text[0] == '\'') {
				start, end, ok = l.at-len(t.text), l.at, true
			}
			value = false
		case ':':
			top.key, value = keyText(last), true
		case ',':
			value = false
		case '{', '[':
			path := top.path
			if len(stack) > 1 {
				path = join(top.path, top.key)
			}
			stack, value = append(stack, level{path: path, list: t.mark == '['}), false
		case '}', ']':
			if len(stack) > 1 {
				stack = stack[:len(stack)-1]
			}
			value = false
		}
	}
}

// textAt returns the text at a full path of a JSON5 document.
func textAt(raw []byte, key string) (string, bool) {
	var doc any
	if err := json5.Unmarshal(bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf")), &doc); err != nil {
		return "", false
	}
	for part := range strings.SplitSeq(key, ".") {
		object, ok := doc.(map[string]any)
		if !ok {
			return "", false
		}
		doc = object[part]
	}
	text, ok := doc.(string)
	return text, ok
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
