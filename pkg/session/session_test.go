package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/store"
)

// openStore opens a store that is closed when the test ends.
func openStore(t testing.TB, dir string) *store.DB {
	t.Helper()
	db, err := store.Open(store.Options{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// fresh returns the sessions of a new store.
func fresh(t testing.TB) *Sessions {
	t.Helper()
	s, err := New(Config{DB: openStore(t, t.TempDir())})
	require.NoError(t, err)
	return s
}

// say appends texts of a user and returns the stored messages.
func say(t testing.TB, s *Sessions, key string, texts ...string) (Entry, []Message) {
	t.Helper()
	var msgs []Message
	for _, text := range texts {
		msgs = append(msgs, Message{Role: "user", Text: text})
	}
	e, saved, err := s.Append(t.Context(), key, nil, msgs...)
	require.NoError(t, err)
	return e, saved
}

// texts returns what History says of key.
func texts(t testing.TB, s *Sessions, key string, limit int) []string {
	t.Helper()
	list, err := s.History(key, limit)
	require.NoError(t, err)
	return textsOf(list)
}

func textsOf(list []Message) []string {
	out := []string{}
	for _, m := range list {
		out = append(out, m.Text)
	}
	return out
}

func TestAppendMakesTheSession(t *testing.T) {
	s := fresh(t)
	_, ok, err := s.Get("main")
	require.NoError(t, err)
	require.False(t, ok)

	before := time.Now().UnixMilli()
	e, saved := say(t, s, "Main", "hello", "world")
	require.Equal(t, "agent:main:main", e.Key)
	require.Regexp(t, regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`), e.SessionID)
	require.Equal(t, int64(2), e.MessageCount)
	require.GreaterOrEqual(t, e.CreatedAt, before)
	require.GreaterOrEqual(t, e.UpdatedAt, e.CreatedAt)

	require.Len(t, saved, 2)
	require.Regexp(t, `^[0-9a-f]{8}$`, saved[0].ID)
	require.Empty(t, saved[0].ParentID)
	require.Equal(t, saved[0].ID, saved[1].ParentID, "entries are chained")
	require.GreaterOrEqual(t, saved[1].Timestamp, before)

	again, ok, err := s.Get("agent:main:main")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, e, again)
}

func TestAppendChangesTheEntryInTheSameStep(t *testing.T) {
	s := fresh(t)
	e, _, err := s.Append(t.Context(), "main", func(e *Entry) {
		e.SystemSent, e.Model, e.InputTokens = true, "mock-1", 10
		e.Key, e.SessionID, e.CreatedAt, e.MessageCount, e.UpdatedAt = "x", "y", 1, 99, 1
	}, Message{Role: "assistant", Text: "a", Timestamp: 5, Usage: &Usage{Input: 10}})
	require.NoError(t, err)
	require.True(t, e.SystemSent)
	require.Equal(t, "mock-1", e.Model)
	require.Equal(t, "agent:main:main", e.Key, "not the caller's to change")
	require.Equal(t, int64(1), e.MessageCount)
	require.NotEqual(t, "y", e.SessionID)
	require.Greater(t, e.CreatedAt, int64(1))
	require.GreaterOrEqual(t, e.UpdatedAt, e.CreatedAt)
	list, err := s.History("main", 0)
	require.NoError(t, err)
	require.Equal(t, int64(5), list[0].Timestamp, "a given time is kept")
	require.Equal(t, &Usage{Input: 10}, list[0].Usage)
}

func TestEverythingSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	db, err := store.Open(store.Options{Dir: dir})
	require.NoError(t, err)
	s, err := New(Config{DB: db})
	require.NoError(t, err)
	depth := int64(2)
	full := Message{
		Role: "assistant", Text: "héllo <b>&\u2028", Images: []Image{{MimeType: "image/png", Data: []byte{0, 1, 255}}}, Timestamp: 7,
		API: "api", Provider: "p", Model: "m", StopReason: "stop", ErrorMessage: "e", Usage: &Usage{Input: 1, Output: 2, CacheRead: 3, CacheWrite: 4, Total: 5},
		RunID: "r", IdempotencyKey: "k", Aborted: true, AbortOrigin: "rpc", Injected: true,
	}
	e, saved, err := s.Append(t.Context(), "main", func(e *Entry) {
		e.Label, e.SpawnDepth, e.ThinkingLevel = "My label", &depth, "low"
		e.Origin, e.Delivery = &Origin{Provider: "webchat"}, &Delivery{Channel: "webchat"}
	}, full)
	require.NoError(t, err)
	say(t, s, "other", "x")
	reset, err := s.Reset(t.Context(), "other")
	require.NoError(t, err)
	require.NoError(t, db.Close())

	s, err = New(Config{DB: openStore(t, dir)})
	require.NoError(t, err)
	got, ok, err := s.Get("main")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, e, got)
	list, err := s.History("main", 10)
	require.NoError(t, err)
	require.Equal(t, saved, list)
	full.ID, full.Seq = saved[0].ID, 1
	require.Equal(t, full, list[0])
	byID, ok, err := s.FindByID(reset.SessionID)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, reset, byID)
	archived, err := s.Archives()
	require.NoError(t, err)
	require.Len(t, archived, 1)
	more, chained := say(t, s, "main", "next")
	require.Equal(t, int64(2), more.MessageCount)
	require.Equal(t, saved[0].ID, chained[0].ParentID, "the chain goes on after a restart")
}

func TestHistoryReadsTheTail(t *testing.T) {
	s := fresh(t)
	var all []Message
	for i := range 1000 {
		all = append(all, Message{Role: "user", Text: fmt.Sprint(i)})
	}
	_, saved, err := s.Append(t.Context(), "main", nil, all...)
	require.NoError(t, err)
	say(t, s, "other", "not mine")
	ids := map[string]bool{}
	for i, m := range saved {
		ids[m.ID] = true
		if i > 0 {
			require.Equal(t, saved[i-1].ID, m.ParentID)
		}
	}
	require.Len(t, ids, 1000, "ids are unique in a transcript")

	require.Equal(t, []string{"997", "998", "999"}, texts(t, s, "main", 3))
	require.Len(t, texts(t, s, "main", 0), 1000)
	require.Len(t, texts(t, s, "main", 5000), 1000)
	require.Equal(t, []string{"not mine"}, texts(t, s, "other", 10))
	require.Empty(t, texts(t, s, "nobody", 10))
	head, err := s.Head("main", 2)
	require.NoError(t, err)
	require.Equal(t, []string{"0", "1"}, textsOf(head))
}

func TestHistoryStopsAtItsBytes(t *testing.T) {
	s, err := New(Config{DB: openStore(t, t.TempDir()), limits: limits{historyBytes: 100}})
	require.NoError(t, err)
	for _, size := range []int{10, 40, 30, 30} {
		_, _, err := s.Append(t.Context(), "main", nil, Message{
			Role: "user", Text: strings.Repeat("x", size-5), Images: []Image{{MimeType: "image/png", Data: make([]byte, 5)}},
		})
		require.NoError(t, err)
	}
	list, err := s.History("main", 10)
	require.NoError(t, err)
	require.Len(t, list, 3, "the oldest would go over 100 bytes")
	_, _, err = s.Append(t.Context(), "main", nil, Message{Role: "user", Text: strings.Repeat("y", 101)})
	require.NoError(t, err)
	list, err = s.History("main", 10)
	require.NoError(t, err)
	require.Len(t, list, 1, "the newest is there even if it is over the bound alone")
}

func TestTranscriptIsBounded(t *testing.T) {
	db := openStore(t, t.TempDir())
	s, err := New(Config{DB: db, limits: limits{messages: 5}})
	require.NoError(t, err)
	for i := range 8 {
		e, _ := say(t, s, "main", fmt.Sprint(i))
		require.Equal(t, int64(min(i+1, 5)), e.MessageCount)
	}
	require.Equal(t, []string{"3", "4", "5", "6", "7"}, texts(t, s, "main", 100))
}

func TestAppendRefuses(t *testing.T) {
	db := openStore(t, t.TempDir())
	s, err := New(Config{DB: db, limits: limits{sessions: 2}})
	require.NoError(t, err)
	say(t, s, "main", "kept")
	say(t, s, "second", "kept")
	for name, c := range map[string]struct {
		key  string
		upd  func(*Entry)
		msg  Message
		want error
	}{
		"blank key":         {" ", nil, Message{}, ErrEmptyKey},
		"malformed key":     {"agent:x", nil, Message{}, ErrMalformedKey},
		"large text":        {"main", nil, Message{Text: strings.Repeat("x", MessageBytesMax+1)}, ErrTooLarge},
		"large image":       {"main", nil, Message{Images: []Image{{Data: make([]byte, MessageBytesMax)}}, Text: "x"}, ErrTooLarge},
		"large entry":       {"main", func(e *Entry) { e.ExecNode = strings.Repeat("x", EntryBytesMax) }, Message{Text: "lost"}, ErrTooLarge},
		"too many sessions": {"third", nil, Message{Text: "lost"}, ErrTooMany},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := s.Append(t.Context(), c.key, c.upd, c.msg)
			require.ErrorIs(t, err, c.want)
			require.Equal(t, []string{"kept"}, texts(t, s, "main", 10), "nothing is left of a refused append")
			list, err := s.List()
			require.NoError(t, err)
			require.Len(t, list, 2)
		})
	}
}

func TestConcurrentAppendsKeepOrder(t *testing.T) {
	s := fresh(t)
	const writers, each = 8, 25
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				_, _, err := s.Append(t.Context(), "main", func(e *Entry) { e.InputTokens++ },
					Message{Role: "user", Text: fmt.Sprint(i), RunID: fmt.Sprint(w)})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	list, err := s.History("main", 0)
	require.NoError(t, err)
	require.Len(t, list, writers*each)
	next := map[string]int{}
	for i, m := range list {
		require.Equal(t, fmt.Sprint(next[m.RunID]), m.Text, "writer %s", m.RunID)
		next[m.RunID]++
		if i > 0 {
			require.Equal(t, list[i-1].ID, m.ParentID)
		}
	}
	e, _, err := s.Get("main")
	require.NoError(t, err)
	require.Equal(t, int64(writers*each), e.InputTokens, "no update of the entry is lost")
}

func TestPatch(t *testing.T) {
	s := fresh(t)
	refused := errors.New("refused")
	_, err := s.Patch(t.Context(), "new", func(*Entry) error { return refused })
	require.ErrorIs(t, err, refused)
	_, ok, err := s.Get("new")
	require.NoError(t, err)
	require.False(t, ok, "a refused patch makes no session")

	e, err := s.Patch(t.Context(), "new", func(e *Entry) error { e.Label = "One"; return nil })
	require.NoError(t, err)
	require.Equal(t, "agent:main:new", e.Key)
	require.Equal(t, "One", e.Label)
	_, err = s.Patch(t.Context(), "new", func(e *Entry) error { e.VerboseLevel = "on"; return nil })
	require.NoError(t, err, "a session may keep its own label")
	_, err = s.Patch(t.Context(), "main", func(e *Entry) error { e.Label = "One"; return nil })
	require.ErrorIs(t, err, ErrLabelInUse)
	_, err = s.Patch(t.Context(), "new", func(e *Entry) error { e.Label = "Two"; return nil })
	require.NoError(t, err)
	_, err = s.Patch(t.Context(), "main", func(e *Entry) error { e.Label = "One"; return nil })
	require.NoError(t, err, "a label that was given up is free")
}

func TestFind(t *testing.T) {
	s := fresh(t)
	label := func(l string) func(*Entry) { return func(e *Entry) { e.Label = l } }
	for key, l := range map[string]string{"one": "shared", "two": "shared", "three": "shared\x00agent:main:one", "four": ""} {
		_, _, err := s.Append(t.Context(), key, label(l))
		require.NoError(t, err)
	}
	keys := func(l string) []string {
		list, err := s.FindByLabel(l)
		require.NoError(t, err)
		out := []string{}
		for _, e := range list {
			out = append(out, e.Key)
		}
		return out
	}
	require.Equal(t, []string{"agent:main:one", "agent:main:two"}, keys("shared"))
	require.Empty(t, keys("Shared"), "labels keep their case")
	require.Empty(t, keys("share"))
	require.Empty(t, keys(""))

	e, _, err := s.Get("one")
	require.NoError(t, err)
	byID, ok, err := s.FindByID(e.SessionID)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, e, byID)
	_, ok, err = s.FindByID("")
	require.NoError(t, err)
	require.False(t, ok)

	_, err = s.Reset(t.Context(), "one")
	require.NoError(t, err)
	_, ok, err = s.FindByID(e.SessionID)
	require.NoError(t, err)
	require.False(t, ok, "an archived id is no session's")
	_, _, err = s.Delete(t.Context(), "one", true)
	require.NoError(t, err)
	require.Equal(t, []string{"agent:main:two"}, keys("shared"))
}

func TestListIsNewestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fresh(t)
		for _, key := range []string{"a", "b", "c", "a"} {
			say(t, s, key, "x")
			time.Sleep(time.Second)
		}
		list, err := s.List()
		require.NoError(t, err)
		var keys []string
		for _, e := range list {
			keys = append(keys, e.Key)
		}
		require.Equal(t, []string{"agent:main:a", "agent:main:c", "agent:main:b"}, keys)
	})
}

func TestDamagedRowsAreLeftOutAndLogged(t *testing.T) {
	var log strings.Builder
	db := openStore(t, t.TempDir())
	s, err := New(Config{DB: db, Log: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	e, _ := say(t, s, "main", "one", "two", "three")
	say(t, s, "other", "x")
	damage := func(bucket, key string) {
		require.NoError(t, db.Update(t.Context(), func(tx *store.Tx) error {
			return store.NewBucket[json.RawMessage](bucket).Put(tx, key, []byte(`[]`))
		}))
	}
	damage("session.messages", store.SeqKey(e.SessionID, 2))
	require.Equal(t, []string{"one", "three"}, texts(t, s, "main", 10))
	require.Contains(t, log.String(), "message unreadable")
	damage("session.entries", "agent:main:other")
	list, err := s.List()
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Contains(t, log.String(), "session entry unreadable")
	require.NotContains(t, log.String(), "three", "texts are not logged")
}

func TestNewNeedsAStore(t *testing.T) {
	_, err := New(Config{})
	require.ErrorContains(t, err, "need a store")
}

// What a caller writes beside a message or a reset is on disk exactly if that is.
func TestChangesJoinTheCallersTransaction(t *testing.T) {
	beside := store.NewBucket[string]("sessiontest.beside")
	s := fresh(t)
	first, _, err := s.Append(t.Context(), "main", nil, Message{Role: "user", Text: "before"})
	require.NoError(t, err)
	var entry Entry
	var stored []Message
	change := func(end error) error {
		return s.db.Update(t.Context(), func(tx *store.Tx) (err error) {
			if _, err = s.ResetTx(tx, "main"); err != nil {
				return err
			}
			if entry, stored, err = s.AppendTx(tx, "main", nil, Message{Role: "user", Text: "after"}); err != nil {
				return err
			}
			if err := beside.Put(tx, "k", stored[0].ID); err != nil {
				return err
			}
			return end
		})
	}
	state := func() (e Entry, texts []string, has bool) {
		e, _, err := s.Get("main")
		require.NoError(t, err)
		list, err := s.History("main", 0)
		require.NoError(t, err)
		for _, m := range list {
			texts = append(texts, m.Text)
		}
		require.NoError(t, s.db.View(func(tx *store.Tx) error { has, err = beside.Has(tx, "k"); return err }))
		return e, texts, has
	}
	require.EqualError(t, change(errors.New("no")), "no")
	e, texts, has := state()
	require.Equal(t, []any{first.SessionID, []string{"before"}, false}, []any{e.SessionID, texts, has})

	require.NoError(t, change(nil))
	e, texts, has = state()
	require.Equal(t, []any{entry.SessionID, []string{"after"}, true}, []any{e.SessionID, texts, has})
	require.NotEqual(t, first.SessionID, e.SessionID)
	require.Equal(t, "after", stored[0].Text)
	archives, err := s.Archives()
	require.NoError(t, err)
	require.Len(t, archives, 1)
}
