package session

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fresh(t)
		depth := int64(1)
		old, _, err := s.Append(t.Context(), "main", func(e *Entry) {
			*e = Entry{
				SystemSent: true, AbortedLastRun: true, ThinkingLevel: "low", VerboseLevel: "on", ReasoningLevel: "on", ElevatedLevel: "ask",
				ResponseUsage: "full", SendPolicy: "deny", GroupActivation: "always", ExecHost: "node", ExecSecurity: "deny", ExecAsk: "always", ExecNode: "n",
				Label: "L", SpawnedBy: "agent:main:main", SpawnDepth: &depth, ModelProvider: "mock", Model: "mock-1",
				ProviderOverride: "zzz", ModelOverride: "unknown", ContextTokens: 32000, InputTokens: 1, OutputTokens: 2, TotalTokens: 3,
				ChatType: "direct", LastChannel: "webchat", Origin: &Origin{Provider: "webchat"}, Delivery: &Delivery{Channel: "webchat"},
			}
		}, Message{Role: "user", Text: "old"})
		require.NoError(t, err)
		time.Sleep(time.Second)

		e, err := s.Reset(t.Context(), "main")
		require.NoError(t, err)
		require.NotEqual(t, old.SessionID, e.SessionID)
		require.Equal(t, Entry{
			Key: old.Key, SessionID: e.SessionID, CreatedAt: old.CreatedAt + 1000, UpdatedAt: old.UpdatedAt + 1000,
			ThinkingLevel: "low", VerboseLevel: "on", ReasoningLevel: "on", ElevatedLevel: "ask",
			ResponseUsage: "full", SendPolicy: "deny", GroupActivation: "always", ExecHost: "node", ExecSecurity: "deny", ExecAsk: "always", ExecNode: "n",
			Label: "L", SpawnedBy: "agent:main:main", SpawnDepth: &depth, Model: "mock-1", ContextTokens: 32000,
			TotalTokensFresh: true, LastChannel: "webchat", Origin: &Origin{Provider: "webchat"},
		}, e)
		require.Empty(t, texts(t, s, "main", 10))

		_, saved := say(t, s, "main", "new")
		require.Empty(t, saved[0].ParentID, "a new transcript begins a new chain")
		list, err := s.Archives()
		require.NoError(t, err)
		require.Equal(t, []Archive{{
			ID:  old.SessionID + ".reset.2000-01-01T00-00-01.000Z",
			Key: old.Key, SessionID: old.SessionID, Reason: "reset", At: e.CreatedAt, MessageCount: 1, To: 1,
		}}, list)
		kept, err := s.ArchiveHistory(list[0].ID, 10)
		require.NoError(t, err)
		require.Equal(t, []string{"old"}, textsOf(kept))
		_, err = s.ArchiveHistory("nothing", 10)
		require.ErrorIs(t, err, ErrNotFound)
	})
}

func TestResetWithoutMessages(t *testing.T) {
	s := fresh(t)
	first, err := s.Reset(t.Context(), "new")
	require.NoError(t, err)
	second, err := s.Reset(t.Context(), "new")
	require.NoError(t, err)
	require.NotEqual(t, first.SessionID, second.SessionID)
	list, err := s.Archives()
	require.NoError(t, err)
	require.Empty(t, list, "an empty transcript is not worth keeping")
	_, ok, err := s.FindByID(first.SessionID)
	require.NoError(t, err)
	require.False(t, ok)
}

func TestDelete(t *testing.T) {
	for name, c := range map[string]struct {
		drop   bool
		reason string
		named  int
	}{
		"archives the transcript": {true, "deleted", 1},
		"leaves the transcript":   {false, "left", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := fresh(t)
			e, _ := say(t, s, "x", "old")
			deleted, archived, err := s.Delete(t.Context(), "agent:main:X", c.drop)
			require.NoError(t, err)
			require.True(t, deleted)
			require.Len(t, archived, c.named)
			_, ok, err := s.Get("x")
			require.NoError(t, err)
			require.False(t, ok)
			list, err := s.Archives()
			require.NoError(t, err)
			require.Len(t, list, 1, "retention must find the transcript either way")
			require.Equal(t, c.reason, list[0].Reason)
			require.Equal(t, e.SessionID, list[0].SessionID)
			kept, err := s.ArchiveHistory(list[0].ID, 10)
			require.NoError(t, err)
			require.Equal(t, []string{"old"}, textsOf(kept))

			deleted, archived, err = s.Delete(t.Context(), "x", c.drop)
			require.NoError(t, err)
			require.False(t, deleted)
			require.Empty(t, archived)
			again, _ := say(t, s, "x", "new")
			require.NotEqual(t, e.SessionID, again.SessionID)
			require.Equal(t, []string{"new"}, texts(t, s, "x", 10))
		})
	}
}

// messagesOf counts what the store holds under a session id.
func messagesOf(t *testing.T, s *Sessions, a Archive) int {
	t.Helper()
	list, err := s.ArchiveHistory(a.ID, 0)
	if err != nil {
		require.ErrorIs(t, err, ErrNotFound)
		return 0
	}
	return len(list)
}

func TestRetentionByNumber(t *testing.T) {
	db := openStore(t, t.TempDir())
	s, err := New(Config{DB: db, limits: limits{archives: 2}})
	require.NoError(t, err)
	for i := range 6 {
		say(t, s, "main", fmt.Sprint("a", i), fmt.Sprint("b", i))
		_, err := s.Reset(t.Context(), "main")
		require.NoError(t, err)
		list, err := s.Archives()
		require.NoError(t, err)
		require.LessOrEqual(t, len(list), 2)
	}
	list, err := s.Archives()
	require.NoError(t, err)
	kept, err := s.ArchiveHistory(list[0].ID, 10)
	require.NoError(t, err)
	require.Equal(t, []string{"a5", "b5"}, textsOf(kept), "the newest stay")
}

func TestRetentionByAgeInSmallSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fresh(t)
		long := make([]Message, 3*sweepMessages-200)
		for i := range long {
			long[i] = Message{Role: "user", Text: "x"}
		}
		_, _, err := s.Append(t.Context(), "main", nil, long...)
		require.NoError(t, err)
		_, err = s.Reset(t.Context(), "main")
		require.NoError(t, err)
		list, err := s.Archives()
		require.NoError(t, err)
		old := list[0]

		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(ArchiveAgeMax - time.Minute)
		synctest.Wait()
		require.Equal(t, len(long), messagesOf(t, s, old), "not old enough")
		say(t, s, "main", "kept")
		_, err = s.Reset(t.Context(), "main")
		require.NoError(t, err)

		before := s.db.Stats().Commits
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		require.Zero(t, messagesOf(t, s, old))
		require.GreaterOrEqual(t, s.db.Stats().Commits-before, uint64(3), "a long transcript goes in several transactions")
		list, err = s.Archives()
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Equal(t, 1, messagesOf(t, s, list[0]))
		cancel()
		require.NoError(t, <-done)
	})
}
