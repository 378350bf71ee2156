package main

import (
	"errors"
	"fmt"
	"math"
	"strings"
)

// frameNames are the columns, in order.
var frameNames = []string{"connect", "chat.send", "agent", "health", "hello-ok"}

// rows are the lines of the table.
var rows = []struct{ name, words string }{
	{"decode", "**decode and validate**, envelope first, then payload"},
	{"valid", "**validate only**, envelope and payload at once"},
	{"refuse", "refuse, with every reason"},
	{"encode", "encode"},
	{"syntax", "syntax only (`wire.ValidJSON`)"},
	{"json.Valid", "syntax only (`encoding/json`)"},
	{"encoding/json", "`encoding/json` into `any`, no validation"},
	{"santhosh", "santhosh-tekuri/jsonschema, with parse"},
	{"go-jsonschema", "go-jsonschema's own code, envelope and payload at once"},
	{"node", "Node 22: toString, JSON.parse, ajv"},
}

// promise is a ratio that must hold over the geometric mean of all frames.
type promise struct {
	slow, fast string
	// least times must slow take longer; or at most, if most is set.
	least, most float64
	words       string
}

var promised = []promise{
	{"santhosh", "decode", 10, 0, "decode is faster than santhosh"},
	{"go-jsonschema", "decode", 30, 0, "decode is faster than go-jsonschema's own code"},
	{"node", "decode", 2.5, 0, "decode is faster than Node with ajv"},
	{"node", "valid", 3.5, 0, "validation is faster than Node with ajv"},
	{"refuse", "decode", 0, 20, "refusing costs more than accepting"},
}

// take keeps the better of the figures in r and other.
func (r results) take(other results) {
	for name, byFrame := range other {
		if r[name] == nil {
			r[name] = map[string]cost{}
		}
		for frame, c := range byFrame {
			if old, there := r[name][frame]; !there || c.Nanoseconds < old.Nanoseconds {
				r[name][frame] = c
			}
		}
	}
}

// ratio is how many times longer slow takes than fast, over all frames.
func (r results) ratio(slow, fast string) float64 {
	sum := 0.0
	for _, f := range frameNames {
		sum += math.Log(r[slow][f].Nanoseconds / r[fast][f].Nanoseconds)
	}
	return math.Exp(sum / float64(len(frameNames)))
}

// table prints the results in Markdown.
func table(r results, skipped string) string {
	var b strings.Builder
	b.WriteString("| ns (allocations) |")
	for _, f := range frameNames {
		b.WriteString(" " + f + " |")
	}
	b.WriteString(" times decode |\n|---|" + strings.Repeat("--:|", len(frameNames)+1) + "\n")
	for _, row := range rows {
		if r[row.name] == nil {
			continue
		}
		b.WriteString("| " + row.words + " |")
		for _, f := range frameNames {
			c := r[row.name][f]
			fmt.Fprintf(&b, " %s", thousands(c.Nanoseconds))
			if row.name != "node" {
				fmt.Fprintf(&b, " (%.0f)", c.Allocs)
			}
			b.WriteString(" |")
		}
		fmt.Fprintf(&b, " %.2g |\n", r.ratio(row.name, "decode"))
	}
	b.WriteString("\n")
	for _, p := range promised {
		switch {
		case r[p.slow] == nil:
			fmt.Fprintf(&b, "- %s: not measured, %s.\n", p.words, skipped)
		case p.most > 0:
			fmt.Fprintf(&b, "- %s: %.1f times (at most %g).\n", p.words, r.ratio(p.slow, p.fast), p.most)
		default:
			fmt.Fprintf(&b, "- %s: %.1f times (at least %g).\n", p.words, r.ratio(p.slow, p.fast), p.least)
		}
	}
	return b.String()
}

func thousands(ns float64) string {
	text := fmt.Sprintf("%.0f", ns)
	if n := len(text); n > 3 {
		text = text[:n-3] + "," + text[n-3:]
	}
	return text
}

// promises tells which promises are broken.
func promises(r results) error {
	var broken []error
	for _, p := range promised {
		if r[p.slow] == nil {
			continue
		}
		got := r.ratio(p.slow, p.fast)
		if got < p.least || p.most > 0 && got > p.most || math.IsNaN(got) || math.IsInf(got, 0) {
			broken = append(broken, fmt.Errorf("%s: %.1f times, promised at least %g, at most %g", p.words, got, p.least, p.most))
		}
	}
	for _, name := range []string{"valid", "syntax"} {
		for _, f := range frameNames {
			if n := r[name][f].Allocs; n > 0 {
				broken = append(broken, fmt.Errorf("%s of %s allocates %.0f times", name, f, n))
			}
		}
	}
	return errors.Join(broken...)
}
