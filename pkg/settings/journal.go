package settings

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// journalName is the file of the state directory that tells who changed the config.
// It holds names of keys and hashes, no values.
const (
	journalName     = "logs/config-audit.jsonl"
	journalBytesMax = 1 << 20
	journalKept     = 1000
)

// JournalPath returns the file of a state directory that tells who changed the config.
func JournalPath(stateDir string) string { return filepath.Join(stateDir, journalName) }

// JournalEntry is one change of the config.
type JournalEntry struct {
	At time.Time `json:"at"`
	// Action is what was done: the method, edit for a change by another program, or
	// rollback.
	Action string `json:"action"`
	// By is who did it: a device id, a principal, or "local".
	By     string   `json:"by,omitempty"`
	Client string   `json:"client,omitempty"`
	Note   string   `json:"note,omitempty"`
	Hash   string   `json:"hash,omitempty"`
	Before string   `json:"before,omitempty"`
	Keys   []string `json:"keys,omitempty"`
}

// AppendJournal adds an entry. A journal that has grown beyond 1 MiB keeps its
// last 1000 entries. Two processes that write at once may lose an entry to the
// trimming, which is why decisions about authority are in the audit record too.
func AppendJournal(stateDir string, e JournalEntry) error {
	path := filepath.Join(stateDir, journalName)
	if e.At.IsZero() {
		e.At = time.Now()
	}
	e.At = e.At.UTC().Truncate(time.Millisecond)
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if info, err := os.Stat(path); err == nil && info.Size() > journalBytesMax {
		if err := trimJournal(path); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

func trimJournal(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	lines := bytes.SplitAfter(raw, []byte("\n"))
	if len(lines) > journalKept {
		lines = lines[len(lines)-journalKept:]
	}
	return writer{}.replace(path, bytes.Join(lines, nil), false)
}

// ReadJournal returns the entries, oldest first. Lines that cannot be read are left
// out.
func ReadJournal(stateDir string) ([]JournalEntry, error) {
	f, err := os.Open(filepath.Join(stateDir, journalName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // opened for reading
	var out []JournalEntry
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, journalBytesMax)
	for lines.Scan() {
		var e JournalEntry
		if json.Unmarshal(lines.Bytes(), &e) == nil {
			out = append(out, e)
		}
	}
	return out, lines.Err()
}
