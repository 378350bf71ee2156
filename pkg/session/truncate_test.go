package session

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTruncateKeepsTheNewestAndArchivesTheWhole(t *testing.T) {
	s := fresh(t)
	say(t, s, "a", "1", "2", "3", "4", "5")
	_, err := s.Patch(t.Context(), "a", func(e *Entry) error { e.InputTokens, e.TotalTokens, e.TotalTokensFresh = 9, 9, true; return nil })
	require.NoError(t, err)

	e, archived, err := s.Truncate(t.Context(), "a", 5)
	require.NoError(t, err)
	require.Empty(t, archived, "nothing to take")
	require.Equal(t, int64(9), e.TotalTokens)

	e, archived, err = s.Truncate(t.Context(), "a", 2)
	require.NoError(t, err)
	require.Regexp(t, `^`+e.SessionID+`\.bak\.\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z$`, archived)
	require.Equal(t, int64(2), e.MessageCount)
	require.Zero(t, e.TotalTokens)
	require.False(t, e.TotalTokensFresh)

	require.Equal(t, []string{"4", "5"}, texts(t, s, "a", 0))
	require.Equal(t, []string{"5"}, texts(t, s, "a", 1))
	head, err := s.Head("a", 1)
	require.NoError(t, err)
	require.Equal(t, []string{"4"}, textsOf(head))
	_, saved := say(t, s, "a", "6")
	require.Equal(t, uint64(6), saved[0].Seq)
	require.Equal(t, []string{"4", "5", "6"}, texts(t, s, "a", 0))

	whole, err := s.ArchiveHistory(archived, 0)
	require.NoError(t, err)
	require.Equal(t, []string{"1", "2", "3", "4", "5"}, textsOf(whole), "as it was, without what came later")

	_, _, err = s.Truncate(t.Context(), "nobody", 2)
	require.ErrorIs(t, err, ErrNotFound)
}

// Retention of the archive takes what only the archive has, and a later reset files
// what the session had.
func TestTruncatedTranscriptSurvivesRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fresh(t)
		say(t, s, "a", "1", "2", "3")
		_, _, err := s.Truncate(t.Context(), "a", 1)
		require.NoError(t, err)
		time.Sleep(ArchiveAgeMax + time.Hour)
		say(t, s, "a", "4")
		_, err = s.Create(t.Context(), "b", nil)
		require.NoError(t, err)
		for range 3 { // retention also goes with resets
			_, err = s.Reset(t.Context(), "b")
			require.NoError(t, err)
		}
		list, err := s.Archives()
		require.NoError(t, err)
		require.Empty(t, list)
		require.Equal(t, []string{"3", "4"}, texts(t, s, "a", 0))

		_, err = s.Reset(t.Context(), "a")
		require.NoError(t, err)
		list, err = s.Archives()
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Equal(t, 2, messagesOf(t, s, list[0]))
		kept, err := s.ArchiveHistory(list[0].ID, 0)
		require.NoError(t, err)
		require.Equal(t, []string{"3", "4"}, textsOf(kept))
	})
}

// The bound on the length of a transcript counts what the session has, and leaves
// the archive alone.
func TestTruncatedTranscriptIsBounded(t *testing.T) {
	s, err := New(Config{DB: openStore(t, t.TempDir()), limits: limits{messages: 3}})
	require.NoError(t, err)
	say(t, s, "a", "1", "2", "3")
	_, archived, err := s.Truncate(t.Context(), "a", 1)
	require.NoError(t, err)
	say(t, s, "a", "4", "5", "6")
	require.Equal(t, []string{"4", "5", "6"}, texts(t, s, "a", 0))
	kept, err := s.ArchiveHistory(archived, 0)
	require.NoError(t, err)
	require.Equal(t, []string{"1", "2"}, textsOf(kept))
}
