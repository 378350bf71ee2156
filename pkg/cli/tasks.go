package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/wire"
)

const tasksHelp = `Everything that an agent does is a task, whatever asked for it. A task that was accepted is on disk:
it survives a crash of the gateway, and its history tells all that happened to it.

coderclaw tasks submit "Summarise my inbox" --wait
coderclaw tasks list --status running
coderclaw tasks watch 019ab3c1-7c50-7bbb-8a5f-0d1f3c9c8a11`

// descriptionRunes is how much of the input describes a task that has no description.
const descriptionRunes = 80

func (a *App) tasksCommand() *cli.Command {
	return &cli.Command{
		Name: "tasks", Category: categoryTalk,
		Usage:       "submit work to agents, follow it, end it, do it again",
		Description: tasksHelp,
		Subcommands: []*cli.Command{
			a.taskCommand("submit", "store a task; INPUT - reads standard input", "INPUT", a.submitTask, false, append(submitFlags(),
				&cli.BoolFlag{Name: "wait", DisableDefaultText: true, Usage: "wait for its end and print its output"})...),
			a.taskCommand("list", "list tasks, the newest first", "", a.listTasks, false, listFlags()...),
			a.taskCommand("get", "show a task with its input and output", "TASK", a.getTask, true),
			a.taskCommand("events", "print the history of a task", "TASK", a.taskEvents, true),
			a.tasksWatchCommand(),
			a.taskCommand("tree", "show a task's whole tree", "TASK", a.taskTree, true),
			a.taskCommand("cancel", "end a task and those below it", "TASK", a.cancelTask, true,
				&cli.StringFlag{Name: "reason", Usage: "`TEXT` for its history"}),
			a.taskCommand("retry", "do an ended task once more, as a new task", "TASK", a.retryTask, true, keyFlag()),
			a.taskCommand("agents", "list the agents that take tasks, with their load", "", a.taskAgents, false),
			a.taskCommand("skills", "list the skills that agents may use", "", a.taskSkills, false),
			a.taskCommand("status", "tell how the task engine is doing", "", a.tasksStatus, false),
		},
	}
}

func keyFlag() cli.Flag {
	return &cli.StringFlag{Name: "key", DefaultText: "a new one", Usage: "idempotency `KEY`: the same key gives the same task"}
}

func submitFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "description", DefaultText: "the beginning of INPUT", Usage: "what it is for, in a `LINE`"},
		&cli.StringFlag{Name: "agent", Usage: "`ID` of the agent that does it"},
		&cli.StringFlag{Name: "session-key", DefaultText: "one of its own", Usage: "`KEY` of the session that it belongs to"},
		&cli.StringFlag{Name: "model", Usage: "ask this `MODEL`"},
		&cli.StringFlag{Name: "thinking", Usage: "how much to think: `LEVEL`"},
		&cli.StringFlag{Name: "parent", Usage: "`TASK` that it is a part of"},
		&cli.StringSliceFlag{Name: "after", Usage: "`TASK` that must have ended before; may be repeated"},
		&cli.StringFlag{Name: "on-failure", DefaultText: "fail", Usage: "when one of them does not complete: `fail, skip or run`"},
		&cli.StringFlag{Name: "not-before", Usage: "begin at this `TIME` or later: 2026-11-22T10:48:00Z, or a delay such as 10m"},
		&cli.StringFlag{Name: "deadline", Usage: "fail when it has not ended by this `TIME`"},
		&cli.DurationFlag{Name: "limit", DefaultText: "the gateway's", Usage: "how `LONG` one attempt may take"},
		&cli.IntFlag{Name: "priority", Usage: "higher goes first: `N` from -1000 to 1000"},
		&cli.IntFlag{Name: "max-attempts", DefaultText: "10", Usage: "`N` attempts at most"},
		&cli.BoolFlag{Name: "detach", DisableDefaultText: true, Usage: "do not end when the task of --parent is cancelled"},
		&cli.BoolFlag{Name: "concurrent", DisableDefaultText: true, Usage: "do not wait for the session's other tasks"},
		keyFlag(),
	}
}

func listFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "status", Usage: "only tasks in this `STATE`; may be repeated"},
		&cli.StringFlag{Name: "session-key", Usage: "only tasks of this session's `KEY`"},
		&cli.StringFlag{Name: "agent", Usage: "only tasks of the agent with this `ID`"},
		&cli.StringFlag{Name: "parent", Usage: "only the parts of this `TASK`"},
		&cli.Int64Flag{Name: "limit", Aliases: []string{"n"}, DefaultText: "50", Usage: "show at most `N`"},
		&cli.StringFlag{Name: "next", Usage: "go on after the `TASK` that ended the page before"},
	}
}

// taskCommand makes a subcommand that asks the gateway one thing. Its argument, when
// it has one, is what args names; ids completes it with the ids of tasks.
func (a *App) taskCommand(name, usage, args string, run func(context.Context, *cli.Context, *client.Conn) error, ids bool, flags ...cli.Flag) *cli.Command {
	cmd := &cli.Command{
		Name: name, Usage: usage, ArgsUsage: args, UsageText: strings.TrimSpace("coderclaw tasks " + name + " " + args), Flags: flags,
		Description: taskExamples[name],
		Action: func(c *cli.Context) error {
			want := 0
			if args != "" {
				want = 1
			}
			if c.NArg() != want {
				return usagef("tasks %s takes %s, got %s; see: coderclaw tasks %s --help", name, orNothing(args), count(int64(c.NArg()), "argument", "arguments"), name)
			}
			if err := checkTaskFlags(c); err != nil {
				return err
			}
			limit := askTimeout
			if c.Bool("wait") {
				limit = 0
			}
			limit, err := timeout(c, limit)
			if err != nil {
				return err
			}
			return a.withConn(c, limit, func(ctx context.Context, conn *client.Conn) error { return run(ctx, c, conn) })
		},
	}
	if ids {
		cmd.BashComplete = a.completeTasks
	}
	return cmd
}

// withConn connects, runs fn within limit and disconnects.
func (a *App) withConn(c *cli.Context, limit time.Duration, fn func(context.Context, *client.Conn) error) error {
	ctx, cancel := within(c.Context, limit)
	defer cancel()
	conn, _, err := a.dial(ctx, c, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	return fn(ctx, conn)
}

// completeTasks offers the ids of the newest tasks.
func (a *App) completeTasks(c *cli.Context) {
	if c.NArg() > 0 {
		return
	}
	_ = a.withConn(c, 2*time.Second, func(ctx context.Context, conn *client.Conn) error {
		page, err := wire.Call(ctx, conn, protocol.MethodTasksList, protocol.TasksListParams{})
		for _, t := range page.Tasks {
			a.out.printf("%s\n", t.ID)
		}
		return err
	})
}

func (a *App) submitTask(ctx context.Context, c *cli.Context, conn *client.Conn) error {
	params, err := a.submitParams(c)
	if err != nil {
		return err
	}
	done, raw, err := fetch(ctx, conn, protocol.MethodTasksSubmit, params)
	if err != nil {
		return err
	}
	if c.Bool("wait") {
		_ = conn.Close()
		return a.awaitTask(c, done.Task.ID)
	}
	return a.accepted(done.Task, done.Replayed, raw)
}

// accepted tells of a task that was stored.
func (a *App) accepted(t protocol.Task, replayed bool, raw []byte) error {
	if a.out.json {
		return a.out.rawJSON(raw)
	}
	a.out.printf("%s\n", t.ID)
	if replayed {
		a.out.note("the key was used before: this is that task, now %s", t.Status)
	}
	a.out.note("follow it with: coderclaw tasks watch %s", t.ID)
	return nil
}

func (a *App) submitParams(c *cli.Context) (protocol.TasksSubmitParams, error) {
	none := protocol.TasksSubmitParams{}
	input := c.Args().First()
	if input == "-" {
		raw, err := io.ReadAll(io.LimitReader(a.Stdin, messageBytesMax+1))
		if err != nil {
			return none, fmt.Errorf("read standard input: %w", err)
		}
		if len(raw) > messageBytesMax {
			return none, usagef("standard input is longer than %d bytes", messageBytesMax)
		}
		input = string(raw)
	}
	if strings.TrimSpace(input) == "" {
		return none, usagef("say what the agent is to do: coderclaw tasks submit \"Summarise my inbox\"")
	}
	description := c.String("description")
	if description == "" {
		line, _, _ := strings.Cut(strings.TrimSpace(input), "\n")
		description = shorten(clean(line), descriptionRunes)
	}
	params := protocol.TasksSubmitParams{
		Description: description, Input: input, IdempotencyKey: keyOf(c), AgentID: optional(c.String("agent")),
		SessionID: optional(c.String("session-key")), Model: optional(c.String("model")), Thinking: optional(c.String("thinking")),
		ParentTaskID: optional(c.String("parent")), DependsOn: c.StringSlice("after"),
	}
	if c.Bool("concurrent") {
		params.Concurrent = wire.Some(true)
	}
	if c.Bool("detach") {
		params.Detach = wire.Some(true)
	}
	if policy := c.String("on-failure"); policy != "" {
		params.OnDependencyFailure = wire.Some(protocol.TaskOnFailure(policy))
	}
	var err error
	if params.NotBefore, err = momentFlag(c, "not-before"); err != nil {
		return none, err
	}
	if params.Deadline, err = momentFlag(c, "deadline"); err != nil {
		return none, err
	}
	if c.IsSet("limit") {
		params.TimeoutMs = wire.Some(c.Duration("limit").Milliseconds())
	}
	if c.IsSet("priority") {
		params.Priority = wire.Some(int64(c.Int("priority")))
	}
	if c.IsSet("max-attempts") {
		params.MaxAttempts = wire.Some(int64(c.Int("max-attempts")))
	}
	return params, nil
}

func keyOf(c *cli.Context) string {
	if key := c.String("key"); key != "" {
		return key
	}
	return uuid.NewString()
}

// momentFlag reads a time, or a delay from now.
func momentFlag(c *cli.Context, name string) (wire.Opt[string], error) {
	text := c.String(name)
	if text == "" {
		return wire.Opt[string]{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if delay, wrong := time.ParseDuration(text); wrong == nil {
		at, err = time.Now().Add(delay), nil
	}
	if err != nil {
		return wire.Opt[string]{}, usagef("--%s %q is neither a time such as 2026-11-22T10:48:00Z nor a delay such as 10m", name, text)
	}
	return wire.Some(at.UTC().Format("2006-01-02T15:04:05.000Z")), nil
}

func (a *App) listTasks(ctx context.Context, c *cli.Context, conn *client.Conn) error {
	params := protocol.TasksListParams{
		SessionID: optional(c.String("session-key")), AgentID: optional(c.String("agent")),
		ParentTaskID: optional(c.String("parent")), After: optional(c.String("next")),
	}
	for _, s := range c.StringSlice("status") {
		params.Status = append(params.Status, protocol.TaskStatus(s))
	}
	if c.IsSet("limit") {
		params.Limit = wire.Some(c.Int64("limit"))
	}
	page, raw, err := fetch(ctx, conn, protocol.MethodTasksList, params)
	if err != nil {
		return err
	}
	if a.out.json {
		return a.out.rawJSON(raw)
	}
	if len(page.Tasks) == 0 {
		a.out.note(`no tasks; submit one with: coderclaw tasks submit "hello"`)
		return nil
	}
	rows := make([][]string, 0, len(page.Tasks))
	for _, t := range page.Tasks {
		rows = append(rows, []string{t.ID, string(t.Status), string(t.Source), t.SessionID.Or(""), agoText(t.CreatedAt), tookText(t), shorten(t.Description, 48)})
	}
	if err := a.out.table([]string{"TASK", "STATUS", "SOURCE", "SESSION", "SUBMITTED", "TOOK", "DESCRIPTION"}, rows); err != nil {
		return err
	}
	if next := page.Next.Or(""); next != "" {
		a.out.note("there are more: coderclaw tasks list --next %s", next)
	}
	return nil
}

// agoText words the age of a time of the wire.
func agoText(text string) string {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return ""
	}
	return ago(at.UnixMilli())
}

// tookText words how long a task worked, or has been working.
func tookText(t protocol.Task) string {
	from, err := time.Parse(time.RFC3339Nano, t.StartedAt.Or(""))
	if err != nil {
		return ""
	}
	to, err := time.Parse(time.RFC3339Nano, t.CompletedAt.Or(""))
	if err != nil {
		to = time.Now()
	}
	if d := to.Sub(from); d < 10*time.Second {
		return fmt.Sprintf("%.1fs", max(d, 0).Seconds())
	}
	return span(to.Sub(from))
}

func (a *App) getTask(ctx context.Context, c *cli.Context, conn *client.Conn) error {
	got, raw, err := fetch(ctx, conn, protocol.MethodTasksGet, protocol.TasksGetParams{TaskID: c.Args().First()})
	if err != nil {
		return err
	}
	if a.out.json {
		return a.out.rawJSON(raw)
	}
	t := got.Task
	attempts := ""
	if t.Attempt > 0 {
		attempts = fmt.Sprintf("%d of %d", t.Attempt, t.MaxAttempts)
	}
	progress := ""
	if p, ok := t.Progress.Get(); ok {
		progress = fmt.Sprintf("%d %%", p)
	}
	why := t.Error.Or("")
	if code := t.ErrorCode.Or(""); code != "" {
		why = strings.TrimSpace(why + " (" + code + ")")
	}
	err = a.out.facts([2]string{"task", t.ID}, [2]string{"run", t.RunID}, [2]string{"status", string(t.Status)}, [2]string{"description", t.Description},
		[2]string{"source", string(t.Source)}, [2]string{"agent", t.AgentID.Or("")}, [2]string{"session", t.SessionID.Or("")}, [2]string{"model", t.Model.Or("")},
		[2]string{"parent", t.ParentTaskID.Or("")}, [2]string{"after", strings.Join(t.DependsOn, " ")}, [2]string{"submitted", t.CreatedAt},
		[2]string{"began", t.StartedAt.Or("")}, [2]string{"ended", t.CompletedAt.Or("")}, [2]string{"took", tookText(t)}, [2]string{"attempts", attempts},
		[2]string{"progress", progress}, [2]string{"not before", t.NotBefore.Or("")}, [2]string{"deadline", t.Deadline.Or("")}, [2]string{"retry of", t.RetryOf.Or("")}, [2]string{"error", why})
	if err != nil {
		return err
	}
	if input := t.Input.Or(""); input != "" {
		a.out.printf("\n%s\n%s\n", a.out.style(bold, "input"), safe(input))
	}
	if output := t.Output.Or(""); output != "" {
		a.out.printf("\n%s\n%s\n", a.out.style(bold, "output"), safe(output))
	}
	return nil
}

func (a *App) cancelTask(ctx context.Context, c *cli.Context, conn *client.Conn) error {
	id := c.Args().First()
	done, raw, err := fetch(ctx, conn, protocol.MethodTasksCancel, protocol.TasksCancelParams{TaskID: id, Reason: optional(c.String("reason"))})
	if err != nil {
		return err
	}
	if a.out.json {
		if err := a.out.rawJSON(raw); err != nil {
			return err
		}
	}
	switch {
	case done.NotFound:
		return fmt.Errorf("no task %q; see: coderclaw tasks list", id)
	case a.out.json:
	case done.AlreadyTerminal:
		a.out.note("the task had ended before: it is %s", done.Task.V.Status)
	case len(done.Descendants) > 0:
		a.out.printf("cancelled, with %s below it\n", count(int64(len(done.Descendants)), "task", "tasks"))
	default:
		a.out.printf("cancelled\n")
	}
	return nil
}

func (a *App) retryTask(ctx context.Context, c *cli.Context, conn *client.Conn) error {
	done, raw, err := fetch(ctx, conn, protocol.MethodTasksRetry, protocol.TasksRetryParams{TaskID: c.Args().First(), IdempotencyKey: keyOf(c)})
	if err != nil {
		return err
	}
	return a.accepted(done.Task, done.Replayed, raw)
}

func (a *App) taskAgents(ctx context.Context, _ *cli.Context, conn *client.Conn) error {
	got, raw, err := fetch(ctx, conn, protocol.MethodTasksAgents, protocol.TasksAgentsParams{})
	if err != nil {
		return err
	}
	if a.out.json {
		return a.out.rawJSON(raw)
	}
	rows := make([][]string, 0, len(got.Agents))
	for _, g := range got.Agents {
		rows = append(rows, []string{g.ID, g.Name, g.Model.Or(""), strings.Join(g.Capabilities, ","), fmt.Sprintf("%d of %d open", g.Running, g.Open)})
	}
	return a.out.table([]string{"AGENT", "NAME", "MODEL", "CAN", "RUNNING"}, rows)
}

func (a *App) taskSkills(ctx context.Context, _ *cli.Context, conn *client.Conn) error {
	got, raw, err := fetch(ctx, conn, protocol.MethodTasksSkills, protocol.TasksSkillsParams{})
	if err != nil {
		return err
	}
	if a.out.json {
		return a.out.rawJSON(raw)
	}
	if len(got.Skills) == 0 {
		a.out.note("no skills are installed")
		return nil
	}
	rows := make([][]string, 0, len(got.Skills))
	for _, s := range got.Skills {
		rows = append(rows, []string{s.ID, s.Name, s.Version, s.Description})
	}
	return a.out.table([]string{"SKILL", "NAME", "VERSION", "DESCRIPTION"}, rows)
}

func (a *App) tasksStatus(ctx context.Context, _ *cli.Context, conn *client.Conn) error {
	st, raw, err := fetch(ctx, conn, protocol.MethodTasksStatus, protocol.TasksStatusParams{})
	if err != nil {
		return err
	}
	if a.out.json {
		return a.out.rawJSON(raw)
	}
	health := "healthy"
	if !st.Healthy {
		health = "the last write failed; see: coderclaw logs"
	}
	n := st.Counts
	return a.out.facts([2]string{"engine", health}, [2]string{"mode", st.Mode}, [2]string{"up", span(time.Duration(st.Uptime) * time.Second)},
		[2]string{"open", fmt.Sprintf("%d pending, %d planning, %d running, %d waiting", n.Pending, n.Planning, n.Running, n.Waiting)},
		[2]string{"ended", fmt.Sprintf("%d completed, %d failed, %d cancelled", n.Completed, n.Failed, n.Cancelled)},
		[2]string{"load", fmt.Sprintf("%d %% of %d at a time", st.LoadPercent, st.Capacity)}, [2]string{"oldest waits", waited(st.OldestQueuedMs.Or(0))})
}

func waited(ms int64) string {
	if ms == 0 {
		return ""
	}
	return span(time.Duration(ms) * time.Millisecond)
}
