package chat

import (
	"context"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/turn"
	"github.com/coderclaw/gateway/pkg/wire"
)

// ChatAbort aborts one run of a conversation, or all of them. Whoever may write
// may abort; the run's chat event comes before this answer.
func (s *Service) ChatAbort(ctx context.Context, _ *wire.Peer, params protocol.ChatAbortParams) (protocol.ChatAbortResult, error) {
	key, err := s.key(protocol.MethodChatAbort.Name, params.SessionKey)
	if err != nil {
		return protocol.ChatAbortResult{}, err
	}
	var ids []string
	if runID, ok := params.RunID.Get(); ok {
		done, err := s.runs.AbortRun(ctx, key.Full, runID, turn.StopRPC)
		if err != nil {
			return protocol.ChatAbortResult{}, err
		}
		if done {
			ids = append(ids, runID)
		}
	} else if ids, err = s.runs.AbortSession(ctx, key.Full, turn.StopRPC); err != nil {
		return protocol.ChatAbortResult{}, err
	}
	return *aborted(ids), nil
}

// aborted is the answer that names the aborted runs.
func aborted(ids []string) *protocol.ChatAbortResult {
	if ids == nil {
		ids = []string{}
	}
	return &protocol.ChatAbortResult{Ok: true, Aborted: len(ids) > 0, RunIDs: ids}
}
