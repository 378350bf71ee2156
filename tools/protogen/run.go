package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/coderclaw/gateway/tools/protogen/internal/lint"
	"github.com/coderclaw/gateway/tools/protogen/internal/load"
	"github.com/coderclaw/gateway/tools/protogen/internal/plan"
	"github.com/coderclaw/gateway/tools/protogen/internal/render"
)

// run generates from schemaDir and writes below out, or compares.
func run(schemaDir, out string, check bool) error {
	files, err := generate(os.DirFS(schemaDir))
	if err != nil {
		return err
	}
	if check {
		return compare(files, out)
	}
	return write(files, out)
}

// generate returns every generated file by its path below the repository root.
func generate(schema fs.FS) (map[string][]byte, error) {
	model, err := load.Dir(schema)
	if err != nil {
		return nil, err
	}
	pkg, planErr := plan.Make(model)
	if err := errors.Join(planErr, lint.House(model)); err != nil {
		return nil, err
	}
	return render.Files(pkg)
}

// write brings the tree up to date. A file is replaced in one step and only when its
// bytes differ, and stale generated files are removed.
func write(files map[string][]byte, out string) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(out, name)
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, files[name]) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path+".tmp", files[name], 0o644); err != nil {
			return err
		}
		if err := os.Rename(path+".tmp", path); err != nil {
			return err
		}
	}
	stale, err := extra(files, out)
	if err != nil {
		return err
	}
	for _, name := range stale {
		if err := os.Remove(filepath.Join(out, name)); err != nil {
			return err
		}
	}
	return nil
}

// compare tells every difference between files and the tree.
func compare(files map[string][]byte, out string) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(files)) {
		old, err := os.ReadFile(filepath.Join(out, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			errs = append(errs, fmt.Errorf("%s: missing", name))
		case err != nil:
			errs = append(errs, err)
		case !bytes.Equal(old, files[name]):
			errs = append(errs, fmt.Errorf("%s: differs from the schema", name))
		}
	}
	stale, err := extra(files, out)
	if err != nil {
		return err
	}
	for _, name := range stale {
		errs = append(errs, fmt.Errorf("%s: nothing generates it", name))
	}
	if errs != nil {
		errs = append(errs, errors.New("run: make gen"))
	}
	return errors.Join(errs...)
}

// extra lists generated-looking files below gen/ that are not in files.
func extra(files map[string][]byte, out string) ([]string, error) {
	var list []string
	err := fs.WalkDir(os.DirFS(out), "gen", func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == "gen" {
			return fs.SkipAll
		}
		if err != nil || d.IsDir() {
			return err
		}
		if _, ok := files[path]; !ok && (strings.HasSuffix(path, ".gen.go") || strings.HasSuffix(path, "_gen_test.go")) {
			list = append(list, path)
		}
		return nil
	})
	return list, err
}
