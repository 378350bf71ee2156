package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/coderclaw/gateway/pkg/store"
)

const (
	// CompactionMessagesMax is how many of the newest messages a compaction looks at.
	CompactionMessagesMax = 2000

	// bytesPerToken is the usual estimate; imageTokens is what an image counts for.
	bytesPerToken = 4
	imageTokens   = 1200
	// messageTokens is what every message costs beside its words.
	messageTokens = 4
	// summaryCharsMax bounds a summary, whatever the model says.
	summaryCharsMax = 16_000
	// quoteCharsMax bounds a message as it is shown to be summarised.
	quoteCharsMax = 8000
	// summaryStepsMax bounds how often a model is asked for one compaction.
	summaryStepsMax = 16
)

// EstimateTokens estimates what a text and its images take of a model's window.
func EstimateTokens(text string, images int) int64 {
	return int64(messageTokens + (len(text)+bytesPerToken-1)/bytesPerToken + images*imageTokens)
}

func (m *Message) tokens() int64 { return EstimateTokens(m.Text, len(m.Images)) }

// Visible is a transcript as a model is to be given it: the newest summary in it,
// which is empty when there is none, and the messages that the summary does not stand
// for. history begins with the oldest.
func Visible(history []Message) (summary string, messages []Message) {
	from := 0
	for _, m := range slices.Backward(history) {
		if m.Type != TypeCompaction {
			continue
		}
		summary = m.Text
		// A first message that is not there is older than what was read.
		from = max(0, slices.IndexFunc(history, func(o Message) bool { return o.ID == m.FirstKeptID }))
		break
	}
	for _, m := range history[from:] {
		if m.Type == "" {
			messages = append(messages, m)
		}
	}
	return summary, messages
}

// Transcript is what Compact needs of the session store. *Sessions is one.
type Transcript interface {
	History(key string, limit int) ([]Message, error)
	AppendCompaction(ctx context.Context, key string, kept Message, m Message) error
}

// Compaction says what to compact, and how.
type Compaction struct {
	Transcript Transcript
	Key        string
	// BudgetTokens is what the conversation may take of the model's window; 0 is not
	// known, and then half of what it takes now. About half of the budget is kept as
	// it is.
	BudgetTokens int64
	// Waits reports whether a message belongs to a run that has not been answered: it
	// and what follows it stay.
	Waits func(Message) bool
	// Summarise asks the model for a summary of a text: an earlier summary, if there
	// is one, and messages. Its answer's Text is the summary; Provider, Model and Usage
	// are accounted for.
	Summarise func(ctx context.Context, text string) (Message, error)
}

// Compact has the older part of a conversation summarised and stores the summary as
// an entry of the transcript, from which on Visible gives it to models in place of
// that part. Nothing is taken out of the transcript: clients, search and archives have
// every message as before. It reports whether there was an older part; when the model
// fails, nothing is stored.
func Compact(ctx context.Context, c Compaction) (bool, error) {
	history, err := c.Transcript.History(c.Key, CompactionMessagesMax)
	if err != nil {
		return false, fmt.Errorf("the conversation could not be read: %w", err)
	}
	summary, messages := Visible(history)
	before := EstimateTokens(summary, 0)
	for i := range messages {
		before += messages[i].tokens()
	}
	budget := c.BudgetTokens
	if budget <= 0 {
		budget = before / 2
	}
	cut := c.cut(messages, budget/2)
	if cut == 0 {
		return false, nil
	}
	out := Message{Role: "system", Type: TypeCompaction, FirstKeptID: messages[cut].ID, TokensBefore: before}
	var used Usage
	for _, text := range steps(summary, messages[:cut], budget/2) {
		if out.Text != "" {
			text = quoteSummary(out.Text) + text
		}
		answer, err := c.Summarise(ctx, text)
		if err != nil {
			return false, fmt.Errorf("the conversation could not be summarised: %w", err)
		}
		if out.Text = clipRunes(strings.TrimSpace(answer.Text), summaryCharsMax); out.Text == "" {
			return false, errors.New("the conversation could not be summarised: the model said nothing")
		}
		out.Provider, out.Model = answer.Provider, answer.Model
		if answer.Usage != nil {
			used.Add(*answer.Usage)
			out.Usage = &used
		}
	}
	return true, c.Transcript.AppendCompaction(ctx, c.Key, messages[cut], out)
}

// cut returns how many of the oldest messages are to be summarised. What is kept takes
// at most keepTokens, begins with a question, has the question of every answer in it,
// and has everything from the first message on that waits.
func (c *Compaction) cut(messages []Message, keepTokens int64) int {
	limit := len(messages) - 1 // one message stays at least
	if c.Waits != nil {
		if i := slices.IndexFunc(messages, c.Waits); i >= 0 {
			limit = min(limit, i)
		}
	}
	from, kept := len(messages), int64(0)
	for from > 0 && kept+messages[from-1].tokens() <= keepTokens {
		from--
		kept += messages[from].tokens()
	}
	whole := func(i int) bool {
		return messages[i].Role == "user" && !slices.ContainsFunc(messages[:i], func(q Message) bool {
			return q.RunID != "" && q.Role == "user" &&
				slices.ContainsFunc(messages[i:], func(a Message) bool { return a.RunID == q.RunID && a.Role == "assistant" })
		})
	}
	for i := min(from, limit); i <= limit; i++ {
		if i > 0 && whole(i) {
			return i
		}
	}
	for i := min(from, limit) - 1; i > 0; i-- {
		if whole(i) {
			return i
		}
	}
	return 0
}

// steps cuts what is to be summarised into texts of at most stepTokens, the oldest
// first. Of what would need more than summaryStepsMax the oldest is left out.
func steps(summary string, messages []Message, stepTokens int64) []string {
	var texts []string
	var b strings.Builder
	for i := range messages {
		quoted := quote(&messages[i])
		if quoted == "" {
			continue
		}
		if b.Len() > 0 && EstimateTokens(b.String()+quoted, 0) > stepTokens {
			texts = append(texts, b.String())
			b.Reset()
		}
		b.WriteString(quoted)
	}
	if b.Len() > 0 || len(texts) == 0 {
		texts = append(texts, b.String())
	}
	if over := len(texts) - summaryStepsMax; over > 0 {
		texts = texts[over:]
		texts[0] = "(Earlier messages are left out.)\n\n" + texts[0]
	}
	if summary != "" {
		texts[0] = quoteSummary(summary) + texts[0]
	}
	return texts
}

func quoteSummary(summary string) string { return "Summary so far:\n" + summary + "\n\n" }

// quote is a message as it is shown to be summarised.
func quote(m *Message) string {
	text := clipRunes(strings.TrimSpace(m.Text), quoteCharsMax)
	if n := len(m.Images); n > 0 {
		text = strings.TrimSpace(fmt.Sprintf("%s\n[%d images]", text, n))
	}
	if text == "" {
		return ""
	}
	return m.Role + ": " + text + "\n\n"
}

// clipRunes cuts a text to so many characters.
func clipRunes(text string, most int) string {
	if len(text) <= most || utf8.RuneCountInString(text) <= most {
		return text
	}
	n := 0
	for i := range text {
		if n == most {
			return text[:i] + "…"
		}
		n++
	}
	return text
}

// AppendCompaction stores a summary in the transcript that kept is in. When the
// session has another transcript by now, the summary is of no use and is dropped.
func (s *Sessions) AppendCompaction(ctx context.Context, key string, kept Message, m Message) error {
	k, err := s.Canonical(key)
	if err != nil {
		return err
	}
	return s.db.Update(ctx, func(tx *store.Tx) error {
		rec, ok, err := entries.Get(tx, k.Full)
		if err != nil || !ok || messageID(rec.SessionID, kept.Seq) != kept.ID {
			return err
		}
		_, _, err = s.AppendTx(tx, key, nil, m)
		return err
	})
}
