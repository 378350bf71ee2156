// Package session owns sessions and their transcripts: the one place that chat,
// agent runs, HTTP, cron and nodes append through.
//
// A session is an entry under a canonical key ("agent:main:main") that names the
// transcript it currently writes to by a session id (a UUID). Reset gives the
// session a new id, Delete removes the entry; both leave the old transcript in
// the store as an archive that only retention removes. The package knows no
// connection, no run and no wire type, and never deletes a main session by
// itself: that rule belongs to the service.
//
// What surprises: every method takes a key as a client sends it ("main") and
// canonicalises it; and everything that is returned without an error is on disk.
//
// Locking: changes go through the store's single writer, so the appends of one
// session keep the order in which they were made, and functions given to Append and
// Patch may run more than once. The one lock is that of the index (index.go), which
// holds all entries in memory and follows the commits.
package session

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/coderclaw/gateway/pkg/store"
)

const (
	// EntryBytesMax bounds the JSON of one entry.
	EntryBytesMax = 64 << 10
	// MessageBytesMax bounds the text and images of one message: the largest
	// frame a client may send.
	MessageBytesMax = 25 << 20
	// SessionsMax bounds the number of sessions.
	SessionsMax = 10_000
	// MessagesMax bounds the messages of one transcript; beyond it the oldest go.
	MessagesMax = 50_000
	// HistoryBytesMax bounds the content one call of History returns: older
	// messages are left out, the newest is always there.
	HistoryBytesMax = 64 << 20
)

var (
	// ErrNotFound says that no session has the key.
	ErrNotFound = errors.New("session not found")
	// ErrLabelInUse says that another session has the label.
	ErrLabelInUse = errors.New("label already in use")
	// ErrTooLarge says that a message or an entry is over its limit.
	ErrTooLarge = errors.New("too large")
	// ErrExists says that a session to be created is there already.
	ErrExists = errors.New("session exists already")
	// ErrTooMany says that SessionsMax is reached.
	ErrTooMany = errors.New("too many sessions")
)

// Config is what Sessions needs.
type Config struct {
	DB  *store.DB
	Log *slog.Logger
	// DefaultAgentID owns bare keys; empty means "main".
	DefaultAgentID string
	// MainKey is the rest of the main session's key; empty means "main".
	MainKey string

	// limits replaces the package's limits in tests, where they are not zero.
	limits limits
}

// limits are the bounds that tests make smaller.
type limits struct {
	sessions, messages, archives, historyBytes int
}

// Sessions is the collection of all sessions. It is safe for concurrent use.
type Sessions struct {
	db       *store.DB
	log      *slog.Logger
	agentID  atomic.Pointer[string]
	mainKey  string
	limits   limits
	onChange func(Change)
	index    index
}

// New returns the sessions of a store.
func New(c Config) (*Sessions, error) {
	if c.DB == nil {
		return nil, errors.New("sessions need a store")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Sessions{
		db: c.DB, log: c.Log, mainKey: normalizeMainKey(c.MainKey),
		limits: limits{
			sessions:     cmp.Or(c.limits.sessions, SessionsMax),
			messages:     cmp.Or(c.limits.messages, MessagesMax),
			archives:     cmp.Or(c.limits.archives, ArchivesMax),
			historyBytes: cmp.Or(c.limits.historyBytes, HistoryBytesMax),
		},
	}
	s.SetDefaultAgent(c.DefaultAgentID)
	return s, nil
}

// MainKey returns the canonical key of the default agent's main session, such as
// "agent:main:main".
func (s *Sessions) MainKey() string { return agentKey(s.defaultAgent(), s.mainKey) }

// SetDefaultAgent changes which agent owns bare keys; empty means "main". What is
// stored keeps its key.
func (s *Sessions) SetDefaultAgent(id string) {
	id = NormalizeAgentID(id)
	s.agentID.Store(&id)
}

func (s *Sessions) defaultAgent() string { return *s.agentID.Load() }

// newSessionID returns a random UUID (version 4), as upstream's clients expect.
func newSessionID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
