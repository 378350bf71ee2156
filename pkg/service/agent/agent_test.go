package agent

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/agent/agenttest"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task/durable"
	"github.com/coderclaw/gateway/pkg/turn"
	"github.com/coderclaw/gateway/pkg/wire"
)

// recorder counts the events it is given.
type recorder struct {
	mu sync.Mutex
	n  int
}

func (r *recorder) Emit(wire.Emission) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

// rig is the service on a real store and a real run registry.
type rig struct {
	*Service
	t    testing.TB
	rec  *recorder
	sess *session.Sessions
	runs *turn.Runs
	stop func()
}

func newRig(t testing.TB, backend agent.Backend) *rig {
	t.Helper()
	return openRig(t, t.TempDir(), backend)
}

// openRig is newRig on a state directory that may have seen a life before.
func openRig(t testing.TB, dir string, backend agent.Backend) *rig {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(store.Options{Dir: dir, Log: log})
	require.NoError(t, err)
	sess, err := session.New(session.Config{DB: db, Log: log})
	require.NoError(t, err)
	rec := &recorder{}
	tasks, err := durable.New(durable.Config{DB: db, Log: log})
	require.NoError(t, err)
	runs, err := turn.New(turn.Config{DB: db, Tasks: tasks, Sessions: sess, Backend: backend, Emitter: rec, Log: log})
	require.NoError(t, err)
	svc, err := New(Config{Sessions: sess, Runs: runs})
	require.NoError(t, err)
	return &rig{Service: svc, t: t, rec: rec, sess: sess, runs: runs, stop: func() {
		require.NoError(t, runs.Close())
		require.NoError(t, db.Close())
	}}
}

var peer = &wire.Peer{ConnID: "conn-1", Role: "operator", Principal: "device-1"}

// call runs the agent method and returns the runs it acknowledged with its result.
func (g *rig) call(ctx context.Context, params protocol.AgentParams) (acks []protocol.AgentAccepted, result protocol.AgentResult, err error) {
	result, err = g.Agent(ctx, peer, params, func(a protocol.AgentAccepted) error {
		acks = append(acks, a)
		return nil
	})
	return acks, result, err
}

func refusal(t testing.TB, err error) *wire.Error {
	t.Helper()
	var e *wire.Error
	require.ErrorAs(t, err, &e)
	return e
}

// As recorded in agent-run: an acknowledgement, then the result; the same key
// again gets the result at once.
func TestAgentAnswersTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, &agenttest.Script{Interval: 60 * time.Millisecond})
		defer g.stop()
		params := protocol.AgentParams{Message: "hi agent", SessionKey: wire.Some("main"), IdempotencyKey: "a1"}
		began := time.Now()
		var atAck int
		result, err := g.Agent(t.Context(), peer, params, func(a protocol.AgentAccepted) error {
			time.Sleep(time.Minute)
			atAck = g.rec.count()
			require.JSONEq(t, `{"runId":"a1","status":"accepted","acceptedAt":`+jsonNumber(t, began.UnixMilli())+`}`, string(a.AppendJSON(nil)))
			return nil
		})
		require.NoError(t, err)
		require.Zero(t, atAck, "no event before the acknowledgement")
		entry, _, err := g.sess.Get("main")
		require.NoError(t, err)
		require.JSONEq(t, `{"runId":"a1","status":"ok","summary":"completed","result":{
			"payloads":[{"text":"word0 word1 word2 word3 word4 word5 word6 word7","mediaUrl":null}],
			"meta":{"durationMs":60480,"aborted":false,"stopReason":"stop","agentMeta":{
				"sessionId":"`+entry.SessionID+`","provider":"script","model":"script-1","promptTokens":10,
				"usage":{"input":10,"output":8,"total":18},
				"lastCallUsage":{"input":10,"output":8,"cacheRead":0,"cacheWrite":0,"total":18}}}}}`,
			string(result.AppendJSON(nil)))

		acks, again, err := g.call(t.Context(), params)
		require.NoError(t, err)
		require.Empty(t, acks)
		require.Equal(t, result, again)
	})
}

func jsonNumber(t testing.TB, n int64) string {
	raw, err := json.Marshal(n)
	require.NoError(t, err)
	return string(raw)
}

func TestAgentReplayJoinsTheRunInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, &agenttest.Script{Interval: time.Second})
		defer g.stop()
		params := protocol.AgentParams{Message: "hi", SessionKey: wire.Some("main"), IdempotencyKey: "a1"}
		lost, leave := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() {
			_, _, err := g.call(lost, params)
			gone <- err
		}()
		synctest.Wait()
		leave()
		require.ErrorIs(t, <-gone, context.Canceled)

		acks, result, err := g.call(t.Context(), params)
		require.NoError(t, err)
		require.Len(t, acks, 1)
		require.Equal(t, protocol.AgentFinalStatusOk, result.Status)
		history, err := g.sess.History("main", 10)
		require.NoError(t, err)
		require.Len(t, history, 2, "one question, one answer")
	})
}

// thinker is a Script that says nothing to "and?" until its cancellation.
type thinker struct{ agenttest.Script }

func (b *thinker) Run(ctx context.Context, turn agent.Turn, emit func(agent.Event)) (agent.Result, error) {
	if turn.Messages[len(turn.Messages)-1].Text != "and?" {
		return b.Script.Run(ctx, turn, emit)
	}
	<-ctx.Done()
	return agent.Result{}, ctx.Err()
}

// The same key gets the same result from the next life of the gateway; a turn that
// it stopped before has none yet, and says so.
func TestAgentResultOutlivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		g := openRig(t, dir, &thinker{agenttest.Script{Interval: time.Second}})
		params := protocol.AgentParams{Message: "hi", SessionKey: wire.Some("main"), IdempotencyKey: "a1"}
		_, result, err := g.call(t.Context(), params)
		require.NoError(t, err)
		unanswered := make(chan error)
		late := protocol.AgentParams{Message: "and?", SessionKey: wire.Some("main"), IdempotencyKey: "a2"}
		go func() {
			_, _, err := g.call(t.Context(), late)
			unanswered <- err
		}()
		synctest.Wait()
		g.stop()
		e := refusal(t, <-unanswered)
		require.Equal(t, protocol.ErrorUnavailable, e.Code)
		require.True(t, *e.Retryable)
		require.Contains(t, string(e.Details), protocol.DetailShuttingDown)
		require.Empty(t, e.Payload, "there is no result yet")

		g = openRig(t, dir, &agenttest.Script{Interval: time.Second})
		defer g.stop()
		acks, again, err := g.call(t.Context(), params)
		require.NoError(t, err)
		require.Empty(t, acks)
		require.Equal(t, result, again)

		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- g.runs.Run(ctx) }()
		acks, result, err = g.call(t.Context(), late)
		require.NoError(t, err)
		require.Len(t, acks, 1, "it is in flight")
		require.Equal(t, "completed", result.Summary)
		cancel()
		require.NoError(t, <-ended)
	})
}

func TestAgentRunsAlthoughTheAcknowledgementIsLost(t *testing.T) {
	g := newRig(t, &agenttest.Script{})
	defer g.stop()
	params := protocol.AgentParams{Message: "hi", SessionKey: wire.Some("main"), IdempotencyKey: "a1"}
	_, err := g.Agent(t.Context(), peer, params, func(protocol.AgentAccepted) error { return errors.New("connection closed") })
	require.EqualError(t, err, "connection closed")
	wait, err := g.AgentWait(t.Context(), peer, protocol.AgentWaitParams{RunID: "a1"})
	require.NoError(t, err)
	require.Equal(t, protocol.AgentWaitStatusOk, wait.Status)
}

func TestAgentRefusals(t *testing.T) {
	g := newRig(t, &agenttest.Script{})
	defer g.stop()
	_, err := g.sess.Patch(t.Context(), "muted", func(e *session.Entry) error { e.SendPolicy = "deny"; return nil })
	require.NoError(t, err)
	s := wire.Some[string]
	cases := []struct {
		name   string
		params protocol.AgentParams
		want   string
	}{
		{"agent", protocol.AgentParams{AgentID: s("nope")}, `invalid agent params: unknown agent id "nope"`},
		{"channel", protocol.AgentParams{Channel: s("nope")}, `invalid agent params: unknown channel: nope`},
		{"reply channel", protocol.AgentParams{SessionKey: s("main"), ReplyChannel: s("fax")}, `invalid agent params: unknown channel: fax`},
		{"key", protocol.AgentParams{SessionKey: s("agent:")}, `invalid agent params: malformed session key "agent:"`},
		{"mismatch", protocol.AgentParams{AgentID: s("main"), SessionKey: s("agent:other:x")}, `invalid agent params: agent "main" does not match session key agent "other"`},
		{"session of nobody", protocol.AgentParams{SessionKey: s("agent:other:x")}, `invalid agent params: unknown agent id "other"`},
		{"muted", protocol.AgentParams{SessionKey: s("muted")}, "send blocked by session policy"},
		{"attachment", protocol.AgentParams{SessionKey: s("main"), Attachments: []wire.Raw{wire.Raw(`{"fileName":"a.png","content":"!!!"}`)}}, "Error: attachment a.png: invalid base64 content"},
		{"null byte", protocol.AgentParams{SessionKey: s("main"), Message: "a\x00"}, "message must not contain null bytes"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.params.IdempotencyKey = "a2"
			if c.params.Message == "" {
				c.params.Message = "x"
			}
			acks, _, err := g.call(t.Context(), c.params)
			e := refusal(t, err)
			require.Equal(t, protocol.ErrorInvalidRequest, e.Code)
			require.Equal(t, c.want, e.Message)
			require.Empty(t, acks)
		})
	}
	require.Zero(t, g.rec.count())
}

// As recorded in agent-run: accepted, then refused.
func TestAgentWithoutATarget(t *testing.T) {
	g := newRig(t, &agenttest.Script{})
	defer g.stop()
	acks, _, err := g.call(t.Context(), protocol.AgentParams{Message: "x", IdempotencyKey: "a5"})
	require.Len(t, acks, 1)
	require.Equal(t, "a5", acks[0].RunID)
	e := refusal(t, err)
	const text = "Error: Pass --to <E.164>, --session-id, or --agent to choose a session"
	require.Equal(t, protocol.ErrorUnavailable, e.Code)
	require.Equal(t, text, e.Message)
	require.JSONEq(t, `{"runId":"a5","status":"error","summary":"`+text+`"}`, string(e.Payload))
}

func TestAgentTargets(t *testing.T) {
	g := newRig(t, &agenttest.Script{})
	defer g.stop()
	known, err := g.sess.Patch(t.Context(), "agent:main:work", nil)
	require.NoError(t, err)
	s := wire.Some[string]
	cases := []struct {
		name   string
		params protocol.AgentParams
		want   string
	}{
		{"key", protocol.AgentParams{SessionKey: s("Work")}, "agent:main:work"},
		{"id of a transcript", protocol.AgentParams{SessionID: s(known.SessionID)}, "agent:main:work"},
		{"the original's CLI", protocol.AgentParams{SessionID: s("main"), Channel: s("whatsapp"), Deliver: wire.Some(false)}, "agent:main:main"},
		{"a new id begins a session", protocol.AgentParams{SessionID: s("Fresh-1")}, "agent:main:fresh-1"},
		{"agent", protocol.AgentParams{AgentID: s("MAIN")}, "agent:main:main"},
		{"person", protocol.AgentParams{To: s("+15550100")}, "agent:main:main"},
		{"key before the rest", protocol.AgentParams{SessionKey: s("work"), SessionID: s("x"), To: s("y"), AgentID: s("main")}, "agent:main:work"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.params.Message, c.params.IdempotencyKey = "hi", c.name
			c.params.Label = s("L " + c.name)
			_, result, err := g.call(t.Context(), c.params)
			require.NoError(t, err)
			entry, _, err := g.sess.Get(c.want)
			require.NoError(t, err)
			require.Equal(t, entry.SessionID, result.Result.V.Meta.AgentMeta.V.SessionID)
			require.Equal(t, "L "+c.name, entry.Label)
		})
	}
}

func TestAgentEnds(t *testing.T) {
	cases := []struct {
		name    string
		backend agent.Backend
		message string
		abort   bool
		want    string // of the result, or of the error's payload
		err     string
	}{
		{"failed", &agenttest.Script{Err: errors.New("HTTP 401: mock invalid api key")}, "hi", false,
			`{"runId":"k","status":"error","summary":"HTTP 401: mock invalid api key"}`, "HTTP 401: mock invalid api key"},
		{"aborted", &agenttest.Script{Interval: time.Hour}, "hi", true,
			`{"runId":"k","status":"ok","summary":"aborted","result":{"payloads":[{"text":"word0","mediaUrl":null}],"meta":{"durationMs":60000,"aborted":true,"stopReason":"rpc"}}}`, ""},
		{"timed out", &agenttest.Script{Interval: time.Hour, Reply: func(agent.Turn) []string { return []string{""} }}, "hi", false,
			`{"runId":"k","status":"ok","summary":"timed out","result":{"payloads":[],"meta":{"durationMs":120000,"aborted":true,"stopReason":"timeout"}}}`, ""},
		{"silent", &agenttest.Script{Reply: func(agent.Turn) []string { return []string{"NO_REPLY"} }}, "hi", false, `"payloads":[]`, ""},
		{"command", &agenttest.Script{}, "/stop", false,
			`{"runId":"k","status":"ok","summary":"completed","result":{"payloads":[{"text":"Nothing was running here.","mediaUrl":null}],"meta":{"durationMs":0,"aborted":false,"stopReason":"stop"}}}`, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, c.backend)
				defer g.stop()
				if c.abort {
					time.AfterFunc(time.Minute, func() {
						_, err := g.runs.AbortRun(context.Background(), "agent:main:main", "k", turn.StopRPC)
						require.NoError(t, err)
					})
				}
				_, result, err := g.call(t.Context(), protocol.AgentParams{
					Message: c.message, IdempotencyKey: "k", SessionKey: wire.Some("main"), Timeout: wire.Some[int64](1),
				})
				if c.err != "" {
					e := refusal(t, err)
					require.Equal(t, protocol.ErrorUnavailable, e.Code)
					require.Equal(t, c.err, e.Message)
					require.JSONEq(t, c.want, string(e.Payload))
					require.Contains(t, string(e.Details), protocol.DetailModelUnavailable)
					return
				}
				require.NoError(t, err)
				require.Contains(t, string(result.AppendJSON(nil)), c.want)
			})
		})
	}
}

func TestAgentWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, &agenttest.Script{Interval: time.Second})
		defer g.stop()
		wait := func(id string, ms wire.Opt[int64]) string {
			result, err := g.AgentWait(t.Context(), peer, protocol.AgentWaitParams{RunID: id, TimeoutMs: ms})
			require.NoError(t, err)
			return string(result.AppendJSON(nil))
		}
		began := time.Now()
		require.JSONEq(t, `{"runId":"zzz","status":"timeout"}`, wait("zzz", wire.Some[int64](50)))
		require.Equal(t, 50*time.Millisecond, time.Since(began))
		wait("zzz", wire.Opt[int64]{})
		require.Equal(t, 30*time.Second, time.Since(began).Round(time.Second))

		run, _, err := g.runs.Start(t.Context(), turn.Request{Key: "a1", SessionKey: "agent:main:main", RawSessionKey: "main", Message: "hi"})
		require.NoError(t, err)
		run.Release()
		started := jsonNumber(t, time.Now().UnixMilli())
		require.JSONEq(t, `{"runId":"a1","status":"timeout"}`, wait("a1", wire.Some[int64](1000)))
		ended := jsonNumber(t, time.Now().Add(7*time.Second).UnixMilli())
		want := `{"runId":"a1","status":"ok","startedAt":` + started + `,"endedAt":` + ended + `}`
		require.JSONEq(t, want, wait("a1", wire.Some[int64](10000)))
		require.JSONEq(t, want, wait("a1", wire.Some[int64](0)), "what has ended needs no time")
	})
}

func TestAgentWaitTellsHowItEnded(t *testing.T) {
	g := newRig(t, &agenttest.Script{Err: errors.New("HTTP 500")})
	defer g.stop()
	_, _, err := g.call(t.Context(), protocol.AgentParams{Message: "hi", IdempotencyKey: "bad", SessionKey: wire.Some("main")})
	require.Error(t, err)
	result, err := g.AgentWait(t.Context(), peer, protocol.AgentWaitParams{RunID: "bad"})
	require.NoError(t, err)
	require.Equal(t, protocol.AgentWaitStatusError, result.Status)
	require.Equal(t, "HTTP 500", result.Error.V)

	run, _, err := g.runs.Start(t.Context(), turn.Request{Key: "cut", SessionKey: "agent:main:main", RawSessionKey: "main", Message: "hi"})
	require.NoError(t, err)
	_, err = g.runs.AbortRun(t.Context(), "agent:main:main", run.ID(), turn.StopRPC)
	require.NoError(t, err)
	result, err = g.AgentWait(t.Context(), peer, protocol.AgentWaitParams{RunID: "cut"})
	require.NoError(t, err)
	require.Equal(t, protocol.AgentWaitStatusTimeout, result.Status)
	require.True(t, result.EndedAt.Set)
	require.False(t, result.StartedAt.Set)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = g.AgentWait(ctx, peer, protocol.AgentWaitParams{RunID: "zzz"})
	require.ErrorIs(t, err, context.Canceled)
}

// two is a gateway with two agents, main and ops.
type two struct{ solo }

func (two) Exists(id string) bool {
	return solo{}.Exists(id) || session.NormalizeAgentID(id) == "ops"
}

func (two) Present(id string) Identity {
	if session.NormalizeAgentID(id) == "ops" {
		return Identity{Name: "Ops", Emoji: "O"}
	}
	return solo{}.Present(id)
}

func TestAgentIdentityGet(t *testing.T) {
	g := newRig(t, &agenttest.Script{})
	defer g.stop()
	g.agents = two{}
	s := wire.Some[string]
	const main = `{"agentId":"main","name":"Assistant","avatar":"A"}`
	cases := []struct {
		name   string
		params protocol.AgentIdentityParams
		want   string
		err    string
	}{
		{"nothing", protocol.AgentIdentityParams{}, main, ""},
		{"session", protocol.AgentIdentityParams{SessionKey: s("main")}, main, ""},
		{"agent", protocol.AgentIdentityParams{AgentID: s("OPS")}, `{"agentId":"ops","name":"Ops","emoji":"O"}`, ""},
		{"agent of a session", protocol.AgentIdentityParams{SessionKey: s("agent:ops:x")}, `{"agentId":"ops","name":"Ops","emoji":"O"}`, ""},
		{"nobody", protocol.AgentIdentityParams{AgentID: s("ghost")}, `{"agentId":"ghost"}`, ""},
		{"mismatch", protocol.AgentIdentityParams{SessionKey: s("main"), AgentID: s("zz")}, "", `invalid agent.identity.get params: agent "zz" does not match session key agent "main"`},
		{"malformed", protocol.AgentIdentityParams{SessionKey: s("agent:")}, "", `invalid agent.identity.get params: malformed session key "agent:"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			result, err := g.AgentIdentityGet(t.Context(), peer, c.params)
			if c.err != "" {
				require.Equal(t, c.err, refusal(t, err).Message)
				return
			}
			require.NoError(t, err)
			require.JSONEq(t, c.want, string(result.AppendJSON(nil)))
		})
	}
}
