package session

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/coderclaw/gateway/pkg/store"
)

// Entry is what is known of a session apart from its messages. Times are Unix
// milliseconds; an empty string and a zero mean not set.
type Entry struct {
	// Key is the canonical key. It never changes.
	Key string `json:"key"`
	// SessionID names the current transcript; Reset changes it.
	SessionID string `json:"sessionId"`
	// CreatedAt is when the current transcript began.
	CreatedAt int64 `json:"createdAt"`
	// UpdatedAt is the last change and never goes back.
	UpdatedAt int64 `json:"updatedAt"`
	// MessageCount is the number of messages the transcript holds.
	MessageCount int64 `json:"messageCount,omitempty"`

	// SystemSent reports that an agent run has introduced itself to the session.
	SystemSent bool `json:"systemSent,omitempty"`
	// AbortedLastRun reports that the last run was stopped before its end.
	AbortedLastRun bool `json:"abortedLastRun,omitempty"`

	ThinkingLevel   string `json:"thinkingLevel,omitempty"`
	VerboseLevel    string `json:"verboseLevel,omitempty"`
	ReasoningLevel  string `json:"reasoningLevel,omitempty"`
	ElevatedLevel   string `json:"elevatedLevel,omitempty"`
	ResponseUsage   string `json:"responseUsage,omitempty"`
	SendPolicy      string `json:"sendPolicy,omitempty"`
	GroupActivation string `json:"groupActivation,omitempty"`
	ExecHost        string `json:"execHost,omitempty"`
	ExecSecurity    string `json:"execSecurity,omitempty"`
	ExecAsk         string `json:"execAsk,omitempty"`
	ExecNode        string `json:"execNode,omitempty"`

	// Label is the user's name for the session; Patch keeps it unique.
	Label string `json:"label,omitempty"`
	// SpawnedBy is the key of the session that started this one.
	SpawnedBy string `json:"spawnedBy,omitempty"`
	// SpawnDepth is nil when it is not set.
	SpawnDepth *int64 `json:"spawnDepth,omitempty"`

	// ModelProvider and Model are what the last run used.
	ModelProvider string `json:"modelProvider,omitempty"`
	Model         string `json:"model,omitempty"`
	// ProviderOverride and ModelOverride are what the next run shall use.
	ProviderOverride string `json:"providerOverride,omitempty"`
	ModelOverride    string `json:"modelOverride,omitempty"`

	// ContextTokens is the model's window; the others count the session's tokens.
	ContextTokens int64 `json:"contextTokens,omitempty"`
	InputTokens   int64 `json:"inputTokens,omitempty"`
	OutputTokens  int64 `json:"outputTokens,omitempty"`
	TotalTokens   int64 `json:"totalTokens,omitempty"`
	// TotalTokensFresh reports that the counters describe the current context.
	TotalTokensFresh bool `json:"totalTokensFresh,omitempty"`

	ChatType      string `json:"chatType,omitempty"`
	Channel       string `json:"channel,omitempty"`
	DisplayName   string `json:"displayName,omitempty"`
	Subject       string `json:"subject,omitempty"`
	GroupChannel  string `json:"groupChannel,omitempty"`
	Space         string `json:"space,omitempty"`
	LastChannel   string `json:"lastChannel,omitempty"`
	LastTo        string `json:"lastTo,omitempty"`
	LastAccountID string `json:"lastAccountId,omitempty"`

	// Origin is where the session came from, Delivery where replies go.
	Origin   *Origin   `json:"origin,omitempty"`
	Delivery *Delivery `json:"deliveryContext,omitempty"`
}

// Origin is where a session came from.
type Origin struct {
	Label     string `json:"label,omitempty"`
	Provider  string `json:"provider,omitempty"`
	Surface   string `json:"surface,omitempty"`
	ChatType  string `json:"chatType,omitempty"`
	From      string `json:"from,omitempty"`
	To        string `json:"to,omitempty"`
	AccountID string `json:"accountId,omitempty"`
	ThreadID  string `json:"threadId,omitempty"`
}

// Delivery is where replies of a session go.
type Delivery struct {
	Channel   string `json:"channel,omitempty"`
	To        string `json:"to,omitempty"`
	AccountID string `json:"accountId,omitempty"`
	ThreadID  string `json:"threadId,omitempty"`
}

// record is an entry as it is stored, with the state of its transcript.
type record struct {
	Entry
	// Seq is the number of the newest message, 0 before the first.
	Seq uint64 `json:"seq,omitempty"`
	// LastID is the newest message's id.
	LastID string `json:"lastId,omitempty"`
	// First is the number of the oldest message that Truncate has left, 0 when it has
	// taken none.
	First uint64 `json:"first,omitempty"`
	// AskedAt is when the newest message of a user came, in Unix milliseconds.
	AskedAt int64 `json:"askedAt,omitempty"`
}

var (
	entries = store.NewBucket[record]("session.entries")
	// ids maps the session ids in use to keys.
	ids = store.NewBucket[string]("session.ids")
	// labels holds label, NUL, key for each session that has a label.
	labels = store.NewBucket[struct{}]("session.labels")
)

// newRecord starts a session. now is in Unix milliseconds.
func newRecord(key string, now int64) record {
	return record{Entry: Entry{Key: key, SessionID: newSessionID(), CreatedAt: now, UpdatedAt: now}}
}

// load returns the record of key, or a new one if the session may be created.
func (s *Sessions) load(tx *store.Tx, key string, now int64) (rec, old record, err error) {
	rec, ok, err := entries.Get(tx, key)
	if err != nil || ok {
		return rec, rec, err
	}
	n := 0
	for _, err := range entries.Keys(tx, store.Range{Limit: s.limits.sessions}) {
		if err != nil {
			return rec, old, err
		}
		n++
	}
	if n == s.limits.sessions {
		return rec, old, fmt.Errorf("%w: allowed are %d", ErrTooMany, s.limits.sessions)
	}
	return newRecord(key, now), record{}, nil
}

// save writes rec and moves its index rows. old is what was stored before, with
// an empty Key when nothing was; kind is what happens to a session that was.
func (s *Sessions) save(tx *store.Tx, old, rec record, kind ChangeKind) error {
	if raw, err := json.Marshal(rec); err != nil || len(raw) > EntryBytesMax {
		return fmt.Errorf("session entry is %w: %d bytes, allowed are %d", ErrTooLarge, len(raw), EntryBytesMax)
	}
	if err := unindex(tx, old, rec); err != nil {
		return err
	}
	if old.SessionID != rec.SessionID {
		if err := ids.Put(tx, rec.SessionID, rec.Key); err != nil {
			return err
		}
	}
	if rec.Label != "" && old.Label != rec.Label {
		if err := labels.Put(tx, labelKey(rec.Label, rec.Key), struct{}{}); err != nil {
			return err
		}
	}
	if old.Key == "" && kind != ChangeReset {
		kind = ChangeCreated
	}
	tx.OnCommit(func() { s.committed(&rec.Entry, Change{Key: rec.Key, Kind: kind}) })
	return entries.Put(tx, rec.Key, rec)
}

// unindex removes the index rows of old that do not hold for rec.
func unindex(tx *store.Tx, old, rec record) error {
	if old.SessionID != "" && old.SessionID != rec.SessionID {
		if err := ids.Delete(tx, old.SessionID); err != nil {
			return err
		}
	}
	if old.Label != "" && old.Label != rec.Label {
		return labels.Delete(tx, labelKey(old.Label, old.Key))
	}
	return nil
}

func labelKey(label, key string) string { return label + "\x00" + key }

// Get returns the session of key. The bool reports whether there is one.
func (s *Sessions) Get(key string) (Entry, bool, error) {
	k, err := s.Canonical(key)
	if err != nil {
		return Entry{}, false, err
	}
	var rec record
	var ok bool
	err = s.db.View(func(tx *store.Tx) error {
		rec, ok, err = entries.Get(tx, k.Full)
		return err
	})
	return rec.Entry, ok, err
}

// FindByID returns the session whose current transcript has the id.
func (s *Sessions) FindByID(sessionID string) (Entry, bool, error) {
	var rec record
	var ok bool
	if sessionID == "" {
		return Entry{}, false, nil
	}
	err := s.db.View(func(tx *store.Tx) error {
		key, has, err := ids.Get(tx, sessionID)
		if err != nil || !has {
			return err
		}
		rec, ok, err = entries.Get(tx, key)
		return err
	})
	return rec.Entry, ok, err
}

// FindByLabel returns the sessions that carry the label, in key order. Patch
// keeps labels unique; sessions labelled by the gateway itself may share one.
func (s *Sessions) FindByLabel(label string) ([]Entry, error) {
	var found []Entry
	if label == "" {
		return nil, nil
	}
	err := s.db.View(func(tx *store.Tx) error {
		found = nil
		keys, err := labelled(tx, label)
		if err != nil {
			return err
		}
		for _, key := range keys {
			rec, ok, err := entries.Get(tx, key)
			if err != nil {
				return err
			}
			if ok && rec.Label == label {
				found = append(found, rec.Entry)
			}
		}
		return nil
	})
	return found, err
}

// labelled returns the keys of the sessions that have the label.
func labelled(tx *store.Tx, label string) ([]string, error) {
	var keys []string
	prefix := label + "\x00"
	for row, err := range labels.Keys(tx, store.Range{Prefix: prefix}) {
		if err != nil {
			return nil, err
		}
		// A label that holds a NUL could look like a shorter one with a longer key.
		if key := strings.TrimPrefix(row, prefix); !strings.Contains(key, "\x00") {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// Patch changes the session of key, creating it if it is missing. An error of fn
// is returned as it is and nothing is changed. Key, SessionID, CreatedAt and the
// counters of messages are not fn's to change, and UpdatedAt is set to now. The
// error is ErrLabelInUse when fn sets a label that another session has.
func (s *Sessions) Patch(ctx context.Context, key string, fn func(*Entry) error) (Entry, error) {
	return s.patch(ctx, key, false, fn)
}

// Create makes the session of key as fn wants it, as Patch does. The error is
// ErrExists when there is one already.
func (s *Sessions) Create(ctx context.Context, key string, fn func(*Entry) error) (Entry, error) {
	return s.patch(ctx, key, true, fn)
}

func (s *Sessions) patch(ctx context.Context, key string, fresh bool, fn func(*Entry) error) (Entry, error) {
	k, err := s.Canonical(key)
	if err != nil {
		return Entry{}, err
	}
	var out Entry
	err = s.db.Update(ctx, func(tx *store.Tx) error {
		now := time.Now().UnixMilli()
		rec, old, err := s.load(tx, k.Full, now)
		if err != nil {
			return err
		}
		if fresh && old.Key != "" {
			return fmt.Errorf("%w: %s", ErrExists, k.Full)
		}
		if err := change(&rec, now, fn); err != nil {
			return err
		}
		if err := labelFree(tx, old, rec); err != nil {
			return err
		}
		out = rec.Entry
		return s.save(tx, old, rec, ChangeUpdated)
	})
	return out, err
}

// change lets fn at the entry and puts back what is not its to change.
func change(rec *record, now int64, fn func(*Entry) error) error {
	kept := rec.Entry
	if fn != nil {
		if err := fn(&rec.Entry); err != nil {
			return err
		}
	}
	rec.Key, rec.SessionID, rec.CreatedAt, rec.MessageCount = kept.Key, kept.SessionID, kept.CreatedAt, kept.MessageCount
	rec.UpdatedAt = max(kept.UpdatedAt, now)
	return nil
}

// labelFree returns ErrLabelInUse when rec takes a label from another session.
func labelFree(tx *store.Tx, old, rec record) error {
	if rec.Label == "" || rec.Label == old.Label {
		return nil
	}
	keys, err := labelled(tx, rec.Label)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if key != rec.Key {
			return fmt.Errorf("%w: %s", ErrLabelInUse, rec.Label)
		}
	}
	return nil
}
