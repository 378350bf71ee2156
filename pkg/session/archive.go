package session

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/coderclaw/gateway/pkg/store"
)

const (
	// ArchivesMax is how many archived transcripts are kept; the oldest go first.
	ArchivesMax = 1000
	// ArchiveAgeMax is how long an archived transcript is kept.
	ArchiveAgeMax = 90 * 24 * time.Hour

	// sweepEvery is the time between two rounds of retention.
	sweepEvery = time.Hour
	// sweepMessages bounds the messages one transaction deletes.
	sweepMessages = 500
)

// Archive is a transcript that no session writes to any more.
type Archive struct {
	// ID is the session id, the reason and the time, such as
	// "3f74....reset.2026-11-22T10-50-37.259Z".
	ID string `json:"id"`
	// Key is the session it belonged to.
	Key string `json:"key"`
	// SessionID is the id the messages are stored under.
	SessionID string `json:"sessionId"`
	// Reason is "reset", "deleted", "left" (its session was deleted and the transcript
	// was asked to stay) or "bak" (its older messages left the session by Truncate).
	Reason string `json:"reason"`
	// At is when it was archived, in Unix milliseconds.
	At int64 `json:"at"`
	// MessageCount is the number of messages at that time.
	MessageCount int64 `json:"messageCount"`
	// From and To are the numbers of its first and last message; 0 is an open end.
	From uint64 `json:"from,omitempty"`
	To   uint64 `json:"to,omitempty"`
	// Below is set where the session goes on: only the messages before it are the
	// archive's own, the others are still the session's.
	Below uint64 `json:"below,omitempty"`
}

// archives holds the archived transcripts under a sequence number, oldest first.
var archives = store.NewBucket[Archive]("session.archives")

// Reset gives the session of key a new session id and an empty transcript, and
// archives the old one. Levels, labels, policies, the model last used and the
// origin stay; counters and overrides of the model go (sessions.reset). A session
// that is missing is created.
func (s *Sessions) Reset(ctx context.Context, key string) (out Entry, err error) {
	err = s.db.Update(ctx, func(tx *store.Tx) (err error) {
		out, err = s.ResetTx(tx, key)
		return err
	})
	if err != nil {
		return Entry{}, err
	}
	return out, nil
}

// ResetTx is Reset inside a transaction of the caller. An error must end the
// transaction.
func (s *Sessions) ResetTx(tx *store.Tx, key string) (Entry, error) {
	k, err := s.Canonical(key)
	if err != nil {
		return Entry{}, err
	}
	now := time.Now()
	rec, old, err := s.load(tx, k.Full, now.UnixMilli())
	if err != nil {
		return Entry{}, err
	}
	if _, err := archive(tx, old, "reset", now, 0); err != nil {
		return Entry{}, err
	}
	next := restart(rec, now.UnixMilli())
	if _, err := s.sweep(tx, now); err != nil {
		return Entry{}, err
	}
	return next.Entry, s.save(tx, old, next, ChangeReset)
}

// restart returns what is left of a session after a reset. What an operator set
// to hold a session back (send and exec policies) survives, so that "/new" is no
// way around it.
func restart(rec record, now int64) record {
	next := newRecord(rec.Key, now)
	next.UpdatedAt = max(rec.UpdatedAt, now)
	next.ThinkingLevel, next.VerboseLevel, next.ReasoningLevel = rec.ThinkingLevel, rec.VerboseLevel, rec.ReasoningLevel
	next.ResponseUsage, next.ElevatedLevel = rec.ResponseUsage, rec.ElevatedLevel
	next.SendPolicy, next.GroupActivation = rec.SendPolicy, rec.GroupActivation
	next.ExecHost, next.ExecSecurity, next.ExecAsk, next.ExecNode = rec.ExecHost, rec.ExecSecurity, rec.ExecAsk, rec.ExecNode
	next.Label, next.SpawnedBy, next.SpawnDepth = rec.Label, rec.SpawnedBy, rec.SpawnDepth
	next.Model, next.ContextTokens = rec.Model, rec.ContextTokens
	next.Origin, next.LastChannel, next.LastTo = rec.Origin, rec.LastChannel, rec.LastTo
	next.TotalTokensFresh = true
	return next
}

// Delete removes the session of key. Its transcript is archived when
// dropTranscript is true, and archived then names the archive; otherwise the
// transcript stays where it is until retention finds it, and no archive is named.
// The bool reports whether there was a session.
func (s *Sessions) Delete(ctx context.Context, key string, dropTranscript bool) (deleted bool, archived []string, err error) {
	k, err := s.Canonical(key)
	if err != nil {
		return false, nil, err
	}
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		deleted, archived = false, nil
		now := time.Now()
		old, ok, err := entries.Get(tx, k.Full)
		if err != nil || !ok {
			return err
		}
		reason := "left"
		if dropTranscript {
			reason = "deleted"
		}
		id, err := archive(tx, old, reason, now, 0)
		if err != nil {
			return err
		}
		if id != "" && dropTranscript {
			archived = []string{id}
		}
		if err := unindex(tx, old, record{}); err != nil {
			return err
		}
		if _, err := s.sweep(tx, now); err != nil {
			return err
		}
		deleted = true
		tx.OnCommit(func() { s.committed(nil, Change{Key: k.Full, Kind: ChangeDeleted}) })
		return entries.Delete(tx, k.Full)
	})
	if err != nil {
		return false, nil, err
	}
	return deleted, archived, nil
}

// archive files the transcript of rec, unless it is empty, and returns the
// archive's id. The messages stay where they are. below is Archive.Below.
func archive(tx *store.Tx, rec record, reason string, now time.Time, below uint64) (string, error) {
	if rec.Seq == 0 {
		return "", nil
	}
	n, err := archives.NextSequence(tx)
	if err != nil {
		return "", err
	}
	stamp := strings.ReplaceAll(now.UTC().Format("2006-01-02T15:04:05.000Z"), ":", "-")
	a := Archive{
		ID:  rec.SessionID + "." + reason + "." + stamp,
		Key: rec.Key, SessionID: rec.SessionID, Reason: reason, At: now.UnixMilli(), MessageCount: rec.MessageCount,
		From: rec.First, To: rec.Seq, Below: below,
	}
	return a.ID, archives.Put(tx, store.SeqKey("", n), a)
}

// Archives returns the archived transcripts, the newest first.
func (s *Sessions) Archives() ([]Archive, error) {
	var list []Archive
	err := s.db.View(func(tx *store.Tx) error {
		list = nil
		for row, err := range archives.Scan(tx, store.Range{Reverse: true}) {
			if err != nil {
				return err
			}
			list = append(list, row.Value)
		}
		return nil
	})
	return list, err
}

// ArchiveHistory is History for an archived transcript; the error is ErrNotFound
// when no archive has the id.
func (s *Sessions) ArchiveHistory(id string, limit int) ([]Message, error) {
	all, err := s.Archives()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(a Archive) bool { return a.ID == id })
	if i < 0 {
		return nil, ErrNotFound
	}
	var list []Message
	err = s.db.View(func(tx *store.Tx) (err error) {
		list, err = s.scan(tx, all[i].span(limit))
		return err
	})
	slices.Reverse(list)
	return list, err
}

// span selects the newest messages of the archive.
func (a Archive) span(limit int) span {
	r := span{Range: store.Range{Prefix: a.SessionID + "\x00", Limit: limit, Reverse: true}, first: store.SeqKey(a.SessionID, a.From)}
	if a.To > 0 {
		r.After = store.SeqKey(a.SessionID, a.To+1)
	}
	return r
}

// Truncate takes all but the newest keep messages out of the session of key and
// archives the transcript as it was; nothing is deleted before retention finds the
// archive. Token counters are cleared, because they described the longer transcript.
// It returns how many messages the session has then and the archive's id, which is
// empty when there was nothing to take. The error is ErrNotFound when no session has
// the key.
func (s *Sessions) Truncate(ctx context.Context, key string, keep int) (out Entry, archived string, err error) {
	k, err := s.Canonical(key)
	if err != nil {
		return Entry{}, "", err
	}
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		archived = ""
		now := time.Now()
		rec, ok, err := entries.Get(tx, k.Full)
		if err != nil {
			return err
		}
		if !ok {
			return ErrNotFound
		}
		out = rec.Entry
		if rec.MessageCount <= int64(keep) {
			return nil
		}
		old, first, kept := rec, uint64(0), int64(0)
		for row, err := range messages.Keys(tx, store.Range{Prefix: rec.SessionID + "\x00", Limit: keep, Reverse: true}) {
			if err != nil {
				return err
			}
			first, kept = seqOf(row), kept+1
		}
		if archived, err = archive(tx, old, "bak", now, first); err != nil {
			return err
		}
		rec.First, rec.MessageCount = first, kept
		rec.InputTokens, rec.OutputTokens, rec.TotalTokens, rec.TotalTokensFresh = 0, 0, 0, false
		rec.UpdatedAt = max(rec.UpdatedAt, now.UnixMilli())
		out = rec.Entry
		return s.save(tx, old, rec, ChangeCompacted)
	})
	if err != nil {
		return Entry{}, "", err
	}
	return out, archived, nil
}

// Run applies retention now and once an hour until ctx ends. It returns nil then,
// and the store's error when that fails.
func (s *Sessions) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		for more := true; more; {
			err := s.db.Update(ctx, func(tx *store.Tx) (err error) {
				more, err = s.sweep(tx, time.Now())
				return err
			})
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				// A full disk passes; retention is what makes room.
				s.log.Warn("retention of transcripts failed", "err", err)
				break
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// sweep deletes at most sweepMessages messages of the oldest archive that is over
// age or number, and the archive itself with its last message. It reports whether
// there may be more to do.
func (s *Sessions) sweep(tx *store.Tx, now time.Time) (more bool, err error) {
	count := 0
	for _, err := range archives.Keys(tx, store.Range{}) {
		if err != nil {
			return false, err
		}
		count++
	}
	for row, err := range archives.All(tx) {
		if err != nil && row.Key == "" {
			return false, err
		}
		if err != nil {
			s.log.Warn("archived transcript unreadable", "err", err)
			continue
		}
		if count <= s.limits.archives && now.Sub(time.UnixMilli(row.Value.At)) <= ArchiveAgeMax {
			break
		}
		n, err := row.Value.deleteSome(tx)
		if err != nil {
			return false, err
		}
		if n == sweepMessages {
			return true, nil
		}
		return true, archives.Delete(tx, row.Key)
	}
	return sweepUsage(tx, now)
}

// deleteSome deletes the oldest messages that are the archive's own, at most
// sweepMessages of them.
func (a Archive) deleteSome(tx *store.Tx) (int, error) {
	r := store.Range{Prefix: a.SessionID + "\x00", Limit: sweepMessages}
	if a.Below > 0 {
		var err error
		if r.Limit, err = countBelow(tx, r, store.SeqKey(a.SessionID, a.Below)); err != nil || r.Limit == 0 {
			return 0, err
		}
	}
	return messages.DeleteRange(tx, r)
}

// countBelow returns how many rows of r lie before key.
func countBelow(tx *store.Tx, r store.Range, key string) (n int, err error) {
	for row, err := range messages.Keys(tx, r) {
		if err != nil {
			return 0, err
		}
		if row >= key {
			break
		}
		n++
	}
	return n, nil
}
