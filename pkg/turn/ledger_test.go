package turn

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/agent/agenttest"
	"github.com/coderclaw/gateway/pkg/store"
)

// rows counts what the ledger holds of ended runs: records, places in the order of
// forgetting, and the total.
func (g *rig) rows() (records, places int, total endedTotal) {
	g.t.Helper()
	require.NoError(g.t, g.db.View(func(tx *store.Tx) (err error) {
		for _, err := range runRecords.All(tx) {
			require.NoError(g.t, err)
			records++
		}
		for _, err := range endedRuns.All(tx) {
			require.NoError(g.t, err)
			places++
		}
		total, _, err = endedTotals.Get(tx, totalsKey)
		return err
	}))
	return records, places, total
}

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
		run := g.start(ask("k", "other params"))
		records, places, total := g.rows()
		require.Equal(t, []int{1, 0, 0, 0}, []int{records, places, int(total.Count), int(total.Cost)}, "the new record is in the place of the old one")

		_, err := g.AbortRun(t.Context(), "agent:main:main", "k", StopRPC)
		require.NoError(t, err)
		<-run.done
		stop := g.live()
		time.Sleep(24*time.Hour + sweepEvery)
		synctest.Wait()
		records, places, total = g.rows()
		require.Equal(t, []int{0, 0, 0, 0}, []int{records, places, int(total.Count), int(total.Cost)}, "what is old is swept though nobody asks")
		stop()
	})
}

// However long a run takes, its key is its own.
func TestLiveRunsAreNeverForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, blocked(), func(c *Config) { c.Retention, c.CountMax, c.BytesMax = time.Hour, 1, 1 })
		stop := g.live()
		defer stop()
		g.start(ask("live", "hi", func(q *Request) { q.Timeout = 20 * time.Hour }))
		for i := range 3 {
			g.start(ask(fmt.Sprint(i), "hi", in("other")))
			_, err := g.AbortSession(t.Context(), "agent:main:other", StopRPC)
			require.NoError(t, err)
		}
		time.Sleep(19 * time.Hour)
		require.True(t, g.remembers(ask("live", "hi")))
		synctest.Wait()
		records, _, _ := g.rows()
		require.Equal(t, 1, records)
	})
}

func TestOutcomesAreForgottenWithNumberAndSize(t *testing.T) {
	big := strings.Repeat("x", 3000)
	cases := []struct {
		name   string
		change func(*Config)
		want   int
	}{
		{"number", func(c *Config) { c.CountMax = 3 }, 3},
		{"size", func(c *Config) { c.BytesMax = 8000 }, 2},
		{"even the newest alone is too large", func(c *Config) { c.BytesMax = 100 }, 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g := newRig(t, &agenttest.Script{Reply: func(agent.Turn) []string { return []string{big} }}, c.change)
			defer g.stop()
			for i := range 6 {
				run := g.start(ask(fmt.Sprint(i), "hi", in(fmt.Sprint("s", i)), byAgent))
				g.finish(run)
				<-run.done
			}
			records, places, total := g.rows()
			require.Equal(t, []int{c.want, c.want, c.want}, []int{records, places, int(total.Count)})
			for i := range c.want {
				require.True(t, g.remembers(ask(fmt.Sprint(5-i), "hi", in("again"), byAgent)), "the newest stay")
			}
			g.finish(g.start(ask("0", "hi", in("again"), byAgent)))
		})
	}
}

// A day's worth of keys is forgotten a few at a time.
func TestForgettingTakesSmallSteps(t *testing.T) {
	g := newRig(t, &agenttest.Script{})
	defer g.stop()
	const n = 2*sweepStep + 10
	fill := func(tx *store.Tx) error {
		for i := range n {
			key := recordKey{"device-1", NamespaceChat, fmt.Sprint(i)}
			rec := record{Principal: key.principal, Namespace: key.namespace, Key: key.key}
			if err := g.ledger.accept(tx, rec, input{}); err != nil {
				return err
			}
			if err := g.ledger.finish(tx, key, Outcome{State: StateFinal, EndedAt: time.Now().UnixMilli()}); err != nil {
				return err
			}
		}
		return nil
	}
	require.NoError(t, g.db.Update(t.Context(), fill))
	g.ledger.countMax = 5
	for _, want := range []int{n - sweepStep, n - 2*sweepStep, 5} {
		require.NoError(t, g.db.Update(t.Context(), func(tx *store.Tx) error {
			more, err := g.ledger.sweep(tx, time.Now())
			require.Equal(t, want != 5, more)
			return err
		}))
		records, places, total := g.rows()
		require.Equal(t, []int{want, want, want}, []int{records, places, int(total.Count)})
	}
}

// A clock that was an hour ahead leaves outcomes that are dated in the future:
// they stand, and bound nothing but themselves.
func TestOutcomesFromTheFuture(t *testing.T) {
	g := newRig(t, &agenttest.Script{})
	defer g.stop()
	key := recordKey{"device-1", NamespaceChat, "k"}
	req := ask("k", "hi")
	require.NoError(t, g.db.Update(t.Context(), func(tx *store.Tx) error {
		rec := record{Principal: key.principal, Namespace: key.namespace, Key: key.key, ParamsHash: req.ParamsHash[:]}
		if err := g.ledger.accept(tx, rec, input{}); err != nil {
			return err
		}
		return g.ledger.finish(tx, key, Outcome{State: StateFinal, EndedAt: time.Now().Add(time.Hour).UnixMilli()})
	}))
	_, replayed, err := g.Start(t.Context(), req)
	require.NoError(t, err)
	require.True(t, replayed)
}

// An outcome is told once and for all.
func TestTheFirstOutcomeStands(t *testing.T) {
	g := newRig(t, &agenttest.Script{})
	defer g.stop()
	g.finish(g.start(ask("k", "hi")))
	key := recordKey{"device-1", NamespaceChat, "k"}
	require.NoError(t, g.db.Update(t.Context(), func(tx *store.Tx) error {
		require.Error(t, g.ledger.begin(tx, key))
		return g.ledger.finish(tx, key, Outcome{State: StateError, EndedAt: 1})
	}))
	require.Equal(t, StateFinal, g.waited("k"))
	_, places, total := g.rows()
	require.Equal(t, []int{1, 1}, []int{places, int(total.Count)})
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
		require.Empty(t, g.known, "the ledger has it now")
		require.Empty(t, g.unsaved)
		require.Equal(t, StateError, g.waited("k"))
		stop()

		g = openRig(t, dir, &agenttest.Script{})
		defer g.live()()
		require.Equal(t, StateError, g.waited("k"), "and it does not run again")
		require.Equal(t, []string{"user: hi"}, g.history("main"))
	})
}
