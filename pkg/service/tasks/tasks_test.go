package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task"
	"github.com/coderclaw/gateway/pkg/task/durable"
	"github.com/coderclaw/gateway/pkg/transport"
	"github.com/coderclaw/gateway/pkg/transport/local"
	"github.com/coderclaw/gateway/pkg/wire"
)

// room is the service over a real engine and a real store.
type room struct {
	*Service
	t      testing.TB
	engine *durable.Engine
	sess   *session.Sessions

	mu   sync.Mutex
	told []wire.Emission
}

// only is a registry with two agents.
type only struct{}

func (only) Exists(id string) bool { return id == "main" || id == "other" }

// Emit takes what the service tells.
func (r *room) Emit(e wire.Emission) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, e)
}

// events returns what one connection was told.
func (r *room) events(connID string) (list []protocol.TaskWatchEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.told {
		require.Equal(r.t, "task", e.Info.Name)
		if e.To[0] == connID {
			w, err := protocol.DecodeTaskWatchEvent(e.Payload)
			require.NoError(r.t, err)
			list = append(list, w)
		}
	}
	return list
}

func newRoom(t testing.TB, change ...func(*durable.Config)) *room {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(store.Options{Dir: t.TempDir(), Log: log})
	require.NoError(t, err)
	cfg := durable.Config{DB: db, Log: log}
	for _, c := range change {
		c(&cfg)
	}
	engine, err := durable.New(cfg)
	require.NoError(t, err)
	sess, err := session.New(session.Config{DB: db, Log: log})
	require.NoError(t, err)
	r := &room{t: t, engine: engine, sess: sess}
	way, err := local.New(local.Config{Tasks: engine, Version: "1.2.3", Agents: func(context.Context) ([]transport.AgentInfo, error) {
		return []transport.AgentInfo{{ID: "main", Name: "Assistant", Capabilities: []string{"chat"}}}, nil
	}})
	require.NoError(t, err)
	r.Service, err = New(Config{Transport: way, Engine: engine, Sessions: sess, Agents: only{}, Emitter: r, DefaultAgentID: func() string { return "main" }})
	require.NoError(t, err)
	t.Cleanup(func() {
		r.Close()
		require.NoError(t, engine.Close())
		require.NoError(t, db.Close())
	})
	return r
}

var peer = &wire.Peer{ConnID: "conn-1", Role: "operator", Principal: "device-1", DeviceID: "device-1"}

func ask(key string) protocol.TasksSubmitParams {
	return protocol.TasksSubmitParams{Description: "a test", Input: "do it", IdempotencyKey: key}
}

func (r *room) submit(p protocol.TasksSubmitParams) protocol.Task {
	r.t.Helper()
	done, err := r.TasksSubmit(r.t.Context(), peer, p)
	require.NoError(r.t, err)
	require.False(r.t, done.Replayed)
	return done.Task
}

// work completes the next task.
func (r *room) work(output string) {
	r.t.Helper()
	lease, err := r.engine.Claim(r.t.Context(), task.ClaimOpts{Worker: "w"})
	require.NoError(r.t, err)
	require.NoError(r.t, lease.Complete(r.t.Context(), task.Output{Text: output}))
}

func code(t testing.TB, err error) string {
	t.Helper()
	var e *wire.Error
	require.ErrorAs(t, err, &e)
	d, err := protocol.DecodeErrorDetailsOpen(e.Details)
	require.NoError(t, err)
	return d.Code.Or("")
}

func TestSubmitIsIdempotent(t *testing.T) {
	r := newRoom(t)
	first := r.submit(ask("k"))
	require.Equal(t, protocol.TaskStatusPending, first.Status)
	require.Equal(t, "k", first.RunID)
	require.Equal(t, "agent:main:task:"+first.ID, first.SessionID.V)
	require.Equal(t, protocol.TaskSourceTasksSubmit, first.Source)
	require.Equal(t, "device-1", first.RequestedBy.V.Device.V)

	again, err := r.TasksSubmit(t.Context(), peer, ask("k"))
	require.NoError(t, err)
	require.True(t, again.Replayed)
	require.Equal(t, first.ID, again.Task.ID)

	other := ask("k")
	other.Input = "do something else"
	_, err = r.TasksSubmit(t.Context(), peer, other)
	require.Equal(t, protocol.DetailIdempotencyConflict, code(t, err))

	long := ask(strings.Repeat("k", task.KeyBytesMax+1))
	_, err = r.TasksSubmit(t.Context(), peer, long)
	require.Equal(t, protocol.DetailIdempotencyKeyTooLong, code(t, err))
}

func TestSubmitRefuses(t *testing.T) {
	r := newRoom(t)
	for name, edit := range map[string]func(*protocol.TasksSubmitParams){
		"blank input":                  func(p *protocol.TasksSubmitParams) { p.Input = " \n" },
		"a capability that nobody has": func(p *protocol.TasksSubmitParams) { p.Capabilities = []string{"chat", "fly"} },
		"no time":                      func(p *protocol.TasksSubmitParams) { p.Deadline = wire.Some("tomorrow at noon, UTC") },
		"malformed session":            func(p *protocol.TasksSubmitParams) { p.SessionID = wire.Some("agent:") },
		"another's session":            func(p *protocol.TasksSubmitParams) { p.SessionID, p.AgentID = wire.Some("main"), wire.Some("other") },
		"nobody's work":                func(p *protocol.TasksSubmitParams) { p.AgentID = wire.Some("nobody") },
		"nobody's session":             func(p *protocol.TasksSubmitParams) { p.SessionID = wire.Some("agent:nobody:main") },
		"metadata is a list":           func(p *protocol.TasksSubmitParams) { p.Metadata = wire.Raw(`[1]`) },
	} {
		p := ask(name)
		edit(&p)
		_, err := r.TasksSubmit(t.Context(), peer, p)
		require.Equal(t, protocol.DetailInvalidParams, code(t, err), name)
	}
	p := ask("orphan")
	p.ParentTaskID = wire.Some("019ab3c1-7c50-7bbb-8a5f-0d1f3c9c8a11")
	_, err := r.TasksSubmit(t.Context(), peer, p)
	require.Equal(t, protocol.DetailTaskNotFound, code(t, err))
	page, err := r.TasksList(t.Context(), peer, protocol.TasksListParams{})
	require.NoError(t, err)
	require.Empty(t, page.Tasks, "a refused request leaves nothing")
}

func TestSessionByKeyOrTranscript(t *testing.T) {
	r := newRoom(t)
	p := ask("by key")
	p.SessionID = wire.Some("MAIN")
	require.Equal(t, "agent:main:main", r.submit(p).SessionID.V)
}

func TestGetListEvents(t *testing.T) {
	r := newRoom(t)
	first := r.submit(ask("a"))
	second := ask("b")
	second.ParentTaskID = wire.Some(first.ID)
	child := r.submit(second)
	r.work("done")

	got, err := r.TasksGet(t.Context(), peer, protocol.TasksGetParams{TaskID: "a"}) // by its run
	require.NoError(t, err)
	require.Equal(t, first.ID, got.Task.ID)
	require.Equal(t, "do it", got.Task.Input.V)
	require.Equal(t, "done", got.Task.Output.V)
	require.Equal(t, protocol.TaskStatusCompleted, got.Task.Status)

	page, err := r.TasksList(t.Context(), peer, protocol.TasksListParams{Limit: wire.Some(int64(1))})
	require.NoError(t, err)
	require.Equal(t, child.ID, page.Tasks[0].ID)
	require.False(t, page.Tasks[0].Input.Set, "lists leave the input out")
	page, err = r.TasksList(t.Context(), peer, protocol.TasksListParams{After: page.Next})
	require.NoError(t, err)
	require.Len(t, page.Tasks, 1)
	require.Equal(t, first.ID, page.Tasks[0].ID)
	require.False(t, page.Next.Set)

	var seqs []int64
	params := protocol.TasksEventsParams{TaskID: first.ID, Limit: wire.Some(int64(2))}
	for {
		part, err := r.TasksEvents(t.Context(), peer, params)
		require.NoError(t, err)
		for _, e := range part.Events {
			seqs = append(seqs, e.Seq)
		}
		if !part.More {
			break
		}
		params.After = wire.Some(seqs[len(seqs)-1])
	}
	require.Greater(t, len(seqs), 3)
	for i, seq := range seqs {
		require.Equal(t, int64(i+1), seq)
	}
	_, err = r.TasksEvents(t.Context(), peer, protocol.TasksEventsParams{TaskID: "nobody"})
	require.Equal(t, protocol.DetailTaskNotFound, code(t, err))
}

func TestCancelAnswersWhatItDid(t *testing.T) {
	r := newRoom(t)
	parent := r.submit(ask("parent"))
	p := ask("child")
	p.ParentTaskID = wire.Some(parent.ID)
	child := r.submit(p)
	done, err := r.TasksCancel(t.Context(), peer, protocol.TasksCancelParams{TaskID: parent.ID, Reason: wire.Some("enough")})
	require.NoError(t, err)
	require.True(t, done.Cancelled)
	require.Equal(t, []string{child.ID}, done.Descendants)
	require.Equal(t, protocol.TaskStatusCancelled, done.Task.V.Status)

	done, err = r.TasksCancel(t.Context(), peer, protocol.TasksCancelParams{TaskID: parent.ID})
	require.NoError(t, err)
	require.True(t, done.AlreadyTerminal)
	require.False(t, done.Cancelled)
	done, err = r.TasksCancel(t.Context(), peer, protocol.TasksCancelParams{TaskID: "nobody"})
	require.NoError(t, err)
	require.True(t, done.NotFound)
}

func TestRetryIsANewTask(t *testing.T) {
	r := newRoom(t)
	first := r.submit(ask("k"))
	_, err := r.TasksRetry(t.Context(), peer, protocol.TasksRetryParams{TaskID: first.ID, IdempotencyKey: "r"})
	require.Equal(t, protocol.DetailTaskNotEnded, code(t, err))
	r.work("done")
	again, err := r.TasksRetry(t.Context(), peer, protocol.TasksRetryParams{TaskID: first.ID, IdempotencyKey: "r"})
	require.NoError(t, err)
	require.Equal(t, first.ID, again.Task.RetryOf.V)
	require.Equal(t, "do it", again.Task.Input.V)
	require.Equal(t, protocol.TaskStatusPending, again.Task.Status)
	same, err := r.TasksRetry(t.Context(), peer, protocol.TasksRetryParams{TaskID: first.ID, IdempotencyKey: "r"})
	require.NoError(t, err)
	require.True(t, same.Replayed)
	require.Equal(t, again.Task.ID, same.Task.ID)
}

// What cannot be done once more is told, instead of being done otherwise: a slash
// command of a chat, and the work of an agent that is gone.
func TestRetryRefuses(t *testing.T) {
	r := newRoom(t)
	for name, q := range map[string]task.Request{
		"the command /status of a chat": {Description: "/status", Concurrent: true, Key: task.Key{Principal: "device-1", Namespace: task.NamespaceChat, Key: "k"}, ParamsHash: []byte("h")},
		`unknown agent id "gone"`:       {Description: "d", AgentID: "gone"},
	} {
		made, _, err := r.engine.Submit(t.Context(), q)
		require.NoError(t, err)
		_, err = r.engine.Cancel(t.Context(), made.ID, "", "")
		require.NoError(t, err)
		_, err = r.TasksRetry(t.Context(), peer, protocol.TasksRetryParams{TaskID: made.ID, IdempotencyKey: "again"})
		require.Equal(t, protocol.DetailInvalidParams, code(t, err))
		require.ErrorContains(t, err, name)
	}
}

// A watch from cursor 0 in small pages, then live, tells each event once, in order.
func TestWatchTellsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t)
		for i := range 5 {
			r.submit(ask(fmt.Sprint(i)))
			r.work("done")
		}
		var cursors []int64
		params := protocol.TasksWatchParams{Cursor: wire.Some(int64(0)), Limit: wire.Some(int64(3))}
		var watchID string
		for {
			page, err := r.TasksWatch(t.Context(), peer, params)
			require.NoError(t, err)
			for _, e := range page.Events {
				cursors = append(cursors, e.Cursor)
			}
			require.Equal(t, page.Live, page.WatchID.Set)
			params.Cursor = wire.Some(page.Cursor)
			if page.Live {
				watchID = page.WatchID.V
				break
			}
		}
		r.submit(ask("live"))
		r.work("done")
		synctest.Wait()
		for _, e := range r.events(peer.ConnID) {
			require.Equal(t, watchID, e.WatchID)
			require.Equal(t, e.Cursor, e.Event.V.Cursor)
			cursors = append(cursors, e.Cursor)
		}
		require.Len(t, cursors, int(r.engine.Head()))
		for i, c := range cursors {
			require.Equal(t, int64(i+1), c)
		}

		ended, err := r.TasksUnwatch(t.Context(), peer, protocol.TasksUnwatchParams{WatchID: watchID})
		require.NoError(t, err)
		require.True(t, ended.Ended)
		told := len(r.events(peer.ConnID))
		r.submit(ask("unseen"))
		synctest.Wait()
		require.Len(t, r.events(peer.ConnID), told)
		ended, err = r.TasksUnwatch(t.Context(), peer, protocol.TasksUnwatchParams{WatchID: watchID})
		require.NoError(t, err)
		require.False(t, ended.Ended)
	})
}

func TestWatchesEndWithTheirConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t)
		ctx, cancel := context.WithCancel(t.Context())
		for range watchesMax {
			_, err := r.TasksWatch(ctx, peer, protocol.TasksWatchParams{})
			require.NoError(t, err)
		}
		_, err := r.TasksWatch(ctx, peer, protocol.TasksWatchParams{})
		require.Equal(t, protocol.DetailLimitExceeded, code(t, err))
		cancel()
		r.PeerDisconnected(peer)
		synctest.Wait()
		require.Empty(t, r.watches)
		_, err = r.TasksWatch(ctx, peer, protocol.TasksWatchParams{}) // a request that was under way
		require.ErrorIs(t, err, context.Canceled)
		r.submit(ask("k"))
		synctest.Wait()
		require.Empty(t, r.events(peer.ConnID))
	})
}

func TestWatchersAreToldThatTheEngineStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t)
		_, err := r.TasksWatch(t.Context(), peer, protocol.TasksWatchParams{})
		require.NoError(t, err)
		require.NoError(t, r.engine.Close())
		synctest.Wait()
		told := r.events(peer.ConnID)
		require.Len(t, told, 1)
		require.Equal(t, protocol.TaskWatchEndUnavailable, told[0].Ended.V)
	})
}

func TestStatusAndDiscovery(t *testing.T) {
	r := newRoom(t)
	r.submit(ask("a"))
	r.submit(ask("b"))
	r.work("done")
	st, err := r.TasksStatus(t.Context(), peer, protocol.TasksStatusParams{})
	require.NoError(t, err)
	require.Equal(t, protocol.TaskCounts{Pending: 1, Completed: 1}, st.Counts)
	require.Equal(t, int64(2), st.TotalTasks)
	require.True(t, st.Healthy)
	require.Equal(t, "local-only", st.Mode)
	require.Equal(t, "1.2.3", st.Version)
	require.Equal(t, int64(1), st.QueuedTasks)
	agents, err := r.TasksAgents(t.Context(), peer, protocol.TasksAgentsParams{})
	require.NoError(t, err)
	require.Len(t, agents.Agents, 1)
	skills, err := r.TasksSkills(t.Context(), peer, protocol.TasksSkillsParams{})
	require.NoError(t, err)
	require.Equal(t, `{"skills":[]}`, string(skills.AppendJSON(nil)))
}

func TestRefusals(t *testing.T) {
	require.Equal(t, protocol.DetailShuttingDown, code(t, refusal(fmt.Errorf("x: %w", task.ErrUnavailable))))
	require.Equal(t, protocol.DetailTooManyRequests, code(t, refusal(task.ErrFull)))
	require.Equal(t, protocol.DetailEventsGone, code(t, refusal(task.ErrGone)))
	require.Equal(t, protocol.DetailRunConflict, code(t, refusal(task.ErrConflict)))
	other := errors.New("disk")
	require.Equal(t, other, refusal(other))
	require.NoError(t, refusal(nil))
}

// Times leave as RFC 3339 in UTC with milliseconds, wherever they stand; the original
// defines no format.
func TestTimesOnTheWire(t *testing.T) {
	r := newRoom(t)
	params := ask("k")
	params.Deadline, params.NotBefore = wire.Some("2126-11-22T12:00:00+02:00"), wire.Some("2026-01-02T03:04:05.678901Z")
	first := r.submit(params)
	require.Equal(t, "2126-11-22T10:00:00.000Z", first.Deadline.V)
	require.Equal(t, "2026-01-02T03:04:05.678Z", first.NotBefore.V)
	r.work("done")
	got, err := r.TasksGet(t.Context(), peer, protocol.TasksGetParams{TaskID: first.ID})
	require.NoError(t, err)
	events, err := r.TasksEvents(t.Context(), peer, protocol.TasksEventsParams{TaskID: first.ID})
	require.NoError(t, err)
	for _, at := range []string{got.Task.CreatedAt, got.Task.StartedAt.V, got.Task.CompletedAt.V, events.Events[0].Timestamp} {
		require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`, at)
	}
}
