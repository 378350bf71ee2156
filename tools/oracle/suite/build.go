package suite

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build generates Go for the groups and compiles it below work, which is kept from run to
// run so that the compiler's cache knows it. It returns the program that gives verdicts
// and why the groups that have none were refused, by name.
func Build(root, work string, groups []Group, documents map[string]json.RawMessage) (program string, refused map[string]string, err error) {
	type bundled struct {
		Name, Dialect string
		Schema        json.RawMessage
	}
	var bundle struct {
		Roots     []bundled
		Documents map[string]json.RawMessage
	}
	bundle.Documents = documents
	for _, g := range groups {
		bundle.Roots = append(bundle.Roots, bundled{g.Name, g.Dialect, g.Schema})
	}
	text, err := json.Marshal(bundle)
	if err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return "", nil, err
	}
	in := filepath.Join(work, "bundle.json")
	if err := os.WriteFile(in, text, 0o644); err != nil {
		return "", nil, err
	}
	if err := command(filepath.Join(root, "tools"), "go", "run", "./protogen", "-roots", in, "-out", work); err != nil {
		return "", nil, err
	}
	reasons, err := os.ReadFile(filepath.Join(work, "refused.json"))
	if err != nil {
		return "", nil, err
	}
	if err := json.Unmarshal(reasons, &refused); err != nil {
		return "", nil, err
	}
	if err := writeProgram(root, work, groups, refused); err != nil {
		return "", nil, err
	}
	program = filepath.Join(work, "verdicts")
	// Code that runs once need not be fast; compiled so, it is ready in half the time.
	return program, refused, command(work, "go", "build", "-trimpath", "-gcflags=suite.test/...=-l -dwarf=false", "-ldflags=-w", "-o", program, ".")
}

func command(dir string, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if name == "go" && args[0] == "build" {
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod", "GOPROXY=off", "CGO_ENABLED=0")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}

// writeProgram writes the module around the generated package.
func writeProgram(root, work string, groups []Group, refused map[string]string) error {
	var table strings.Builder
	for _, g := range groups {
		if refused[g.Name] == "" {
			fmt.Fprintf(&table, "\t%q: of(protocol.Codec%s),\n", g.Name, g.Name)
		}
	}
	module, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"go.mod":  "module suite.test\n\ngo 1.26.0\n\nrequire github.com/coderclaw/gateway v0.0.0\n\nreplace github.com/coderclaw/gateway => " + module + "\n",
		"main.go": programText,
		"all.go":  "package main\n\nimport \"suite.test/gen/protocol\"\n\nvar all = map[string]func([]byte) string{\n" + table.String() + "}\n",
	} {
		path := filepath.Join(work, name)
		if old, err := os.ReadFile(path); err == nil && string(old) == text {
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// programText reads lines of a definition's name, a tab and an instance, and answers each
// with a verdict.
const programText = `package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/coderclaw/gateway/pkg/wire"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for lines.Scan() {
		name, raw, _ := strings.Cut(lines.Text(), "\t")
		fmt.Fprintln(out, strings.ReplaceAll(verdict(all[name], []byte(raw)), "\n", " "))
	}
}

func verdict(decode func([]byte) string, raw []byte) (v string) {
	defer func() {
		if p := recover(); p != nil {
			v = fmt.Sprint("panic: ", p)
		}
	}()
	return decode(raw)
}

// of decodes strictly; what was accepted is encoded and must be accepted as the same. A
// client's decoding accepts at least as much.
func of[T any](c wire.Codec[T]) func([]byte) string {
	return func(raw []byte) string {
		v, err := c.Decode(raw)
		var syntax *wire.SyntaxError
		switch {
		case errors.As(err, &syntax):
			return "unread: " + err.Error()
		case err != nil:
			return "refused"
		}
		once := c.Append(nil, v)
		again, err := c.Decode(once)
		if err != nil {
			return fmt.Sprintf("wrong: encoded as %s, refused: %v", once, err)
		}
		if twice := c.Append(nil, again); string(twice) != string(once) {
			return fmt.Sprintf("wrong: encoded as %s, then as %s", once, twice)
		}
		if _, err := c.DecodeOpen(raw); err != nil {
			return fmt.Sprintf("wrong: accepted, but not openly: %v", err)
		}
		return "accepted"
	}
}
`

// Verdicts asks the program about every instance of the groups that were not refused, in
// order.
func Verdicts(program string, groups []Group, refused map[string]string) ([]string, error) {
	var in bytes.Buffer
	n := 0
	for _, g := range groups {
		if refused[g.Name] != "" {
			continue
		}
		for _, t := range g.Tests {
			in.WriteString(g.Name + "\t")
			if err := json.Compact(&in, t.Data); err != nil {
				return nil, err
			}
			in.WriteByte('\n')
			n++
		}
	}
	cmd := exec.Command(program)
	cmd.Stdin = &in
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	list := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(list) != n {
		return nil, fmt.Errorf("%d verdicts on %d instances", len(list), n)
	}
	return list, nil
}
