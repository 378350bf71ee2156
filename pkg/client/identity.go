package client

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Identity is this device's Ed25519 key. Its id is the lower-case hex SHA-256
// of the raw public key. It is immutable and safe for concurrent use.
type Identity struct {
	// DeviceID is 64 hex digits.
	DeviceID string
	// CreatedAtMs is when the key was made, in Unix milliseconds.
	CreatedAtMs int64
	key         ed25519.PrivateKey
}

// identityFile is <stateDir>/identity/device.json, in the format of the Node
// clients of protocol 3.
type identityFile struct {
	Version       int    `json:"version"`
	DeviceID      string `json:"deviceId"`
	PublicKeyPem  string `json:"publicKeyPem"`
	PrivateKeyPem string `json:"privateKeyPem"`
	CreatedAtMs   int64  `json:"createdAtMs"`
}

// LoadIdentity returns the identity in <stateDir>/identity/device.json, and makes
// one if there is none. Processes that do so at once agree on one identity. A
// file that cannot be understood is an error and stays as it is: a new identity
// would have to be paired again.
func LoadIdentity(stateDir string) (*Identity, error) {
	path := filepath.Join(stateDir, "identity", "device.json")
	id, err := readIdentity(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("create device identity: %w", err)
	}
	id, err = newIdentity()
	if err != nil {
		return nil, err
	}
	data, err := id.marshal()
	if err != nil {
		return nil, err
	}
	if err := createFile(path, data); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("create device identity: %w", err)
	}
	// Read back: another process may have been first.
	return readIdentity(path)
}

func newIdentity() (*Identity, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate device key: %w", err)
	}
	return &Identity{DeviceID: deviceID(key), CreatedAtMs: time.Now().UnixMilli(), key: key}, nil
}

// PublicKey returns the raw public key as base64url without padding, the form
// that connect.params.device.publicKey has.
func (id *Identity) PublicKey() string {
	return base64.RawURLEncoding.EncodeToString(id.key.Public().(ed25519.PublicKey))
}

// Sign returns the signature of message as base64url without padding.
func (id *Identity) Sign(message string) string {
	return base64.RawURLEncoding.EncodeToString(ed25519.Sign(id.key, []byte(message)))
}

func deviceID(key ed25519.PrivateKey) string {
	sum := sha256.Sum256(key.Public().(ed25519.PublicKey))
	return hex.EncodeToString(sum[:])
}

func (id *Identity) marshal() ([]byte, error) {
	private, err := x509.MarshalPKCS8PrivateKey(id.key)
	if err != nil {
		return nil, fmt.Errorf("encode device key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(id.key.Public())
	if err != nil {
		return nil, fmt.Errorf("encode device key: %w", err)
	}
	data, err := json.MarshalIndent(identityFile{
		Version:       1,
		DeviceID:      id.DeviceID,
		PublicKeyPem:  string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
		PrivateKeyPem: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
		CreatedAtMs:   id.CreatedAtMs,
	}, "", "  ")
	return append(data, '\n'), err
}

func readIdentity(path string) (*Identity, error) {
	data, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	var f identityFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, damaged(path, "it is not JSON")
	}
	block, _ := pem.Decode([]byte(f.PrivateKeyPem))
	if f.Version != 1 || block == nil {
		return nil, damaged(path, "it is not a version 1 identity")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, damaged(path, "its private key does not parse")
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, damaged(path, "its private key is not Ed25519")
	}
	// The id is derived, not believed: the gateway derives it too.
	return &Identity{DeviceID: deviceID(key), CreatedAtMs: f.CreatedAtMs, key: key}, nil
}

func damaged(path, why string) error {
	return fmt.Errorf("device identity %s is damaged (%s): restore it, or move it away to get a new one, which must be paired again", path, why)
}

// readPrivate reads a file and takes away what group and others may do with it.
func readPrivate(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(path, 0o600); err != nil {
			return nil, fmt.Errorf("make %s private: %w", path, err)
		}
	}
	return os.ReadFile(path)
}

// createFile writes a new file, complete from the moment it has its name. It
// returns fs.ErrExist when the name is taken.
func createFile(path string, data []byte) error {
	tmp, err := writeTemp(path, data)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	return os.Link(tmp, path)
}

// replaceFile writes a file, complete at every moment.
func replaceFile(path string, data []byte) error {
	tmp, err := writeTemp(path, data)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return err
	}
	return nil
}

// writeTemp writes data to a new file of mode 0600 beside path and syncs it.
func writeTemp(path string, data []byte) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}
