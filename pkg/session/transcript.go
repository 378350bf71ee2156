package session

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/coderclaw/gateway/pkg/store"
)

// Message is one entry of a transcript.
type Message struct {
	// ID is eight hex digits, unique in its transcript; Append sets it.
	ID string `json:"id"`
	// ParentID is the id of the message before, empty for the first; Append sets it.
	ParentID string `json:"parentId,omitempty"`
	// Seq is the message's number in its transcript, from 1; it is not stored with it.
	Seq uint64 `json:"-"`
	// Type is empty for a message, and TypeCompaction for a summary in its place.
	Type string `json:"type,omitempty"`
	// Role is "user", "assistant" or "system".
	Role   string  `json:"role"`
	Text   string  `json:"text,omitempty"`
	Images []Image `json:"images,omitempty"`
	// Timestamp is in Unix milliseconds; Append sets a zero to now.
	Timestamp int64 `json:"timestamp"`

	// API, Provider, Model, StopReason, ErrorMessage and Usage describe how an
	// assistant's message came to be.
	API          string `json:"api,omitempty"`
	Provider     string `json:"provider,omitempty"`
	Model        string `json:"model,omitempty"`
	StopReason   string `json:"stopReason,omitempty"`
	ErrorMessage string `json:"errorMessage,omitempty"`
	Usage        *Usage `json:"usage,omitempty"`

	// RunID is the run the message belongs to.
	RunID          string `json:"runId,omitempty"`
	IdempotencyKey string `json:"idempotencyKey,omitempty"`
	// Aborted marks the partial reply of a stopped run, AbortOrigin who stopped it.
	Aborted     bool   `json:"aborted,omitempty"`
	AbortOrigin string `json:"abortOrigin,omitempty"`
	// Injected marks a message that an operator put in (chat.inject).
	Injected bool `json:"injected,omitempty"`

	// FirstKeptID is, in a compaction, the oldest message that it does not stand for;
	// TokensBefore is what the conversation was estimated at before it.
	FirstKeptID  string `json:"firstKeptId,omitempty"`
	TokensBefore int64  `json:"tokensBefore,omitempty"`
}

// TypeCompaction marks an entry of a transcript that is no message: the summary of
// what came before FirstKeptID, for a model to read in its place.
const TypeCompaction = "compaction"

// Image is an image in a message.
type Image struct {
	MimeType string `json:"mimeType"`
	Data     []byte `json:"data"`
}

// Usage counts the tokens of one reply.
type Usage struct {
	Input      int64 `json:"input"`
	Output     int64 `json:"output"`
	CacheRead  int64 `json:"cacheRead,omitempty"`
	CacheWrite int64 `json:"cacheWrite,omitempty"`
	Total      int64 `json:"totalTokens"`
}

// messages holds the transcripts: session id, NUL, big-endian sequence number.
var messages = store.NewBucket[Message]("session.messages")

// size returns the bytes of content, which MessageBytesMax bounds.
func (m *Message) size() int {
	n := len(m.Text) + len(m.ErrorMessage)
	for _, i := range m.Images {
		n += len(i.Data)
	}
	return n
}

// Append adds messages to the session of key, in their order, and lets upd (which
// may be nil) change the entry in the same step. The session is created if it is
// missing. It returns the entry and the messages as stored, and when it returns
// without an error they are on disk. What upd may change is as in Patch.
func (s *Sessions) Append(ctx context.Context, key string, upd func(*Entry), msgs ...Message) (out Entry, saved []Message, err error) {
	err = s.db.Update(ctx, func(tx *store.Tx) (err error) {
		out, saved, err = s.AppendTx(tx, key, upd, msgs...)
		return err
	})
	if err != nil {
		return Entry{}, nil, err
	}
	return out, saved, nil
}

// AppendTx is Append inside a transaction of the caller, for a record of the
// caller's that must be on disk exactly if the messages are. An error must end
// the transaction: part of the messages may have been written.
func (s *Sessions) AppendTx(tx *store.Tx, key string, upd func(*Entry), msgs ...Message) (Entry, []Message, error) {
	k, err := s.Canonical(key)
	if err != nil {
		return Entry{}, nil, err
	}
	for i := range msgs {
		if n := msgs[i].size(); n > MessageBytesMax {
			return Entry{}, nil, fmt.Errorf("message is %w: %d bytes, allowed are %d", ErrTooLarge, n, MessageBytesMax)
		}
	}
	now := time.Now().UnixMilli()
	rec, old, err := s.load(tx, k.Full, now)
	if err != nil {
		return Entry{}, nil, err
	}
	saved, err := s.extend(tx, &rec, now, msgs)
	if err != nil {
		return Entry{}, nil, err
	}
	err = change(&rec, now, func(e *Entry) error {
		if upd != nil {
			upd(e)
		}
		return nil
	})
	if err != nil {
		return Entry{}, nil, err
	}
	return rec.Entry, saved, s.save(tx, old, rec, ChangeMessage)
}

// extend is write, and adds the messages to what was used.
func (s *Sessions) extend(tx *store.Tx, rec *record, now int64, msgs []Message) ([]Message, error) {
	saved, err := s.write(tx, rec, now, msgs)
	if err != nil {
		return nil, err
	}
	return saved, account(tx, rec, saved)
}

// write puts msgs behind the transcript of rec and drops what goes beyond the limit
// at its beginning.
func (s *Sessions) write(tx *store.Tx, rec *record, now int64, msgs []Message) ([]Message, error) {
	saved := slices.Clone(msgs)
	for i := range saved {
		m := &saved[i]
		rec.Seq++
		m.ID, m.ParentID, m.Seq = messageID(rec.SessionID, rec.Seq), rec.LastID, rec.Seq
		if m.Timestamp == 0 {
			m.Timestamp = now
		}
		if err := messages.Put(tx, store.SeqKey(rec.SessionID, rec.Seq), *m); err != nil {
			return nil, err
		}
		rec.LastID = m.ID
	}
	rec.MessageCount += int64(len(saved))
	if over := int(rec.MessageCount) - s.limits.messages; over > 0 {
		n, err := messages.DeleteRange(tx, rec.span(over, false).Range)
		if err != nil {
			return nil, err
		}
		rec.MessageCount -= int64(n)
	}
	return saved, nil
}

// messageID derives the id of a transcript's n-th message. Multiplying by an odd
// number permutes the 32-bit numbers, so ids of one transcript never meet, which
// random ones of this length would after some ten thousand messages.
func messageID(sessionID string, n uint64) string {
	h := fnv.New32a()
	h.Write([]byte(sessionID))
	return fmt.Sprintf("%08x", uint32(n)*0x9e3779b1^h.Sum32())
}

// span is a part of a transcript, from one of its ends. first is the key of the
// oldest message in it, at which a scan from the newest on ends.
type span struct {
	store.Range
	first string
}

// span selects messages of the session.
func (rec *record) span(limit int, newestFirst bool) span {
	r := span{Range: store.Range{Prefix: rec.SessionID + "\x00", Limit: limit, Reverse: newestFirst}, first: store.SeqKey(rec.SessionID, rec.First)}
	if !newestFirst && rec.First > 0 {
		r.After = store.SeqKey(rec.SessionID, rec.First-1)
	}
	return r
}

// seqOf returns the number of the message that is stored under a key.
func seqOf(key string) uint64 {
	return binary.BigEndian.Uint64([]byte(key[len(key)-8:]))
}

// History returns the last messages of the session of key, the oldest first: at
// most limit (0 or less means MessagesMax) and HistoryBytesMax of content. An
// unknown session has none. The cost depends on what is returned, not on the
// length of the transcript.
func (s *Sessions) History(key string, limit int) ([]Message, error) {
	list, err := s.read(key, limit, true)
	slices.Reverse(list)
	return list, err
}

// Head returns the first messages of the session of key, within the bounds of History.
func (s *Sessions) Head(key string, limit int) ([]Message, error) { return s.read(key, limit, false) }

// read returns messages from one end of a session's transcript.
func (s *Sessions) read(key string, limit int, newestFirst bool) (list []Message, err error) {
	k, err := s.Canonical(key)
	if err != nil {
		return nil, err
	}
	err = s.db.View(func(tx *store.Tx) error {
		rec, ok, err := entries.Get(tx, k.Full)
		if err != nil || !ok {
			return err
		}
		list, err = s.scan(tx, rec.span(limit, newestFirst))
		return err
	})
	return list, err
}

// scan reads messages in the order of r until HistoryBytesMax. A message that
// cannot be read is logged and left out.
func (s *Sessions) scan(tx *store.Tx, r span) ([]Message, error) {
	if r.Limit <= 0 || r.Limit > MessagesMax {
		r.Limit = MessagesMax
	}
	var list []Message
	bytes := 0
	for row, err := range messages.Scan(tx, r.Range) {
		if err != nil && row.Key == "" {
			return nil, err
		}
		if row.Key < r.first {
			break
		}
		if err != nil {
			s.log.Warn("message unreadable", "key", row.Key, "err", err)
			continue
		}
		if bytes += row.Value.size(); bytes > s.limits.historyBytes && len(list) > 0 {
			break
		}
		row.Value.Seq = seqOf(row.Key)
		list = append(list, row.Value)
	}
	return list, nil
}
