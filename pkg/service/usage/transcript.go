package usage

import (
	"context"
	"math"
	"slices"
	"strings"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// The bounds of what is read from one transcript.
const (
	pointsMax      = 200
	logsDefault    = 200
	logsMax        = 1000
	logCharsMax    = 2000
	seriesMessages = 20_000 // the newest that a time series looks at
)

// SessionsUsageTimeseries answers sessions.usage.timeseries: what each answer took. When
// there are more than pointsMax answers, neighbours are added up.
func (s *Service) SessionsUsageTimeseries(_ context.Context, _ *wire.Peer, p protocol.SessionsUsageTimeseriesParams) (protocol.SessionsUsageTimeseriesResult, error) {
	result := protocol.SessionsUsageTimeseriesResult{Points: []protocol.UsagePoint{}}
	key := p.Key.Or("")
	if strings.TrimSpace(key) == "" {
		return result, wire.Errorf(protocol.ErrorInvalidRequest, "key is required for timeseries")
	}
	e, messages, ok, err := s.transcript(key, seriesMessages)
	if err != nil {
		return result, err
	}
	if !ok {
		return result, wire.Errorf(protocol.ErrorInvalidRequest, "No transcript found for session: %s", key)
	}
	result.SessionID = wire.Some(e.SessionID)
	answers := slices.DeleteFunc(messages, func(m session.Message) bool { return m.Usage == nil })
	perPoint := max(1, (len(answers)+pointsMax-1)/pointsMax)
	var tokens int64
	var cost float64
	for n, m := range answers {
		t := s.price(session.ModelUsage{Provider: m.Provider, Model: m.Model, Count: 1, Usage: *m.Usage})
		tokens, cost = tokens+t.TotalTokens, cost+t.TotalCost
		if n%perPoint == 0 {
			result.Points = append(result.Points, protocol.UsagePoint{})
		}
		point := &result.Points[len(result.Points)-1]
		point.Timestamp = m.Timestamp
		point.Input += t.Input
		point.Output += t.Output
		point.CacheRead += t.CacheRead
		point.CacheWrite += t.CacheWrite
		point.TotalTokens += t.TotalTokens
		point.Cost += t.TotalCost
		point.CumulativeTokens, point.CumulativeCost = tokens, cost
	}
	return result, nil
}

// SessionsUsageLogs answers sessions.usage.logs: the last messages in short. A session
// that has none is no error there, as with the original.
func (s *Service) SessionsUsageLogs(_ context.Context, _ *wire.Peer, p protocol.SessionsUsageLogsParams) (protocol.SessionsUsageLogsResult, error) {
	result := protocol.SessionsUsageLogsResult{Logs: []protocol.UsageLogEntry{}}
	limit := p.Limit.Or(logsDefault)
	if math.IsNaN(limit) || limit < 1 {
		limit = logsDefault
	}
	key := p.Key.Or("")
	if strings.TrimSpace(key) == "" {
		return result, wire.Errorf(protocol.ErrorInvalidRequest, "key is required for logs")
	}
	_, messages, _, err := s.transcript(key, int(min(limit, logsMax)))
	if err != nil {
		return result, err
	}
	for _, m := range messages {
		entry := protocol.UsageLogEntry{Timestamp: m.Timestamp, Role: m.Role, Content: shorten(m.Text)}
		if m.Usage != nil {
			t := s.price(session.ModelUsage{Provider: m.Provider, Model: m.Model, Count: 1, Usage: *m.Usage})
			entry.Tokens, entry.Cost = wire.Some(t.TotalTokens), wire.Some(t.TotalCost)
		}
		if m.Type == "" && strings.TrimSpace(m.Text) != "" {
			result.Logs = append(result.Logs, entry)
		}
	}
	return result, nil
}

// transcript reads the newest messages of a session, if there is one.
func (s *Service) transcript(key string, limit int) (e session.Entry, messages []session.Message, ok bool, err error) {
	k, err := s.cfg.Sessions.Canonical(key)
	if err != nil {
		return e, nil, false, nil // no session can have such a key
	}
	if e, ok, err = s.cfg.Sessions.Get(k.Full); err != nil || !ok {
		return e, nil, false, err
	}
	messages, err = s.cfg.Sessions.History(k.Full, limit)
	return e, messages, true, err
}

// shorten cuts a text to logCharsMax characters.
func shorten(text string) string {
	n := 0
	for i := range text {
		if n == logCharsMax {
			return text[:i] + "…"
		}
		n++
	}
	return text
}
