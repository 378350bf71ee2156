package session

import (
	"github.com/coderclaw/gateway/pkg/store"
)

// Position is a place in a transcript.
type Position struct {
	// SessionID is the transcript, empty when there is no session yet.
	SessionID string
	// Seq is the number of the newest message before the place, 0 at the beginning.
	Seq uint64
}

// End returns where the transcript of a session ends now.
func (s *Sessions) End(key string) (Position, error) {
	k, err := s.Canonical(key)
	if err != nil {
		return Position{}, err
	}
	var rec record
	err = s.db.View(func(tx *store.Tx) error {
		rec, _, err = entries.Get(tx, k.Full)
		return err
	})
	return Position{SessionID: rec.SessionID, Seq: rec.Seq}, err
}

// After returns at most limit messages behind a place, the oldest first, and the
// place behind them. When the session has another transcript by now, or never had
// that one, it begins with that one's first message. A session that is gone has none.
func (s *Sessions) After(key string, p Position, limit int) (list []Message, next Position, err error) {
	k, err := s.Canonical(key)
	if err != nil {
		return nil, p, err
	}
	err = s.db.View(func(tx *store.Tx) error {
		rec, ok, err := entries.Get(tx, k.Full)
		if next = p; err != nil || !ok {
			return err
		}
		if rec.SessionID != p.SessionID {
			next = Position{SessionID: rec.SessionID}
		}
		r := rec.span(limit, false)
		r.After = max(r.After, store.SeqKey(rec.SessionID, next.Seq))
		list, err = s.scan(tx, r)
		if len(list) > 0 {
			next.Seq = list[len(list)-1].Seq
		}
		return err
	})
	return list, next, err
}

// Backward visits the messages of a session from the newest on, or from before the
// message of a number when before is not 0, until visit returns false. It returns the
// id of the transcript; of a session that is gone it is empty.
//
// The visits share one read of the store: visit must be quick and must not write.
func (s *Sessions) Backward(key string, before uint64, visit func(Message) bool) (sessionID string, err error) {
	k, err := s.Canonical(key)
	if err != nil {
		return "", err
	}
	err = s.db.View(func(tx *store.Tx) error {
		rec, ok, err := entries.Get(tx, k.Full)
		if err != nil || !ok {
			return err
		}
		sessionID = rec.SessionID
		r := rec.span(0, true)
		if before > 0 {
			r.After = store.SeqKey(rec.SessionID, before)
		}
		for row, err := range messages.Scan(tx, r.Range) {
			switch {
			case err != nil && row.Key == "":
				return err
			case row.Key < r.first:
				return nil
			case err != nil:
				s.log.Warn("message unreadable", "key", row.Key, "err", err)
				continue
			}
			row.Value.Seq = seqOf(row.Key)
			if !visit(row.Value) {
				return nil
			}
		}
		return nil
	})
	return sessionID, err
}
