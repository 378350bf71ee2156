package session

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestNotesWaitForOneTaker(t *testing.T) {
	s := fresh(t)
	taken, err := s.TakeNotes(t.Context())
	require.NoError(t, err)
	require.Empty(t, taken)
	require.Zero(t, s.db.Stats().Commits, "asking for nothing costs no commit")

	for _, text := range []string{"one", "two", "two", "one"} {
		require.NoError(t, s.AddNote(t.Context(), text))
	}
	waiting, err := s.Notes()
	require.NoError(t, err)
	taken, err = s.TakeNotes(t.Context())
	require.NoError(t, err)
	require.Equal(t, waiting, taken)
	var texts []string
	for _, n := range taken {
		require.NotZero(t, n.At)
		texts = append(texts, n.Text)
	}
	require.Equal(t, []string{"one", "two", "one"}, texts, "only the newest is not repeated")
	taken, err = s.TakeNotes(t.Context())
	require.NoError(t, err)
	require.Empty(t, taken)
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
