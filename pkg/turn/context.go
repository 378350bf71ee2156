package turn

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/session"
)

// What of a transcript a turn is given: the newest messages that fit both limits.
const (
	contextMessagesMax = session.CompactionMessagesMax
	contextBytesMax    = 4 << 20
)

// modelsTimeout bounds a look at the backend's catalogue.
const modelsTimeout = 5 * time.Second

// prepare collects what the backend needs. The system events that wait for the
// main session's next turn are told by every turn until one of them is answered.
func (run *Run) prepare() (agent.Turn, error) {
	entry, _, err := run.runs.sessions.Get(run.req.SessionKey)
	if err != nil {
		return agent.Turn{}, fmt.Errorf("the session could not be read: %w", err)
	}
	run.stream.verbose = entry.VerboseLevel
	messages, err := run.messages()
	if err != nil {
		return agent.Turn{}, err
	}
	if run.req.SessionKey == run.runs.sessions.MainKey() {
		if run.notes, err = run.runs.sessions.Notes(); err != nil {
			return agent.Turn{}, fmt.Errorf("the waiting system events could not be read: %w", err)
		}
	}
	return agent.Turn{
		RunID:      run.ID(),
		SessionKey: run.req.SessionKey,
		SessionID:  entry.SessionID,
		AgentID:    run.req.AgentID,
		Model:      run.pick(entry),
		Thinking:   orElse(run.req.Thinking, entry.ThinkingLevel),
		System:     systemPrompt(time.Now(), run.notes, run.req.System),
		Messages:   messages,
	}, nil
}

// messages is the conversation as the model is given it: the summary of its older
// part, if there is one, what followed, and the question.
func (run *Run) messages() ([]agent.Message, error) {
	history, err := run.runs.sessions.History(run.req.SessionKey, contextMessagesMax)
	if err != nil {
		return nil, fmt.Errorf("the conversation could not be read: %w", err)
	}
	summary, history := session.Visible(history)
	messages := conversation(history, run.ID(), run.pending())
	messages = append(messages, message(session.Message{Role: "user", Text: run.req.Message, Images: run.req.Images}))
	return withSummary(summary, fit(messages)), nil
}

// conversation is a transcript as a model should read it: without the messages
// of runs that stand in line, without the run's own (its request has it), without
// slash commands and their answers, and with every question right before its
// answer although a busy session stores them in the order they came.
func conversation(history []session.Message, self string, pending map[string]bool) []agent.Message {
	answered := map[string]bool{}
	for _, m := range history {
		if m.Role == "assistant" && m.RunID != "" && !m.Injected {
			answered[m.RunID] = true
		}
	}
	waiting := map[string][]session.Message{} // questions whose answer comes later
	var out []agent.Message
	for _, m := range history {
		switch {
		case m.Role == "user":
			if m.RunID == self || pending[m.RunID] || isCommandText(m.Text) {
				continue
			}
			if answered[m.RunID] {
				waiting[m.RunID] = append(waiting[m.RunID], m)
				continue
			}
		case m.Injected && m.RunID != "":
			continue // the answer to a slash command
		default:
			for _, q := range waiting[m.RunID] {
				out = append(out, message(q))
			}
			delete(waiting, m.RunID)
			if visible(m.Text) == "" {
				continue // a turn that failed before its first word
			}
		}
		out = append(out, message(m))
	}
	return out
}

// message is a stored message as the backend's port has it.
func message(m session.Message) agent.Message {
	out := agent.Message{Role: m.Role, Text: m.Text}
	for _, img := range m.Images {
		out.Images = append(out.Images, agent.Image{MimeType: img.MimeType, Data: img.Data})
	}
	return out
}

// fit drops the oldest messages until the rest is within contextBytesMax. The
// last one, which is the question, always stays.
func fit(messages []agent.Message) []agent.Message {
	total := 0
	for i := len(messages) - 1; i >= 0; i-- {
		total += len(messages[i].Text)
		for _, img := range messages[i].Images {
			total += len(img.Data)
		}
		if total > contextBytesMax && i < len(messages)-1 {
			return messages[i+1:]
		}
	}
	return messages
}

// timeForm is how the model is told a time.
const timeForm = "Mon 2006-01-02 15:04 UTC"

// systemPrompt tells the model what it cannot know, then what the caller adds.
// The time stands here and not before each message, so that transcripts hold
// what people wrote.
func systemPrompt(now time.Time, notes []session.Note, extra string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "You are a personal assistant that runs on the user's own machine. It is %s. "+
		"When there is nothing to say, answer %s and nothing else.", now.UTC().Format(timeForm), silentReply)
	for i, n := range notes {
		if i == 0 {
			b.WriteString("\n\nSystem events since the last turn:")
		}
		fmt.Fprintf(&b, "\n- [%s] %s", time.UnixMilli(n.At).UTC().Format(timeForm), n.Text)
	}
	if extra != "" {
		b.WriteString("\n\n" + extra)
	}
	return b.String()
}

// catalogue asks the backend what it can run.
func (r *Runs) catalogue(ctx context.Context) ([]agent.Model, error) {
	ctx, cancel := context.WithTimeout(ctx, modelsTimeout)
	defer cancel()
	return r.current().Models(ctx)
}
