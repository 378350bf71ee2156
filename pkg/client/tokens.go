package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Tokens is <stateDir>/identity/device-auth.json: the device tokens that
// gateways have issued to this device, one per role. Every method reads and
// writes the file under a lock, so processes of one device may share it.
type Tokens struct {
	path     string
	deviceID string
}

// tokensFile has the format of the Node clients of protocol 3. Gateway is ours:
// they ignore it, and an entry without it was written by one of them.
type tokensFile struct {
	Version  int                   `json:"version"`
	DeviceID string                `json:"deviceId"`
	Tokens   map[string]tokenEntry `json:"tokens"`
}

type tokenEntry struct {
	Token       string   `json:"token"`
	Role        string   `json:"role"`
	Scopes      []string `json:"scopes"`
	UpdatedAtMs int64    `json:"updatedAtMs"`
	Gateway     string   `json:"gateway,omitempty"`
}

// OpenTokens returns the store of the device with the given id. It touches
// nothing yet.
func OpenTokens(stateDir, deviceID string) *Tokens {
	return &Tokens{path: filepath.Join(stateDir, "identity", "device-auth.json"), deviceID: deviceID}
}

// Get returns the token that the gateway at origin issued for role, or "". A
// token of unknown origin is returned for loopback origins only.
func (t *Tokens) Get(origin, role string, loopback bool) (string, error) {
	f, err := t.read()
	if err != nil {
		return "", err
	}
	e, ok := f.Tokens[role]
	if !ok || (e.Gateway != origin && (e.Gateway != "" || !loopback)) {
		return "", nil
	}
	return e.Token, nil
}

// Put stores the token that the gateway at origin issued for role.
func (t *Tokens) Put(origin, role, token string, scopes []string) error {
	return t.update(func(f *tokensFile) bool {
		old, ok := f.Tokens[role]
		if ok && old.Token == token && old.Gateway == origin && slices.Equal(old.Scopes, scopes) {
			return false
		}
		f.Tokens[role] = tokenEntry{Token: token, Role: role, Scopes: slices.Clone(scopes), UpdatedAtMs: time.Now().UnixMilli(), Gateway: origin}
		return true
	})
}

// Drop forgets the token of role, if it still is the one that was refused.
func (t *Tokens) Drop(role, token string) error {
	return t.update(func(f *tokensFile) bool {
		if f.Tokens[role].Token != token {
			return false
		}
		delete(f.Tokens, role)
		return true
	})
}

// read returns an empty file when there is none, when it belongs to another
// device, and when it is damaged: a token can always be issued again.
func (t *Tokens) read() (tokensFile, error) {
	fresh := tokensFile{Version: 1, DeviceID: t.deviceID, Tokens: map[string]tokenEntry{}}
	data, err := readPrivate(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return fresh, nil
	}
	if err != nil {
		return fresh, fmt.Errorf("read device tokens: %w", err)
	}
	var f tokensFile
	if json.Unmarshal(data, &f) != nil || f.Version != 1 || f.DeviceID != t.deviceID || f.Tokens == nil {
		return fresh, nil
	}
	return f, nil
}

// update applies change under the lock and writes the file if it returns true.
func (t *Tokens) update(change func(*tokensFile) bool) error {
	if err := os.MkdirAll(filepath.Dir(t.path), 0o700); err != nil {
		return fmt.Errorf("store device token: %w", err)
	}
	unlock, err := lockFile(t.path + ".lock")
	if err != nil {
		return fmt.Errorf("store device token: %w", err)
	}
	defer unlock()
	f, err := t.read()
	if err != nil || !change(&f) {
		return err
	}
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("store device token: %w", err)
	}
	if err := replaceFile(t.path, append(data, '\n')); err != nil {
		return fmt.Errorf("store device token: %w", err)
	}
	return nil
}
