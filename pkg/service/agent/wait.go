package agent

import (
	"context"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/turn"
	"github.com/coderclaw/gateway/pkg/wire"
)

// The bounds of agent.wait: the original's default, and a limit of our own.
const (
	waitDefault = 30 * time.Second
	waitMax     = 24 * time.Hour
)

// AgentWait waits for a turn to end. Anybody may wait for any turn. A turn that is
// unknown is waited for as well; a wait that is too long, a turn that was aborted,
// and one that the gateway leaves for its next start, are answered with status
// timeout, which is not an error. A turn that ended before a restart is known.
func (s *Service) AgentWait(ctx context.Context, _ *wire.Peer, params protocol.AgentWaitParams) (protocol.AgentWaitResult, error) {
	timeout := waitDefault
	if ms, ok := params.TimeoutMs.Get(); ok {
		timeout = time.Duration(min(ms, waitMax.Milliseconds())) * time.Millisecond
	}
	waitCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	result := protocol.AgentWaitResult{RunID: params.RunID, Status: protocol.AgentWaitStatusTimeout}
	out, ended := s.runs.Wait(waitCtx, params.RunID)
	if !ended {
		return result, ctx.Err()
	}
	if out.StartedAt > 0 {
		result.StartedAt = wire.Some(out.StartedAt)
	}
	result.EndedAt = wire.Some(out.EndedAt)
	switch out.State {
	case turn.StateFinal:
		result.Status = protocol.AgentWaitStatusOk
	case turn.StateError:
		result.Status = protocol.AgentWaitStatusError
		result.Error = wire.Some(out.Error)
	}
	return result, nil
}
