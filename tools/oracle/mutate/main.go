// Mutate writes the judge of every generated client: testdata/mutations/recorded.jsonl,
// which tells what a client makes of each recorded message, and mutations.jsonl, some
// thousand changed messages (a member added, taken away or null, a new enum value, a
// number too wide, a wrong type) with what a client has to do about each.
//
// The expectations come from a small walker over the schema files and from nothing that
// is generated, so that a fault of the generator cannot excuse itself. The rule is that
// of clients: members nobody named are dropped, enum values and variants nobody named
// are kept, null is not the same as absent, integers have 64 bits exactly, and what is
// required or of the wrong type is refused. Bounds (minLength, maximum and so on) are the
// gateway's business: no mutation breaks one, so that a client may check them or not.
//
// Every recorded message has to decode without loss, but for those that
// testdata/mutations/EXCEPTIONS.txt names: otherwise a mistake in the schema would only
// move the expectations. The same schema and recordings give the same bytes.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	root := flag.String("root", ".", "the repository's root")
	flag.Parse()
	files, err := generate(*root)
	if err == nil {
		err = write(*root, files)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

// generate returns the files by their path below root.
func generate(root string) (map[string][]byte, error) {
	p, err := readProtocol(filepath.Join(root, "schema"))
	if err != nil {
		return nil, err
	}
	excused, err := readExceptions(filepath.Join(root, "testdata", "mutations", "EXCEPTIONS.txt"))
	if err != nil {
		return nil, err
	}
	lines, samples, err := p.readRecorded(filepath.Join(root, "testdata", "frames"), excused)
	if err != nil {
		return nil, err
	}
	examples, err := p.examples()
	if err != nil {
		return nil, err
	}
	mutations := p.mutate(slices.Concat(samples, examples, p.full()))
	if err := check(mutations); err != nil {
		return nil, err
	}
	return map[string][]byte{
		"testdata/mutations/recorded.jsonl":  jsonl(lines),
		"testdata/mutations/mutations.jsonl": jsonl(mutations),
	}, nil
}

// jsonl prints one value a line.
func jsonl[T any](list []T) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for _, one := range list {
		if err := enc.Encode(one); err != nil {
			panic(err) // strings only
		}
	}
	return b.Bytes()
}

func write(root string, files map[string][]byte) error {
	for _, name := range sortedKeys(files) {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, files[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}
