package turn

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/task"
)

// command is a slash command: words for the gateway, not for the agent.
type command struct {
	name string // without the slash, lower-case
	args string
}

// commandForm tells a command from a message that happens to begin with a slash,
// such as a path.
var commandForm = regexp.MustCompile(`^/([a-zA-Z][a-zA-Z0-9_-]*)(?:\s+|$)`)

// parseCommand returns the command that a request is. A message with images is
// never one.
func parseCommand(req Request) (command, bool) {
	if len(req.Images) > 0 {
		return command{}, false
	}
	return commandIn(req.Message)
}

// commandIn returns the command that a text is.
func commandIn(text string) (command, bool) {
	text = strings.TrimSpace(text)
	m := commandForm.FindStringSubmatch(text)
	if m == nil {
		return command{}, false
	}
	return command{name: strings.ToLower(m[1]), args: strings.TrimSpace(text[len(m[0]):])}, true
}

// isCommandText reports whether a stored message was a command.
func isCommandText(text string) bool {
	_, ok := commandIn(text)
	return ok
}

// startsTurn reports whether the command resets the session and then hands the
// rest of its text to the agent: /new and /reset with a message.
func (c command) startsTurn() bool {
	return (c.name == "new" || c.name == "reset") && c.args != ""
}

// resets reports whether the command gives its session a new transcript and says
// nothing to the agent.
func (c command) resets() bool { return (c.name == "new" || c.name == "reset") && c.args == "" }

// perform answers a slash command. It does not wait in line: /status and /stop
// are for the time when a turn runs. A command that the gateway did not live to
// answer is performed again; a reset happens in the transaction of its answer.
func (run *Run) perform() {
	run.stream.startedAt = time.Now().UnixMilli()
	var err error
	if run.command.resets() {
		var release func()
		if release, err = run.runs.quiesce(run.ctx, run.req.SessionKey, run); err == nil {
			defer release()
		}
	}
	var text string
	if err == nil {
		text, err = run.answer(run.command)
	}
	if run.ctx.Err() != nil {
		run.cut()
		return
	}
	if err != nil {
		run.fail(protocol.DetailInternal, err)
		return
	}
	said := InjectedMessage(text)
	e := ending{reset: run.command.resets(), message: &said, outcome: Outcome{State: StateFinal, Text: text, StopReason: said.StopReason}}
	if err := run.persist(&e); errors.Is(err, task.ErrTerminal) {
		run.cancel(run.endedElsewhere())
		run.cut()
		return
	} else if err != nil {
		run.fail(protocol.DetailInternal, fmt.Errorf("the answer could not be stored: %w", err))
		return
	}
	defer close(run.terminal)
	run.settle(e.outcome)
	run.emitCommandFinal(*e.stored)
}

// answer does what the command says and tells the result in words.
func (run *Run) answer(c command) (string, error) {
	switch c.name {
	case "help", "commands":
		return helpText, nil
	case "status":
		return run.statusText()
	case "sessions":
		return run.sessionsText()
	case "model", "models":
		return run.model(c.args)
	case "think":
		return run.think(c.args)
	case "new", "reset":
		return "New session. What came before is archived and no longer read.", nil
	case "stop":
		return run.stopOthers()
	}
	return fmt.Sprintf("There is no command /%s. /help lists the commands. To send this text to the agent, put a word before the slash.", c.name), nil
}

const helpText = `Commands:
/help - this list
/status - gateway, model and session
/sessions - the latest sessions
/model - the model in use and the others; /model <id> changes it, /model default goes back
/think - how much the model thinks; /think off|minimal|low|medium|high changes it
/new - start the session over; /new <message> also sends the message (/reset is the same)
/stop - stop what runs in this session
Anything else goes to the agent.`

// statusText tells how things stand.
func (run *Run) statusText() (string, error) {
	r := run.runs
	entry, _, err := r.sessions.Get(run.req.SessionKey)
	if err != nil {
		return "", fmt.Errorf("the session could not be read: %w", err)
	}
	running, queued := r.inLine(run.req.SessionKey)
	var b strings.Builder
	fmt.Fprintf(&b, "CoderClaw %s, up %s\n", strings.TrimSpace(r.version), duration(time.Since(r.startedAt)))
	fmt.Fprintf(&b, "Backend: %s\n", r.backend.Name())
	fmt.Fprintf(&b, "Model: %s\n", run.runs.modelText(run.req.AgentID, entry))
	fmt.Fprintf(&b, "Thinking: %s\n", orElse(entry.ThinkingLevel, "off"))
	fmt.Fprintf(&b, "Session: %s, %d messages\n", run.req.SessionKey, entry.MessageCount)
	fmt.Fprintf(&b, "Last turn: %d tokens in, %d out", entry.InputTokens, entry.OutputTokens)
	if entry.ContextTokens > 0 {
		fmt.Fprintf(&b, "; context %d of %d", entry.TotalTokens, entry.ContextTokens)
	}
	fmt.Fprintf(&b, "\nTurns here: %d running, %d waiting", running, queued)
	return b.String(), nil
}

// sessionsTextMax is how many sessions /sessions names.
const sessionsTextMax = 10

// sessionsText names the latest sessions.
func (run *Run) sessionsText() (string, error) {
	entries, err := run.runs.sessions.List()
	if err != nil {
		return "", fmt.Errorf("the sessions could not be read: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Sessions: %d", len(entries))
	for i, e := range entries {
		if i == sessionsTextMax {
			fmt.Fprintf(&b, "\nand %d more", len(entries)-i)
			break
		}
		fmt.Fprintf(&b, "\n%s", e.Key)
		if e.Label != "" {
			fmt.Fprintf(&b, " (%s)", e.Label)
		}
		fmt.Fprintf(&b, " - %d messages, %s ago", e.MessageCount, duration(time.Since(time.UnixMilli(e.UpdatedAt))))
		if e.Key == run.req.SessionKey {
			b.WriteString(", this one")
		}
	}
	return b.String(), nil
}

// model shows or changes the session's model.
func (run *Run) model(id string) (string, error) {
	models, listErr := run.runs.catalogue(run.ctx)
	if id == "" {
		return run.modelsText(models, listErr)
	}
	var provider string
	switch {
	case strings.EqualFold(id, "default"):
		id = ""
	case listErr == nil && len(models) > 0:
		m, ok := findModel(models, id)
		if !ok {
			return fmt.Sprintf("There is no model %s here. /model lists those there are.", id), nil
		}
		id, provider = m.ID, m.Provider
	}
	ctx, cancel := context.WithTimeout(run.ctx, storeTimeout)
	defer cancel()
	_, err := run.runs.sessions.Patch(ctx, run.req.SessionKey, func(e *session.Entry) error {
		e.ModelOverride, e.ProviderOverride = id, provider
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("the model could not be set: %w", err)
	}
	switch {
	case id == "":
		return "This session uses the default model again.", nil
	case listErr != nil:
		return fmt.Sprintf("This session now uses %s. The list of models did not answer, so nobody has checked the name.", id), nil
	}
	return fmt.Sprintf("This session now uses %s.", id), nil
}

// modelsTextMax is how many models /model names.
const modelsTextMax = 30

// modelsText tells the session's model and the others.
func (run *Run) modelsText(models []agent.Model, listErr error) (string, error) {
	entry, _, err := run.runs.sessions.Get(run.req.SessionKey)
	if err != nil {
		return "", fmt.Errorf("the session could not be read: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Model: %s", run.runs.modelText(run.req.AgentID, entry))
	if listErr != nil {
		fmt.Fprintf(&b, "\nThe list of models did not answer: %v", listErr)
		return b.String(), nil
	}
	several := slices.ContainsFunc(models, func(m agent.Model) bool { return m.Provider != models[0].Provider })
	for i, m := range models {
		if i == modelsTextMax {
			fmt.Fprintf(&b, "\nand %d more", len(models)-i)
			break
		}
		name := m.ID
		if several {
			name = m.Provider + "/" + m.ID
		}
		fmt.Fprintf(&b, "\n- %s", name)
	}
	return b.String(), nil
}

// findModel finds a model by id, or by provider/id as upstream's clients write it.
func findModel(models []agent.Model, id string) (agent.Model, bool) {
	i := slices.IndexFunc(models, func(m agent.Model) bool {
		return strings.EqualFold(m.ID, id) || strings.EqualFold(m.Provider+"/"+m.ID, id)
	})
	if i < 0 {
		return agent.Model{}, false
	}
	return models[i], true
}

// modelText names the model of a session: what was chosen, else what answered
// last.
func (r *Runs) modelText(agentID string, e session.Entry) string {
	b := r.current()
	if _, many := b.(agent.Chooser); many {
		chosen := r.chosenModel(b, agentID, e)
		choice, err := r.choose(b, agentID, chosen)
		switch {
		case err != nil:
			return err.Error()
		case chosen != "":
			return choice.Ref()
		case choice.Model == "":
			return "the first that " + choice.Provider + " lists (default)"
		}
		return choice.Ref() + " (default)"
	}
	switch chosen := r.chosenModel(b, agentID, e); {
	case chosen != "":
		return chosen
	case e.Model != "":
		return e.Model + " (default)"
	}
	return "the backend's default"
}

// thinkingLevels are the levels a turn can ask for.
var thinkingLevels = [...]string{"off", "minimal", "low", "medium", "high"}

// Thinking returns the level that a client's word means, or empty when it means
// none and the session's own holds. The names are those that upstream accepts.
func Thinking(word string) string {
	switch word = strings.ToLower(strings.TrimSpace(word)); word {
	case "min":
		return "minimal"
	case "on", "enable", "enabled":
		return "low"
	case "mid", "med":
		return "medium"
	case "max", "highest", "ultra", "xhigh":
		return "high"
	}
	if slices.Contains(thinkingLevels[:], word) {
		return word
	}
	return ""
}

// think shows or changes the session's thinking level.
func (run *Run) think(word string) (string, error) {
	if word == "" {
		entry, _, err := run.runs.sessions.Get(run.req.SessionKey)
		if err != nil {
			return "", fmt.Errorf("the session could not be read: %w", err)
		}
		return "Thinking: " + orElse(entry.ThinkingLevel, "off"), nil
	}
	level := Thinking(word)
	if level == "" {
		return fmt.Sprintf("There is no thinking level %s. The levels are %s.", word, strings.Join(thinkingLevels[:], ", ")), nil
	}
	ctx, cancel := context.WithTimeout(run.ctx, storeTimeout)
	defer cancel()
	_, err := run.runs.sessions.Patch(ctx, run.req.SessionKey, func(e *session.Entry) error {
		e.ThinkingLevel = level
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("the thinking level could not be set: %w", err)
	}
	return "Thinking: " + level, nil
}

// stopOthers aborts what else the session runs.
func (run *Run) stopOthers() (string, error) {
	n := 0
	live, _ := run.runs.cancelSession(run.req.SessionKey, StopCommand, run)
	for _, other := range live {
		out, err := other.Wait(run.ctx)
		if err != nil {
			return "", err
		}
		if out.State == StateAborted {
			n++
		}
	}
	if n == 0 {
		return "Nothing was running here.", nil
	}
	return fmt.Sprintf("Stopped: %d.", n), nil
}

// duration is a span of time for people: its largest unit.
func duration(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d >= time.Minute:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

// orElse returns s, or def when s is empty.
func orElse(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
