package health

import (
	"context"
	"fmt"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// Status answers status: heartbeats, what waits for the agent, and the recent
// sessions. Paths and sessions are told to operator.admin only; others get the counts.
func (s *Service) Status(_ context.Context, peer *wire.Peer, _ protocol.StatusParams) (protocol.StatusSummary, error) {
	entries, total, err := s.cfg.Sessions.Newest(statusRecentMax)
	if err != nil {
		return protocol.StatusSummary{}, fmt.Errorf("list sessions: %w", err)
	}
	model, contextTokens := s.cfg.Model()
	recent, path, paths := []protocol.StatusSession{}, "", []string{}
	if protocol.ScopeAllows(peer.Scopes, protocol.ScopeOperatorAdmin) {
		path, paths = s.cfg.StorePath, []string{s.cfg.StorePath}
		now := time.Now()
		for _, e := range entries {
			recent = append(recent, statusRow(now, e, model, contextTokens, s.cfg.DefaultAgentID))
		}
	}
	queued := s.cfg.QueuedEvents()
	if queued == nil {
		queued = []string{}
	}
	return protocol.StatusSummary{
		Heartbeat: protocol.StatusHeartbeat{DefaultAgentID: s.cfg.DefaultAgentID, Agents: []protocol.StatusHeartbeatAgent{{
			AgentID: s.cfg.DefaultAgentID, Enabled: s.heartbeats(), Every: heartbeatEveryText, EveryMs: wire.NotNull(heartbeatEvery.Milliseconds()),
		}}},
		ChannelSummary:     []string{},
		QueuedSystemEvents: queued,
		Sessions: protocol.StatusSessions{
			Paths: paths, Count: int64(total), Recent: recent,
			Defaults: protocol.StatusSessionDefaults{Model: known(model), ContextTokens: knownCount(contextTokens)},
			ByAgent:  []protocol.StatusAgentSessions{{AgentID: s.cfg.DefaultAgentID, Path: path, Count: int64(total), Recent: recent}},
		},
	}, nil
}

func statusRow(now time.Time, e *session.Entry, model string, contextTokens int64, agentID string) protocol.StatusSession {
	if e.Model != "" {
		model = e.Model
	}
	if e.ContextTokens > 0 {
		contextTokens = e.ContextTokens
	}
	row := protocol.StatusSession{
		AgentID: wire.Some(agentID), Key: e.Key, Kind: protocol.SessionKindDirect, SessionID: present(e.SessionID),
		UpdatedAt: wire.NotNull(e.UpdatedAt), Age: wire.NotNull(age(now, e.UpdatedAt)),
		ThinkingLevel: present(e.ThinkingLevel), VerboseLevel: present(e.VerboseLevel), ReasoningLevel: present(e.ReasoningLevel), ElevatedLevel: present(e.ElevatedLevel),
		SystemSent: wire.Some(e.SystemSent), AbortedLastRun: wire.Some(e.AbortedLastRun),
		InputTokens: wire.Some(e.InputTokens), OutputTokens: wire.Some(e.OutputTokens),
		TotalTokens: wire.SomeValue(e.TotalTokens), TotalTokensFresh: wire.Some(e.TotalTokensFresh),
		Model: known(model), ContextTokens: knownCount(contextTokens), Flags: flags(e),
	}
	if contextTokens > 0 {
		row.RemainingTokens = wire.SomeValue(max(0, contextTokens-e.TotalTokens))
		row.PercentUsed = wire.SomeValue(min(100, e.TotalTokens*100/contextTokens))
	}
	return row
}

// flags are the short remarks of a status line, such as "think:low".
func flags(e *session.Entry) []string {
	list := []string{}
	for _, f := range []struct{ name, value string }{{"think", e.ThinkingLevel}, {"verbose", e.VerboseLevel}, {"reasoning", e.ReasoningLevel}, {"elevated", e.ElevatedLevel}} {
		if f.value != "" {
			list = append(list, f.name+":"+f.value)
		}
	}
	if e.AbortedLastRun {
		list = append(list, "aborted")
	}
	return list
}

func present(v string) wire.Opt[string] {
	if v == "" {
		return wire.Opt[string]{}
	}
	return wire.Some(v)
}

func known(v string) wire.Null[string] {
	if v == "" {
		return wire.Null[string]{}
	}
	return wire.NotNull(v)
}

func knownCount(n int64) wire.Null[int64] {
	if n <= 0 {
		return wire.Null[int64]{}
	}
	return wire.NotNull(n)
}
