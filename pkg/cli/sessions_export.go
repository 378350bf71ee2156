package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/wire"
)

const sessionsExportHelp = `Writes a conversation from its first message on, with all of its text; of images it says that they
were there. As Markdown it is for people to read; as jsonl it has one JSON object for each message.
An existing file is not replaced.

coderclaw sessions export work --output work.md
coderclaw sessions export main --format jsonl | wc -l`

const sessionsSetHelp = `What is not given stays. An empty value takes a setting away, so that the default holds again.

coderclaw sessions set work --label 'Garden plans'
coderclaw sessions set work --model ollama/llama3.2 --thinking low`

// exportPage is how many messages are asked for at a time.
const exportPage = 500

func (a *App) sessionsExportCommand() *cli.Command {
	return &cli.Command{
		Name: "export", Usage: "write a whole conversation as Markdown or JSON lines", ArgsUsage: "KEY", Description: sessionsExportHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Value: "markdown", Usage: "`FORMAT`: markdown or jsonl"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE` (default: standard output)"},
		},
		Action: a.runSessionsExport,
	}
}

func (a *App) sessionsSetCommand() *cli.Command {
	return &cli.Command{
		Name: "set", Usage: "change the label, model or levels of a conversation", ArgsUsage: "KEY", Description: sessionsSetHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "label", Usage: "its `NAME`"},
			&cli.StringFlag{Name: "model", Usage: "`MODEL` to use, as provider/model or model"},
			&cli.StringFlag{Name: "thinking", Usage: "`LEVEL` of thinking: off, minimal, low, medium or high"},
			&cli.StringFlag{Name: "verbose-level", Usage: "`LEVEL` of telling about tools: off, on or full"},
		},
		Action: a.runSessionsSet,
	}
}

func (a *App) runSessionsSet(c *cli.Context) error {
	key, err := oneKey(c)
	if err != nil {
		return err
	}
	params := protocol.SessionsPatchParams{Key: key}
	given := false
	for name, to := range map[string]*wire.OptNull[string]{
		"label": &params.Label, "model": &params.Model, "thinking": &params.ThinkingLevel, "verbose-level": &params.VerboseLevel,
	} {
		switch {
		case !c.IsSet(name):
			continue
		case c.String(name) == "":
			*to = wire.SomeNull[string]()
		default:
			*to = wire.SomeValue(c.String(name))
		}
		given = true
	}
	if !given {
		return usagef("sessions set wants something to change; see: coderclaw sessions set --help")
	}
	return perform(a, c, protocol.MethodSessionsPatch, params, func(r protocol.SessionsPatchResult) error {
		a.out.printf("%s is changed\n", clean(r.Key))
		return nil
	})
}

func (a *App) runSessionsExport(c *cli.Context) error {
	key, err := oneKey(c)
	if err != nil {
		return err
	}
	var write func(io.Writer, protocol.SessionsMessageItem) error
	switch format := c.String("format"); {
	case format == "jsonl" || a.out.json:
		write = exportJSON
	case format == "markdown" || format == "md":
		write = exportMarkdown
	default:
		return usagef("--format wants markdown or jsonl, not %q", format)
	}
	out, done, err := a.exportTo(c.String("output"))
	if err != nil {
		return err
	}
	n := 0
	err = a.connected(c, func(ctx context.Context, conn *client.Conn) error {
		params := protocol.SessionsMessagesListParams{Key: key, Limit: wire.Some[int64](exportPage), Full: wire.Some(true)}
		for {
			page, _, err := fetch(ctx, conn, protocol.MethodSessionsMessagesList, params)
			if err != nil {
				return err
			}
			if !page.SessionID.Set {
				return withHint(fmt.Errorf("there is no session %s", page.Key), "see which there are: coderclaw sessions")
			}
			if params.SessionID.Set && params.SessionID != page.SessionID {
				return withHint(fmt.Errorf("%s was started over meanwhile", page.Key), "run this again")
			}
			for _, m := range page.Messages {
				if err := write(out, m); err != nil {
					return fmt.Errorf("export: %w", err)
				}
			}
			n += len(page.Messages)
			if !page.AfterSeq.Set {
				return nil
			}
			params.AfterSeq, params.SessionID = page.AfterSeq, page.SessionID
		}
	})
	if err := done(err); err != nil {
		return err
	}
	if name := c.String("output"); name != "" {
		a.out.printf("%s  %s\n", name, count(int64(n), "message", "messages"))
	}
	return nil
}

// exportTo opens where an export goes to: standard output, or a new file for the owner
// alone, which has its name once all is in it. done ends it with the export's outcome.
func (a *App) exportTo(name string) (out io.Writer, done func(error) error, err error) {
	if name == "" {
		return a.out.out, func(err error) error { return err }, nil
	}
	taken := withHint(fmt.Errorf("%s exists", name), "name another file: an export replaces nothing")
	if _, err := os.Lstat(name); err == nil {
		return nil, nil, taken
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), ".coderclaw-export-*") // mode 0600
	if err != nil {
		return nil, nil, fmt.Errorf("export: %w", err)
	}
	return tmp, func(err error) error {
		defer os.Remove(tmp.Name())
		if err := errors.Join(err, tmp.Close()); err != nil {
			return err
		}
		if err := os.Link(tmp.Name(), name); errors.Is(err, fs.ErrExist) {
			return taken
		} else if err == nil {
			return nil
		}
		return os.Rename(tmp.Name(), name) // no hard links here
	}, nil
}

func exportJSON(out io.Writer, m protocol.SessionsMessageItem) error {
	_, err := out.Write(append(m.AppendJSON(nil), '\n'))
	return err
}

func exportMarkdown(out io.Writer, m protocol.SessionsMessageItem) error {
	head := string(m.Message.Role)
	if ts := m.Message.Timestamp.Or(0); ts > 0 {
		head += ", " + time.UnixMilli(ts).Format(time.DateTime)
	}
	if model := m.Message.Model.Or(""); model != "" {
		head += ", " + model
	}
	if m.Message.CoderclawAbort.Set {
		head += " (aborted)"
	}
	var parts []string
	for _, c := range m.Message.Content {
		parts = append(parts, contentText(c))
	}
	if text := m.Message.ErrorMessage.Or(""); text != "" {
		parts = append(parts, "error: "+text)
	}
	_, err := fmt.Fprintf(out, "## %s\n\n%s\n\n", clean(head), strings.TrimRight(safe(strings.Join(parts, "\n\n")), "\n"))
	return err
}
