package oracle

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// oracle holds the independent validator of each definition. It is safe for
// concurrent use.
type oracle struct {
	schemas map[string]*jsonschema.Schema
}

// newValidators compiles every definition of the schema files in fsys.
func newValidators(fsys fs.FS) (*oracle, error) {
	files, err := fs.Glob(fsys, "*.json")
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.UseRegexpEngine(anyName)
	o := &oracle{schemas: map[string]*jsonschema.Schema{}}
	var places []string
	for _, name := range files {
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		root, ok := doc.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s: not an object", name)
		}
		id, _ := root["$id"].(string)
		if err := c.AddResource(id, doc); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		defs, _ := root["$defs"].(map[string]any)
		for def := range defs {
			places = append(places, id+"#/$defs/"+def)
		}
	}
	for _, place := range places {
		s, err := c.Compile(place)
		if err != nil {
			return nil, err
		}
		o.schemas[place[strings.LastIndexByte(place, '/')+1:]] = s
	}
	return o, nil
}

// anyName is the validator's regexp engine, except that "^(.*)$", which is how the
// schema says "any name", also matches names with a line break.
func anyName(pattern string) (jsonschema.Regexp, error) {
	if pattern == "^(.*)$" {
		pattern = "(?s)" + pattern
	}
	return regexp.Compile(pattern)
}

// accepts reports whether the independent validator accepts raw as a def.
func (o *oracle) accepts(def string, raw []byte) (bool, error) {
	s := o.schemas[def]
	if s == nil {
		return false, fmt.Errorf("no definition is called %q", def)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return false, nil //nolint:nilerr // text that does not parse is not accepted
	}
	return s.Validate(v) == nil, nil
}

// disagreement compares both verdicts and returns what differs, or an empty string.
// Ours refuses on purpose what no validator of parsed values can see or hold: members
// named twice, invalid UTF-8, integers beyond 64 bits and excessive depth.
func (o *oracle) disagreement(def string, raw []byte) string {
	own := protocol.Validate(def, raw)
	var syntax *wire.SyntaxError
	if errors.As(own, &syntax) {
		return ""
	}
	accepted, err := o.accepts(def, raw)
	if err != nil {
		return err.Error()
	}
	if accepted != (own == nil) {
		return fmt.Sprintf("%s %s: the oracle accepts: %t, ours says: %v", def, raw, accepted, own)
	}
	return ""
}
