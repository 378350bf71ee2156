package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
)

const (
	expectDecode = "decode"
	expectRefuse = "refuse"
)

// The kinds of mutation.
const (
	addedMember     = "added-member"
	unknownEnum     = "unknown-enum"
	droppedOptional = "dropped-optional"
	missingRequired = "missing-required"
	widerNumber     = "wider-number"
	wrongType       = "wrong-type"
	nullForOptional = "null-for-optional"
)

// mutation is a line of mutations.jsonl.
type mutation struct {
	ID  string `json:"id"`
	Def string `json:"def"`
	// Kind is one of the constants above.
	Kind string `json:"kind"`
	// Path is a JSON pointer to what was changed.
	Path string `json:"path"`
	// Frame is the changed JSON text.
	Frame  string `json:"frame"`
	Expect string `json:"expect"`
	// Same is what the decoded value encodes to, but for order and spaces.
	Same string `json:"same,omitempty"`
}

// perGroup is how many samples stand for the same thing tried. New enum values are few
// and worth more; what is refused is refused in the same way everywhere.
func perGroup(kind string) int {
	switch kind {
	case unknownEnum:
		return 5
	case wrongType, missingRequired:
		return 1
	}
	return 2
}

// mutate changes every sample in every way that it knows, and keeps a few of each
// group: those of the shortest samples, among equals by a hash, so that a new sample
// moves few lines.
func (p *protocol) mutate(samples []sample) []mutation {
	texts := map[string]string{} // by id
	for i := range samples {
		samples[i].value = shorten(samples[i].value)
		texts[samples[i].id] = text(samples[i].value)
	}
	slices.SortFunc(samples, func(a, b sample) int {
		x, y := texts[a.id], texts[b.id]
		return cmp.Or(cmp.Compare(len(x)/sizeClass, len(y)/sizeClass), cmp.Compare(hash(x), hash(y)), cmp.Compare(a.id, b.id))
	})
	m := mutator{protocol: p, groups: map[string][]mutation{}, seen: map[string]bool{}}
	for _, s := range samples {
		if len(texts[s.id]) <= frameMax {
			m.sample = s
			m.walk(p.defs[s.def], s.value, "", s.def)
		}
	}
	var all []mutation
	for _, name := range sortedKeys(m.groups) {
		for _, one := range m.groups[name] {
			all = append(all, p.judge(one))
		}
	}
	return all
}

// shorten cuts long lists, such as a hello's names of methods: their later elements try
// nothing new.
func shorten(v any) any {
	const enough = 3
	switch t := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, one := range t {
			out[name] = shorten(one)
		}
		return out
	case []any:
		out := make([]any, min(len(t), enough))
		for i := range out {
			out[i] = shorten(t[i])
		}
		return out
	}
	return v
}

const (
	// frameMax keeps the file readable: a longer text tries nothing that a shorter
	// one does not.
	frameMax = 4096
	// sizeClass is how many bytes count as equally long.
	sizeClass = 512
)

func hash(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s)) // never fails
	return h.Sum64()
}

// judge asks the oracle what a client has to do.
func (p *protocol) judge(m mutation) mutation {
	v, err := parse([]byte(m.Frame))
	if err != nil {
		panic(err) // text printed it
	}
	m.Expect = expectRefuse
	if out, err := p.decode(p.defs[m.Def], v, "", false, nil); err == nil {
		m.Expect, m.Same = expectDecode, text(out)
	}
	return m
}

// mutator makes the mutations of one sample after the other.
type mutator struct {
	*protocol
	sample
	// groups holds what was made: a group tries one member of one definition in one way.
	groups map[string][]mutation
	seen   map[string]bool
}

// add notes the sample with value at path. what tells apart several tries of a kind.
func (m *mutator) add(kind, path, place, what string, value any) {
	m.note(kind, path, place, what, func() any { return set(m.value, path, value) })
}

// note keeps what change returns unless its group has enough.
func (m *mutator) note(kind, path, place, what string, change func() any) {
	id := strings.TrimSpace(m.id + " " + kind + " " + path + " " + what)
	group := place + " " + kind + " " + what
	if m.whole && path == "" {
		group = id // stays, whatever there is of its kind
	}
	if len(m.groups[group]) == perGroup(kind) {
		return
	}
	frame := text(change())
	if key := m.def + " " + frame; !m.seen[key] {
		m.seen[key] = true
		m.groups[group] = append(m.groups[group], mutation{ID: id, Def: m.def, Kind: kind, Path: path, Frame: frame})
	}
}

// walk mutates the value at path, whose place in the schema is called place.
func (m *mutator) walk(s *schema, value any, path, place string) {
	if s.Ref != "" {
		place = s.target()
	}
	s = m.follow(s)
	rest, null := s.branches()
	switch {
	case s.enumOf() != nil:
		m.add(unknownEnum, path, place, "", "of-tomorrow")
		m.add(wrongType, path, place, "number", json.Number("7"))
		return
	case null && value == nil:
		return
	case len(rest) == 1:
		m.walk(rest[0], value, path, place)
		return
	case len(rest) > 1:
		m.union(s, rest, value, path, place)
		return
	}
	m.typed(s, value, path, place)
}

// union mutates the value as the variant that it is.
func (m *mutator) union(s *schema, rest []*schema, value any, path, place string) {
	if s.Discriminator != "" {
		m.add(unknownEnum, path+"/"+s.Discriminator, place, "variant", "of-tomorrow")
	}
	m.add(wrongType, path, place, "array", []any{})
	for _, b := range rest {
		if _, err := m.decode(b, value, "", true, nil); err == nil {
			m.walk(b, value, path, place)
			return
		}
	}
}

// typed mutates by the type of the schema.
func (m *mutator) typed(s *schema, value any, path, place string) {
	switch s.Type {
	case "":
		if s.Const == nil {
			m.add(widerNumber, path, place, "untyped", map[string]any{"n": []any{json.Number("9007199254740993")}})
		}
	case "string":
		m.add(wrongType, path, place, "number", json.Number("7"))
	case "boolean":
		m.add(wrongType, path, place, "number", json.Number("1"))
	case "integer":
		m.add(wrongType, path, place, "string", "7")
		m.integers(s, path, place)
	case "number":
		m.add(wrongType, path, place, "string", "7")
		m.add(widerNumber, path, place, "fraction", json.Number("0.30000000000000004"))
	case "array":
		m.add(wrongType, path, place, "object", map[string]any{})
		list, _ := value.([]any)
		if s.Items == nil || len(list) == 0 {
			return
		}
		for _, i := range slices.Compact([]int{0, len(list) - 1}) {
			at := path + "/" + strconv.Itoa(i)
			if m.follow(s.Items).Type != "" {
				m.add(wrongType, at, place+"[]", "null", nil)
			}
			m.walk(s.Items, list[i], at, place+"[]")
		}
	case "object":
		m.object(s, value.(map[string]any), path, place)
	}
}

// integers tries what does and what does not fit 64 bits.
func (m *mutator) integers(s *schema, path, place string) {
	m.add(widerNumber, path, place, "fraction", json.Number("1.5"))
	m.add(widerNumber, path, place, "2^63", json.Number("9223372036854775808"))
	if s.Maximum == nil && s.ExclusiveMax == nil {
		m.add(widerNumber, path, place, "2^53+1", json.Number("9007199254740993"))
		m.add(widerNumber, path, place, "2^63-1", json.Number("9223372036854775807"))
	}
	if s.Minimum == nil {
		m.add(widerNumber, path, place, "-2^53-1", json.Number("-9007199254740993"))
	}
}

func (m *mutator) object(s *schema, members map[string]any, path, place string) {
	m.add(wrongType, path, place, "array", []any{})
	each := s.mapOf()
	if each == nil {
		for what, news := range map[string]any{"object": map[string]any{"a": []any{json.Number("1"), nil}}, "null": nil} {
			changed := map[string]any{}
			for name, v := range members {
				changed[name] = v
			}
			changed["ofTomorrow"] = news
			m.note(addedMember, path, place, what, func() any { return set(m.value, path, changed) })
		}
	}
	for _, name := range sortedKeys(members) {
		one, at := s.Properties[name], path+"/"+escape(name)
		switch {
		case one != nil:
			m.member(s, name, at, place)
			m.walk(one, members[name], at, place+"."+name)
		case each != nil:
			m.walk(each, members[name], at, place+".*")
		}
	}
}

// member takes a named member away, or makes it null.
func (m *mutator) member(s *schema, name, at, place string) {
	place += "." + name
	if slices.Contains(s.Required, name) {
		m.note(missingRequired, at, place, "", func() any { return remove(m.value, at) })
		if _, err := m.decode(s.Properties[name], nil, "", false, nil); err != nil {
			m.add(wrongType, at, place, "null", nil)
		}
		return
	}
	m.note(droppedOptional, at, place, "", func() any { return remove(m.value, at) })
	m.add(nullForOptional, at, place, "", nil)
}

// check fails when a kind is not there at all: then the recordings or the schema have
// changed so much that the file proves less than it says.
func check(list []mutation) error {
	for _, kind := range []string{addedMember, unknownEnum, droppedOptional, missingRequired, widerNumber, wrongType, nullForOptional} {
		if !slices.ContainsFunc(list, func(m mutation) bool { return m.Kind == kind }) {
			return fmt.Errorf("no mutation of kind %s", kind)
		}
	}
	return nil
}
