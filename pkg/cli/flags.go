package cli

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

const (
	flagURL       = "url"
	flagToken     = "token"
	flagPassword  = "password"
	flagPassFile  = "password-file"
	flagJSON      = "json"
	flagTimeout   = "timeout"
	flagStateDir  = "state-dir"
	flagPlaintext = "allow-plaintext"
	flagPin       = "tls-fingerprint"

	categoryGlobal = "Everywhere:"
)

// globalFlags returns the flags of every command. Each level gets its own copies:
// the library keeps a parsed value inside the flag.
func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: flagURL, Category: categoryGlobal, Usage: "the gateway's `URL` (default: gateway.remote.url in mode remote, else ws://127.0.0.1 and the port of the local gateway)"},
		&cli.StringFlag{Name: flagToken, Category: categoryGlobal, Usage: "the gateway's `SECRET` (default: CODERCLAW_GATEWAY_TOKEN, the config, gateway.token in the state directory)"},
		&cli.StringFlag{Name: flagPassword, Category: categoryGlobal, Usage: "the gateway's `PASSWORD`, if it takes one (default: CODERCLAW_GATEWAY_PASSWORD, the config)"},
		&cli.StringFlag{Name: flagPassFile, Category: categoryGlobal, Usage: "read the password from `FILE`; - is standard input"},
		&cli.BoolFlag{Name: flagJSON, DisableDefaultText: true, Category: categoryGlobal, Usage: "print JSON, errors too"},
		&cli.StringFlag{Name: flagTimeout, Category: categoryGlobal, Usage: "give up after `TIME`, such as 30s or 5m; a plain number is seconds"},
		&cli.StringFlag{Name: flagStateDir, Category: categoryGlobal, Usage: "state `DIR` (default: CODERCLAW_STATE_DIR, else ~/.coderclaw)"},
		&cli.StringFlag{Name: flagPin, Category: categoryGlobal, Usage: "the `SHA-256` of the certificate, or of its key, that a wss:// gateway must show (default: CODERCLAW_GATEWAY_TLS_FINGERPRINT, the config, what was confirmed before)"},
		&cli.BoolFlag{Name: flagPlaintext, DisableDefaultText: true, Category: categoryGlobal, Usage: "allow ws:// to another machine; the token and everything said can then be read on the way"},
	}
}

// given returns the value of a global flag from the innermost level that has it.
// The library's own look-up ends at the innermost level that declares the flag.
func given(c *cli.Context, name string) (*cli.Context, bool) {
	for _, level := range c.Lineage() {
		if level.Command != nil && slices.Contains(level.LocalFlagNames(), name) {
			return level, true
		}
	}
	return nil, false
}

func globalString(c *cli.Context, name string) (string, bool) {
	level, ok := given(c, name)
	if !ok {
		return "", false
	}
	return level.String(name), true
}

func globalBool(c *cli.Context, name string) bool {
	level, ok := given(c, name)
	return ok && level.Bool(name)
}

// timeout returns the --timeout, or otherwise; 0 means none.
func timeout(c *cli.Context, otherwise time.Duration) (time.Duration, error) {
	text, ok := globalString(c, flagTimeout)
	if !ok {
		return otherwise, nil
	}
	d, err := parseTimeout(text)
	if err != nil {
		return 0, usagef("--timeout %q: want a time such as 30s, 5m or a number of seconds", text)
	}
	return d, nil
}

func parseTimeout(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second, nil
	}
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		return 0, strconv.ErrRange
	}
	return d, err
}

// getenv overlays --state-dir on the environment.
func (a *App) getenv(c *cli.Context) func(string) string {
	dir, ok := globalString(c, flagStateDir)
	return func(name string) string {
		if ok && name == "CODERCLAW_STATE_DIR" {
			return dir
		}
		return a.Getenv(name)
	}
}
