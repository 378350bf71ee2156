package sessions

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// pages lists a session page by page and returns the texts, and how many pages it took.
func (r *room) pages(t *testing.T, p protocol.SessionsMessagesListParams) (texts []string, n int) {
	t.Helper()
	for {
		page, err := r.SessionsMessagesList(t.Context(), nil, p)
		require.NoError(t, err)
		n++
		for _, m := range page.Messages {
			texts = append(texts, m.Message.Content[0].Text.V)
		}
		after, more := page.AfterSeq.Get()
		if !more {
			return texts, n
		}
		p.AfterSeq, p.SessionID = wire.Some(after), page.SessionID
	}
}

func TestATranscriptIsListedPageByPage(t *testing.T) {
	r := newRoom(t)
	var want []string
	for i := range 7 {
		r.say(t, "x", fmt.Sprint(i))
		want = append(want, fmt.Sprint(i))
	}
	texts, n := r.pages(t, protocol.SessionsMessagesListParams{Key: "X", Limit: wire.Some[int64](3)})
	require.Equal(t, want, texts)
	require.Equal(t, 3, n)
	texts, n = r.pages(t, protocol.SessionsMessagesListParams{Key: "x", Full: wire.Some(true)})
	require.Equal(t, "whole 0", texts[0])
	require.Equal(t, 1, n)
	texts, _ = r.pages(t, protocol.SessionsMessagesListParams{Key: "x", AfterSeq: wire.Some[int64](5)})
	require.Equal(t, want[5:], texts)
	texts, _ = r.pages(t, protocol.SessionsMessagesListParams{Key: "x", AfterSeq: wire.Some[int64](50)})
	require.Empty(t, texts)
	none, err := r.SessionsMessagesList(t.Context(), nil, protocol.SessionsMessagesListParams{Key: "nobody"})
	require.NoError(t, err)
	require.Equal(t, protocol.SessionsMessagesListResult{Key: "agent:main:nobody", Messages: []protocol.SessionsMessageItem{}}, none)
	_, err = r.SessionsMessagesList(t.Context(), nil, protocol.SessionsMessagesListParams{Key: "agent:"})
	require.Error(t, err)
}

func TestAPageOfLargeMessagesEndsAndGoesOn(t *testing.T) {
	r := newRoom(t)
	r.pageBytes = 1000
	for i := range 3 {
		r.say(t, "x", fmt.Sprint(i)+strings.Repeat("x", 990))
	}
	texts, n := r.pages(t, protocol.SessionsMessagesListParams{Key: "x"})
	require.Len(t, texts, 3)
	require.Equal(t, 3, n)
}

// Who pages while the session is reset gets the new transcript from its beginning, and
// nothing of it is skipped; what an agent kept silent about is no message.
func TestPagingOverAResetBeginsAnew(t *testing.T) {
	r := newRoom(t)
	r.say(t, "x", "1", "2", "3")
	page, err := r.SessionsMessagesList(t.Context(), nil, protocol.SessionsMessagesListParams{Key: "x", Limit: wire.Some[int64](2)})
	require.NoError(t, err)
	_, err = r.sessions.Reset(t.Context(), "x")
	require.NoError(t, err)
	r.say(t, "x", "new 1")
	_, _, err = r.sessions.Append(t.Context(), "x", nil, session.Message{Role: "assistant", Text: "NO_REPLY"})
	require.NoError(t, err)
	texts, _ := r.pages(t, protocol.SessionsMessagesListParams{Key: "x", AfterSeq: page.AfterSeq, SessionID: page.SessionID})
	require.Equal(t, []string{"new 1"}, texts)
}
