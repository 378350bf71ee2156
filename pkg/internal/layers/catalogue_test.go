package layers

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// codeShape is what error codes look like, so that one that the catalogue lacks is
// seen too.
var codeShape = regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$`)

// noCodes are words of that shape with another meaning: names of environment
// variables, and what the agent's texts tell people and models to write.
var noCodes = regexp.MustCompile(`^(CODERCLAW|OPENCLAW|OPENAI|NO|YOUR)_`)

// TestErrorsComeFromTheCatalogue fails on an error code, a details code or a close that
// is written by hand: the generated constants of schema/errors.json are the only ones.
func TestErrorsComeFromTheCatalogue(t *testing.T) {
	known := catalogue(t)
	for _, f := range goFiles(t) {
		if f.test || f.dir == "gen/protocol" {
			continue
		}
		for _, offence := range byHand(f.fset, f.syntax, known) {
			t.Errorf("%s", offence)
		}
	}
}

// catalogue returns the error codes and details codes.
func catalogue(t *testing.T) map[string]bool {
	raw, err := os.ReadFile(filepath.Join(root(t), "schema", "errors.json"))
	require.NoError(t, err)
	var doc struct {
		Errors  map[string]json.RawMessage `json:"x-errors"`
		Details map[string]json.RawMessage `json:"x-details"`
	}
	require.NoError(t, json.Unmarshal(raw, &doc))
	known := map[string]bool{}
	for code := range doc.Errors {
		known[code] = true
	}
	for code := range doc.Details {
		known[code] = true
	}
	require.NotEmpty(t, known)
	return known
}

// byHand lists the places of a file where a code or a close is written as a literal.
func byHand(fset *token.FileSet, file *ast.File, known map[string]bool) []string {
	var list []string
	tell := func(n ast.Node, what string) {
		list = append(list, fmt.Sprintf("%s: %s", fset.Position(n.Pos()), what))
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			text, err := strconv.Unquote(n.Value)
			if n.Kind == token.STRING && err == nil && (known[text] || codeShape.MatchString(text) && !noCodes.MatchString(text)) {
				tell(n, text+" is written by hand: use protocol.Error... or protocol.Detail...")
			}
		case *ast.CallExpr:
			if name(n.Fun) == "wire.Errorf" && holdsLiteral(n.Args[0]) {
				tell(n, "wire.Errorf with a code that is no constant of the catalogue")
			}
		case *ast.CompositeLit:
			for _, element := range closing(file.Name.Name, n) {
				if holdsLiteral(element) {
					tell(element, "a close or code that is no constant of the catalogue")
				}
			}
		case *ast.SelectorExpr:
			// 1005 is no code that is ever sent: it stands for a close without one.
			if word := name(n); file.Name.Name == "gateway" && strings.HasPrefix(word, "websocket.Status") && word != "websocket.StatusNoStatusRcvd" {
				tell(n, "a close code of the library: use protocol.Close...")
			}
		}
		return true
	})
	return list
}

// closing returns the elements of a composite literal that say how a connection ends or
// which code a refusal has.
func closing(pkg string, lit *ast.CompositeLit) []ast.Expr {
	kind := pkg + "." + name(lit.Type)
	if strings.Contains(name(lit.Type), ".") {
		kind = name(lit.Type)
	}
	var list []ast.Expr
	for i, element := range lit.Elts {
		pair, keyed := element.(*ast.KeyValueExpr)
		switch {
		case keyed && kind == "gateway.ending", keyed && kind == "wire.Error" && name(pair.Key) == "Code",
			keyed && kind == "protocol.ErrorDetails" && name(pair.Key) == "Code", keyed && name(pair.Key) == "CloseCode":
			list = append(list, pair.Value)
		case !keyed && kind == "gateway.ending" && i == 0:
			list = append(list, element)
		}
	}
	return list
}

// holdsLiteral reports whether a value is written as a literal, also inside a call.
func holdsLiteral(e ast.Expr) (found bool) {
	ast.Inspect(e, func(n ast.Node) bool {
		_, literal := n.(*ast.BasicLit)
		found = found || literal
		return !found
	})
	return found
}

// name is the text of an identifier or of package.identifier.
func name(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return name(e.X) + "." + e.Sel.Name
	}
	return ""
}

// TestHandwrittenCodesAreSeen shows each offence that TestErrorsComeFromTheCatalogue is
// there for, and what it lets pass.
func TestHandwrittenCodesAreSeen(t *testing.T) {
	for line, offences := range map[string]int{
		`wire.Errorf("UNAVAILABLE", "x")`:                              2,
		`wire.Errorf("NEW_CODE", "x")`:                                 2,
		`wire.Errorf("gone", "x")`:                                     1,
		`wire.Errorf("GO" + suffix, "x")`:                              1,
		`wire.Errorf(protocol.ErrorUnavailable, "x")`:                  0,
		`_ = &wire.Error{Code: "gone", Message: "x"}`:                  1,
		`_ = &wire.Error{Code: code, Message: "x"}`:                    0,
		`_ = protocol.ErrorDetails{Code: wire.Some("gone")}`:           1,
		`_ = protocol.ErrorDetails{Code: wire.Some(protocol.DetailX)}`: 0,
		`refuse("SOMETHING_ELSE")`:                                     1,
		`getenv("CODERCLAW_STATE_DIR")`:                                0,
		`_ = ending{1008, reason}`:                                     1,
		`_ = ending{code: 1008}`:                                       1,
		`_ = ending{protocol.CloseSlowConsumerCode, "x"}`:              0,
		`_ = Refusal{CloseCode: 4000}`:                                 1,
		`_ = Refusal{CloseCode: protocol.CloseHandshakeRefusedCode}`:   0,
		`_ = ending{int(websocket.StatusPolicyViolation), "x"}`:        1,
		`if code == "INVALID_REQUEST" { return }`:                      1,
	} {
		t.Run(line, func(t *testing.T) {
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, "x.go", "package gateway\nfunc f() {\n"+line+"\n}", 0)
			require.NoError(t, err)
			require.Len(t, byHand(fset, file, map[string]bool{"UNAVAILABLE": true, "INVALID_REQUEST": true}), offences)
		})
	}
}
