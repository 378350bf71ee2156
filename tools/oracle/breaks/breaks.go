// Package breaks takes the proofs at their word. It breaks one thing at a time (a rule of
// the schema, a step of the generator, the runtime under it, an answer of the gateway) and
// demands that a test, which it names, fails. A test that still passes protects nothing.
//
// Nothing in the tree changes: a broken file is laid over the real one for one build (go
// build -overlay), and what a broken schema or generator writes goes the same way. No
// switch that turns a defence off exists in the product.
package breaks

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// What is broken.
const (
	Code      = ""
	Schema    = "schema"
	Generator = "generator"
)

// Break is one deliberate mistake.
type Break struct {
	// Name says what goes wrong.
	Name string
	// Kind is Code, or tells that code has to be generated anew.
	Kind string
	// In File, a path below the root, Old becomes New. Old occurs once, unless All.
	File, Old, New string
	All            bool
	// Package, seen from the folder Module, holds Test, which must fail.
	Module, Package, Test string
	// Quick marks those that run with every change.
	Quick bool
}

// Broken returns the file's text with the mistake in it.
func (b Break) Broken(root string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(root, b.File))
	if err != nil {
		return nil, err
	}
	if n := strings.Count(string(text), b.Old); n == 0 || n > 1 && !b.All {
		return nil, fmt.Errorf("%s holds %q %d times: the break is out of date", b.File, b.Old, n)
	}
	return []byte(strings.ReplaceAll(string(text), b.Old, b.New)), nil
}

// Caught makes the mistake and reports whether the test failed, with what it printed. A
// build that fails is no proof: it is an error.
func (b Break) Caught(root, temp string) (caught bool, output string, err error) {
	overlay, err := b.overlay(root, temp)
	if err != nil {
		return false, "", err
	}
	flags, err := exec.Command("go", "env", "GOFLAGS").Output()
	if err != nil {
		return false, "", err
	}
	// By way of the environment, so that what the test builds is broken as well.
	output, err = run(filepath.Join(root, b.Module), "env", "GOFLAGS="+strings.TrimSpace(string(flags))+" -overlay="+overlay,
		"go", "test", "-count=1", "-run", "^"+b.Test+"$", b.Package)
	if err == nil {
		return false, output, nil
	}
	if !regexp.MustCompile(`(?m)^--- FAIL: ` + b.Test + ` `).MatchString(output) {
		return false, output, fmt.Errorf("%s did not even run", b.Test)
	}
	return true, output, nil
}

// overlay writes the file that tells the go command what lies over what.
func (b Break) overlay(root, temp string) (string, error) {
	text, err := b.Broken(root)
	if err != nil {
		return "", err
	}
	broken := filepath.Join(temp, "broken"+filepath.Ext(b.File))
	if err := os.WriteFile(broken, text, 0o644); err != nil {
		return "", err
	}
	replace := map[string]string{}
	if b.Kind != Schema {
		replace[filepath.Join(root, b.File)] = broken
	}
	if b.Kind != Code {
		generated, err := b.generate(root, temp, broken)
		if err != nil {
			return "", err
		}
		for path, by := range generated {
			replace[path] = by
		}
	}
	return writeOverlay(filepath.Join(temp, "overlay.json"), replace)
}

func writeOverlay(path string, replace map[string]string) (string, error) {
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	return path, os.WriteFile(path, text, 0o644)
}

// generate lets the generator write Go with the mistake, and returns which file belongs
// over which.
func (b Break) generate(root, temp, broken string) (map[string]string, error) {
	schema, out := filepath.Join(root, "schema"), filepath.Join(temp, "out")
	args := []string{"run"}
	if b.Kind == Schema {
		schema = filepath.Join(temp, "schema")
		if err := copySchema(filepath.Join(root, "schema"), schema); err != nil {
			return nil, err
		}
		if err := os.Rename(broken, filepath.Join(schema, filepath.Base(b.File))); err != nil {
			return nil, err
		}
	} else {
		path, err := writeOverlay(filepath.Join(temp, "generator.json"), map[string]string{filepath.Join(root, b.File): broken})
		if err != nil {
			return nil, err
		}
		args = append(args, "-overlay", path)
	}
	if text, err := run(filepath.Join(root, "tools"), "go", append(args, "./protogen", "-schema", schema, "-out", out)...); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, text)
	}
	over := map[string]string{}
	err := fs.WalkDir(os.DirFS(out), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".go" {
			over[filepath.Join(root, path)] = filepath.Join(out, path)
		}
		return err
	})
	return over, err
}

func copySchema(from, to string) error {
	names, err := filepath.Glob(filepath.Join(from, "*.json"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(name)), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func run(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}
