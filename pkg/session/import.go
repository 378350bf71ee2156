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
	// ErrArchived says that the session was imported before, and was reset or deleted
	// here since.
	ErrArchived = errors.New("session was reset or deleted here since its import")
)

var sessionIDGood = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// Importable reports whether Import would take a session of this key and id: nil,
// or ErrImported, ErrArchived, ErrKeyInUse, or what is wrong with them. A session here that has no
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
	// Rows of an archive and rows of a session are told apart by the id alone: a second
	// transcript of the id would go with the first when retention takes that.
	for row, err := range archives.All(tx) {
		if err == nil && row.Value.SessionID == sessionID {
			return "", old, ErrArchived
		}
		if err != nil && row.Key == "" {
			return "", old, err
		}
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
// entry is written last, together with what the session has used, so that an import that was interrupted is done again. It
// returns how many messages are kept. A label that another session has is dropped.
//
// The messages' ids are those of the source, and get new ones; the FirstKeptID of a
// compaction is such an id, and one that is not among the messages before means that
// the summary stands for all of them.
func (s *Sessions) Import(ctx context.Context, key string, e Entry, transcript iter.Seq[Message]) (kept int64, err error) {
	if err := s.Importable(key, e.SessionID); err != nil {
		return 0, err
	}
	k, err := s.Canonical(key)
	if err != nil {
		return 0, err
	}
	if err := s.clearUnfinished(ctx, e.SessionID); err != nil {
		return 0, err
	}
	im := importing{s: s, rec: record{Entry: e}, updatedAt: e.UpdatedAt, renamed: map[string]string{}, used: map[string]*SessionUsage{}}
	im.rec.Key = k.Full
	for m := range transcript {
		if err := im.add(ctx, m); err != nil {
			return 0, err
		}
	}
	if err := im.flush(ctx); err != nil {
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
		for date, row := range im.used {
			if err := addSessionUsage(tx, date, full, row); err != nil {
				return err
			}
		}
		out := im.rec
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
	return im.rec.MessageCount, err
}

// clearUnfinished removes what an interrupted import has left: its source may have
// become shorter since.
func (s *Sessions) clearUnfinished(ctx context.Context, sessionID string) error {
	for n := sweepMessages; n == sweepMessages; {
		err := s.db.Update(ctx, func(tx *store.Tx) (err error) {
			n, err = messages.DeleteRange(tx, store.Range{Prefix: sessionID + "\x00", Limit: sweepMessages})
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// importing is a transcript on its way in.
type importing struct {
	s         *Sessions
	rec       record
	updatedAt int64
	batch     []Message
	bytes     int
	// renamed has the new id of every message of the source, used what was used on
	// each day.
	renamed map[string]string
	used    map[string]*SessionUsage
}

// add takes one message, and writes when there are enough. One that is too large is
// left out.
func (im *importing) add(ctx context.Context, m Message) error {
	if m.size() > MessageBytesMax {
		return nil
	}
	if im.rec.CreatedAt == 0 {
		im.rec.CreatedAt = m.Timestamp
	}
	id := messageID(im.rec.SessionID, im.rec.Seq+uint64(len(im.batch))+1)
	if m.Type == TypeCompaction {
		if m.FirstKeptID = im.renamed[m.FirstKeptID]; m.FirstKeptID == "" {
			m.FirstKeptID = id
		}
	}
	if m.ID != "" {
		im.renamed[m.ID] = id
	}
	if m.Timestamp == 0 {
		m.Timestamp = im.updatedAt
	}
	date := usageDate(m.Timestamp)
	row := im.used[date]
	if row == nil {
		row = &SessionUsage{SessionID: im.rec.SessionID, Channel: im.rec.LastChannel}
		im.used[date] = row
	}
	row.count(&im.rec, &m)
	row.Models = addUsage(row.Models, usedBy(m))
	im.batch = append(im.batch, m)
	if im.bytes += m.size(); len(im.batch) == importMessages || im.bytes > importBytes {
		return im.flush(ctx)
	}
	return nil
}

func (im *importing) flush(ctx context.Context) error {
	before := im.rec
	err := im.s.db.Update(ctx, func(tx *store.Tx) error {
		im.rec = before // the function may run again
		_, err := im.s.write(tx, &im.rec, im.updatedAt, im.batch)
		return err
	})
	im.batch, im.bytes = im.batch[:0], 0
	return err
}
