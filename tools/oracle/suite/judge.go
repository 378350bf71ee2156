package suite

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Tally counts the instances of the suite itself, by what became of them.
type Tally struct {
	Schemas, Instances, Passed, Refused, RefusedInstances, Unread int
}

// Report is what the verdicts come to.
type Report struct {
	// ByDraft counts the suite's own schemas; Twins counts their variants.
	ByDraft map[string]*Tally
	Twins   Tally
	// Wrong are the verdicts that differ from the suite's: there must be none.
	Wrong []string
	// Refused and Unread are lists of places, each with its reason.
	Refused, Unread []string
}

// Judge compares the verdicts, which are in the order of the instances, with the suite's.
func Judge(groups []Group, refused map[string]string, verdicts []string) Report {
	r := Report{ByDraft: map[string]*Tally{}}
	for _, g := range groups {
		tally := &r.Twins
		if g.Twin == "" {
			if r.ByDraft[g.Draft] == nil {
				r.ByDraft[g.Draft] = &Tally{}
			}
			tally = r.ByDraft[g.Draft]
		}
		tally.Schemas++
		tally.Instances += len(g.Tests)
		if reason := refused[g.Name]; reason != "" {
			tally.Refused++
			tally.RefusedInstances += len(g.Tests)
			if g.Twin != "" && refused[g.Original] == "" {
				r.Wrong = append(r.Wrong, fmt.Sprintf("%s (%s): refused, although its original is not: %s", g.Place(), g.Name, reason))
			}
			if g.Twin == "" {
				r.Refused = append(r.Refused, g.Place()+"\t"+plain(reason, g.Name))
			}
			continue
		}
		for _, t := range g.Tests {
			r.judge(tally, g, t, verdicts[0])
			verdicts = verdicts[1:]
		}
	}
	slices.Sort(r.Unread)
	r.Unread = slices.Compact(r.Unread)
	return r
}

func (r *Report) judge(tally *Tally, g Group, t Test, verdict string) {
	why, unread := strings.CutPrefix(verdict, "unread: ")
	switch {
	case verdict == "accepted" && t.Valid, verdict == "refused" && !t.Valid, unread && !t.Valid:
		tally.Passed++
	case unread && policy.MatchString(why):
		tally.Unread++
		if g.Twin == "" {
			r.Unread = append(r.Unread, g.Place()+": "+t.Description+"\t"+why)
		}
	default:
		r.Wrong = append(r.Wrong, fmt.Sprintf("%s (%s): %s: %s: the suite says valid: %t, the generated code: %s", g.Place(), g.Name, t.Description, t.Data, t.Valid, verdict))
	}
}

// policy are the reasons for which an instance is not even asked about: no variable of
// ours holds it.
var policy = regexp.MustCompile(`integer beyond 64 bits$|number out of range$`)

// plain tells the first reason of a refusal, without the name that was given to the
// schema here.
func plain(reason, name string) string {
	first, more, _ := strings.Cut(strings.ReplaceAll(reason, name+".json", ""), "\n")
	if n := strings.Count(more, "\n"); more != "" {
		first += fmt.Sprintf(" (and %d more)", n+1)
	}
	return strings.TrimPrefix(strings.TrimPrefix(first, "#"), ": ")
}

// explanations say in words why schemas are refused, by what the generator says of them.
var explanations = []struct {
	pattern *regexp.Regexp
	words   string
}{
	{regexp.MustCompile(`keyword "\$(dynamicRef|dynamicAnchor|vocabulary)"`), `What a $dynamicRef means depends on the way that led to it, which is known only while an
instance is validated; a generated type has one meaning. The dialect's own schema is
written with it.`},
	{regexp.MustCompile(`the dialect "`), `A dialect of one's own changes what keywords mean. Two are read, and no others.`},
	{regexp.MustCompile(`\$ref "[^"]+" means no schema`), `The reference leads to something that is not known to be a schema: a keyword that nobody
defines, data, or a document that was not given. Nothing is fetched.`},
	{regexp.MustCompile(`keyword "[^"]+" is not in the generator's subset`), `Unknown keywords are legal and rule nothing. They are refused because most are misspelt.`},
	{regexp.MustCompile(`which ECMAScript and RE2 read differently|is not RE2`), `Go's regular expressions read the pattern in another way than JavaScript's, or not at all.`},
	{regexp.MustCompile(`enum must be a non-empty array`), `An enum without values accepts nothing, which nobody means.`},
}

// Golden prints the report as the text of testdata/suite/refused.txt. A reason that no
// explanation covers is an error.
func (r Report) Golden() (string, error) {
	var b strings.Builder
	b.WriteString(`# The official JSON-Schema-Test-Suite and the generator: what passes, what is refused and
# why. A refused schema never becomes code, so it cannot give a wrong verdict. Written by
# tools/oracle/suite with -update; read it line by line in review.

`)
	for _, d := range Drafts {
		if t := r.ByDraft[d.Dir]; t != nil {
			fmt.Fprintf(&b, "%s: %d schemas with %d instances. %d instances pass, %d belong to the %d refused schemas, %d are unread.\n",
				d.Dir, t.Schemas, t.Instances, t.Passed, t.RefusedInstances, t.Refused, t.Unread)
		}
	}
	rest := r.Refused
	for _, e := range explanations {
		var lines []string
		rest = slices.DeleteFunc(slices.Clone(rest), func(line string) bool {
			place, reason, _ := strings.Cut(line, "\t")
			if !e.pattern.MatchString(reason) {
				return false
			}
			lines = append(lines, "  "+place+"\n    "+reason)
			return true
		})
		if lines != nil {
			fmt.Fprintf(&b, "\n%s\n\n%s\n", e.words, strings.Join(lines, "\n"))
		}
	}
	if len(rest) > 0 {
		return "", fmt.Errorf("no explanation covers:\n%s", strings.Join(rest, "\n"))
	}
	if r.Unread != nil {
		fmt.Fprintf(&b, "\nNumbers that no variable holds are refused before any rule is asked.\n\n  %s\n", strings.ReplaceAll(strings.Join(r.Unread, "\n  "), "\t", ": "))
	}
	return b.String(), nil
}
