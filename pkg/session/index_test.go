package session

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/store"
)

// The entries in memory are those on disk after any mixture of changes, and a caller
// finds his own change in them at once.
func TestIndexFollowsTheDisk(t *testing.T) {
	s := fresh(t)
	_, total, err := s.Newest(1) // from here on the index follows
	require.NoError(t, err)
	require.Zero(t, total)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(w), 7))
			for range 60 {
				key := fmt.Sprint("s", rnd.IntN(12))
				var err error
				switch rnd.IntN(5) {
				case 0:
					_, err = s.Patch(t.Context(), key, func(e *Entry) error { e.Subject = fmt.Sprint(rnd.IntN(9)); return nil })
				case 1:
					_, _, err = s.Append(t.Context(), key, nil, Message{Role: "user", Text: "x"}, Message{Role: "user", Text: "y"})
				case 2:
					_, err = s.Reset(t.Context(), key)
				case 3:
					_, _, err = s.Delete(t.Context(), key, true)
				case 4:
					if _, _, err = s.Truncate(t.Context(), key, 1); errors.Is(err, ErrNotFound) {
						err = nil
					}
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	_, err = s.Create(t.Context(), "mine", nil)
	require.NoError(t, err)
	newest, _, err := s.Newest(1)
	require.NoError(t, err)
	require.Equal(t, "agent:main:mine", newest[0].Key)

	got, err := s.List()
	require.NoError(t, err)
	disk, err := (&Sessions{db: s.db, log: s.log}).List()
	require.NoError(t, err)
	require.Equal(t, disk, got)
}

// A change that is taken back leaves no trace in memory.
func TestIndexIgnoresWhatWasTakenBack(t *testing.T) {
	s := fresh(t)
	_, err := s.Create(t.Context(), "a", nil)
	require.NoError(t, err)
	_, _, err = s.Newest(0)
	require.NoError(t, err)
	refused := errors.New("refused")
	require.ErrorIs(t, s.db.Update(t.Context(), func(tx *store.Tx) error {
		_, _, err := s.AppendTx(tx, "b", nil, Message{Role: "user", Text: "x"})
		require.NoError(t, err)
		return refused
	}), refused)
	_, total, err := s.Newest(0)
	require.NoError(t, err)
	require.Equal(t, 1, total)
}

func TestCreateRefusesWhatExists(t *testing.T) {
	s := fresh(t)
	e, err := s.Create(t.Context(), "a", func(e *Entry) error { e.Label = "L"; return nil })
	require.NoError(t, err)
	require.Equal(t, "L", e.Label)
	_, err = s.Create(t.Context(), "A", nil)
	require.ErrorIs(t, err, ErrExists)
	_, err = s.Create(t.Context(), "b", func(e *Entry) error { e.Label = "L"; return nil })
	require.ErrorIs(t, err, ErrLabelInUse)
}

// Every commit is told, in order, with what happened.
func TestChangesAreTold(t *testing.T) {
	s := fresh(t)
	var told []Change
	s.OnChange(func(c Change) { told = append(told, c) })
	say(t, s, "a", "1", "2", "3")
	say(t, s, "a", "4")
	_, err := s.Patch(t.Context(), "a", nil)
	require.NoError(t, err)
	_, _, err = s.Truncate(t.Context(), "a", 2)
	require.NoError(t, err)
	_, err = s.Reset(t.Context(), "a")
	require.NoError(t, err)
	_, _, err = s.Delete(t.Context(), "a", true)
	require.NoError(t, err)
	_, _, err = s.Delete(t.Context(), "a", true)
	require.NoError(t, err)
	const key = "agent:main:a"
	require.Equal(t, []Change{
		{key, ChangeCreated}, {key, ChangeMessage}, {key, ChangeUpdated}, {key, ChangeCompacted}, {key, ChangeReset}, {key, ChangeDeleted},
	}, told)
}
