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
	// Reason is "reset", "deleted" or "left" (its session was deleted and the
	// transcript was asked to stay).
	Reason string `json:"reason"`
	// At is when it was archived, in Unix milliseconds.
	At int64 `json:"at"`
	// MessageCount is the number of messages at that time.
	MessageCount int64 `json:"messageCount"`
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
	if _, err := archive(tx, old, "reset", now); err != nil {
		return Entry{}, err
	}
	next := restart(rec, now.UnixMilli())
	if _, err := s.sweep(tx, now); err != nil {
		return Entry{}, err
	}
	return next.Entry, save(tx, old, next)
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
		id, err := archive(tx, old, reason, now)
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
		return entries.Delete(tx, k.Full)
	})
	if err != nil {
		return false, nil, err
	}
	return deleted, archived, nil
}

// archive files the transcript of rec, unless it is empty, and returns the
// archive's id. The messages stay where they are.
func archive(tx *store.Tx, rec record, reason string, now time.Time) (string, error) {
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
		list, err = s.scan(tx, transcript(all[i].SessionID, limit, true))
		return err
	})
	slices.Reverse(list)
	return list, err
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
			return false, nil
		}
		n, err := messages.DeleteRange(tx, transcript(row.Value.SessionID, sweepMessages, false))
		if err != nil {
			return false, err
		}
		if n == sweepMessages {
			return true, nil
		}
		return true, archives.Delete(tx, row.Key)
	}
	return false, nil
}
