package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/pkg/conformance"
	"github.com/coderclaw/gateway/testdata"
)

const serveHelp = `Plays the gateway's side of conversations and holds what the client says against them: the
handshake and its signature, each request and its params, in the order of the conversation.
What the client asks besides is answered with the schema's examples.

A client picks a conversation by the path of the URL; any other path gets the next one that
has not been played. It ends when each has been played, or with Ctrl-C.

Examples:
   conformance serve                                   all written conversations
   conformance serve --conversation chat/send.txtar    one that is built in
   conformance serve --conversation ./mine.txtar       a file; .jsonl needs its INDEX.json`

func (a *Conformance) serveCommand() *cli.Command {
	return &cli.Command{
		Name:        "serve",
		Usage:       "grade a client",
		UsageText:   "conformance serve [--listen ADDRESS] [--conversation FILE]...",
		Description: serveHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:18789", Usage: "`ADDRESS` to listen on"},
			&cli.StringSliceFlag{Name: "conversation", Usage: "`FILE` to play, or the name of one that is built in; may be repeated (default: all written ones)"},
			&cli.DurationFlag{Name: "patience", Value: 30 * time.Second, Usage: "how long to wait for what the client is to say, a `TIME` such as 30s"},
			&cli.BoolFlag{Name: "json", DisableDefaultText: true, Usage: "print the verdicts as JSON"},
		},
		Action: a.runServe,
	}
}

func (a *Conformance) runServe(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	cases, err := toPlay(c.StringSlice("conversation"))
	if err != nil {
		return err
	}
	listener, err := listen(c)
	if err != nil {
		return err
	}
	a.out.note("playing %s", count(int64(len(cases)), "conversation", "conversations"))
	for _, one := range cases {
		a.out.note("  ws://%s/%s", listener.Addr(), one.Name)
	}
	begin := time.Now()
	server := conformance.NewServer(conformance.ServerConfig{
		Cases: cases, Patience: c.Duration("patience"),
		Ended: func(o conformance.Outcome) { a.out.note("%s %s", o.Status, o.Name) },
	})
	if err := server.Run(c.Context, listener); err != nil {
		return err
	}
	report := server.Report()
	if err := a.printReport(c, "", report, time.Since(begin)); err != nil {
		return err
	}
	switch {
	case report.Err() != nil && report.Count(conformance.Failed) > interrupted(c.Context, report):
		return errTold
	case c.Context.Err() != nil:
		return errInterrupted
	}
	return nil
}

// interrupted counts the conversations that Ctrl-C ended: they give no verdict.
func interrupted(ctx context.Context, report conformance.Report) int {
	if ctx.Err() == nil {
		return 0
	}
	n := 0
	for _, o := range report.Outcomes {
		if len(o.Failures) == 1 && strings.HasSuffix(o.Failures[0], context.Canceled.Error()) {
			n++
		}
	}
	return n
}

// toPlay returns the conversations of files and of those that are built in.
func toPlay(names []string) ([]conformance.Case, error) {
	written, err := conformance.LoadConversations(testdata.Conversations())
	if err != nil || len(names) == 0 {
		return written, err
	}
	recorded, err := conformance.LoadFrames(testdata.Frames(), nil)
	if err != nil {
		return nil, err
	}
	var cases []conformance.Case
	for _, name := range names {
		found, err := fromFile(name)
		if errors.Is(err, os.ErrNotExist) {
			found, err = conformance.Select(append(written, recorded...), name), nil
		}
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, usagef("there is no file and no built-in conversation %q; see: conformance list", name)
		}
		cases = append(cases, found...)
	}
	return cases, nil
}

// fromFile reads a conversation, or a recording with the INDEX.json beside it.
func fromFile(name string) ([]conformance.Case, error) {
	if filepath.Ext(name) == ".jsonl" {
		if _, err := os.Stat(name); err != nil {
			return nil, err
		}
		cases, err := conformance.LoadFrames(os.DirFS(filepath.Dir(name)), nil)
		if err != nil {
			return nil, fmt.Errorf("read the directory of %s: %w", name, err)
		}
		return conformance.Select(cases, filepath.Base(name)), nil
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	c, err := conformance.ParseConversation(filepath.Base(name), string(raw))
	if err != nil {
		return nil, err
	}
	return []conformance.Case{c.Case()}, nil
}
