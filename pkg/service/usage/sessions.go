package usage

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// sessionsDefault is how many sessions sessions.usage lists unless it is told.
const sessionsDefault = 50

// SessionsUsage answers sessions.usage: every session that has messages in the range,
// deleted ones too, and all of them together.
func (s *Service) SessionsUsage(_ context.Context, _ *wire.Peer, p protocol.SessionsUsageParams) (protocol.SessionsUsageResult, error) {
	now := time.Now()
	r := sessionsRange(p, now)
	result := protocol.SessionsUsageResult{UpdatedAt: now.UnixMilli(), StartDate: r.from, EndDate: r.to, Sessions: []protocol.UsageSession{}}
	only := ""
	if key, ok := p.Key.Get(); ok {
		k, err := s.cfg.Sessions.Canonical(key)
		if err != nil {
			return result, wire.Errorf(protocol.ErrorInvalidRequest, "invalid %s params: malformed session key %q", protocol.MethodSessionsUsage.Name, key)
		}
		only = k.Full
	}
	bySession := map[string]*tally{}
	all := newTally(s)
	err := s.cfg.Sessions.Usage(r.from, r.to, func(row session.SessionUsage) {
		if only != "" && row.Key != only {
			return
		}
		t := bySession[row.Key]
		if t == nil {
			t = newTally(s)
			bySession[row.Key] = t
		}
		t.add(row)
		all.add(row)
	})
	if err != nil {
		return result, err
	}
	keys := slices.SortedFunc(maps.Keys(bySession), func(a, b string) int {
		return cmp.Or(cmp.Compare(bySession[b].last, bySession[a].last), cmp.Compare(a, b))
	})
	result.Totals = all.totals.UsageTotals
	result.Aggregates = s.aggregates(all, bySession)
	for _, key := range keys[:min(int64(len(keys)), p.Limit.Or(sessionsDefault))] {
		row, err := s.usageSession(key, bySession[key])
		if err != nil {
			return result, err
		}
		result.Sessions = append(result.Sessions, row)
	}
	return result, nil
}

// sessionsRange reads the dates of sessions.usage: 30 days, up to today unless an end
// is given.
func sessionsRange(p protocol.SessionsUsageParams, now time.Time) dayRange {
	last := now
	if end, err := time.ParseInLocation(time.DateOnly, p.EndDate.Or(""), now.Location()); err == nil {
		last = end
	}
	r := lastDays(daysDefault, last)
	if given, ok := between(p.StartDate.Or(""), r.to); ok {
		return given
	}
	return r
}

// usageSession is one session as sessions.usage shows it.
func (s *Service) usageSession(key string, t *tally) (protocol.UsageSession, error) {
	k, _ := s.cfg.Sessions.Canonical(key) // it was stored, so it is one
	row := protocol.UsageSession{
		Key: key, Label: some(k.Rest), SessionID: some(t.sessionID), UpdatedAt: t.last, AgentID: some(k.AgentID), Channel: some(t.channel),
		ModelProvider: some(t.lastModel.provider), Model: some(t.lastModel.model),
	}
	e, ok, err := s.cfg.Sessions.Get(key)
	if err != nil {
		return row, err
	}
	if ok {
		row.Label = wire.Some(cmp.Or(e.Label, e.DisplayName, e.Subject, k.Rest))
		row.UpdatedAt, row.ChatType = e.UpdatedAt, some(e.ChatType)
		row.ModelOverride, row.ProviderOverride = some(e.ModelOverride), some(e.ProviderOverride)
		if o := e.Origin; o != nil {
			row.Origin = wire.Some(protocol.SessionOrigin{
				Label: some(o.Label), Provider: some(o.Provider), Surface: some(o.Surface), ChatType: some(o.ChatType),
				From: some(o.From), To: some(o.To), AccountID: some(o.AccountID), ThreadID: some(o.ThreadID),
			})
		}
	}
	row.Usage = t.ofSession(s.cfg.StorePath)
	return row, nil
}

func (s *Service) agentID(key string) string {
	k, err := s.cfg.Sessions.Canonical(key)
	if err != nil {
		return ""
	}
	return k.AgentID
}

// aggregates is all sessions together, from the sides that clients draw.
func (s *Service) aggregates(all *tally, bySession map[string]*tally) protocol.UsageAggregates {
	agents, channels := map[string]*totals{}, map[string]*totals{}
	grow := func(m map[string]*totals, name string, t totals) {
		if m[name] == nil {
			m[name] = &totals{}
		}
		add(&m[name].UsageTotals, t.UsageTotals)
	}
	for key, t := range bySession {
		grow(agents, s.agentID(key), t.totals)
		if t.channel != "" {
			grow(channels, t.channel, t.totals)
		}
	}
	out := protocol.UsageAggregates{
		Messages: all.counts, Tools: protocol.UsageTools{Tools: []protocol.UsageToolCount{}},
		ByModel: all.byModel(), ByProvider: all.byProvider(), ByAgent: []protocol.UsageAgent{}, ByChannel: []protocol.UsageChannel{},
		Latency: all.latency(), DailyLatency: all.dailyLatency(), ModelDaily: all.dailyModels(), Daily: []protocol.UsageDay{},
	}
	for _, name := range slices.Sorted(maps.Keys(agents)) {
		out.ByAgent = append(out.ByAgent, protocol.UsageAgent{AgentID: name, Totals: agents[name].UsageTotals})
	}
	for _, name := range slices.Sorted(maps.Keys(channels)) {
		out.ByChannel = append(out.ByChannel, protocol.UsageChannel{Channel: name, Totals: channels[name].UsageTotals})
	}
	for _, d := range all.dates() {
		day := all.days[d]
		out.Daily = append(out.Daily, protocol.UsageDay{
			Date: d, Tokens: day.totals.TotalTokens, Cost: day.totals.TotalCost, Messages: day.counts.Total,
			ToolCalls: day.counts.ToolCalls, Errors: day.counts.Errors,
		})
	}
	return out
}

// some is a member that is absent when there is nothing to say.
func some[T comparable](v T) wire.Opt[T] {
	var zero T
	if v == zero {
		return wire.Opt[T]{}
	}
	return wire.Some(v)
}
