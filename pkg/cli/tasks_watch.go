package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/wire"
)

func (a *App) tasksWatchCommand() *cli.Command {
	return &cli.Command{
		Name: "watch", Usage: "follow a task to its end, or all tasks until Ctrl-C", ArgsUsage: "[TASK]", UsageText: "coderclaw tasks watch [TASK]",
		Description: `A task is told from its beginning; the exit code is 0 when it completes and 1 when it does not.
Without a TASK, what comes is told; --cursor 0 tells all that is stored before. A connection that
is lost costs nothing: the watch goes on where it was.`,
		Flags: []cli.Flag{
			&cli.Int64Flag{Name: "cursor", DefaultText: "the beginning of TASK, or now", Usage: "begin after this `CURSOR`"},
			&cli.StringFlag{Name: "session-key", Usage: "only tasks of this session's `KEY`"},
			&cli.BoolFlag{Name: "output", DisableDefaultText: true, Usage: "print the output of TASK when it completes"},
		},
		BashComplete: a.completeTasks,
		Action:       a.watchTasks,
	}
}

func (a *App) watchTasks(c *cli.Context) error {
	if c.NArg() > 1 {
		return usagef("tasks watch takes one argument at most, got %d; see: coderclaw tasks watch --help", c.NArg())
	}
	params := protocol.TasksWatchParams{TaskID: optional(c.Args().First()), SessionID: optional(c.String("session-key"))}
	if c.IsSet("cursor") {
		params.Cursor = wire.Some(c.Int64("cursor"))
	} else if c.NArg() == 1 {
		params.Cursor = wire.Some(int64(0))
	}
	return a.follow(c, &watcher{a: a, params: params, single: c.NArg() == 1, output: c.Bool("output")})
}

// awaitTask follows a task in silence and prints its output.
func (a *App) awaitTask(c *cli.Context, id string) error {
	params := protocol.TasksWatchParams{TaskID: wire.Some(id), Cursor: wire.Some(int64(0))}
	return a.follow(c, &watcher{a: a, params: params, single: true, output: true, quiet: true})
}

// watcher follows tasks over connections that come and go. Its params' cursor is
// always that of the last event it has told.
type watcher struct {
	a             *App
	params        protocol.TasksWatchParams
	single        bool // ends with its task
	output, quiet bool
	last          *protocol.TaskEvent // of a single task
	line          bool                // the terminal's last line is the status line

	wake chan struct{} // one token: hello or pending changed
	mu   sync.Mutex    // guards the fields below
	// hello counts the connections; pending holds what was pushed over the latest.
	hello   int
	pending []protocol.TaskWatchEvent
}

func (w *watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (a *App) follow(c *cli.Context, w *watcher) error {
	w.wake = make(chan struct{}, 1)
	return a.untilInterrupt(c, func(o *client.Options) {
		o.OnHello = func(protocol.HelloOk) {
			w.mu.Lock()
			w.hello, w.pending = w.hello+1, nil
			w.mu.Unlock()
			w.signal()
		}
		o.OnEvent = func(e client.Event) {
			if e.Name != protocol.EventTask.Name {
				return
			}
			told, err := protocol.EventTask.Payload.DecodeOpen(e.Payload)
			if err != nil {
				return
			}
			w.mu.Lock()
			w.pending = append(w.pending, told)
			w.mu.Unlock()
			w.signal()
		}
	}, func(ctx context.Context, gateway *client.Client) error { return w.run(ctx, gateway) })
}

// run asks for the stored events after each hello, tells what is pushed after them,
// and returns when a single task has ended.
func (w *watcher) run(ctx context.Context, gateway *client.Client) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	defer w.clearLine()
	asked := 0
	for {
		w.mu.Lock()
		hello, pending := w.hello, w.pending
		if asked == hello {
			w.pending = nil
		}
		w.mu.Unlock()
		if asked != hello {
			live, err := w.catchUp(ctx, gateway)
			if err != nil {
				return err
			}
			if live {
				asked = hello
			}
			if w.ended() {
				return w.finish(ctx, gateway)
			}
			if live {
				w.signal() // what was pushed meanwhile
			}
		} else {
			for _, e := range pending {
				if why, ok := e.Ended.Get(); ok {
					asked = w.again(why)
				} else if told, ok := e.Event.Get(); ok {
					w.tell(told)
				}
			}
			if w.ended() {
				return w.finish(ctx, gateway)
			}
			if asked == 0 && hello > 0 {
				w.signal()
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.wake:
		case <-tick.C:
			w.statusLine()
		}
	}
}

// catchUp tells the stored events, page by page, until the watch is live. A lost
// connection is no error: the next hello asks again.
func (w *watcher) catchUp(ctx context.Context, gateway *client.Client) (live bool, err error) {
	for {
		page, err := wire.Call(ctx, gateway, protocol.MethodTasksWatch, w.params)
		if client.Lost(err) {
			return true, nil
		}
		var refused *wire.Error
		if errors.As(err, &refused) && detailCode(refused) == protocol.DetailEventsGone {
			w.a.out.note("older events are no longer stored; what comes is told")
			w.params.Cursor = wire.Opt[int64]{}
			continue
		}
		if err != nil {
			return false, err
		}
		for _, e := range page.Events {
			w.tell(e)
		}
		w.params.Cursor = wire.Some(page.Cursor)
		if page.Live || w.ended() {
			return true, nil
		}
	}
}

// again returns the connection count to compare with, so that the watch is asked for
// once more, unless the gateway stops: then the next hello does that.
func (w *watcher) again(why protocol.TaskWatchEnd) int {
	if why == protocol.TaskWatchEndUnavailable {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.hello
	}
	if why == protocol.TaskWatchEndGone {
		w.params.Cursor = wire.Opt[int64]{}
	}
	return 0
}

// tell prints an event, unless it was told before.
func (w *watcher) tell(e protocol.TaskEvent) {
	if cursor, ok := w.params.Cursor.Get(); ok && e.Cursor <= cursor {
		return
	}
	w.params.Cursor = wire.Some(e.Cursor)
	if w.single {
		w.last = &e
	}
	switch {
	case w.quiet:
	case w.a.out.json:
		_ = w.a.out.line(e)
	default:
		w.clearLine()
		w.a.out.printf("%s\n", w.a.eventLine(e, !w.single))
	}
	w.statusLine()
}

func (w *watcher) ended() bool {
	return w.last != nil && terminal(w.last.NewStatus.Or(""))
}

func terminal(s protocol.TaskStatus) bool {
	return s == protocol.TaskStatusCompleted || s == protocol.TaskStatusFailed || s == protocol.TaskStatusCancelled
}

// finish prints the output and makes the task's end the command's.
func (w *watcher) finish(ctx context.Context, gateway *client.Client) error {
	w.clearLine()
	got, raw, err := fetch(ctx, gateway, protocol.MethodTasksGet, protocol.TasksGetParams{TaskID: w.last.TaskID})
	if err != nil {
		return err
	}
	t := got.Task
	if w.quiet && w.a.out.json {
		if err := w.a.out.rawJSON(raw); err != nil {
			return err
		}
	} else if w.output && !w.a.out.json {
		if text := t.Output.Or(""); text != "" {
			w.a.out.printf("%s\n", safe(text))
		}
	}
	if t.Status != protocol.TaskStatusCompleted {
		why := t.Error.Or("")
		if why != "" {
			why = ": " + why
		}
		return fmt.Errorf("the task %s%s; do it again with: coderclaw tasks retry %s", endWord(t.Status), why, t.ID)
	}
	return nil
}

func endWord(s protocol.TaskStatus) string {
	if s == protocol.TaskStatusCancelled {
		return "was cancelled"
	}
	return string(s)
}

// statusLine keeps one line on a terminal that tells how a single task stands.
func (w *watcher) statusLine() {
	p := w.a.out
	if !w.single || w.last == nil || p.json || !p.errIsTTY || w.ended() {
		return
	}
	since := ""
	if at, err := time.Parse(time.RFC3339Nano, w.last.Timestamp); err == nil {
		since = " for " + span(time.Since(at))
	}
	fmt.Fprintf(p.err, "\r\x1b[K%s", p.errStyle(dim, string(w.last.NewStatus.Or(protocol.TaskStatusPending))+since))
	w.line = true
}

func (w *watcher) clearLine() {
	if w.line {
		fmt.Fprint(w.a.out.err, "\r\x1b[K")
		w.line = false
	}
}

// eventLine is an event in a line for people.
func (a *App) eventLine(e protocol.TaskEvent, named bool) string {
	at := e.Timestamp
	if t, err := time.Parse(time.RFC3339Nano, at); err == nil {
		at = t.Local().Format("15:04:05.000")
	}
	parts := []string{a.out.style(dim, at)}
	if named {
		parts = append(parts, e.TaskID)
	}
	what := string(e.Event)
	if e.Event == protocol.TaskEventKindStatusChanged {
		what = a.out.style(statusStyle(e.NewStatus.Or("")), string(e.NewStatus.Or("")))
	}
	parts = append(parts, what)
	if n, ok := e.Progress.Get(); ok {
		parts = append(parts, fmt.Sprintf("%d %%", n))
	}
	if n := e.Attempt.Or(0); n > 1 {
		parts = append(parts, fmt.Sprintf("attempt %d", n))
	}
	if m := e.Message.Or(""); m != "" {
		parts = append(parts, clean(m))
	}
	if by := e.Actor.Or(""); by != "" && by != "engine" {
		parts = append(parts, a.out.style(dim, "by "+shorten(clean(by), idShown)))
	}
	return strings.Join(parts, "  ")
}

func statusStyle(s protocol.TaskStatus) style {
	switch s {
	case protocol.TaskStatusCompleted:
		return green
	case protocol.TaskStatusFailed, protocol.TaskStatusCancelled:
		return red
	}
	return bold
}

func (a *App) taskEvents(ctx context.Context, c *cli.Context, conn *client.Conn) error {
	params := protocol.TasksEventsParams{TaskID: c.Args().First()}
	for {
		page, err := wire.Call(ctx, conn, protocol.MethodTasksEvents, params)
		if err != nil {
			return err
		}
		for _, e := range page.Events {
			if a.out.json {
				if err := a.out.line(e); err != nil {
					return err
				}
				continue
			}
			a.out.printf("%s\n", a.eventLine(e, false))
		}
		if !page.More || len(page.Events) == 0 {
			return nil
		}
		params.After = wire.Some(page.Events[len(page.Events)-1].Seq)
	}
}

// treeTasksMax is how many tasks of a tree are shown.
const treeTasksMax = 5000

func (a *App) taskTree(ctx context.Context, c *cli.Context, conn *client.Conn) error {
	got, err := wire.Call(ctx, conn, protocol.MethodTasksGet, protocol.TasksGetParams{TaskID: c.Args().First()})
	if err != nil {
		return err
	}
	params := protocol.TasksListParams{RootID: wire.Some(got.Task.RootID), OldestFirst: wire.Some(true), Limit: wire.Some(int64(500))}
	var all []protocol.Task
	for {
		page, err := wire.Call(ctx, conn, protocol.MethodTasksList, params)
		if err != nil {
			return err
		}
		all = append(all, page.Tasks...)
		if params.After = page.Next; page.Next.Or("") == "" || len(all) >= treeTasksMax {
			break
		}
	}
	if a.out.json {
		return a.out.line(map[string]any{"rootId": got.Task.RootID, "tasks": all})
	}
	below := map[string][]protocol.Task{}
	for _, t := range all {
		below[t.ParentTaskID.Or("")] = append(below[t.ParentTaskID.Or("")], t)
	}
	for _, root := range all {
		if root.ID == got.Task.RootID {
			a.branch(root, below, "", "")
		}
	}
	if len(all) >= treeTasksMax {
		a.out.note("the tree has more than %d tasks", treeTasksMax)
	}
	return nil
}

// branch prints a task and what is below it. lead stands before its own line, rest
// before those of its parts.
func (a *App) branch(t protocol.Task, below map[string][]protocol.Task, lead, rest string) {
	took := tookText(t)
	if took != "" {
		took = "  " + a.out.style(dim, took)
	}
	a.out.printf("%s%s  %s  %s%s\n", lead, t.ID, a.out.style(statusStyle(t.Status), string(t.Status)), clean(shorten(t.Description, 60)), took)
	parts := below[t.ID]
	for i, part := range parts {
		if i == len(parts)-1 {
			a.branch(part, below, rest+"└─ ", rest+"   ")
		} else {
			a.branch(part, below, rest+"├─ ", rest+"│  ")
		}
	}
}
