package presence

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// recorder is an emitter that keeps what it is given.
type recorder struct{ events []wire.Emission }

func (r *recorder) Emit(e wire.Emission) { r.events = append(r.events, e) }

// noteList is a Notes in memory.
type noteList struct {
	texts []string
	err   error
}

func (n *noteList) AddNote(_ context.Context, text string) error {
	if n.err == nil {
		n.texts = append(n.texts, text)
	}
	return n.err
}

func newService() (*Service, *recorder, *noteList) {
	r, n := &recorder{}, &noteList{}
	return New(Config{Emitter: r, Versions: new(wire.StateVersions), Host: "attic", IP: "192.0.2.2", Version: "1.2.3", Notes: n}), r, n
}

func tester(device string) *wire.Peer {
	return &wire.Peer{ConnID: "c1", Role: protocol.RoleOperator, Scopes: []string{protocol.ScopeOperatorRead}, DeviceID: device,
		Client: wire.ClientInfo{ID: "test", Version: "0.0.1", Platform: "linux", Mode: "test"}}
}

func TestArrivalIsListedButNotAnnounced(t *testing.T) {
	s, events, _ := newService()
	s.PeerConnected(tester("dev"))
	list := s.List()
	require.Len(t, list, 2)
	require.Equal(t, "Gateway: attic (192.0.2.2) · app 1.2.3 · mode gateway · reason self", list[0].Text.V)
	require.Equal(t, "Node: test · mode test", list[1].Text.V)
	require.Equal(t, "connect", list[1].Reason.V)
	require.Equal(t, "dev", list[1].InstanceID.V, "the device id is the instance id")
	require.Empty(t, events.events)
	require.EqualValues(t, 2, s.cfg.Versions.Presence())
}

func TestDepartureIsAnnounced(t *testing.T) {
	s, events, _ := newService()
	s.PeerConnected(tester("dev"))
	s.PeerDisconnected(tester("dev"))
	require.Len(t, events.events, 1)
	got, err := protocol.EventPresence.Payload.Decode(events.events[0].Payload)
	require.NoError(t, err)
	require.Equal(t, "disconnect", got.Presence[1].Reason.V)
	require.Equal(t, []string{protocol.ScopeOperatorRead}, got.Presence[1].Scopes, "what it held stays known")
}

func TestCommandLineToolsAreNotPresence(t *testing.T) {
	s, events, _ := newService()
	p := tester("dev")
	p.Client.ID, p.Client.Mode = "cli", "cli"
	s.PeerConnected(p)
	s.PeerDisconnected(p)
	require.Len(t, s.List(), 1)
	require.Empty(t, events.events)
}

func TestEntriesExpireAndAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := newService()
		s.PeerConnected(tester("old"))
		time.Sleep(entryTTL + time.Second)
		require.Len(t, s.List(), 1, "only the gateway is left")
		for i := range entriesMax + 50 {
			time.Sleep(time.Millisecond)
			s.PeerConnected(tester(strconv.Itoa(i)))
		}
		list := s.List()
		require.Equal(t, entriesMax+1, len(list))
		require.Equal(t, "50", list[len(list)-1].DeviceID.V, "the oldest went first")
	})
}

func TestSystemEvent(t *testing.T) {
	for name, c := range map[string]struct {
		params string
		want   func(t *testing.T, e protocol.PresenceEntry)
	}{
		"a whole beacon": {`{"text":"Node: mac (10.0.0.2) · app 1.0 · last input 3s ago · mode local · reason launch","instanceId":"inst-1"}`, func(t *testing.T, e protocol.PresenceEntry) {
			require.Equal(t, "mac", e.Host.V)
			require.Equal(t, "10.0.0.2", e.IP.V)
			require.Equal(t, "1.0", e.Version.V)
			require.EqualValues(t, 3, e.LastInputSeconds.V)
			require.Equal(t, "local", e.Mode.V)
			require.Equal(t, "launch", e.Reason.V)
			require.Equal(t, "inst-1", e.InstanceID.V)
		}},
		"members win over the text": {`{"text":"Node: mac · mode local","mode":"remote","tags":["desk"]}`, func(t *testing.T, e protocol.PresenceEntry) {
			require.Equal(t, "remote", e.Mode.V)
			require.Equal(t, []string{"desk"}, e.Tags)
			require.False(t, e.IP.Set)
		}},
		"a note of another form": {`{"text":"wake up","lastInputSeconds":-1}`, func(t *testing.T, e protocol.PresenceEntry) {
			require.Equal(t, "wake up", e.Text.V)
			require.False(t, e.Host.Set)
			require.False(t, e.LastInputSeconds.Set)
		}},
		"members of a wrong type count as absent": {`{"text":"x","host":5,"roles":"admin"}`, func(t *testing.T, e protocol.PresenceEntry) {
			require.False(t, e.Host.Set)
			require.Empty(t, e.Roles)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s, events, notes := newService()
			p, err := protocol.MethodSystemEvent.Params.Decode([]byte(c.params))
			require.NoError(t, err)
			got, err := s.SystemEvent(t.Context(), tester("dev"), p)
			require.NoError(t, err)
			require.True(t, got.Ok)
			c.want(t, s.List()[1])
			require.Len(t, events.events, 1)
			require.Equal(t, []string{p.Text.V}, notes.texts)
		})
	}
}

func TestSystemEventRefuses(t *testing.T) {
	s, events, notes := newService()
	for _, params := range []string{`{}`, `{"text":"  "}`, `{"text":7}`, `[]`} {
		p, err := protocol.MethodSystemEvent.Params.Decode([]byte(params))
		require.NoError(t, err, params)
		_, err = s.SystemEvent(t.Context(), tester("dev"), p)
		require.EqualError(t, err, "INVALID_REQUEST: text required", params)
	}
	notes.err = errors.New("disk full")
	p, err := protocol.MethodSystemEvent.Params.Decode([]byte(`{"text":"lost"}`))
	require.NoError(t, err)
	_, err = s.SystemEvent(t.Context(), tester("dev"), p)
	require.ErrorIs(t, err, notes.err)
	require.Empty(t, events.events, "what is not on disk is not announced")
}
