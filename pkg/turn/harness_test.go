package turn

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/task/durable"
	"github.com/coderclaw/gateway/pkg/wire"
)

// emitted is one event as the hub would get it.
type emitted struct {
	wire.Emission
	at    time.Time
	chat  protocol.ChatEvent
	agent protocol.AgentEvent
}

// recorder is a wire.Emitter that keeps what it is given.
type recorder struct {
	mu   sync.Mutex
	all  []emitted
	deaf bool
	hook func(emitted) // called outside of mu; may be nil
}

// deafen makes the recorder forget what comes from now on.
func (r *recorder) deafen() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deaf = true
}

func (r *recorder) Emit(e wire.Emission) {
	got := emitted{Emission: e, at: time.Now()}
	var err error
	switch e.Info.Name {
	case protocol.EventChat.Name:
		got.chat, err = protocol.DecodeChatEvent(e.Payload)
	case protocol.EventAgent.Name:
		got.agent, err = protocol.DecodeAgentEvent(e.Payload)
	default:
		err = fmt.Errorf("unexpected event %s", e.Info.Name)
	}
	if err != nil {
		panic(err)
	}
	r.mu.Lock()
	if !r.deaf {
		r.all = append(r.all, got)
	}
	r.mu.Unlock()
	if r.hook != nil {
		r.hook(got)
	}
}

func (r *recorder) events() []emitted {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]emitted(nil), r.all...)
}

// lines tells the events of a run, one line each: kind, seq and what it says.
func (r *recorder) lines(runID string) []string {
	out := []string{}
	for _, e := range r.events() {
		if line := e.line(); e.runID() == runID {
			out = append(out, line)
		}
	}
	return out
}

func (e emitted) runID() string { return e.chat.RunID + e.agent.RunID }

func (e emitted) line() string {
	if e.Info.Name == protocol.EventChat.Name {
		return strings.TrimSpace(fmt.Sprintf("chat %d %s %s %s%s", e.chat.Seq, e.chat.State,
			e.chat.StopReason.Or(""), messageText(e.chat.Message), e.chat.ErrorMessage.Or("")))
	}
	data := map[string]any{}
	for k, v := range e.agent.Data.Members() {
		var member any
		if err := json.Unmarshal(v, &member); err != nil {
			panic(err)
		}
		data[k] = member
	}
	what := ""
	for _, k := range []string{"phase", "name", "delta", "error"} {
		if v, ok := data[k]; ok {
			what += fmt.Sprintf(" %v", v)
		}
	}
	if e.To != nil {
		what += fmt.Sprintf(" to %v", e.To)
	}
	return fmt.Sprintf("agent %d %s%s", e.agent.Seq, e.agent.Stream, what)
}

// messageText is the text of a chat event's message.
func messageText(raw wire.Raw) string {
	if raw == nil {
		return ""
	}
	m, err := protocol.DecodeChatMessage(raw)
	if err != nil {
		panic(err)
	}
	var text string
	for _, c := range m.Content {
		text += c.Text.Or("")
	}
	return text
}

// terminals counts the ends of a run that chat windows were told.
func (r *recorder) terminals(runID string) int {
	n := 0
	for _, e := range r.events() {
		if e.chat.RunID == runID && e.chat.State != protocol.ChatStateDelta {
			n++
		}
	}
	return n
}

// rig is a registry on a real store, with a recorder for a hub.
type rig struct {
	*Runs
	engine *durable.Engine
	t      testing.TB
	rec    *recorder
	db     *faultyStore
	sess   *session.Sessions
	stop   func()
}

// faultyStore is a real store that can be made to refuse writes.
type faultyStore struct {
	*store.DB
	after func() // told of each write that succeeded; may be nil

	mu  sync.Mutex
	err func() error // asked before each write; nil is well
}

func (f *faultyStore) Update(ctx context.Context, fn func(*store.Tx) error) error {
	f.mu.Lock()
	fault := f.err
	f.mu.Unlock()
	if fault != nil {
		if err := fault(); err != nil {
			return err
		}
	}
	err := f.DB.Update(ctx, fn)
	if err == nil && f.after != nil {
		f.after()
	}
	return err
}

// fail makes writes ask fault first, or lets them be when it is nil.
func (f *faultyStore) fail(fault func() error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = fault
}

// full refuses every write.
func full() error { return errors.New("disk full") }

// newRig opens a store and a registry on it; the test's end closes them. Inside a
// synctest bubble the caller closes the rig itself, before the bubble ends.
func newRig(t testing.TB, backend agent.Backend, change ...func(*Config)) *rig {
	t.Helper()
	return openRig(t, t.TempDir(), backend, change...)
}

// openRig is newRig in a directory of the caller's: a life of the gateway among
// others. The registry's Run is up to the caller.
func openRig(t testing.TB, dir string, backend agent.Backend, change ...func(*Config)) *rig {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(store.Options{Dir: dir, Log: log})
	require.NoError(t, err)
	sess, err := session.New(session.Config{DB: db, Log: log})
	require.NoError(t, err)
	rec := &recorder{}
	faulty := &faultyStore{DB: db}
	engine, err := durable.New(durable.Config{DB: faulty, Log: log})
	require.NoError(t, err)
	cfg := Config{DB: faulty, Tasks: engine, Sessions: sess, Backend: backend, Emitter: rec, Log: log, Version: "1.2.3"}
	for _, fn := range change {
		fn(&cfg)
	}
	runs, err := New(cfg)
	require.NoError(t, err)
	g := &rig{Runs: runs, engine: engine, t: t, rec: rec, db: faulty, sess: sess}
	g.stop = sync.OnceFunc(func() {
		require.NoError(t, runs.Close())
		require.NoError(t, engine.Close())
		require.NoError(t, db.Close())
	})
	return g
}

// live runs the registry until the returned function is called.
func (g *rig) live() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	driven, halt := context.WithCancel(context.Background())
	ended, halted := make(chan error, 1), make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	go func() { halted <- g.engine.Run(driven) }()
	return func() {
		cancel()
		require.NoError(g.t, <-ended)
		halt()
		require.NoError(g.t, <-halted)
		g.stop()
	}
}

// errDead is what a gateway gets that has been killed and does not know.
var errDead = errors.New("dead")

// crash ends a life as kill -9 does: from now on nothing reaches the disk, and
// what was under way is not told.
func (g *rig) crash() {
	g.t.Helper()
	g.db.fail(func() error { return errDead })
	g.rec.deafen()
	require.NoError(g.t, g.Close())
	g.stop()
}

// ask is a request for a turn in the main session.
func ask(key, message string, change ...func(*Request)) Request {
	req := Request{
		Principal:     "device-1",
		Namespace:     NamespaceChat,
		Key:           key,
		ParamsHash:    sha256.Sum256([]byte(message)),
		SessionKey:    "agent:main:main",
		RawSessionKey: "main",
		AgentID:       "main",
		Message:       message,
	}
	for _, fn := range change {
		fn(&req)
	}
	return req
}

// in moves a request to another session.
func in(name string) func(*Request) {
	return func(q *Request) { q.SessionKey, q.RawSessionKey = "agent:main:"+name, name }
}

// byAgent makes a request one of the agent method, whose outcomes keep their text.
func byAgent(q *Request) { q.Namespace = NamespaceAgent }

// start accepts and releases a run.
func (g *rig) start(req Request) *Run {
	g.t.Helper()
	run, replayed, err := g.Start(context.Background(), req)
	require.NoError(g.t, err)
	require.False(g.t, replayed)
	run.Release()
	return run
}

// finish waits for a run's end.
func (g *rig) finish(run *Run) Outcome {
	g.t.Helper()
	out, err := run.Wait(context.Background())
	require.NoError(g.t, err)
	return out
}

// history is the transcript of a session as "role: text" lines.
func (g *rig) history(key string) []string {
	g.t.Helper()
	messages, err := g.sess.History(key, 100)
	require.NoError(g.t, err)
	out := []string{}
	for _, m := range messages {
		out = append(out, m.Role+": "+m.Text)
	}
	return out
}

// funcBackend is an agent.Backend made of functions.
type funcBackend struct {
	run    func(ctx context.Context, turn agent.Turn, emit func(agent.Event)) (agent.Result, error)
	models func() ([]agent.Model, error)
}

func (b *funcBackend) Name() string { return "func" }

func (b *funcBackend) Models(context.Context) ([]agent.Model, error) {
	if b.models == nil {
		return nil, nil
	}
	return b.models()
}

func (b *funcBackend) Run(ctx context.Context, turn agent.Turn, emit func(agent.Event)) (agent.Result, error) {
	return b.run(ctx, turn, emit)
}

// blocked is a backend that says "so far" and then waits for its cancellation.
func blocked() *funcBackend {
	return &funcBackend{run: func(ctx context.Context, _ agent.Turn, emit func(agent.Event)) (agent.Result, error) {
		emit(agent.Event{Text: "so far"})
		<-ctx.Done()
		return agent.Result{}, ctx.Err()
	}}
}

// wireError asserts that err is a refusal and returns it.
func wireError(t testing.TB, err error) *wire.Error {
	t.Helper()
	var e *wire.Error
	require.ErrorAs(t, err, &e)
	return e
}

// setVerbose sets a session's verbose level.
func (g *rig) setVerbose(key, level string) {
	g.t.Helper()
	_, err := g.sess.Patch(context.Background(), key, func(e *session.Entry) error {
		e.VerboseLevel = level
		return nil
	})
	require.NoError(g.t, err)
}
