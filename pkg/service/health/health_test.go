package health

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// recorder is an emitter that keeps what it is given.
type recorder struct {
	mu     sync.Mutex
	events []wire.Emission
}

func (r *recorder) Emit(e wire.Emission) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *recorder) count(name string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Info.Name == name {
			n++
		}
	}
	return n
}

// sessionList is a Sessions in memory that counts how often it is asked.
type sessionList struct {
	mu    sync.Mutex
	list  []session.Entry
	err   error
	asked int
}

func (l *sessionList) Newest(n int) ([]*session.Entry, int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	if n < 0 {
		n = len(l.list)
	}
	var list []*session.Entry
	for i := range l.list[:min(n, len(l.list))] {
		list = append(list, &l.list[i])
	}
	return list, len(l.list), l.err
}

// count returns how often the list was asked for.
func (l *sessionList) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

type parts struct {
	*Service
	events   *recorder
	sessions *sessionList
	queued   []string
	dir      string
	others   []Agent
}

func newService(t *testing.T) *parts {
	p := &parts{events: &recorder{}, sessions: &sessionList{}, dir: t.TempDir()}
	p.Service = New(Config{
		Log: slog.New(slog.DiscardHandler), Emitter: p.events, Versions: new(wire.StateVersions), Sessions: p.sessions,
		StorePath: "/state/gateway.db", Agents: func() []Agent { return append([]Agent{{ID: "main", Workspace: p.dir}}, p.others...) },
		Model:        func() Model { return Model{"mock-1", 32000} },
		SessionModel: func(e *session.Entry) Model { return Model{cmp.Or(e.ModelOverride, "mock-1"), 32000} },
		QueuedEvents: func() []string { return p.queued },
	})
	return p
}

// live runs the service inside a synctest bubble until the returned func is called.
func (p *parts) live(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = p.Run(ctx) })
	wg.Go(func() { _ = p.RunHeartbeats(ctx) })
	return func() { cancel(); wg.Wait() }
}

func TestManyCallsCostOneRefreshASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newService(t)
		p.sessions.list = []session.Entry{{Key: "agent:main:main", UpdatedAt: time.Now().Add(-time.Second).UnixMilli()}}
		p.Refresh()
		defer p.live(t)()
		for range 500 {
			h, err := p.Health(t.Context(), &wire.Peer{}, protocol.HealthParams{})
			require.NoError(t, err)
			require.EqualValues(t, 1, h.Sessions.Count)
			require.EqualValues(t, 1000, h.Sessions.Recent[0].Age.V, "answered from the first summary")
		}
		synctest.Wait()
		require.Equal(t, 1, p.sessions.count(), "nothing is made within the second")
		time.Sleep(refreshGap)
		synctest.Wait()
		require.Equal(t, 2, p.sessions.count(), "500 calls asked for one refresh")
		require.Equal(t, 2, p.events.count(protocol.EventHealth.Name))
		require.EqualValues(t, 3, p.cfg.Versions.Health())
	})
}

func TestProbeWaitsForARefreshThatBeginsAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newService(t)
		p.Refresh()
		defer p.live(t)()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				h, err := p.Health(t.Context(), &wire.Peer{}, protocol.HealthParams{Probe: wire.Some(true)})
				if err != nil || h.Sessions.Count != 1 {
					t.Errorf("probe got %d sessions, err %v; want 1", h.Sessions.Count, err)
				}
			})
		}
		p.sessions.mu.Lock()
		p.sessions.list = []session.Entry{{Key: "agent:main:main"}}
		p.sessions.mu.Unlock()
		wg.Wait()
		require.Equal(t, 2, p.sessions.count(), "20 probes share one refresh")
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := p.Health(ctx, &wire.Peer{}, protocol.HealthParams{Probe: wire.Some(true)})
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestRefreshesWithoutBeingAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newService(t)
		p.Refresh()
		defer p.live(t)()
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		require.Equal(t, 61, p.events.count(protocol.EventHealth.Name))
		require.Equal(t, 2, p.events.count(protocol.EventHeartbeat.Name))
	})
}

func TestAFailedRefreshKeepsTheLastSummary(t *testing.T) {
	p := newService(t)
	p.Refresh()
	before := p.Encoded()
	p.sessions.err = errors.New("disk gone")
	p.Refresh()
	require.Equal(t, string(before), string(p.Encoded()))
	require.Equal(t, 1, p.events.count(protocol.EventHealth.Name))
}

func TestStatusTellsPathsToAdminsOnly(t *testing.T) {
	p := newService(t)
	p.queued = []string{"wake up"}
	p.sessions.list = []session.Entry{{Key: "agent:main:main", SessionID: "s1", TotalTokens: 8000, ThinkingLevel: "low", AbortedLastRun: true}}
	got, err := p.Status(t.Context(), &wire.Peer{Scopes: []string{protocol.ScopeOperatorRead}}, protocol.StatusParams{})
	require.NoError(t, err)
	require.Empty(t, got.Sessions.Paths)
	require.Empty(t, got.Sessions.Recent)
	require.EqualValues(t, 1, got.Sessions.Count)
	require.Equal(t, []string{"wake up"}, got.QueuedSystemEvents)

	got, err = p.Status(t.Context(), &wire.Peer{Scopes: []string{protocol.ScopeOperatorAdmin}}, protocol.StatusParams{})
	require.NoError(t, err)
	require.Equal(t, []string{"/state/gateway.db"}, got.Sessions.Paths)
	row := got.Sessions.Recent[0]
	require.EqualValues(t, 25, row.PercentUsed.V)
	require.EqualValues(t, 24000, row.RemainingTokens.V)
	require.Equal(t, []string{"think:low", "aborted"}, row.Flags)
	require.NoError(t, protocol.Validate("StatusSummary", got.AppendJSON(nil)))
}

func TestHeartbeat(t *testing.T) {
	for name, c := range map[string]struct {
		file, reason, preview string
		queued                []string
		status                protocol.HeartbeatStatus
	}{
		"nothing to do":         {reason: "empty-heartbeat-file", status: protocol.HeartbeatStatusSkipped},
		"only headings":         {file: "# Heartbeat\n\n", reason: "empty-heartbeat-file", status: protocol.HeartbeatStatusSkipped},
		"a task in the file":    {file: "# Heartbeat\nwater the plants\n", reason: "no-target", preview: "water the plants", status: protocol.HeartbeatStatusSkipped},
		"waiting events first":  {file: "water the plants", queued: []string{"wake up"}, reason: "no-target", preview: "wake up", status: protocol.HeartbeatStatusSkipped},
		"invalid UTF-8 is left": {file: "a\xffb", reason: "no-target", preview: "ab", status: protocol.HeartbeatStatusSkipped},
	} {
		t.Run(name, func(t *testing.T) {
			p := newService(t)
			p.queued = c.queued
			if c.file != "" {
				require.NoError(t, os.WriteFile(filepath.Join(p.dir, "HEARTBEAT.md"), []byte(c.file), 0o600))
			}
			p.heartbeat()
			last, err := p.LastHeartbeat(t.Context(), &wire.Peer{}, protocol.LastHeartbeatParams{})
			require.NoError(t, err)
			require.Equal(t, c.status, last.V.Status)
			require.Equal(t, c.reason, last.V.Reason.V)
			require.Equal(t, c.preview, last.V.Preview.V)
			require.NoError(t, protocol.Validate("HeartbeatEvent", last.V.AppendJSON(nil)))
		})
	}
}

func TestHeartbeatDoesNotFollowALinkOutOfTheWorkspace(t *testing.T) {
	p := newService(t)
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("the secret"), 0o600))
	require.NoError(t, os.Symlink(secret, filepath.Join(p.dir, "HEARTBEAT.md")))
	p.heartbeat()
	last, _ := p.LastHeartbeat(t.Context(), &wire.Peer{}, protocol.LastHeartbeatParams{})
	require.Equal(t, protocol.HeartbeatStatusFailed, last.V.Status)
	require.False(t, last.V.Preview.Set)
}

func TestSetHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newService(t)
		p.Refresh()
		defer p.live(t)()
		set := func(params string) (protocol.SetHeartbeatsResult, error) {
			v, err := protocol.MethodSetHeartbeats.Params.Decode([]byte(params))
			require.NoError(t, err)
			return p.SetHeartbeats(t.Context(), &wire.Peer{}, v)
		}
		for _, params := range []string{`{}`, `{"enabled":"yes"}`, `[1]`} {
			_, err := set(params)
			require.EqualError(t, err, "INVALID_REQUEST: invalid set-heartbeats params: enabled (boolean) required")
		}
		last, err := p.LastHeartbeat(t.Context(), &wire.Peer{}, protocol.LastHeartbeatParams{})
		require.NoError(t, err)
		require.False(t, last.Valid)

		_, err = set(`{"enabled":false}`)
		require.NoError(t, err)
		time.Sleep(2*time.Hour + time.Minute)
		require.Zero(t, p.events.count(protocol.EventHeartbeat.Name), "off is off")
		got, err := set(`{"enabled":true}`)
		require.NoError(t, err)
		require.True(t, got.Enabled)
		synctest.Wait()
		require.Equal(t, 1, p.events.count(protocol.EventHeartbeat.Name), "an overdue beat runs at once")
		_, _ = set(`{"enabled":false}`)
		_, _ = set(`{"enabled":true}`)
		synctest.Wait()
		require.Equal(t, 1, p.events.count(protocol.EventHeartbeat.Name), "it is not overdue a moment later")
	})
}

// Every agent is told of, with its own sessions and their models; only the default one
// wakes by itself.
func TestEveryAgentIsToldOf(t *testing.T) {
	p := newService(t)
	p.others = []Agent{{ID: "ops", Name: "Operations"}}
	p.sessions.list = []session.Entry{
		{Key: "agent:main:main", UpdatedAt: 5}, {Key: "agent:ops:a", UpdatedAt: 4, ModelOverride: "own"}, {Key: "global", UpdatedAt: 3}, {Key: "agent:ops:b", UpdatedAt: 2}, {Key: "agent:gone:x", UpdatedAt: 1},
	}
	p.Refresh()
	h, err := p.Health(t.Context(), &wire.Peer{}, protocol.HealthParams{})
	require.NoError(t, err)
	require.Len(t, h.Agents, 2)
	require.Equal(t, []any{"main", true, int64(2), true, "30m"}, []any{h.Agents[0].AgentID, h.Agents[0].IsDefault, h.Agents[0].Sessions.Count, h.Agents[0].Heartbeat.Enabled, h.Agents[0].Heartbeat.Every})
	require.Equal(t, []any{"ops", "Operations", false, int64(2), false, "disabled", false},
		[]any{h.Agents[1].AgentID, h.Agents[1].Name.V, h.Agents[1].IsDefault, h.Agents[1].Sessions.Count, h.Agents[1].Heartbeat.Enabled, h.Agents[1].Heartbeat.Every, h.Agents[1].Heartbeat.EveryMs.Valid})
	require.Equal(t, "agent:ops:a", h.Agents[1].Sessions.Recent[0].Key)
	require.Equal(t, h.Agents[0].Sessions, h.Sessions)

	s, err := p.Status(t.Context(), &wire.Peer{Scopes: []string{protocol.ScopeOperatorAdmin}}, protocol.StatusParams{})
	require.NoError(t, err)
	require.EqualValues(t, 5, s.Sessions.Count)
	require.Len(t, s.Heartbeat.Agents, 2)
	require.Len(t, s.Sessions.ByAgent, 2)
	ops := s.Sessions.ByAgent[1]
	require.Equal(t, []any{"ops", int64(2), "ops", "own", "mock-1"}, []any{ops.AgentID, ops.Count, ops.Recent[0].AgentID.V, ops.Recent[0].Model.V, ops.Recent[1].Model.V})
	require.Equal(t, "gone", s.Sessions.Recent[4].AgentID.V)
}
