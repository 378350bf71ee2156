package sessions

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// told keeps what the subscribers were told, one line each.
type told struct {
	mu    sync.Mutex
	lines []string
}

func (e *told) Emit(m wire.Emission) {
	line := m.Info.Name + " " + fmt.Sprint(m.To)
	switch m.Info.Name {
	case protocol.EventSessionsChanged.Name:
		v, err := protocol.DecodeSessionsChangedEvent(m.Payload)
		line += fmt.Sprintf(" %s %s %t %v", v.Key, v.Reason, v.Session.Set, err)
	case protocol.EventSessionsMessage.Name:
		v, err := protocol.DecodeSessionsMessageEvent(m.Payload)
		line += fmt.Sprintf(" %s %d %s %v", v.Key, v.Seq, v.Message.Content[0].Text.V, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lines = append(e.lines, line)
}

// take returns the lines since the last call.
func (e *told) take() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	lines := e.lines
	e.lines = nil
	return lines
}

// watching runs fn in a bubble beside the service's Run.
func watching(t *testing.T, fn func(t *testing.T, r *room)) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		fn(t, r)
		stop()
		require.NoError(t, <-done)
	})
}

// news waits until everything is told.
func (r *room) news() []string {
	synctest.Wait()
	return r.told.take()
}

func (r *room) say(t *testing.T, key string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		_, _, err := r.sessions.Append(t.Context(), key, nil, session.Message{Role: "user", Text: text})
		require.NoError(t, err)
	}
}

func (r *room) follow(t *testing.T, ctx context.Context, conn, key string, after ...int64) {
	t.Helper()
	p := protocol.SessionsMessagesSubscribeParams{Key: key}
	if len(after) > 0 {
		p.AfterSeq = wire.Some(after[0])
	}
	result, err := r.SessionsMessagesSubscribe(ctx, &wire.Peer{ConnID: conn}, p)
	require.NoError(t, err)
	require.True(t, result.Subscribed)
}

func TestSubscribersAreToldOfChanges(t *testing.T) {
	watching(t, func(t *testing.T, r *room) {
		a, b := &wire.Peer{ConnID: "a"}, &wire.Peer{ConnID: "b"}
		r.say(t, "x", "nobody listens")
		require.Empty(t, r.news())
		for _, p := range []*wire.Peer{a, b} {
			result, err := r.SessionsSubscribe(t.Context(), p, protocol.SessionsSubscribeParams{})
			require.NoError(t, err)
			require.True(t, result.Subscribed)
		}
		r.say(t, "x", "1")
		require.Equal(t, []string{"sessions.changed [a b] agent:main:x message true <nil>"}, r.news())
		_, err := r.sessions.Create(t.Context(), "y", nil)
		require.NoError(t, err)
		require.Equal(t, []string{"sessions.changed [a b] agent:main:y created true <nil>"}, r.news())
		result, err := r.SessionsUnsubscribe(t.Context(), a, protocol.SessionsSubscribeParams{})
		require.NoError(t, err)
		require.False(t, result.Subscribed)
		_, _, err = r.sessions.Delete(t.Context(), "y", true)
		require.NoError(t, err)
		require.Equal(t, []string{"sessions.changed [b] agent:main:y deleted false <nil>"}, r.news())
		r.PeerDisconnected(b)
		r.say(t, "x", "2")
		require.Empty(t, r.news())
	})
}

// Changes that were not told yet are told as one, which says what matters.
func TestChangesTogether(t *testing.T) {
	for _, c := range []struct{ first, second, want session.ChangeKind }{
		{session.ChangeCreated, session.ChangeMessage, session.ChangeCreated},
		{session.ChangeReset, session.ChangeUpdated, session.ChangeReset},
		{session.ChangeUpdated, session.ChangeMessage, session.ChangeMessage},
		{session.ChangeMessage, session.ChangeUpdated, session.ChangeMessage},
		{session.ChangeCreated, session.ChangeDeleted, session.ChangeDeleted},
		{session.ChangeDeleted, session.ChangeCreated, session.ChangeCreated},
	} {
		require.Equal(t, c.want, together(c.first, c.second), "%s then %s", c.first, c.second)
	}
}

func TestSubscribersAreToldOfMessages(t *testing.T) {
	watching(t, func(t *testing.T, r *room) {
		r.say(t, "x", "1", "2", "3")
		r.follow(t, t.Context(), "live", "x")
		r.follow(t, t.Context(), "late", "X", 1)
		require.Equal(t, []string{
			"sessions.message [late] agent:main:x 2 2 <nil>",
			"sessions.message [late] agent:main:x 3 3 <nil>",
		}, r.news())
		r.say(t, "x", "4")
		require.Equal(t, []string{
			"sessions.message [late] agent:main:x 4 4 <nil>",
			"sessions.message [live] agent:main:x 4 4 <nil>",
		}, r.news())
		r.say(t, "y", "elsewhere")
		require.Empty(t, r.news())
		result, err := r.SessionsMessagesUnsubscribe(t.Context(), &wire.Peer{ConnID: "late"}, protocol.SessionsMessagesUnsubscribeParams{Key: "x"})
		require.NoError(t, err)
		require.False(t, result.Subscribed)

		_, err = r.sessions.Reset(t.Context(), "x")
		require.NoError(t, err)
		r.say(t, "x", "anew")
		require.Equal(t, []string{"sessions.message [live] agent:main:x 1 anew <nil>"}, r.news())
		r.PeerDisconnected(&wire.Peer{ConnID: "live"})
		r.say(t, "x", "6")
		require.Empty(t, r.news())
	})
}

// However they come, every subscriber gets every message once and in order.
func TestNoMessageIsMissedOrToldTwice(t *testing.T) {
	watching(t, func(t *testing.T, r *room) {
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := range 50 {
					if i == 10*w {
						r.follow(t, t.Context(), fmt.Sprint("c", w), "x", 0)
					}
					r.say(t, "x", "m")
				}
			})
		}
		wg.Wait()
		lines := r.news()
		for w := range 4 {
			mine := slices.DeleteFunc(slices.Clone(lines), func(l string) bool {
				return l[:len("sessions.message [c0]")] != fmt.Sprintf("sessions.message [c%d]", w)
			})
			require.Len(t, mine, 200)
			for i, line := range mine {
				require.Equal(t, fmt.Sprintf("sessions.message [c%d] agent:main:x %d m <nil>", w, i+1), line)
			}
		}
	})
}

func TestSubscriptionsAreBounded(t *testing.T) {
	watching(t, func(t *testing.T, r *room) {
		peer := &wire.Peer{ConnID: "c"}
		for i := range watchedMax {
			r.follow(t, t.Context(), "c", fmt.Sprint("s", i))
		}
		r.follow(t, t.Context(), "c", "s0") // again is no more
		_, err := r.SessionsMessagesSubscribe(t.Context(), peer, protocol.SessionsMessagesSubscribeParams{Key: "more"})
		refused(t, err, "a connection can be told of the messages of 64 sessions: end one by sessions.messages.unsubscribe")
		r.PeerDisconnected(peer)
		require.Empty(t, r.subscribers.places)
	})
}

// A request that outlives its connection leaves nothing behind.
func TestGoneConnectionsDoNotSubscribe(t *testing.T) {
	r := newRoom(t)
	ctx, gone := context.WithCancel(t.Context())
	gone()
	r.follow(t, ctx, "c", "x")
	_, err := r.SessionsSubscribe(ctx, &wire.Peer{ConnID: "c"}, protocol.SessionsSubscribeParams{})
	require.NoError(t, err)
	require.Empty(t, r.subscribers.places)
	require.Empty(t, r.subscribers.changes)
}

// Who subscribes anew while he is being told is told from his new place on.
func TestANewPlaceIsNotOvertaken(t *testing.T) {
	r := newRoom(t)
	old, anew := session.Position{SessionID: "t", Seq: 7}, session.Position{SessionID: "t", Seq: 1}
	r.subscribers.watch(t.Context(), "c", "k", old)
	r.subscribers.watch(t.Context(), "c", "k", anew)
	require.False(t, r.subscribers.moved("c", "k", old, session.Position{SessionID: "t", Seq: 9}))
	require.Equal(t, anew, *r.subscribers.places["k"]["c"])
	require.False(t, r.subscribers.moved("gone", "k", old, old))
}

// Who was away while a conversation was reset does not wait for a number that the new
// one may never reach.
func TestWhoWasAwayDuringAResetIsToldTheNewTranscript(t *testing.T) {
	watching(t, func(t *testing.T, r *room) {
		r.say(t, "x", "1", "2", "3")
		old, err := r.sessions.End("x")
		require.NoError(t, err)
		_, err = r.sessions.Reset(t.Context(), "x")
		require.NoError(t, err)
		r.say(t, "x", "new 1", "new 2")
		r.follow(t, t.Context(), "a", "x", 3)
		first := []string{"sessions.message [a] agent:main:x 1 new 1 <nil>", "sessions.message [a] agent:main:x 2 new 2 <nil>"}
		require.Equal(t, first, r.news(), "3 is more than there are")
		r.say(t, "x", "new 3", "new 4")
		r.news()
		resume := func(sessionID string, after int64) []string {
			p := protocol.SessionsMessagesSubscribeParams{Key: "x", AfterSeq: wire.Some(after), SessionID: wire.Some(sessionID)}
			_, err := r.SessionsMessagesSubscribe(t.Context(), &wire.Peer{ConnID: "a"}, p)
			require.NoError(t, err)
			return r.news()
		}
		require.Len(t, resume(old.SessionID, 3), 4, "3 is a number of the other transcript")
		now, err := r.sessions.End("x")
		require.NoError(t, err)
		require.Equal(t, []string{"sessions.message [a] agent:main:x 4 new 4 <nil>"}, resume(now.SessionID, 3))
	})
}
