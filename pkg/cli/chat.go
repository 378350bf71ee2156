package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/wire"
)

const chatHelp = `Each line is a message; the answer streams. Lines that begin with / are commands of the
gateway (/help lists them); /quit leaves. While an answer is coming, /stop or Ctrl-C aborts it;
Ctrl-C at the prompt, a second Ctrl-C, or Ctrl-D leaves. End a line with \ to go on in the next.

Without a terminal each line of standard input is sent in turn, after the answer to the one before:

printf '%s\n' "remember 42" "what did I say?" | coderclaw chat`

func (a *App) chatCommand() *cli.Command {
	return &cli.Command{
		Name:        "chat",
		Category:    categoryTalk,
		Usage:       "hold a conversation",
		UsageText:   "coderclaw chat [--session-key KEY] [--thinking LEVEL]",
		Description: chatHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "session-key", Usage: "session `KEY` (default: the main session)"},
			&cli.StringFlag{Name: "thinking", Usage: "thinking `LEVEL`: off, minimal, low, medium or high"},
		},
		Action: a.runChat,
	}
}

// chat is one conversation at a terminal or a pipe. Its fields belong to the
// goroutine of loop; the connection's callbacks only send to notices.
type chat struct {
	a        *App
	api      protocol.Client
	key      string // the session's; known once the first hello is there
	thinking wire.Opt[string]
	prompts  bool
	notices  chan notice
	lines    chan string // closed at the end of input
	signals  chan os.Signal
	outcomes chan func() // what a request that has been answered changes

	requests sync.WaitGroup

	run     *run // nil between answers
	ready   bool // connected at least once
	spoken  bool // an answer was printed
	leaving bool // end of input: leave when the answer is there
	queue   []string
	left    error // what a failed answer makes the command's exit code
}

// run is the answer that is coming.
type run struct {
	show     *answer
	message  string
	aborting bool
}

// notice is what a callback tells the loop: exactly one field is set.
type notice struct {
	hello *protocol.HelloOk
	event *client.Event
	gap   *client.Gap
}

func (a *App) runChat(c *cli.Context) error {
	if err := noArgs(c); err != nil {
		return err
	}
	ch := &chat{
		a:        a,
		key:      c.String("session-key"),
		thinking: optional(c.String("thinking")),
		prompts:  isTerminal(a.Stdin),
		notices:  make(chan notice),
		lines:    make(chan string),
		signals:  make(chan os.Signal, 4),
		outcomes: make(chan func()),
	}
	// Not untilInterrupt: here the first Ctrl-C aborts an answer.
	signal.Notify(ch.signals, os.Interrupt)
	defer signal.Stop(ch.signals)
	tell := func(ctx context.Context, n notice) {
		select {
		case ch.notices <- n:
		case <-ctx.Done():
		}
	}
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel()
	return a.keep(c.Context, c, func(o *client.Options) {
		o.OnHello = func(h protocol.HelloOk) { tell(ctx, notice{hello: &h}) }
		o.OnEvent = func(e client.Event) { tell(ctx, notice{event: &e}) }
		o.OnGap = func(g client.Gap) { tell(ctx, notice{gap: &g}) }
	}, func(kept context.Context, gateway *client.Client) error {
		ch.api = protocol.Client{Caller: gateway}
		go ch.read(ctx)
		defer cancel() // callbacks must not wait for a loop that is over
		return ch.converse(kept)
	})
}

// read sends the lines of standard input to the loop. It ends with ctx, though not
// before a read that blocks returns: that is the process's end.
func (ch *chat) read(ctx context.Context) {
	defer close(ch.lines)
	in := bufio.NewReaderSize(ch.a.Stdin, 64<<10)
	var message strings.Builder
	for {
		line, err := in.ReadString('\n')
		text, more := strings.CutSuffix(strings.TrimRight(line, "\r\n"), `\`)
		message.WriteString(text)
		if more && err == nil {
			message.WriteByte('\n')
			continue
		}
		if message.Len() > messageBytesMax {
			ch.a.out.note("the message is longer than %d bytes", messageBytesMax)
			message.Reset()
		}
		if message.Len() > 0 || err == nil {
			select {
			case ch.lines <- message.String():
			case <-ctx.Done():
				return
			}
		}
		message.Reset()
		if err != nil {
			if err != io.EOF {
				ch.a.out.note("read: %v", err)
			}
			return
		}
	}
}

// converse runs the loop and then waits for its requests, whose outcomes nobody
// takes any more.
func (ch *chat) converse(ctx context.Context) error {
	defer ch.requests.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return ch.loop(ctx)
}

func (ch *chat) loop(ctx context.Context) error {
	for {
		// A pipe's lines wait for their turn in the pipe, a person's may be
		// commands for the running answer.
		lines := ch.lines
		if ch.leaving || !ch.ready || ch.run != nil && !ch.prompts {
			lines = nil
		}
		select {
		case n := <-ch.notices:
			ch.notice(ctx, n)
		case line, ok := <-lines:
			if !ok {
				ch.leaving = true
				break
			}
			if quit := ch.line(ctx, strings.TrimSpace(line)); quit {
				return ch.left
			}
		case apply := <-ch.outcomes:
			apply()
		case <-ch.signals:
			if quit := ch.interrupt(ctx); quit {
				return ch.left
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		if ch.run == nil && len(ch.queue) > 0 {
			next := ch.queue[0]
			ch.queue = ch.queue[1:]
			ch.send(ctx, next, uuid.NewString())
		}
		if ch.leaving && ch.run == nil {
			if ch.prompts {
				fmt.Fprintln(ch.a.Stderr)
			}
			return ch.left
		}
	}
}

// line handles a line of input and reports whether it asks to leave.
func (ch *chat) line(ctx context.Context, text string) (quit bool) {
	switch {
	case text == "/quit" || text == "/exit":
		if ch.run != nil {
			ch.abort(ctx)
		}
		return true
	case text == "":
		ch.prompt()
	case ch.run == nil:
		ch.send(ctx, text, uuid.NewString())
	case text == "/stop":
		ch.abort(ctx)
	default:
		ch.queue = append(ch.queue, text)
		ch.a.out.note("(sent when this answer is there)")
	}
	return false
}

// interrupt handles Ctrl-C and reports whether to leave.
func (ch *chat) interrupt(ctx context.Context) (quit bool) {
	if ch.run == nil || ch.run.aborting {
		if ch.prompts {
			fmt.Fprintln(ch.a.Stderr)
		}
		if ch.run != nil || !ch.prompts {
			ch.left = errInterrupted
		}
		return true
	}
	ch.queue = nil
	ch.abort(ctx)
	return false
}

// request performs a request beside the loop, which goes on handling input, and
// then what it changes in the loop, unless the run it is about is over by then.
func (ch *chat) request(ctx context.Context, do func() (change func())) {
	about := ch.run
	ch.requests.Go(func() {
		change := do()
		select {
		case ch.outcomes <- func() {
			if ch.run == about && change != nil {
				change()
			}
		}:
		case <-ctx.Done():
		}
	})
}

// abort asks for the end of the running answer; its aborted event ends it here.
func (ch *chat) abort(ctx context.Context) {
	ch.run.aborting = true
	key, runID := ch.key, ch.run.show.runID
	ch.request(ctx, func() func() {
		if abort(ctx, ch.api.Caller, key, runID) {
			return nil
		}
		// Nothing to abort any more, or no connection: do not wait for an event
		// that may never come.
		return func() { ch.finish("", "(aborted)") }
	})
}

// send sends a message under an idempotency key, which names the run too.
func (ch *chat) send(ctx context.Context, message, key string) {
	if ch.spoken && !ch.a.out.json {
		ch.a.out.printf("\n") // between two answers
	}
	ch.run = &run{show: &answer{out: ch.a.out, runID: key, mute: ch.a.out.json}, message: message}
	ch.ask(ctx)
}

// ask sends the run's message, or sends it again after a loss: the key makes the
// gateway tell how the run stands instead of running it twice.
func (ch *chat) ask(ctx context.Context) {
	params := protocol.ChatSendParams{
		SessionKey: ch.key, Message: ch.run.message, IdempotencyKey: ch.run.show.runID, Thinking: ch.thinking,
	}
	ch.request(ctx, func() func() {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		result, err := ch.api.ChatSend(ctx, params)
		switch status, stopped := result.ChatRunStatus, result.ChatAbortResult; {
		case client.Lost(err):
			return nil // the next hello asks again
		case err != nil:
			return func() { ch.fail(err) }
		case stopped != nil:
			return func() {
				ch.finish("", fmt.Sprintf("(%s stopped)", count(int64(len(stopped.RunIDs)), "run", "runs")))
			}
		case status != nil && status.Status == protocol.ChatRunStateOk:
			text := ch.lastAnswer(ctx, params.SessionKey)
			return func() { ch.finish(text, "") }
		case status != nil && status.Status == protocol.ChatRunStateError:
			return func() { ch.fail(errors.New(status.Summary.Or("the run failed"))) }
		}
		return nil
	})
}

// lastAnswer reads the end of the conversation: what a final event would have said.
func (ch *chat) lastAnswer(ctx context.Context, key string) string {
	h, err := ch.api.ChatHistory(ctx, protocol.ChatHistoryParams{SessionKey: key, Limit: wire.Some[int64](5)})
	if err != nil {
		return ""
	}
	for _, m := range slices.Backward(h.Messages) {
		if m.Role == protocol.ChatRoleAssistant {
			return messageText(m)
		}
	}
	return ""
}

func (ch *chat) notice(ctx context.Context, n notice) {
	switch {
	case n.hello != nil:
		ch.hello(ctx, *n.hello)
	case n.gap != nil && ch.run != nil:
		ch.ask(ctx) // the lost event may have been the last one
	case n.event != nil && ch.run != nil:
		ch.event(*n.event)
	}
}

func (ch *chat) hello(ctx context.Context, h protocol.HelloOk) {
	if ch.key == "" {
		ch.key = mainSession(h)
	}
	if ch.ready {
		if ch.run != nil {
			ch.ask(ctx)
		}
		ch.prompt()
		return
	}
	ch.ready = true
	if ch.prompts {
		ch.a.out.note("%s on gateway %s; /help lists commands, Ctrl-D leaves", ch.key, h.Server.Version)
	}
	ch.prompt()
}

// event shows what an event of the run says, and ends the run with its last one.
func (ch *chat) event(e client.Event) {
	ch.run.show.event(e)
	if e.Name != protocol.EventChat.Name {
		return
	}
	ev, err := protocol.DecodeChatEventOpen(e.Payload)
	if err != nil || ev.RunID != ch.run.show.runID {
		return
	}
	switch ev.State {
	case protocol.ChatStateFinal:
		ch.finish(chatText(ev.Message), "")
	case protocol.ChatStateAborted:
		ch.finish(chatText(ev.Message), "(aborted)")
	case protocol.ChatStateError:
		ch.fail(errors.New(ev.ErrorMessage.Or("the run failed")))
	}
}

// finish ends the run with its final text and a note, both of which may be empty.
func (ch *chat) finish(text, note string) {
	show := ch.end(text, note)
	switch {
	case note != "":
		ch.a.out.note("%s", note)
	case !show.shown() && !ch.a.out.json:
		ch.a.out.note("(no answer)")
	}
	ch.prompt()
}

// fail ends the run with an error. The conversation goes on at a terminal; through
// a pipe the command's exit code tells in the end.
func (ch *chat) fail(err error) {
	f := describe(err)
	ch.end("", f.Message)
	fmt.Fprintf(ch.a.Stderr, "%s %s\n", ch.a.out.errStyle(red, "coderclaw:"), f.Message)
	if !ch.prompts {
		ch.left = errTold
	}
	ch.prompt()
}

// end prints what is left of the answer.
func (ch *chat) end(text, note string) *answer {
	show := ch.run.show
	show.done(text)
	ch.run = nil
	ch.spoken = ch.spoken || show.shown()
	if ch.a.out.json {
		_ = ch.a.out.line(struct {
			RunID string `json:"runId"`
			Text  string `json:"text"`
			Note  string `json:"note,omitempty"`
		}{show.runID, text, note})
	}
	return show
}

func (ch *chat) prompt() {
	if ch.prompts && ch.run == nil {
		fmt.Fprint(ch.a.Stderr, ch.a.out.errStyle(bold, "> "))
	}
}
