package sessions

import (
	"context"
	"errors"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/wire"
)

// compactLinesDefault is how many entries sessions.compact leaves.
const compactLinesDefault = 400

// SessionsCompact takes all but the newest entries out of a transcript, which is
// archived as it was (sessions.compact). The model is not asked: what was said before
// is gone from the conversation, and a run that is under way is aborted first.
func (s *Service) SessionsCompact(ctx context.Context, _ *wire.Peer, p protocol.SessionsCompactParams) (protocol.SessionsCompactResult, error) {
	k, err := s.key(protocol.MethodSessionsCompact.Name, p.Key)
	if err != nil {
		return protocol.SessionsCompactResult{}, err
	}
	result := protocol.SessionsCompactResult{Ok: true, Key: k.Full}
	keep := int(min(p.MaxLines.Or(compactLinesDefault), session.MessagesMax))
	e, ok, err := s.sessions.Get(k.Full)
	switch {
	case err != nil:
		return result, err
	case !ok:
		result.Reason = wire.Some("no sessionId")
		return result, nil
	case e.MessageCount <= int64(keep): // no reason to disturb a run
		result.Kept = wire.Some(e.MessageCount)
		return result, nil
	}
	err = s.runs.EndSession(ctx, k.Full, func() error {
		e, archived, err := s.sessions.Truncate(ctx, k.Full, keep)
		if err != nil {
			return err
		}
		result.Compacted, result.Archived, result.Kept = archived != "", some(archived), wire.Some(e.MessageCount)
		return nil
	})
	if errors.Is(err, session.ErrNotFound) { // deleted meanwhile
		result.Reason, err = wire.Some("no sessionId"), nil
	}
	return result, err
}
