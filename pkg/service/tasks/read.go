package tasks

import (
	"context"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/task"
	"github.com/coderclaw/gateway/pkg/wire"
)

// eventsDefault is how many events an answer holds when the caller names no limit.
const eventsDefault = 200

// TasksList returns a page of tasks.
func (s *Service) TasksList(ctx context.Context, _ *wire.Peer, params protocol.TasksListParams) (protocol.TasksListResult, error) {
	f, err := s.filter(params.TaskID, params.Status, params.SessionID, params.AgentID, params.ParentTaskID, params.RootID)
	if err != nil {
		return protocol.TasksListResult{}, err
	}
	if f.CreatedAfter, err = moment("createdAfter", params.CreatedAfter); err != nil {
		return protocol.TasksListResult{}, err
	}
	if f.CreatedBefore, err = moment("createdBefore", params.CreatedBefore); err != nil {
		return protocol.TasksListResult{}, err
	}
	page := task.Page{After: params.After.Or(""), Limit: int(params.Limit.Or(0)), OldestFirst: params.OldestFirst.Or(false)}
	tasks, next, err := s.Transport.List(ctx, f, page)
	if err != nil {
		return protocol.TasksListResult{}, refusal(err)
	}
	rows := make([]protocol.Task, 0, len(tasks))
	for _, t := range tasks {
		rows = append(rows, public(t))
	}
	return protocol.TasksListResult{Tasks: rows, Next: text(next)}, nil
}

// filter turns what tasks.list and tasks.watch have in common into a filter.
func (s *Service) filter(id wire.Opt[string], statuses []protocol.TaskStatus, sessionID, agentID, parent, root wire.Opt[string]) (task.Filter, error) {
	f := task.Filter{ID: id.Or(""), AgentID: agentID.Or(""), ParentTaskID: parent.Or(""), RootID: root.Or("")}
	for _, status := range statuses {
		f.Statuses = append(f.Statuses, task.Status(status))
	}
	if raw := sessionID.Or(""); raw != "" {
		key, err := s.sessionKey(raw)
		if err != nil {
			return f, err
		}
		f.SessionID = key.Full
	}
	return f, nil
}

// TasksGet returns one task, by its id or by the id of its run.
func (s *Service) TasksGet(ctx context.Context, _ *wire.Peer, params protocol.TasksGetParams) (protocol.TasksGetResult, error) {
	t, err := s.resolve(ctx, params.TaskID)
	return protocol.TasksGetResult{Task: public(t)}, refusal(err)
}

// TasksEvents returns a part of a task's history.
func (s *Service) TasksEvents(ctx context.Context, _ *wire.Peer, params protocol.TasksEventsParams) (protocol.TasksEventsResult, error) {
	t, err := s.resolve(ctx, params.TaskID)
	if err != nil {
		return protocol.TasksEventsResult{}, refusal(err)
	}
	limit := int(params.Limit.Or(eventsDefault))
	events, err := s.Transport.Events(ctx, t.ID, uint64(params.After.Or(0)), min(limit+1, 1000))
	if err != nil {
		return protocol.TasksEventsResult{}, refusal(err)
	}
	more := len(events) > limit || limit == 1000 && len(events) == 1000
	return protocol.TasksEventsResult{Events: publicEvents(events[:min(limit, len(events))]), More: more}, nil
}

// TasksAgents lists the agents that take tasks.
func (s *Service) TasksAgents(ctx context.Context, _ *wire.Peer, _ protocol.TasksAgentsParams) (protocol.TasksAgentsResult, error) {
	agents, err := s.Transport.Agents(ctx)
	rows := make([]protocol.TaskAgent, 0, len(agents))
	for _, a := range agents {
		rows = append(rows, protocol.TaskAgent{
			ID: a.ID, Name: a.Name, Description: a.Description, Capabilities: list(a.Capabilities), Model: text(a.Model), Thinking: text(a.Thinking),
			Running: int64(a.Running), Open: int64(a.Open),
		})
	}
	return protocol.TasksAgentsResult{Agents: rows}, refusal(err)
}

// TasksSkills lists the skills that agents may use.
func (s *Service) TasksSkills(ctx context.Context, _ *wire.Peer, _ protocol.TasksSkillsParams) (protocol.TasksSkillsResult, error) {
	skills, err := s.Transport.Skills(ctx)
	rows := make([]protocol.TaskSkill, 0, len(skills))
	for _, k := range skills {
		rows = append(rows, protocol.TaskSkill{ID: k.ID, Name: k.Name, Description: k.Description, Version: k.Version, Enabled: k.Enabled})
	}
	return protocol.TasksSkillsResult{Skills: rows}, refusal(err)
}

// TasksStatus tells how the engine is doing.
func (s *Service) TasksStatus(ctx context.Context, _ *wire.Peer, _ protocol.TasksStatusParams) (protocol.TasksStatusResult, error) {
	st, err := s.Transport.Status(ctx)
	if err != nil {
		return protocol.TasksStatusResult{}, refusal(err)
	}
	n := func(status task.Status) int64 { return int64(st.ByStatus[status]) }
	way := protocol.TaskTransportHealth{LastOkAt: stamp(st.Adapter.LastOK), ErrorPercent: int64(st.Adapter.ErrorRate * 100)}
	if !st.Adapter.LastOK.IsZero() {
		way.RttMs = wire.Some(st.Adapter.RTT.Milliseconds())
	}
	return protocol.TasksStatusResult{
		Version: st.Version, Mode: string(st.Mode), Uptime: int64(st.Uptime.Seconds()), Healthy: st.Healthy,
		ActiveTasks: int64(st.Active), QueuedTasks: int64(st.Queued), TotalTasks: int64(st.Total),
		Counts: protocol.TaskCounts{
			Pending: n(task.Pending), Planning: n(task.Planning), Running: n(task.Running), Waiting: n(task.Waiting),
			Failed: n(task.Failed), Completed: n(task.Completed), Cancelled: n(task.Cancelled),
		},
		Capacity: int64(st.Capacity), LoadPercent: int64(min(max(st.Load, 0), 1) * 100), OldestQueuedMs: number(st.OldestQueued.Milliseconds()),
		Transport: way,
	}, nil
}
