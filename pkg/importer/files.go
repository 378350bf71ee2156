package importer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/coderclaw/gateway/pkg/settings"
)

// config translates the first config that there is. One that is here already stays.
func (i *importer) config(context.Context) error {
	for _, name := range sourceConfigs {
		raw, err := i.read(name, configBytesMax)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			i.report.add(KindConfig, name, VerdictSkipped, "%v", err)
			return nil
		}
		return i.translate(name, raw)
	}
	return nil
}

func (i *importer) translate(name string, raw []byte) error {
	t, err := settings.Translate(raw)
	if err != nil {
		i.report.add(KindConfig, name, VerdictSkipped, "%v", err)
		return nil
	}
	i.report.ConfigTaken, i.report.ConfigKept, i.report.ConfigUnknown = t.Taken, t.Kept, t.Unknown
	for _, r := range t.Refused {
		i.report.ConfigRefused = append(i.report.ConfigRefused, RefusedKey(r))
	}
	old, err := os.ReadFile(i.ConfigPath)
	switch {
	case len(t.Taken) == 0:
		i.report.add(KindConfig, name, VerdictSkipped, "it has no key that this gateway knows")
		return nil
	case err == nil && bytes.Equal(old, t.JSON):
		i.report.add(KindConfig, name, VerdictThere, "")
		return nil
	case err == nil:
		i.report.add(KindConfig, name, VerdictSkipped, "%s exists, and stays as it is", i.ConfigPath)
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("import config: %w", err)
	}
	if i.Apply {
		if err := create(i.ConfigPath, t.JSON); err != nil {
			return fmt.Errorf("import config: %w", err)
		}
	}
	i.report.add(KindConfig, name, VerdictNew, "%d of its keys, %d unknown here, %d refused", len(t.Taken), len(t.Unknown), len(t.Refused))
	return nil
}

// The files of the command line's device key and of the tokens it was given. Their
// format is the same here.
const (
	keyFile    = "identity/device.json"
	tokensFile = "identity/device-auth.json"
)

// identity takes over the device key of the command line, and its tokens with it:
// they are of no use without the key.
func (i *importer) identity(context.Context) error {
	raw, err := i.read(keyFile, configBytesMax)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var key struct {
		Version       int    `json:"version"`
		DeviceID      string `json:"deviceId"`
		PrivateKeyPem string `json:"privateKeyPem"`
	}
	if err == nil {
		err = json.Unmarshal(raw, &key)
	}
	switch {
	case err != nil:
		i.report.add(KindIdentity, keyFile, VerdictSkipped, "%s", unreadable(err))
		return nil
	case key.Version != 1 || key.PrivateKeyPem == "":
		i.report.add(KindIdentity, keyFile, VerdictSkipped, "it is no key of version 1 (the macOS app's own is not needed here)")
		return nil
	}
	target := filepath.Join(i.StateDir, keyFile)
	old, err := os.ReadFile(target)
	switch {
	case err == nil && bytes.Equal(old, raw):
		i.report.add(KindIdentity, keyFile, VerdictThere, "")
		return nil
	case err == nil:
		i.report.add(KindIdentity, keyFile, VerdictSkipped, "this machine has a key of its own here, which stays")
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("import device key: %w", err)
	}
	i.report.add(KindIdentity, keyFile, VerdictNew, "")
	if !i.Apply {
		return nil
	}
	if tokens, err := i.read(tokensFile, configBytesMax); err == nil {
		if err := create(filepath.Join(i.StateDir, tokensFile), tokens); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("import device tokens: %w", err)
		}
	}
	// Last: while it is missing, the next run does all of this again.
	if err := create(target, raw); err != nil {
		return fmt.Errorf("import device key: %w", err)
	}
	return nil
}

// create makes a private file, complete from the moment it has its name; fs.ErrExist
// when the name is taken.
func create(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Link(tmp.Name(), path)
}
