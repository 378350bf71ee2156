package conformance

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/coderclaw/gateway/schema"
)

// vocabulary is what the protocol can say today, read from the schema. Recordings
// hold more: exchanges of methods outside it do not apply yet.
type vocabulary struct {
	methods map[string]method
	events  map[string]event
	// defs holds every definition by its name, which is unique over all files.
	defs map[string]*node
	// secrets are the names of the members that the schema marks as secret.
	secrets map[string]bool
}

// method is an entry of x-methods.
type method struct {
	params, result *node
	// ack is the first of two answers, nil when there is one.
	ack *node
	// lenient methods take any params.
	lenient bool
}

// event is an entry of x-events.
type event struct {
	payload *node
	// versioned events carry stateVersion.
	versioned bool
}

// node is one place of the schema.
type node struct {
	Ref        string           `json:"$ref"`
	Type       string           `json:"type"`
	Const      json.RawMessage  `json:"const"`
	Enum       []any            `json:"enum"`
	Minimum    json.Number      `json:"minimum"`
	MinItems   int              `json:"minItems"`
	AnyOf      []*node          `json:"anyOf"`
	Items      *node            `json:"items"`
	Required   []string         `json:"required"`
	Properties map[string]*node `json:"properties"`
	Patterns   map[string]*node `json:"patternProperties"`
	// Additional is false, true, a schema, or absent.
	Additional json.RawMessage   `json:"additionalProperties"`
	Examples   []json.RawMessage `json:"examples"`
	Secret     bool              `json:"x-secret"`

	// def is the definition's name when this node is one.
	def string
	// target is what Ref names.
	target *node
	// others is the schema of members that Properties does not name; open reports
	// whether such members are welcome.
	others *node
	open   bool
}

// words is the vocabulary of the schema that is built in. The files are read once,
// when they are first asked for, and are known to be sound: the generator took them.
var words = sync.OnceValue(func() *vocabulary {
	v, err := readVocabulary()
	if err != nil {
		panic("conformance: " + err.Error())
	}
	return v
})

func readVocabulary() (*vocabulary, error) {
	v := &vocabulary{methods: map[string]method{}, events: map[string]event{}, defs: map[string]*node{}, secrets: map[string]bool{}}
	type entry struct {
		Params, Result, Ack, Payload *node
		Validation                   string
		StateVersion                 bool
	}
	type file struct {
		Defs    map[string]*node `json:"$defs"`
		Methods map[string]entry `json:"x-methods"`
		Events  map[string]entry `json:"x-events"`
	}
	files := make([]file, 0, len(schema.Domains()))
	for _, domain := range schema.Domains() {
		raw, err := schema.File(domain)
		if err != nil {
			return nil, err
		}
		var f file
		if err := json.Unmarshal(raw, &f); err != nil {
			return nil, fmt.Errorf("schema %s: %w", domain, err)
		}
		for name, n := range f.Defs {
			n.def = name
			v.defs[name] = n
		}
		files = append(files, f)
	}
	for _, n := range v.defs {
		if err := v.link(n); err != nil {
			return nil, fmt.Errorf("schema definition %s: %w", n.def, err)
		}
	}
	for _, f := range files {
		for name, e := range f.Methods {
			for _, n := range []*node{e.Params, e.Result, e.Ack} {
				if err := v.link(n); err != nil {
					return nil, fmt.Errorf("schema method %s: %w", name, err)
				}
			}
			v.methods[name] = method{params: e.Params, result: e.Result, ack: e.Ack, lenient: e.Validation == "none"}
		}
		for name, e := range f.Events {
			if err := v.link(e.Payload); err != nil {
				return nil, fmt.Errorf("schema event %s: %w", name, err)
			}
			v.events[name] = event{payload: e.Payload, versioned: e.StateVersion}
		}
	}
	return v, nil
}

// has reports whether there is a method of this name.
func (v *vocabulary) has(name string) bool { _, ok := v.methods[name]; return ok }

// hasEvent reports whether there is an event of this name.
func (v *vocabulary) hasEvent(name string) bool { _, ok := v.events[name]; return ok }

// link resolves what a node and those below it refer to.
func (v *vocabulary) link(n *node) error {
	if n == nil {
		return nil
	}
	if n.Ref != "" {
		name := n.Ref[strings.LastIndexByte(n.Ref, '/')+1:]
		if n.target = v.defs[name]; n.target == nil {
			return fmt.Errorf("nothing is called %s", n.Ref)
		}
		return nil
	}
	n.open = true
	if text := string(n.Additional); text == "false" {
		n.open = false
	} else if strings.HasPrefix(text, "{") {
		n.others = &node{}
		if err := json.Unmarshal(n.Additional, n.others); err != nil {
			return err
		}
	}
	for _, p := range n.Patterns {
		n.others, n.open = p, true // records have one pattern, which matches every key
	}
	below := slices.Concat(n.AnyOf, []*node{n.Items, n.others})
	for name, p := range n.Properties {
		below = append(below, p)
		if p.Secret {
			v.secrets[name] = true
		}
	}
	for _, b := range below {
		if err := v.link(b); err != nil {
			return err
		}
	}
	return nil
}

// choices returns the nodes that a value at n may follow: references resolved,
// unions opened.
func (n *node) choices() []*node {
	switch {
	case n == nil:
		return nil
	case n.target != nil:
		return n.target.choices()
	case len(n.AnyOf) == 0:
		return []*node{n}
	}
	var all []*node
	for _, a := range n.AnyOf {
		all = append(all, a.choices()...)
	}
	return all
}

// place is where a value stands in the schema: everything it may follow. The empty
// place is one of which the schema says nothing.
type place []*node

func placeOf(n *node) place { return n.choices() }

// member returns the place of a member, and whether the schema permits it here.
func (p place) member(name string) (place, bool) {
	var at place
	permitted := false
	for _, n := range p {
		if n.Type != "" && n.Type != "object" {
			continue
		}
		if child, ok := n.Properties[name]; ok {
			permitted = true
			at = append(at, child.choices()...)
			continue
		}
		if n.open {
			permitted = true
			at = append(at, n.others.choices()...)
		}
	}
	return at, permitted
}

// element returns the place of an array's elements.
func (p place) element() place {
	var at place
	for _, n := range p {
		at = append(at, n.Items.choices()...)
	}
	return at
}

// silent reports whether the schema says nothing about this place.
func (p place) silent() bool {
	return !slices.ContainsFunc(p, func(n *node) bool {
		return n.Type != "" || n.Const != nil || len(n.Enum) > 0 || len(n.Properties) > 0
	})
}

// secret reports whether a member of this name is secret here.
func (p place) secret(name string) bool {
	return slices.ContainsFunc(p, func(n *node) bool {
		child, ok := n.Properties[name]
		return ok && child.Secret
	})
}

// definition names the definition that a method's or an event's entry refers to.
func (n *node) definition() string {
	if n != nil && n.target != nil {
		return n.target.def
	}
	return ""
}
