package session

import (
	"slices"
	"time"

	"github.com/coderclaw/gateway/pkg/store"
)

const (
	// UsageAgeMax is how long the usage of a session on a day is kept. The totals of a
	// day are kept for UsageDaysMax days.
	UsageAgeMax  = 400 * 24 * time.Hour
	UsageDaysMax = 3660

	// usageModelsMax bounds the models that are told apart in one row; what is used
	// beyond them is counted under the last.
	usageModelsMax = 16
	// latencySamplesMax bounds the answering times of one row; later ones take the
	// place of the oldest.
	latencySamplesMax = 256
	// usageSweepRows bounds the rows that one transaction of retention deletes.
	usageSweepRows = 500
)

// ModelUsage is what one model has used.
type ModelUsage struct {
	Provider string `json:"provider,omitempty"`
	Model    string `json:"model,omitempty"`
	// Count is the number of answers.
	Count int64 `json:"count"`
	Usage
}

// SessionUsage is what happened in one session on one day. It outlives the session:
// what was used stays used.
type SessionUsage struct {
	// Date is the day on the gateway's own clock, as 2006-01-02, and Key the session.
	Date string `json:"-"`
	Key  string `json:"-"`
	// SessionID is the transcript that was last written to.
	SessionID string `json:"sessionId"`
	Channel   string `json:"channel,omitempty"`
	// First and Last are the first and the last message, in Unix milliseconds.
	First int64 `json:"first"`
	Last  int64 `json:"last"`
	// The messages by role, and the answers that were errors.
	User      int64        `json:"user,omitempty"`
	Assistant int64        `json:"assistant,omitempty"`
	Other     int64        `json:"other,omitempty"`
	Errors    int64        `json:"errors,omitempty"`
	Models    []ModelUsage `json:"models,omitempty"`
	// Answers counts the answers that were timed, and LatenciesMs is how long the last
	// of them took from the question to the stored answer.
	Answers     int64   `json:"answers,omitempty"`
	LatenciesMs []int64 `json:"latenciesMs,omitempty"`
}

// DayUsage is what all sessions together have used on one day.
type DayUsage struct {
	Date   string       `json:"-"`
	Models []ModelUsage `json:"models"`
}

var (
	// usageRows holds date, NUL, session key.
	usageRows = store.NewBucket[SessionUsage]("session.usage")
	// usageDays holds dates.
	usageDays = store.NewBucket[DayUsage]("session.usageDays")
)

// usageDate is the day of a time in Unix milliseconds, on the gateway's own clock as
// the original counts them.
func usageDate(ms int64) string { return time.UnixMilli(ms).Format(time.DateOnly) }

// account adds messages that rec's transcript gets to the usage of their day.
func account(tx *store.Tx, rec *record, msgs []Message) error {
	for len(msgs) > 0 {
		date := usageDate(msgs[0].Timestamp)
		n := slices.IndexFunc(msgs, func(m Message) bool { return usageDate(m.Timestamp) != date })
		if n < 0 {
			n = len(msgs)
		}
		if err := accountDay(tx, rec, date, msgs[:n]); err != nil {
			return err
		}
		msgs = msgs[n:]
	}
	return nil
}

func accountDay(tx *store.Tx, rec *record, date string, msgs []Message) error {
	key := date + "\x00" + rec.Key
	row, _, err := usageRows.Get(tx, key)
	if err != nil {
		row = SessionUsage{} // a damaged count is no reason to refuse a message
	}
	var used []ModelUsage
	for i := range msgs {
		row.count(rec, &msgs[i])
		used = append(used, usedBy(msgs[i])...)
	}
	row.SessionID = rec.SessionID
	row.Channel = rec.LastChannel
	row.Models = addUsage(row.Models, used)
	if err := usageRows.Put(tx, key, row); err != nil {
		return err
	}
	return addDayUsage(tx, date, used)
}

// usedBy is what a message has used; nothing, when it is no answer of a model.
func usedBy(m Message) []ModelUsage {
	if m.Usage == nil {
		return nil
	}
	return []ModelUsage{{Provider: m.Provider, Model: m.Model, Count: 1, Usage: *m.Usage}}
}

// addSessionUsage adds what was counted elsewhere to a session's day.
func addSessionUsage(tx *store.Tx, date, sessionKey string, more *SessionUsage) error {
	key := date + "\x00" + sessionKey
	row, ok, err := usageRows.Get(tx, key)
	if err != nil || !ok {
		row = *more
		row.Models = addUsage(nil, more.Models)
	} else {
		row.First, row.Last = min(row.First, more.First), max(row.Last, more.Last)
		row.User += more.User
		row.Assistant += more.Assistant
		row.Other += more.Other
		row.Errors += more.Errors
		row.Models = addUsage(row.Models, more.Models)
	}
	if err := usageRows.Put(tx, key, row); err != nil {
		return err
	}
	return addDayUsage(tx, date, more.Models)
}

// addDayUsage adds to what all sessions have used on a day.
func addDayUsage(tx *store.Tx, date string, used []ModelUsage) error {
	if len(used) == 0 {
		return nil
	}
	day, _, err := usageDays.Get(tx, date)
	if err != nil {
		day = DayUsage{}
	}
	day.Models = addUsage(day.Models, used)
	return usageDays.Put(tx, date, day)
}

// count takes one message into the row.
func (u *SessionUsage) count(rec *record, m *Message) {
	if u.First == 0 {
		u.First = m.Timestamp
	}
	u.Last = max(u.Last, m.Timestamp)
	switch {
	case m.Type != "":
	case m.Role == "user":
		u.User++
		rec.AskedAt = m.Timestamp
	case m.Role == "assistant":
		u.Assistant++
		if m.StopReason == "error" {
			u.Errors++
		}
		if m.RunID != "" && !m.Injected && rec.AskedAt > 0 {
			u.time(max(0, m.Timestamp-rec.AskedAt))
			rec.AskedAt = 0
		}
	default:
		u.Other++
	}
}

// time notes how long an answer took.
func (u *SessionUsage) time(ms int64) {
	if len(u.LatenciesMs) < latencySamplesMax {
		u.LatenciesMs = append(u.LatenciesMs, ms)
	} else {
		u.LatenciesMs[u.Answers%latencySamplesMax] = ms
	}
	u.Answers++
}

// addUsage adds what was used to the models of a row.
func addUsage(list, used []ModelUsage) []ModelUsage {
	for _, m := range used {
		i := slices.IndexFunc(list, func(o ModelUsage) bool { return o.Provider == m.Provider && o.Model == m.Model })
		switch {
		case i >= 0:
		case len(list) < usageModelsMax:
			list = append(list, m)
			continue
		default:
			i = len(list) - 1
		}
		list[i].Count += m.Count
		list[i].Usage.Add(m.Usage)
	}
	return list
}

// Add adds v to u.
func (u *Usage) Add(v Usage) {
	u.Input += v.Input
	u.Output += v.Output
	u.CacheRead += v.CacheRead
	u.CacheWrite += v.CacheWrite
	u.Total += v.Total
}

// Usage visits what each session did on each day of a range, both ends included
// (2006-01-02), day by day. A row that cannot be read is logged and left out.
func (s *Sessions) Usage(from, to string, visit func(SessionUsage)) error {
	return s.db.View(func(tx *store.Tx) error {
		for row, err := range usageRows.Scan(tx, store.Range{After: from}) {
			if err != nil && row.Key == "" {
				return err
			}
			if len(row.Key) <= len(time.DateOnly) || row.Key[:len(time.DateOnly)] > to {
				break
			}
			if err != nil {
				s.log.Warn("usage unreadable", "key", row.Key, "err", err)
				continue
			}
			row.Value.Date, row.Value.Key = row.Key[:len(time.DateOnly)], row.Key[len(time.DateOnly)+1:]
			visit(row.Value)
		}
		return nil
	})
}

// UsageDays returns what was used on each day of a range, both ends included, the
// oldest first. Days without use are left out; deleted sessions are counted.
func (s *Sessions) UsageDays(from, to string) ([]DayUsage, error) {
	var list []DayUsage
	err := s.db.View(func(tx *store.Tx) error {
		list = nil
		for row, err := range usageDays.All(tx) {
			if err != nil && row.Key == "" {
				return err
			}
			if row.Key < from {
				continue
			}
			if row.Key > to {
				break
			}
			if err != nil {
				s.log.Warn("usage unreadable", "key", row.Key, "err", err)
				continue
			}
			row.Value.Date = row.Key
			list = append(list, row.Value)
		}
		return nil
	})
	return list, err
}

// sweepUsage deletes the oldest usage that is over age, and reports whether there may
// be more of it.
func sweepUsage(tx *store.Tx, now time.Time) (more bool, err error) {
	limit := now.Add(-UsageAgeMax).Format(time.DateOnly)
	old := 0
	for key, err := range usageRows.Keys(tx, store.Range{Limit: usageSweepRows}) {
		if err != nil {
			return false, err
		}
		if key >= limit {
			break
		}
		old++
	}
	if old > 0 {
		if _, err := usageRows.DeleteRange(tx, store.Range{Limit: old}); err != nil {
			return false, err
		}
	}
	limit = now.AddDate(0, 0, -UsageDaysMax).Format(time.DateOnly)
	for key, err := range usageDays.Keys(tx, store.Range{Limit: 1}) {
		if err != nil {
			return false, err
		}
		if key < limit {
			return true, usageDays.Delete(tx, key)
		}
	}
	return old == usageSweepRows, nil
}
