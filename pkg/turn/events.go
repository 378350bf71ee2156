package turn

import (
	"strings"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// capToolEvents is the capability by which a client asks for tool events
// (connect.caps).
const capToolEvents = "tool-events"

// verboseFull is the session's verbose level at which tool events carry results.
const verboseFull = "full"

// ToolConnID is the connection that gets the tool events of the runs a peer
// starts, or empty when it did not ask for them.
func ToolConnID(peer *wire.Peer) string {
	if !peer.HasCap(capToolEvents) {
		return ""
	}
	return peer.ConnID
}

// emitStart tells that the turn begins.
func (run *Run) emitStart() {
	now := time.Now().UnixMilli()
	run.stream.startedAt = now
	run.emitAgent(protocol.AgentStreamLifecycle, now, protocol.AgentLifecycleData{
		Phase:     protocol.AgentPhaseStart,
		StartedAt: wire.Some(now),
	}, nil)
}

// emitAssistant tells of new words.
func (run *Run) emitAssistant(text, delta string) {
	run.emitAgent(protocol.AgentStreamAssistant, time.Now().UnixMilli(),
		protocol.AgentAssistantData{Text: text, Delta: delta}, nil)
}

// emitTool tells of a tool call those connections that asked for it, and nobody
// else. What the tool gave is told at verbose level full only.
func (run *Run) emitTool(e *agent.ToolEvent) {
	data := protocol.AgentToolData{
		Phase:      protocol.AgentToolPhase(e.Phase),
		Name:       e.Name,
		ToolCallID: e.ToolCallID,
		Args:       e.Args,
	}
	if data.Phase == protocol.AgentToolPhaseResult {
		data.IsError = wire.Some(e.IsError)
		if run.stream.verbose == verboseFull {
			data.Result = e.Result
		}
	}
	run.runs.mu.Lock()
	to := append([]string{}, run.toolConns...)
	run.runs.mu.Unlock()
	run.emitAgent(protocol.AgentStreamTool, time.Now().UnixMilli(), data, to)
}

// emitAgent sends the run's next agent event: to everybody when to is nil, else
// to the named connections only.
func (run *Run) emitAgent(stream protocol.AgentStream, now int64, data interface{ AppendJSON([]byte) []byte }, to []string) {
	run.stream.seq++
	event := protocol.AgentEvent{
		RunID:      run.ID(),
		Seq:        run.stream.seq,
		Stream:     string(stream),
		Ts:         now,
		Data:       data.AppendJSON(nil),
		SessionKey: wire.Some(run.req.SessionKey),
	}
	switch {
	case to == nil:
		wire.Emit(run.runs.emitter, protocol.EventAgent, event)
	case len(to) > 0:
		wire.EmitTo(run.runs.emitter, protocol.EventAgent, to, event)
	}
}

// emitDelta sends the text so far to chat windows, unless they have it or it may
// yet turn out to be the token of silence.
func (run *Run) emitDelta() {
	s := &run.stream
	s.flush.Stop()
	if s.text == s.deltaText || strings.HasPrefix(silentReply, s.text) {
		return
	}
	s.deltaText, s.deltaAt = s.text, time.Now()
	event := run.chatEvent(protocol.ChatStateDelta, run.req.SessionKey)
	event.Message = said(s.text)
	wire.EmitDelta(run.runs.emitter, protocol.EventChat, event)
}

// emitFinal tells that the turn has ended: first as the last agent event, then to
// chat windows, with the whole text.
func (run *Run) emitFinal(out Outcome) {
	run.emitAgent(protocol.AgentStreamLifecycle, out.EndedAt, protocol.AgentLifecycleData{
		Phase:   protocol.AgentPhaseEnd,
		EndedAt: wire.Some(out.EndedAt),
	}, nil)
	event := run.chatEvent(protocol.ChatStateFinal, run.req.SessionKey)
	if out.Text != "" && !out.Silent {
		event.Message = said(out.Text)
	}
	wire.Emit(run.runs.emitter, protocol.EventChat, event)
}

// emitError tells that the run has failed. A slash command has no agent events.
func (run *Run) emitError(why string, endedAt int64) {
	key := run.req.RawSessionKey
	if !run.isCommand {
		key = run.req.SessionKey
		run.emitAgent(protocol.AgentStreamLifecycle, endedAt, protocol.AgentLifecycleData{
			Phase:   protocol.AgentPhaseError,
			Error:   wire.Some(why),
			EndedAt: wire.Some(endedAt),
		}, nil)
	}
	event := run.chatEvent(protocol.ChatStateError, key)
	event.Seq = max(event.Seq, 1)
	event.ErrorMessage = wire.Some(why)
	wire.Emit(run.runs.emitter, protocol.EventChat, event)
}

// emitAborted tells that the run was stopped, under the key that the client used,
// with what there was of the reply. No agent event says so: the recorded
// conversations have none after an abort.
func (run *Run) emitAborted(reason string) {
	event := run.chatEvent(protocol.ChatStateAborted, run.req.RawSessionKey)
	event.Seq++
	event.StopReason = wire.Some(reason)
	if run.stream.text != "" {
		event.Message = said(run.stream.text)
	}
	wire.Emit(run.runs.emitter, protocol.EventChat, event)
}

// emitCommandFinal is the answer to a slash command, under the key that the
// client used.
func (run *Run) emitCommandFinal(m session.Message) {
	event := run.chatEvent(protocol.ChatStateFinal, run.req.RawSessionKey)
	event.Seq = 1
	event.Message = InjectedChatMessage(m).AppendJSON(nil)
	wire.Emit(run.runs.emitter, protocol.EventChat, event)
}

// chatEvent is a chat event caused by the run's last agent event.
func (run *Run) chatEvent(state protocol.ChatState, sessionKey string) protocol.ChatEvent {
	return protocol.ChatEvent{RunID: run.ID(), SessionKey: sessionKey, Seq: run.stream.seq, State: state}
}

// said is the message of a chat event for words of the agent, as JSON.
func said(text string) wire.Raw {
	return protocol.ChatMessage{
		Role:      protocol.ChatRoleAssistant,
		Content:   []protocol.ChatContent{TextContent(text)},
		Timestamp: wire.Some(time.Now().UnixMilli()),
	}.AppendJSON(nil)
}

// TextContent is a block of text.
func TextContent(text string) protocol.ChatContent {
	return protocol.ChatContent{Type: protocol.ChatContentTypeText, Text: wire.Some(text)}
}

// InjectedChatMessage is an InjectedMessage as chat events carry it.
func InjectedChatMessage(m session.Message) protocol.ChatMessage {
	return protocol.ChatMessage{
		Role:       protocol.ChatRole(m.Role),
		Content:    []protocol.ChatContent{TextContent(m.Text)},
		Timestamp:  wire.Some(m.Timestamp),
		StopReason: wire.Some(m.StopReason),
		Usage:      wire.Some(protocol.ChatUsage{Cost: wire.Some(protocol.ChatUsageCost{})}),
		API:        wire.Some(m.API),
		Provider:   wire.Some(m.Provider),
		Model:      wire.Some(m.Model),
	}
}

// IsSilent reports whether a reply is the token by which an agent declines to
// answer.
func IsSilent(text string) bool { return visible(text) == silentReply }
