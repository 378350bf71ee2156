// Package audit reads the record of decisions about trust to operators who hold
// operator.admin.
//
// It writes nothing: decisions are recorded where they are made. The rule that
// surprises: what was decided within the last second may be missing, because
// connects and refusals reach the disk together once a second.
//
// A Service has no state and is safe for concurrent use.
package audit

import (
	"context"
	"errors"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/wire"
)

// limitDefault is how many records a page holds when the caller does not say.
const limitDefault = 100

// Log is the record. *audit.Log is one.
type Log interface {
	// List returns what q selects, newest first.
	List(q audit.Query) ([]audit.Record, error)
}

// Config is what the service needs.
type Config struct {
	Log Log
}

// Service implements protocol.AuditService.
type Service struct {
	log Log
}

var _ protocol.AuditService = (*Service)(nil)

// New returns a service over a record.
func New(cfg Config) (*Service, error) {
	if cfg.Log == nil {
		return nil, errors.New("audit service needs a record")
	}
	return &Service{log: cfg.Log}, nil
}

// AuditList returns a page of the record.
func (s *Service) AuditList(_ context.Context, _ *wire.Peer, params protocol.AuditListParams) (protocol.AuditListResult, error) {
	limit := int(params.Limit.Or(limitDefault))
	records, err := s.log.List(audit.Query{
		Before: uint64(params.Before.V), Since: params.Since.V, Action: params.Action.V, Decision: string(params.Decision.V),
		Device: params.Device.V, Limit: limit,
	})
	if err != nil {
		return protocol.AuditListResult{}, err
	}
	result := protocol.AuditListResult{Records: make([]protocol.AuditRecord, 0, len(records))}
	for _, r := range records {
		result.Records = append(result.Records, protocol.AuditRecord{
			Seq: int64(r.Seq), At: r.At, Action: r.Action, Decision: r.Decision, Actor: text(r.Actor), Client: text(r.Client),
			Device: text(r.Device), Address: text(r.Address), Role: text(r.Role), Scopes: r.Scopes, Reason: text(r.Reason),
			Code: text(r.Code), ConnID: text(r.ConnID), Count: wire.Opt[int64]{V: int64(r.Count), Set: r.Count > 0},
		})
	}
	if n := len(records); n == limit {
		result.Next = wire.Some(int64(records[n-1].Seq))
	}
	return result, nil
}

func text(s string) wire.Opt[string] { return wire.Opt[string]{V: s, Set: s != ""} }
