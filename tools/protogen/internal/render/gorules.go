package render

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/coderclaw/gateway/tools/protogen/internal/load"
	"github.com/coderclaw/gateway/tools/protogen/internal/plan"
)

// goRules renders the static rule tables that tell a refusal's reasons.
func goRules(d *plan.Domain) ([]byte, error) {
	p := goFile(d.File.Name, "regexp", wirePath)
	for _, def := range d.Types {
		if !def.Inline || def.Type.Kind == plan.Checked {
			p.f("var rule%s = %s\n", def.Name, ruleLiteral(def.Type.Schema))
		}
	}
	return p.done()
}

// matcher returns the Go expression for a compiled pattern.
func matcher(pattern string) string {
	return "regexp.MustCompile(" + quoteGo(load.RE2(pattern)) + ")"
}

// ruleLiteral returns the wire.Rule of s as a Go literal, its rules in ajv's order
// of keywords.
func ruleLiteral(s *load.Schema) string {
	if s.To != nil {
		return fmt.Sprintf("wire.Rule{Ref: %q}", s.To.Name)
	}
	var parts []string
	add := func(name, format string, args ...any) {
		parts = append(parts, name+": "+fmt.Sprintf(format, args...))
	}
	if len(s.Types) > 0 {
		add("Types", "[]string{%s}", quoteList(s.Types))
	}
	if s.Const != nil {
		add("Const", "%s", quoteGo(s.Const.JSON()))
	}
	if s.Enum != nil {
		var values []string
		for _, v := range s.Enum {
			values = append(values, quoteGo(v.JSON()))
		}
		add("Enum", "[]string{%s}", strings.Join(values, ", "))
	}
	for _, list := range []struct {
		name string
		of   []*load.Schema
	}{{"AnyOf", s.AnyOf}, {"OneOf", s.OneOf}} {
		if list.of != nil {
			add(list.name, "[]wire.Rule{%s}", rules(list.of))
		}
	}
	for _, bound := range []struct{ name, text string }{
		{"Maximum", s.Maximum}, {"Minimum", s.Minimum}, {"ExclusiveMaximum", s.ExclusiveMaximum}, {"ExclusiveMinimum", s.ExclusiveMinimum},
		{"MaxLength", s.MaxLength}, {"MinLength", s.MinLength}, {"MaxItems", s.MaxItems}, {"MinItems", s.MinItems},
		{"Pattern", s.Pattern},
	} {
		if bound.text != "" {
			add(bound.name, "%s", strconv.Quote(bound.text))
		}
	}
	if s.Pattern != "" {
		add("Match", "%s", matcher(s.Pattern))
	}
	if s.Items != nil {
		add("Items", "&%s", ruleLiteral(s.Items))
	}
	if len(s.Required) > 0 {
		add("Required", "[]string{%s}", quoteList(s.Required))
	}
	if s.Closed {
		add("Closed", "true")
	}
	switch v := s.Value.Get("additionalProperties"); {
	case s.Additional != nil:
		add("Additional", "&%s", ruleLiteral(s.Additional))
	case v != nil && v.Bool:
		add("Additional", "&wire.Rule{}") // rules nothing, but has seen them all
	}
	if len(s.Properties) > 0 {
		add("Properties", "[]wire.PropertyRule{%s}", propertyRules(s.Properties))
	}
	if len(s.Patterns) > 0 {
		add("Patterns", "[]wire.PropertyRule{%s}", patternRules(s.Patterns))
	}
	if s.Rare != nil {
		add("More", "&%s", moreLiteral(s.Rare))
	}
	return "wire.Rule{" + strings.Join(parts, ", ") + "}"
}

func rules(list []*load.Schema) string {
	var parts []string
	for _, s := range list {
		parts = append(parts, strings.TrimPrefix(ruleLiteral(s), "wire.Rule"))
	}
	return "\n" + strings.Join(parts, ",\n") + ",\n"
}

func propertyRules(list []load.Property) string {
	var parts []string
	for _, p := range list {
		parts = append(parts, fmt.Sprintf("{Name: %q, Rule: %s}", p.Name, ruleLiteral(p.Schema)))
	}
	return "\n" + strings.Join(parts, ",\n") + ",\n"
}

func patternRules(list []load.Property) string {
	var parts []string
	for _, p := range list {
		match := ""
		if p.Name != load.AnyName {
			match = ", Match: " + matcher(p.Name)
		}
		parts = append(parts, fmt.Sprintf("{Name: %q, Rule: %s%s}", p.Name, ruleLiteral(p.Schema), match))
	}
	return "\n" + strings.Join(parts, ",\n") + ",\n"
}

// moreLiteral returns the wire.MoreRule of the rare keywords.
func moreLiteral(r *load.Rare) string {
	var parts []string
	add := func(name, format string, args ...any) {
		parts = append(parts, name+": "+fmt.Sprintf(format, args...))
	}
	for _, flag := range []struct {
		name string
		set  bool
	}{{"Never", r.Never}, {"Unique", r.Unique}} {
		if flag.set {
			add(flag.name, "true")
		}
	}
	for _, list := range []struct {
		name string
		of   []*load.Schema
	}{{"AllOf", r.AllOf}, {"Prefix", r.Prefix}} {
		if list.of != nil {
			add(list.name, "[]wire.Rule{%s}", rules(list.of))
		}
	}
	for _, one := range []struct {
		name string
		of   *load.Schema
	}{
		{"Not", r.Not}, {"If", r.If}, {"Then", r.Then}, {"Else", r.Else}, {"Contains", r.Contains}, {"Names", r.Names},
		{"UnevaluatedItems", r.UnevaluatedItems}, {"UnevaluatedProperties", r.UnevaluatedProperties},
	} {
		if one.of != nil {
			add(one.name, "&%s", ruleLiteral(one.of))
		}
	}
	for _, count := range []struct{ name, text string }{
		{"MultipleOf", r.MultipleOf}, {"MinContains", r.MinContains}, {"MaxContains", r.MaxContains},
		{"MaxProperties", r.MaxProperties}, {"MinProperties", r.MinProperties},
	} {
		if count.text != "" {
			add(count.name, "%s", strconv.Quote(count.text))
		}
	}
	if r.DependentRequired != nil {
		var list []string
		for _, d := range r.DependentRequired {
			list = append(list, fmt.Sprintf("{Name: %q, Needs: []string{%s}}", d.Name, quoteList(d.Needs)))
		}
		add("DependentRequired", "[]wire.Dependent{%s}", strings.Join(list, ", "))
	}
	if r.DependentSchemas != nil {
		add("DependentSchemas", "[]wire.PropertyRule{%s}", propertyRules(r.DependentSchemas))
	}
	return "wire.MoreRule{" + strings.Join(parts, ", ") + "}"
}

func quoteList(list []string) string {
	var parts []string
	for _, s := range list {
		parts = append(parts, strconv.Quote(s))
	}
	return strings.Join(parts, ", ")
}
