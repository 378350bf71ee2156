package turn

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/agent/agenttest"
)

// As in the recorded conversation chat-abort, at its pace: 24 words, then abort.
func TestAbortInMidStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		words := func(agent.Turn) []string { return agenttest.Words(50) }
		g := newRig(t, &agenttest.Script{Reply: words, Interval: 100 * time.Millisecond})
		defer g.stop()
		g.start(ask("c3", "SLOW stream"))
		time.Sleep(2350 * time.Millisecond)

		_, err := g.AbortRun(t.Context(), "agent:main:other", "c3", StopRPC)
		e := wireError(t, err)
		require.Equal(t, protocol.ErrorInvalidRequest, e.Code)
		require.Equal(t, "runId does not match sessionKey", e.Message)

		aborted, err := g.AbortRun(t.Context(), "agent:main:main", "c3", StopRPC)
		require.NoError(t, err)
		require.True(t, aborted)
		lines := g.rec.lines("c3")
		require.Regexp(t, `^chat 26 aborted rpc word0 .* word23$`, lines[len(lines)-1], "told before the abort is answered")
		last := g.rec.events()[len(lines)-1]
		require.Equal(t, "main", last.chat.SessionKey, "the key as the client wrote it")
		require.False(t, last.Delta)

		messages, err := g.sess.History("main", 10)
		require.NoError(t, err)
		require.Len(t, messages, 2)
		partial := messages[1]
		require.True(t, partial.Aborted)
		require.Equal(t, "rpc", partial.AbortOrigin)
		require.Equal(t, "c3:assistant", partial.IdempotencyKey)
		require.Equal(t, "c3", partial.RunID)
		entry, _, err := g.sess.Get("main")
		require.NoError(t, err)
		require.True(t, entry.AbortedLastRun)

		time.Sleep(time.Minute)
		require.Len(t, g.rec.lines("c3"), len(lines), "nothing follows")
		aborted, err = g.AbortRun(t.Context(), "agent:main:main", "c3", StopRPC)
		require.NoError(t, err)
		require.False(t, aborted)
		ids, err := g.AbortSession(t.Context(), "agent:main:main", StopRPC)
		require.NoError(t, err)
		require.Empty(t, ids)
		known, replayed, err := g.Start(t.Context(), ask("c3", "SLOW stream"))
		require.NoError(t, err)
		require.True(t, replayed)
		out, ended := known.Outcome()
		require.True(t, ended)
		require.Equal(t, []string{"aborted", "rpc"}, []string{string(out.State), out.StopReason})

		g.finish(g.start(ask("next", "hi")))
		entry, _, err = g.sess.Get("main")
		require.NoError(t, err)
		require.False(t, entry.AbortedLastRun)
	})
}

func TestAbortSessionTakesTheQueueToo(t *testing.T) {
	g := newRig(t, blocked())
	defer g.stop()
	for i := range 3 {
		g.start(ask(fmt.Sprint(i), "hi"))
	}
	other := g.start(ask("other", "hi", in("other")))
	ids, err := g.AbortSession(t.Context(), "agent:main:main", StopCommand)
	require.NoError(t, err)
	require.Equal(t, []string{"0", "1", "2"}, ids)
	require.Equal(t, []string{"chat 1 aborted stop"}, g.rec.lines("1"), "a turn that never began has no agent events")
	_, ended := other.Outcome()
	require.False(t, ended)
}

// A backend that is slow to return holds up neither the abort nor its event, but
// the next turn and the end of the session wait for it.
func TestAbortOfABackendThatLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, &funcBackend{run: func(ctx context.Context, turn agent.Turn, emit func(agent.Event)) (agent.Result, error) {
			if turn.RunID == "next" {
				return agent.Result{Text: "ok"}, nil
			}
			<-ctx.Done()
			emit(agent.Event{Text: "too late"})
			time.Sleep(time.Duration(len(turn.RunID)) * time.Second)
			return agent.Result{Text: "too late"}, nil
		}})
		defer g.stop()
		g.start(ask("linger", "hi"))
		synctest.Wait()
		began := time.Now()
		_, err := g.AbortRun(t.Context(), "agent:main:main", "linger", StopRPC)
		require.NoError(t, err)
		require.Less(t, time.Since(began), time.Second)
		ids, err := g.AbortSession(t.Context(), "agent:main:main", StopRPC)
		require.NoError(t, err)
		require.Empty(t, ids, "it is aborted already, though not gone")
		next := g.start(ask("next", "hi"))
		g.finish(next)
		require.Equal(t, 6*time.Second, time.Since(began).Round(time.Second))
		require.Equal(t, []string{"agent 1 lifecycle start", "chat 2 aborted rpc"}, g.rec.lines("linger"))

		g.start(ask("sixteen seconds!", "hi"))
		synctest.Wait()
		began = time.Now()
		err = g.EndSession(t.Context(), "agent:main:main", func() error { panic("it has not ended") })
		e := wireError(t, err)
		require.Equal(t, protocol.ErrorUnavailable, e.Code)
		require.Equal(t, "Session agent:main:main is still active; try again in a moment.", e.Message)
		require.Equal(t, 15*time.Second, time.Since(began).Round(time.Second))
		require.NoError(t, g.EndSession(t.Context(), "agent:main:main", nothing))
	})
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, &agenttest.Script{Interval: time.Second})
		defer g.stop()
		wait := func(id string, d time.Duration) (Outcome, bool) {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			return g.Wait(ctx, id)
		}
		_, ok := wait("zzz", 50*time.Millisecond)
		require.False(t, ok)
		require.Empty(t, g.arrivals, "who gives up leaves nothing behind")

		var early Outcome
		var wg sync.WaitGroup
		wg.Go(func() { early, _ = wait("a1", time.Minute) })
		synctest.Wait()
		run := g.start(ask("a1", "hi", byAgent))
		_, ok = wait("a1", time.Second)
		require.False(t, ok, "it takes longer")
		wg.Wait()
		require.Equal(t, g.finish(run), early)
		require.Equal(t, StateFinal, early.State)
		late, ok := wait("a1", 0)
		require.True(t, ok)
		require.Equal(t, early, late)
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, blocked())
		defer g.stop()
		running, queued := g.start(ask("running", "hi")), g.start(ask("queued", "hi"))
		held, _, err := g.Start(t.Context(), ask("held", "hi", in("other"))) // never released
		require.NoError(t, err)
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- g.Run(ctx) }()
		cancel()
		require.NoError(t, <-ended)

		const why = "the gateway stopped before the answer was complete"
		require.Equal(t, []string{
			"agent 1 lifecycle start",
			"agent 2 assistant so far",
			"chat 2 delta  so far",
			"agent 3 lifecycle error " + why,
			"chat 3 error  " + why,
		}, g.rec.lines("running"))
		out := g.finish(running)
		require.Equal(t, []string{string(StateError), protocol.DetailShuttingDown}, []string{string(out.State), out.Detail})
		require.Contains(t, g.history("main"), "assistant: so far")
		for _, run := range []*Run{queued, held} { // they have said nothing
			out := g.finish(run)
			require.Equal(t, []string{string(StateSuspended), protocol.DetailShuttingDown}, []string{string(out.State), out.Detail})
			require.Empty(t, g.rec.lines(run.ID()), "they begin again in the next life")
			_, ended := run.Outcome()
			require.False(t, ended)
			_, ok := g.Wait(t.Context(), run.ID())
			require.False(t, ok)
		}

		_, _, err = g.Start(t.Context(), ask("new", "hi"))
		e := wireError(t, err)
		require.Equal(t, protocol.ErrorUnavailable, e.Code)
		require.Contains(t, string(e.Details), protocol.DetailShuttingDown)
	})
}

func TestCloseDoesNotWaitForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, &funcBackend{run: func(context.Context, agent.Turn, func(agent.Event)) (agent.Result, error) {
			time.Sleep(time.Minute)
			return agent.Result{}, nil
		}}, func(c *Config) { c.DrainTimeout = 5 * time.Second })
		run := g.start(ask("deaf", "hi"))
		synctest.Wait()
		require.EqualError(t, g.Close(), "1 agent runs did not end within 5s")
		out, err := run.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, StateSuspended, out.State, "who waits for it knows all the same")
		time.Sleep(2 * time.Minute)
		g.stop()
	})
}

// However a run ends, and whoever wants it to end at the same moment, chat windows
// are told exactly once, and what they are told is what is remembered.
func TestExactlyOneTerminalEvent(t *testing.T) {
	g := newRig(t, &funcBackend{run: func(ctx context.Context, turn agent.Turn, emit func(agent.Event)) (agent.Result, error) {
		for range rand.IntN(20) {
			emit(agent.Event{Text: "word "})
			if ctx.Err() != nil {
				return agent.Result{}, ctx.Err()
			}
		}
		switch rand.IntN(4) {
		case 0:
			panic("boom")
		case 1:
			return agent.Result{}, fmt.Errorf("HTTP 500")
		case 2:
			<-ctx.Done()
			return agent.Result{}, ctx.Err()
		}
		return agent.Result{Text: "done"}, nil
	}})
	const sessions, each = 6, 10
	var wg sync.WaitGroup
	runs := make(chan *Run, sessions*each)
	for s := range sessions {
		key := fmt.Sprint("agent:main:s", s)
		wg.Go(func() {
			for i := range each {
				req := ask(fmt.Sprintf("r%d-%d", s, i), "hi", in(fmt.Sprint("s", s)))
				run, _, err := g.Start(context.Background(), req)
				require.NoError(t, err)
				runs <- run
				run.Release()
				if rand.IntN(2) == 0 {
					_, err = g.AbortRun(context.Background(), key, run.ID(), StopRPC)
					require.NoError(t, err)
				}
			}
			for range 3 {
				_, err := g.AbortSession(context.Background(), key, StopRPC)
				require.NoError(t, err)
			}
		})
	}
	wg.Wait()
	g.stop()
	close(runs)
	for run := range runs {
		out, ended := run.Outcome()
		if !ended { // the gateway stopped first
			require.Equal(t, StateSuspended, out.State)
			require.Zero(t, g.rec.terminals(run.ID()))
			continue
		}
		require.Equal(t, 1, g.rec.terminals(run.ID()), "%s", run.ID())
		var last emitted
		for _, e := range g.rec.events() {
			if e.chat.RunID == run.ID() {
				last = e
			}
		}
		require.EqualValues(t, out.State, last.chat.State, "the terminal event is the last")
	}
	require.Empty(t, g.active)
	require.Zero(t, g.total)
}
