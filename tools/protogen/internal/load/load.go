// Package load reads the schema files into a resolved model: one Schema for each
// schema object, with its place, its keywords and its references followed, and one
// entry for each method, event, scope and error code.
//
// It refuses every keyword that the generator does not understand, because a keyword
// that is ignored is a rule that nobody checks. What a house additionally wants of its
// schemas (a smaller subset, descriptions, examples, closed objects) is package lint's
// business, so that schemas from elsewhere can be read as well (Roots). All problems are reported at once, each with its file
// and JSON pointer.
package load

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"
)

// Problem is one fault of the schema files.
type Problem struct {
	Pos  Pos
	Text string
}

func (p Problem) Error() string { return p.Pos.String() + ": " + p.Text }

// Problems collects faults so that all of them can be told at once.
type Problems struct{ list []Problem }

// Addf adds a fault at pos.
func (p *Problems) Addf(pos Pos, format string, args ...any) {
	p.list = append(p.list, Problem{pos, fmt.Sprintf(format, args...)})
}

// Err returns all faults in the order of file and pointer, or nil.
func (p *Problems) Err() error {
	sort.SliceStable(p.list, func(i, j int) bool {
		a, b := p.list[i].Pos, p.list[j].Pos
		if a.File != b.File {
			return a.File < b.File
		}
		return a.Pointer < b.Pointer
	})
	p.list = slices.Compact(p.list)
	var errs []error
	for _, one := range p.list {
		errs = append(errs, one)
	}
	return errors.Join(errs...)
}

// Model is everything the schema files say.
type Model struct {
	// Files are sorted by name.
	Files []*File
	defs  map[string]*Def // by file#pointer
}

// File is one domain file.
type File struct {
	// Name is the file's name, such as cron.json.
	Name string
	// Domain is Name without its extension.
	Domain string
	// Root is the whole file.
	Root *Value
	// Doc is the file's description.
	Doc string
	// Defs, Methods and Events are in the order of the file.
	Defs    []*Def
	Methods []*Method
	Events  []*Event
	// Protocol is x-protocol, or empty.
	Protocol string
	// Foreign tells that the file is a schema from elsewhere, which does not keep our
	// manners: where a type has no good name, its text is checked instead.
	Foreign bool
	// Roles, Scopes, Errors, Details and Closes are the x- tables of that name.
	Roles, Scopes, Errors, Details, Closes []*Entry
}

// Def is one named definition.
type Def struct {
	Name   string
	File   *File
	Schema *Schema
}

// Entry is one line of a table such as x-scopes.
type Entry struct {
	Pos  Pos
	Name string
	// Doc is doc, or meaning in the catalogue of errors.
	Doc     string
	Implies []string
	// Cause, Fix and Retryable stand in the catalogue only; Retryable is nil when
	// the entry does not say.
	Cause, Fix string
	Retryable  *bool
	// Error is the error.code that a details code travels under, NextStep its word
	// for programs, Close the close reason that follows it.
	Error, NextStep, Close string
	// Code is the number of a close, Reason its text on the wire where that is not
	// the entry's name.
	Code   string
	Reason *string
	// Value is the whole entry.
	Value *Value
}

// Method is one x-methods entry.
type Method struct {
	Pos                 Pos
	Name                string
	Params, Ack, Result *Schema
	Role, Scope         string
	Idempotency, Replay string
	Reply, Validation   string
	Listed              bool
	Since, Stability    string
	Doc                 string
	Value               *Value
}

// Event is one x-events entry.
type Event struct {
	Pos          Pos
	Name         string
	Payload      *Schema
	Audience     []string
	StateVersion bool
	Droppable    string
	Since        string
	Doc          string
	Value        *Value
}

// Dir reads every *.json file of the root of fsys. The error holds all problems.
func Dir(fsys fs.FS) (*Model, error) {
	names, err := fs.Glob(fsys, "*.json")
	if err != nil {
		return nil, err
	}
	sort.Strings(names)
	m := &Model{defs: map[string]*Def{}}
	var problems Problems
	for _, name := range names {
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		root, err := ParseJSON(name, data)
		if err != nil {
			problems.Addf(Pos{File: name}, "%v", err)
			continue
		}
		if root.Kind != Object {
			problems.Addf(root.Pos, "a schema file is an object")
			continue
		}
		m.Files = append(m.Files, readFile(root, &problems))
	}
	for _, f := range m.Files {
		for _, d := range f.Defs {
			m.defs[f.Name+"#/$defs/"+d.Name] = d
		}
	}
	m.resolve(&problems)
	return m, problems.Err()
}

// readFile reads the parts of one file. References are followed later.
func readFile(root *Value, problems *Problems) *File {
	f := &File{Name: root.Pos.File, Domain: strings.TrimSuffix(path.Base(root.Pos.File), ".json"), Root: root}
	for _, m := range root.Members {
		switch m.Name {
		case "$schema", "$id", "title", "$comment":
		case "x-waive": // read by schema/compat
		case "description":
			f.Doc = m.Value.Text
		case "$defs":
			for _, d := range m.Value.Members {
				f.Defs = append(f.Defs, &Def{Name: d.Name, File: f, Schema: problems.schema(d.Value)})
			}
		case "x-methods":
			for _, e := range m.Value.Members {
				f.Methods = append(f.Methods, readMethod(e, problems))
			}
		case "x-events":
			for _, e := range m.Value.Members {
				f.Events = append(f.Events, readEvent(e, problems))
			}
		case "x-protocol":
			f.Protocol = m.Value.Text
		case "x-roles":
			f.Roles = readTable(m.Value, problems)
		case "x-scopes":
			f.Scopes = readTable(m.Value, problems)
		case "x-errors":
			f.Errors = readTable(m.Value, problems)
		case "x-details":
			f.Details = readTable(m.Value, problems)
		case "x-close":
			f.Closes = readTable(m.Value, problems)
		default:
			problems.Addf(m.Value.Pos, "unknown key of a schema file")
		}
	}
	for _, d := range f.Defs {
		d.Schema.Name = d.Name
	}
	return f
}

func readTable(v *Value, problems *Problems) []*Entry {
	var list []*Entry
	for _, m := range v.Members {
		e := &Entry{Pos: m.Value.Pos, Name: m.Name, Value: m.Value}
		for _, field := range m.Value.Members {
			e.field(field, problems)
		}
		list = append(list, e)
	}
	return list
}

func (e *Entry) field(m Member, problems *Problems) {
	switch m.Name {
	case "doc", "meaning":
		e.Doc = problems.text(m.Value)
	case "implies":
		e.Implies = problems.texts(m.Value)
	case "cause":
		e.Cause = problems.text(m.Value)
	case "fix":
		e.Fix = problems.text(m.Value)
	case "retryable":
		e.Retryable = new(problems.boolean(m.Value))
	case "error":
		e.Error = problems.text(m.Value)
	case "recommendedNextStep":
		e.NextStep = problems.text(m.Value)
	case "close":
		e.Close = problems.text(m.Value)
	case "code":
		if e.Code = m.Value.Text; m.Value.Kind != Number {
			problems.Addf(m.Value.Pos, "must be a number, is %s", m.Value.Kind)
		}
	case "reason":
		e.Reason = new(problems.text(m.Value))
	case "x-since", "x-deprecated", "x-removed":
	default:
		problems.Addf(m.Value.Pos, "unknown key of a table entry")
	}
}

func readMethod(m Member, problems *Problems) *Method {
	e := &Method{Pos: m.Value.Pos, Name: m.Name, Value: m.Value, Listed: true}
	for _, f := range m.Value.Members {
		switch f.Name {
		case "params":
			e.Params = problems.schema(f.Value)
		case "ack":
			e.Ack = problems.schema(f.Value)
		case "result":
			e.Result = problems.schema(f.Value)
		case "role":
			e.Role = problems.text(f.Value)
		case "scope":
			e.Scope = problems.text(f.Value)
		case "idempotency":
			e.Idempotency = problems.text(f.Value)
		case "replay":
			e.Replay = problems.text(f.Value)
		case "reply":
			e.Reply = problems.text(f.Value)
		case "validation":
			e.Validation = problems.text(f.Value)
		case "listed":
			e.Listed = problems.boolean(f.Value)
		case "since":
			e.Since = problems.text(f.Value)
		case "stability":
			e.Stability = problems.text(f.Value)
		case "doc":
			e.Doc = problems.text(f.Value)
		case "x-since", "x-deprecated", "x-removed":
		default:
			problems.Addf(f.Value.Pos, "unknown key of a method")
		}
	}
	return e
}

func readEvent(m Member, problems *Problems) *Event {
	e := &Event{Pos: m.Value.Pos, Name: m.Name, Value: m.Value}
	for _, f := range m.Value.Members {
		switch f.Name {
		case "payload":
			e.Payload = problems.schema(f.Value)
		case "audience":
			e.Audience = problems.texts(f.Value)
		case "stateVersion":
			e.StateVersion = problems.boolean(f.Value)
		case "droppable":
			e.Droppable = problems.text(f.Value)
		case "since":
			e.Since = problems.text(f.Value)
		case "doc":
			e.Doc = problems.text(f.Value)
		case "x-since", "x-deprecated", "x-removed":
		default:
			problems.Addf(f.Value.Pos, "unknown key of an event")
		}
	}
	return e
}

// schema reads a schema of one of our own files.
func (p *Problems) schema(v *Value) *Schema {
	return reader{Problems: p, dialect: Draft2020, index: newIndex()}.schema(v)
}

func (p *Problems) text(v *Value) string {
	if v.Kind != String {
		p.Addf(v.Pos, "must be a string, is %s", v.Kind)
	}
	return v.Text
}

func (p *Problems) boolean(v *Value) bool {
	if v.Kind != Bool {
		p.Addf(v.Pos, "must be a boolean, is %s", v.Kind)
	}
	return v.Bool
}

func (p *Problems) texts(v *Value) []string {
	if v.Kind != Array {
		p.Addf(v.Pos, "must be an array of strings, is %s", v.Kind)
		return nil
	}
	list := []string{}
	for _, item := range v.Items {
		list = append(list, p.text(item))
	}
	return list
}
