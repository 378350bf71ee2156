package sessions

import (
	"context"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// The limits of one page of sessions.messages.list. A page holds one message at least.
const (
	pageDefault  = 200
	pageMax      = 1000
	pageBytesMax = 6 << 20
)

// SessionsMessagesList pages through a transcript, the oldest message first
// (sessions.messages.list). An agent's silence is left out, as in chat.history.
func (s *Service) SessionsMessagesList(_ context.Context, _ *wire.Peer, p protocol.SessionsMessagesListParams) (protocol.SessionsMessagesListResult, error) {
	k, err := s.key(protocol.MethodSessionsMessagesList.Name, p.Key)
	if err != nil {
		return protocol.SessionsMessagesListResult{}, err
	}
	result := protocol.SessionsMessagesListResult{Key: k.Full, Messages: []protocol.SessionsMessageItem{}}
	end, err := s.sessions.End(k.Full)
	if err != nil || end.SessionID == "" {
		return result, err
	}
	limit := int(min(p.Limit.Or(pageDefault), pageMax))
	from := session.Position{SessionID: p.SessionID.Or(end.SessionID), Seq: uint64(p.AfterSeq.Or(0))}
	list, next, err := s.sessions.After(k.Full, from, limit)
	if err != nil {
		return result, err
	}
	result.SessionID = wire.Some(next.SessionID)
	shape := s.show
	if p.Full.Or(false) {
		shape = s.whole
	}
	bytes := 0
	for _, m := range list {
		shown := shape(m)
		bytes += len(shown.AppendJSON(nil))
		if bytes > s.pageBytes && len(result.Messages) > 0 {
			break
		}
		next.Seq = m.Seq
		if !silent(m) {
			result.Messages = append(result.Messages, protocol.SessionsMessageItem{MessageID: m.ID, Seq: int64(m.Seq), Message: shown})
		}
	}
	// The transcript may have been replaced between the two reads: the page says which
	// one it is of, and the next one begins behind it.
	if end, err = s.sessions.End(k.Full); err == nil && end.SessionID == next.SessionID && next.Seq < end.Seq && len(list) > 0 {
		result.AfterSeq = wire.Some(int64(next.Seq))
	}
	return result, err
}
