package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent/agenttest"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/wire"
)

// witness is somebody who stays with a gateway over its lives, and what they were
// told in all of them.
type witness struct {
	t     *testing.T
	mu    sync.Mutex
	hello int
	chats []protocol.ChatEvent
	news  chan struct{}
}

func newWitness(t *testing.T) *witness { return &witness{t: t, news: make(chan struct{}, 1)} }

func (w *witness) hear(name string, payload []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch name {
	case protocol.EventChat.Name:
		c, err := protocol.EventChat.Payload.DecodeOpen(payload)
		if err != nil {
			w.t.Error(err)
		}
		w.chats = append(w.chats, c)
	case "hello":
		w.hello++
	}
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// until waits for a state of what the witness has heard.
func (w *witness) until(what string, ok func(hellos int, chats []protocol.ChatEvent) bool) {
	w.t.Helper()
	limit := time.After(time.Minute)
	for {
		w.mu.Lock()
		done := ok(w.hello, w.chats)
		w.mu.Unlock()
		if done {
			return
		}
		select {
		case <-w.news:
		case <-limit:
			require.Fail(w.t, "waited a minute for "+what)
		}
	}
}

// in waits until the witness is connected to so many-th life.
func (w *witness) in(life int) {
	w.t.Helper()
	w.until("a connection", func(hellos int, _ []protocol.ChatEvent) bool { return hellos >= life })
}

// sees waits for the end of a run and returns what was told of it, in words.
func (w *witness) sees(run string) (ends []string) {
	w.t.Helper()
	w.until("the end of "+run, func(_ int, chats []protocol.ChatEvent) bool {
		ends = nil
		for _, c := range chats {
			if c.RunID == run && c.State != protocol.ChatStateDelta {
				ends = append(ends, string(c.State)+": "+strings.TrimSpace(text(w.t, c.Message)))
			}
		}
		return len(ends) > 0
	})
	return ends
}

// begun reports whether words of a run were told.
func begun(chats []protocol.ChatEvent, run string) bool {
	return slices.ContainsFunc(chats, func(c protocol.ChatEvent) bool { return c.RunID == run && c.State == protocol.ChatStateDelta })
}

// foreign is a client that we did not write, as far as a socket tells: it signs the
// challenge, takes no notice of anything but its connection, and comes back a second
// after it has lost it.
func foreign(ctx context.Context, url string, id *client.Identity, w *witness) {
	for ctx.Err() == nil {
		foreignLife(ctx, url, id, w)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

func foreignLife(ctx context.Context, url string, id *client.Identity, w *witness) {
	ws, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	ws.SetReadLimit(1 << 20)
	for {
		_, raw, err := ws.Read(ctx)
		if err != nil {
			return
		}
		var f struct {
			Type, Event, ID string
			OK              bool
			Payload         json.RawMessage
		}
		if err := json.Unmarshal(raw, &f); err != nil {
			w.t.Error(err)
			return
		}
		switch {
		case f.Event == protocol.EventConnectChallenge.Name:
			var c struct {
				Nonce string
				Ts    int64
			}
			if err := json.Unmarshal(f.Payload, &c); err != nil {
				w.t.Error(err)
				return
			}
			signed := strings.Join([]string{"v2", id.DeviceID, "cli", "cli", "operator", "operator.admin", strconv.FormatInt(c.Ts, 10), testToken, c.Nonce}, "|")
			_ = ws.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"type":"req","id":"c","method":"connect","params":{"minProtocol":3,"maxProtocol":3,`+
				`"client":{"id":"cli","version":"dev","platform":"linux","mode":"cli"},"caps":[],"role":"operator","scopes":["operator.admin"],"auth":{"token":%q},`+
				`"device":{"id":%q,"publicKey":%q,"signature":%q,"signedAt":%d,"nonce":%q}}}`, testToken, id.DeviceID, id.PublicKey(), id.Sign(signed), c.Ts, c.Nonce))
		case f.Type == "res" && f.ID == "c":
			if !f.OK {
				w.t.Errorf("connect refused: %s", raw)
				return
			}
			w.hear("hello", nil)
		case f.Type == "event":
			w.hear(f.Event, f.Payload)
		}
	}
}

// follower keeps a watch of all tasks over the gateway's lives.
type follower struct {
	gateway *client.Client
	mu      sync.Mutex
	cursor  int64
	events  []protocol.TaskEvent
	hello   chan struct{}
}

func (f *follower) add(e protocol.TaskEvent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e.Cursor > f.cursor {
		f.cursor, f.events = e.Cursor, append(f.events, e)
	}
}

// catchUp asks for what it missed, after each hello, until ctx ends.
func (f *follower) catchUp(ctx context.Context) {
	for {
		select {
		case <-f.hello:
		case <-ctx.Done():
			return
		}
		for live := false; !live; {
			f.mu.Lock()
			after := f.cursor
			f.mu.Unlock()
			page, err := wire.Call(ctx, f.gateway, protocol.MethodTasksWatch, protocol.TasksWatchParams{Cursor: wire.Some(after), Limit: wire.Some(int64(3))})
			if err != nil {
				break // lost: the next hello asks again
			}
			for _, e := range page.Events {
				f.add(e)
			}
			live = page.Live
		}
	}
}

// A gateway is killed in the middle of an answer, twice, with another run in line
// behind it and the same for submitted tasks. Its clients come back by themselves; each
// hears exactly one end of each run, histories hold no half message, and the watch of
// the tasks misses nothing.
func TestKillNineInMidAnswer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	half := agenttest.StartModel(t, agenttest.ModelOptions{HangAfter: 3, Interval: -1}) // says three words and falls silent
	mute := agenttest.StartModel(t, agenttest.ModelOptions{HangAfter: -1})
	back := make(chan struct{}) // closed when the clients are back in the last life
	whole := agenttest.StartModel(t, agenttest.ModelOptions{Interval: time.Millisecond, Reply: func(string) []string {
		<-back
		return agenttest.Words(agenttest.DefaultTokens)
	}})
	answering := sync.OnceFunc(func() { close(back) })
	t.Cleanup(answering) // before the model is closed, should the test fail
	p := spawn(t, dir, half)
	port := p.url[strings.LastIndex(p.url, ":")+1:]

	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	ours, theirs := newWitness(t), newWitness(t)
	seen := &follower{hello: make(chan struct{}, 8)}
	gateway, err := client.New(client.Options{
		URL: p.url, Token: testToken, Identity: newIdentity(t), Scopes: []string{protocol.ScopeOperatorAdmin},
		Client:  protocol.ConnectClient{ID: protocol.GatewayClientIdTest, Version: "1", Platform: "linux", Mode: protocol.GatewayClientModeTest},
		OnHello: func(protocol.HelloOk) { ours.hear("hello", nil); seen.hello <- struct{}{} },
		OnEvent: func(e client.Event) {
			ours.hear(e.Name, e.Payload)
			if e.Name != protocol.EventTask.Name {
				return
			}
			told, err := protocol.EventTask.Payload.DecodeOpen(e.Payload)
			if err != nil {
				t.Error(err)
			}
			if event, ok := told.Event.Get(); ok {
				seen.add(event)
			}
		},
	})
	require.NoError(t, err)
	seen.gateway = gateway
	wg.Go(func() { _ = gateway.Run(ctx) })
	wg.Go(func() { seen.catchUp(ctx) })
	other := newIdentity(t)
	wg.Go(func() { foreign(ctx, p.url, other, theirs) })
	ours.in(1)
	theirs.in(1)

	api := protocol.Client{Caller: gateway}
	runs := []string{"chat-1", "chat-2", "task-1", "task-2"}
	ask := func(i int) (replayed bool) {
		t.Helper()
		if i < 2 {
			got, err := api.ChatSend(ctx, protocol.ChatSendParams{SessionKey: "talk", Message: "tell me " + runs[i], IdempotencyKey: runs[i]})
			require.NoError(t, err)
			return got.ChatRunStatus.Status != protocol.ChatRunStateStarted
		}
		got, err := api.TasksSubmit(ctx, protocol.TasksSubmitParams{Description: "d", Input: "tell me " + runs[i], SessionID: wire.Some("work"), IdempotencyKey: runs[i]})
		require.NoError(t, err)
		return got.Replayed
	}
	for i := range runs {
		require.False(t, ask(i))
	}
	for _, w := range []*witness{ours, theirs} {
		w.until("half an answer", func(_ int, chats []protocol.ChatEvent) bool { return begun(chats, "chat-1") && begun(chats, "task-1") })
	}
	said := func(session string) (list []string) {
		t.Helper()
		got, err := api.ChatHistory(ctx, protocol.ChatHistoryParams{SessionKey: session})
		require.NoError(t, err)
		for _, m := range got.Messages {
			list = append(list, string(m.Role)+": "+strings.TrimSpace(text(t, encode(m))))
		}
		return list
	}
	for life, model := range []*agenttest.Model{mute, whole} {
		p.kill()
		p = spawnAt(t, port, dir, model)
		ours.in(life + 2)
		theirs.in(life + 2)
		for i := range runs {
			require.True(t, ask(i), "what was acknowledged is known in each life")
		}
		if model == mute {
			require.Equal(t, []string{"user: tell me chat-1", "user: tell me chat-2"}, said("talk"), "no half message")
			require.Equal(t, []string{"user: tell me task-1"}, said("work"))
		}
	}
	answering()
	answer := strings.TrimSpace(strings.Join(agenttest.Words(agenttest.DefaultTokens), ""))
	for _, w := range []*witness{ours, theirs} {
		for _, run := range runs {
			require.Equal(t, []string{"final: " + answer}, w.sees(run), run)
		}
	}
	require.Equal(t, []string{"user: tell me chat-1", "user: tell me chat-2", "assistant: " + answer, "assistant: " + answer}, said("talk"))
	require.Equal(t, []string{"user: tell me task-1", "assistant: " + answer, "user: tell me task-2", "assistant: " + answer}, said("work"))

	var want []protocol.TaskEvent
	for _, run := range runs {
		page, err := api.TasksEvents(ctx, protocol.TasksEventsParams{TaskID: run})
		require.NoError(t, err)
		ends := 0
		for _, e := range page.Events {
			if e.NewStatus.Or("") == protocol.TaskStatusCompleted {
				ends++
			}
		}
		require.Equal(t, 1, ends, run)
		want = append(want, page.Events...)
	}
	slices.SortFunc(want, func(a, b protocol.TaskEvent) int { return int(a.Cursor - b.Cursor) })
	require.Eventually(t, func() bool {
		seen.mu.Lock()
		defer seen.mu.Unlock()
		return len(seen.events) >= len(want)
	}, time.Minute, 10*time.Millisecond)
	cancel()
	wg.Wait()
	require.Equal(t, want, seen.events)
	for _, w := range []*witness{ours, theirs} {
		for _, run := range runs {
			require.Len(t, w.sees(run), 1, "nothing came behind the end of %s", run)
		}
	}
	p.stop()
}
