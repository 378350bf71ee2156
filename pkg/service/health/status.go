package health

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// Status answers status: heartbeats, what waits for the agent, and the recent
// sessions. Paths and sessions are told to operator.admin only; others get the counts.
func (s *Service) Status(_ context.Context, peer *wire.Peer, _ protocol.StatusParams) (protocol.StatusSummary, error) {
	all, total, err := s.cfg.Sessions.Newest(-1)
	if err != nil {
		return protocol.StatusSummary{}, fmt.Errorf("list sessions: %w", err)
	}
	def, list := s.cfg.Model(), s.cfg.Agents()
	admin := protocol.ScopeAllows(peer.Scopes, protocol.ScopeOperatorAdmin)
	now := time.Now()
	rows := func(sessions []*session.Entry) []protocol.StatusSession {
		out := []protocol.StatusSession{}
		if admin {
			for _, e := range newest(sessions, statusRecentMax) {
				out = append(out, s.statusRow(now, e, list[0].ID))
			}
		}
		return out
	}
	path, paths := "", []string{}
	if admin {
		path, paths = s.cfg.StorePath, []string{s.cfg.StorePath}
	}
	queued := s.cfg.QueuedEvents()
	if queued == nil {
		queued = []string{}
	}
	byAgent := sessionsByAgent(all, list[0].ID)
	summary := protocol.StatusSummary{
		Heartbeat:          protocol.StatusHeartbeat{DefaultAgentID: list[0].ID},
		ChannelSummary:     []string{},
		QueuedSystemEvents: queued,
		Sessions: protocol.StatusSessions{
			Paths: paths, Count: int64(total), Recent: rows(all),
			Defaults: protocol.StatusSessionDefaults{Model: known(def.ID), ContextTokens: knownCount(def.ContextTokens)},
		},
	}
	for i, a := range list {
		beat := protocol.StatusHeartbeatAgent{AgentID: a.ID, Every: heartbeatOff}
		if i == 0 { // nobody else wakes by itself
			beat.Enabled, beat.Every, beat.EveryMs = s.heartbeats(), heartbeatEveryText, wire.NotNull(heartbeatEvery.Milliseconds())
		}
		summary.Heartbeat.Agents = append(summary.Heartbeat.Agents, beat)
		summary.Sessions.ByAgent = append(summary.Sessions.ByAgent, protocol.StatusAgentSessions{
			AgentID: a.ID, Path: path, Count: int64(len(byAgent[a.ID])), Recent: rows(byAgent[a.ID]),
		})
	}
	return summary, nil
}

func (s *Service) statusRow(now time.Time, e *session.Entry, defaultID string) protocol.StatusSession {
	model, agentID := s.cfg.SessionModel(e), defaultID
	if rest, ok := strings.CutPrefix(e.Key, "agent:"); ok {
		agentID, _, _ = strings.Cut(rest, ":")
	}
	contextTokens := model.ContextTokens
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
		Model: known(model.ID), ContextTokens: knownCount(contextTokens), Flags: flags(e),
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
