package turn

import (
	"context"
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
)

func TestKeyRules(t *testing.T) {
	g := newRig(t, blocked())
	defer g.stop()
	g.start(ask("live", "hi"))
	other := func(q *Request) { q.Principal = "device-2" }
	agentNS := func(q *Request) { q.Namespace = NamespaceAgent }
	cases := []struct {
		name   string
		req    Request
		text   string
		detail string
	}{
		{"empty", ask("", "x"), "idempotencyKey must be 1 to 256 bytes long", protocol.DetailIdempotencyKeyTooLong},
		{"too long", ask(strings.Repeat("k", 257), "x"), "idempotencyKey must be 1 to 256 bytes long", protocol.DetailIdempotencyKeyTooLong},
		{"other params", ask("live", "something else"), "idempotencyKey was used before with other params", protocol.DetailIdempotencyConflict},
		{"other principal", ask("live", "hi", other), "a run with this idempotencyKey is in flight for another request", protocol.DetailRunConflict},
		{"other method", ask("live", "hi", agentNS), "a run with this idempotencyKey is in flight for another request", protocol.DetailRunConflict},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := g.Start(t.Context(), c.req)
			e := wireError(t, err)
			require.Equal(t, protocol.ErrorInvalidRequest, e.Code)
			require.Equal(t, c.text, e.Message)
			require.Contains(t, string(e.Details), `"`+c.detail+`"`)
		})
	}
	_, replayed, err := g.Start(t.Context(), ask("live", "hi"))
	require.NoError(t, err)
	require.True(t, replayed)

	longest := g.start(ask(strings.Repeat("k", 256), "x"))
	_, err = g.AbortSession(t.Context(), "agent:main:main", StopRPC)
	require.NoError(t, err)
	require.Equal(t, StateAborted, g.finish(longest).State)

	// Once it has ended, the id is free for others; its own principal still meets
	// the outcome.
	run := g.start(ask("live", "hi", other))
	require.Equal(t, "live", run.ID())
	known, replayed, err := g.Start(t.Context(), ask("live", "hi"))
	require.NoError(t, err)
	require.True(t, replayed)
	out, ended := known.Outcome()
	require.True(t, ended)
	require.Equal(t, StateAborted, out.State)
}

func TestDuplicatesRunOnce(t *testing.T) {
	g := newRig(t, &agenttest.Script{})
	defer g.stop()
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		firsts int
	)
	for range 20 {
		wg.Go(func() {
			run, replayed, err := g.Start(context.Background(), ask("same", "hello"))
			require.NoError(t, err)
			if !replayed {
				mu.Lock()
				firsts++
				mu.Unlock()
				run.Release()
			}
			out, err := run.Wait(context.Background())
			require.NoError(t, err)
			require.Equal(t, StateFinal, out.State)
		})
	}
	wg.Wait()
	require.Equal(t, 1, firsts)
	require.Len(t, g.history("main"), 2, "one question, one answer")
	require.Equal(t, 1, g.rec.terminals("same"))
}

func TestWhatIsNotStoredIsNotAccepted(t *testing.T) {
	g := newRig(t, &agenttest.Script{})
	defer g.stop()
	g.db.fail(full)
	_, _, err := g.Start(t.Context(), ask("k", "hi"))
	require.ErrorContains(t, err, "disk full")
	require.Empty(t, g.rec.events())

	g.db.fail(nil)
	run := g.start(ask("k", "hi")) // the key was given back, and so was the lane
	require.Equal(t, StateFinal, g.finish(run).State)
	require.Equal(t, 1, g.rec.terminals("k"))
}

// Once a request is being accepted, its client may go away.
func TestAcceptanceOutlivesItsClient(t *testing.T) {
	g := newRig(t, &agenttest.Script{})
	defer g.stop()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	run, _, err := g.Start(gone, ask("k", "hi"))
	require.NoError(t, err)
	run.Release()
	require.Equal(t, StateFinal, g.finish(run).State)
}

// A hub that panics is a defect, and costs one run.
func TestPanicOfTheEmitter(t *testing.T) {
	g := newRig(t, &agenttest.Script{})
	defer g.stop()
	for i, state := range []protocol.ChatState{protocol.ChatStateDelta, protocol.ChatStateFinal} {
		g.rec.hook = func(e emitted) {
			if e.chat.State == state {
				panic("broken hub")
			}
		}
		run := g.start(ask(fmt.Sprint(i), "hi"))
		g.finish(run)
		<-run.done
		require.Equal(t, 1, g.rec.terminals(run.ID()))
	}
	g.rec.hook = nil
	require.Equal(t, StateFinal, g.finish(g.start(ask("next", "hi"))).State, "the lane goes on")
}

func TestReplyThatCannotBeStoredIsAnError(t *testing.T) {
	var g *rig
	g = newRig(t, &funcBackend{run: func(context.Context, agent.Turn, func(agent.Event)) (agent.Result, error) {
		g.db.fail(full)
		return agent.Result{Text: "lost"}, nil
	}})
	defer g.stop()
	out := g.finish(g.start(ask("k", "hi")))
	g.db.fail(nil)
	require.Equal(t, StateError, out.State)
	require.Equal(t, "the answer could not be stored: disk full", out.Error)
	require.Equal(t, 1, g.rec.terminals("k"))
}

func TestLimits(t *testing.T) {
	busy := func(t *testing.T, err error, text string) {
		t.Helper()
		e := wireError(t, err)
		require.Equal(t, protocol.ErrorUnavailable, e.Code)
		require.Equal(t, text, e.Message)
		require.True(t, *e.Retryable)
		require.Positive(t, *e.RetryAfterMs)
		require.Contains(t, string(e.Details), protocol.DetailTooManyRequests)
	}
	g := newRig(t, blocked(), func(c *Config) { c.SessionRunsMax, c.RunsMax = 2, 3 })
	defer g.stop()
	g.start(ask("1", "hi"))
	g.start(ask("2", "hi"))
	_, _, err := g.Start(t.Context(), ask("3", "hi"))
	busy(t, err, "too many messages wait in this session (2); try again in a moment")
	g.start(ask("4", "hi", in("other")))
	_, _, err = g.Start(t.Context(), ask("5", "hi", in("third")))
	busy(t, err, "too many agent runs (3); try again in a moment")

	_, replayed, err := g.Start(t.Context(), ask("1", "hi"))
	require.NoError(t, err)
	require.True(t, replayed, "a replay needs no room")

	_, err = g.AbortSession(t.Context(), "agent:main:main", StopRPC)
	require.NoError(t, err)
	require.NoError(t, g.EndSession(t.Context(), "agent:main:main", nothing))
	g.start(ask("3", "hi")) // there is room again
}

// nothing is what happens between the end of a session's runs and the next one.
func nothing() error { return nil }

func TestInputsAreBounded(t *testing.T) {
	big := func(q *Request) { q.Images = []session.Image{{MimeType: "image/png", Data: make([]byte, 2<<20)}} }
	g := newRig(t, blocked(), func(c *Config) { c.InputBytesMax = 3 << 20 })
	defer g.stop()
	first := g.start(ask("1", "hi", big))
	_, _, err := g.Start(t.Context(), ask("2", "hi", big))
	e := wireError(t, err)
	require.Equal(t, "the messages that wait are too large together (3 MiB at most); try again in a moment", e.Message)
	require.True(t, *e.Retryable)
	g.start(ask("small", "hi"))
	_, err = g.AbortSession(t.Context(), "agent:main:main", StopRPC)
	require.NoError(t, err)
	<-first.done
	require.NoError(t, g.EndSession(t.Context(), "agent:main:main", nothing))
	g.start(ask("2", "hi", big))
}

func TestSessionIsSerialAndSessionsAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, &agenttest.Script{
			Reply:    func(turn agent.Turn) []string { return []string{"re: ", turn.Messages[len(turn.Messages)-1].Text} },
			Interval: time.Second,
		})
		defer g.stop()
		runs := []*Run{
			g.start(ask("a1", "one")),
			g.start(ask("a2", "two")),
			g.start(ask("b1", "three", in("other"))),
		}
		began := time.Now()
		running, queued := g.inLine("agent:main:main")
		require.Equal(t, []int{1, 1}, []int{running, queued})
		for i, want := range []time.Duration{2 * time.Second, 4 * time.Second, 2 * time.Second} {
			out := g.finish(runs[i])
			require.Equal(t, want, time.UnixMilli(out.EndedAt).Sub(began).Round(10*time.Millisecond), "%s", runs[i].ID())
		}
		require.Equal(t, []string{"user: one", "user: two", "assistant: re: one", "assistant: re: two"}, g.history("main"))
	})
}

// What a model reads of a busy session is a conversation, although the transcript
// has the messages in the order they came.
func TestContextOfQueuedRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := map[string][]string{}
		g := newRig(t, &agenttest.Script{
			Interval: time.Second,
			Reply: func(turn agent.Turn) []string {
				for _, m := range turn.Messages {
					seen[turn.RunID] = append(seen[turn.RunID], m.Role+": "+m.Text)
				}
				return []string{"re " + turn.Messages[len(turn.Messages)-1].Text}
			},
		})
		defer g.stop()
		runs := []*Run{g.start(ask("1", "one")), g.start(ask("2", "two")), g.start(ask("3", "three"))}
		for _, run := range runs {
			g.finish(run)
		}
		require.Equal(t, []string{"user: one"}, seen["1"])
		require.Equal(t, []string{"user: one", "assistant: re one", "user: two"}, seen["2"])
		require.Equal(t, []string{"user: one", "assistant: re one", "user: two", "assistant: re two", "user: three"}, seen["3"])
	})
}

func TestExpiry(t *testing.T) {
	cases := []struct {
		name    string
		timeout time.Duration
		want    time.Duration
	}{
		{"absent", 0, 11 * time.Minute},
		{"short", time.Second, 2 * time.Minute},
		{"a minute", time.Minute, 2 * time.Minute},
		{"long", 3 * time.Hour, 3*time.Hour + time.Minute},
		{"too long", 100 * 24 * time.Hour, 24 * time.Hour},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, blocked())
				defer g.stop()
				began := time.Now()
				run := g.start(ask("k", "hi", func(q *Request) { q.Timeout = c.timeout }))
				behind := g.start(ask("behind", "hi", func(q *Request) { q.Timeout = c.timeout }))
				out := g.finish(run)
				require.Equal(t, c.want, time.Since(began).Round(time.Second))
				require.Equal(t, StopTimeout, out.StopReason)
				require.Equal(t, "so far", out.Text)
				require.Equal(t, "chat 3 aborted timeout so far", g.rec.lines("k")[3])
				g.finish(behind)
				require.Equal(t, []string{"chat 1 aborted timeout"}, g.rec.lines("behind"), "the time in line counts")
			})
		})
	}
}

// A request that does not say how long it may take has what the settings say.
func TestTheTimeoutOfTheSettings(t *testing.T) {
	g := newRig(t, blocked(), func(c *Config) { c.Timeout = func() time.Duration { return 5 * time.Minute } })
	defer g.stop()
	require.Equal(t, 6*time.Minute, g.start(ask("one", "hi")).life, "a minute of grace")
	own := g.start(ask("two", "hi", func(q *Request) { q.Timeout = 3 * time.Minute }))
	require.Equal(t, 4*time.Minute, own.life)
	_, err := g.AbortSession(t.Context(), "agent:main:main", StopRPC)
	require.NoError(t, err)
}
