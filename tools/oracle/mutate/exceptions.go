package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// exceptions is testdata/mutations/EXCEPTIONS.txt: the parts of recordings that are
// refused, and the members that are lost, each with its reason. Without it a renamed
// member of the schema would only move the expectations along with the mistake.
type exceptions struct {
	used   map[string]bool
	faults []error
}

func readExceptions(path string) (*exceptions, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	e := &exceptions{used: map[string]bool{}}
	for n, line := range bytes.Split(raw, []byte("\n")) {
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		fields := strings.Split(string(line), "\t")
		if len(fields) != 3 || fields[0] != "refuse" && fields[0] != "drop" || fields[2] == "" {
			return nil, fmt.Errorf("%s:%d: want refuse or drop, what, reason", path, n+1)
		}
		e.used[fields[0]+" "+fields[1]] = false
	}
	return e, nil
}

var element = regexp.MustCompile(`/\d+(/|$)`)

// judge notes what happened to a part of a recording and is not excused.
func (e *exceptions) judge(r recorded, err error) {
	if err != nil {
		e.excuse("refuse "+r.ID+r.At, fmt.Errorf("%s%s no longer decodes as %s: %w", r.ID, r.At, r.Def, err))
		return
	}
	for _, pointer := range r.Dropped {
		e.excuse("drop "+r.Def+element.ReplaceAllString(pointer, "/*$1"), fmt.Errorf("%s%s: %s has no member %s", r.ID, r.At, r.Def, pointer))
	}
}

func (e *exceptions) excuse(what string, fault error) {
	if _, ok := e.used[what]; !ok {
		e.faults = append(e.faults, fault)
		return
	}
	e.used[what] = true
}

// done returns all that is not excused, and the excuses that nobody needs.
func (e *exceptions) done() error {
	for _, what := range sortedKeys(e.used) {
		if !e.used[what] {
			e.faults = append(e.faults, fmt.Errorf("EXCEPTIONS.txt: nothing needs %q", what))
		}
	}
	if most := 20; len(e.faults) > most {
		e.faults = append(e.faults[:most], fmt.Errorf("and %d more", len(e.faults)-most))
	}
	return errors.Join(e.faults...)
}
