package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/pkg/settings"
)

const configHelp = `While a gateway runs on this state directory, these commands go through it, so that a change
takes effect; while none runs, they work on the file. Secrets are never shown. Comments and the
layout of the file stay. docs/configuration.md tells what each key does.

coderclaw config get gateway.port
coderclaw config set gateway.port 18800
coderclaw config set gateway.auth.token - < token.txt`

func (a *App) configCommand() *cli.Command {
	verbose := func() cli.Flag {
		return &cli.BoolFlag{Name: "verbose", DisableDefaultText: true, Usage: "say whether the gateway or the file was asked"}
	}
	return &cli.Command{
		Name: "config", Category: categoryGateway,
		Usage:       "read, change and check the configuration, and go back to an earlier one",
		Description: configHelp,
		Subcommands: []*cli.Command{
			{
				Name: "get", Usage: "print the settings of the file and the defaults, or one key", ArgsUsage: "[KEY]", UsageText: "coderclaw config get [KEY]",
				Flags: []cli.Flag{verbose()}, BashComplete: a.completeKeys, Action: a.runConfigGet,
			},
			{
				Name: "set", Usage: "change one key; VALUE is JSON5 or plain text, - reads it from standard input", ArgsUsage: "KEY VALUE",
				UsageText: "coderclaw config set KEY VALUE\ncoderclaw config set KEY --unset",
				Flags:     []cli.Flag{&cli.BoolFlag{Name: "unset", DisableDefaultText: true, Usage: "remove the key, so that its default holds"}, verbose()},

				BashComplete: a.completeKeys, Action: a.runConfigSet,
			},
			{
				Name: "edit", Usage: "open the file in $VISUAL or $EDITOR; a text with faults is not saved but opened again", UsageText: "coderclaw config edit",
				Flags: []cli.Flag{verbose()}, Action: a.runConfigEdit,
			},
			{
				Name: "check", Usage: "tell every fault of the file, or of another one; exit code 1 if there are any", ArgsUsage: "[FILE]",
				UsageText: "coderclaw config check [FILE]", Action: a.runConfigCheck,
			},
			{
				Name: "history", Usage: "list the versions that are kept, and who changed what", UsageText: "coderclaw config history", Action: a.runConfigHistory,
			},
			{
				Name: "rollback", Usage: "make an earlier version of the list the current one", ArgsUsage: "N", UsageText: "coderclaw config rollback N", Action: a.runConfigRollback,
			},
			{
				Name: "schema", Usage: "print the JSON Schema of the file, or the page about its keys", UsageText: "coderclaw config schema [--format json|markdown]",
				Flags:  []cli.Flag{&cli.StringFlag{Name: "format", Value: "json", Usage: "`FORMAT`: json or markdown"}},
				Action: a.runConfigSchema,
			},
			{Name: "path", Usage: "print where the file is", UsageText: "coderclaw config path", Action: a.runConfigPath},
		},
	}
}

// completeKeys offers the keys that hold a value.
func (a *App) completeKeys(c *cli.Context) {
	if c.NArg() > 0 {
		return
	}
	for _, k := range settings.Keys() {
		if !k.Group {
			a.out.printf("%s\n", k.Path)
		}
	}
}

// atConfig opens the desk, runs fn and closes the desk.
func (a *App) atConfig(c *cli.Context, fn func(ctx context.Context, d configDesk) error) error {
	limit, err := timeout(c, askTimeout)
	if err != nil {
		return err
	}
	d, err := a.openConfigDesk(c, limit)
	if err != nil {
		return err
	}
	if via, where := d.way(); c.Bool("verbose") {
		a.out.note("through the %s: %s", via, where)
	}
	return errors.Join(fn(c.Context, d), d.close())
}

func (a *App) runConfigGet(c *cli.Context) error {
	if c.NArg() > 1 {
		return usagef("config get takes one key, got %d arguments; see: coderclaw config get --help", c.NArg())
	}
	return a.atConfig(c, func(ctx context.Context, d configDesk) error {
		now, err := d.read(ctx)
		if err != nil {
			return err
		}
		for _, w := range now.warnings {
			a.out.note("%s", clean(w))
		}
		if len(now.issues) > 0 {
			return withHint(fmt.Errorf("%s has faults:\n%s", now.path, bullets(now.issues)), "mend it with: coderclaw config edit")
		}
		if c.NArg() == 0 {
			return a.out.rawJSON(now.config)
		}
		return a.printKey(now.config, c.Args().First())
	})
}

// printKey prints one value: text as it is, anything else, or with --json
// everything, as JSON. A key that exists and is not set prints nothing, or null.
func (a *App) printKey(config []byte, key string) error {
	if err := knownKey(key); err != nil {
		return err
	}
	value := any(nil)
	if err := json.Unmarshal(config, &value); err != nil {
		return fmt.Errorf("read the config: %w", err)
	}
	for part := range strings.SplitSeq(key, ".") {
		object, _ := value.(map[string]any)
		value = object[part]
	}
	if a.out.json {
		return a.out.line(value)
	}
	switch v := value.(type) {
	case nil:
		a.out.note("%s is not set", key)
	case string:
		a.out.printf("%s\n", safe(v))
	default:
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		return a.out.rawJSON(raw)
	}
	return nil
}

// knownKey refuses a key that the settings do not have.
func knownKey(key string) error {
	if _, ok := findKey(key); ok {
		return nil
	}
	var names []string
	for _, k := range settings.Keys() {
		names = append(names, k.Path)
	}
	if near := nearest(names, key); near != "" {
		return usagef("there is no key %q (did you mean %q?)", key, near)
	}
	return usagef("there is no key %q; see them all with: coderclaw config schema --format markdown", key)
}

// findKey finds a key; an entry of a record is one by any name.
func findKey(path string) (settings.Key, bool) {
	for _, k := range settings.Keys() {
		if k.Path == path {
			return k, true
		}
		want, got := strings.Split(k.Path, "."), strings.Split(path, ".")
		if n := len(got); n < len(want) && want[n-1] == "*" { // the entry itself, not one of its keys
			want = want[:n]
			k = settings.Key{Path: strings.Join(want, "."), Type: "object", Group: true, Class: k.Class}
		}
		if len(want) == len(got) && !slices.ContainsFunc(want, func(s string) bool { return strings.HasSuffix(s, "[]") }) {
			same := true
			for i := range want {
				same = same && (want[i] == got[i] || want[i] == "*")
			}
			if same {
				return k, true
			}
		}
	}
	return settings.FindForeign(path)
}

func (a *App) runConfigSet(c *cli.Context) error {
	want := 2
	if c.Bool("unset") {
		want = 1
	}
	if c.NArg() != want {
		return usagef("config set takes KEY and VALUE, or KEY and --unset; see: coderclaw config set --help")
	}
	name := c.Args().First()
	if err := knownKey(name); err != nil {
		return err
	}
	key, _ := findKey(name)
	key.Path = name // with the names that stand for *
	var value []byte
	if want == 2 {
		var err error
		if value, err = a.configValue(key, c.Args().Get(1)); err != nil {
			return err
		}
	}
	return a.atConfig(c, func(ctx context.Context, d configDesk) error {
		now, err := d.read(ctx)
		if err != nil {
			return err
		}
		if now.exists && now.raw == nil {
			return withHint(fmt.Errorf("%s has faults:\n%s", now.path, bullets(now.issues)), "mend it with: coderclaw config edit")
		}
		text, err := settings.Set(now.raw, strings.Split(name, "."), value)
		if err != nil {
			return err
		}
		if value == nil && bytes.Equal(text, now.raw) {
			return a.notWritten(now, name)
		}
		if err := d.write(ctx, now.hash, text); err != nil {
			return err
		}
		if key.Type == settings.TypeForeign && value != nil {
			a.out.note("%s is kept but has no effect: this gateway does not have what it is for yet", name)
		}
		return a.printWritten(d, now.path, name, key.Class)
	})
}

// notWritten tells that a key to be removed does not stand in the file.
func (a *App) notWritten(now configState, name string) error {
	if bytes.Contains(now.raw, []byte("$include")) {
		return withHint(fmt.Errorf("%s does not stand in %s, so it cannot be removed there; an included file may have it", name, now.path), "see what holds with: coderclaw config get %s", name)
	}
	if a.out.json {
		return a.out.line(map[string]any{"ok": true, "path": now.path, "changed": nil})
	}
	a.out.printf("%s is not set in %s: nothing is changed\n", name, now.path)
	return nil
}

// configValue turns an argument into JSON5. A key that holds text takes the argument
// as it is, so that a token of digits needs no quotes.
func (a *App) configValue(key settings.Key, text string) ([]byte, error) {
	if text == "-" {
		const most = 1 << 20
		raw, err := io.ReadAll(io.LimitReader(a.Stdin, most))
		if err != nil {
			return nil, fmt.Errorf("read the value: %w", err)
		}
		text = strings.TrimRight(string(raw), "\r\n")
	} else if key.Secret && !strings.HasPrefix(text, "${") {
		a.out.note("a secret on the command line can be seen by other programs; better: coderclaw config set %s - < FILE", key.Path)
	}
	if key.Type == "string" || key.Type == "secret string" {
		return json.Marshal(text)
	}
	if _, err := settings.Set(nil, []string{"x"}, []byte(text)); err == nil {
		return []byte(text), nil
	}
	return json.Marshal(text)
}

// printWritten says what was done and what comes of it.
func (a *App) printWritten(d configDesk, path, what string, class settings.Class) error {
	via, _ := d.way()
	effect := "the next start of the gateway takes it up"
	if via == viaGateway {
		effect = map[settings.Class]string{
			settings.ClassNone: "it holds from the next use on", settings.ClassHot: "the gateway takes it up now", settings.ClassRestart: "the gateway restarts in place",
		}[class]
	}
	if a.out.json {
		return a.out.line(map[string]any{"ok": true, "via": via, "path": path, "changed": what, "reload": class})
	}
	a.out.printf("%s is changed in %s: %s\n", what, path, effect)
	return nil
}

func bullets(lines []string) string {
	var b strings.Builder
	for _, line := range lines {
		b.WriteString("  " + clean(line) + "\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (a *App) runConfigSchema(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	switch c.String("format") {
	case "json":
		_, err := a.Stdout.Write(settings.Schema())
		return err
	case "markdown":
		a.out.printf("%s", settings.Markdown())
		return nil
	}
	return usagef("--format %q: want json or markdown", c.String("format"))
}
