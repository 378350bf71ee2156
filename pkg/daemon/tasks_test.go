package daemon

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent/agenttest"
	"github.com/coderclaw/gateway/pkg/wire"
)

// history is what a task's events tell, without who, when and which.
func history(events []protocol.TaskEvent) (list []string) {
	for _, e := range events {
		list = append(list, fmt.Sprintf("%d %s %s>%s", e.Seq, e.Event, e.OldStatus.Or(""), e.NewStatus.Or("")))
	}
	return list
}

// Whatever asks for a run, it is a task, with one and the same history; a watch from
// cursor 0 tells all of it.
func TestOneHistoryWhateverAsked(t *testing.T) {
	h := open(t, agenttest.StartModel(t, agenttest.ModelOptions{}))
	desk := h.visit("desk")
	_, err := desk.ChatSend(t.Context(), protocol.ChatSendParams{SessionKey: "one", Message: "hello", IdempotencyKey: "by-chat"})
	require.NoError(t, err)
	_, err = desk.Agent(t.Context(), protocol.AgentParams{SessionKey: wire.Some("two"), Message: "hello", IdempotencyKey: "by-agent"}, nil)
	require.NoError(t, err)
	_, err = desk.TasksSubmit(t.Context(), protocol.TasksSubmitParams{Description: "hello", Input: "hello", SessionID: wire.Some("three"), IdempotencyKey: "by-task"})
	require.NoError(t, err)
	_, err = desk.SessionsCreate(t.Context(), protocol.SessionsCreateParams{Key: wire.Some("four")})
	require.NoError(t, err)
	_, err = desk.SessionsSend(t.Context(), protocol.SessionsSendParams{Key: "four", Message: "hello", IdempotencyKey: "by-session"})
	require.NoError(t, err)

	told := map[string][]protocol.TaskEvent{}
	sources := map[protocol.TaskSource]bool{}
	for _, run := range []string{"by-chat", "by-agent", "by-task", "by-session"} {
		require.Eventually(t, func() bool {
			got, err := desk.TasksGet(t.Context(), protocol.TasksGetParams{TaskID: run})
			return err == nil && got.Task.Status == protocol.TaskStatusCompleted
		}, 30*time.Second, 10*time.Millisecond, run)
		got, err := desk.TasksGet(t.Context(), protocol.TasksGetParams{TaskID: run})
		require.NoError(t, err)
		require.Equal(t, "hello", got.Task.Input.V)
		require.NotEmpty(t, got.Task.Output.V)
		sources[got.Task.Source] = true
		page, err := desk.TasksEvents(t.Context(), protocol.TasksEventsParams{TaskID: run})
		require.NoError(t, err)
		told[run] = page.Events
	}
	require.Len(t, sources, 3)
	require.Equal(t, history(told["by-task"]), history(told["by-chat"]))
	require.Equal(t, history(told["by-task"]), history(told["by-agent"]))
	require.Equal(t, history(told["by-task"]), history(told["by-session"]))

	page, err := desk.TasksWatch(t.Context(), protocol.TasksWatchParams{Cursor: wire.Some(int64(0)), Limit: wire.Some(int64(1000))})
	require.NoError(t, err)
	require.True(t, page.Live)
	all := slices.Concat(told["by-chat"], told["by-agent"], told["by-task"], told["by-session"])
	slices.SortFunc(all, func(a, b protocol.TaskEvent) int { return int(a.Cursor - b.Cursor) })
	require.Equal(t, all, page.Events)
}
