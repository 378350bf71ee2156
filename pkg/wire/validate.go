package wire

import (
	"fmt"
	"strings"
)

// ValidationError is one broken rule, as ajv reports it.
type ValidationError struct {
	// InstancePath is the JSON pointer of the value; empty for the whole instance.
	InstancePath string
	// Keyword is the rule's keyword, such as "minLength".
	Keyword string
	// Message is ajv's text, such as "must NOT have fewer than 1 characters".
	Message string
	// Params is ajv's params object as JSON.
	Params Raw
	// property is the unexpected member's name.
	property string
}

// Error returns the text that clients are told for this one rule.
func (e ValidationError) Error() string {
	if e.Keyword == "additionalProperties" && strings.TrimSpace(e.property) != "" {
		where := e.InstancePath
		if where == "" {
			where = "root"
		}
		return "at " + where + ": unexpected property '" + e.property + "'"
	}
	if e.InstancePath == "" {
		return e.Message
	}
	return "at " + e.InstancePath + ": " + e.Message
}

// ValidationErrors are all the rules that an instance breaks, in ajv's order (with
// allErrors). The list is never empty.
type ValidationErrors []ValidationError

// Error returns the text that clients are told: one part for each error, without
// repetitions, joined by "; ". Handlers put "invalid <method> params: " before it.
func (list ValidationErrors) Error() string {
	var parts []string
	told := map[string]bool{}
	for _, e := range list {
		if part := e.Error(); !told[part] {
			told[part] = true
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "; ")
}

// SyntaxError is JSON that is refused before any rule of the schema is asked: it
// does not parse, holds invalid UTF-8, names a member twice, nests too deep, or has
// a number that no variable of ours holds.
type SyntaxError struct {
	// Offset is the byte at which the fault was noticed.
	Offset int
	// InstancePath is the JSON pointer of the value, where one is known.
	InstancePath string
	// Reason is a short text, such as "invalid UTF-8".
	Reason string
}

// Error returns the reason and where it applies.
func (e *SyntaxError) Error() string {
	if e.InstancePath != "" {
		return fmt.Sprintf("at %s: %s", e.InstancePath, e.Reason)
	}
	return e.Reason
}
