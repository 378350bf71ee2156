package gateway

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

func TestTickForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		p, node := s.admin(), s.dial()
		node.connectAs("node")
		begin := time.Now()
		time.Sleep(time.Hour + time.Second)
		for i := 1; i <= 120; i++ {
			for _, who := range []*peer{p, node} {
				m := who.next()
				require.Equal(t, "tick", m["event"])
				require.EqualValues(t, i, m["seq"])
				ts := m["payload"].(map[string]any)["ts"]
				require.InDelta(t, begin.Add(time.Duration(i)*30*time.Second).UnixMilli(), ts, 1)
			}
		}
		p.none()
		node.none()
	})
}

func TestEventsGoToTheirAudience(t *testing.T) {
	admin, read, pairing, none, node := "admin", "read", "pairing", "none", "node"
	everybody := []string{admin, read, pairing, none, node}
	cases := []struct {
		event string
		for_  []string
	}{
		{"tick", everybody},
		{"shutdown", everybody},
		{"health", []string{admin, read, node}},
		{"presence", []string{admin, read}},
		{"heartbeat", []string{admin, read}},
		{"agent", []string{admin, read}},
		{"chat", []string{admin, read}},
	}
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		peers := map[string]*peer{}
		for name, scopes := range map[string][]string{
			admin: {"operator.admin"}, read: {"operator.write"}, pairing: {"operator.pairing"}, none: nil, node: {"operator.admin"},
		} {
			peers[name] = s.dial()
			role := protocol.RoleOperator
			if name == node {
				role = protocol.RoleNode
			}
			peers[name].connectAs(role, scopes...)
		}
		for _, c := range cases {
			s.emit(c.event, fmt.Sprintf("%q", c.event))
		}
		synctest.Wait()
		for name, p := range peers {
			var got, want []string
			for seq := 1; len(p.frames) > 0; seq++ {
				m := p.next()
				require.EqualValues(t, seq, m["seq"], "%s sees no gap", name)
				got = append(got, m["event"].(string))
			}
			for _, c := range cases {
				for _, who := range c.for_ {
					if who == name {
						want = append(want, c.event)
					}
				}
			}
			require.Equal(t, want, got, name)
		}
	})
}

func TestTargetedEventsCarryNoSeq(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		p, other, node := s.dial(), s.admin(), s.dial()
		id := p.connect("operator.read")["server"].(map[string]any)["connId"].(string)
		nodeID := node.connectAs("node")["server"].(map[string]any)["connId"].(string)
		s.emission("agent", func(e *wire.Emission) { e.Payload, e.To = []byte(`1`), []string{id, nodeID, "no such"} })
		s.emission("agent", func(e *wire.Emission) { e.Payload, e.To = []byte(`2`), []string{} })
		s.emit("agent", `3`)
		require.Equal(t, `{"type":"event","event":"agent","payload":1}`, p.text())
		require.Equal(t, `{"type":"event","event":"agent","payload":3,"seq":1}`, p.text())
		require.Equal(t, `{"type":"event","event":"agent","payload":1}`, node.text(), "a target need not be in the audience")
		require.Equal(t, `{"type":"event","event":"agent","payload":3,"seq":1}`, other.text())
		synctest.Wait()
		for _, who := range []*peer{p, other, node} {
			who.none()
		}
	})
}

func TestStateVersionOnPresenceAndHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		p := s.admin()
		s.versions.BumpPresence()
		s.emit("presence", `{}`)
		s.versions.BumpHealth()
		s.emit("health", `{}`)
		s.emit("chat", `{}`)
		require.Equal(t, `{"type":"event","event":"presence","payload":{},"seq":1,"stateVersion":{"presence":2,"health":1}}`, p.text())
		require.Equal(t, `{"type":"event","event":"health","payload":{},"seq":2,"stateVersion":{"presence":2,"health":2}}`, p.text())
		require.Equal(t, `{"type":"event","event":"chat","payload":{},"seq":3}`, p.text())
	})
}

// Events of several emitters arrive on all connections in one order.
func TestOneOrderForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		peers := []*peer{s.admin(), s.admin(), s.admin()}
		var emitters sync.WaitGroup
		for e := range 4 {
			emitters.Go(func() {
				for i := range 100 {
					s.emit("chat", fmt.Sprint(1000*e+i))
				}
			})
		}
		emitters.Wait()
		var order []any
		for n, p := range peers {
			for i := range 400 {
				m := p.next()
				require.EqualValues(t, i+1, m["seq"])
				if n == 0 {
					order = append(order, m["payload"])
				}
				require.Equal(t, order[i], m["payload"])
			}
		}
	})
}

func TestSever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		victim, node, bystander := s.dial(), s.dial(), s.admin()
		victim.connect("operator.read")
		node.connectAs("node")
		n := s.g.Sever(func(p *wire.Peer) bool { return !p.HasCap("x") && len(p.Scopes) == 1 && p.Scopes[0] == "operator.read" }, 1008, "device token revoked")
		require.Equal(t, 1, n)
		require.Equal(t, ending{1008, "device token revoked"}, victim.closed())
		s.emit("chat", `1`)
		require.EqualValues(t, 1, bystander.next()["payload"])
		require.Equal(t, true, node.call("echo", "")["ok"])
	})
}

func TestMaskKnowsEveryAudienceOfTheProtocol(t *testing.T) {
	h := newHub(protocol.Events(), &wire.StateVersions{}, func(string) {})
	require.LessOrEqual(t, len(h.audiences), 64, "a class is a mask of 64 bits")
	all := h.mask(func(string) bool { return true })
	for _, e := range protocol.Events() {
		require.NotEmpty(t, e.Audience, e.Name)
		require.NotZero(t, all&h.audiences[e.Audience[0]], e.Name)
	}
}

// An event that comes while hello-ok is put together is held back and follows it;
// hello-ok must not claim a newer state than that event has.
func TestHelloIsNotNewerThanWhatFollowsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, nil)
		s.observer.onJoin = func(*wire.Peer) {
			s.emit("presence", `{}`)
			s.versions.BumpPresence()
		}
		p := s.dial()
		hello := p.connect("operator.admin")
		version := hello["snapshot"].(map[string]any)["stateVersion"].(map[string]any)["presence"].(float64)
		event := p.next()
		require.Equal(t, "presence", event["event"])
		require.GreaterOrEqual(t, event["stateVersion"].(map[string]any)["presence"].(float64), version)
	})
}
