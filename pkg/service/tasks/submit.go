package tasks

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/task"
	"github.com/coderclaw/gateway/pkg/wire"
)

// TasksSubmit stores a task. A task without a session gets one of its own,
// agent:<agent>:task:<id>.
func (s *Service) TasksSubmit(ctx context.Context, peer *wire.Peer, params protocol.TasksSubmitParams) (protocol.TasksSubmitResult, error) {
	q, err := s.request(ctx, params)
	if err != nil {
		return protocol.TasksSubmitResult{}, err
	}
	sum := sha256.Sum256(params.AppendJSON(nil))
	t, replayed, err := s.submit(ctx, peer, q, params.IdempotencyKey, sum[:])
	return protocol.TasksSubmitResult{Task: public(t), Replayed: replayed}, err
}

// TasksRetry does an ended task once more, under a new id.
func (s *Service) TasksRetry(ctx context.Context, peer *wire.Peer, params protocol.TasksRetryParams) (protocol.TasksRetryResult, error) {
	ended, err := s.resolve(ctx, params.TaskID)
	if err != nil {
		return protocol.TasksRetryResult{}, refusal(err)
	}
	if !ended.Status.Terminal() {
		return protocol.TasksRetryResult{}, detailed(protocol.DetailTaskNotEnded, "the task is %s and has not ended", ended.Status)
	}
	if ended.AgentID != "" && s.Agents != nil && !s.Agents.Exists(ended.AgentID) {
		return protocol.TasksRetryResult{}, unknownAgent(ended.AgentID)
	}
	if ended.Concurrent && ended.Key.Namespace != task.NamespaceTask {
		// A slash command: the agent, who does what is submitted, does not know it.
		return protocol.TasksRetryResult{}, detailed(protocol.DetailInvalidParams, "the task was the command %s of a chat; send it there again", ended.Description)
	}
	sum := sha256.Sum256(params.AppendJSON(nil))
	t, replayed, err := s.submit(ctx, peer, task.Again(ended), params.IdempotencyKey, sum[:])
	return protocol.TasksRetryResult{Task: public(t), Replayed: replayed}, err
}

// submit hands a request to the engine in the caller's name.
func (s *Service) submit(ctx context.Context, peer *wire.Peer, q task.Request, key string, hash []byte) (task.Task, bool, error) {
	if len(key) > task.KeyBytesMax {
		return task.Task{}, false, detailed(protocol.DetailIdempotencyKeyTooLong, "idempotencyKey must be 1 to %d bytes long", task.KeyBytesMax)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return task.Task{}, false, err
	}
	q.ID = id.String()
	if q.AgentID == "" {
		q.AgentID = s.DefaultAgentID()
	}
	if q.SessionID == "" {
		q.SessionID = "agent:" + q.AgentID + ":task:" + q.ID
	}
	q.Key = task.Key{Principal: peer.Principal, Namespace: task.NamespaceTask, Key: key}
	q.ParamsHash = hash
	q.RequestedBy = task.Actor{Device: peer.DeviceID, Session: peer.ConnID}
	t, replayed, err := s.Transport.Submit(ctx, q)
	return t, replayed, refusal(err)
}

// request checks what the schema cannot, and finds the session.
func (s *Service) request(ctx context.Context, params protocol.TasksSubmitParams) (task.Request, error) {
	q := task.Request{
		Description: params.Description, Input: params.Input, Model: params.Model.Or(""), Thinking: params.Thinking.Or(""),
		Concurrent: params.Concurrent.Or(false), Detach: params.Detach.Or(false), OnFailure: task.OnFailure(params.OnDependencyFailure.Or("")),
		Timeout: time.Duration(params.TimeoutMs.Or(0)) * time.Millisecond, Priority: int(params.Priority.Or(0)),
		MaxAttempts: int(params.MaxAttempts.Or(0)), Repo: params.Repo.Or(""), Capabilities: params.Capabilities,
		Metadata: []byte(params.Metadata),
	}
	if strings.TrimSpace(q.Input) == "" {
		return q, detailed(protocol.DetailInvalidParams, "input is blank; say what the agent is to do")
	}
	if q.Model != "" && s.CheckModel != nil {
		if err := s.CheckModel(q.Model); err != nil {
			return q, detailed(protocol.DetailInvalidParams, "%s", err)
		}
	}
	var err error
	if parent, ok := params.ParentTaskID.Get(); ok {
		t, err := s.resolve(ctx, parent)
		if err != nil {
			return q, refusal(err)
		}
		q.ParentTaskID = t.ID
	}
	for _, id := range params.DependsOn {
		t, err := s.resolve(ctx, id)
		if err != nil {
			return q, refusal(err)
		}
		q.DependsOn = append(q.DependsOn, t.ID)
	}
	if q.NotBefore, err = moment("notBefore", params.NotBefore); err != nil {
		return q, err
	}
	if q.Deadline, err = moment("deadline", params.Deadline); err != nil {
		return q, err
	}
	if agentID := params.AgentID.Or(""); agentID != "" {
		key, err := s.Sessions.Canonical("agent:" + agentID + ":main")
		if err != nil {
			return q, detailed(protocol.DetailInvalidParams, "agentId: %s", err)
		}
		q.AgentID = key.AgentID
	}
	if raw := params.SessionID.Or(""); raw != "" {
		key, err := s.sessionKey(raw)
		if err != nil {
			return q, err
		}
		if q.AgentID != "" && key.AgentID != q.AgentID {
			return q, detailed(protocol.DetailInvalidParams, "session %s belongs to agent %s, not to %s", key.Full, key.AgentID, q.AgentID)
		}
		q.SessionID, q.AgentID = key.Full, key.AgentID
	}
	if q.AgentID != "" && s.Agents != nil && !s.Agents.Exists(q.AgentID) {
		return q, unknownAgent(q.AgentID)
	}
	return q, s.canDo(ctx, q.Capabilities)
}

// canDo refuses capabilities that no agent has: the task would wait for ever.
func (s *Service) canDo(ctx context.Context, needs []string) error {
	if len(needs) == 0 {
		return nil
	}
	agents, err := s.Transport.Agents(ctx)
	if err != nil {
		return refusal(err)
	}
	for _, a := range agents {
		if !slices.ContainsFunc(needs, func(need string) bool { return !slices.Contains(a.Capabilities, need) }) {
			return nil
		}
	}
	return detailed(protocol.DetailInvalidParams, "no agent can do all of capabilities %q; see tasks.agents", needs)
}

func unknownAgent(id string) error {
	return detailed(protocol.DetailInvalidParams, "unknown agent id %q; see agents.list", id)
}

// moment reads a time of the params.
func moment(name string, text wire.Opt[string]) (time.Time, error) {
	raw, ok := text.Get()
	if !ok {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339Nano, raw)
	if err != nil {
		return time.Time{}, detailed(protocol.DetailInvalidParams, `%s: %q is no time in RFC 3339, such as "2026-11-22T10:48:00.000Z"`, name, raw)
	}
	return at.UTC(), nil
}

// TasksCancel ends a task and what is below it.
func (s *Service) TasksCancel(ctx context.Context, peer *wire.Peer, params protocol.TasksCancelParams) (protocol.TasksCancelResult, error) {
	none := protocol.TasksCancelResult{NotFound: true, Descendants: []string{}}
	t, err := s.resolve(ctx, params.TaskID)
	if errors.Is(err, task.ErrNotFound) {
		return none, nil
	}
	if err != nil {
		return none, refusal(err)
	}
	done, err := s.Transport.Cancel(ctx, t.ID, params.Reason.Or(""), peer.Principal)
	if errors.Is(err, task.ErrNotFound) {
		return none, nil
	}
	if err != nil {
		return none, refusal(err)
	}
	return protocol.TasksCancelResult{
		Cancelled: done.Cancelled, AlreadyTerminal: done.AlreadyTerminal, Task: wire.Some(public(done.Task)), Descendants: list(done.Descendants),
	}, nil
}
