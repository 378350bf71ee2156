package task

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// EventKind is what an event tells. The first five are the original's.
type EventKind string

// The kinds of events. Heartbeats are no events.
const (
	EventCreated         EventKind = "created"
	EventStatusChanged   EventKind = "status_changed"
	EventProgressUpdated EventKind = "progress_updated"
	EventOutputAdded     EventKind = "output_added"
	EventErrorSet        EventKind = "error_set"
	EventClaimed         EventKind = "claimed"
	EventLeaseTaken      EventKind = "lease_taken"
	EventHeartbeatLost   EventKind = "heartbeat_lost"
	EventCancelRequested EventKind = "cancel_requested"
	EventCheckpoint      EventKind = "checkpoint"
	EventRetryScheduled  EventKind = "retry_scheduled"
	EventChildAdded      EventKind = "child_added"
)

// EventKinds lists them all.
func EventKinds() []EventKind {
	return []EventKind{EventCreated, EventStatusChanged, EventProgressUpdated, EventOutputAdded, EventErrorSet, EventClaimed,
		EventLeaseTaken, EventHeartbeatLost, EventCancelRequested, EventCheckpoint, EventRetryScheduled, EventChildAdded}
}

// Event is one entry of a task's history. It is never changed.
type Event struct {
	TaskID string `json:"taskId"`
	// Seq numbers the events of the task: 1, 2, 3...
	Seq uint64 `json:"seq"`
	// Cursor is the event's place among those of all tasks. It grows, not always by
	// one for those who see a part.
	Cursor    Cursor          `json:"cursor"`
	Timestamp time.Time       `json:"timestamp"`
	Event     EventKind       `json:"event"`
	OldStatus Status          `json:"oldStatus,omitempty"`
	NewStatus Status          `json:"newStatus,omitempty"`
	Message   string          `json:"message,omitempty"`
	Progress  *int            `json:"progress,omitempty"`
	Data      json.RawMessage `json:"data,omitempty"`
	// Actor is who did it: the principal that asked, the worker, or "engine".
	Actor string `json:"actor,omitempty"`
	// Host is the machine whose engine wrote it.
	Host    string `json:"host,omitempty"`
	Attempt int    `json:"attempt,omitempty"`
	// Revision is the record's after the change.
	Revision uint64 `json:"revision"`
	// PrevHash is the Hash of the event before, empty for the first.
	PrevHash string `json:"prevHash,omitempty"`
	Hash     string `json:"hash"`
}

// Cursor is a place in the order of all events; 0 is before the first.
type Cursor uint64

// hashDomain keeps these hashes apart from all others.
const hashDomain = "coderclaw-task-v1"

// Link returns the hash of an event: SHA-256, in hex, over the domain, the hash of
// the event before and the event's JSON without its own hash.
func (e Event) Link() (string, error) {
	e.Hash = ""
	text, err := json.Marshal(e)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	sum.Write([]byte(hashDomain))
	sum.Write([]byte(e.PrevHash))
	sum.Write(text)
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// Verify checks a task's history from its first event: numbers without gaps, one
// task, hashes that link. The error names the first event that is wrong. What was
// cut off at the end leaves no trace here; the record's revision tells it.
func Verify(events []Event) error {
	prev := ""
	for i, e := range events {
		switch {
		case e.Seq != uint64(i+1):
			return fmt.Errorf("event %d of task %s has the number %d", i+1, e.TaskID, e.Seq)
		case e.TaskID != events[0].TaskID:
			return fmt.Errorf("event %d is of task %s, the first of %s", e.Seq, e.TaskID, events[0].TaskID)
		case e.PrevHash != prev:
			return fmt.Errorf("event %d of task %s does not follow the one before it", e.Seq, e.TaskID)
		}
		hash, err := e.Link()
		if err != nil {
			return err
		}
		if hash != e.Hash {
			return fmt.Errorf("event %d of task %s was changed", e.Seq, e.TaskID)
		}
		prev = e.Hash
	}
	return nil
}
