package sessions

import (
	"context"
	"strings"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// The bounds of sessions.preview, the original's.
const (
	previewKeysMax       = 64
	previewItemsDefault  = 12
	previewItemsMax      = 50
	previewCharsDefault  = 240
	previewCharsMin      = 20
	previewCharsMax      = 2000
	previewMessagesExtra = 20 // read beyond the items, for messages without text
)

// SessionsPreview shows the last messages of some sessions, cut short
// (sessions.preview). A key that means no session is answered as missing, and one
// that cannot be read as error: neither spoils the others.
func (s *Service) SessionsPreview(ctx context.Context, _ *wire.Peer, p protocol.SessionsPreviewParams) (protocol.SessionsPreviewResult, error) {
	result := protocol.SessionsPreviewResult{Ts: time.Now().UnixMilli(), Previews: []protocol.SessionPreview{}}
	items := min(p.Limit.Or(previewItemsDefault), previewItemsMax)
	chars := min(max(p.MaxChars.Or(previewCharsDefault), previewCharsMin), previewCharsMax)
	for _, key := range p.Keys {
		if err := ctx.Err(); err != nil {
			return result, err
		}
		if len(result.Previews) == previewKeysMax {
			break
		}
		if key = strings.TrimSpace(key); key != "" {
			result.Previews = append(result.Previews, s.preview(key, int(items), int(chars)))
		}
	}
	return result, nil
}

// preview looks into one session. The key is answered as it was asked for.
func (s *Service) preview(key string, items, chars int) protocol.SessionPreview {
	out := protocol.SessionPreview{Key: key, Status: protocol.SessionPreviewStatusMissing, Items: []protocol.SessionPreviewItem{}}
	k, err := s.sessions.Canonical(key)
	if err != nil {
		return out // no session can have such a key
	}
	_, ok, err := s.sessions.Get(k.Full)
	if err == nil && !ok {
		return out
	}
	var messages []session.Message
	if err == nil {
		messages, err = s.sessions.History(k.Full, items+previewMessagesExtra)
	}
	if err != nil {
		out.Status = protocol.SessionPreviewStatusError
		return out
	}
	for _, m := range messages {
		if text := previewText(m); text != "" {
			out.Items = append(out.Items, protocol.SessionPreviewItem{Role: role(m.Role), Text: cut(text, chars)})
		}
	}
	out.Items = out.Items[max(0, len(out.Items)-items):]
	out.Status = protocol.SessionPreviewStatusOk
	if len(out.Items) == 0 {
		out.Status = protocol.SessionPreviewStatusEmpty
	}
	return out
}

// previewText is what a message says, empty when it says nothing.
func previewText(m session.Message) string {
	text := strings.TrimSpace(m.Text)
	switch {
	case silent(m), m.Type != "":
		return ""
	case text == "" && len(m.Images) > 0:
		return "[image]"
	}
	return text
}

// role is a message's role as previews name it.
func role(r string) string {
	switch r {
	case "user", "assistant", "system", "tool":
		return r
	}
	return "other"
}
