package render

import (
	"cmp"

	"github.com/coderclaw/gateway/tools/protogen/internal/plan"
)

// goCatalogue renders the catalogue of errors: constants for codes and close reasons,
// and a table with all that the schema says of them.
func goCatalogue(p *printer, pkg *plan.Package) {
	goConsts(p, "The codes of error.code.", pkg.Errors)
	goConsts(p, "The codes of error.details.code.", pkg.Details)
	p.f("// The reasons for which the gateway closes a connection, as they are sent: some are empty.")
	p.f("const (")
	for _, c := range pkg.Closes {
		p.doc(c.GoName + ": " + c.Entry.Doc)
		p.f("%s = %q", c.GoName, c.Reason)
	}
	p.f(")\n")
	p.f("// The WebSocket close code that goes with each reason.")
	p.f("const (")
	for _, c := range pkg.Closes {
		p.f("%sCode = %s", c.GoName, cmp.Or(c.CloseCode, "0"))
	}
	p.f(")\n")
	goNextSteps(p, pkg)
	goErrorInfos(p, pkg)
}

// goNextSteps renders the look-up that a refusal needs while it is written.
func goNextSteps(p *printer, pkg *plan.Package) {
	p.f("// DetailNextStep returns error.details.recommendedNextStep for a details code, or an empty string.")
	p.f("func DetailNextStep(code string) string {\nswitch code {")
	for _, c := range pkg.Details {
		if c.Entry.NextStep != "" {
			p.f("case %s: return %q", c.GoName, c.Entry.NextStep)
		}
	}
	p.f("}\nreturn \"\"\n}\n")
}

// goErrorInfos renders the table for people and tests.
func goErrorInfos(p *printer, pkg *plan.Package) {
	p.f("// Errors returns the whole catalogue, codes first, then details codes, then closes, each sorted by")
	p.f("// name, in a fresh slice.")
	p.f("func Errors() []wire.ErrorInfo {\nreturn []wire.ErrorInfo{")
	for _, list := range []struct {
		kind   string
		consts []*plan.Const
	}{{"KindCode", pkg.Errors}, {"KindDetail", pkg.Details}, {"KindClose", pkg.Closes}} {
		for _, c := range list.consts {
			goErrorInfo(p, list.kind, c)
		}
	}
	p.f("}\n}\n")
	p.f("// FindError returns the catalogue's entry of this name.")
	p.f("func FindError(name string) (wire.ErrorInfo, bool) {")
	p.f("for _, e := range Errors() {\nif e.Name == name { return e, true }\n}")
	p.f("return wire.ErrorInfo{}, false\n}\n")
}

func goErrorInfo(p *printer, kind string, c *plan.Const) {
	e := c.Entry
	p.f("{Kind: wire.%s, Name: %q,", kind, e.Name)
	p.f("Meaning: %q,\nCause: %q,\nFix: %q,", e.Doc, e.Cause, e.Fix)
	if e.Retryable != nil && *e.Retryable {
		p.f("Retryable: true,")
	}
	for _, field := range [][2]string{{"Error", e.Error}, {"NextStep", e.NextStep}, {"CloseReason", c.Reason}} {
		if field[1] != "" {
			p.f("%s: %q,", field[0], field[1])
		}
	}
	if c.CloseCode != "" {
		p.f("CloseCode: %s,", c.CloseCode)
	}
	p.f("},")
}
