// Package agents answers the agents methods: which agents the gateway has, how
// they are made, changed and deleted, and the files that they work by.
//
// The rules of names, folders and files are the registry's; this package words
// them for the wire. The rule that surprises: a deleted agent's sessions stay and
// can be read, unless the caller asks for them to go too. Nobody can write to them:
// chat.send and agent refuse a session whose agent does not exist.
//
// The service has no state of its own.
package agents

import (
	"context"
	"errors"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agents"
	"github.com/coderclaw/gateway/pkg/wire"
)

// Registry keeps the agents. *agents.Registry is one. Refusals are *wire.Error.
type Registry interface {
	DefaultID() string
	List() []agents.Agent
	Find(id string) (agents.Agent, bool)
	Written(id string) agents.Identity
	Create(ctx context.Context, d agents.Draft) (agents.Agent, error)
	Update(ctx context.Context, id string, c agents.Change) (agents.Agent, error)
	Delete(ctx context.Context, id string, aside bool) (movedTo string, _ error)
	Files(id string) (agents.Agent, []agents.File, error)
	ReadFile(id, name string) (agents.Agent, agents.File, error)
	WriteFile(id, name, content string, base *string) (agents.Agent, agents.File, error)
}

// Config is what the service needs. All fields are required.
type Config struct {
	Agents Registry
	// MainKey is the short name of the main session, "main"; not the whole key.
	MainKey string
	// EndSessions ends and removes the sessions of an agent, archives their
	// transcripts, and returns how many there were.
	EndSessions func(ctx context.Context, agentID string) (int, error)
}

// Service implements protocol.AgentsService.
type Service struct {
	agents      Registry
	mainKey     string
	endSessions func(ctx context.Context, agentID string) (int, error)
}

var _ protocol.AgentsService = (*Service)(nil)

// New returns a service over a registry.
func New(cfg Config) (*Service, error) {
	if cfg.Agents == nil || cfg.MainKey == "" || cfg.EndSessions == nil {
		return nil, errors.New("agents service needs a registry, the main session's name and a way to end sessions")
	}
	return &Service{agents: cfg.Agents, mainKey: cfg.MainKey, endSessions: cfg.EndSessions}, nil
}

// AgentsList handles agents.list. An agent has an identity when its IDENTITY.md
// says something.
func (s *Service) AgentsList(context.Context, *wire.Peer, protocol.AgentsListParams) (protocol.AgentsListResult, error) {
	result := protocol.AgentsListResult{DefaultID: s.agents.DefaultID(), MainKey: s.mainKey, Scope: protocol.SessionScopePerSender}
	for _, a := range s.agents.List() {
		row := protocol.AgentSummary{ID: a.ID, Name: text(a.Name), Workspace: text(a.Workspace), Model: text(a.Model), Fallbacks: a.Fallbacks}
		if who := s.agents.Written(a.ID); who != (agents.Identity{}) {
			row.Identity = wire.Some(protocol.AgentIdentity{
				Name: text(who.Name), Theme: text(who.Theme), Emoji: text(who.Emoji), Avatar: text(who.Avatar),
			})
		}
		result.Agents = append(result.Agents, row)
	}
	return result, nil
}

// AgentsCreate handles agents.create.
func (s *Service) AgentsCreate(ctx context.Context, _ *wire.Peer, p protocol.AgentsCreateParams) (protocol.AgentsCreateResult, error) {
	a, err := s.agents.Create(ctx, agents.Draft{Name: p.Name, Workspace: p.Workspace, Emoji: p.Emoji.V, Avatar: p.Avatar.V})
	if err != nil {
		return protocol.AgentsCreateResult{}, err
	}
	return protocol.AgentsCreateResult{Ok: true, AgentID: a.ID, Name: a.Name, Workspace: a.Workspace}, nil
}

// AgentsUpdate handles agents.update.
func (s *Service) AgentsUpdate(ctx context.Context, _ *wire.Peer, p protocol.AgentsUpdateParams) (protocol.AgentsUpdateResult, error) {
	c := agents.Change{Name: given(p.Name), Workspace: given(p.Workspace), Model: given(p.Model), Avatar: given(p.Avatar)}
	if p.Fallbacks != nil {
		c.Fallbacks = &p.Fallbacks
	}
	a, err := s.agents.Update(ctx, p.AgentID, c)
	if err != nil {
		return protocol.AgentsUpdateResult{}, err
	}
	return protocol.AgentsUpdateResult{Ok: true, AgentID: a.ID}, nil
}

// AgentsDelete handles agents.delete. The agent goes first, so that nothing new
// begins in the sessions that are then ended.
func (s *Service) AgentsDelete(ctx context.Context, _ *wire.Peer, p protocol.AgentsDeleteParams) (protocol.AgentsDeleteResult, error) {
	a, _ := s.agents.Find(p.AgentID)
	movedTo, err := s.agents.Delete(ctx, p.AgentID, p.DeleteFiles.Or(true))
	if err != nil {
		return protocol.AgentsDeleteResult{}, err
	}
	result := protocol.AgentsDeleteResult{Ok: true, AgentID: a.ID, MovedTo: text(movedTo)}
	if p.DeleteSessions.Or(false) {
		n, err := s.endSessions(ctx, a.ID)
		if err != nil {
			return protocol.AgentsDeleteResult{}, err
		}
		result.RemovedSessions = wire.Some(int64(n))
	}
	return result, nil
}

func text(s string) wire.Opt[string] { return wire.Opt[string]{V: s, Set: s != ""} }

// given is nil for an absent member.
func given(o wire.Opt[string]) *string {
	if !o.Set {
		return nil
	}
	return &o.V
}
