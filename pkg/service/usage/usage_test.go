package usage

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

// room is the service over a real store. m1 has a price, m2 has none.
type room struct {
	*Service
	sessions *session.Sessions
}

func newRoom(t *testing.T) *room {
	t.Helper()
	db, err := store.Open(store.Options{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	s, err := session.New(session.Config{DB: db})
	require.NoError(t, err)
	return &room{sessions: s, Service: New(Config{Sessions: s, StorePath: "/state/gateway.db", Price: func(provider, model string) (Price, bool) {
		return Price{Input: 1, Output: 10, CacheRead: 0.5, CacheWrite: 2}, provider == "mock" && model == "m1"
	}})}
}

// answer stores a question and, a second later, its answer.
func (r *room) answer(t *testing.T, key, model string, u session.Usage) {
	t.Helper()
	_, _, err := r.sessions.Append(t.Context(), key, nil, session.Message{Role: "user", Text: "q"})
	require.NoError(t, err)
	time.Sleep(time.Second)
	_, _, err = r.sessions.Append(t.Context(), key, func(e *session.Entry) { e.LastChannel, e.ModelProvider, e.Model = "webchat", "mock", model },
		session.Message{Role: "assistant", Text: "a", RunID: "r", Provider: "mock", Model: model, Usage: &u})
	require.NoError(t, err)
}

// call sends params through the generated validation, the handler and the generated
// encoding, and decodes the result as strictly as a test can.
func call[P, R any](t *testing.T, m wire.Method[P, R], fn func(context.Context, *wire.Peer, P) (R, error), params string) (R, error) {
	t.Helper()
	var zero R
	p, err := m.Params.Decode([]byte(params))
	require.NoError(t, err)
	result, err := fn(t.Context(), &wire.Peer{}, p)
	if err != nil {
		return zero, err
	}
	out, err := m.Result.Decode(m.Result.Append(nil, result))
	require.NoError(t, err, "the result must conform to its own schema")
	return out, nil
}

func today() string { return time.Now().Format(time.DateOnly) }

func TestCostByDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t)
		day1 := today()
		r.answer(t, "a", "m1", session.Usage{Input: 1_000_000, Output: 100_000, CacheRead: 2_000_000, CacheWrite: 500_000, Total: 3_600_000})
		r.answer(t, "b", "m2", session.Usage{Input: 7, Output: 3, Total: 10})
		time.Sleep(48 * time.Hour)
		r.answer(t, "a", "m1", session.Usage{Output: 100_000, Total: 100_000})
		_, _, err := r.sessions.Delete(t.Context(), "a", true)
		require.NoError(t, err)

		got, err := call(t, protocol.MethodUsageCost, r.UsageCost, `{}`)
		require.NoError(t, err)
		require.Equal(t, int64(30), got.Days)
		require.Len(t, got.Daily, 2)
		require.Equal(t, protocol.UsageCostDay{
			Date: day1, Input: 1_000_007, Output: 100_003, CacheRead: 2_000_000, CacheWrite: 500_000, TotalTokens: 3_600_010,
			InputCost: 1, OutputCost: 1, CacheReadCost: 1, CacheWriteCost: 1, TotalCost: 4, MissingCostEntries: 1,
		}, got.Daily[0])
		require.Equal(t, today(), got.Daily[1].Date)
		require.InDelta(t, 5, got.Totals.TotalCost, 1e-9)
		require.Equal(t, int64(1), got.Totals.MissingCostEntries)

		for params, want := range map[string][2]int64{
			`{"days":2}`: {2, 1}, `{"days":0}`: {30, 2}, `{"days":1e9}`: {daysMax, 2},
			fmt.Sprintf(`{"startDate":%q,"endDate":%q}`, day1, day1):     {1, 1},
			fmt.Sprintf(`{"startDate":%q,"endDate":"soon"}`, day1):       {30, 2},
			fmt.Sprintf(`{"startDate":%q,"days":3}`, day1):               {3, 2},
			fmt.Sprintf(`{"startDate":"0001-01-01","endDate":%q}`, day1): {daysMax, 1},
		} {
			got, err := call(t, protocol.MethodUsageCost, r.UsageCost, params)
			require.NoError(t, err)
			require.Equal(t, want, [2]int64{got.Days, int64(len(got.Daily))}, params)
		}
	})
}

func TestStatusHasNoAllowances(t *testing.T) {
	got, err := call(t, protocol.MethodUsageStatus, newRoom(t).UsageStatus, `{}`)
	require.NoError(t, err)
	require.Empty(t, got.Providers)
	require.Positive(t, got.UpdatedAt)
}

func TestSessionsUsage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t)
		r.answer(t, "a", "m1", session.Usage{Input: 10, Output: 8, Total: 18})
		r.answer(t, "gone", "m2", session.Usage{Input: 1, Total: 1})
		time.Sleep(24 * time.Hour)
		r.answer(t, "a", "m2", session.Usage{Input: 5, Total: 5})
		_, _, err := r.sessions.Append(t.Context(), "a", nil, session.Message{Role: "assistant", RunID: "x", StopReason: "error"})
		require.NoError(t, err)
		e, err := r.sessions.Patch(t.Context(), "a", func(e *session.Entry) error { e.Label = "L"; return nil })
		require.NoError(t, err)
		_, _, err = r.sessions.Delete(t.Context(), "gone", true)
		require.NoError(t, err)

		got, err := call(t, protocol.MethodSessionsUsage, r.SessionsUsage, `{}`)
		require.NoError(t, err)
		require.Equal(t, today(), got.EndDate)
		require.Len(t, got.Sessions, 2)
		a, gone := got.Sessions[0], got.Sessions[1]
		require.Equal(t, "agent:main:a", a.Key)
		require.Equal(t, "L", a.Label.V)
		require.Equal(t, "gone", gone.Label.V)
		require.Equal(t, "m2", gone.Model.V)
		require.Equal(t, e.SessionID, a.SessionID.V)
		require.Equal(t, "main", a.AgentID.V)
		require.Equal(t, int64(23), a.Usage.TotalTokens)
		require.Equal(t, int64(1), a.Usage.MissingCostEntries)
		require.Len(t, a.Usage.ActivityDates, 2)
		require.Len(t, a.Usage.DailyBreakdown, 2)
		require.Len(t, a.Usage.DailyModelUsage, 2)
		require.Equal(t, protocol.UsageMessageCounts{Total: 5, User: 2, Assistant: 3, Errors: 1}, a.Usage.MessageCounts)
		require.Equal(t, protocol.UsageLatency{Count: 2, AvgMs: 1000, P95Ms: 1000, MinMs: 1000, MaxMs: 1000}, a.Usage.Latency.V)
		require.Equal(t, "agent:main:gone", gone.Key, "what was used stays used")
		require.Equal(t, "webchat", gone.Channel.Or("webchat"))

		require.Equal(t, int64(24), got.Totals.TotalTokens)
		require.Equal(t, "m1", got.Aggregates.ByModel[0].Model.V, "the dearest first")
		require.Len(t, got.Aggregates.ByProvider, 1)
		require.Equal(t, int64(3), got.Aggregates.ByProvider[0].Count)
		require.Equal(t, "main", got.Aggregates.ByAgent[0].AgentID)
		require.Len(t, got.Aggregates.Daily, 2)
		require.Equal(t, int64(3), got.Aggregates.Latency.V.Count)

		got, err = call(t, protocol.MethodSessionsUsage, r.SessionsUsage, `{"key":"A","limit":1}`)
		require.NoError(t, err)
		require.Len(t, got.Sessions, 1)
		require.Equal(t, int64(23), got.Totals.TotalTokens)
		got, err = call(t, protocol.MethodSessionsUsage, r.SessionsUsage, `{"limit":1}`)
		require.NoError(t, err)
		require.Len(t, got.Sessions, 1)
		require.Equal(t, int64(24), got.Totals.TotalTokens, "totals count the unlisted too")
		got, err = call(t, protocol.MethodSessionsUsage, r.SessionsUsage, fmt.Sprintf(`{"startDate":%q,"endDate":%q}`, today(), today()))
		require.NoError(t, err)
		require.Equal(t, int64(5), got.Totals.TotalTokens)
		require.Equal(t, today(), got.StartDate)
		got, err = call(t, protocol.MethodSessionsUsage, r.SessionsUsage, `{"endDate":"1999-12-01"}`)
		require.NoError(t, err)
		require.Equal(t, [2]string{"1999-11-02", "1999-12-01"}, [2]string{got.StartDate, got.EndDate})
		require.Empty(t, got.Sessions)
	})
}

func TestTimeseries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t)
		list := make([]session.Message, 2*pointsMax+1)
		for i := range list {
			list[i] = session.Message{Role: "assistant", Text: "a", Provider: "mock", Model: "m1", Usage: &session.Usage{Input: 2, Output: 1, Total: 3}}
		}
		_, _, err := r.sessions.Append(t.Context(), "a", nil, list...)
		require.NoError(t, err)
		got, err := call(t, protocol.MethodSessionsUsageTimeseries, r.SessionsUsageTimeseries, `{"key":"a"}`)
		require.NoError(t, err)
		require.Len(t, got.Points, 134, "three answers to a point")
		require.Equal(t, int64(9), got.Points[0].TotalTokens)
		last := got.Points[len(got.Points)-1]
		require.Equal(t, int64(3*401), last.CumulativeTokens)
		require.InDelta(t, 401*12e-6, last.CumulativeCost, 1e-9)
		for params, why := range map[string]string{
			`{}`: "key is required for timeseries", `{"key":" "}`: "key is required for timeseries",
			`{"key":"nobody"}`: "No transcript found for session: nobody", `{"key":"agent:"}`: "No transcript found for session: agent:",
		} {
			_, err := call(t, protocol.MethodSessionsUsageTimeseries, r.SessionsUsageTimeseries, params)
			require.ErrorContains(t, err, why)
		}
	})
}

func TestLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t)
		r.answer(t, "a", "m1", session.Usage{Input: 2, Output: 1, Total: 3})
		long := make([]rune, logCharsMax+1)
		for i := range long {
			long[i] = 'é'
		}
		_, _, err := r.sessions.Append(t.Context(), "a", nil, session.Message{Role: "user", Text: string(long)})
		require.NoError(t, err)
		got, err := call(t, protocol.MethodSessionsUsageLogs, r.SessionsUsageLogs, `{"key":"a"}`)
		require.NoError(t, err)
		require.Len(t, got.Logs, 3)
		require.Equal(t, int64(3), got.Logs[1].Tokens.V)
		require.False(t, got.Logs[0].Tokens.Set)
		require.Equal(t, string(long[:logCharsMax])+"…", got.Logs[2].Content)
		got, err = call(t, protocol.MethodSessionsUsageLogs, r.SessionsUsageLogs, `{"key":"a","limit":1}`)
		require.NoError(t, err)
		require.Len(t, got.Logs, 1)
		got, err = call(t, protocol.MethodSessionsUsageLogs, r.SessionsUsageLogs, `{"key":"nobody"}`)
		require.NoError(t, err)
		require.Empty(t, got.Logs)
		_, err = call(t, protocol.MethodSessionsUsageLogs, r.SessionsUsageLogs, `{}`)
		require.ErrorContains(t, err, "key is required for logs")
	})
}
