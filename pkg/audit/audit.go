// Package audit keeps the append-only record of decisions about trust: who
// connected, who was refused and why, what was paired, granted, rotated, revoked.
//
// It decides nothing and forgets by age and number only. Records hold names,
// addresses and reasons, never a secret: callers pass device ids and key
// fingerprints, not tokens.
//
// The rule that surprises: there are two ways in. Append returns when the record is
// on disk and AppendIn writes it in the transaction of the change itself, for
// decisions that change what somebody may do; Note queues it for the next second, for connects and refusals, which strangers cause and which must not
// cost a disk write each. A flood that fills the queue is recorded as one line that
// says how many were left out.
//
// mu guards the queue; it is not held while the store works.
package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/coderclaw/gateway/pkg/store"
)

const (
	// RecordsMax is how many records are kept; beyond it the oldest go.
	RecordsMax = 50_000
	// RecordsAge is how long a record is kept.
	RecordsAge = 180 * 24 * time.Hour
	// QueueMax is how many noted records may wait for the disk.
	QueueMax = 1024
	// TextBytesMax bounds each text of a record; what is longer is cut.
	TextBytesMax = 512

	flushEvery = time.Second
	sweepEvery = time.Hour
	sweepMax   = 1000 // records removed in one transaction
	listMax    = 1000
	keyPrefix  = "record"
)

var bucket = store.NewBucket[Record]("audit.records")

// The decisions a record can tell of.
const (
	Allowed = "allowed"
	Refused = "refused"
)

// The actions that a record tells of.
const (
	ActionConnect      = "connect"
	ActionPairRequest  = "pair.request"
	ActionPairApprove  = "pair.approve"
	ActionPairReject   = "pair.reject"
	ActionPairRemove   = "pair.remove"
	ActionDeviceRename = "device.rename"
	ActionTokenRotate  = "token.rotate"
	ActionTokenRevoke  = "token.revoke"
	ActionSecretChange = "secret.change"
	ActionConfigWrite  = "config.write"
	ActionAgentCreate  = "agent.create"
	ActionAgentUpdate  = "agent.update"
	ActionAgentDelete  = "agent.delete"
	ActionAgentFile    = "agent.file"
	ActionNodeRequest  = "node.pair.request"
	ActionNodeApprove  = "node.pair.approve"
	ActionNodeReject   = "node.pair.reject"
	ActionNodeRename   = "node.rename"
)

// Actions returns all of them, in the order in which people are told of them.
func Actions() []string {
	return []string{
		ActionConnect, ActionPairRequest, ActionPairApprove, ActionPairReject, ActionPairRemove, ActionDeviceRename,
		ActionTokenRotate, ActionTokenRevoke, ActionSecretChange, ActionConfigWrite,
		ActionAgentCreate, ActionAgentUpdate, ActionAgentDelete, ActionAgentFile,
		ActionNodeRequest, ActionNodeApprove, ActionNodeReject, ActionNodeRename,
	}
}

// Record is one decision. Empty members are unknown or do not apply.
type Record struct {
	// Seq numbers the records of this gateway from 1, without gaps on disk.
	Seq uint64 `json:"seq"`
	// At is when it was decided, in milliseconds since 1970.
	At int64 `json:"at"`
	// Action is what was decided about, one of the constants above.
	Action string `json:"action"`
	// Decision is Allowed or Refused.
	Decision string `json:"decision"`
	// Actor is who asked: a device id, "token" for the shared secret alone, or "local"
	// for the command line on the state directory.
	Actor string `json:"actor,omitempty"`
	// Client is the client id that the actor gave; it proves nothing.
	Client string `json:"client,omitempty"`
	// Device is the device that the decision is about, when it is not the actor.
	Device string `json:"device,omitempty"`
	// Address is the peer's address.
	Address string `json:"address,omitempty"`
	Role    string `json:"role,omitempty"`
	// Scopes are those that were granted or asked for.
	Scopes []string `json:"scopes,omitempty"`
	// Reason says why, in the words that the client was told.
	Reason string `json:"reason,omitempty"`
	// Code is the finer code of a refusal.
	Code   string `json:"code,omitempty"`
	ConnID string `json:"connId,omitempty"`
	// Count is how many decisions the record stands for; 0 means one.
	Count int `json:"count,omitempty"`
}

// Config is what a Log needs.
type Config struct {
	DB  *store.DB
	Log *slog.Logger
}

// Log is the record. It is safe for concurrent use.
type Log struct {
	db  *store.DB
	log *slog.Logger

	mu      sync.Mutex
	queue   []Record
	skipped int
}

// New returns the record of a store. Call Run to have noted records written.
func New(c Config) (*Log, error) {
	if c.DB == nil {
		return nil, errors.New("audit needs a store")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Log{db: c.DB, log: c.Log}, nil
}

// Append writes a record and returns when it is on disk. What waits in the queue
// is written before it, so that the record tells things in their order.
func (l *Log) Append(ctx context.Context, r Record) error {
	if r.At == 0 {
		r.At = time.Now().UnixMilli()
	}
	return l.write(ctx, append(l.take(), r))
}

// AppendIn writes a record in the caller's transaction, so that a change and the
// record of it are on disk together or not at all. What waits in the queue may be
// written after it: At tells the order then.
func (l *Log) AppendIn(tx *store.Tx, r Record) error {
	if r.At == 0 {
		r.At = time.Now().UnixMilli()
	}
	seq, err := bucket.NextSequence(tx)
	if err != nil {
		return err
	}
	r = bounded(r)
	r.Seq = seq
	return bucket.Put(tx, store.SeqKey(keyPrefix, seq), r)
}

// Note queues a record for the next second. It never waits.
func (l *Log) Note(r Record) {
	if r.At == 0 {
		r.At = time.Now().UnixMilli()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) >= QueueMax {
		l.skipped++
		return
	}
	l.queue = append(l.queue, r)
}

// take empties the queue. Records that found no room become one that counts them.
func (l *Log) take() []Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	records := l.queue
	if l.skipped > 0 {
		records = append(records, Record{At: time.Now().UnixMilli(), Action: ActionConnect, Decision: Refused, Reason: "flood: further decisions of this second were not recorded one by one", Count: l.skipped})
	}
	l.queue, l.skipped = nil, 0
	return records
}

func (l *Log) write(ctx context.Context, records []Record) error {
	if len(records) == 0 {
		return nil
	}
	err := l.db.Update(ctx, func(tx *store.Tx) error {
		for _, r := range records {
			if err := l.AppendIn(tx, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write audit record: %w", err)
	}
	return nil
}

// bounded cuts what a stranger may have made long.
func bounded(r Record) Record {
	for _, text := range []*string{&r.Action, &r.Actor, &r.Client, &r.Device, &r.Address, &r.Role, &r.Reason, &r.Code, &r.ConnID} {
		if len(*text) > TextBytesMax {
			*text = (*text)[:TextBytesMax]
		}
	}
	if len(r.Scopes) > 32 {
		r.Scopes = r.Scopes[:32]
	}
	return r
}

// Run writes noted records once a second and removes old ones once an hour. It
// returns when ctx ends, after a last write.
func (l *Log) Run(ctx context.Context) error {
	flush, sweep := time.NewTicker(flushEvery), time.NewTicker(sweepEvery)
	defer flush.Stop()
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return l.write(last, l.take())
		case <-flush.C:
			if err := l.write(ctx, l.take()); err != nil {
				l.log.Error("audit records are lost", "err", err)
			}
		case <-sweep.C:
			if err := l.sweep(ctx, time.Now()); err != nil {
				l.log.Warn("old audit records stay", "err", err)
			}
		}
	}
}

func (l *Log) sweep(ctx context.Context, now time.Time) error {
	oldest := now.Add(-RecordsAge).UnixMilli()
	return l.db.Update(ctx, func(tx *store.Tx) error {
		var newest uint64
		for row, err := range bucket.Scan(tx, store.Range{Prefix: keyPrefix, Reverse: true, Limit: 1}) {
			if err != nil {
				return err
			}
			newest = row.Value.Seq
		}
		var drop []string
		for row, err := range bucket.Scan(tx, store.Range{Prefix: keyPrefix, Limit: sweepMax}) {
			if err == nil && row.Value.At >= oldest && row.Value.Seq+RecordsMax > newest {
				break
			}
			drop = append(drop, row.Key)
		}
		for _, key := range drop {
			if err := bucket.Delete(tx, key); err != nil {
				return err
			}
		}
		return nil
	})
}

// Query selects records.
type Query struct {
	// Before leaves out the records from this number on; 0 begins with the newest.
	Before uint64
	// Since leaves out what was decided before, in milliseconds since 1970.
	Since int64
	// Action and Decision, when not empty, must be equal.
	Action, Decision string
	// Device, when not empty, is the beginning of the actor's id or of the device's
	// that was decided about: people type the first characters.
	Device string
	// Limit is the largest number of records, at most 1000; 0 means 100.
	Limit int
}

func (q Query) matches(r Record) bool {
	return (q.Action == "" || q.Action == r.Action) && (q.Decision == "" || q.Decision == r.Decision) &&
		(q.Device == "" || strings.HasPrefix(r.Actor, q.Device) || strings.HasPrefix(r.Device, q.Device))
}

// List returns the records that q selects, newest first. A record that cannot be
// read is left out. Noted records appear within a second.
func (l *Log) List(q Query) ([]Record, error) {
	if q.Limit <= 0 {
		q.Limit = 100
	}
	q.Limit = min(q.Limit, listMax)
	var list []Record
	err := l.db.View(func(tx *store.Tx) error {
		r := store.Range{Prefix: keyPrefix, Reverse: true}
		if q.Before > 0 {
			r.After = store.SeqKey(keyPrefix, q.Before)
		}
		for row, err := range bucket.Scan(tx, r) {
			if err != nil {
				l.log.Warn("an audit record cannot be read", "err", err)
				continue
			}
			if row.Value.At < q.Since || len(list) == q.Limit {
				break
			}
			if q.matches(row.Value) {
				list = append(list, row.Value)
			}
		}
		return nil
	})
	return list, err
}
