package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/wire"
)

const (
	// abortTimeout bounds the abort that Ctrl-C sends.
	abortTimeout = 3 * time.Second
	// messageBytesMax bounds a message read from standard input.
	messageBytesMax = 4 << 20
)

const agentHelp = `The answer streams to standard output as it comes. Ctrl-C aborts the run. Without
--session-key, --session-id or --agent the message goes to the main session.

coderclaw agent --message "what did we decide yesterday?"
git diff | coderclaw agent --message -
coderclaw agent -m /status --json`

func (a *App) agentCommand() *cli.Command {
	return &cli.Command{
		Name:        "agent",
		Category:    categoryTalk,
		Usage:       "send one message and print the answer",
		UsageText:   "coderclaw agent --message TEXT [--session-key KEY | --session-id ID] [--agent ID] [--thinking LEVEL]",
		Description: agentHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "message", Aliases: []string{"m"}, Usage: "the `TEXT` to send; - reads standard input"},
			&cli.StringFlag{Name: "session-key", Usage: "session `KEY`, such as main or agent:main:work"},
			&cli.StringFlag{Name: "session-id", Usage: "session `ID`"},
			&cli.StringFlag{Name: "agent", Usage: "`ID` of the agent"},
			&cli.StringFlag{Name: "thinking", Usage: "thinking `LEVEL`: off, minimal, low, medium or high"},
		},
		Action: a.runAgent,
	}
}

func (a *App) runAgent(c *cli.Context) error {
	message, err := a.message(c)
	if err != nil {
		return err
	}
	limit, err := timeout(c, 0)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt)
	defer stop()
	ctx, cancel := within(ctx, limit)
	defer cancel()

	show := &answer{out: a.out, runID: uuid.NewString(), mute: a.out.json}
	conn, _, err := a.dial(ctx, c, func(o *client.Options) { o.OnEvent = show.event })
	if err != nil {
		return err
	}
	defer conn.Close()
	params := agentParams(c, conn.Hello(), message, show.runID, limit)
	raw, err := conn.Call(ctx, protocol.MethodAgent.Name, params.AppendJSON(nil), nil)
	if err != nil {
		show.done("")
		return a.agentFailed(ctx, c, conn, params, err)
	}
	if a.out.json {
		return a.out.rawJSON(raw)
	}
	result, err := protocol.DecodeAgentResultOpen(raw)
	if err != nil {
		return fmt.Errorf("read the answer to %s: %w", protocol.MethodAgent.Name, err)
	}
	show.done(payloadText(result))
	if !show.shown() {
		a.out.note("(no answer: %s)", result.Summary)
	}
	return nil
}

// message returns what to send: --message, the arguments, or standard input.
func (a *App) message(c *cli.Context) (string, error) {
	text := c.String("message")
	switch {
	case c.IsSet("message") && c.NArg() > 0:
		return "", usagef("agent got --message and also %q: quote the whole text", c.Args().First())
	case !c.IsSet("message") && c.NArg() > 0:
		text = strings.Join(c.Args().Slice(), " ")
	case text == "-" || !c.IsSet("message") && !isTerminal(a.Stdin):
		data, err := io.ReadAll(io.LimitReader(a.Stdin, messageBytesMax+1))
		if err != nil {
			return "", fmt.Errorf("read the message: %w", err)
		}
		if len(data) > messageBytesMax {
			return "", fmt.Errorf("the message is longer than %d bytes", messageBytesMax)
		}
		text = string(data)
	}
	if strings.TrimSpace(text) == "" {
		return "", usagef("agent needs a message: coderclaw agent --message \"hello\"")
	}
	return text, nil
}

func agentParams(c *cli.Context, hello protocol.HelloOk, message, runID string, limit time.Duration) protocol.AgentParams {
	p := protocol.AgentParams{Message: message, IdempotencyKey: runID}
	p.SessionKey = optional(c.String("session-key"))
	p.SessionID = optional(c.String("session-id"))
	p.AgentID = optional(c.String("agent"))
	p.Thinking = optional(c.String("thinking"))
	if !p.SessionKey.Set && !p.SessionID.Set && !p.AgentID.Set {
		p.SessionKey = wire.Some(mainSession(hello))
	}
	if limit > 0 {
		p.Timeout = wire.Some(int64((limit + time.Second - 1) / time.Second))
	}
	return p
}

func optional(text string) wire.Opt[string] {
	if text == "" {
		return wire.Opt[string]{}
	}
	return wire.Some(text)
}

// mainSession returns the key of the main session.
func mainSession(hello protocol.HelloOk) string {
	if d, ok := hello.Snapshot.SessionDefaults.Get(); ok && d.MainSessionKey != "" {
		return d.MainSessionKey
	}
	return "main"
}

// agentFailed words the end of a run without a result, and aborts the run if it
// was the user or the clock that ended the wait.
func (a *App) agentFailed(ctx context.Context, c *cli.Context, conn *client.Conn, params protocol.AgentParams, err error) error {
	switch {
	case ctx.Err() != nil && c.Context.Err() == nil:
		aborted := abort(c.Context, conn, params.SessionKey.Or(mainSession(conn.Hello())), params.IdempotencyKey)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return withHint(errors.New("no answer within --timeout; the run was aborted"), "give it longer with --timeout 10m")
		}
		if aborted {
			a.out.note("aborted")
		}
		return errInterrupted
	case client.Lost(err):
		return withHint(err, "the run may go on; see it later with: coderclaw history")
	}
	return err
}

// abort ends a run. It does not inherit ctx's end, which is why it is called.
func abort(ctx context.Context, to wire.Caller, sessionKey, runID string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	api := protocol.Client{Caller: to}
	r, err := api.ChatAbort(ctx, protocol.ChatAbortParams{SessionKey: sessionKey, RunID: wire.Some(runID)})
	return err == nil && r.Aborted
}
