package session

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/store"
)

// A machine whose clock was wrong, ahead or behind, loses and reorders nothing when it
// is put right: messages are in the order they came, a session's last change never goes
// back, and retention takes nothing before its time.
func TestAClockThatWasWrong(t *testing.T) {
	ctx := context.Background() // one that no bubble owns
	for name, c := range map[string]struct{ before, after time.Duration }{
		"an hour ahead":  {time.Hour, 0},
		"an hour behind": {0, time.Hour},
		"a year ahead":   {366 * 24 * time.Hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			// A bubble's clock always begins at the same moment.
			in := func(wait time.Duration, fn func(*Sessions)) {
				synctest.Test(t, func(t *testing.T) {
					time.Sleep(wait)
					db, err := store.Open(store.Options{Dir: dir})
					require.NoError(t, err)
					defer db.Close()
					s, err := New(Config{DB: db})
					require.NoError(t, err)
					fn(s)
				})
			}
			say := func(s *Sessions, key, text string) Entry {
				e, _, err := s.Append(ctx, key, nil, Message{Role: "user", Text: text})
				require.NoError(t, err)
				return e
			}
			var stamped Entry
			in(c.before, func(s *Sessions) {
				say(s, "gone", "archived")
				_, err := s.Reset(ctx, "gone")
				require.NoError(t, err)
				say(s, "other", "older")
				stamped = say(s, "main", "one")
			})
			in(c.after, func(s *Sessions) {
				require.GreaterOrEqual(t, say(s, "main", "two").UpdatedAt, stamped.UpdatedAt)
				say(s, "fresh", "new")
				list, err := s.History("main", 0)
				require.NoError(t, err)
				require.Len(t, list, 2)
				require.Equal(t, []string{"one", "two"}, []string{list[0].Text, list[1].Text})
				newest, total, err := s.Newest(10)
				require.NoError(t, err)
				require.Equal(t, 4, total)
				for i := 1; i < len(newest); i++ {
					require.GreaterOrEqual(t, newest[i-1].UpdatedAt, newest[i].UpdatedAt)
				}
				_, err = s.Reset(ctx, "main") // and a round of retention
				require.NoError(t, err)
				archives, err := s.Archives()
				require.NoError(t, err)
				require.Len(t, archives, 2)
				for _, a := range archives {
					kept, err := s.ArchiveHistory(a.ID, 0)
					require.NoError(t, err)
					require.Len(t, kept, int(a.MessageCount))
				}
				say(s, "main", "three")
			})
		})
	}
}
