package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/atombender/go-jsonschema/pkg/generator"
	"github.com/atombender/go-jsonschema/pkg/schemas"
	_ "github.com/go-viper/mapstructure/v2" // the code that go-jsonschema generates stands on it
)

//go:embed bench/bench.go
var source embed.FS

// build writes the module below .cache/speed and compiles it.
func build(root string) (program string, err error) {
	dir := filepath.Join(root, ".cache/speed")
	for _, sub := range []string{"gojs", "valid"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return "", err
		}
	}
	schema := filepath.Join(dir, "schema")
	if err := writeSchema(filepath.Join(root, "schema"), schema); err != nil {
		return "", err
	}
	if _, err := output(filepath.Join(root, "tools"), "go", "run", "./protogen", "-schema", schema, "-valid", filepath.Join(dir, "valid")); err != nil {
		return "", err
	}
	code, err := goJSONSchema(schema)
	if err != nil {
		return "", fmt.Errorf("go-jsonschema: %w", err)
	}
	bench, err := source.ReadFile("bench/bench.go")
	if err != nil {
		return "", err
	}
	bench = bytes.Replace(bench, []byte("//go:build ignore\n"), nil, 1)
	module, err := moduleFile(root)
	if err != nil {
		return "", err
	}
	sums, err := os.ReadFile(filepath.Join(root, "tools/oracle/go.sum"))
	if err != nil {
		return "", err
	}
	for name, text := range map[string][]byte{"go.mod": module, "go.sum": sums, "main.go": bench, "gojs/gojs.go": code} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return "", err
		}
	}
	program = filepath.Join(dir, "speed")
	_, err = output(dir, "env", "GOWORK=off", "GOFLAGS=-mod=mod", "GOPROXY=off", "CGO_ENABLED=0", "go", "build", "-trimpath", "-o", program, ".")
	return program, err
}

// moduleFile is this module's own list of versions under another name.
func moduleFile(root string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(root, "tools/oracle/go.mod"))
	if err != nil {
		return nil, err
	}
	_, rest, _ := strings.Cut(string(text), "\n")
	return []byte("module speed.test\n" + strings.Replace(rest, "=> ../..", "=> "+root, 1)), nil
}

// writeSchema copies the schema and adds a file with whole frames, in which the payload
// has its type: what reads such a frame needs no second pass.
func writeSchema(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.CopyFS(to, jsonFiles{os.DirFS(from)}); err != nil {
		return err
	}
	text := map[string]any{"type": "string", "minLength": 1}
	request := map[string]any{"type": map[string]any{"const": "req", "type": "string"}, "id": text, "method": text}
	event := map[string]any{"type": map[string]any{"const": "event", "type": "string"}, "event": text, "seq": map[string]any{"type": "integer", "minimum": 0}}
	response := map[string]any{"type": map[string]any{"const": "res", "type": "string"}, "id": text, "ok": map[string]any{"type": "boolean"}}
	defs := map[string]any{}
	for _, f := range []struct {
		file, def, member string
		rest              map[string]any
	}{
		{"frames", "ConnectParams", "params", request},
		{"chat", "ChatSendParams", "params", request},
		{"agent", "AgentEvent", "payload", event},
		{"health", "HealthSummary", "payload", response},
		{"frames", "HelloOk", "payload", response},
	} {
		properties := maps.Clone(f.rest)
		required := slices.Sorted(maps.Keys(properties))
		if f.member == "payload" && f.rest["event"] != nil {
			required = []string{"type", "event"}
		}
		properties[f.member] = map[string]any{"$ref": f.file + ".json#/$defs/" + f.def}
		defs[f.def+"Frame"] = map[string]any{"type": "object", "additionalProperties": false, "required": append(required, f.member), "properties": properties}
	}
	file, err := json.Marshal(map[string]any{"title": "whole", "$defs": defs})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, "whole.json"), file, 0o644)
}

// jsonFiles shows only the schema files of a folder.
type jsonFiles struct{ fs.FS }

func (f jsonFiles) ReadDir(name string) ([]fs.DirEntry, error) {
	list, err := fs.ReadDir(f.FS, name)
	return slices.DeleteFunc(list, func(e fs.DirEntry) bool { return filepath.Ext(e.Name()) != ".json" }), err
}

// goJSONSchema lets the library generate types and its own validation from the schema,
// put into one file.
func goJSONSchema(schemaDir string) ([]byte, error) {
	defs, err := merged(schemaDir)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(map[string]any{"$defs": defs})
	if err != nil {
		return nil, err
	}
	schema := &schemas.Schema{}
	if err := json.Unmarshal(text, schema); err != nil {
		return nil, err
	}
	schema.ObjectAsType = &schemas.ObjectAsType{} // a file of definitions has no root
	g, err := generator.New(generator.Config{DefaultPackageName: "gojs", DefaultOutputName: "gojs.go", Tags: []string{"json"}, Warner: func(string) {}})
	if err != nil {
		return nil, err
	}
	if err := g.AddFile("protocol.json", schema); err != nil {
		return nil, err
	}
	sources, err := g.Sources()
	if err != nil {
		return nil, err
	}
	return sources["gojs.go"], nil
}

// merged returns all definitions with references inside one file.
func merged(dir string) (map[string]any, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	all := map[string]any{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var file struct {
			Defs map[string]any `json:"$defs"`
		}
		if err := json.Unmarshal(text, &file); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for def, schema := range file.Defs {
			all[def] = local(schema)
		}
	}
	return all, nil
}

// local drops what is the house's own and makes references point into the same file.
func local(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if ref, ok := value.(string); ok && key == "$ref" {
				v[key] = ref[strings.IndexByte(ref, '#'):]
				continue
			}
			if strings.HasPrefix(key, "x-") || key == "examples" {
				delete(v, key)
				continue
			}
			v[key] = local(value)
		}
	case []any:
		for i := range v {
			v[i] = local(v[i])
		}
	}
	return v
}
