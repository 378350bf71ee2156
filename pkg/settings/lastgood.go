package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// The files in the state directory by which a gateway comes back from a bad
// config. All have mode 0600, since they hold what the config holds.
const (
	// LastGoodFileName holds the last settings that a gateway ran with: the config with
	// its includes put in, before the environment is.
	LastGoodFileName  = "config-last-good.json"
	probationFileName = "config-probation.json"
)

// SaveLastGood keeps a document, which has no issues, as the last good one.
func SaveLastGood(stateDir string, d *Document) error {
	if d.Settings == nil {
		return errors.New("a config with faults is not the last good one")
	}
	raw := append(d.merged.Indented(""), '\n')
	path := filepath.Join(stateDir, LastGoodFileName)
	if old, err := readFile(path); err == nil && string(old) == string(raw) {
		return nil
	}
	return writer{}.replace(path, raw, false)
}

// ReadLastGood reads the last good config under the flags and the environment of
// src. The error is fs.ErrNotExist when there is none yet.
func ReadLastGood(stateDir string, src Source) (*Document, error) {
	src.base, src.Path = src.Path, filepath.Join(stateDir, LastGoodFileName)
	raw, err := readFile(src.Path)
	if err == nil && raw == nil {
		err = fmt.Errorf("%s: %w", src.Path, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	d := Compile(src, raw)
	return d, d.Err()
}

// LoadOrLastGood is Load for programs beside the gateway: where the file has
// faults, the settings are those that a gateway would start with.
func LoadOrLastGood(stateDir string, src Source) (*Settings, error) {
	s, err := Load(src)
	if err == nil {
		return s, nil
	}
	if d, lastErr := ReadLastGood(stateDir, src); lastErr == nil {
		return d.Settings, nil
	}
	return nil, err
}

// Probation tells the next start that a config is being tried. It is there from
// before the restart until the gateway has lasted; a start that finds it comes
// after a crash.
type Probation struct {
	// Hash is the text on trial, Previous the one before it.
	Hash     string    `json:"hash"`
	Previous string    `json:"previous"`
	Since    time.Time `json:"since"`
	Keys     []string  `json:"keys,omitempty"`
	// Text is the text before the one on trial.
	Text string `json:"text"`
	// Includes are the included files that differ from before.
	Includes []ProbationFile `json:"includes,omitempty"`
}

// ProbationFile is an included file on trial: the hash that it has and the text before.
type ProbationFile struct {
	Path string `json:"path"`
	Hash string `json:"hash"`
	Text string `json:"text"`
}

// BeginProbation notes that d is tried in the place of before.
func BeginProbation(stateDir string, before, d *Document, keys []string) error {
	p := Probation{Hash: d.Hash, Previous: before.Hash, Since: time.Now().UTC(), Keys: keys, Text: string(before.Raw)}
	for path, text := range d.texts {
		if old, ok := before.texts[path]; ok && path != "" && string(old) != string(text) {
			p.Includes = append(p.Includes, ProbationFile{Path: path, Hash: HashOf(text), Text: string(old)})
		}
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return writer{}.replace(filepath.Join(stateDir, probationFileName), raw, false)
}

// ReadProbation returns the note, nil when no config is on trial or the note
// cannot be read.
func ReadProbation(stateDir string) *Probation {
	raw, err := readFile(filepath.Join(stateDir, probationFileName))
	var p Probation
	if err != nil || raw == nil || json.Unmarshal(raw, &p) != nil || p.Hash == "" {
		return nil
	}
	return &p
}

// EndProbation removes the note.
func EndProbation(stateDir string) error {
	err := os.Remove(filepath.Join(stateDir, probationFileName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, syncDir(stateDir))
}

// Restore puts the texts before the ones on trial back, those of included files too,
// unless one of the files has been changed since. It reports whether it did. A file that
// was not there before becomes an empty one.
func (p *Probation) Restore(path string) (bool, error) {
	raw, err := readFile(path)
	if err != nil {
		return false, err
	}
	if raw == nil || HashOf(raw) != p.Hash {
		return false, nil
	}
	for _, f := range p.Includes {
		if raw, err := readFile(f.Path); err != nil || HashOf(raw) != f.Hash {
			return false, err
		}
	}
	for _, f := range p.Includes {
		if err := (writer{}).replace(f.Path, []byte(f.Text), true); err != nil {
			return false, err
		}
	}
	text := []byte(p.Text)
	if p.Previous == "" {
		text = []byte("{}\n")
	}
	if string(text) == string(raw) {
		return true, nil // only included files were changed
	}
	return true, writer{}.replace(path, text, true)
}
