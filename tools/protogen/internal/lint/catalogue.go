package lint

import (
	"slices"
	"strconv"

	"github.com/coderclaw/gateway/tools/protogen/internal/load"
)

// catalogue checks the tables of errors: an entry is there to help whoever meets
// the code, so it says what it means, what it comes from and what to do about it.
func (h *house) catalogue(f *load.File) {
	names := map[string]load.Pos{}
	for _, table := range [][]*load.Entry{f.Errors, f.Details, f.Closes} {
		for _, e := range table {
			if first, taken := names[e.Name]; taken {
				h.Addf(e.Pos, "the name is already taken by %s: one look-up serves codes and reasons", first)
			}
			names[e.Name] = e.Pos
			h.need(e, "meaning", e.Doc != "")
			h.need(e, "cause", e.Cause != "")
			h.need(e, "fix", e.Fix != "")
			h.need(e, "retryable", e.Retryable != nil)
		}
	}
	for _, e := range f.Details {
		h.need(e, "recommendedNextStep", e.NextStep != "")
		h.named(e, "error", e.Error, f.Errors)
		if e.Close != "" {
			h.named(e, "close", e.Close, f.Closes)
		}
	}
	for _, e := range f.Closes {
		if code, err := strconv.Atoi(e.Code); err != nil || code < 1000 || code > 4999 {
			h.Addf(e.Pos, "code must be a WebSocket close code, 1000 to 4999")
		}
	}
}

// need tells that a field of the entry is missing.
func (h *house) need(e *load.Entry, field string, there bool) {
	if !there {
		h.Addf(e.Pos, "%s is missing", field)
	}
}

// named checks that a field names an entry of table.
func (h *house) named(e *load.Entry, field, name string, table []*load.Entry) {
	if !slices.ContainsFunc(table, func(other *load.Entry) bool { return other.Name == name }) {
		h.Addf(e.Pos, "%s must name an entry of the catalogue, is %q", field, name)
	}
}
