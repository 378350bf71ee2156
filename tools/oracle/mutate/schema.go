package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// schema is one schema object, read straight from the files.
type schema struct {
	Ref           string             `json:"$ref"`
	Type          string             `json:"type"`
	Const         any                `json:"const"`
	Enum          []any              `json:"enum"`
	AnyOf         []*schema          `json:"anyOf"`
	OneOf         []*schema          `json:"oneOf"`
	Properties    map[string]*schema `json:"properties"`
	Required      []string           `json:"required"`
	Additional    json.RawMessage    `json:"additionalProperties"`
	Patterns      map[string]*schema `json:"patternProperties"`
	Items         *schema            `json:"items"`
	Maximum       *json.Number       `json:"maximum"`
	Minimum       *json.Number       `json:"minimum"`
	ExclusiveMax  *json.Number       `json:"exclusiveMaximum"`
	MinLength     *json.Number       `json:"minLength"`
	Pattern       string             `json:"pattern"`
	MinItems      *json.Number       `json:"minItems"`
	Discriminator string             `json:"x-discriminator"`
	Examples      []json.RawMessage  `json:"examples"`

	file  string  // where a #/$defs reference leads
	other *schema // additionalProperties where it is a schema
	named bool    // a definition, not a schema inside one
}

// method and event name the definitions of what is sent.
type (
	method struct{ Params, Ack, Result *schema }
	event  struct{ Payload *schema }
)

// protocol is all the schema files together.
type protocol struct {
	defs    map[string]*schema // by name
	methods map[string]method
	events  map[string]event
}

func readProtocol(dir string) (*protocol, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no schema files in %s: %w", dir, err)
	}
	p := &protocol{map[string]*schema{}, map[string]method{}, map[string]event{}}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var f struct {
			Defs    map[string]*schema `json:"$defs"`
			Methods map[string]method  `json:"x-methods"`
			Events  map[string]event   `json:"x-events"`
		}
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		if err := dec.Decode(&f); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for def, s := range f.Defs {
			if err := s.settle(filepath.Base(name)); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", name, def, err)
			}
			s.named = true
			p.defs[def] = s
		}
		for n, m := range f.Methods {
			p.methods[n] = m
		}
		for n, e := range f.Events {
			p.events[n] = e
		}
	}
	return p, nil
}

// settle reads what a struct tag cannot say.
func (s *schema) settle(file string) error {
	s.file = file
	inner := slices.Concat(s.AnyOf, s.OneOf)
	for _, group := range []map[string]*schema{s.Properties, s.Patterns} {
		for _, one := range group {
			inner = append(inner, one)
		}
	}
	if strings.HasPrefix(string(s.Additional), "{") {
		if err := json.Unmarshal(s.Additional, &s.other); err != nil {
			return err
		}
		inner = append(inner, s.other)
	}
	if s.Items != nil {
		inner = append(inner, s.Items)
	}
	for _, one := range inner {
		if err := one.settle(file); err != nil {
			return err
		}
	}
	return nil
}

// target returns the definition's name behind a reference.
func (s *schema) target() string { return s.Ref[strings.LastIndexByte(s.Ref, '/')+1:] }

// follow returns what s means. Definition names are unique over all files.
func (p *protocol) follow(s *schema) *schema {
	for s.Ref != "" {
		to, ok := p.defs[s.target()]
		if !ok {
			panic("schema: no definition " + s.Ref)
		}
		s = to
	}
	return s
}

func (s *schema) closed() bool { return string(s.Additional) == "false" }

// branches returns the alternatives of a union other than null, and whether null is
// one of them; nil when s is no union.
func (s *schema) branches() (rest []*schema, null bool) {
	for _, b := range slices.Concat(s.AnyOf, s.OneOf) {
		if b.Type == "null" {
			null = true
			continue
		}
		rest = append(rest, b)
	}
	return rest, null
}

// enumOf returns the values of an enum of strings, or nil.
func (s *schema) enumOf() []string {
	values := s.Enum
	if rest, _ := s.branches(); len(values) == 0 && len(rest) > 0 {
		for _, b := range rest {
			values = append(values, b.Const)
		}
	}
	var list []string
	for _, v := range values {
		text, ok := v.(string)
		if !ok {
			return nil
		}
		list = append(list, text)
	}
	return list
}

// mapOf returns the schema of the values of an object without named members.
func (s *schema) mapOf() *schema {
	switch {
	case s.Type != "object" || len(s.Properties) > 0 || s.closed():
		return nil
	case s.Patterns["^(.*)$"] != nil:
		return s.Patterns["^(.*)$"]
	case s.other != nil:
		return s.other
	case !s.named:
		return &schema{}
	}
	return nil
}

// refusal tells why a client does not take a value.
type refusal struct{ path, why string }

func (r *refusal) Error() string { return cmp.Or(r.path, "the whole") + ": " + r.why }

// decode is the oracle: what a client makes of v under s, as a new value without the
// members that s does not name. Objects are open to new members and enums to new values
// unless closed is set. dropped, when not nil, collects pointers to what is left out.
func (p *protocol) decode(s *schema, v any, path string, closed bool, dropped *[]string) (any, error) {
	s = p.follow(s)
	refuse := func(why string) (any, error) { return nil, &refusal{path, why} }
	if s.Const != nil {
		if v != s.Const {
			return refuse("not the constant")
		}
		return v, nil
	}
	rest, null := s.branches()
	switch {
	case null && v == nil:
		return nil, nil
	case s.enumOf() != nil:
		text, ok := v.(string)
		if !ok || closed && !slices.Contains(s.enumOf(), text) {
			return refuse("not in the enum")
		}
		return v, nil
	case len(rest) == 1:
		return p.decode(rest[0], v, path, closed, dropped)
	case len(rest) > 1:
		return p.union(s, rest, v, path, closed, dropped)
	}
	switch s.Type {
	case "":
		return v, nil
	case "string":
		if _, ok := v.(string); ok {
			return v, nil
		}
	case "boolean":
		if _, ok := v.(bool); ok {
			return v, nil
		}
	case "integer":
		if n, ok := v.(json.Number); ok {
			return integer(n, path)
		}
	case "number":
		if n, ok := v.(json.Number); ok {
			f, err := n.Float64()
			if err != nil || math.IsInf(f, 0) {
				return refuse("number out of range")
			}
			return n, nil
		}
	case "array":
		if list, ok := v.([]any); ok {
			return p.array(s, list, path, closed, dropped)
		}
	case "object":
		if members, ok := v.(map[string]any); ok {
			return p.object(s, members, path, closed, dropped)
		}
	default:
		panic("schema: the oracle does not know type " + s.Type)
	}
	return refuse("not " + s.Type)
}

// integer accepts whole numbers of 64 bits.
func integer(n json.Number, path string) (any, error) {
	r, ok := new(big.Rat).SetString(n.String())
	if !ok || !r.IsInt() || !r.Num().IsInt64() {
		return nil, &refusal{path, "no integer of 64 bits"}
	}
	return json.Number(r.Num().String()), nil
}

func (p *protocol) array(s *schema, list []any, path string, closed bool, dropped *[]string) (any, error) {
	out := make([]any, len(list))
	for i, item := range list {
		v := item
		if s.Items != nil {
			var err error
			if v, err = p.decode(s.Items, item, fmt.Sprintf("%s/%d", path, i), closed, dropped); err != nil {
				return nil, err
			}
		}
		out[i] = v
	}
	return out, nil
}

func (p *protocol) object(s *schema, members map[string]any, path string, closed bool, dropped *[]string) (any, error) {
	out := map[string]any{}
	each := s.mapOf()
	for _, name := range sortedKeys(members) {
		at := path + "/" + escape(name)
		one := s.Properties[name]
		switch {
		case one == nil && each != nil:
			one = each
		case one == nil && closed && s.closed():
			return nil, &refusal{at, "unexpected"}
		case one == nil:
			if dropped != nil {
				*dropped = append(*dropped, at)
			}
			continue
		}
		v, err := p.decode(one, members[name], at, closed, dropped)
		if err != nil {
			return nil, err
		}
		out[name] = v
	}
	for _, name := range s.Required {
		if _, ok := members[name]; !ok {
			return nil, &refusal{path, "lacks " + name}
		}
	}
	return out, nil
}

// union chooses by the discriminator: a variant that nobody knows yet is kept as it is.
// Without one, the first variant that fits exactly is meant, else the first that fits
// when new members and values are tolerated.
func (p *protocol) union(s *schema, rest []*schema, v any, path string, closed bool, dropped *[]string) (any, error) {
	if s.Discriminator != "" {
		members, _ := v.(map[string]any)
		tag, ok := members[s.Discriminator].(string)
		if !ok {
			return nil, &refusal{path, "no " + s.Discriminator}
		}
		for _, b := range rest {
			if p.follow(p.follow(b).Properties[s.Discriminator]).Const == tag {
				return p.decode(b, v, path, closed, dropped)
			}
		}
		if closed {
			return nil, &refusal{path, "unknown " + s.Discriminator}
		}
		return v, nil
	}
	for _, strict := range []bool{true, closed} {
		for _, b := range rest {
			var inner []string
			if out, err := p.decode(b, v, path, strict, &inner); err == nil {
				if dropped != nil {
					*dropped = append(*dropped, inner...)
				}
				return out, nil
			}
		}
	}
	return nil, &refusal{path, "fits no variant"}
}
