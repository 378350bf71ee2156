package conformance

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// knowing makes every method and event of the group part of the protocol, so that
// groups can be tested whose methods no gateway of ours has yet.
func (g group) knowing() group {
	v := *words()
	v.methods, v.events = maps.Clone(v.methods), maps.Clone(v.events)
	out := make(group, len(g))
	for i, tr := range g {
		for _, s := range tr.steps {
			if m := s.said.Method; m != "" && !v.has(m) && s.Dir == "c2s" {
				v.methods[m] = method{ack: &node{}}
			}
			if e := s.said.Event; e != "" && !v.hasEvent(e) && s.Dir == "s2c" {
				v.events[e] = event{}
			}
		}
		clone := *tr
		clone.known = &v
		out[i] = &clone
	}
	return out
}

func groupNamed(t *testing.T, name string) group {
	t.Helper()
	for _, g := range recordings(t) {
		if g.name() == name {
			return g
		}
	}
	require.Fail(t, "no group "+name)
	return nil
}

// TestGroupsOnOneTimeline holds each recorded group against itself: what one
// partner does is answered to another, in the recorded order.
func TestGroupsOnOneTimeline(t *testing.T) {
	for name, partners := range map[string]int{"device-pairing": 3, "node-invoke": 2, "exec-approval": 2, "slow-consumer": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := groupNamed(t, name).knowing()
			require.Len(t, g, partners)
			target, played := playedBy(t, g.asCase())
			for i, outcome := range g.run(t.Context(), target) {
				require.Equal(t, Outcome{Name: g[i].name, Status: Passed}, outcome)
			}
			require.Equal(t, Outcome{Name: name, Status: Passed}, played())
		})
	}
}

// TestGroupsCarryNames proves that what one partner learns another one says: the
// gateway under test calls the pairing request and the node's task by other names
// than the recorded one, and hears them again.
func TestGroupsCarryNames(t *testing.T) {
	for name, recorded := range map[string]string{
		"device-pairing": "0b9809c3-3651-4ccb-a502-eafbd1f23c60", // the request that the operator approves
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const live = "11111111-2222-4333-8444-555555555555"
			g := groupNamed(t, name).knowing()
			renamed := make(group, len(g))
			for i, tr := range g {
				lines := make([]string, 0, len(tr.steps))
				for _, s := range tr.steps {
					raw, err := json.Marshal(s)
					require.NoError(t, err)
					lines = append(lines, strings.ReplaceAll(string(raw), recorded, live))
				}
				other, err := readTranscript(tr.name, []byte(strings.Join(lines, "\n")), tr.info)
				require.NoError(t, err)
				other.known = tr.known
				renamed[i] = other
			}
			heard := make(chan string, 1)
			synctest.Test(t, func(t *testing.T) {
				target, played := mutated(t, renamed.asCase(), func() *mutator {
					return &mutator{hear: func(message string) {
						require.NotContains(t, message, recorded)
						if strings.Contains(message, live) {
							select {
							case heard <- message:
							default:
							}
						}
					}}
				})
				for i, outcome := range g.run(t.Context(), target) {
					require.Equal(t, Outcome{Name: g[i].name, Status: Passed}, outcome)
				}
				require.Equal(t, Passed, played().Status)
			})
			require.Contains(t, <-heard, "device.pair.approve")
		})
	}
}

// TestGroupLacksMethods takes a method away without which the partners of a group
// cannot bring about what was recorded, and one that was refused anyway.
func TestGroupLacksMethods(t *testing.T) {
	without := func(g group, name string) group {
		for _, tr := range g {
			v := *tr.known
			v.methods = maps.Clone(v.methods)
			delete(v.methods, name)
			tr.known = &v
		}
		return g
	}
	g := without(groupNamed(t, "device-pairing").knowing(), "device.pair.approve")
	for i, o := range g.run(t.Context(), targetAt("ws://127.0.0.1:1")) {
		require.Equal(t, Outcome{Name: g[i].name, Status: NotApplicable, Note: "no method device.pair.approve"}, o)
	}
	require.Empty(t, without(groupNamed(t, "device-pairing").knowing(), "config.set").lacks())
}

// TestGroupStopsTogether breaks what one partner is told: the others are not
// blamed, and nobody waits for them.
func TestGroupStopsTogether(t *testing.T) {
	g := groupNamed(t, "device-pairing").knowing()
	synctest.Test(t, func(t *testing.T) {
		target, _ := mutated(t, g.asCase(), drop(`"decision":"approved"`))
		begin := time.Now()
		outcomes := g.run(t.Context(), target)
		require.Less(t, time.Since(begin), 2*target.patience())
		for i, o := range outcomes {
			require.Equal(t, Failed, o.Status)
			if strings.Contains(g[i].name, "operator") {
				require.Contains(t, o.Failures[0], "no event device.pair.resolved")
			} else {
				require.Equal(t, []string{"stopped, because device-pairing-operator.jsonl went wrong"}, o.Failures, g[i].name)
			}
		}
	})
}

// TestPause proves that a connection that is to pause takes one message more and then
// none until it may go on.
func TestPause(t *testing.T) {
	const script = "what\nwhy\n-- conversation --\nconnect\n> health\n< ok\n> health\n< ok\n"
	c, err := ParseConversation("x", script)
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		target, played := mutated(t, c.Case(), func() *mutator { return &mutator{} })
		conn, err := dial(t.Context(), target, target.URL, nil)
		require.NoError(t, err)
		_, err = conn.challenge(t.Context())
		require.NoError(t, err)
		conn.patience = 50 * time.Millisecond
		health := func(id string) {
			require.NoError(t, conn.send(t.Context(), nil, []byte(`{"type":"req","id":"`+id+`","method":"health"}`)))
		}
		require.NoError(t, conn.send(t.Context(), nil, []byte(`{"type":"req","id":"c","method":"connect","params":{"minProtocol":3,"maxProtocol":3,"client":{"id":"test","version":"1","platform":"x","mode":"test"}}}`)))
		_, _, err = conn.response(t.Context(), json.RawMessage(`"c"`), 0)
		require.NoError(t, err)
		synctest.Wait() // the reader waits for its next message
		conn.pause()
		health("1") // the reader takes this answer and then waits
		_, _, err = conn.response(t.Context(), json.RawMessage(`"1"`), 0)
		require.NoError(t, err)
		health("2")
		_, _, err = conn.response(t.Context(), json.RawMessage(`"2"`), 0)
		require.ErrorContains(t, err, "no response")
		conn.resume()
		conn.patience = 5 * time.Second
		_, _, err = conn.response(t.Context(), json.RawMessage(`"2"`), 0)
		require.NoError(t, err)
		conn.close()
		require.Equal(t, Passed, played().Status)
	})
}
