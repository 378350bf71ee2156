package daemon

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/agent/agenttest"
	"github.com/coderclaw/gateway/pkg/wire"
)

// The load of one kill round: messages with keys, over sessions and connections.
const (
	killMessages    = 200
	killSessions    = 20
	killConnections = 4
)

// killPoint says when a round kills the gateway: at an acknowledgement, at a chat
// event, or at a moment after the first message; those that are 0 do not count.
// again kills it a second time, when so many chat events have come since.
type killPoint struct {
	name         string
	acks, events int
	moment       time.Duration
	again        int
}

// killPoints are those of one round; which acknowledgement, event or moment it is
// varies.
func killPoints() []killPoint {
	return []killPoint{
		{name: "while messages come in", acks: 1 + rand.IntN(killMessages-1)},
		{name: "while answers go out", events: 1 + rand.IntN(killMessages)},
		{name: "at some moment", moment: time.Duration(rand.IntN(500)) * time.Millisecond},
		{name: "at the last acknowledgement, and again while it resumes", acks: killMessages, again: 1 + rand.IntN(killMessages/2)},
	}
}

// TestKillNineDuringChatSends kills a gateway under 200 concurrent messages with
// keys, starts it again and sends them all once more: each key has one outcome, one
// question and one answer, and no client hears two ends. SOAK=short makes more
// rounds, SOAK=long many.
func TestKillNineDuringChatSends(t *testing.T) {
	rounds := map[string]int{"": 1, "short": 2, "long": 25}[os.Getenv("SOAK")]
	require.NotZero(t, rounds, "SOAK is short or long")
	for round := range rounds {
		for _, at := range killPoints() {
			t.Run(fmt.Sprintf("%d %s", round+1, at.name), func(t *testing.T) { killRound(t, at) })
		}
	}
}

// siege is one kill round: the clients' side of it.
type siege struct {
	t        *testing.T
	dir      string
	identity string
	model    *agenttest.Model

	mu     sync.Mutex
	acked  map[string]bool
	ends   map[string]int // terminal events of each run, over all lives
	ackAt  chan struct{}  // closed at the kill point's acknowledgement
	acks   int
	killAt killPoint
}

func killRound(t *testing.T, at killPoint) {
	s := &siege{
		t: t, dir: filepath.Join(t.TempDir(), "state"), identity: t.TempDir(), killAt: at,
		model: agenttest.StartModel(t, agenttest.ModelOptions{
			Interval: 5 * time.Millisecond,
			Reply:    func(user string) []string { return []string{"re", ": ", user} },
		}),
		acked: map[string]bool{}, ends: map[string]int{}, ackAt: make(chan struct{}),
	}
	p := spawn(t, s.dir, s.model)
	witness := p.visit(s.identity)
	clients := s.connect(p)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		s.sendAll(clients, s.ack)
	}()
	switch {
	case at.acks > 0:
		<-s.ackAt
	case at.events > 0:
		witness.until("the kill point", func() bool { return witness.chatEvents() >= at.events })
	default:
		<-time.After(at.moment)
	}
	p.kill()
	<-sent
	s.collect(witness)
	acked, ended := len(s.acked), len(s.ends)

	p = spawn(t, s.dir, s.model)
	if at.again > 0 {
		witness = p.visit(s.identity)
		witness.until("the second kill point", func() bool { return witness.chatEvents() >= at.again })
		p.kill()
		s.collect(witness)
		p = spawn(t, s.dir, s.model)
	}
	began := time.Now()
	witness = p.visit(s.identity)
	again := s.resend(p)
	s.awaitAll(p)
	took := time.Since(began)
	require.Equal(t, map[string]int{"ok": killMessages}, s.resend(p))
	witness.until("the ends of those that began now", func() bool { return len(witness.ends()) >= again["started"] })
	s.collect(witness)
	s.check(p)
	p.stop()
	t.Logf("killed after %d acknowledgements and %d ends; resent: %v; all ended within %d ms; %d model calls for %d messages",
		acked, ended, again, took.Milliseconds(), len(s.model.Requests()), killMessages)
}

func (s *siege) key(i int) string     { return fmt.Sprintf("key-%03d", i) }
func (s *siege) session(i int) string { return fmt.Sprintf("room-%02d", i%killSessions) }
func (s *siege) message(i int) string { return fmt.Sprintf("message %03d", i) }

func (s *siege) connect(p *process) (clients []*visitor) {
	for range killConnections {
		clients = append(clients, p.visit(s.identity))
	}
	return clients
}

// sendAll sends every message at the same time and hands over the answers. What
// the dying gateway does not answer is left out; a refusal fails the test.
func (s *siege) sendAll(clients []*visitor, answered func(key string, status protocol.ChatRunState)) {
	var wg sync.WaitGroup
	for i := range killMessages {
		wg.Go(func() {
			got, err := clients[i%len(clients)].ChatSend(s.t.Context(), protocol.ChatSendParams{
				SessionKey: s.session(i), Message: s.message(i), IdempotencyKey: s.key(i),
			})
			var refused *wire.Error
			switch {
			case errors.As(err, &refused):
				s.t.Errorf("%s: %v", s.key(i), err)
			case err == nil:
				answered(s.key(i), got.ChatRunStatus.Status)
			}
		})
	}
	wg.Wait()
}

// ack notes an acknowledgement.
func (s *siege) ack(key string, _ protocol.ChatRunState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked[key] = true
	if s.acks++; s.acks == s.killAt.acks {
		close(s.ackAt)
	}
}

// resend sends every message again and returns how many answers there were of each
// kind. Nothing that was acknowledged may start anew.
func (s *siege) resend(p *process) map[string]int {
	s.t.Helper()
	kinds := map[string]int{}
	s.sendAll(s.connect(p), func(key string, status protocol.ChatRunState) {
		s.mu.Lock()
		defer s.mu.Unlock()
		kinds[string(status)]++
		if status == protocol.ChatRunStateStarted && s.acked[key] {
			s.t.Errorf("%s was acknowledged and started anew", key)
		}
		s.acked[key] = true
	})
	require.Len(s.t, s.acked, killMessages)
	return kinds
}

// awaitAll waits for the end of every run by agent.wait, which knows those that
// ended in an earlier life as well.
func (s *siege) awaitAll(p *process) {
	s.t.Helper()
	v := p.visit(s.identity)
	for i := range killMessages {
		got, err := v.AgentWait(s.t.Context(), protocol.AgentWaitParams{RunID: s.key(i), TimeoutMs: wire.Some[int64](60_000)})
		require.NoError(s.t, err)
		require.Equal(s.t, protocol.AgentWaitStatusOk, got.Status, s.key(i))
	}
}

// chatEvents counts the chat events that a visitor has seen.
func (v *visitor) chatEvents() (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, e := range v.events {
		if e.Name == protocol.EventChat.Name {
			n++
		}
	}
	return n
}

// collect adds the terminal events that a visitor has seen to those of the lives
// before.
func (s *siege) collect(v *visitor) {
	for run, n := range v.ends() {
		s.ends[run] += n
	}
}

// ends counts the terminal events of each run.
func (v *visitor) ends() map[string]int {
	v.mu.Lock()
	defer v.mu.Unlock()
	ends := map[string]int{}
	for _, e := range v.events {
		if e.Name != protocol.EventChat.Name {
			continue
		}
		c, err := protocol.EventChat.Payload.DecodeOpen(e.Payload)
		require.NoError(v.t, err)
		if c.State != protocol.ChatStateDelta {
			ends[c.RunID]++
		}
	}
	return ends
}

// check looks at the transcripts and the events of all lives, and tries a key with
// other params.
func (s *siege) check(p *process) {
	s.t.Helper()
	for run, n := range s.ends {
		require.LessOrEqual(s.t, n, 1, "%s was told to end %d times", run, n)
	}
	v := p.visit(s.identity)
	said := map[string]int{}
	for i := range killSessions {
		history, err := v.ChatHistory(s.t.Context(), protocol.ChatHistoryParams{SessionKey: s.session(i), Limit: wire.Some[int64](1000)})
		require.NoError(s.t, err)
		for _, m := range history.Messages {
			said[fmt.Sprintf("%s %s: %s", s.session(i), m.Role, strings.TrimSpace(text(s.t, encode(m))))]++
		}
	}
	want := map[string]int{}
	for i := range killMessages {
		want[fmt.Sprintf("%s user: %s", s.session(i), s.message(i))] = 1
		want[fmt.Sprintf("%s assistant: re: %s", s.session(i), s.message(i))] = 1
	}
	require.Equal(s.t, want, said, "%v", slices.Sorted(maps.Keys(said)))

	for i := range 3 {
		_, err := v.ChatSend(s.t.Context(), protocol.ChatSendParams{SessionKey: s.session(i), Message: "other", IdempotencyKey: s.key(i)})
		var refused *wire.Error
		require.ErrorAs(s.t, err, &refused)
		require.Equal(s.t, protocol.ErrorInvalidRequest, refused.Code)
		require.Contains(s.t, string(refused.Details), protocol.DetailIdempotencyConflict)
	}
}

// A restart that is asked for: who waits for an answer is told to come again, hears
// no end, and gets the answer from the next life under the same key.
func TestRestartWhileTheModelThinks(t *testing.T) {
	model := agenttest.StartModel(t, agenttest.ModelOptions{HangAfter: -1})
	h := open(t, model)
	v := h.visit("laptop")
	run := v.say("main", "think", "k1")
	type answer struct {
		result protocol.AgentResult
		err    error
	}
	answers := make(chan answer, 1)
	accepted := make(chan struct{})
	params := protocol.AgentParams{Message: "and this", SessionKey: wire.Some("other"), IdempotencyKey: "k2"}
	go func() {
		got, err := v.Agent(t.Context(), params, func(protocol.AgentAccepted) { close(accepted) })
		answers <- answer{got, err}
	}()
	<-accepted
	v.until("both to begin", func() bool { return strings.Count(v.dump(), `"phase":"start"`) == 2 })
	h.stop()
	got := <-answers
	var refused *wire.Error
	require.ErrorAs(t, got.err, &refused)
	require.Equal(t, protocol.ErrorUnavailable, refused.Code)
	require.True(t, *refused.Retryable)
	require.Contains(t, string(refused.Details), protocol.DetailShuttingDown)
	<-v.Done()
	require.Empty(t, v.ends())

	quick := agenttest.StartModel(t, agenttest.ModelOptions{Interval: -1, Reply: func(user string) []string { return []string{"re: " + user} }})
	h.env["OPENAI_BASE_URL"] = quick.URL
	h.start()
	v = h.visit("laptop") // another device: whoever may read hears the end
	waited, err := v.AgentWait(t.Context(), protocol.AgentWaitParams{RunID: run})
	require.NoError(t, err)
	require.Equal(t, protocol.AgentWaitStatusOk, waited.Status)
	waited, err = v.AgentWait(t.Context(), protocol.AgentWaitParams{RunID: "k2"})
	require.NoError(t, err)
	require.Equal(t, protocol.AgentWaitStatusOk, waited.Status)
	require.Len(t, quick.Requests(), 2)
}
