// Package cli is the command coderclaw: one file for each subcommand, each of
// which asks a running gateway through package client and prints the answer for
// a person, or as JSON for a program. Only gateway runs something itself, through
// the function that Config hands in, and schema, explain, version and completion need
// no gateway at all. devices, audit, auth, tls and doctor also work where no gateway runs, on
// its state directory: see devices_desk.go for how they choose.
//
// The package keeps no state of its own beyond the device identity that package
// client owns, and it never sends the secret it finds in a state directory to a
// URL that names another gateway (see target.go). Every error ends in one of the
// documented exit codes and says what to do about it (errors.go).
//
// Results go to standard output; everything else (prompts, notes, errors) goes to
// standard error, so that output can be piped.
package cli

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/store"
)

// Config is what the command needs from the process it runs in.
type Config struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Getenv looks up the environment; nil is os.Getenv.
	Getenv func(string) string
	// Version is what `coderclaw version` prints; empty asks the build info.
	Version string
	// Gateway runs a gateway until ctx ends.
	Gateway func(ctx context.Context, o GatewayOptions) error
}

// GatewayOptions is what the gateway command hands to Config.Gateway. It has the
// fields of daemon.Config, so that one converts to the other.
type GatewayOptions struct {
	// StateDir and ConfigPath are absolute.
	StateDir, ConfigPath string
	// Flags are the values given on the command line.
	Flags settings.Flags
	// Getenv looks up the environment, without what flags override.
	Getenv func(string) string
	// Stdout takes the log; Terminal reports whether a person reads it.
	Stdout   io.Writer
	Terminal bool
	// Level is the least severe level to log.
	Level slog.Level
	// Version is the program's.
	Version string
	// Verify checks database files in a child process.
	Verify store.Verify
	// Ready is to be called once, when the gateway accepts connections, with its
	// URL and the file that holds its token (empty: the token was configured).
	Ready func(url, tokenFile string)
}

// App is the command. It may be run once.
type App struct {
	Config
	out  *printer
	root *cli.App
}

// New builds the command and starts nothing.
func New(cfg Config) *App {
	if cfg.Getenv == nil {
		cfg.Getenv = os.Getenv
	}
	if cfg.Version == "" {
		cfg.Version = buildVersion()
	}
	a := &App{Config: cfg}
	a.out = newPrinter(cfg.Stdout, cfg.Stderr, cfg.Getenv)
	a.root = a.build()
	return a
}

// Run executes args, whose first element is the program's name, and returns the
// exit code.
func (a *App) Run(ctx context.Context, args []string) int {
	// A mistake in the flags themselves is reported before they are parsed.
	a.out.json = slices.Contains(args, "--"+flagJSON)
	args, err := reorder(a.root, args)
	if err == nil {
		err = a.root.RunContext(ctx, args)
	}
	return a.report(err)
}

const (
	categoryTalk     = "Conversation"
	categoryGateway  = "Gateway"
	categorySecurity = "Security"
	categoryTools    = "Tools"
)

// The library indents every line of a description.
const description = `One gateway per machine runs your assistant; every other command talks to it.
Start it in one terminal and talk to it from another:

   coderclaw gateway
   coderclaw agent --message "hello"
   coderclaw chat

Commands on the gateway's machine need no flag: they find its port and its token in the
state directory. To reach another one: coderclaw --url wss://host --token SECRET status

Environment: CODERCLAW_STATE_DIR, CODERCLAW_CONFIG_PATH, CODERCLAW_GATEWAY_PORT,
CODERCLAW_GATEWAY_TOKEN, CODERCLAW_GATEWAY_PASSWORD, CODERCLAW_GATEWAY_TLS_FINGERPRINT;
NO_COLOR turns colours off.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no connection to a gateway,
4 refused or not authorised, 130 interrupted.`

func (a *App) build() *cli.App {
	app := &cli.App{
		Name:                 "coderclaw",
		Usage:                "a personal AI assistant's gateway, and the command that talks to it",
		UsageText:            "coderclaw [options] COMMAND [options] [arguments]",
		Description:          description,
		Version:              a.Version,
		Reader:               a.Stdin,
		Writer:               a.Stdout,
		ErrWriter:            a.Stderr,
		Flags:                globalFlags(),
		EnableBashCompletion: true,
		HideHelpCommand:      false,
		Action:               a.noCommand,
		OnUsageError:         onUsageError,
		ExitErrHandler:       func(*cli.Context, error) {}, // Run decides
		Commands: []*cli.Command{
			a.gatewayCommand(),
			a.agentCommand(),
			a.chatCommand(),
			a.historyCommand(),
			a.sessionsCommand(),
			a.usageCommand(),
			a.agentsCommand(),
			a.modelsCommand(),
			a.tasksCommand(),
			a.healthCommand(),
			a.statusCommand(),
			a.presenceCommand(),
			a.eventsCommand(),
			a.logsCommand(),
			a.configCommand(),
			a.devicesCommand(),
			a.auditCommand(),
			a.authCommand(),
			a.tlsCommand(),
			a.doctorCommand(),
			a.backupCommand(),
			a.restoreCommand(),
			a.dbCommand(),
			a.importCommand(),
			a.callCommand(),
			a.schemaCommand(),
			a.explainCommand(),
			a.versionCommand(),
			a.completionCommand(),
		},
	}
	for _, c := range app.Commands {
		a.prepare(c)
	}
	return app
}

// prepare gives a command and its subcommands the global flags, so that they work
// on either side of its name. A command with subcommands may do something itself when
// none of them is named.
func (a *App) prepare(c *cli.Command) {
	c.OnUsageError = onUsageError
	action, group := c.Action, len(c.Subcommands) > 0
	if action != nil {
		c.Action = func(c *cli.Context) error {
			if group && c.NArg() > 0 {
				return groupAction(c)
			}
			a.out.json = globalBool(c, flagJSON)
			return action(c)
		}
		c.Flags = append(c.Flags, globalFlags()...)
		c.HideHelpCommand = true
	} else {
		c.Action = groupAction
	}
	for _, sub := range c.Subcommands {
		a.prepare(sub)
	}
}

func (a *App) noCommand(c *cli.Context) error {
	if name := c.Args().First(); name != "" {
		return usagef("there is no command %q%s; see: coderclaw help", name, suggestion(c.App.Commands, name))
	}
	return cli.ShowAppHelp(c)
}

func groupAction(c *cli.Context) error {
	if name := c.Args().First(); name != "" {
		return usagef("%s has no command %q%s; see: coderclaw %s --help", c.Command.Name, name, suggestion(c.Command.Subcommands, name), c.Command.Name)
	}
	return usagef("%s needs a command; see: coderclaw %s --help", c.Command.Name, c.Command.Name)
}

func onUsageError(c *cli.Context, err error, _ bool) error {
	var u *usageError
	if errors.As(err, &u) {
		return err
	}
	name := c.App.Name
	if c.Command != nil && c.Command.HelpName != "" {
		name = c.Command.HelpName
	}
	return &usageError{withHint(err, "see: %s --help", name)}
}
