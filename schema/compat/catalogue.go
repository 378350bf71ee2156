package compat

import (
	"cmp"
	"fmt"
)

// catalogue compares the codes of refusals and the reasons of closes.
func (c *comparison) catalogue() {
	c.entries("x-errors", ErrorCodeRemoved, "error.code is never %s again: clients that act on it don't", func(d *document) map[string]entry { return d.Errors })
	c.entries("x-details", DetailsCodeRemoved, "error.details.code is never %s again: clients that act on it don't", func(d *document) map[string]entry { return d.Details })
	c.entries("x-close", CloseReasonRemoved, "no connection is closed for %q again: clients that act on it don't", func(d *document) map[string]entry { return d.Closes })
}

func (c *comparison) entries(key string, removed Rule, gone string, table func(*document) map[string]entry) {
	old, new := gather(c.old, key, table), gather(c.new, key, table)
	for name, before := range old {
		after, kept := new[name]
		if !kept {
			c.report(Wire, removed, before.at, fmt.Sprintf(gone, name))
			continue
		}
		c.entry(name, before.value, after)
	}
	for name, e := range new {
		if _, known := old[name]; !known {
			c.report(Info, ErrorAdded, e.at, fmt.Sprintf("%q is new", name))
		}
	}
}

func (c *comparison) entry(name string, old entry, after located[entry]) {
	new, at := after.value, after.at
	if old.Error != "" && old.Error != new.Error {
		c.report(Wire, DetailsCodeMoved, at.at("error"), fmt.Sprintf("%s came with %s and comes with %s", name, old.Error, orNone(new.Error)))
	}
	if old.NextStep != "" && old.NextStep != new.NextStep {
		c.report(Wire, NextStepChanged, at.at("recommendedNextStep"), fmt.Sprintf("programs that follow %q are told %q", old.NextStep, new.NextStep))
	}
	if old.Close != new.Close {
		c.report(Wire, CloseChanged, at.at("close"), fmt.Sprintf("after %s the connection was closed for %q and is for %q", name, old.Close, new.Close))
	}
	if old.Code != new.Code || reason(name, old) != reason(name, new) {
		c.report(Wire, CloseChanged, at, fmt.Sprintf("was %s %q and is %s %q: clients tell closes apart by them", cmp.Or(old.Code, "none"), reason(name, old), cmp.Or(new.Code, "none"), reason(name, new)))
	}
	if was, is := flag(old.Retryable), flag(new.Retryable); was != is {
		c.report(Info, RetryableChanged, at.at("retryable"), fmt.Sprintf("was %s and is %s", was, is))
	}
}

// reason is the text of a close on the wire: its name unless it says otherwise.
func reason(name string, e entry) string {
	if e.Reason != nil {
		return *e.Reason
	}
	return name
}

func flag(b *bool) string {
	if b == nil {
		return "unknown"
	}
	return fmt.Sprint(*b)
}
