package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/pkg/settings"
)

const gatewayHelp = `Runs in the foreground and logs to standard output. Ctrl-C or SIGTERM stops it in
good order; a second Ctrl-C stops it at once.

Without any setting it listens on 127.0.0.1:18789, makes itself a secret that only you can
read (gateway.token in the state directory), and answers with the builtin agent. A secret comes
from the command line, else from CODERCLAW_GATEWAY_TOKEN or CODERCLAW_GATEWAY_PASSWORD, else from
the config, else from that file. What stands on the command line can be seen by everybody on this
machine, so prefer --password-file to --password:

   coderclaw gateway --auth password --password-file /run/secrets/coderclaw

To connect a model, set OPENAI_BASE_URL, OPENAI_API_KEY and OPENAI_MODEL, or the sections
models and agents of coderclaw.json, which need no restart.`

func (a *App) gatewayCommand() *cli.Command {
	return &cli.Command{
		Name:        "gateway",
		Category:    categoryGateway,
		Usage:       "run a gateway",
		UsageText:   "coderclaw gateway [--port PORT] [--bind loopback|lan|IP] [--auth token|password|trusted-proxy] [--password-file FILE] [--config FILE]",
		Description: gatewayHelp,
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "port", Aliases: []string{"p"}, Usage: "TCP `PORT`; 0 takes a free one (default: CODERCLAW_GATEWAY_PORT, the config, 18789)"},
			&cli.StringFlag{Name: "bind", Usage: "where to listen: loopback, lan, or one `IP` address (default: the config, loopback)"},
			&cli.StringFlag{Name: "auth", Usage: "what proves that a client may connect: `MODE` token, password or trusted-proxy (default: the config; else password if there is one, else token)"},
			&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "config `FILE` (default: CODERCLAW_CONFIG_PATH, else coderclaw.json in the state directory)"},
			&cli.BoolFlag{Name: "verbose", DisableDefaultText: true, Usage: "log every request and connection too"},
		},
		Action: a.runGateway,
	}
}

func (a *App) runGateway(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	if _, ok := globalString(c, flagURL); ok {
		return usagef("--url is for commands that talk to a gateway; gateway has --port and --bind")
	}
	if a.Gateway == nil {
		return errors.New("this build holds no gateway")
	}
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()
	// After the first signal the second one has its usual effect.
	defer context.AfterFunc(ctx, stop)()

	o, err := a.gatewayOptions(c)
	if err != nil {
		return err
	}
	o.Ready = func(url, tokenFile string) { a.printReady(c, url, tokenFile) }
	return a.Gateway(ctx, o)
}

// printReady tells a person where the gateway is and how to go on. Where the log is
// JSON for a program, standard output holds nothing else.
func (a *App) printReady(c *cli.Context, url, tokenFile string) {
	out, paint := a.Stderr, a.out.errStyle
	if a.out.outIsTTY {
		out, paint = a.Stdout, a.out.style
	}
	fmt.Fprintf(out, "%s listens on %s\n", paint(bold, "coderclaw gateway"), paint(green, url))
	if tokenFile != "" {
		fmt.Fprintf(out, "the secret for other machines and clients is in %s\n", tokenFile)
	}
	fmt.Fprintf(out, "talk to it from another terminal: %s\n", paint(bold, a.nextCommand(c)))
}

func (a *App) gatewayOptions(c *cli.Context) (GatewayOptions, error) {
	getenv := a.getenv(c)
	if c.IsSet("config") {
		path := c.String("config")
		inner := getenv
		getenv = func(name string) string {
			if name == "CODERCLAW_CONFIG_PATH" {
				return path
			}
			return inner(name)
		}
	}
	o := GatewayOptions{Getenv: getenv, Stdout: a.Stdout, Terminal: a.out.outIsTTY, Version: a.Version, Verify: verifier()}
	if c.Bool("verbose") {
		o.Level = slog.LevelDebug
	}
	o.StateDir, o.ConfigPath = settings.Paths(getenv)
	if c.IsSet("port") {
		port := c.Int("port")
		o.Flags.Port = &port
	}
	if c.IsSet("bind") {
		bind := c.String("bind")
		o.Flags.Bind = &bind
	}
	if c.IsSet("auth") {
		mode := c.String("auth")
		o.Flags.AuthMode = &mode
	}
	given, err := a.flagSecrets(c)
	if err != nil {
		return o, err
	}
	if given.tokenFrom != "" {
		o.Flags.Token = &given.token
	}
	if given.passwordFrom != "" {
		o.Flags.Password = &given.password
	}
	if _, byFile := globalString(c, flagPassFile); given.from() != "" && !byFile {
		a.out.note("what follows %s can be read by every user of this machine while the gateway runs; the config, the environment and files of your own cannot", given.from())
	}
	return o, nil
}

// nextCommand returns a command that works as it stands, so it names the state
// directory when that was given as a flag.
func (a *App) nextCommand(c *cli.Context) string {
	command := a.root.Name
	if dir, ok := globalString(c, flagStateDir); ok {
		command += " --state-dir " + dir
	}
	if _, ok := globalString(c, flagToken); ok {
		command += " --token SECRET"
	}
	path, byFile := globalString(c, flagPassFile)
	_, typed := globalString(c, flagPassword)
	switch {
	case byFile && path != "-":
		command += " --password-file " + quoted(path)
	case byFile, typed:
		command += " --password-file FILE"
	}
	return command + ` agent --message "hello"`
}
