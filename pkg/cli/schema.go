package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
	"github.com/coderclaw/gateway/schema"
)

// instanceBytesMax is the longest line that validate reads: the largest frame.
const instanceBytesMax = 25 << 20

func (a *App) schemaCommand() *cli.Command {
	return &cli.Command{
		Name:     "schema",
		Category: categoryTools,
		Usage:    "print the protocol's schema and check JSON against it; needs no gateway",
		Subcommands: []*cli.Command{
			{
				Name:         "print",
				Usage:        "print one definition, one file, or everything",
				UsageText:    "coderclaw schema print [DEFINITION | --file DOMAIN]",
				ArgsUsage:    "[DEFINITION]",
				Flags:        []cli.Flag{&cli.StringFlag{Name: "file", Usage: "print the schema file of a `DOMAIN`, such as chat"}},
				BashComplete: a.completeDefinitions,
				Action:       a.runSchemaPrint,
			},
			{
				Name:      "validate",
				Usage:     "check JSON: one instance a line on standard input, one verdict a line on standard output",
				UsageText: "coderclaw schema validate --def DEFINITION < instances.jsonl",
				Description: `Each verdict is {"valid":true,"errors":[]} or lists every fault with its instancePath,
keyword, message and params, in the words clients know. The exit code is 1 if any instance
is invalid.`,
				Flags:        []cli.Flag{&cli.StringFlag{Name: "def", Usage: "`DEFINITION` to check against, such as ChatSendParams"}},
				BashComplete: a.completeDefinitions,
				Action:       a.runSchemaValidate,
			},
			{
				Name:   "list",
				Usage:  "list the definitions, or with --methods or --events those",
				Flags:  []cli.Flag{&cli.BoolFlag{Name: "methods", DisableDefaultText: true, Usage: "list the methods"}, &cli.BoolFlag{Name: "events", DisableDefaultText: true, Usage: "list the events"}},
				Action: a.runSchemaList,
			},
			a.schemaDiffCommand(),
		},
	}
}

func (a *App) completeDefinitions(*cli.Context) {
	for _, name := range protocol.Definitions() {
		a.out.printf("%s\n", name)
	}
}

func (a *App) runSchemaPrint(c *cli.Context) error {
	name, domain := c.Args().First(), strings.TrimSuffix(c.String("file"), ".json")
	switch {
	case c.NArg() > 1 || name != "" && domain != "":
		return usagef("schema print takes one DEFINITION or --file DOMAIN")
	case domain != "":
		raw, err := fs.ReadFile(schema.FS(), domain+".json")
		if err != nil {
			return usagef("there is no schema file %q: want one of %s", domain, strings.Join(schema.Domains(), ", "))
		}
		_, err = a.out.out.Write(raw)
		return err
	case name != "":
		raw, err := definition(name)
		if err != nil {
			return err
		}
		return a.out.rawJSON(raw)
	}
	all := map[string]json.RawMessage{}
	for _, domain := range schema.Domains() {
		raw, err := fs.ReadFile(schema.FS(), domain+".json")
		if err != nil {
			return fmt.Errorf("read schema %s: %w", domain, err)
		}
		all[domain+".json"] = raw
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("print schema: %w", err)
	}
	return a.out.rawJSON(raw)
}

// definition returns a definition's schema as it stands in its file.
func definition(name string) ([]byte, error) {
	for _, domain := range schema.Domains() {
		raw, err := fs.ReadFile(schema.FS(), domain+".json")
		if err != nil {
			return nil, fmt.Errorf("read schema %s: %w", domain, err)
		}
		var file struct {
			Defs map[string]json.RawMessage `json:"$defs"`
		}
		if err := json.Unmarshal(raw, &file); err != nil {
			return nil, fmt.Errorf("read schema %s: %w", domain, err)
		}
		if def, ok := file.Defs[name]; ok {
			return def, nil
		}
	}
	return nil, unknownDefinition(name)
}

func unknownDefinition(name string) error {
	for _, known := range protocol.Definitions() {
		if strings.EqualFold(known, name) {
			return usagef("there is no definition %q (did you mean %q?)", name, known)
		}
	}
	return usagef("there is no definition %q; see: coderclaw schema list", name)
}

// verdict is one line of validate's output.
type verdict struct {
	Valid  bool    `json:"valid"`
	Errors []fault `json:"errors"`
}

// fault is one error of an instance, in the shape that ajv gives it.
type fault struct {
	InstancePath string          `json:"instancePath"`
	Keyword      string          `json:"keyword"`
	Message      string          `json:"message"`
	Params       json.RawMessage `json:"params,omitempty"`
}

func (a *App) runSchemaValidate(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	def := c.String("def")
	if def == "" {
		return usagef("schema validate needs --def DEFINITION; see: coderclaw schema list")
	}
	if !slices.Contains(protocol.Definitions(), def) {
		return unknownDefinition(def)
	}
	out := bufio.NewWriter(a.Stdout)
	defer out.Flush()
	verdicts := json.NewEncoder(out)
	verdicts.SetEscapeHTML(false)
	lines := bufio.NewScanner(a.Stdin)
	lines.Buffer(make([]byte, 64<<10), instanceBytesMax)
	valid := true
	for lines.Scan() {
		v := judge(def, lines.Bytes())
		valid = valid && v.Valid
		if err := verdicts.Encode(v); err != nil {
			return err
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Errorf("a line is longer than %d bytes", instanceBytesMax)
	case err != nil:
		return fmt.Errorf("read instances: %w", err)
	case !valid:
		return errTold
	}
	return nil
}

func judge(def string, instance []byte) verdict {
	// The validator may keep slices of what it reads, and the scanner reuses it.
	err := protocol.Validate(def, slices.Clone(instance))
	if err == nil {
		return verdict{Valid: true, Errors: []fault{}}
	}
	var faults wire.ValidationErrors
	if !errors.As(err, &faults) {
		return verdict{Errors: []fault{{Keyword: "syntax", Message: err.Error()}}}
	}
	v := verdict{Errors: make([]fault, 0, len(faults))}
	for _, f := range faults {
		v.Errors = append(v.Errors, fault{InstancePath: f.InstancePath, Keyword: f.Keyword, Message: f.Message, Params: json.RawMessage(f.Params)})
	}
	return v
}

func (a *App) runSchemaList(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	switch {
	case c.Bool("methods"):
		return a.listMethods()
	case c.Bool("events"):
		return a.listEvents()
	case a.out.json:
		return a.out.line(protocol.Definitions())
	}
	_, err := io.WriteString(a.Stdout, strings.Join(protocol.Definitions(), "\n")+"\n")
	return err
}

func (a *App) listMethods() error {
	if a.out.json {
		return a.out.line(protocol.Methods())
	}
	var rows [][]string
	for _, m := range protocol.Methods() {
		need := m.Scope
		if need == "" {
			need = m.Role
		}
		rows = append(rows, []string{m.Name, need, m.Doc})
	}
	return a.out.table([]string{"METHOD", "NEEDS", "DOES"}, rows)
}

func (a *App) listEvents() error {
	if a.out.json {
		return a.out.line(protocol.Events())
	}
	var rows [][]string
	for _, e := range protocol.Events() {
		rows = append(rows, []string{e.Name, strings.Join(e.Audience, ", "), e.Doc})
	}
	return a.out.table([]string{"EVENT", "GOES TO", "TELLS"}, rows)
}
