package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/wire"
)

// logCaller answers tasks.watch and tasks.unwatch over a log that grows, and pushes
// what comes to the one watch that is live.
type logCaller struct {
	w *watcher

	mu      sync.Mutex
	head    int64
	watches int
	live    string
	asked   []string
}

func event(cursor int64) protocol.TaskEvent {
	return protocol.TaskEvent{TaskID: "t", Seq: cursor, Cursor: cursor, Timestamp: "2026-11-22T10:48:00.000Z", Event: protocol.TaskEventKindCheckpoint, Revision: cursor, Hash: "h"}
}

// grow adds events to the log, and tells of them.
func (l *logCaller) grow(n int) {
	for range n {
		l.mu.Lock()
		l.head++
		at, live := l.head, l.live
		l.mu.Unlock()
		if live != "" {
			l.w.push(protocol.TaskWatchEvent{WatchID: live, Cursor: at, Event: wire.Some(event(at))})
		}
	}
}

// Call implements wire.Caller.
func (l *logCaller) Call(ctx context.Context, method string, params []byte, _ func([]byte)) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, method)
	if method == protocol.MethodTasksUnwatch.Name {
		l.live = ""
		return []byte(`{"ended":true}`), nil
	}
	p, err := protocol.DecodeTasksWatchParams(params)
	if err != nil {
		return nil, err
	}
	const page = 1000
	result := protocol.TasksWatchResult{Events: []protocol.TaskEvent{}, Cursor: p.Cursor.Or(0)}
	for at := p.Cursor.Or(0) + 1; at <= l.head && len(result.Events) < page; at++ {
		result.Events, result.Cursor = append(result.Events, event(at)), at
	}
	if result.Live = result.Cursor == l.head; result.Live {
		l.watches++
		l.live = fmt.Sprint("watch-", l.watches)
		result.WatchID = wire.Some(l.live)
	}
	return result.AppendJSON(nil), nil
}

// gatedWriter is a pipe whose reader may stop.
type gatedWriter struct {
	bytes.Buffer
	gate chan struct{}
}

func (g *gatedWriter) Write(p []byte) (int, error) {
	<-g.gate
	return g.Buffer.Write(p)
}

// Whoever stops reading costs a bounded amount of memory, and gets every event once
// and in order when they read on.
func TestWatchOfAReaderThatStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &gatedWriter{gate: make(chan struct{})}
		p := &printer{out: out, err: &bytes.Buffer{}, json: true}
		w := &watcher{a: &App{out: p}, wake: make(chan struct{}, 1), live: &liveLine{p: p}, params: protocol.TasksWatchParams{Cursor: wire.Some(int64(0))}}
		log := &logCaller{w: w}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.run(ctx, log) }()
		w.connected()
		synctest.Wait()
		log.grow(3 * pendingMax) // the first blocks the writer, the rest waits
		synctest.Wait()
		w.mu.Lock()
		require.LessOrEqual(t, len(w.pending), pendingMax)
		w.mu.Unlock()
		close(out.gate)
		synctest.Wait()
		log.grow(10)
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)

		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		require.Len(t, lines, 3*pendingMax+10)
		for i, line := range lines {
			var e protocol.TaskEvent
			require.NoError(t, json.Unmarshal([]byte(line), &e))
			require.Equal(t, int64(i+1), e.Cursor)
		}
		require.Contains(t, log.asked, "tasks.unwatch")
	})
}

// The live line keeps the status over events that have none, says what is being said,
// and is out of the way of whatever else is printed.
func TestLiveLineOfAWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		screen := &bytes.Buffer{} // both outputs are one terminal
		p := &printer{out: screen, err: screen, errIsTTY: true}
		live := &liveLine{p: p}
		p.live = live
		w := &watcher{a: &App{out: p}, live: live, single: true, wake: make(chan struct{}, 1), runID: "run"}
		tell := func(cursor int64, kind protocol.TaskEventKind, status protocol.TaskStatus) {
			e := event(cursor)
			e.Event, e.Timestamp, e.Attempt = kind, time.Now().UTC().Format(time.RFC3339Nano), wire.Some(int64(2))
			if status != "" {
				e.NewStatus = wire.Some(status)
			}
			w.tell(e)
			w.statusLine()
		}
		tell(1, protocol.TaskEventKindStatusChanged, protocol.TaskStatusRunning)
		time.Sleep(3 * time.Second)
		w.hear(client.Event{Name: "chat", Payload: []byte(`{"runId":"run","sessionKey":"s","seq":1,"state":"delta","message":{"role":"assistant","content":[{"type":"text","text":"one \u001b[31mtwo"}]}}`)})
		w.statusLine()
		p.note("connection lost")
		tell(2, protocol.TaskEventKindLeaseTaken, "")
		tell(3, protocol.TaskEventKindStatusChanged, protocol.TaskStatusCompleted)
		live.set("")

		var rows []string // as a terminal shows them
		for _, row := range strings.Split(screen.String(), "\n") {
			rows = append(rows, row[strings.LastIndex(row, clearLine)+1:])
		}
		require.Len(t, rows, 5)
		require.Contains(t, rows[0], "running  attempt 2")
		require.Equal(t, "[Kconnection lost", strings.TrimPrefix(rows[1], "\x1b"))
		require.Contains(t, rows[2], "lease_taken  attempt 2")
		require.Contains(t, rows[3], "completed")
		require.Equal(t, "[K", strings.TrimPrefix(rows[4], "\x1b"), "nothing is left")
		require.Contains(t, screen.String(), "running for 3s  one  [31mtwo"+clearLine)
		require.Contains(t, screen.String(), "running for 0s"+clearLine, "a new attempt begins anew")
		require.NotContains(t, screen.String(), "pending")

		piped := &bytes.Buffer{}
		(&liveLine{p: &printer{err: piped}}).set("text")
		require.Empty(t, piped.String())
	})
}

// A watch that is put off by a gateway which stops, or that loses its connection
// between the end of its task and its last question, ends as the task did.
func TestWatchAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		yes, after := true, int64(500)
		busy := &wire.Error{Code: protocol.ErrorUnavailable, Message: "stopping", Retryable: &yes, RetryAfterMs: &after}
		lost := &client.CloseError{Code: 1006}
		end := event(2)
		end.Event, end.NewStatus = protocol.TaskEventKindStatusChanged, wire.Some(protocol.TaskStatusCompleted)
		answers := map[string][]any{
			"tasks.watch": {busy, protocol.TasksWatchResult{Events: []protocol.TaskEvent{event(1), end}, Cursor: 2, Live: true, WatchID: wire.Some("w")}},
			"tasks.get": {lost, busy, protocol.TasksGetResult{Task: protocol.Task{ID: "t", RunID: "t", Status: protocol.TaskStatusCompleted, Description: "d",
				Source: protocol.TaskSourceTasksSubmit, RootID: "t", CreatedAt: "2026-11-22T10:48:00.000Z", MaxAttempts: 1, Output: wire.Some("said")}}},
		}
		caller := callerFunc(func(method string, _ []byte) ([]byte, error) {
			next := answers[method][0]
			answers[method] = answers[method][1:]
			if err, ok := next.(error); ok {
				return nil, err
			}
			return encode(next), nil
		})
		screen := &bytes.Buffer{}
		p := &printer{out: screen, err: &bytes.Buffer{}}
		w := &watcher{a: &App{out: p}, wake: make(chan struct{}, 1), live: &liveLine{p: p}, single: true, output: true,
			params: protocol.TasksWatchParams{TaskID: wire.Some("t"), Cursor: wire.Some(int64(0))}}
		w.connected()
		require.NoError(t, w.run(t.Context(), caller))
		require.Contains(t, screen.String(), "said")
		require.Empty(t, answers["tasks.get"])

		refused := &wire.Error{Code: protocol.ErrorInvalidRequest, Message: "no"}
		require.ErrorIs(t, w.finish(t.Context(), callerFunc(func(string, []byte) ([]byte, error) { return nil, refused })), refused)
	})
}

func encode(v any) []byte { return v.(interface{ AppendJSON([]byte) []byte }).AppendJSON(nil) }

func TestEventLineOfARetry(t *testing.T) {
	e := event(1)
	e.Event, e.Data, e.Message, e.Attempt = protocol.TaskEventKindRetryScheduled, wire.Raw(`{"code":"MODEL_UNAVAILABLE","delayMs":4000}`), wire.Some("busy"), wire.Some(int64(3))
	line := (&App{out: &printer{}}).eventLine(e, false)
	require.True(t, strings.HasSuffix(line, "  retry_scheduled  attempt 3  again in 4s  busy"), line)
	e.Data = nil
	require.NotContains(t, (&App{out: &printer{}}).eventLine(e, false), "again")
}
