package session

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAfterReadsOnFromAPlace(t *testing.T) {
	s := fresh(t)
	read := func(p Position, limit int) ([]string, Position) {
		list, next, err := s.After("a", p, limit)
		require.NoError(t, err)
		return textsOf(list), next
	}
	none, p := read(Position{}, 10)
	require.Empty(t, none)
	require.Equal(t, Position{}, p)

	say(t, s, "a", "1", "2", "3")
	got, p := read(p, 2)
	require.Equal(t, []string{"1", "2"}, got)
	got, p = read(p, 2)
	require.Equal(t, []string{"3"}, got)
	end, err := s.End("a")
	require.NoError(t, err)
	require.Equal(t, end, p)

	_, _, err = s.Truncate(t.Context(), "a", 1)
	require.NoError(t, err)
	got, _ = read(Position{SessionID: p.SessionID}, 10)
	require.Equal(t, []string{"3"}, got, "what was taken out is not told")

	_, err = s.Reset(t.Context(), "a")
	require.NoError(t, err)
	say(t, s, "a", "4")
	got, p = read(p, 10)
	require.Equal(t, []string{"4"}, got, "a new transcript begins at its beginning")
	require.Equal(t, uint64(1), p.Seq)
}

func TestBackward(t *testing.T) {
	s := fresh(t)
	e, _ := say(t, s, "a", "1", "2", "3", "4")
	_, _, err := s.Truncate(t.Context(), "a", 3)
	require.NoError(t, err)
	walk := func(key string, before uint64, most int) (string, []string) {
		var got []string
		id, err := s.Backward(key, before, func(m Message) bool { got = append(got, m.Text); return len(got) < most })
		require.NoError(t, err)
		return id, got
	}
	id, got := walk("a", 0, 9)
	require.Equal(t, e.SessionID, id)
	require.Equal(t, []string{"4", "3", "2"}, got)
	_, got = walk("a", 4, 1)
	require.Equal(t, []string{"3"}, got)
	id, got = walk("nobody", 0, 9)
	require.Empty(t, id)
	require.Empty(t, got)
}
