package sessions

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

// BenchmarkList answers sessions.list of all the sessions there may be: a page of
// them, a search in their names, and every one of them.
func BenchmarkList(b *testing.B) {
	db, err := store.Open(store.Options{Dir: b.TempDir()})
	require.NoError(b, err)
	defer db.Close()
	s, err := session.New(session.Config{DB: db})
	require.NoError(b, err)
	var wg sync.WaitGroup
	for w := range 100 {
		wg.Go(func() {
			for i := w; i < session.SessionsMax; i += 100 {
				if _, _, err := s.Append(b.Context(), fmt.Sprint("s", i), ran, session.Message{Role: "user", Text: "hello"}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	svc, err := New(Config{
		Sessions: s, Runs: &fakeRuns{}, Talk: &fakeTalk{}, Emitter: &told{}, Show: func(session.Message) protocol.ChatMessage { return protocol.ChatMessage{} },
		Whole: func(session.Message) protocol.ChatMessage { return protocol.ChatMessage{} },
		Model: func(string) Model { return Model{Provider: "mock", ID: "mock-1"} },
	})
	require.NoError(b, err)
	for name, p := range map[string]protocol.SessionsListParams{
		"page":   {Limit: wire.Some(int64(50))},
		"titles": {Limit: wire.Some(int64(50)), IncludeDerivedTitles: wire.Some(true), IncludeLastMessage: wire.Some(true)},
		"search": {Search: wire.Some("s99")},
		"all":    {},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_, err := svc.SessionsList(b.Context(), &wire.Peer{}, p)
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkSearch looks through as many messages as one call may.
func BenchmarkSearch(b *testing.B) {
	db, err := store.Open(store.Options{Dir: b.TempDir()})
	require.NoError(b, err)
	defer db.Close()
	s, err := session.New(session.Config{DB: db})
	require.NoError(b, err)
	messages := make([]session.Message, searchMessagesMax)
	for i := range messages {
		messages[i] = session.Message{Role: "user", Text: strings.Repeat("hay and straw ", 20)}
	}
	_, _, err = s.Append(b.Context(), "a", nil, messages...)
	require.NoError(b, err)
	svc := &Service{sessions: s}
	for b.Loop() {
		result, err := svc.SessionsSearch(b.Context(), &wire.Peer{}, protocol.SessionsSearchParams{Query: "needle"})
		require.NoError(b, err)
		require.Equal(b, int64(searchMessagesMax), result.Scanned)
	}
}
