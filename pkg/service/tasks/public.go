package tasks

import (
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/task"
	"github.com/coderclaw/gateway/pkg/wire"
)

// timeLayout is RFC 3339 with milliseconds.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

func stamp(t time.Time) wire.Opt[string] {
	if t.IsZero() {
		return wire.Opt[string]{}
	}
	return wire.Some(t.UTC().Format(timeLayout))
}

// text, number and flag leave out what is empty.
func text(s string) wire.Opt[string] {
	if s == "" {
		return wire.Opt[string]{}
	}
	return wire.Some(s)
}

func number(n int64) wire.Opt[int64] {
	if n == 0 {
		return wire.Opt[int64]{}
	}
	return wire.Some(n)
}

func flag(b bool) wire.Opt[bool] {
	if !b {
		return wire.Opt[bool]{}
	}
	return wire.Some(true)
}

// list is an array on the wire even when there is nothing in it.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

// source is the method behind a namespace.
func source(n task.Namespace) protocol.TaskSource {
	switch n {
	case task.NamespaceChat:
		return protocol.TaskSourceChatSend
	case task.NamespaceAgent:
		return protocol.TaskSourceAgent
	case task.NamespaceSend:
		return protocol.TaskSourceSend
	case task.NamespacePoll:
		return protocol.TaskSourcePoll
	}
	return protocol.TaskSourceTasksSubmit
}

// public is a task as the wire knows it. The owner of its key, its payload and its
// result stay inside.
func public(t task.Task) protocol.Task {
	p := protocol.Task{
		ID: t.ID, RunID: t.RunID(), Status: protocol.TaskStatus(t.Status), Description: t.Description,
		Input: text(t.Input), InputBytes: number(t.InputBytes), Output: text(t.Output), OutputBytes: number(t.OutputBytes),
		Source: source(t.Key.Namespace), AgentID: text(t.AgentID), Model: text(t.Model), Thinking: text(t.Thinking),
		SessionID: text(t.SessionID), Concurrent: flag(t.Concurrent), ParentTaskID: text(t.ParentTaskID), RootID: t.RootID,
		Depth: number(int64(t.Depth)), Detach: flag(t.Detach), DependsOn: t.DependsOn,
		CreatedAt: t.CreatedAt.UTC().Format(timeLayout), StartedAt: stamp(t.StartedAt), CompletedAt: stamp(t.CompletedAt),
		NotBefore: stamp(t.NotBefore), Deadline: stamp(t.Deadline), TimeoutMs: number(t.TimeoutMs), Priority: number(int64(t.Priority)),
		Attempt: int64(t.Attempt), MaxAttempts: int64(max(t.MaxAttempts, 1)), RetryOf: text(t.RetryOf), Repo: text(t.Repo),
		Capabilities: t.Capabilities, Metadata: wire.Raw(t.Metadata), CheckpointBytes: number(int64(len(t.Checkpoint))),
		CancelRequestedAt: stamp(t.CancelRequestedAt), Revision: int64(t.Revision),
	}
	if len(t.DependsOn) > 0 {
		policy := t.OnFailure
		if policy == "" {
			policy = task.OnFailureFail
		}
		p.OnDependencyFailure = wire.Some(protocol.TaskOnFailure(policy))
	}
	if t.Progress != nil {
		p.Progress = wire.Some(int64(*t.Progress))
	}
	if t.Error != nil {
		p.Error, p.ErrorCode, p.Retryable = text(t.Error.Message), text(t.Error.Code), flag(t.Error.Retryable)
	}
	if by := t.RequestedBy; by != (task.Actor{}) {
		p.RequestedBy = wire.Some(protocol.TaskRequester{User: text(by.User), Device: text(by.Device), Session: text(by.Session)})
	}
	return p
}

func publicEvents(events []task.Event) []protocol.TaskEvent {
	out := make([]protocol.TaskEvent, 0, len(events))
	for _, e := range events {
		out = append(out, publicEvent(e))
	}
	return out
}

// publicEvent is an event as the wire knows it.
func publicEvent(e task.Event) protocol.TaskEvent {
	p := protocol.TaskEvent{
		TaskID: e.TaskID, Seq: int64(e.Seq), Cursor: int64(e.Cursor), Timestamp: e.Timestamp.UTC().Format(timeLayout),
		Event: protocol.TaskEventKind(e.Event), Message: text(e.Message), Data: wire.Raw(e.Data), Actor: text(e.Actor),
		Host: text(e.Host), Attempt: number(int64(e.Attempt)), Revision: int64(e.Revision), PrevHash: text(e.PrevHash), Hash: e.Hash,
	}
	if e.OldStatus != "" {
		p.OldStatus = wire.Some(protocol.TaskStatus(e.OldStatus))
	}
	if e.NewStatus != "" {
		p.NewStatus = wire.Some(protocol.TaskStatus(e.NewStatus))
	}
	if e.Progress != nil {
		p.Progress = wire.Some(int64(*e.Progress))
	}
	return p
}
