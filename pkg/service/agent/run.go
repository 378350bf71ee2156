package agent

import (
	"context"
	"crypto/sha256"
	"strings"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/session"
	"github.com/coderclaw/gateway/pkg/turn"
	"github.com/coderclaw/gateway/pkg/wire"
)

// The summaries of finished turns.
const (
	summaryCompleted = "completed"
	summaryAborted   = "aborted"
	summaryTimeout   = "timed out"
)

// errNoTarget is what a turn without a session ends with, in the original's words.
const errNoTarget = "Error: Pass --to <E.164>, --session-id, or --agent to choose a session"

// Agent runs a turn: it acknowledges the accepted request, then waits for the end
// and answers with the reply. A request that names no session is accepted and
// then fails, as with the original. A repeated key gets the acknowledgement and
// joins the turn in flight, or gets the result of the one that has ended, be it
// before a restart.
func (s *Service) Agent(ctx context.Context, peer *wire.Peer, params protocol.AgentParams, ack func(protocol.AgentAccepted) error) (protocol.AgentResult, error) {
	req, found, err := s.request(peer, params)
	if err != nil {
		return protocol.AgentResult{}, err
	}
	if !found {
		if err := ack(accepted(params.IdempotencyKey, time.Now())); err != nil {
			return protocol.AgentResult{}, err
		}
		return protocol.AgentResult{}, failed(params.IdempotencyKey, errNoTarget, "")
	}
	run, replayed, err := s.runs.Start(ctx, req)
	if err != nil {
		return protocol.AgentResult{}, err
	}
	if !replayed {
		// Whatever becomes of the client, an accepted turn runs.
		defer run.Release()
	}
	if _, ended := run.Outcome(); !replayed || !ended {
		if err := ack(accepted(run.ID(), run.AcceptedAt())); err != nil {
			return protocol.AgentResult{}, err
		}
	}
	run.Release()
	out, err := run.Wait(ctx)
	if err != nil {
		return protocol.AgentResult{}, err
	}
	switch out.State {
	case turn.StateError:
		return protocol.AgentResult{}, failed(run.ID(), out.Error, out.Detail)
	case turn.StateSuspended:
		return protocol.AgentResult{}, suspended(out)
	}
	return result(run, out), nil
}

// request checks the params in the original's order and turns them into a run.
// found is false when no session is named.
func (s *Service) request(peer *wire.Peer, params protocol.AgentParams) (req turn.Request, found bool, err error) {
	images, err := turn.Attachments(params.Attachments)
	if err != nil {
		return req, false, err
	}
	if err := checkChannels(params); err != nil {
		return req, false, err
	}
	t, found, err := s.target(params)
	if err != nil || !found {
		return req, false, err
	}
	message, err := turn.CleanMessage(params.Message)
	if err != nil {
		return req, false, err
	}
	if strings.TrimSpace(message) == "" && len(images) == 0 {
		return req, false, wire.Errorf(protocol.ErrorInvalidRequest, "message or attachment required")
	}
	entry, _, err := s.sessions.Get(t.key.Full)
	if err != nil {
		return req, false, err
	}
	if entry.SendPolicy == turn.SendPolicyDeny {
		return req, false, wire.Errorf(protocol.ErrorInvalidRequest, "send blocked by session policy")
	}
	return turn.Request{
		Principal:     peer.Principal,
		Namespace:     turn.NamespaceAgent,
		Key:           params.IdempotencyKey,
		ParamsHash:    sha256.Sum256(params.AppendJSON(nil)),
		SessionKey:    t.key.Full,
		RawSessionKey: t.raw,
		AgentID:       t.key.AgentID,
		Message:       message,
		Images:        images,
		Thinking:      turn.Thinking(params.Thinking.Or("")),
		System:        params.ExtraSystemPrompt.Or(""),
		Timeout:       time.Duration(min(params.Timeout.Or(0), timeoutSecondsMax)) * time.Second,
		ToolConnID:    turn.ToolConnID(peer),
		Touch:         touch(params),
	}, true, nil
}

// timeoutSecondsMax keeps a client's timeout within what a Duration holds; the
// run's own limit is far below.
const timeoutSecondsMax = int64(7 * 24 * time.Hour / time.Second)

// touch notes on the session what the request says of it.
func touch(params protocol.AgentParams) func(*session.Entry) {
	label, spawnedBy := strings.Clone(params.Label.Or("")), strings.Clone(params.SpawnedBy.Or(""))
	return func(e *session.Entry) {
		if label != "" {
			e.Label = label
		}
		if spawnedBy != "" {
			e.SpawnedBy = spawnedBy
		}
	}
}

// accepted is the first answer. Its status is a constant that the encoder writes.
func accepted(runID string, at time.Time) protocol.AgentAccepted {
	return protocol.AgentAccepted{RunID: runID, AcceptedAt: at.UnixMilli()}
}

// failed is the second answer of a turn that did not work out: an error that
// carries the result beside it.
func failed(runID, why, detail string) *wire.Error {
	e := wire.Errorf(protocol.ErrorUnavailable, "%s", why)
	e.Payload = protocol.AgentResult{RunID: runID, Status: protocol.AgentFinalStatusError, Summary: why}.AppendJSON(nil)
	if detail != "" {
		e.Details = turn.Details(detail)
	}
	return e
}

// suspended is the second answer when the gateway stops first. It carries no result,
// because there will be one: for the same key, after the restart.
func suspended(out turn.Outcome) *wire.Error {
	e := wire.Errorf(protocol.ErrorUnavailable, "%s", out.Error).WithDetails(turn.Details(out.Detail))
	retryable := true
	e.Retryable = &retryable
	return e
}

// result is the second answer of a turn that ended with a reply, or was stopped
// before it had one.
func result(run *turn.Run, out turn.Outcome) protocol.AgentResult {
	payloads := []protocol.AgentPayload{}
	if out.Text != "" && !out.Silent {
		payloads = append(payloads, protocol.AgentPayload{Text: out.Text})
	}
	meta := protocol.AgentMeta{
		DurationMs: max(out.EndedAt-run.AcceptedAt().UnixMilli(), 0),
		Aborted:    out.State == turn.StateAborted,
	}
	if out.StopReason != "" {
		meta.StopReason = wire.Some(out.StopReason)
	}
	if out.Model != "" {
		meta.AgentMeta = wire.Some(runMeta(out))
	}
	return protocol.AgentResult{
		RunID:   run.ID(),
		Status:  protocol.AgentFinalStatusOk,
		Summary: summary(out),
		Result:  wire.Some(protocol.AgentRunResult{Payloads: payloads, Meta: meta}),
	}
}

// runMeta is what the model's side tells of a turn.
func runMeta(out turn.Outcome) protocol.AgentRunMeta {
	u := out.Usage
	total := u.Total
	if total == 0 {
		total = u.Input + u.Output + u.CacheRead + u.CacheWrite
	}
	return protocol.AgentRunMeta{
		SessionID: out.SessionID,
		Provider:  out.Provider,
		Model:     out.Model,
		Usage: wire.Some(protocol.AgentUsage{
			Input: wire.Some(u.Input), Output: wire.Some(u.Output), Total: wire.Some(total),
		}),
		LastCallUsage: wire.Some(protocol.AgentUsage{
			Input: wire.Some(u.Input), Output: wire.Some(u.Output),
			CacheRead: wire.Some(u.CacheRead), CacheWrite: wire.Some(u.CacheWrite), Total: wire.Some(total),
		}),
		PromptTokens: wire.Some(u.Input + u.CacheRead + u.CacheWrite),
	}
}

// summary tells a turn's end in a word. Clients print it when there is no reply.
func summary(out turn.Outcome) string {
	switch {
	case out.State != turn.StateAborted:
		return summaryCompleted
	case out.StopReason == turn.StopTimeout:
		return summaryTimeout
	}
	return summaryAborted
}
