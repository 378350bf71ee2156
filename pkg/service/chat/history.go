package chat

import (
	"context"
	"slices"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/turn"
	"github.com/coderclaw/gateway/pkg/wire"
)

// The limits of chat.history, those of the original.
const (
	historyLimitDefault    = 200
	historyLimitMax        = 1000
	historyBytesMax        = 6 << 20
	historyMessageBytesMax = 128 << 10
	historyTextUnitsMax    = 12000 // UTF-16 code units of one text
)

// What stands for content that is too large.
const (
	compactionHead = "Compaction: the model is given this summary in place of the older messages.\n\n"
	textCut        = "\n...(truncated)..."
	messageOmitted = "[chat.history omitted: message too large]"
)

// ChatHistory returns the end of a conversation, fit for a screen. An unknown
// session is an empty conversation, not an error.
func (s *Service) ChatHistory(_ context.Context, _ *wire.Peer, params protocol.ChatHistoryParams) (protocol.ChatHistoryResult, error) {
	result := protocol.ChatHistoryResult{
		SessionKey:    params.SessionKey,
		Messages:      []protocol.ChatMessage{},
		ThinkingLevel: "off",
	}
	key, err := s.sessions.Canonical(params.SessionKey)
	if err != nil {
		return result, nil // no session can have such a key
	}
	entry, ok, err := s.sessions.Get(key.Full)
	if err != nil || !ok {
		return result, err
	}
	limit := min(params.Limit.Or(historyLimitDefault), historyLimitMax)
	messages, err := s.sessions.History(key.Full, int(limit))
	if err != nil {
		return result, err
	}
	result.SessionID = wire.Some(entry.SessionID)
	if entry.ThinkingLevel != "" {
		result.ThinkingLevel = entry.ThinkingLevel
	}
	if entry.VerboseLevel != "" {
		result.VerboseLevel = wire.Some(entry.VerboseLevel)
	}
	result.Messages = display(messages)
	return result, nil
}

// display turns stored messages into what a screen shows, the newest that fit
// into historyBytesMax. An agent's silence is not shown.
func display(messages []session.Message) []protocol.ChatMessage {
	shown := []protocol.ChatMessage{}
	total := 0
	for _, m := range slices.Backward(messages) {
		if turn.IsSilent(m.Text) && m.Role == "assistant" {
			continue
		}
		out, size := displayMessage(m)
		if total += size; total > historyBytesMax {
			break
		}
		shown = append(shown, out)
	}
	slices.Reverse(shown)
	return shown
}

// Show is a stored message as chat.history shows it.
func Show(m session.Message) protocol.ChatMessage {
	shown, _ := displayMessage(m)
	return shown
}

// wholeMessageBytesMax bounds the JSON of a message that is shown whole: a frame has to
// hold it.
const wholeMessageBytesMax = 16 << 20

// Whole is a stored message with all of its text. The data of images is left out.
func Whole(m session.Message) protocol.ChatMessage {
	shown, _ := shape(m, wholeMessageBytesMax, func(text string) string { return text })
	return shown
}

// displayMessage is one message for a screen, and the bytes of its JSON.
func displayMessage(m session.Message) (protocol.ChatMessage, int) {
	return shape(m, historyMessageBytesMax, cut)
}

// shape is a message as clients get it, its text by way of fit, and the bytes of its
// JSON; one of more than bytesMax is replaced by a note.
func shape(m session.Message, bytesMax int, fit func(string) string) (protocol.ChatMessage, int) {
	out := protocol.ChatMessage{
		Role:      protocol.ChatRole(m.Role),
		Content:   displayContent(m, fit),
		Timestamp: wire.Some(m.Timestamp),
	}
	if m.Role == "assistant" {
		out.API = nonEmpty(m.API)
		out.Provider = nonEmpty(m.Provider)
		out.Model = nonEmpty(m.Model)
		out.StopReason = nonEmpty(m.StopReason)
		out.ErrorMessage = nonEmpty(m.ErrorMessage)
	}
	if m.Aborted {
		out.IdempotencyKey = nonEmpty(m.IdempotencyKey)
		out.CoderclawAbort = wire.Some(protocol.ChatAbortMark{
			Aborted: true,
			Origin:  protocol.ChatAbortOrigin(m.AbortOrigin),
			RunID:   m.RunID,
		})
	}
	size := len(out.AppendJSON(nil))
	if size <= bytesMax {
		return out, size
	}
	out = protocol.ChatMessage{
		Role:      out.Role,
		Content:   []protocol.ChatContent{turn.TextContent(messageOmitted)},
		Timestamp: out.Timestamp,
		Coderclaw: wire.Some(protocol.ChatTruncation{Truncated: true, Reason: "oversized"}),
	}
	return out, len(out.AppendJSON(nil))
}

// displayContent is a message's text, by way of fit, and a note of each of its images.
func displayContent(m session.Message, fit func(string) string) []protocol.ChatContent {
	content := []protocol.ChatContent{}
	if m.Type == session.TypeCompaction {
		m.Text = compactionHead + m.Text
	}
	if m.Text != "" {
		content = append(content, turn.TextContent(fit(m.Text)))
	}
	for _, img := range m.Images {
		content = append(content, protocol.ChatContent{
			Type:     protocol.ChatContentTypeImage,
			MimeType: wire.Some(img.MimeType),
			Omitted:  wire.Some(true),
			Bytes:    wire.Some(int64(len(img.Data))),
		})
	}
	return content
}

// cut shortens a text to historyTextUnitsMax. Clients count as JavaScript does: a
// character beyond the basic plane is two.
func cut(text string) string {
	if len(text) <= historyTextUnitsMax {
		return text
	}
	units := 0
	for i, r := range text {
		units++
		if r > 0xffff {
			units++
		}
		if units > historyTextUnitsMax {
			return text[:i] + textCut
		}
	}
	return text
}

// nonEmpty is a member that is absent when there is nothing to say.
func nonEmpty(s string) wire.Opt[string] {
	if s == "" {
		return wire.Opt[string]{}
	}
	return wire.Some(s)
}
