package session

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/store"
)

func TestNotesWaitUntilTheyAreDropped(t *testing.T) {
	s := fresh(t)
	for _, text := range []string{"one", "two", "two", "one"} {
		require.NoError(t, s.AddNote(t.Context(), text))
	}
	told, err := s.Notes()
	require.NoError(t, err)
	var texts []string
	for _, n := range told {
		require.NotZero(t, n.At)
		texts = append(texts, n.Text)
	}
	require.Equal(t, []string{"one", "two", "one"}, texts, "only the newest is not repeated")
	again, err := s.Notes()
	require.NoError(t, err)
	require.Equal(t, told, again)

	require.NoError(t, s.AddNote(t.Context(), "came later"))
	drop := func(tx *store.Tx) error { return s.DropNotesTx(tx, told) }
	require.NoError(t, s.db.Update(t.Context(), drop))
	left, err := s.Notes()
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Equal(t, "came later", left[0].Text)
	commits := s.db.Stats().Commits
	require.NoError(t, s.db.Update(t.Context(), drop), "gone already is no error")
	require.Equal(t, commits, s.db.Stats().Commits, "and costs no commit")
}

func TestNotesAreBounded(t *testing.T) {
	s := fresh(t)
	for i := range NotesMax + 5 {
		require.NoError(t, s.AddNote(t.Context(), fmt.Sprint(i)))
	}
	require.NoError(t, s.AddNote(t.Context(), "x"+strings.Repeat("é", NoteBytesMax)))
	notes, err := s.Notes()
	require.NoError(t, err)
	require.Len(t, notes, NotesMax)
	require.Equal(t, "6", notes[0].Text, "the oldest go")
	last := notes[NotesMax-1].Text
	require.Len(t, last, NoteBytesMax-1)
	require.True(t, utf8.ValidString(last))
}
