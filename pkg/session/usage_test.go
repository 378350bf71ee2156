package session

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// answer stores a question and, after a while, its answer.
func answer(t *testing.T, s *Sessions, key, model string, u Usage) {
	t.Helper()
	say(t, s, key, "q")
	time.Sleep(2 * time.Second)
	_, _, err := s.Append(t.Context(), key, func(e *Entry) { e.LastChannel = "webchat" },
		Message{Role: "assistant", Text: "a", RunID: "r", Provider: "mock", Model: model, Usage: &u})
	require.NoError(t, err)
}

func usageOf(t *testing.T, s *Sessions, from, to string) map[string]SessionUsage {
	t.Helper()
	rows := map[string]SessionUsage{}
	require.NoError(t, s.Usage(from, to, func(u SessionUsage) { rows[u.Date+" "+u.Key] = u }))
	return rows
}

// What was used is counted per day, session and model, and stays counted when the
// session is gone and the gateway has been started again.
func TestUsageIsCountedAndStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		db := openStore(t, dir)
		s, err := New(Config{DB: db})
		require.NoError(t, err)
		day1 := usageDate(time.Now().UnixMilli())
		answer(t, s, "a", "m1", Usage{Input: 10, Output: 8, Total: 18})
		answer(t, s, "a", "m2", Usage{Input: 1, CacheRead: 2, Total: 3})
		answer(t, s, "b", "m1", Usage{Input: 100, Total: 100})
		time.Sleep(24 * time.Hour)
		day2 := usageDate(time.Now().UnixMilli())
		answer(t, s, "a", "m1", Usage{Output: 5, Total: 5})
		_, _, err = s.Append(t.Context(), "a", nil, Message{Role: "assistant", RunID: "x", StopReason: "error"})
		require.NoError(t, err)
		_, _, err = s.Delete(t.Context(), "a", true)
		require.NoError(t, err)

		s, err = New(Config{DB: db})
		require.NoError(t, err)
		days, err := s.UsageDays(day1, day2)
		require.NoError(t, err)
		require.Equal(t, []DayUsage{
			{Date: day1, Models: []ModelUsage{
				{Provider: "mock", Model: "m1", Count: 2, Usage: Usage{Input: 110, Output: 8, Total: 118}},
				{Provider: "mock", Model: "m2", Count: 1, Usage: Usage{Input: 1, CacheRead: 2, Total: 3}},
			}},
			{Date: day2, Models: []ModelUsage{{Provider: "mock", Model: "m1", Count: 1, Usage: Usage{Output: 5, Total: 5}}}},
		}, days)
		days, err = s.UsageDays(day2, day2)
		require.NoError(t, err)
		require.Len(t, days, 1)

		rows := usageOf(t, s, day1, day2)
		require.Len(t, rows, 3)
		require.Equal(t, int64(2), rows[day1+" agent:main:a"].User)
		require.Equal(t, []int64{2000, 2000}, rows[day1+" agent:main:a"].LatenciesMs)
		require.Equal(t, "webchat", rows[day1+" agent:main:a"].Channel)
		last := rows[day2+" agent:main:a"]
		require.Equal(t, int64(2), last.Assistant)
		require.Equal(t, int64(1), last.Errors)
		require.Equal(t, int64(1), last.Answers, "an error that answers no question is not timed")
		require.Len(t, usageOf(t, s, day2, day2), 1)
	})
}

func TestUsageIsBounded(t *testing.T) {
	var u SessionUsage
	for i := range latencySamplesMax + 3 {
		u.time(int64(i))
	}
	require.Len(t, u.LatenciesMs, latencySamplesMax)
	require.Equal(t, int64(latencySamplesMax+2), u.LatenciesMs[2])
	var models []ModelUsage
	for i := range usageModelsMax + 5 {
		models = addUsage(models, []ModelUsage{{Model: string(rune('a' + i)), Count: 1, Usage: Usage{Total: 1}}})
	}
	require.Len(t, models, usageModelsMax)
	require.Equal(t, int64(6), models[usageModelsMax-1].Count)
}

func TestUsageRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fresh(t)
		day := usageDate(time.Now().UnixMilli())
		answer(t, s, "a", "m1", Usage{Total: 1})
		time.Sleep(UsageAgeMax + 48*time.Hour)
		_, err := s.Reset(t.Context(), "b")
		require.NoError(t, err)
		require.Empty(t, usageOf(t, s, day, day))
		days, err := s.UsageDays(day, day)
		require.NoError(t, err)
		require.Len(t, days, 1, "the day's totals stay longer")
	})
}
