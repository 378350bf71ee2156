package session

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/coderclaw/gateway/pkg/store"
)

const (
	// NotesMax is how many notes may wait; beyond it the oldest is dropped.
	NotesMax = 20
	// NoteBytesMax bounds the text of one note; what is longer is cut.
	NoteBytesMax = 4 << 10
)

// notesBucket holds the notes in the order of their sequence.
var notesBucket = store.NewBucket[Note]("session.notes")

// Note is a system event that the next turn of the main session will be told:
// protocol 3, system-event.
type Note struct {
	Text string `json:"text"`
	// At is when it was reported, in milliseconds since 1970.
	At int64 `json:"at"`

	// key is the note's place in the queue.
	key string
}

// AddNote queues a note. A text equal to the newest waiting one is not repeated.
func (s *Sessions) AddNote(ctx context.Context, text string) error {
	if len(text) > NoteBytesMax {
		text = strings.ToValidUTF8(text[:NoteBytesMax], "")
	}
	err := s.db.Update(ctx, func(tx *store.Tx) error {
		rows, err := noteRows(tx)
		if err != nil {
			return err
		}
		if n := len(rows); n > 0 && rows[n-1].Value.Text == text {
			return nil
		}
		seq, err := notesBucket.NextSequence(tx)
		if err != nil {
			return err
		}
		for _, r := range rows[:max(0, len(rows)+1-NotesMax)] {
			if err := notesBucket.Delete(tx, r.Key); err != nil {
				return err
			}
		}
		return notesBucket.Put(tx, store.SeqKey("note", seq), Note{Text: text, At: time.Now().UnixMilli()})
	})
	if err != nil {
		return fmt.Errorf("queue note: %w", err)
	}
	return nil
}

// Notes returns the waiting notes, oldest first. They wait until DropNotesTx.
func (s *Sessions) Notes() ([]Note, error) {
	var notes []Note
	err := s.db.View(func(tx *store.Tx) error {
		rows, err := noteRows(tx)
		notes = nil
		for _, r := range rows {
			r.Value.key = r.Key
			notes = append(notes, r.Value)
		}
		return err
	})
	return notes, err
}

// DropNotesTx removes notes that Notes has returned, in a transaction of the
// caller: the one that stores the answer of who was told them. Notes that have
// gone meanwhile are no error.
func (s *Sessions) DropNotesTx(tx *store.Tx, notes []Note) error {
	for _, n := range notes {
		if err := notesBucket.Delete(tx, n.key); err != nil {
			return fmt.Errorf("drop note: %w", err)
		}
	}
	return nil
}

func noteRows(tx *store.Tx) ([]store.Row[Note], error) {
	var rows []store.Row[Note]
	for r, err := range notesBucket.All(tx) {
		if err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}
