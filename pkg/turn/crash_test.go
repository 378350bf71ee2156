package turn

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/session"
)

// mortal is a backend that hangs on the message "hang" until it is aborted, in its
// first life; otherwise it answers with the message.
func mortal(life int) *funcBackend {
	return &funcBackend{run: func(ctx context.Context, turn agent.Turn, emit func(agent.Event)) (agent.Result, error) {
		text := turn.Messages[len(turn.Messages)-1].Text
		emit(agent.Event{Text: "re " + text})
		if text == "hang" && life == 1 {
			<-ctx.Done()
			return agent.Result{}, ctx.Err()
		}
		return agent.Result{Text: "re " + text}, nil
	}}
}

// conversation of the crash test: what is asked, in this order.
func crashRequests() []Request {
	return []Request{
		ask("one", "1"),
		ask("two", "2"),
		ask("three", "3", in("other"), byAgent),
		ask("status", "/status"),
		ask("before", "old words", in("third")),
		ask("new", "/new 4", in("third")),
		ask("reset", "/reset", in("third")),
		ask("hang", "hang", in("fourth")),
		ask("last", "5"),
	}
}

// TestEveryCrashPoint lets the gateway die at each write of a busy life, both
// before the write and after it, and looks what the next two lives make of it:
// whatever was acknowledged happens, every key comes to one outcome, every question
// and every answer is there once, and no client hears two ends of a run.
func TestEveryCrashPoint(t *testing.T) {
	points := 0
	for _, after := range []bool{false, true} {
		for writes, more := 0, true; more; writes++ {
			t.Run(fmt.Sprintf("%d writes, told of the last %t", writes, !after), func(t *testing.T) {
				more = false // should it fail
				more = crashAt(t, writes, after)
			})
			points++
			require.False(t, t.Failed())
		}
	}
	require.Greater(t, points, 40)
	t.Logf("%d crash points", points)
}

// crashAt lives until writes have been done and reports whether there would have
// been more of them.
func crashAt(t *testing.T, writes int, after bool) (more bool) {
	dir := t.TempDir()
	g := openRig(t, dir, mortal(1))
	var mu sync.Mutex
	left := writes
	g.db.after = func() {
		mu.Lock()
		defer mu.Unlock()
		if left--; left == 0 && after {
			g.rec.deafen()
		}
	}
	g.db.fail(func() error {
		mu.Lock()
		defer mu.Unlock()
		if left > 0 {
			return nil
		}
		more = true
		g.rec.deafen()
		return errDead
	})
	acknowledged := g.firstLife()
	g.crash()

	heard := map[string]int{}
	for _, req := range crashRequests() {
		heard[req.Key] = g.rec.terminals(req.Key)
	}
	g = openRig(t, dir, mortal(2))
	stop := g.live()
	outcomes := map[string]State{}
	for _, req := range crashRequests() {
		run, replayed, err := g.Start(t.Context(), req)
		require.NoError(t, err, req.Key)
		require.True(t, replayed || !acknowledged[req.Key], "%s was acknowledged and is unknown", req.Key)
		run.Release()
		outcomes[req.Key] = g.finish(run).State
		require.Equal(t, outcomes[req.Key], g.waited(req.Key), "%s", req.Key)
		require.LessOrEqual(t, heard[req.Key]+g.rec.terminals(req.Key), 1, "%s has two ends", req.Key)
	}
	g.checkTranscripts()
	stop()

	g = openRig(t, dir, mortal(3))
	stop = g.live()
	defer stop()
	require.Empty(t, g.known, "nothing is left to do")
	for _, req := range crashRequests() {
		run, replayed, err := g.Start(t.Context(), req)
		require.NoError(t, err)
		require.True(t, replayed, req.Key)
		require.Equal(t, outcomes[req.Key], g.finish(run).State, req.Key)
		req.ParamsHash[0]++
		_, _, err = g.Start(t.Context(), req)
		require.Contains(t, string(wireError(t, err).Details), protocol.DetailIdempotencyConflict)
	}
	require.Empty(t, g.rec.events())
	g.checkTranscripts()
	return more
}

// firstLife asks everything, as far as the disk lets it, and returns the keys that
// were acknowledged.
func (g *rig) firstLife() map[string]bool {
	acknowledged := map[string]bool{}
	for _, req := range crashRequests() {
		run, _, err := g.Start(context.Background(), req)
		if err != nil {
			continue
		}
		acknowledged[req.Key] = true
		run.Release()
		switch req.Key {
		case "before", "new", "reset":
			g.finish(run) // what comes next would abort it
		case "hang":
			_, err := g.AbortRun(context.Background(), req.SessionKey, req.Key, StopRPC)
			require.NoError(g.t, err)
		}
	}
	for key := range acknowledged {
		g.waited(key)
	}
	return acknowledged
}

// waited is how a run ended, as agent.wait would tell.
func (g *rig) waited(key string) State {
	out, ok := g.Wait(context.Background(), key)
	require.True(g.t, ok, key)
	return out.State
}

// checkTranscripts looks for one question and one answer to each request, in
// transcripts and archives.
func (g *rig) checkTranscripts() {
	g.t.Helper()
	var all []session.Message
	entries, err := g.sess.List()
	require.NoError(g.t, err)
	for _, e := range entries {
		list, err := g.sess.History(e.Key, 0)
		require.NoError(g.t, err)
		all = append(all, list...)
	}
	archives, err := g.sess.Archives()
	require.NoError(g.t, err)
	for _, a := range archives {
		list, err := g.sess.ArchiveHistory(a.ID, 0)
		require.NoError(g.t, err)
		all = append(all, list...)
	}
	got := map[string]int{}
	for _, m := range all {
		got[m.Role+" "+m.RunID]++
	}
	want := map[string]int{}
	for _, req := range crashRequests() {
		want["user "+req.Key], want["assistant "+req.Key] = 1, 1
	}
	if got["assistant hang"] == 0 {
		delete(want, "assistant hang") // aborted before its first word
	}
	require.Equal(g.t, want, got, "%v", slices.Sorted(maps.Keys(got)))
}
