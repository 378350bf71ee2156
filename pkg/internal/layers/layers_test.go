package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/coderclaw/gateway"

// layer names a floor of the house; imports may only point to a lower floor, or
// to the same one where sameFloor allows it.
type layer struct {
	name      string
	sameFloor bool
	// match reports whether a package, relative to the module, lives here.
	match func(dir string) bool
}

func exactly(dirs ...string) func(string) bool {
	return func(dir string) bool {
		for _, d := range dirs {
			if dir == d {
				return true
			}
		}
		return false
	}
}

func below(prefix string) func(string) bool {
	return func(dir string) bool { return strings.HasPrefix(dir, prefix+"/") }
}

func either(fs ...func(string) bool) func(string) bool {
	return func(dir string) bool {
		for _, f := range fs {
			if f(dir) {
				return true
			}
		}
		return false
	}
}

// layers is ordered from the ground up. A port may lean on another port (a run
// appends to a session); services never lean on each other.
var layers = []layer{
	{"internal", true, either(below("pkg/internal"), exactly("schema", "schema/compat", "testdata"))},
	{"wire", false, exactly("pkg/wire")},
	{"gen", false, exactly("gen/protocol")},
	{"store", false, exactly("pkg/store")},
	{"ports", true, exactly("pkg/agents", "pkg/audit", "pkg/session", "pkg/task", "pkg/turn", "pkg/agent", "pkg/agent/agenttest", "pkg/channel", "pkg/transport", "pkg/settings", "pkg/identity", "pkg/certificate")},
	{"service", false, below("pkg/service")},
	{"edges", false, either(exactly("pkg/gateway", "pkg/canvas", "pkg/client", "pkg/conformance", "pkg/importer"), below("pkg/agent"), below("pkg/task"), below("pkg/channel"), below("pkg/transport"))},
	{"daemon", false, exactly("pkg/daemon")},
	{"cli", false, exactly("pkg/cli")},
	{"cmd", false, below("cmd")},
}

// doors lists, for each third-party module, the packages that may import it.
// A library without a line here may not be imported at all.
var doors = map[string][]string{
	"go.etcd.io/bbolt":                  {"pkg/store"},
	"github.com/coder/websocket":        {"pkg/gateway", "pkg/client", "pkg/conformance"},
	"github.com/urfave/cli/v2":          {"pkg/cli"},
	"github.com/invopop/jsonschema":     {"pkg/settings"},
	"github.com/sashabaranov/go-openai": {"pkg/agent/openai"},
	"github.com/anishathalye/porcupine": {"pkg/task/tasktest"},
	"github.com/DeRuina/timberjack":     {"pkg/internal/logfile"},
	"github.com/google/uuid":            {"pkg/gateway", "pkg/session", "pkg/client", "pkg/cli", "pkg/identity", "pkg/turn", "pkg/task/durable", "pkg/service/tasks"},
	"filippo.io/edwards25519":           {"pkg/identity"},
	"golang.org/x/sync":                 {"pkg/daemon", "pkg/gateway"},
	"golang.org/x/sys":                  {"pkg/store"},
	"golang.org/x/term":                 {"pkg/cli"},
}

// testDoors are the libraries that any test may import.
var testDoors = []string{"github.com/stretchr/testify", "github.com/rogpeppe/go-internal", "go.uber.org/goleak", "github.com/santhosh-tekuri/jsonschema/v6"}

type file struct {
	dir, path string
	test      bool
	syntax    *ast.File
	fset      *token.FileSet
}

// root returns the module's folder, which holds go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir
		}
		require.NotEqual(t, dir, filepath.Dir(dir), "no go.work above the working directory")
	}
}

// goFiles parses every Go file of the main module.
func goFiles(t *testing.T) []file {
	t.Helper()
	top := root(t)
	var files []file
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(top, p)
		if d.IsDir() {
			name := d.Name()
			if rel != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules" || name == "tools" || name == "clients" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		fset := token.NewFileSet()
		syntax, err := parser.ParseFile(fset, p, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		files = append(files, file{dir: filepath.ToSlash(filepath.Dir(rel)), path: rel, test: strings.HasSuffix(p, "_test.go"), syntax: syntax, fset: fset})
		return nil
	})
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}

func floorOf(dir string) int {
	for i, l := range layers {
		if l.match(dir) {
			return i
		}
	}
	return -1
}

func TestImportsPointDown(t *testing.T) {
	for _, f := range goFiles(t) {
		from := floorOf(f.dir)
		if from < 0 {
			t.Errorf("%s: package %s has no place in the layers table", f.path, f.dir)
			continue
		}
		if f.test {
			continue // a test may drive its package from above, with real parts
		}
		for _, imp := range f.syntax.Imports {
			p, err := strconv.Unquote(imp.Path.Value)
			require.NoError(t, err)
			dir, ours := strings.CutPrefix(p, module+"/")
			if !ours {
				continue
			}
			to := floorOf(dir)
			switch {
			case to < 0:
				t.Errorf("%s imports %s, which has no place in the layers table", f.path, dir)
			case to > from, to == from && !layers[from].sameFloor && dir != f.dir:
				t.Errorf("%s (%s) imports %s (%s): imports point down", f.path, layers[from].name, dir, layers[to].name)
			}
		}
	}
}

func TestGeneratedCodeStandsOnWireAlone(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.dir != "gen/protocol" || f.test {
			continue
		}
		for _, imp := range f.syntax.Imports {
			p, _ := strconv.Unquote(imp.Path.Value)
			if strings.Contains(p, ".") {
				require.Equal(t, module+"/pkg/wire", p, f.path)
			}
		}
	}
}

func TestEveryLibraryHasItsDoor(t *testing.T) {
	for _, f := range goFiles(t) {
		for _, imp := range f.syntax.Imports {
			p, _ := strconv.Unquote(imp.Path.Value)
			host, _, _ := strings.Cut(p, "/")
			if !strings.Contains(host, ".") || strings.HasPrefix(p, module+"/") {
				continue
			}
			if !mayImport(f, p) {
				t.Errorf("%s imports %s: not one of its doors; see the doors table", f.path, p)
			}
		}
	}
}

func mayImport(f file, p string) bool {
	if f.test {
		for _, lib := range testDoors {
			if p == lib || strings.HasPrefix(p, lib+"/") {
				return true
			}
		}
		if p == "github.com/coder/websocket" {
			return true // a test may be the peer
		}
	}
	if (f.dir == "pkg/agent/agenttest" || f.dir == "pkg/task/tasktest" || f.dir == "pkg/transport/transporttest") && strings.HasPrefix(p, "github.com/stretchr/testify") {
		return true // a contract package is test code by nature
	}
	for lib, dirs := range doors {
		if p == lib || strings.HasPrefix(p, lib+"/") {
			for _, d := range dirs {
				if d == f.dir {
					return true
				}
			}
		}
	}
	return false
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	docs := map[string]int{}
	for _, f := range goFiles(t) {
		if f.test {
			continue
		}
		if _, ok := docs[f.dir]; !ok {
			docs[f.dir] = 0
		}
		if f.syntax.Doc != nil && len(f.syntax.Doc.Text()) > 40 {
			docs[f.dir]++
		}
	}
	for dir, n := range docs {
		require.Equal(t, 1, n, "package %s needs exactly one package comment", dir)
	}
}

func TestNoInit(t *testing.T) {
	for _, f := range goFiles(t) {
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: no init functions: what runs is written where it runs", f.fset.Position(fn.Pos()))
			}
		}
	}
}

func TestHandwrittenFilesStayReadable(t *testing.T) {
	const linesMax = 600
	for _, f := range goFiles(t) {
		if ast.IsGenerated(f.syntax) {
			continue
		}
		lines := f.fset.File(f.syntax.Pos()).LineCount()
		require.LessOrEqual(t, lines, linesMax, "%s: a file this long is usually two ideas", f.path)
	}
}

func TestMainIsShort(t *testing.T) {
	for _, f := range goFiles(t) {
		if strings.HasPrefix(f.dir, "cmd/") && path.Base(filepath.ToSlash(f.path)) == "main.go" {
			require.Less(t, f.fset.File(f.syntax.Pos()).LineCount(), 31, f.path)
		}
	}
}
