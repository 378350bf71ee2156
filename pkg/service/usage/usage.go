// Package usage answers what runs have used and what that cost: usage.status,
// usage.cost and sessions.usage with its two relatives.
//
// The counts are kept by pkg/session, which notes them in the transaction that stores
// a message, so they survive restarts and the deletion of what they were counted on.
// The package only adds them up; it keeps nothing and asks no provider.
//
// What surprises: costs are worked out when they are asked for, at the prices of
// today's settings, as the original does. Tokens of a model without a price are
// counted, cost nothing and are flagged in missingCostEntries. Days are those of the
// gateway's own clock. The service has no lock.
package usage

import (
	"context"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

const (
	// daysDefault is the length of a range that nobody has given.
	daysDefault = 30
	// daysMax bounds a range; a longer one ends at its last day.
	daysMax = 3660
)

// Sessions is what the service needs of the session store. *session.Sessions is one.
type Sessions interface {
	Canonical(raw string) (session.Key, error)
	Get(key string) (session.Entry, bool, error)
	History(key string, limit int) ([]session.Message, error)
	Usage(from, to string, visit func(session.SessionUsage)) error
	UsageDays(from, to string) ([]session.DayUsage, error)
}

// Price is what a model costs, in US dollars for a million tokens.
type Price struct{ Input, Output, CacheRead, CacheWrite float64 }

// Config is what the service needs.
type Config struct {
	Sessions Sessions
	// StorePath is where transcripts are kept, for people to read.
	StorePath string
	// Price returns what a model costs; false is not known. It must not block.
	Price func(provider, model string) (Price, bool)
}

// Service implements protocol.UsageService.
type Service struct{ cfg Config }

var _ protocol.UsageService = (*Service)(nil)

// New returns the service.
func New(c Config) *Service { return &Service{cfg: c} }

// UsageStatus answers usage.status: none of the backends is paid by an allowance.
func (s *Service) UsageStatus(context.Context, *wire.Peer, protocol.UsageStatusParams) (protocol.UsageStatusResult, error) {
	return protocol.UsageStatusResult{UpdatedAt: time.Now().UnixMilli(), Providers: []protocol.UsageProvider{}}, nil
}

// UsageCost answers usage.cost: tokens and costs by day, of deleted sessions too.
func (s *Service) UsageCost(_ context.Context, _ *wire.Peer, p protocol.UsageCostParams) (protocol.UsageCostResult, error) {
	now := time.Now()
	r := costRange(p, now)
	result := protocol.UsageCostResult{UpdatedAt: now.UnixMilli(), Days: r.days(), Daily: []protocol.UsageCostDay{}}
	days, err := s.cfg.Sessions.UsageDays(r.from, r.to)
	if err != nil {
		return result, err
	}
	for _, d := range days {
		sum := s.sum(d.Models)
		result.Daily = append(result.Daily, sum.onDay(d.Date))
		add(&result.Totals, sum.UsageTotals)
	}
	return result, nil
}

// dayRange is some days, both ends included, as 2006-01-02.
type dayRange struct{ from, to string }

// days is how many days the range has.
func (r dayRange) days() int64 {
	from, to := r.times()
	return int64(to.Sub(from)/(24*time.Hour)) + 1
}

// times are the ends in UTC, where every day has 24 hours.
func (r dayRange) times() (from, to time.Time) {
	from, _ = time.Parse(time.DateOnly, r.from)
	to, _ = time.Parse(time.DateOnly, r.to)
	return from, to
}

// lastDays is the range of so many days that ends with now's.
func lastDays(days int, now time.Time) dayRange {
	days = min(max(days, 1), daysMax)
	return dayRange{from: now.AddDate(0, 0, 1-days).Format(time.DateOnly), to: now.Format(time.DateOnly)}
}

// costRange reads the params of usage.cost, which nobody validates: both dates, else
// a number of days, else the default.
func costRange(p protocol.UsageCostParams, now time.Time) dayRange {
	if r, ok := between(p.StartDate.Or(""), p.EndDate.Or("")); ok {
		return r
	}
	if days, ok := p.Days.Get(); ok && days >= 1 {
		return lastDays(int(min(days, daysMax)), now)
	}
	return lastDays(daysDefault, now)
}

// between is the range from one date to another, if both are dates in that order.
func between(from, to string) (dayRange, bool) {
	first, err1 := time.Parse(time.DateOnly, from)
	last, err2 := time.Parse(time.DateOnly, to)
	if err1 != nil || err2 != nil || last.Before(first) {
		return dayRange{}, false
	}
	if earliest := last.AddDate(0, 0, 1-daysMax); first.Before(earliest) {
		from = earliest.Format(time.DateOnly)
	}
	return dayRange{from, to}, true
}

// totals is a protocol.UsageTotals that can be worked with.
type totals struct{ protocol.UsageTotals }

// sum prices what models have used and adds it up.
func (s *Service) sum(models []session.ModelUsage) totals {
	var t totals
	for _, m := range models {
		add(&t.UsageTotals, s.price(m).UsageTotals)
	}
	return t
}

// price is what one model has used, with its cost.
func (s *Service) price(m session.ModelUsage) totals {
	t := protocol.UsageTotals{
		Input: m.Input, Output: m.Output, CacheRead: m.CacheRead, CacheWrite: m.CacheWrite,
		TotalTokens: max(m.Total, m.Input+m.Output+m.CacheRead+m.CacheWrite),
	}
	p, ok := s.cfg.Price(m.Provider, m.Model)
	if !ok {
		t.MissingCostEntries = m.Count
		return totals{t}
	}
	const million = 1e6
	t.InputCost = float64(m.Input) * p.Input / million
	t.OutputCost = float64(m.Output) * p.Output / million
	t.CacheReadCost = float64(m.CacheRead) * p.CacheRead / million
	t.CacheWriteCost = float64(m.CacheWrite) * p.CacheWrite / million
	t.TotalCost = t.InputCost + t.OutputCost + t.CacheReadCost + t.CacheWriteCost
	return totals{t}
}

// add adds v to t.
func add(t *protocol.UsageTotals, v protocol.UsageTotals) {
	t.Input += v.Input
	t.Output += v.Output
	t.CacheRead += v.CacheRead
	t.CacheWrite += v.CacheWrite
	t.TotalTokens += v.TotalTokens
	t.TotalCost += v.TotalCost
	t.InputCost += v.InputCost
	t.OutputCost += v.OutputCost
	t.CacheReadCost += v.CacheReadCost
	t.CacheWriteCost += v.CacheWriteCost
	t.MissingCostEntries += v.MissingCostEntries
}

// onDay is the totals as those of a day.
func (t totals) onDay(date string) protocol.UsageCostDay {
	return protocol.UsageCostDay{
		Date: date, Input: t.Input, Output: t.Output, CacheRead: t.CacheRead, CacheWrite: t.CacheWrite, TotalTokens: t.TotalTokens,
		TotalCost: t.TotalCost, InputCost: t.InputCost, OutputCost: t.OutputCost, CacheReadCost: t.CacheReadCost, CacheWriteCost: t.CacheWriteCost,
		MissingCostEntries: t.MissingCostEntries,
	}
}
