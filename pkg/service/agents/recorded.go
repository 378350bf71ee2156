package agents

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/wire"
)

// Audit takes the record of what was decided. *audit.Log is one.
type Audit interface {
	// Append returns when the record is on disk.
	Append(ctx context.Context, r audit.Record) error
	Note(r audit.Record)
}

// Recorded is a Service whose changes are in the record of decisions, refused ones
// too: an agent's files are what it is told to do, so whoever changes them acts
// through it. The record names agents, files and what was changed, and no content.
type Recorded struct {
	*Service
	audit Audit
	log   *slog.Logger
}

var _ protocol.AgentsService = (*Recorded)(nil)

// Record returns s with its changes recorded.
func Record(s *Service, a Audit, log *slog.Logger) *Recorded { return &Recorded{s, a, log} }

// AgentsCreate handles agents.create.
func (r *Recorded) AgentsCreate(ctx context.Context, peer *wire.Peer, p protocol.AgentsCreateParams) (protocol.AgentsCreateResult, error) {
	result, err := r.Service.AgentsCreate(ctx, peer, p)
	what := fmt.Sprintf("%q", p.Name)
	if err == nil {
		what = result.AgentID
	}
	r.record(ctx, peer, audit.ActionAgentCreate, what, err)
	return result, err
}

// AgentsUpdate handles agents.update.
func (r *Recorded) AgentsUpdate(ctx context.Context, peer *wire.Peer, p protocol.AgentsUpdateParams) (protocol.AgentsUpdateResult, error) {
	result, err := r.Service.AgentsUpdate(ctx, peer, p)
	var changed []string
	for _, m := range []struct {
		name string
		set  bool
	}{{"name", p.Name.Set}, {"workspace", p.Workspace.Set}, {"model", p.Model.Set}, {"fallbacks", p.Fallbacks != nil}, {"avatar", p.Avatar.Set}} {
		if m.set {
			changed = append(changed, m.name)
		}
	}
	r.record(ctx, peer, audit.ActionAgentUpdate, p.AgentID+": "+strings.Join(changed, ", "), err)
	return result, err
}

// AgentsDelete handles agents.delete.
func (r *Recorded) AgentsDelete(ctx context.Context, peer *wire.Peer, p protocol.AgentsDeleteParams) (protocol.AgentsDeleteResult, error) {
	_, existed := r.agents.Find(p.AgentID)
	result, err := r.Service.AgentsDelete(ctx, peer, p)
	if _, exists := r.agents.Find(p.AgentID); err != nil && existed && !exists {
		// It is gone, although some of its sessions are not.
		r.record(ctx, peer, audit.ActionAgentDelete, p.AgentID+"; its sessions could not all be ended", nil)
		return result, err
	}
	what := p.AgentID
	if n, ok := result.RemovedSessions.Get(); ok {
		what = fmt.Sprintf("%s, and %d of its sessions", what, n)
	}
	r.record(ctx, peer, audit.ActionAgentDelete, what, err)
	return result, err
}

// AgentsFilesSet handles agents.files.set.
func (r *Recorded) AgentsFilesSet(ctx context.Context, peer *wire.Peer, p protocol.AgentsFilesSetParams) (protocol.AgentsFilesSetResult, error) {
	result, err := r.Service.AgentsFilesSet(ctx, peer, p)
	r.record(ctx, peer, audit.ActionAgentFile, p.AgentID+": "+p.Name, err)
	return result, err
}

// record tells of a change that was made, or of one that err has refused.
func (r *Recorded) record(ctx context.Context, peer *wire.Peer, action, what string, err error) {
	entry := audit.Record{
		Action: action, Decision: audit.Allowed, Actor: peer.DeviceID, Client: peer.Client.ID,
		Address: peer.RemoteIP, Role: peer.Role, ConnID: peer.ConnID, Reason: what,
	}
	if entry.Actor == "" {
		entry.Actor = peer.Principal
	}
	if err != nil {
		why := err.Error()
		if refused := (*wire.Error)(nil); errors.As(err, &refused) {
			why = refused.Message
		}
		entry.Decision, entry.Reason = audit.Refused, what+": "+why
		r.audit.Note(entry)
		return
	}
	if err := r.audit.Append(context.WithoutCancel(ctx), entry); err != nil {
		// The change is made; to say otherwise would be worse than a gap in the record.
		r.log.Error("change of an agent is not in the record", "action", action, "err", err)
	}
}
