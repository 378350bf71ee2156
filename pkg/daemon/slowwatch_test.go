package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/wire"
)

// watched returns the task events that a visitor was pushed, in order.
func (v *visitor) watched() (list []protocol.TaskEvent) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, e := range v.events {
		if e.Name != protocol.EventTask.Name {
			continue
		}
		told, err := protocol.EventTask.Payload.DecodeOpen(e.Payload)
		require.NoError(v.t, err)
		if event, ok := told.Event.Get(); ok {
			list = append(list, event)
		}
	}
	return list
}

// A watcher that stops reading is cut off and costs the others nothing; from the
// cursor of the last event that it got it goes on without a gap.
func TestSlowWatcherIsCutAndResumes(t *testing.T) {
	h := prepare(t, nil)
	require.NoError(t, os.MkdirAll(h.dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "coderclaw.json"), []byte(`{gateway: {maxBufferedBytes: 1048576}}`), 0o600))
	h.start()
	desk := h.visit("desk")
	gate := &gate{open: make(chan struct{})}
	slow := h.visit("slow", func(o *client.Options) { o.HTTPClient = gate.httpClient() })
	t.Cleanup(gate.release) // a failed test must not leave its reader waiting
	page, err := slow.TasksWatch(t.Context(), protocol.TasksWatchParams{Cursor: wire.Some(int64(0))})
	require.NoError(t, err)
	require.True(t, page.Live)
	other, err := desk.TasksWatch(t.Context(), protocol.TasksWatchParams{Cursor: wire.Some(int64(0))})
	require.NoError(t, err)
	require.True(t, other.Live)

	gate.paused.Store(true)
	const workers, each = 16, 150
	long := strings.Repeat("x", 4096) // 10 MB in all: more than the kernel and the queue hold
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for i := range each {
				_, err := desk.TasksSubmit(t.Context(), protocol.TasksSubmitParams{Description: long, Input: "x", IdempotencyKey: fmt.Sprint(worker, "-", i),
					NotBefore: wire.Some("2126-01-01T00:00:00Z")})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	require.False(t, t.Failed())
	const n = workers * each
	desk.until("all events", func() bool {
		desk.mu.Lock()
		defer desk.mu.Unlock()
		return len(desk.events) >= n // with some of other kinds among them
	})
	desk.until("the last of them", func() bool { return len(desk.watched()) == n })
	gate.release()
	<-slow.Done()
	got := slow.watched()
	require.Less(t, len(got), n, "it was not cut off")
	cursor := int64(0)
	if len(got) > 0 {
		cursor = got[len(got)-1].Cursor
	}
	again := h.visit("slow again")
	for {
		page, err := again.TasksWatch(t.Context(), protocol.TasksWatchParams{Cursor: wire.Some(cursor), Limit: wire.Some(int64(1000))})
		require.NoError(t, err)
		got = append(got, page.Events...)
		if cursor = page.Cursor; page.Live {
			break
		}
	}
	require.Equal(t, desk.watched(), got, "each event once, in order")
	require.True(t, slices.IsSortedFunc(got, func(a, b protocol.TaskEvent) int { return int(a.Cursor - b.Cursor) }))
	h.stop()
	require.Contains(t, h.logs.String(), `"reason":"slow consumer"`)
}
