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

	"github.com/coderclaw/gateway/pkg/certificate"
)

// certificatesMax is how many certificates of one gateway are remembered.
const certificatesMax = 8

// KnownGateways is <stateDir>/identity/known_gateways.json: the certificates that the
// user has confirmed or pinned, by host and port. Like an SSH client's known_hosts, it
// holds keys; a certificate with the same key is the same gateway. Every method reads
// and writes the file under a lock, so processes may share it. A nil *KnownGateways
// knows nothing and keeps nothing.
type KnownGateways struct {
	path string
}

type knownFile struct {
	Version  int                     `json:"version"`
	Gateways map[string]KnownGateway `json:"gateways"`
}

// KnownGateway is one gateway's entry.
type KnownGateway struct {
	// Key is the fingerprint of the public key that the gateway holds.
	Key certificate.Pin `json:"key"`
	// Certificates are the fingerprints of those seen with this key, the last one last.
	Certificates []certificate.Pin `json:"certificates"`
	// AddedAtMs is when the key was accepted, in Unix milliseconds.
	AddedAtMs int64 `json:"addedAtMs"`
}

func (k KnownGateway) has(p certificate.Pin) bool {
	return slices.Contains(k.Certificates, p)
}

func (k KnownGateway) last() certificate.Pin {
	if len(k.Certificates) == 0 {
		return k.Key
	}
	return k.Certificates[len(k.Certificates)-1]
}

// OpenKnownGateways returns the store below a state directory. It touches nothing yet.
func OpenKnownGateways(stateDir string) *KnownGateways {
	return &KnownGateways{path: filepath.Join(stateDir, "identity", "known_gateways.json")}
}

// Path returns the file's.
func (k *KnownGateways) Path() string { return k.path }

// Get returns what is known of the gateway at hostPort (Address.HostPort).
func (k *KnownGateways) Get(hostPort string) (KnownGateway, bool, error) { return k.get(hostPort) }

func (k *KnownGateways) get(hostPort string) (KnownGateway, bool, error) {
	if k == nil {
		return KnownGateway{}, false, nil
	}
	f, err := k.read()
	entry, ok := f.Gateways[hostPort]
	return entry, ok, err
}

// Put remembers the certificate of the gateway at hostPort. Another key than before
// replaces the entry: the caller has been told to.
func (k *KnownGateways) Put(hostPort string, cert, key certificate.Pin) error {
	if k == nil {
		return nil
	}
	if old, ok, err := k.get(hostPort); err == nil && ok && old.Key == key && old.last() == cert {
		return nil
	}
	if err := k.put(hostPort, cert, key); err != nil {
		return fmt.Errorf("remember the certificate of %s: %w", hostPort, err)
	}
	return nil
}

func (k *KnownGateways) put(hostPort string, cert, key certificate.Pin) error {
	if err := os.MkdirAll(filepath.Dir(k.path), 0o700); err != nil {
		return err
	}
	unlock, err := lockFile(k.path + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	f, err := k.read()
	if err != nil {
		return err
	}
	entry := f.Gateways[hostPort]
	if entry.Key != key {
		entry = KnownGateway{Key: key, AddedAtMs: time.Now().UnixMilli()}
	}
	entry.Certificates = append(slices.DeleteFunc(entry.Certificates, func(p certificate.Pin) bool { return p == cert }), cert)
	if over := len(entry.Certificates) - certificatesMax; over > 0 {
		entry.Certificates = entry.Certificates[over:]
	}
	f.Gateways[hostPort] = entry
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(k.path, append(data, '\n'))
}

// read returns an empty file when there is none. A damaged one is an error: to forget
// what was confirmed would let anybody be confirmed anew.
func (k *KnownGateways) read() (knownFile, error) {
	fresh := knownFile{Version: 1, Gateways: map[string]KnownGateway{}}
	data, err := readPrivate(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return fresh, nil
	}
	if err != nil {
		return fresh, fmt.Errorf("read known gateways: %w", err)
	}
	var f knownFile
	if json.Unmarshal(data, &f) != nil || f.Version != 1 || f.Gateways == nil {
		return fresh, fmt.Errorf("%s is damaged: restore it, or remove it and confirm each gateway's certificate again", k.path)
	}
	return f, nil
}
