package sessions

import (
	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// defaults is the default model as sessions.list tells it: null is not known.
func defaults(m Model) protocol.SessionListDefaults {
	return protocol.SessionListDefaults{
		ModelProvider: wire.Null[string]{V: m.Provider, Valid: m.Provider != ""},
		Model:         wire.Null[string]{V: m.ID, Valid: m.ID != ""},
		ContextTokens: wire.Null[int64]{V: m.ContextTokens, Valid: m.ContextTokens > 0},
	}
}

// row is a session as sessions.list shows it.
func (s *Service) row(e *session.Entry, def Model) protocol.SessionRow {
	provider, model := s.resolved(e, def)
	row := protocol.SessionRow{
		Key:             e.Key,
		Kind:            kind(e),
		Label:           some(e.Label),
		DisplayName:     some(displayName(e)),
		Channel:         some(e.Channel),
		Subject:         some(e.Subject),
		GroupChannel:    some(e.GroupChannel),
		Space:           some(e.Space),
		ChatType:        some(e.ChatType),
		Origin:          origin(e.Origin),
		UpdatedAt:       wire.NotNull(e.UpdatedAt),
		SessionID:       some(e.SessionID),
		SpawnedBy:       some(e.SpawnedBy),
		SpawnDepth:      depth(e),
		ThinkingLevel:   some(e.ThinkingLevel),
		VerboseLevel:    some(e.VerboseLevel),
		ReasoningLevel:  some(e.ReasoningLevel),
		ElevatedLevel:   some(e.ElevatedLevel),
		ResponseUsage:   some(e.ResponseUsage),
		SendPolicy:      some(e.SendPolicy),
		ModelProvider:   some(provider),
		Model:           some(model),
		ContextTokens:   some(e.ContextTokens),
		DeliveryContext: delivery(e.Delivery),
		LastChannel:     some(e.LastChannel),
		LastTo:          some(e.LastTo),
		LastAccountID:   some(e.LastAccountID),
	}
	if hasRun(e) {
		row.SystemSent, row.AbortedLastRun = wire.Some(e.SystemSent), wire.Some(e.AbortedLastRun)
	}
	if counted(e) {
		row.InputTokens, row.OutputTokens = wire.Some(e.InputTokens), wire.Some(e.OutputTokens)
		row.TotalTokens, row.TotalTokensFresh = wire.Some(e.TotalTokens), wire.Some(e.TotalTokensFresh)
	}
	return row
}

// entry is a session's whole record.
func (s *Service) entry(e *session.Entry) protocol.SessionEntry {
	out := protocol.SessionEntry{
		SessionID:        e.SessionID,
		UpdatedAt:        e.UpdatedAt,
		Label:            some(e.Label),
		DisplayName:      some(e.DisplayName),
		ThinkingLevel:    some(e.ThinkingLevel),
		VerboseLevel:     some(e.VerboseLevel),
		ReasoningLevel:   some(e.ReasoningLevel),
		ElevatedLevel:    some(e.ElevatedLevel),
		ResponseUsage:    some(e.ResponseUsage),
		SendPolicy:       some(e.SendPolicy),
		GroupActivation:  some(e.GroupActivation),
		ExecHost:         some(e.ExecHost),
		ExecSecurity:     some(e.ExecSecurity),
		ExecAsk:          some(e.ExecAsk),
		ExecNode:         some(e.ExecNode),
		SpawnedBy:        some(e.SpawnedBy),
		SpawnDepth:       depth(e),
		ProviderOverride: some(e.ProviderOverride),
		ModelOverride:    some(e.ModelOverride),
		ModelProvider:    some(e.ModelProvider),
		Model:            some(e.Model),
		ContextTokens:    some(e.ContextTokens),
		ChatType:         some(e.ChatType),
		Subject:          some(e.Subject),
		GroupChannel:     some(e.GroupChannel),
		Space:            some(e.Space),
		Origin:           origin(e.Origin),
		Channel:          some(e.Channel),
		DeliveryContext:  delivery(e.Delivery),
		LastChannel:      some(e.LastChannel),
		LastTo:           some(e.LastTo),
		LastAccountID:    some(e.LastAccountID),
	}
	if e.MessageCount > 0 {
		out.SessionFile = some(s.path)
	}
	if hasRun(e) {
		out.SystemSent, out.AbortedLastRun = wire.Some(e.SystemSent), wire.Some(e.AbortedLastRun)
	}
	if counted(e) {
		out.InputTokens, out.OutputTokens = wire.Some(e.InputTokens), wire.Some(e.OutputTokens)
		out.TotalTokens, out.TotalTokensFresh = wire.Some(e.TotalTokens), wire.Some(e.TotalTokensFresh)
	}
	return out
}

// counted reports whether the token counters mean something: a run or a reset
// has set them. A session that was only patched has none, as in the original.
func counted(e *session.Entry) bool {
	return e.TotalTokensFresh || e.InputTokens|e.OutputTokens|e.TotalTokens != 0
}

// hasRun reports whether the marks of the last run mean something.
func hasRun(e *session.Entry) bool { return e.SystemSent || e.AbortedLastRun || counted(e) }

// depth is the spawn depth as a member.
func depth(e *session.Entry) wire.Opt[int64] {
	if e.SpawnDepth == nil {
		return wire.Opt[int64]{}
	}
	return wire.Some(*e.SpawnDepth)
}

// origin is where a session came from as a member.
func origin(o *session.Origin) wire.Opt[protocol.SessionOrigin] {
	if o == nil {
		return wire.Opt[protocol.SessionOrigin]{}
	}
	return wire.Some(protocol.SessionOrigin{
		Label: some(o.Label), Provider: some(o.Provider), Surface: some(o.Surface), ChatType: some(o.ChatType),
		From: some(o.From), To: some(o.To), AccountID: some(o.AccountID), ThreadID: some(o.ThreadID),
	})
}

// delivery is where a session's replies go as a member.
func delivery(d *session.Delivery) wire.Opt[protocol.SessionDeliveryContext] {
	if d == nil {
		return wire.Opt[protocol.SessionDeliveryContext]{}
	}
	return wire.Some(protocol.SessionDeliveryContext{
		Channel: some(d.Channel), To: some(d.To), AccountID: some(d.AccountID), ThreadID: some(d.ThreadID),
	})
}
