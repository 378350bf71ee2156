package conformance

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	goclient "github.com/coderclaw/gateway/pkg/client"
)

const conversationsDir = "../../testdata/conformance"

func conversations(t *testing.T) []*Conversation {
	t.Helper()
	list, err := readConversations(os.DirFS(conversationsDir))
	require.NoError(t, err)
	return list
}

// TestServePlaysEveryConversation holds both sides of each written conversation
// with each other: our client passes before our server, and our server before our
// client, which also holds every frame that the server makes up against the schema.
func TestServePlaysEveryConversation(t *testing.T) {
	for _, c := range conversations(t) {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			target, played := playedBy(t, c.Case())
			require.Equal(t, Outcome{Name: c.Name, Status: Passed}, c.run(t.Context(), target))
			require.Equal(t, Outcome{Name: c.Name, Status: Passed}, played())
		})
	}
}

// client is a hand-made client for the server to grade.
type client struct {
	t  *testing.T
	ws *websocket.Conn
}

func (c client) say(method string, params any) {
	c.t.Helper()
	raw, err := json.Marshal(map[string]any{"type": "req", "id": method, "method": method, "params": params})
	require.NoError(c.t, err)
	require.NoError(c.t, c.ws.Write(c.t.Context(), websocket.MessageText, raw))
}

// hear returns the next frame.
func (c client) hear() frame {
	c.t.Helper()
	_, raw, err := c.ws.Read(c.t.Context())
	require.NoError(c.t, err)
	return readFrame(raw)
}

// shakeHands connects with a signature that edit may spoil, and the given scopes.
func (c client) shakeHands(edit func(*deviceProof), scopes ...string) frame {
	c.t.Helper()
	var live challenge
	require.NoError(c.t, json.Unmarshal(c.hear().Payload, &live))
	d, err := newDevice()
	require.NoError(c.t, err)
	h := handshake{clientID: "test", clientMode: "test", role: "operator", scopes: scopes}
	proof := d.prove(h, live, defects{})
	if edit != nil {
		edit(&proof)
	}
	c.say("connect", map[string]any{"minProtocol": 3, "maxProtocol": 3, "role": "operator", "scopes": scopes, "device": proof,
		"client": map[string]any{"id": "test", "version": "1", "platform": "linux", "mode": "test"}})
	return c.hear()
}

// TestServeGradesClients lets clients with one fault each play a small conversation.
func TestServeGradesClients(t *testing.T) {
	const script = `what
why
-- conversation --
connect scopes=operator.read,operator.write
> chat.send {"sessionKey":"main","message":"hello","idempotencyKey":"$run"}
< ok {"runId":"$run","status":"started"}
< event chat {"runId":"$run","state":"final"}
> chat.history {"sessionKey":"main","limit":1}
< ok {"messages":[{"role":"assistant"}]}
`
	send := map[string]any{"sessionKey": "main", "message": "hello", "idempotencyKey": "k"}
	history := map[string]any{"sessionKey": "main", "limit": 1}
	scopes := []string{protocol.ScopeOperatorWrite}
	with := func(m map[string]any, key string, value any) map[string]any {
		out := map[string]any{key: value}
		for k, v := range m {
			if k != key {
				out[k] = v
			}
		}
		return out
	}
	whole := func(c client) {
		c.say("chat.send", send)
		require.JSONEq(c.t, `{"runId":"k","status":"started"}`, string(c.hear().Payload))
		require.Equal(c.t, "chat", c.hear().Event)
		c.say("chat.history", history)
		require.True(c.t, c.hear().OK)
	}
	for name, tt := range map[string]struct {
		client func(c client)
		want   string
	}{
		"perfect": {func(c client) {
			require.True(c.t, c.shakeHands(nil, scopes...).OK)
			whole(c)
		}, ""},
		"asks for more": {func(c client) {
			require.True(c.t, c.shakeHands(nil, scopes...).OK)
			c.say("health", nil)
			require.True(c.t, c.hear().OK)
			c.say("no.such", nil)
			require.Equal(c.t, "unknown method: no.such", c.hear().Error.Message)
			c.say("sessions.list", map[string]any{"foo": 1})
			require.Contains(c.t, c.hear().Error.Message, "unexpected property 'foo'")
			whole(c)
		}, ""},
		"lazy": {func(c client) {
			c.shakeHands(nil, scopes...)
			c.say("chat.send", send)
		}, "line 8: no chat.history: the client left with 1005"},
		"impatient": {func(c client) {
			c.shakeHands(nil, scopes...)
			c.say("chat.history", history)
		}, "line 5: no chat.send: the client left with 1005 \"\", but chat.history"},
		"other message": {func(c client) {
			c.shakeHands(nil, scopes...)
			send := with(send, "message", "hi")
			c.say("chat.send", send)
		}, `line 5: params of chat.send: at /message: "hi" instead of "hello"`},
		"unknown member":  {func(c client) { c.shakeHands(nil, scopes...); c.say("chat.send", with(send, "foo", 1)) }, "line 5: invalid chat.send params: at root: unexpected property 'foo'"},
		"few scopes":      {func(c client) { c.shakeHands(nil, protocol.ScopeOperatorRead) }, "line 4: main does not ask for operator.write"},
		"first of others": {func(c client) { c.hear(); c.say("health", nil) }, "line 4: the first request is"},
		"foreign id":      {func(c client) { c.shakeHands(func(p *deviceProof) { p.ID = "00" }, scopes...) }, "main: connect: the device id is not the hash of its key"},
		"foreign nonce":   {func(c client) { c.shakeHands(func(p *deviceProof) { p.Nonce = "n" }, scopes...) }, "main: connect: the nonce is not the one of the challenge"},
		"signed wrongly":  {func(c client) { c.shakeHands(func(p *deviceProof) { p.SignedAt++ }, scopes...) }, "main: connect: the signature does not match"},
		"no device key":   {func(c client) { c.shakeHands(func(p *deviceProof) { p.PublicKey = "x" }, scopes...) }, "main: connect: recorded public key"},
		"no handshake": {func(c client) {
			c.hear()
			c.say("connect", map[string]any{"minProtocol": "3"})
		}, "main: invalid connect params: must have required property 'maxProtocol'"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := ParseConversation("small", script)
			require.NoError(t, err)
			target, played := playedBy(t, c.Case())
			ws, _, err := websocket.Dial(t.Context(), target.URL, nil)
			require.NoError(t, err)
			ws.SetReadLimit(-1)
			tt.client(client{t, ws})
			_ = ws.Close(websocket.StatusNoStatusRcvd, "") // without a code
			outcome := played()
			if tt.want == "" {
				require.Equal(t, Outcome{Name: "small", Status: Passed}, outcome)
				return
			}
			require.Equal(t, Failed, outcome.Status)
			require.Contains(t, outcome.Failures[0], tt.want)
		})
	}
}

// TestServeGradesOurClient lets the Go client that the command line uses play a
// conversation.
func TestServeGradesOurClient(t *testing.T) {
	target, played := playedBy(t, caseNamed(t, "chat/command.txtar"))
	id, err := goclient.LoadIdentity(t.TempDir())
	require.NoError(t, err)
	final := make(chan struct{})
	conn, err := goclient.Dial(t.Context(), goclient.Options{
		URL: target.URL, Token: "any", Identity: id, Scopes: []string{protocol.ScopeOperatorAdmin},
		Client: protocol.ConnectClient{ID: protocol.GatewayClientIdCli, Version: "1", Platform: "linux", Mode: protocol.GatewayClientModeCli},
		OnEvent: func(e goclient.Event) {
			if e.Name == protocol.EventChat.Name {
				close(final)
			}
		},
	})
	require.NoError(t, err)
	api := protocol.Client{Caller: conn}
	answer, err := api.ChatSend(t.Context(), protocol.ChatSendParams{SessionKey: "main", Message: "/status", IdempotencyKey: "k1"})
	require.NoError(t, err)
	require.Equal(t, "k1", answer.ChatRunStatus.RunID)
	<-final
	_, err = api.Health(t.Context(), protocol.HealthParams{})
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.Equal(t, Outcome{Name: "chat/command.txtar", Status: Passed}, played())
}

// TestServeRun plays two conversations on a listener: the path picks one, any other
// path gets the next, and it ends when both are played.
func TestServeRun(t *testing.T) {
	var cases []Case
	for _, name := range []string{"one.txtar", "two.txtar"} {
		c, err := ParseConversation(name, "what\nwhy\n-- conversation --\nconnect\n> health\n< ok\n")
		require.NoError(t, err)
		cases = append(cases, c.Case())
	}
	var ended []string
	s := NewServer(ServerConfig{Cases: cases, Ended: func(o Outcome) { ended = append(ended, o.Name) }, Linger: 10 * time.Second})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Run(t.Context(), listener) }()
	target := func(path string) Target { return Target{URL: "ws://" + listener.Addr().String() + path, Token: "t"} }

	require.Equal(t, "not applicable one.txtar (not played)\nnot applicable two.txtar (not played)\n", s.Report().String())
	require.NoError(t, Run(t.Context(), target("/two.txtar"), cases[1:], nil).Err())
	waitFor(t, s.plays[1])
	again, err := http.Get("http://" + listener.Addr().String() + "/two.txtar")
	require.NoError(t, err)
	require.NoError(t, again.Body.Close())
	require.Equal(t, http.StatusGone, again.StatusCode)
	require.NoError(t, Run(t.Context(), target("/any"), cases[:1], nil).Err())
	require.NoError(t, <-done)
	require.Equal(t, []string{"two.txtar", "one.txtar"}, ended)
	require.Equal(t, "passed one.txtar\npassed two.txtar\n", s.Report().String())
}

func waitFor(t *testing.T, p *play) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the conversation does not end")
	}
}

// TestServeEndsWithItsContext leaves a client alone in the middle.
func TestServeEndsWithItsContext(t *testing.T) {
	c, err := ParseConversation("one", "what\nwhy\n-- conversation --\nconnect\n> health\n< ok\n")
	require.NoError(t, err)
	s := NewServer(ServerConfig{Cases: []Case{c.Case()}})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, listener) }()
	ws, _, err := websocket.Dial(t.Context(), "ws://"+listener.Addr().String(), nil)
	require.NoError(t, err)
	require.Equal(t, protocol.EventConnectChallenge.Name, client{t, ws}.hear().Event)
	cancel()
	require.NoError(t, <-done)
	require.ErrorContains(t, s.Report().Err(), "context canceled")
	require.ErrorContains(t, NewServer(ServerConfig{}).Run(t.Context(), listener), "no conversation to play")
	_ = ws.CloseNow()
}

// TestSamplesAreValid makes a value of every definition from the schema alone.
func TestSamplesAreValid(t *testing.T) {
	for name, def := range words().defs {
		raw, err := json.Marshal(placeOf(def).sample())
		require.NoError(t, err)
		require.NoError(t, protocol.Validate(name, raw), "%s: %s", name, raw)
	}
}

func TestMatching(t *testing.T) {
	for expression, want := range map[string]string{
		`^word0 .* word7 ?$`: "word0  word7", `^[A-Za-z0-9_-]{3}$`: "---", `device paired`: "device paired", `^(a|b)+c?$`: "a",
		`^inject-[0-9a-f]{8}$`: "inject-00000000", `(`: "no expression: error parsing regexp: missing closing ): `(`",
	} {
		require.Equal(t, want, matching(expression))
	}
}
