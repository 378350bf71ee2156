package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
)

// taskExamples are what the help of the subcommands of tasks ends with.
var taskExamples = map[string]string{
	"submit": `Prints the task's id. With --wait it prints the output instead, and the exit code is that of
tasks watch. A task that --after names must have ended before; tasks of one session run in turn.

coderclaw tasks submit "Summarise my inbox" --wait
coderclaw tasks submit - --key nightly --deadline 30m < question.txt
coderclaw tasks submit "Publish it" --after 019ab3c1-7c50-7bbb-8a5f-0d1f3c9c8a11 --on-failure skip`,
	"list": `coderclaw tasks list --status running --status waiting
coderclaw tasks list --agent main -n 10 --json`,
	"get": `TASK is the id of a task, or the idempotency key that it was submitted with.

coderclaw tasks get nightly`,
	"events": `Each event is a line; with --json a line of JSON, as tasks watch prints them.

coderclaw tasks events 019ab3c1-7c50-7bbb-8a5f-0d1f3c9c8a11 --json`,
	"tree": `TASK may be any task of the tree.

coderclaw tasks tree 019ab3c1-7c50-7bbb-8a5f-0d1f3c9c8a11`,
	"cancel": `What it was saying is kept. Tasks below it end too, unless they were submitted with --detach;
those that depend on it do what their --on-failure says. A task that has ended stays as it is.

coderclaw tasks cancel 019ab3c1-7c50-7bbb-8a5f-0d1f3c9c8a11 --reason "no longer needed"`,
	"retry": `The new task is asked what the ended one was, images included, in the same session. It belongs
to no other task and depends on none. Slash commands of a chat are not done again.

coderclaw tasks retry 019ab3c1-7c50-7bbb-8a5f-0d1f3c9c8a11`,
	"agents": `coderclaw tasks agents --json`,
	"skills": `coderclaw tasks skills --json`,
	"status": `coderclaw tasks status --json`,
}

// taskStates are the words that --status takes.
var taskStates = []string{
	string(protocol.TaskStatusPending), string(protocol.TaskStatusPlanning), string(protocol.TaskStatusRunning), string(protocol.TaskStatusWaiting),
	string(protocol.TaskStatusFailed), string(protocol.TaskStatusCompleted), string(protocol.TaskStatusCancelled),
}

// The bounds of flags, as the protocol has them.
const (
	priorityMax    = 1000
	maxAttemptsMax = 100
	tasksPageMax   = 500
)

// checkTaskFlags tells of values that the gateway would refuse, in the words of the
// command line.
func checkTaskFlags(c *cli.Context) error {
	for _, s := range c.StringSlice("status") {
		if !slices.Contains(taskStates, s) {
			return usagef("--status %q is no state; use %s", s, orList(taskStates))
		}
	}
	if policy := c.String("on-failure"); policy != "" && !slices.Contains([]string{"fail", "skip", "run"}, policy) {
		return usagef("--on-failure %q is no policy; use fail, skip or run", policy)
	}
	if c.IsSet("on-failure") && len(c.StringSlice("after")) == 0 {
		return usagef("--on-failure says what to do when a task of --after does not complete: name one")
	}
	if c.IsSet("limit") && c.Command.Name == "submit" && c.Duration("limit") <= 0 {
		return usagef("--limit %s is no time to work in", c.Duration("limit"))
	}
	if c.Command.Name == "list" {
		return inBounds(c.Int64("limit"), c.IsSet("limit"), "limit", 1, tasksPageMax)
	}
	if err := inBounds(int64(c.Int("priority")), c.IsSet("priority"), "priority", -priorityMax, priorityMax); err != nil {
		return err
	}
	return inBounds(int64(c.Int("max-attempts")), c.IsSet("max-attempts"), "max-attempts", 1, maxAttemptsMax)
}

func inBounds(n int64, set bool, name string, low, high int64) error {
	if set && (n < low || n > high) {
		return usagef("--%s %d is out of bounds: use %d to %d", name, n, low, high)
	}
	return nil
}

// orList is "a, b or c".
func orList(words []string) string {
	last := len(words) - 1
	return fmt.Sprintf("%s or %s", strings.Join(words[:last], ", "), words[last])
}
