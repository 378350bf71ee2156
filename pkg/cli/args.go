package cli

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// completionFlag is what the completion scripts append to ask for candidates.
const completionFlag = "--generate-bash-completion"

// reorder moves a command's flags in front of its arguments, so that
// `call health --json` and `call --json health` are the same: the flag parser
// stops at the first argument. What follows "--" stays as it is.
func reorder(app *cli.App, args []string) ([]string, error) {
	if len(args) == 0 || slices.Contains(args, completionFlag) {
		return args, nil
	}
	out := args[:1:1]
	rest := args[1:]
	commands, flags := app.Commands, app.Flags
	for {
		var given, plain []string
		var after []string
		given, plain, after = split(rest, flags, len(commands) > 0)
		out = append(out, given...)
		if len(commands) == 0 || len(plain) == 0 {
			if after != nil || slices.ContainsFunc(plain, isFlag) {
				out = append(out, "--")
			}
			return append(append(out, plain...), after...), nil
		}
		out = append(out, plain[0])
		rest = plain[1:]
		if after != nil {
			rest = append(append(rest, "--"), after...)
		}
		next := find(commands, plain[0])
		if next == nil {
			return append(out, rest...), nil
		}
		commands, flags = next.Subcommands, next.Flags
	}
}

// split sorts args into flags with their values, plain arguments, and what
// follows "--" (nil when there is none). With commands, everything from the first
// plain argument on is plain: it belongs to the command of that name.
func split(args []string, flags []cli.Flag, commands bool) (given, plain, after []string) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			return given, plain, append([]string{}, args[i+1:]...)
		case !isFlag(arg):
			if commands {
				return given, append(plain, args[i:]...), nil
			}
			plain = append(plain, arg)
		default:
			given = append(given, arg)
			if takesValue(flags, arg) && i+1 < len(args) {
				i++
				given = append(given, args[i])
			}
		}
	}
	return given, plain, nil
}

func isFlag(arg string) bool { return len(arg) > 1 && arg[0] == '-' }

// takesValue reports whether the next argument is the value of arg.
func takesValue(flags []cli.Flag, arg string) bool {
	name := strings.TrimLeft(arg, "-")
	if strings.Contains(name, "=") {
		return false
	}
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			_, isBool := f.(*cli.BoolFlag)
			return !isBool
		}
	}
	return false
}

func find(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}
