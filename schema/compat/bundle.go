package compat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Bundle is a set of schema files that refer to each other. It is immutable.
type Bundle struct {
	files map[string]*document
	// defs are the definitions by name, which is unique in a bundle.
	defs map[string]schema
}

// document is what is compared of one schema file.
type document struct {
	text     json.RawMessage
	Title    string            `json:"title"`
	Defs     map[string]any    `json:"$defs"`
	Methods  map[string]method `json:"x-methods"`
	Events   map[string]event  `json:"x-events"`
	Protocol json.Number       `json:"x-protocol"`
	Roles    map[string]entry  `json:"x-roles"`
	Scopes   map[string]entry  `json:"x-scopes"`
	Errors   map[string]entry  `json:"x-errors"`
	Details  map[string]entry  `json:"x-details"`
	Closes   map[string]entry  `json:"x-close"`
	// Waive holds the reasons of tolerated breaks by "<rule> <path>".
	Waive map[string]string `json:"x-waive"`
}

type method struct {
	Params      map[string]any `json:"params"`
	Ack         map[string]any `json:"ack"`
	Result      map[string]any `json:"result"`
	Role        string         `json:"role"`
	Scope       string         `json:"scope"`
	Idempotency string         `json:"idempotency"`
	Replay      string         `json:"replay"`
	Reply       string         `json:"reply"`
	Validation  string         `json:"validation"`
	Listed      *bool          `json:"listed"`
	Deprecated  any            `json:"x-deprecated"`
}

type event struct {
	Payload      map[string]any `json:"payload"`
	Audience     []string       `json:"audience"`
	StateVersion bool           `json:"stateVersion"`
	Droppable    string         `json:"droppable"`
	Deprecated   any            `json:"x-deprecated"`
}

// entry is a line of a table: a role, a scope, or of the catalogue of errors.
type entry struct {
	Implies   []string    `json:"implies"`
	Retryable *bool       `json:"retryable"`
	Error     string      `json:"error"`
	NextStep  string      `json:"recommendedNextStep"`
	Close     string      `json:"close"`
	Code      json.Number `json:"code"`
	Reason    *string     `json:"reason"`
}

// place is where something stands: a file and a JSON pointer into it.
type place struct{ file, pointer string }

func (p place) at(tokens ...string) place {
	for _, token := range tokens {
		if strings.ContainsAny(token, "~/") {
			token = strings.ReplaceAll(strings.ReplaceAll(token, "~", "~0"), "/", "~1")
		}
		p.pointer += "/" + token
	}
	return p
}

func (p place) index(token string, i int) place { return p.at(token, strconv.Itoa(i)) }

func (p place) String() string { return p.file + "#" + p.pointer }

// Load reads every *.json file at the root of fsys.
func Load(fsys fs.FS) (*Bundle, error) {
	names, err := fs.Glob(fsys, "*.json")
	if err != nil {
		return nil, err
	}
	files := map[string]json.RawMessage{}
	for _, name := range names {
		if files[name], err = fs.ReadFile(fsys, name); err != nil {
			return nil, err
		}
	}
	return bundle(files)
}

// Parse reads a bundle as JSON writes it, which is an object with a member for each
// file; or one schema file alone, which is then called after its title.
func Parse(data []byte) (*Bundle, error) {
	var files map[string]json.RawMessage
	if err := decode(data, &files); err != nil {
		return nil, err
	}
	if _, alone := files["$schema"]; alone {
		var doc document
		if err := decode(data, &doc); err != nil {
			return nil, err
		}
		files = map[string]json.RawMessage{doc.Title + ".json": data}
	}
	return bundle(files)
}

// JSON returns the bundle in its canonical form: one object with a member for each
// file, sorted by name, the files' own members in their order.
func (b *Bundle) JSON() []byte {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, name := range slices.Sorted(maps.Keys(b.files)) {
		if i > 0 {
			out.WriteByte(',')
		}
		fmt.Fprintf(&out, "%q:%s", name, b.files[name].text)
	}
	out.WriteByte('}')
	var indented bytes.Buffer
	if err := json.Indent(&indented, out.Bytes(), "", " "); err != nil {
		panic(err) // each text was parsed
	}
	indented.WriteByte('\n')
	return indented.Bytes()
}

// Protocol returns the protocol version that the bundle states; 0 when it states none.
func (b *Bundle) Protocol() int {
	for _, doc := range b.files {
		if v, err := doc.Protocol.Int64(); err == nil {
			return int(v)
		}
	}
	return 0
}

func bundle(files map[string]json.RawMessage) (*Bundle, error) {
	if len(files) == 0 {
		return nil, errors.New("no schema file")
	}
	b := &Bundle{files: map[string]*document{}, defs: map[string]schema{}}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		doc := &document{text: files[name]}
		if err := decode(files[name], doc); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		b.files[name] = doc
		for _, def := range slices.Sorted(maps.Keys(doc.Defs)) {
			at := place{file: name}.at("$defs", def)
			if other, taken := b.defs[def]; taken {
				return nil, fmt.Errorf("%s: the definition is already declared at %s", at, other.at)
			}
			b.defs[def] = b.schema(at, doc.Defs[def])
		}
	}
	return b, b.check()
}

// check follows every reference once, so that nothing has to fail later.
func (b *Bundle) check() error {
	var errs []error
	look := func(at place, v any) {
		if m, ok := v.(map[string]any); ok && m["$ref"] != nil {
			if _, err := b.target(at, m); err != nil {
				errs = append(errs, err)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.files)) {
		doc, top := b.files[name], place{file: name}
		visit(top.at("$defs"), map[string]any(doc.Defs), look)
		for _, m := range slices.Sorted(maps.Keys(doc.Methods)) {
			at := top.at("x-methods", m)
			look(at.at("params"), doc.Methods[m].Params)
			look(at.at("ack"), doc.Methods[m].Ack)
			look(at.at("result"), doc.Methods[m].Result)
		}
		for _, e := range slices.Sorted(maps.Keys(doc.Events)) {
			look(top.at("x-events", e, "payload"), doc.Events[e].Payload)
		}
	}
	return errors.Join(errs...)
}

// visit calls fn for every value below v that is no example.
func visit(at place, v any, fn func(place, any)) {
	fn(at, v)
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if key != "examples" && key != "x-invalid" && key != "const" && key != "enum" && key != "default" {
				visit(at.at(key), v[key], fn)
			}
		}
	case []any:
		for i, item := range v {
			visit(at.at(strconv.Itoa(i)), item, fn)
		}
	}
}

// target returns the definition that the $ref of m means. References are told apart
// by the definition's name alone; the file in them is checked.
func (b *Bundle) target(at place, m map[string]any) (schema, error) {
	ref, _ := m["$ref"].(string)
	file, name, _ := strings.Cut(ref, "#/$defs/")
	if file == "" {
		file = at.file
	}
	def, ok := b.defs[name]
	if !ok || def.at.file != file {
		return schema{}, fmt.Errorf("%s: $ref %q means no definition of this bundle", at, ref)
	}
	return def, nil
}

// decode reads one JSON text and keeps the spelling of numbers.
func decode(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("text after the JSON value")
	}
	return nil
}
