package session

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"time"

	"github.com/coderclaw/gateway/pkg/store"
)

// The bounds of one transaction of an import.
const (
	importMessages = 200
	importBytes    = 4 << 20
)

var (
	// ErrImported says that the session is here already, with its transcript.
	ErrImported = errors.New("session is there already")
	// ErrKeyInUse says that another session has the key.
	ErrKeyInUse = errors.New("another session has the key")
)

var sessionIDGood = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// Importable reports whether Import would take a session of this key and id: nil,
// or ErrImported, ErrKeyInUse, or what is wrong with them. A session here that has no
// message makes room.
func (s *Sessions) Importable(key, sessionID string) error {
	return s.db.View(func(tx *store.Tx) error {
		_, _, err := s.importable(tx, key, sessionID)
		return err
	})
}

func (s *Sessions) importable(tx *store.Tx, key, sessionID string) (full string, old record, err error) {
	k, err := s.Canonical(key)
	if err != nil {
		return "", old, err
	}
	if !sessionIDGood.MatchString(sessionID) {
		return "", old, fmt.Errorf("its session id is not one: %.40q", sessionID)
	}
	owner, ok, err := ids.Get(tx, sessionID)
	switch {
	case err != nil:
		return "", old, err
	case ok && owner == k.Full:
		return "", old, ErrImported
	case ok:
		return "", old, fmt.Errorf("its session id belongs to %s", owner)
	}
	// A new session of the key is not counted against SessionsMax before it is written.
	old, ok, err = entries.Get(tx, k.Full)
	if err != nil {
		return "", old, err
	}
	if ok && old.MessageCount > 0 {
		return "", old, ErrKeyInUse
	}
	return k.Full, old, nil
}

// Import takes over a session of another gateway: its entry with its session id and
// times (a CreatedAt of 0 becomes the first message's), and its transcript, of which the newest MessagesMax messages stay. The
// entry is written last, so that an import that was interrupted is done again. It
// returns how many messages are kept. A label that another session has is dropped.
func (s *Sessions) Import(ctx context.Context, key string, e Entry, transcript iter.Seq[Message]) (kept int64, err error) {
	if err := s.Importable(key, e.SessionID); err != nil {
		return 0, err
	}
	rec := record{Entry: e}
	var batch []Message
	bytes := 0
	flush := func() error {
		before := rec
		err := s.db.Update(ctx, func(tx *store.Tx) error {
			rec = before // the function may run again
			_, err := s.extend(tx, &rec, e.UpdatedAt, batch)
			return err
		})
		batch, bytes = batch[:0], 0
		return err
	}
	for m := range transcript {
		if m.size() > MessageBytesMax {
			continue
		}
		if rec.CreatedAt == 0 {
			rec.CreatedAt = m.Timestamp
		}
		batch = append(batch, m)
		if bytes += m.size(); len(batch) == importMessages || bytes > importBytes {
			if err := flush(); err != nil {
				return 0, err
			}
		}
	}
	if err := flush(); err != nil {
		return 0, err
	}
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		full, old, err := s.importable(tx, key, e.SessionID)
		if err != nil {
			return err
		}
		if _, _, err := s.load(tx, full, time.Now().UnixMilli()); err != nil {
			return err // too many
		}
		out := rec
		out.Key = full
		if out.CreatedAt == 0 {
			out.CreatedAt = out.UpdatedAt
		}
		if err := labelFree(tx, old, out); errors.Is(err, ErrLabelInUse) {
			out.Label = ""
		} else if err != nil {
			return err
		}
		return s.save(tx, old, out, ChangeUpdated)
	})
	return rec.MessageCount, err
}
