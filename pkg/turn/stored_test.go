package turn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/agent/agenttest"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/task"
)

// remembers reports whether a key is known.
func (g *rig) remembers(req Request) bool {
	g.t.Helper()
	req.ParamsHash[0]++
	_, _, err := g.Start(context.Background(), req)
	if err == nil {
		g.t.Fatalf("key %s was free, and is taken now", req.Key)
	}
	return strings.Contains(string(wireError(g.t, err).Details), protocol.DetailIdempotencyConflict)
}

func TestOutcomesAreForgottenWithAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		g := openRig(t, dir, &agenttest.Script{})
		g.finish(g.start(ask("k", "hi")))
		g.stop()
		time.Sleep(24*time.Hour - time.Second)

		g = openRig(t, dir, blocked())
		defer g.stop()
		require.True(t, g.remembers(ask("k", "hi")), "for 24 hours, whoever lives")
		_, ok := g.Wait(t.Context(), "k")
		require.True(t, ok)
		time.Sleep(time.Second)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, ok = g.Wait(short, "k")
		require.False(t, ok)
		g.start(ask("k", "other params"))
		_, err := g.AbortRun(t.Context(), "agent:main:main", "k", StopRPC)
		require.NoError(t, err)
	})
}

// However long a run takes, its key is its own.
func TestLiveRunsAreNeverForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, blocked())
		stop := g.live()
		defer stop()
		g.start(ask("live", "hi", func(q *Request) { q.Timeout = 20 * time.Hour }))
		time.Sleep(19 * time.Hour)
		require.True(t, g.remembers(ask("live", "hi")))
	})
}

// A disk without room costs nobody the outcome: it is told from memory, and
// written when there is room again.
func TestOutcomeThatTheDiskRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		var g *rig
		g = openRig(t, dir, &funcBackend{run: func(context.Context, agent.Turn, func(agent.Event)) (agent.Result, error) {
			g.db.fail(full)
			return agent.Result{Text: "lost"}, nil
		}})
		stop := g.live()
		run := g.start(ask("k", "hi"))
		require.Equal(t, StateError, g.finish(run).State)
		<-run.done
		require.Equal(t, StateError, g.waited("k"))
		time.Sleep(2 * sweepEvery)
		known, replayed, err := g.Start(t.Context(), ask("k", "hi"))
		require.NoError(t, err)
		require.True(t, replayed)
		require.Same(t, run, known)

		g.db.fail(nil)
		time.Sleep(2 * sweepEvery)
		synctest.Wait()
		require.Empty(t, g.known, "the engine has it now")
		require.Empty(t, g.unsaved)
		require.Equal(t, StateError, g.waited("k"))
		stop()

		g = openRig(t, dir, &agenttest.Script{})
		defer g.live()()
		require.Equal(t, StateError, g.waited("k"), "and it does not run again")
		require.Equal(t, []string{"user: hi"}, g.history("main"))
	})
}

// The history of a run is the same, whatever asked for it.
func TestSameHistoryWhoeverAsks(t *testing.T) {
	g := newRig(t, &agenttest.Script{Reply: func(agent.Turn) []string { return []string{"fine"} }})
	stop := g.live()
	defer stop()
	g.finish(g.start(ask("chat", "hi", in("a"))))
	g.finish(g.start(ask("agent", "hi", in("b"), byAgent)))
	submitted := g.submit("task", "hi", "agent:main:c")
	require.Equal(t, StateFinal, g.waited("task"))
	want := []string{"created pending", "claimed planning", "status_changed running", "output_added", "status_changed completed"}
	for _, key := range []string{"chat", "agent", "task"} {
		done, err := g.engine.ByRunID(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, []string{"hi", "hi", "fine"}, []string{done.Description, done.Input, done.Output})
		require.Equal(t, task.Completed, done.Status)
		require.Equal(t, want, g.steps(done.ID), key)
		require.NotEmpty(t, g.rec.lines(key))
	}
	for _, session := range []string{"a", "b", "c"} {
		require.Equal(t, []string{"user: hi", "assistant: fine"}, g.history(session))
	}
	out, ok := g.Wait(t.Context(), submitted.ID)
	require.True(t, ok, "a task can be waited for by its own id")
	require.Equal(t, "fine", out.Text)
}

// submit is what tasks.submit does.
func (g *rig) submit(key, message, session string, change ...func(*task.Request)) task.Task {
	g.t.Helper()
	q := task.Request{Description: message, Input: message, SessionID: session, AgentID: "main",
		Key: task.Key{Principal: "device-1", Namespace: task.NamespaceTask, Key: key}, ParamsHash: []byte(message)}
	for _, fn := range change {
		fn(&q)
	}
	t, _, err := g.engine.Submit(context.Background(), q)
	require.NoError(g.t, err)
	return t
}

// steps tells a task's history, an event in a few words.
func (g *rig) steps(id string) []string {
	g.t.Helper()
	events, err := g.engine.Events(context.Background(), id, 0, 0)
	require.NoError(g.t, err)
	require.NoError(g.t, task.Verify(events))
	var out []string
	for _, e := range events {
		out = append(out, strings.TrimSpace(string(e.Event)+" "+string(e.NewStatus)))
	}
	return out
}

// A turn whose task is cancelled from elsewhere stops, keeps what it said, and is told
// as aborted; it never becomes failed, and whoever asks later hears the same.
func TestCancelReachesTheTurn(t *testing.T) {
	g := newRig(t, blocked())
	stop := g.live()
	defer stop()
	run := g.start(ask("k", "hi"))
	queued := g.start(ask("queued", "hi"))
	other := g.submit("task", "hi", "agent:main:other")
	require.Eventually(t, func() bool {
		first, err := g.engine.Get(t.Context(), run.TaskID())
		second, err2 := g.engine.Get(t.Context(), other.ID)
		return err == nil && err2 == nil && first.Status == task.Running && second.Status == task.Running &&
			len(g.rec.lines("k")) > 1 && len(g.rec.lines("task")) > 1
	}, 20*time.Second, 5*time.Millisecond)
	for _, id := range []string{queued.TaskID(), run.TaskID(), other.ID} {
		res, err := g.engine.Cancel(t.Context(), id, "no more", "operator")
		require.NoError(t, err)
		require.True(t, res.Cancelled)
	}
	soon, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, key := range []string{"k", "queued", "task"} {
		out, ok := g.Wait(soon, key)
		require.True(t, ok, "%s runs on", key)
		require.Equal(t, StateAborted, out.State)
		ended, err := g.engine.ByRunID(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, task.Cancelled, ended.Status)
		require.Equal(t, 1, g.rec.terminals(key))
	}
	require.Equal(t, []string{"user: hi", "user: hi", "assistant: so far"}, g.history("main"))
	require.Equal(t, []string{"user: hi", "assistant: so far"}, g.history("other"))
}

// A turn that takes too long fails as a task; the original calls it completed.
func TestTimeoutIsFailedNeverCompleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, mute())
		stop := g.live()
		defer stop()
		run := g.start(ask("k", "hi", func(q *Request) { q.Timeout = 5 * time.Minute }))
		limited := g.submit("task", "hi", "agent:main:other", func(q *task.Request) { q.Timeout = time.Minute })
		late := g.submit("late", "hi", "agent:main:third", func(q *task.Request) { q.Deadline = time.Now().Add(time.Minute) })
		require.Equal(t, StopTimeout, g.finish(run).StopReason)
		for _, id := range []string{run.TaskID(), limited.ID, late.ID} {
			ended, err := g.engine.Get(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, task.Failed, ended.Status)
			require.Contains(t, []string{task.CodeTimeout, task.CodeDeadline}, ended.Error.Code)
		}
		for _, key := range []string{"task", "late"} {
			out, ok := g.Wait(t.Context(), key)
			require.True(t, ok)
			require.Equal(t, []string{string(StateAborted), StopTimeout}, []string{string(out.State), out.StopReason})
		}
	})
}

// Submitted tasks keep their promises over a crash: the question is stored once, with
// the first attempt.
func TestAdoptedTasksBeginAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		g := openRig(t, dir, mute())
		g.live()
		g.submit("begun", "one", "agent:main:main")
		g.submit("behind", "two", "agent:main:main")
		g.submit("alone", "three", "")
		synctest.Wait()
		require.Equal(t, []string{"user: one"}, g.history("main"))
		g.db.fail(func() error { return errDead })
		g.rec.deafen()
		g.Close()
		g.engine.Close()
		g.stop()

		var turns []agent.Turn
		g = openRig(t, dir, watching(&turns))
		stop := g.live()
		defer stop()
		for _, key := range []string{"begun", "behind", "alone"} {
			require.Equal(t, StateFinal, g.waited(key))
			require.Equal(t, 1, g.rec.terminals(key))
		}
		require.Equal(t, []string{"user: one", "assistant: ok", "user: two", "assistant: ok"}, g.history("main"))
		ended, err := g.engine.ByRunID(t.Context(), "begun")
		require.NoError(t, err)
		require.Equal(t, 2, ended.Attempt)
	})
}

// A task that is done once more is asked as the first time: with the images and the
// additions to the system prompt.
func TestRetryAsksWithImagesAndSystemPrompt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		var turns []agent.Turn
		g := openRig(t, dir, watching(&turns))
		stop := g.live()
		run := g.start(ask("k", "look", byAgent, func(q *Request) {
			q.Images, q.System = []session.Image{{MimeType: "image/png", Data: []byte("png")}}, "Be brief."
			q.Thinking, q.Model = "high", "big"
		}))
		require.Equal(t, StateFinal, g.finish(run).State)
		stop()

		g = openRig(t, dir, watching(&turns))
		stop = g.live()
		defer stop()
		ended, err := g.engine.Get(t.Context(), run.TaskID())
		require.NoError(t, err)
		q := task.Again(ended)
		q.Key, q.ParamsHash = task.Key{Principal: "device-1", Namespace: task.NamespaceTask, Key: "again"}, []byte("again")
		_, _, err = g.engine.Submit(t.Context(), q)
		require.NoError(t, err)
		require.Equal(t, StateFinal, g.waited("again"))
		require.Len(t, turns, 2)
		require.Contains(t, turns[1].System, "Be brief.")
		require.Equal(t, []string{turns[0].Thinking, turns[0].AgentID, turns[0].SessionKey}, []string{turns[1].Thinking, turns[1].AgentID, turns[1].SessionKey})
		asked := turns[1].Messages[len(turns[1].Messages)-1]
		require.Equal(t, agent.Message{Role: "user", Text: "look", Images: []agent.Image{{MimeType: "image/png", Data: []byte("png")}}}, asked)
	})
}

// A submitted task whose model cannot be had for now, and has said nothing, is tried
// again after a delay, as often as it may; a message of a chat is not.
func TestPassingFaultIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := fmt.Errorf("HTTP 503: busy: %w", agent.ErrPassing)
		faults := map[string]int{"thrice": 3, "always": 99, "chat": 99, "word": 99, "stop": 99}
		g := newRig(t, &funcBackend{run: func(_ context.Context, turn agent.Turn, emit func(agent.Event)) (agent.Result, error) {
			text := turn.Messages[len(turn.Messages)-1].Text
			if faults[text]--; faults[text] < 0 {
				return agent.Result{Text: "at last"}, nil
			}
			if text == "word" {
				emit(agent.Event{Text: "half a"})
			}
			if text == "broken" {
				return agent.Result{}, errors.New("HTTP 401: no")
			}
			return agent.Result{}, busy
		}})
		stop := g.live()
		defer stop()
		end := func(id string) task.Task {
			ended, err := g.engine.Get(t.Context(), id)
			require.NoError(t, err)
			require.True(t, ended.Status.Terminal())
			return ended
		}
		thrice := g.submit("k1", "thrice", "agent:main:main")
		require.Equal(t, StateFinal, g.waited("k1"), "who waits hears the end, not the attempts")
		require.Equal(t, []any{task.Completed, 4}, []any{end(thrice.ID).Status, end(thrice.ID).Attempt})
		require.Equal(t, []string{"user: thrice", "assistant: at last"}, g.history("main"))
		require.Equal(t, 1, g.rec.terminals("k1"))
		require.Contains(t, g.steps(thrice.ID), "retry_scheduled")

		always := g.submit("k2", "always", "agent:main:other", func(q *task.Request) { q.MaxAttempts = 3 })
		require.Equal(t, StateError, g.waited("k2"))
		require.Equal(t, []any{task.Failed, 3}, []any{end(always.ID).Status, end(always.ID).Attempt})
		require.Contains(t, end(always.ID).Error.Message, "HTTP 503")
		require.NotEmpty(t, end(always.ID).Result, "the end is one with the words of it")
		require.Equal(t, 1, g.rec.terminals("k2"))

		for key, text := range map[string]string{"k3": "word", "k4": "broken"} {
			faults["broken"] = 1
			made := g.submit(key, text, "")
			require.Equal(t, StateError, g.waited(key))
			require.Equal(t, 1, end(made.ID).Attempt, text)
		}
		run := g.start(ask("k5", "chat", in("third")))
		require.Equal(t, StateError, g.finish(run).State)
		require.Equal(t, 1, end(run.TaskID()).Attempt)

		stopped := g.submit("k6", "stop", "agent:main:fourth")
		synctest.Wait()
		_, err := g.engine.Cancel(t.Context(), stopped.ID, "enough", "me")
		require.NoError(t, err)
		require.Equal(t, StateAborted, g.waited("k6"))
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, 98, faults["stop"], "it is not asked again")
	})
}

// A run whose lease has run out (the machine stood still, the disk was full) ends its
// task all the same: nobody else would.
func TestLostLeaseStillEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		var g *rig
		g = openRig(t, dir, &funcBackend{run: func(context.Context, agent.Turn, func(agent.Event)) (agent.Result, error) {
			g.db.fail(full)
			return agent.Result{Text: "lost"}, nil
		}})
		stop := g.live()
		run := g.start(ask("k", "hi"))
		require.Equal(t, StateError, g.finish(run).State)
		<-run.done
		time.Sleep(20 * time.Second)
		// Room enough for the engine, which takes the lease away first.
		var mu sync.Mutex
		writes := 0
		g.db.fail(func() error {
			mu.Lock()
			defer mu.Unlock()
			if writes++; writes == 1 {
				return nil
			}
			return full()
		})
		time.Sleep(20 * time.Second)
		g.db.fail(nil)
		time.Sleep(2 * sweepEvery)
		synctest.Wait()
		require.Contains(t, g.steps(run.TaskID()), "heartbeat_lost")
		require.Empty(t, g.unsaved)
		ended, err := g.engine.Get(t.Context(), run.TaskID())
		require.NoError(t, err)
		require.Equal(t, task.Failed, ended.Status)
		stop()
	})
}

// Who waits for a task that is cancelled before its turn hears of it, and who waits for
// one that gets its turn hears of its run.
func TestWaitForATaskInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, &agenttest.Script{Interval: time.Second})
		stop := g.live()
		defer stop()
		g.start(ask("first", "hi"))
		doomed, next := g.submit("doomed", "hi", "agent:main:main"), g.submit("next", "hi", "agent:main:main")
		outcomes := map[string]Outcome{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for _, id := range []string{"doomed", next.ID, "next"} {
			wg.Go(func() {
				out, ok := g.Wait(t.Context(), id)
				mu.Lock()
				defer mu.Unlock()
				if outcomes[id] = out; !ok {
					t.Errorf("%s: no outcome", id)
				}
			})
		}
		synctest.Wait()
		_, err := g.engine.Cancel(t.Context(), doomed.ID, "never mind", "operator")
		require.NoError(t, err)
		wg.Wait()
		require.Equal(t, StateAborted, outcomes["doomed"].State)
		require.Equal(t, StateFinal, outcomes["next"].State)
		require.Equal(t, StateFinal, outcomes[next.ID].State)
		require.Empty(t, g.arrivals)
	})
}

// Submitted tasks do not all ask the model at once; the urgent ones go first.
func TestSubmittedTasksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		now, most := 0, 0
		var order []string
		g := newRig(t, &funcBackend{run: func(_ context.Context, turn agent.Turn, _ func(agent.Event)) (agent.Result, error) {
			mu.Lock()
			now++
			most = max(most, now)
			order = append(order, turn.RunID)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return agent.Result{Text: "ok"}, nil
		}}, func(c *Config) { c.AdoptMax = 3 })
		for i := range 9 {
			g.submit(fmt.Sprint(i), "hi", "", func(q *task.Request) { q.Priority = i })
		}
		stop := g.live()
		defer stop()
		for i := range 9 {
			require.Equal(t, StateFinal, g.waited(fmt.Sprint(i)))
		}
		require.Equal(t, 3, most)
		require.ElementsMatch(t, []string{"8", "7", "6"}, order[:3])
		require.ElementsMatch(t, []string{"2", "1", "0"}, order[6:])
	})
}
