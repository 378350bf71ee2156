package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// dialogue stores n questions with their answers, of some 100 tokens each.
func dialogue(t *testing.T, s *Sessions, key string, n int) {
	t.Helper()
	for i := range n {
		run := newSessionID()
		_, _, err := s.Append(t.Context(), key, nil,
			Message{Role: "user", RunID: run, Text: fmt.Sprint("q", i, strings.Repeat(" word", 79))},
			Message{Role: "assistant", RunID: run, Text: fmt.Sprint("a", i, strings.Repeat(" word", 79))})
		require.NoError(t, err)
	}
}

// summaries is a model that notes what it is asked and numbers its answers.
type summaries struct {
	asked []string
	err   error
}

func (m *summaries) summarise(_ context.Context, text string) (Message, error) {
	m.asked = append(m.asked, text)
	return Message{Text: fmt.Sprint("summary ", len(m.asked)), Provider: "p", Model: "m", Usage: &Usage{Input: 2, Output: 1, Total: 3}}, m.err
}

func compact(t *testing.T, s *Sessions, m *summaries, budget int64, waits func(Message) bool) bool {
	t.Helper()
	done, err := Compact(t.Context(), Compaction{Transcript: s, Key: "a", BudgetTokens: budget, Waits: waits, Summarise: m.summarise})
	require.NoError(t, err)
	return done
}

// visible is what a model is given: the summary, and the first word of each message.
func visible(t *testing.T, s *Sessions) (string, []string) {
	t.Helper()
	history, err := s.History("a", 0)
	require.NoError(t, err)
	summary, messages := Visible(history)
	var words []string
	for _, m := range messages {
		words = append(words, strings.Fields(m.Text)[0])
	}
	return summary, words
}

func TestCompactSummarisesTheOlderPartAndLosesNothing(t *testing.T) {
	s, m := fresh(t), &summaries{}
	dialogue(t, s, "a", 10)
	require.True(t, compact(t, s, m, 1000, nil))
	summary, words := visible(t, s)
	require.Equal(t, "summary 4", summary)
	require.Equal(t, []string{"q8", "a8", "q9", "a9"}, words, "half of the budget, from a question on")
	require.Len(t, m.asked, 4)
	require.Contains(t, m.asked[0], "user: q0 word")
	require.NotContains(t, m.asked[0], "Summary so far")
	require.Contains(t, m.asked[3], "Summary so far:\nsummary 3\n\n")
	require.Contains(t, m.asked[3], "assistant: a7")

	history, err := s.History("a", 0)
	require.NoError(t, err)
	require.Len(t, history, 21, "twenty messages and the summary")
	last := history[20]
	require.Equal(t, TypeCompaction, last.Type)
	require.Equal(t, history[16].ID, last.FirstKeptID)
	require.InDelta(t, 20*105, last.TokensBefore, 50)
	require.Equal(t, Usage{Input: 8, Output: 4, Total: 12}, *last.Usage, "what it took is accounted for")

	// The next one goes on from the last.
	dialogue(t, s, "a", 3)
	require.True(t, compact(t, s, m, 1000, nil))
	require.Contains(t, m.asked[4], "Summary so far:\nsummary 4\n\nuser: q8")
	_, words = visible(t, s)
	require.Equal(t, []string{"q1", "a1", "q2", "a2"}, words)
}

func TestCompactKeepsWhatWaits(t *testing.T) {
	s, m := fresh(t), &summaries{}
	dialogue(t, s, "a", 3)
	_, _, err := s.Append(t.Context(), "a", nil, Message{Role: "user", RunID: "mine", Text: "mine"})
	require.NoError(t, err)
	dialogue(t, s, "a", 6)
	require.True(t, compact(t, s, m, 600, func(m Message) bool { return m.RunID == "mine" }))
	_, words := visible(t, s)
	require.Equal(t, "mine", words[0])
	require.Len(t, words, 13)

	require.False(t, compact(t, s, m, 600, func(m Message) bool { return m.RunID == "mine" }), "nothing is older")
}

// A question that was answered late, behind others, goes with its answer.
func TestCompactKeepsPairsTogether(t *testing.T) {
	s, m := fresh(t), &summaries{}
	for _, line := range []string{"user r0", "user r1", "user r2", "assistant r0", "assistant r1", "assistant r2", "user r3", "assistant r3"} {
		role, run, _ := strings.Cut(line, " ")
		_, _, err := s.Append(t.Context(), "a", nil, Message{Role: role, RunID: run, Text: line + strings.Repeat(" word", 79)})
		require.NoError(t, err)
	}
	require.True(t, compact(t, s, m, 1000, nil))
	history, err := s.History("a", 0)
	require.NoError(t, err)
	_, messages := Visible(history)
	require.Equal(t, "r3", messages[0].RunID)
}

func TestCompactWithoutBudgetHalves(t *testing.T) {
	s, m := fresh(t), &summaries{}
	dialogue(t, s, "a", 10)
	require.True(t, compact(t, s, m, 0, nil))
	_, words := visible(t, s)
	require.Less(t, len(words), 10)
	require.NotEmpty(t, words)
}

func TestCompactStoresNothingWhenTheModelFails(t *testing.T) {
	s, m := fresh(t), &summaries{err: errors.New("no model")}
	dialogue(t, s, "a", 10)
	_, err := Compact(t.Context(), Compaction{Transcript: s, Key: "a", BudgetTokens: 1000, Summarise: m.summarise})
	require.ErrorContains(t, err, "could not be summarised: no model")
	_, err = Compact(t.Context(), Compaction{Transcript: s, Key: "a", BudgetTokens: 1000, Summarise: func(context.Context, string) (Message, error) {
		return Message{Text: " \n"}, nil
	}})
	require.ErrorContains(t, err, "the model said nothing")
	_, words := visible(t, s)
	require.Len(t, words, 20)
}

// A reset while the model summarises makes the summary worthless.
func TestCompactDoesNotReachTheNextTranscript(t *testing.T) {
	s := fresh(t)
	dialogue(t, s, "a", 10)
	_, err := Compact(t.Context(), Compaction{Transcript: s, Key: "a", BudgetTokens: 1000, Summarise: func(context.Context, string) (Message, error) {
		_, err := s.Reset(t.Context(), "a")
		return Message{Text: "old"}, err
	}})
	require.NoError(t, err)
	history, err := s.History("a", 0)
	require.NoError(t, err)
	require.Empty(t, history)
}

func TestStepsAreBounded(t *testing.T) {
	var messages []Message
	for i := range 100 {
		messages = append(messages, Message{Role: "user", Text: fmt.Sprint("m", i, strings.Repeat(" word", 100))})
	}
	texts := steps("before", messages, 150)
	require.Len(t, texts, summaryStepsMax)
	require.True(t, strings.HasPrefix(texts[0], "Summary so far:\nbefore\n\n(Earlier messages are left out.)\n\nuser: m84"), texts[0])
	long := quote(&Message{Role: "user", Text: strings.Repeat("é", 3*quoteCharsMax), Images: make([]Image, 2)})
	require.Less(t, len(long), 2*quoteCharsMax+100)
	require.Contains(t, long, "[2 images]")
}
