package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/coderclaw/gateway/schema/compat"
)

// release freezes the schema as the bundle that later ones are compared with. What was
// released only grows: a bundle that breaks it is refused, unless the protocol version
// was raised (which makes another file) or the schema waives the break.
func release(schemaDir string) error {
	if _, err := generate(os.DirFS(schemaDir)); err != nil {
		return err
	}
	current, err := compat.Load(os.DirFS(schemaDir))
	if err != nil {
		return err
	}
	path := filepath.Join(schemaDir, "released", fmt.Sprintf("v%d.json", current.Protocol()))
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		if err := keeps(path, text, current); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, current.JSON(), 0o644)
}

// keeps fails with every break of what text promised.
func keeps(path string, text []byte, current *compat.Bundle) error {
	promised, err := compat.Parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var errs []error
	for _, c := range compat.Compare(promised, current) {
		if c.Breaking {
			errs = append(errs, fmt.Errorf("%s: %s: %s", c.Path, c.Rule, c.Message))
		}
	}
	if errs != nil {
		errs = append(errs, fmt.Errorf("nothing written: %s was promised", path))
	}
	return errors.Join(errs...)
}
