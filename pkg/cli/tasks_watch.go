package cli

import (
	"context"
	"encoding/json"
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
is lost costs nothing: the watch goes on where it was. With --json each event is a line.

coderclaw tasks watch 019ab3c1-7c50-7bbb-8a5f-0d1f3c9c8a11 --output
coderclaw tasks watch --cursor 0 --json`,
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
	if c.Int64("cursor") < 0 {
		return usagef("--cursor %d is before the beginning, which is 0", c.Int64("cursor"))
	}
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
	status        protocol.TaskStatus // of a single task
	since         time.Time           // of status, or of its latest attempt
	live          *liveLine
	watchID       string // of the watch that is live

	wake chan struct{} // one token: something below has changed
	mu   sync.Mutex    // guards the fields below
	// hello counts the connections; pending holds what was pushed over the latest, at
	// most pendingMax events. flooded says that more came: they are left out, and asked
	// for again at the pace of whoever reads.
	hello   int
	pending []protocol.TaskWatchEvent
	flooded bool
	// runID is the run of a single task, and said the end of what it has said so far.
	runID, said string
}

// pendingMax is how many events may wait for a terminal, or a pipe, that nobody reads.
const pendingMax = 4096

// push takes an event that the gateway has told.
func (w *watcher) push(told protocol.TaskWatchEvent) {
	w.mu.Lock()
	if w.flooded = w.flooded || len(w.pending) >= pendingMax; !w.flooded {
		w.pending = append(w.pending, told)
	}
	w.mu.Unlock()
	w.signal()
}

// connected begins with a new connection.
func (w *watcher) connected() {
	w.mu.Lock()
	w.hello, w.pending, w.flooded = w.hello+1, nil, false
	w.mu.Unlock()
	w.signal()
}

func (w *watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (a *App) follow(c *cli.Context, w *watcher) error {
	w.wake = make(chan struct{}, 1)
	w.live = &liveLine{p: a.out}
	a.out.live = w.live
	defer func() { a.out.live = nil }()
	return a.untilInterrupt(c, func(o *client.Options) {
		o.OnHello = func(protocol.HelloOk) { w.connected() }
		o.OnEvent = func(e client.Event) {
			if e.Name == protocol.EventChat.Name {
				w.hear(e)
				return
			}
			if e.Name != protocol.EventTask.Name {
				return
			}
			told, err := protocol.EventTask.Payload.DecodeOpen(e.Payload)
			if err != nil {
				return
			}
			w.push(told)
		}
	}, func(ctx context.Context, gateway *client.Client) error { return w.run(ctx, gateway) })
}

// saidRunes is how much of an answer the live line shows.
const saidRunes = 40

// hear keeps the end of what a single task is saying.
func (w *watcher) hear(e client.Event) {
	w.mu.Lock()
	runID := w.runID
	w.mu.Unlock()
	if runID == "" {
		return
	}
	told, err := protocol.DecodeChatEventOpen(e.Payload)
	if err != nil || told.RunID != runID || told.State != protocol.ChatStateDelta {
		return
	}
	text := []rune(strings.TrimSpace(clean(chatText(told.Message))))
	if len(text) > saidRunes {
		text = append([]rune("…"), text[len(text)-saidRunes:]...)
	}
	w.mu.Lock()
	w.said = string(text)
	w.mu.Unlock()
	w.signal()
}

// listen lets the live line show what a single task says, where there is one.
func (w *watcher) listen(ctx context.Context, gateway wire.Caller) {
	if !w.single || w.runID != "" || !w.a.out.errIsTTY {
		return
	}
	got, err := wire.Call(ctx, gateway, protocol.MethodTasksGet, protocol.TasksGetParams{TaskID: w.params.TaskID.V})
	if err != nil {
		return // the line shows less
	}
	w.mu.Lock()
	w.runID = got.Task.RunID
	w.mu.Unlock()
}

// run asks for the stored events after each hello, tells what is pushed after them,
// and returns when a single task has ended.
func (w *watcher) run(ctx context.Context, gateway wire.Caller) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	defer w.live.set("")
	asked := 0
	for {
		w.mu.Lock()
		hello, pending, flooded := w.hello, w.pending, w.flooded
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
				w.listen(ctx, gateway)
				w.signal() // what was pushed meanwhile
			}
		} else {
			for _, e := range pending {
				if e.WatchID != w.watchID {
					continue // of a watch that was given up
				}
				if why, ok := e.Ended.Get(); ok {
					asked = w.again(why)
				} else if told, ok := e.Event.Get(); ok {
					w.tell(told)
				}
			}
			if flooded && asked == hello {
				if err := w.unwatch(ctx, gateway); err != nil {
					return err
				}
				asked = 0
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
		}
		w.statusLine()
	}
}

// catchUp tells the stored events, page by page, until the watch is live. A lost
// connection is no error: the next hello asks again.
func (w *watcher) catchUp(ctx context.Context, gateway wire.Caller) (live bool, err error) {
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
			if pause(ctx, err) {
				continue
			}
			return false, err
		}
		for _, e := range page.Events {
			w.tell(e)
		}
		w.params.Cursor, w.watchID = wire.Some(page.Cursor), page.WatchID.Or("")
		if page.Live || w.ended() {
			return true, nil
		}
	}
}

// unwatch ends a watch that tells more than is read, so that it can be asked for once
// more. A lost connection is no error.
func (w *watcher) unwatch(ctx context.Context, gateway wire.Caller) error {
	_, err := wire.Call(ctx, gateway, protocol.MethodTasksUnwatch, protocol.TasksUnwatchParams{WatchID: w.watchID})
	if err != nil && !client.Lost(err) {
		return err
	}
	w.mu.Lock()
	w.pending, w.flooded = nil, false
	w.mu.Unlock()
	return nil
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
		w.keep(e)
	}
	switch {
	case w.quiet:
	case w.a.out.json:
		_ = w.a.out.line(e)
	default:
		w.live.over(func() { w.a.out.printf("%s\n", w.a.eventLine(e, !w.single)) })
	}
}

// keep notes how a single task stands.
func (w *watcher) keep(e protocol.TaskEvent) {
	w.last = &e
	status, moved := e.NewStatus.Get()
	if moved {
		w.status = status
	}
	if !moved && e.Event != protocol.TaskEventKindLeaseTaken {
		return
	}
	if at, err := time.Parse(time.RFC3339Nano, e.Timestamp); err == nil {
		w.since = at
	}
	w.mu.Lock()
	w.said = "" // of an earlier attempt
	w.mu.Unlock()
}

// pauseDefault is how long a command waits before it asks again, when nobody says.
const pauseDefault = time.Second

// pause waits before a question is put again that was lost with its connection, or
// that the gateway puts off. It reports false when asking again is of no use.
func pause(ctx context.Context, err error) bool {
	wait := pauseDefault
	var refused *wire.Error
	switch {
	case client.Lost(err):
	case errors.As(err, &refused) && refused.Retryable != nil && *refused.Retryable:
		if refused.RetryAfterMs != nil {
			wait = time.Duration(*refused.RetryAfterMs) * time.Millisecond
		}
	default:
		return false
	}
	select {
	case <-time.After(wait):
		return true
	case <-ctx.Done():
		return false
	}
}

func (w *watcher) ended() bool {
	return w.last != nil && terminal(w.last.NewStatus.Or(""))
}

func terminal(s protocol.TaskStatus) bool {
	return s == protocol.TaskStatusCompleted || s == protocol.TaskStatusFailed || s == protocol.TaskStatusCancelled
}

// finish prints the output and makes the task's end the command's.
func (w *watcher) finish(ctx context.Context, gateway wire.Caller) error {
	w.live.set("")
	got, raw, err := fetch(ctx, gateway, protocol.MethodTasksGet, protocol.TasksGetParams{TaskID: w.last.TaskID})
	for err != nil {
		if !pause(ctx, err) {
			return err
		}
		got, raw, err = fetch(ctx, gateway, protocol.MethodTasksGet, protocol.TasksGetParams{TaskID: w.last.TaskID})
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

// statusLine tells on a terminal how a single task stands, and the end of what it says.
func (w *watcher) statusLine() {
	if w.last == nil || w.ended() {
		return
	}
	w.mu.Lock()
	said := w.said
	w.mu.Unlock()
	text := string(w.status) + " for " + span(time.Since(w.since))
	if said != "" {
		text += "  " + said
	}
	w.live.set(text)
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
	m := e.Message.Or("")
	if n := fmt.Sprintf("attempt %d", e.Attempt.Or(0)); e.Attempt.Or(0) > 1 && m != n {
		parts = append(parts, n)
	}
	if d := retryDelay(e); d > 0 {
		parts = append(parts, "again in "+span(d))
	}
	if m != "" {
		parts = append(parts, clean(m))
	}
	if by := e.Actor.Or(""); by != "" && by != "engine" {
		parts = append(parts, a.out.style(dim, "by "+shorten(clean(by), idShown)))
	}
	return strings.Join(parts, "  ")
}

// retryDelay is how long the next attempt waits, of the event that says so; else 0.
func retryDelay(e protocol.TaskEvent) time.Duration {
	var told struct {
		DelayMs int64 `json:"delayMs"`
	}
	if e.Event != protocol.TaskEventKindRetryScheduled || json.Unmarshal(e.Data, &told) != nil {
		return 0
	}
	return time.Duration(told.DelayMs) * time.Millisecond
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
