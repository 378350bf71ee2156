package turn

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/agent/agenttest"
	"github.com/coderclaw/gateway/pkg/session"
)

// mute is a backend that says nothing until its cancellation.
func mute() *funcBackend {
	return &funcBackend{run: func(ctx context.Context, _ agent.Turn, _ func(agent.Event)) (agent.Result, error) {
		<-ctx.Done()
		return agent.Result{}, ctx.Err()
	}}
}

// watching is a backend that keeps the turns it is given and answers "ok".
func watching(turns *[]agent.Turn) *agenttest.Script {
	var mu sync.Mutex
	return &agenttest.Script{Reply: func(turn agent.Turn) []string {
		mu.Lock()
		defer mu.Unlock()
		*turns = append(*turns, turn)
		return []string{"ok"}
	}}
}

// What ended in one life answers its key in the next, with the same words, and to
// nobody else.
func TestRestartKnowsWhatEnded(t *testing.T) {
	dir := t.TempDir()
	g := openRig(t, dir, &funcBackend{run: func(ctx context.Context, turn agent.Turn, emit func(agent.Event)) (agent.Result, error) {
		switch turn.Messages[len(turn.Messages)-1].Text {
		case "fail":
			return agent.Result{}, errors.New("HTTP 401: mock invalid api key")
		case "hang":
			<-ctx.Done()
		}
		usage := agent.Usage{Input: 1, Output: 2, CacheRead: 3, CacheWrite: 4, Total: 10}
		return agent.Result{Text: "fine", StopReason: "stop", Model: "m", Usage: usage}, ctx.Err()
	}})
	requests := []Request{
		ask("final", "hi", byAgent), ask("chat", "hi"), ask("failed", "fail"), ask("command", "/help", byAgent), ask("aborted", "hang"),
	}
	want := map[string]Outcome{}
	for _, req := range requests {
		run := g.start(req)
		if req.Key == "aborted" {
			_, err := g.AbortSession(t.Context(), "agent:main:main", StopCommand)
			require.NoError(t, err)
		}
		out := g.finish(run)
		if req.Namespace != NamespaceAgent {
			out.Text = ""
		}
		want[req.Key] = out
	}
	require.Equal(t, []State{StateFinal, StateFinal, StateError, StateFinal, StateAborted}, []State{
		want["final"].State, want["chat"].State, want["failed"].State, want["command"].State, want["aborted"].State,
	})
	history := g.history("main")
	g.stop()

	g = openRig(t, dir, mute())
	stop := g.live()
	for _, req := range requests {
		run, replayed, err := g.Start(t.Context(), req)
		require.NoError(t, err)
		require.True(t, replayed)
		require.Equal(t, want[req.Key], g.finish(run), req.Key)
		out, ok := g.Wait(t.Context(), req.Key)
		require.True(t, ok, "agent.wait knows it too")
		require.Equal(t, want[req.Key], out)
		require.True(t, g.remembers(req), "the same key with other params")
		aborted, err := g.AbortRun(t.Context(), req.SessionKey, req.Key, StopRPC)
		require.NoError(t, err)
		require.False(t, aborted)
	}
	require.Equal(t, history, g.history("main"))
	require.Empty(t, g.rec.events())

	// The id is free for another principal, whose run is then the newest of its id.
	other := g.start(ask("final", "hi", byAgent, func(q *Request) { q.Principal = "device-2" }))
	_, ended := other.Outcome()
	require.False(t, ended)
	run, replayed, err := g.Start(t.Context(), ask("final", "hi", byAgent))
	require.NoError(t, err)
	require.True(t, replayed)
	require.Equal(t, want["final"], g.finish(run))
	stop()
}

// A crash takes nothing that was acknowledged: the runs begin again with all that
// was asked of them, in their order, behind no second question.
func TestCrashedRunsBeginAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		g := openRig(t, dir, mute())
		image := session.Image{MimeType: "image/png", Data: []byte("png")}
		first := ask("1", "look", func(q *Request) {
			q.Images, q.System, q.Thinking, q.Timeout = []session.Image{image}, "Be brief.", "high", 3*time.Hour
			q.Touch = func(e *session.Entry) { e.Label = "touched" }
		})
		second, unreleased := ask("2", "and then"), ask("3", "/commands have their lines", in("other"))
		unreleased.Message = "held back"
		g.start(first)
		g.start(second)
		_, _, err := g.Start(t.Context(), unreleased)
		require.NoError(t, err)
		synctest.Wait()
		g.crash()
		time.Sleep(48 * time.Hour) // longer than any key is kept, and than any run may take

		var turns []agent.Turn
		g = openRig(t, dir, watching(&turns))
		require.Empty(t, turns, "nothing begins before Run")
		require.Equal(t, 3, g.total)
		require.Equal(t, []string{"user: look", "user: and then"}, g.history("main"))
		run, replayed, err := g.Start(t.Context(), second)
		require.NoError(t, err)
		require.True(t, replayed, "who asks before that joins the run")
		_, _, err = g.Start(t.Context(), ask("1", "look", func(q *Request) { q.Principal = "device-2" }))
		require.Contains(t, string(wireError(t, err).Details), protocol.DetailRunConflict, "its id is taken")
		_, _, err = g.Start(t.Context(), ask("2", "something else"))
		require.Contains(t, string(wireError(t, err).Details), protocol.DetailIdempotencyConflict)

		stop := g.live()
		require.Equal(t, StateFinal, g.finish(run).State)
		require.Equal(t, StateFinal, g.waited("1"))
		require.Equal(t, StateFinal, g.waited("3"))
		require.Equal(t, []string{"user: look", "user: and then", "assistant: ok", "assistant: ok"}, g.history("main"))
		require.Equal(t, []string{"user: held back", "assistant: ok"}, g.history("other"))
		for _, key := range []string{"1", "2", "3"} {
			require.Equal(t, 1, g.rec.terminals(key))
			require.Equal(t, "agent 1 lifecycle start", g.rec.lines(key)[0], "numbered from 1 in each life")
		}
		i := 0
		for turns[i].RunID != "1" {
			i++
		}
		require.Equal(t, "high", turns[i].Thinking)
		require.Equal(t, "main", turns[i].AgentID)
		require.Contains(t, turns[i].System, "Be brief.")
		require.Equal(t, []agent.Message{{Role: "user", Text: "look", Images: []agent.Image{{MimeType: "image/png", Data: []byte("png")}}}}, turns[i].Messages)
		stop()
	})
}

// What an earlier life has left waits until its clients are back, which take a second;
// where nothing was left, nothing waits.
func TestResumedRunsWaitForTheirClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		later := func(c *Config) { c.ResumeAfter = 2 * time.Second }
		var turns []agent.Turn
		g := openRig(t, dir, watching(&turns), later)
		stop := g.live()
		began := time.Now()
		require.Equal(t, StateFinal, g.finish(g.start(ask("0", "hi"))).State)
		g.submit("1", "hi", "")
		require.Equal(t, StateFinal, g.waited("1"))
		require.Equal(t, began, time.Now(), "at once")
		stop()

		for _, leave := range []func(){
			func() { g.start(ask("chat", "one")) },
			func() { g.submit("task", "two", "agent:main:other") },
		} {
			g = openRig(t, dir, mute(), later)
			g.live()
			leave()
			synctest.Wait()
			g.crash()

			g = openRig(t, dir, watching(&turns), later)
			stop = g.live()
			began := time.Now()
			synctest.Wait()
			require.Empty(t, g.rec.events())
			require.Equal(t, StateFinal, g.finish(g.start(ask(rand.Text(), "meanwhile", in("third")))).State)
			require.Equal(t, began, time.Now(), "what is new does not wait")
			time.Sleep(2*time.Second - time.Millisecond)
			synctest.Wait()
			require.Zero(t, g.rec.terminals("chat")+g.rec.terminals("task"))
			time.Sleep(time.Millisecond)
			synctest.Wait()
			require.Equal(t, 1, g.rec.terminals("chat")+g.rec.terminals("task"))
			stop()
		}
	})
}

// The time that a run may take is its own in each life, the one it asked for.
func TestResumedRunsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		g := openRig(t, dir, mute())
		g.start(ask("1", "hi", func(q *Request) { q.Timeout = 2 * time.Hour }))
		time.Sleep(time.Hour)
		g.crash()
		g = openRig(t, dir, mute())
		defer g.live()()
		began := time.Now()
		out, ok := g.Wait(t.Context(), "1")
		require.True(t, ok)
		require.Equal(t, StopTimeout, out.StopReason)
		require.Equal(t, 2*time.Hour+time.Minute, time.Since(began).Round(time.Second))
	})
}

// A graceful stop leaves what has said nothing to the next start, and closes what
// has: half an answer is not followed by a whole one.
func TestGracefulStopAndStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		g := openRig(t, dir, &funcBackend{run: func(ctx context.Context, turn agent.Turn, emit func(agent.Event)) (agent.Result, error) {
			if turn.RunID == "speaking" {
				emit(agent.Event{Text: "so far"})
			}
			<-ctx.Done()
			return agent.Result{}, ctx.Err()
		}})
		stop := g.live()
		g.start(ask("speaking", "hi"))
		g.start(ask("queued", "hi"))
		g.start(ask("thinking", "hi", in("other")))
		synctest.Wait()
		stop()
		require.Equal(t, 1, g.rec.terminals("speaking"))
		require.Zero(t, g.rec.terminals("queued")+g.rec.terminals("thinking"))

		var turns []agent.Turn
		g = openRig(t, dir, watching(&turns))
		stop = g.live()
		defer stop()
		require.Equal(t, StateFinal, g.waited("queued"))
		require.Equal(t, StateFinal, g.waited("thinking"))
		out, ok := g.Wait(t.Context(), "speaking")
		require.True(t, ok)
		require.Equal(t, "the gateway stopped before the answer was complete", out.Error)
		require.Len(t, turns, 2)
		require.Equal(t, []string{"user: hi", "user: hi", "assistant: so far", "assistant: ok"}, g.history("main"))
		require.Equal(t, 1, g.rec.terminals("queued"))
	})
}

// Resumed turns do not all ask the model at once, and new ones need not wait for
// them.
func TestResumedTurnsAreAdmitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		g := openRig(t, dir, mute())
		for i := range 10 {
			g.start(ask(fmt.Sprint(i), "hi", in(fmt.Sprint("s", i))))
		}
		synctest.Wait()
		g.crash()

		var mu sync.Mutex
		now, most := 0, 0
		begun := map[string]bool{}
		g = openRig(t, dir, &funcBackend{run: func(_ context.Context, turn agent.Turn, _ func(agent.Event)) (agent.Result, error) {
			if turn.RunID == "new" {
				return agent.Result{Text: "ok"}, nil
			}
			mu.Lock()
			begun[turn.RunID] = true
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return agent.Result{Text: "ok"}, nil
		}}, func(c *Config) { c.ResumeMax = 3 })
		stop := g.live()
		defer stop()
		began := time.Now()
		require.Equal(t, StateFinal, g.finish(g.start(ask("new", "hi", in("new")))).State)
		require.Zero(t, time.Since(began))
		synctest.Wait()
		require.Len(t, begun, 3)
		waits := 0
		for begun[fmt.Sprint(waits)] {
			waits++
		}
		_, err := g.AbortRun(t.Context(), fmt.Sprint("agent:main:s", waits), fmt.Sprint(waits), StopRPC)
		require.NoError(t, err)
		require.Zero(t, time.Since(began), "one that waits to be admitted is aborted at once")
		ends := map[State]int{}
		for i := range 10 {
			ends[g.waited(fmt.Sprint(i))]++
		}
		require.Equal(t, map[State]int{StateFinal: 9, StateAborted: 1}, ends)
		require.Equal(t, 3, most)
		require.Equal(t, 3*time.Second, time.Since(began))
	})
}

// A run whose words stand in the transcript without an outcome is closed with what
// they say. This package leaves no such run; one that stores replies in parts may.
func TestWordsLeftBehindCloseTheRun(t *testing.T) {
	cases := []struct {
		name string
		said session.Message
		want Outcome
		last string
	}{
		{"a whole reply", session.Message{Text: "all of it", StopReason: "stop", Provider: "p", Model: "m", Usage: &session.Usage{Input: 3}},
			Outcome{State: StateFinal, Text: "all of it", StopReason: "stop", Provider: "p", Model: "m", Usage: agent.Usage{Input: 3}}, "chat 1 final  all of it"},
		{"half a reply", session.Message{Text: "half", StopReason: "error"},
			Outcome{State: StateError, Text: "half", Error: errShutdown.Error(), Detail: protocol.DetailShuttingDown}, "chat 1 error  " + errShutdown.Error()},
		{"an aborted reply", session.Message{Text: "part", StopReason: "aborted", Aborted: true, AbortOrigin: StopRPC},
			Outcome{State: StateAborted, Text: "part", StopReason: StopRPC}, "chat 1 aborted rpc part"},
		{"the answer to a command", InjectedMessage("done"), Outcome{State: StateFinal, Text: "done", StopReason: "stop",
			Provider: injectedProvider, Model: injectedModel}, "chat 1 final  done"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			g := openRig(t, dir, mute())
			// The words of an earlier run of the same id are none of this one's.
			_, _, err := g.sess.Append(t.Context(), "main", nil, session.Message{Role: "assistant", Text: "older", RunID: "k"})
			require.NoError(t, err)
			_, _, err = g.Start(t.Context(), ask("k", "hi", byAgent))
			require.NoError(t, err)
			c.said.Role, c.said.RunID = "assistant", "k"
			entry, _, err := g.sess.Append(t.Context(), "main", nil, c.said)
			require.NoError(t, err)
			g.crash()

			g = openRig(t, dir, &agenttest.Script{})
			stop := g.live()
			defer stop()
			out, ok := g.Wait(t.Context(), "k")
			require.True(t, ok)
			lines := g.rec.lines("k")
			require.Equal(t, c.last, lines[len(lines)-1])
			require.Equal(t, 1, g.rec.terminals("k"))
			c.want.SessionID, c.want.EndedAt = entry.SessionID, out.EndedAt
			require.Equal(t, c.want, out)
			require.Len(t, g.history("main"), 3, "and nothing is said twice")
		})
	}
}

// A session that began anew behind the run's back gets no answer to a question it
// does not know.
func TestResumedRunOfALostTranscript(t *testing.T) {
	dir := t.TempDir()
	g := openRig(t, dir, mute())
	g.start(ask("k", "hi"))
	g.crash()
	g = openRig(t, dir, mute())
	_, err := g.sess.Reset(t.Context(), "main")
	require.NoError(t, err)
	defer g.live()()
	out, ok := g.Wait(t.Context(), "k")
	require.True(t, ok)
	require.Equal(t, StateError, out.State)
	require.Empty(t, g.history("main"))
	require.Equal(t, 1, g.rec.terminals("k"))
}

// A run during which the gateway dies again and again is given up, so that it can
// live; one that merely stood in line, or saw a graceful stop, is not to blame.
func TestARunThatKillsTheGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		g := openRig(t, dir, mute())
		g.start(ask("killer", "hi"))
		g.start(ask("behind", "hi"))
		synctest.Wait()
		stop := g.live()
		stop() // a graceful stop starts the count again
		for range attemptsMax {
			g = openRig(t, dir, mute())
			stop := g.live()
			synctest.Wait()
			g.db.fail(func() error { return errDead })
			g.rec.deafen()
			stop()
		}
		var turns []agent.Turn
		g = openRig(t, dir, watching(&turns))
		stop = g.live()
		defer stop()
		out, ok := g.Wait(t.Context(), "killer")
		require.True(t, ok)
		require.Equal(t, []string{string(StateError), errShutdown.Error()}, []string{string(out.State), out.Error})
		require.Equal(t, StateFinal, g.waited("behind"))
		require.Len(t, turns, 1)
	})
}

// Where the gateway died before a reset was answered, the reset happens once.
func TestResetIsOneWithItsAnswer(t *testing.T) {
	dir := t.TempDir()
	g := openRig(t, dir, &agenttest.Script{})
	g.finish(g.start(ask("1", "hi")))
	_, _, err := g.Start(t.Context(), ask("reset", "/new"))
	require.NoError(t, err)
	g.crash() // before its release
	g = openRig(t, dir, &agenttest.Script{})
	stop := g.live()
	defer stop()
	require.Equal(t, StateFinal, g.waited("reset"))
	require.Len(t, g.history("main"), 1)
	archives, err := g.sess.Archives()
	require.NoError(t, err)
	require.Len(t, archives, 1)
}

// A message that comes while its session is reset waits and belongs to the new
// transcript, question and answer.
func TestMessagesDuringAReset(t *testing.T) {
	for _, message := range []string{"then", "/new then"} {
		t.Run(message, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var turns []agent.Turn
				g := newRig(t, watching(&turns))
				defer g.stop()
				g.finish(g.start(ask("old", "hi")))
				var wg sync.WaitGroup
				require.NoError(t, g.EndSession(t.Context(), "agent:main:main", func() error {
					wg.Go(func() { g.finish(g.start(ask("during", message))) })
					synctest.Wait()
					require.Len(t, turns, 1)
					gone, cancel := context.WithCancel(t.Context())
					cancel()
					_, _, err := g.Start(gone, ask("impatient", "hi"))
					require.ErrorIs(t, err, context.Canceled)
					_, replayed, err := g.Start(t.Context(), ask("old", "hi"))
					require.NoError(t, err)
					require.True(t, replayed, "a replay needs no session")
					g.finish(g.start(ask("elsewhere", "hi", in("other"))))
					_, err = g.sess.Reset(t.Context(), "main")
					return err
				}))
				wg.Wait()
				require.Equal(t, []string{"user: then", "assistant: ok"}, g.history("main"))
				require.Equal(t, []agent.Message{{Role: "user", Text: "then"}}, turns[2].Messages)
				require.EqualError(t, g.EndSession(t.Context(), "agent:main:main", func() error { return errors.New("no") }), "no")
				require.Empty(t, g.holds)
			})
		})
	}
}
