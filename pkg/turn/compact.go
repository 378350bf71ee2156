package turn

import (
	"context"
	"errors"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// reserveTokensMax is how much of a model's window stays free for the answer; of a
// small window it is a quarter.
const reserveTokensMax = 20_000

// summaryInstructions is what a model is told that shall summarise a conversation.
const summaryInstructions = "You condense a conversation between a user and an assistant so that the assistant can go on with it. " +
	"Write down, in at most 500 words and in the conversation's language: what the user wants, facts and decisions, names, numbers and " +
	"file paths as they stand, what was done, and what is open. If a summary so far is given, work it in. Write the summary and nothing else."

// summaryHead begins the summary that a model reads before the messages.
const summaryHead = "[Summary of the conversation so far]\n"

// budgetTokens is what a turn may take of the model's window, 0 when that is not known.
func (run *Run) budgetTokens() int64 {
	window := run.choice.ContextWindow
	if window <= 0 {
		return 0
	}
	return window - min(reserveTokensMax, window/4)
}

// converse puts a turn to the backend. A conversation that does not fit the model's window
// is compacted first; so is, once, one that the backend finds too long before it has
// said a word. What is too long even then goes without its oldest messages.
func (run *Run) converse(turn agent.Turn, emit func(agent.Event)) (agent.Result, error) {
	budget := run.budgetTokens()
	if budget > 0 && tokens(turn) > budget {
		run.compact(&turn, budget, false, emit)
		turn.Messages = fitTokens(turn, budget)
	}
	said := false
	res, err := run.backend.Run(run.ctx, turn, func(e agent.Event) {
		said = true
		emit(e)
	})
	if said || !errors.Is(err, agent.ErrContextOverflow) || run.ctx.Err() != nil {
		return res, err
	}
	if !run.compact(&turn, min(budget, tokens(turn)*2/3), true, emit) {
		return res, err
	}
	return run.backend.Run(run.ctx, turn, emit)
}

// compact has the older part of the conversation summarised and takes the turn's
// messages anew. It reports whether that has made a difference; a failure is logged,
// for the turn may do without.
func (run *Run) compact(turn *agent.Turn, budget int64, retry bool, emit func(agent.Event)) bool {
	emit(agent.Event{Compaction: &agent.CompactionEvent{Phase: "start"}})
	pending := run.pending()
	done, err := session.Compact(run.ctx, session.Compaction{
		Transcript: run.runs.sessions, Key: run.req.SessionKey, BudgetTokens: budget,
		Waits: func(m session.Message) bool { return m.Role == "user" && (m.RunID == run.ID() || pending[m.RunID]) },
		Summarise: func(ctx context.Context, text string) (session.Message, error) {
			return run.summarise(ctx, *turn, text)
		},
	})
	if err == nil && done {
		turn.Messages, err = run.messages()
	}
	if err != nil && run.ctx.Err() == nil {
		run.runs.log.Warn("conversation not compacted", "runId", run.ID(), "sessionKey", run.req.SessionKey, "err", err)
	}
	ok := done && err == nil
	emit(agent.Event{Compaction: &agent.CompactionEvent{Phase: "end", WillRetry: retry && ok}})
	return ok
}

// summarise asks the turn's model for a summary.
func (run *Run) summarise(ctx context.Context, turn agent.Turn, text string) (session.Message, error) {
	turn.System, turn.Thinking = summaryInstructions, ""
	turn.Messages = []agent.Message{{Role: "user", Text: text}}
	res, err := run.backend.Run(ctx, turn, func(agent.Event) {})
	return session.Message{Text: res.Text, Provider: res.Provider, Model: res.Model, Usage: messageUsage(res.Usage)}, err
}

// withSummary puts a summary before the first of the messages, inside of it: a
// message of its own would break the alternation that some models insist on.
func withSummary(summary string, messages []agent.Message) []agent.Message {
	if summary == "" {
		return messages
	}
	if len(messages) == 0 || messages[0].Role != "user" {
		return append([]agent.Message{{Role: "user", Text: summaryHead + summary}}, messages...)
	}
	messages[0].Text = summaryHead + summary + "\n\n" + messages[0].Text
	return messages
}

// tokens estimates what a turn takes of the model's window.
func tokens(turn agent.Turn) int64 {
	total := session.EstimateTokens(turn.System, 0)
	for _, m := range turn.Messages {
		total += session.EstimateTokens(m.Text, len(m.Images))
	}
	return total
}

// fitTokens drops the oldest messages until the turn is within the budget. The last
// one, which is the question, always stays.
func fitTokens(turn agent.Turn, budget int64) []agent.Message {
	for total := tokens(turn); total > budget && len(turn.Messages) > 1; turn.Messages = turn.Messages[1:] {
		total -= session.EstimateTokens(turn.Messages[0].Text, len(turn.Messages[0].Images))
	}
	return turn.Messages
}

// emitCompaction tells that the conversation is being compacted, or was.
func (run *Run) emitCompaction(e *agent.CompactionEvent) {
	data := protocol.AgentCompactionData{Phase: protocol.AgentCompactionPhase(e.Phase)}
	if data.Phase == protocol.AgentCompactionPhaseEnd {
		data.WillRetry = wire.Some(e.WillRetry)
	}
	run.emitAgent(protocol.AgentStreamCompaction, time.Now().UnixMilli(), data, nil)
}
