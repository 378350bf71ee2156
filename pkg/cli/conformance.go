package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/pkg/conformance"
	"github.com/coderclaw/gateway/testdata"
)

// Exit codes of the command conformance, as its help text documents them.
const (
	exitConforms = 0
	exitDiffers  = 1
	exitUnjudged = 2
)

// Conformance is the command conformance, which grades gateways and clients. It may
// be run once.
type Conformance struct {
	cfg  Config
	out  *printer
	root *cli.App
}

const conformanceDescription = `Grades any gateway of the protocol, and any client:

   conformance run ws://127.0.0.1:18789 --token SECRET
   conformance serve --listen 127.0.0.1:18789
   conformance record ws://127.0.0.1:18789 --listen 127.0.0.1:9000 --out frames

The conversations are built in; conformance list names them.

Exit codes: 0 nothing differs, 1 something differs, 2 there is no verdict (wrong usage,
no gateway, interrupted).`

// NewConformance builds the command and starts nothing. Of cfg it does not use
// Gateway.
func NewConformance(cfg Config) *Conformance {
	if cfg.Getenv == nil {
		cfg.Getenv = os.Getenv
	}
	if cfg.Version == "" {
		cfg.Version = buildVersion()
	}
	a := &Conformance{cfg: cfg, out: newPrinter(cfg.Stdout, cfg.Stderr, cfg.Getenv)}
	a.root = &cli.App{
		Name:           "conformance",
		Usage:          "tell whether a gateway or a client speaks the protocol",
		UsageText:      "conformance COMMAND [options] [arguments]",
		Description:    conformanceDescription,
		Version:        cfg.Version,
		Reader:         cfg.Stdin,
		Writer:         cfg.Stdout,
		ErrWriter:      cfg.Stderr,
		Action:         noConformanceCommand,
		OnUsageError:   onUsageError,
		ExitErrHandler: func(*cli.Context, error) {}, // Run decides
		Commands:       []*cli.Command{a.runCommand(), a.serveCommand(), a.recordCommand(), a.listCommand()},
	}
	for _, c := range a.root.Commands {
		c.OnUsageError = onUsageError
		c.HideHelpCommand = true
	}
	return a
}

func noConformanceCommand(c *cli.Context) error {
	if name := c.Args().First(); name != "" {
		return usagef("there is no command %q%s; see: conformance help", name, suggestion(c.App.Commands, name))
	}
	return cli.ShowAppHelp(c)
}

// Run executes args, whose first element is the program's name, and returns the exit
// code. Ctrl-C ends what runs in good order; a second one ends it at once.
func (a *Conformance) Run(ctx context.Context, args []string) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	args, err := reorder(a.root, args)
	if err == nil {
		err = a.root.RunContext(ctx, args)
	}
	return a.report(err)
}

// report prints err, if it has not been told, and returns the exit code.
func (a *Conformance) report(err error) int {
	switch {
	case err == nil:
		return exitConforms
	case errors.Is(err, errTold):
		return exitDiffers
	case errors.Is(err, errInterrupted):
		a.out.note("interrupted: no verdict")
		return exitUnjudged
	}
	fmt.Fprintf(a.cfg.Stderr, "%s %v\n", a.out.errStyle(red, "conformance:"), err)
	var hint *hintError
	if errors.As(err, &hint) {
		fmt.Fprintf(a.cfg.Stderr, "  %s\n", hint.hint)
	}
	return exitUnjudged
}

func (a *Conformance) listCommand() *cli.Command {
	return &cli.Command{
		Name:      "list",
		Usage:     "name the conversations that are built in",
		UsageText: "conformance list [--only PATTERN]",
		Flags:     []cli.Flag{onlyFlag()},
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			cases, err := chosen(c)
			if err != nil {
				return err
			}
			for _, one := range cases {
				about, _, _ := strings.Cut(one.About, "\n")
				if about == "" {
					about = "recorded: " + strings.Join(one.Names(), ", ")
				}
				a.out.printf("%s\n    %s\n", a.out.style(bold, one.Name), about)
			}
			return nil
		},
	}
}

func onlyFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "only", Usage: "only conversations whose name matches the `PATTERN`: a part of it, or with * ? [ the whole; may be repeated"}
}

func framesFlag() cli.Flag {
	return &cli.StringFlag{Name: "frames", Usage: "replay the recordings of a `DIR` (INDEX.json and .jsonl files) instead of what is built in"}
}

func conversationsFlag() cli.Flag {
	return &cli.StringFlag{Name: "conversations", Usage: "hold the conversations of a `DIR` (.txtar files) instead of what is built in"}
}

// chosen returns the cases that the flags --frames, --conversations, --exceptions and
// --only name: without the first two, all that is built in.
func chosen(c *cli.Context) ([]conformance.Case, error) {
	builtIn := !c.IsSet("frames") && !c.IsSet("conversations")
	var cases []conformance.Case
	// The recordings come first: what they show of sessions and clients is what they
	// have made themselves.
	if dir := c.String("frames"); dir != "" || builtIn {
		from := testdata.Frames()
		if dir != "" {
			from = os.DirFS(dir)
		}
		page, err := exceptions(c.String("exceptions"), from)
		if err != nil {
			return nil, err
		}
		recorded, err := conformance.LoadFrames(from, page)
		if err != nil {
			return nil, fmt.Errorf("read recordings: %w", err)
		}
		cases = append(cases, recorded...)
	}
	if dir := c.String("conversations"); dir != "" || builtIn {
		from := testdata.Conversations()
		if dir != "" {
			from = os.DirFS(dir)
		}
		written, err := conformance.LoadConversations(from)
		if err != nil {
			return nil, fmt.Errorf("read conversations: %w", err)
		}
		cases = append(cases, written...)
	}
	return only(cases, c.StringSlice("only"))
}

// exceptions reads the page that says what is not held against a gateway.
func exceptions(name string, frames fs.FS) ([]byte, error) {
	switch name {
	case "none":
		return nil, nil
	case "":
		page, err := fs.ReadFile(frames, "EXCEPTIONS.md")
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return page, err
	}
	page, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read exceptions: %w", err)
	}
	return page, nil
}

// only returns the cases that match one of the patterns, in their order.
func only(cases []conformance.Case, patterns []string) ([]conformance.Case, error) {
	if len(patterns) == 0 {
		return cases, nil
	}
	keep := map[string]bool{}
	for _, p := range patterns {
		if _, err := filepath.Match(p, ""); err != nil {
			return nil, usagef("--only %q is not a pattern", p)
		}
		matched := conformance.Select(cases, p)
		if len(matched) == 0 {
			return nil, usagef("no conversation matches %q; see: conformance list", p)
		}
		for _, one := range matched {
			keep[one.Name] = true
		}
	}
	return slices.DeleteFunc(cases, func(one conformance.Case) bool { return !keep[one.Name] }), nil
}

// listen opens the port of --listen.
func listen(c *cli.Context) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(c.Context, "tcp", c.String("listen"))
	if err != nil {
		return nil, withHint(err, "choose a free address with --listen")
	}
	return l, nil
}

// gatewayURL returns the command's one argument.
func gatewayURL(c *cli.Context) (string, error) {
	url := c.Args().First()
	switch {
	case c.NArg() != 1:
		return "", usagef("conformance %s needs one URL, such as ws://127.0.0.1:18789; see: conformance %s --help", c.Command.Name, c.Command.Name)
	case !strings.HasPrefix(url, "ws://") && !strings.HasPrefix(url, "wss://"):
		return "", usagef("%q is no ws:// or wss:// URL", url)
	}
	return url, nil
}
