// Package load reads the schema files into a resolved model: one Schema for each
// schema object, with its place, its keywords and its references followed, and one
// entry for each method, event, scope and error code.
//
// It refuses every keyword outside the closed subset that the generator
// understands, because a keyword that is ignored is a rule that nobody checks. What
// a house additionally wants of its schemas (descriptions, examples, closed objects)
// is package lint's business. All problems are reported at once, each with its file
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
				f.Defs = append(f.Defs, &Def{Name: d.Name, File: f, Schema: readSchema(d.Value, problems)})
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
		e.Doc = text(m.Value, problems)
	case "implies":
		e.Implies = texts(m.Value, problems)
	case "cause":
		e.Cause = text(m.Value, problems)
	case "fix":
		e.Fix = text(m.Value, problems)
	case "retryable":
		e.Retryable = new(boolean(m.Value, problems))
	case "error":
		e.Error = text(m.Value, problems)
	case "recommendedNextStep":
		e.NextStep = text(m.Value, problems)
	case "close":
		e.Close = text(m.Value, problems)
	case "code":
		if e.Code = m.Value.Text; m.Value.Kind != Number {
			problems.Addf(m.Value.Pos, "must be a number, is %s", m.Value.Kind)
		}
	case "reason":
		e.Reason = new(text(m.Value, problems))
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
			e.Params = readSchema(f.Value, problems)
		case "ack":
			e.Ack = readSchema(f.Value, problems)
		case "result":
			e.Result = readSchema(f.Value, problems)
		case "role":
			e.Role = text(f.Value, problems)
		case "scope":
			e.Scope = text(f.Value, problems)
		case "idempotency":
			e.Idempotency = text(f.Value, problems)
		case "replay":
			e.Replay = text(f.Value, problems)
		case "reply":
			e.Reply = text(f.Value, problems)
		case "validation":
			e.Validation = text(f.Value, problems)
		case "listed":
			e.Listed = boolean(f.Value, problems)
		case "since":
			e.Since = text(f.Value, problems)
		case "stability":
			e.Stability = text(f.Value, problems)
		case "doc":
			e.Doc = text(f.Value, problems)
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
			e.Payload = readSchema(f.Value, problems)
		case "audience":
			e.Audience = texts(f.Value, problems)
		case "stateVersion":
			e.StateVersion = boolean(f.Value, problems)
		case "droppable":
			e.Droppable = text(f.Value, problems)
		case "since":
			e.Since = text(f.Value, problems)
		case "doc":
			e.Doc = text(f.Value, problems)
		case "x-since", "x-deprecated", "x-removed":
		default:
			problems.Addf(f.Value.Pos, "unknown key of an event")
		}
	}
	return e
}

func text(v *Value, problems *Problems) string {
	if v.Kind != String {
		problems.Addf(v.Pos, "must be a string, is %s", v.Kind)
	}
	return v.Text
}

func boolean(v *Value, problems *Problems) bool {
	if v.Kind != Bool {
		problems.Addf(v.Pos, "must be a boolean, is %s", v.Kind)
	}
	return v.Bool
}

func texts(v *Value, problems *Problems) []string {
	if v.Kind != Array {
		problems.Addf(v.Pos, "must be an array of strings, is %s", v.Kind)
		return nil
	}
	list := []string{}
	for _, item := range v.Items {
		list = append(list, text(item, problems))
	}
	return list
}
