package usage

import (
	"cmp"
	"maps"
	"slices"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// modelKey names a model.
type modelKey struct{ provider, model string }

// tally adds up what happened, in all and by day.
type tally struct {
	service     *Service
	sessionID   string
	channel     string
	first, last int64
	totals      totals
	counts      protocol.UsageMessageCounts
	models      map[modelKey]*modelTally
	lastModel   modelKey // of the last day that had any
	samples     []int64
	answers     int64
	days        map[string]*tally // of a day itself: nil
}

type modelTally struct {
	totals totals
	count  int64
}

func newTally(s *Service) *tally {
	return &tally{service: s, models: map[modelKey]*modelTally{}, days: map[string]*tally{}}
}

// add takes in what one session did on one day. Rows come day by day.
func (t *tally) add(row session.SessionUsage) {
	t.sessionID, t.channel = row.SessionID, row.Channel
	if t.first == 0 || row.First < t.first {
		t.first = row.First
	}
	t.last = max(t.last, row.Last)
	t.counts.Total += row.User + row.Assistant + row.Other
	t.counts.User += row.User
	t.counts.Assistant += row.Assistant
	t.counts.Errors += row.Errors
	t.answers += row.Answers
	t.samples = append(t.samples, row.LatenciesMs...)
	for _, m := range row.Models {
		key := modelKey{m.Provider, m.Model}
		t.lastModel = key
		if t.models[key] == nil {
			t.models[key] = &modelTally{}
		}
		priced := t.service.price(m)
		t.models[key].count += m.Count
		add(&t.models[key].totals.UsageTotals, priced.UsageTotals)
		add(&t.totals.UsageTotals, priced.UsageTotals)
	}
	if t.days == nil {
		return
	}
	day := t.days[row.Date]
	if day == nil {
		day = &tally{service: t.service, models: map[modelKey]*modelTally{}}
		t.days[row.Date] = day
	}
	day.add(row)
}

// dates are the days on which something happened.
func (t *tally) dates() []string { return slices.Sorted(maps.Keys(t.days)) }

// latency tells how long answers took, absent when none was timed.
func (t *tally) latency() (out wire.Opt[protocol.UsageLatency]) {
	if len(t.samples) == 0 {
		return out
	}
	sorted := slices.Sorted(slices.Values(t.samples))
	sum := int64(0)
	for _, ms := range sorted {
		sum += ms
	}
	return wire.Some(protocol.UsageLatency{
		Count: t.answers, AvgMs: float64(sum) / float64(len(sorted)), P95Ms: float64(sorted[(len(sorted)*95+99)/100-1]),
		MinMs: float64(sorted[0]), MaxMs: float64(sorted[len(sorted)-1]),
	})
}

func (t *tally) dailyLatency() []protocol.UsageDayLatency {
	out := []protocol.UsageDayLatency{}
	for _, d := range t.dates() {
		if l, ok := t.days[d].latency().Get(); ok {
			out = append(out, protocol.UsageDayLatency{Date: d, Count: l.Count, AvgMs: l.AvgMs, P95Ms: l.P95Ms, MinMs: l.MinMs, MaxMs: l.MaxMs})
		}
	}
	return out
}

// sortedModels are the models, the one with the most tokens first.
func (t *tally) sortedModels() []modelKey {
	return slices.SortedFunc(maps.Keys(t.models), func(a, b modelKey) int {
		x, y := t.models[a].totals, t.models[b].totals
		return cmp.Or(cmp.Compare(y.TotalCost, x.TotalCost), cmp.Compare(y.TotalTokens, x.TotalTokens),
			cmp.Compare(a.provider, b.provider), cmp.Compare(a.model, b.model))
	})
}

func (t *tally) byModel() []protocol.UsageModel {
	out := []protocol.UsageModel{}
	for _, key := range t.sortedModels() {
		m := t.models[key]
		out = append(out, protocol.UsageModel{Provider: some(key.provider), Model: some(key.model), Count: m.count, Totals: m.totals.UsageTotals})
	}
	return out
}

func (t *tally) byProvider() []protocol.UsageModel {
	out := []protocol.UsageModel{}
	for _, key := range t.sortedModels() {
		m := t.models[key]
		i := slices.IndexFunc(out, func(o protocol.UsageModel) bool { return o.Provider.Or("") == key.provider })
		if i < 0 {
			i = len(out)
			out = append(out, protocol.UsageModel{Provider: some(key.provider)})
		}
		out[i].Count += m.count
		add(&out[i].Totals, m.totals.UsageTotals)
	}
	return out
}

func (t *tally) dailyModels() []protocol.UsageDayModel {
	out := []protocol.UsageDayModel{}
	for _, d := range t.dates() {
		for _, key := range t.days[d].sortedModels() {
			m := t.days[d].models[key]
			out = append(out, protocol.UsageDayModel{
				Date: d, Provider: some(key.provider), Model: some(key.model), Tokens: m.totals.TotalTokens, Cost: m.totals.TotalCost, Count: m.count,
			})
		}
	}
	return out
}

// ofSession is the tally of one session as sessions.usage shows it.
func (t *tally) ofSession(storePath string) protocol.UsageOfSession {
	out := protocol.UsageOfSession{
		SessionID: t.sessionID, SessionFile: some(storePath),
		FirstActivity: some(t.first), LastActivity: some(t.last), DurationMs: wire.Some(max(0, t.last-t.first)),
		ActivityDates: t.dates(), DailyBreakdown: []protocol.UsageDayTokens{}, DailyMessageCounts: []protocol.UsageDayMessages{},
		DailyLatency: t.dailyLatency(), DailyModelUsage: t.dailyModels(), MessageCounts: t.counts, ModelUsage: t.byModel(), Latency: t.latency(),
		Input: t.totals.Input, Output: t.totals.Output, CacheRead: t.totals.CacheRead, CacheWrite: t.totals.CacheWrite, TotalTokens: t.totals.TotalTokens,
		TotalCost: t.totals.TotalCost, InputCost: t.totals.InputCost, OutputCost: t.totals.OutputCost,
		CacheReadCost: t.totals.CacheReadCost, CacheWriteCost: t.totals.CacheWriteCost, MissingCostEntries: t.totals.MissingCostEntries,
	}
	for _, d := range t.dates() {
		day := t.days[d]
		if n := day.totals.TotalTokens; n > 0 {
			out.DailyBreakdown = append(out.DailyBreakdown, protocol.UsageDayTokens{Date: d, Tokens: n, Cost: day.totals.TotalCost})
		}
		c := day.counts
		out.DailyMessageCounts = append(out.DailyMessageCounts, protocol.UsageDayMessages{
			Date: d, Total: c.Total, User: c.User, Assistant: c.Assistant, ToolCalls: c.ToolCalls, ToolResults: c.ToolResults, Errors: c.Errors,
		})
	}
	return out
}
