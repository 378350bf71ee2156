package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/wire"
)

// talk is a chat whose gateway is a function and whose events come from the test.
type talk struct {
	*chat
	out, err bytes.Buffer
	sent     []string // "method idempotencyKey" of each request
	left     chan error
}

// startTalk runs a chat in the test's bubble. answer answers the n-th request.
func startTalk(t *testing.T, prompts bool, answer func(n int, method string) (string, error)) *talk {
	k := &talk{left: make(chan error, 1)}
	a := New(Config{Stdout: &k.out, Stderr: &k.err, Getenv: func(string) string { return "" }})
	k.chat = &chat{
		a: a, prompts: prompts,
		notices: make(chan notice), lines: make(chan string), signals: make(chan os.Signal), outcomes: make(chan func()),
	}
	k.api = protocol.Client{Caller: callerFunc(func(method string, params []byte) ([]byte, error) {
		var p struct{ IdempotencyKey, RunID string }
		require.NoError(t, json.Unmarshal(params, &p))
		k.sent = append(k.sent, method+" "+p.IdempotencyKey+p.RunID)
		result, err := answer(len(k.sent), method)
		return []byte(result), err
	})}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() { k.left <- k.converse(ctx) }()
	k.tell(notice{hello: &protocol.HelloOk{}})
	return k
}

type callerFunc func(method string, params []byte) ([]byte, error)

func (f callerFunc) Call(_ context.Context, method string, params []byte, _ func([]byte)) ([]byte, error) {
	return f(method, params)
}

// tell hands the loop a notice and waits until it and what it caused is handled.
func (k *talk) tell(n notice) {
	k.notices <- n
	synctest.Wait()
}

func (k *talk) say(line string) {
	k.lines <- line
	synctest.Wait()
}

// event tells the loop a chat event of the run that is going on.
func (k *talk) event(state, text string) {
	payload := `{"runId":"` + k.run.show.runID + `","sessionKey":"agent:main:main","seq":1,"state":"` + state + `","message":{"role":"assistant","content":[{"type":"text","text":"` + text + `"}]}}`
	k.tell(notice{event: &client.Event{Name: "chat", Payload: []byte(payload)}})
}

const started = `{"runId":"r","status":"started"}`

func TestChatAsksAgainAfterALoss(t *testing.T) {
	for _, tc := range []struct {
		name string
		loss notice
	}{
		{"a new connection", notice{hello: &protocol.HelloOk{}}},
		{"a gap in the events", notice{gap: &client.Gap{Expected: 3, Received: 5}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := startTalk(t, false, func(n int, method string) (string, error) {
					switch n {
					case 1:
						return started, nil
					case 2:
						return `{"runId":"r","status":"in_flight"}`, nil
					case 3:
						return `{"runId":"r","status":"ok"}`, nil
					}
					return `{"sessionKey":"main","thinkingLevel":"off","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":[{"type":"text","text":"one two three"}]}]}`, nil
				})
				k.say("hi")
				key := k.run.show.runID
				k.event("delta", "one")
				k.tell(tc.loss) // still running
				k.event("delta", "one two")
				k.tell(tc.loss) // done meanwhile
				require.Nil(t, k.run)
				require.Equal(t, "one two three\n", k.out.String())
				require.Equal(t, []string{"chat.send " + key, "chat.send " + key, "chat.send " + key, "chat.history "}, k.sent, "always the same key")
				close(k.lines)
				require.NoError(t, <-k.left)
			})
		})
	}
}

func TestChatWaitsForTheNextConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := startTalk(t, false, func(n int, _ string) (string, error) {
			if n == 1 {
				return "", &client.CloseError{Code: 1012, Reason: "service restart"}
			}
			return started, nil
		})
		k.say("hi")
		require.NotNil(t, k.run, "a lost connection ends no run")
		k.tell(notice{hello: &protocol.HelloOk{}})
		require.Len(t, k.sent, 2)
		k.event("final", "answer")
		close(k.lines)
		require.NoError(t, <-k.left)
		require.Equal(t, "answer\n", k.out.String())
	})
}

func TestChatInterrupts(t *testing.T) {
	aborted := func(n int, method string) (string, error) {
		if method == "chat.abort" {
			return `{"ok":true,"aborted":true,"runIds":["r"]}`, nil
		}
		return started, nil
	}
	t.Run("the first ends the answer, the next at the prompt leaves", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := startTalk(t, true, aborted)
			k.say("count")
			key := k.run.show.runID
			k.event("delta", "one")
			k.signals <- os.Interrupt
			synctest.Wait()
			require.Equal(t, []string{"chat.send " + key, "chat.abort " + key}, k.sent)
			k.event("aborted", "one two")
			require.Nil(t, k.run)
			require.Equal(t, "one two\n", k.out.String())
			require.Contains(t, k.err.String(), "(aborted)")
			k.signals <- os.Interrupt
			require.NoError(t, <-k.left)
		})
	})
	t.Run("a second one leaves at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := startTalk(t, true, aborted)
			k.say("count")
			k.signals <- os.Interrupt
			synctest.Wait()
			k.signals <- os.Interrupt
			require.ErrorIs(t, <-k.left, errInterrupted)
		})
	})
	t.Run("a run that cannot be aborted any more is not waited for", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := startTalk(t, true, func(_ int, method string) (string, error) {
				if method == "chat.abort" {
					return `{"ok":true,"aborted":false,"runIds":[]}`, nil
				}
				return started, nil
			})
			k.say("count")
			k.signals <- os.Interrupt
			synctest.Wait()
			require.Nil(t, k.run)
			close(k.lines)
			require.NoError(t, <-k.left)
		})
	})
}

func TestChatLinesWhileAnAnswerIsComing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := startTalk(t, true, func(_ int, method string) (string, error) {
			if method == "chat.abort" {
				return `{"ok":true,"aborted":true,"runIds":["r"]}`, nil
			}
			return started, nil
		})
		k.say("first")
		k.say("second")
		require.Len(t, k.sent, 1, "a message waits for its turn")
		k.event("final", "one")
		require.Len(t, k.sent, 2)
		k.say("/stop")
		require.Equal(t, "chat.abort "+k.run.show.runID, k.sent[2])
		k.event("aborted", "")
		k.say("/quit")
		require.NoError(t, <-k.left)
	})
}

// Through a pipe the next line stays in the pipe, and a failure is the exit code
// of the whole command.
func TestChatThroughAPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := startTalk(t, false, func(n int, _ string) (string, error) {
			if n == 1 {
				return "", wire.Errorf("INVALID_REQUEST", "send blocked by session policy")
			}
			return started, nil
		})
		k.say("first")
		require.Equal(t, "coderclaw: send blocked by session policy\n", k.err.String())
		k.say("second")
		select {
		case k.lines <- "third":
			t.Fatal("a line was read while an answer was coming")
		default:
		}
		k.event("error", "")
		close(k.lines)
		require.ErrorIs(t, <-k.left, errTold)
	})
}

// A short answer's last event may come before the response to chat.send. Leaving
// then does not wait for somebody to take that response.
func TestChatLeavesBeforeTheResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		respond := make(chan struct{})
		k := startTalk(t, false, func(int, string) (string, error) {
			<-respond
			return started, nil
		})
		k.say("hi")
		k.event("final", "quick")
		close(k.lines)
		synctest.Wait()
		close(respond)
		require.NoError(t, <-k.left)
		require.Equal(t, "quick\n", k.out.String())
	})
}

// An event of another run, another client's say, is not ours to print.
func TestChatIgnoresOtherRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := startTalk(t, false, func(int, string) (string, error) { return started, nil })
		k.say("hi")
		k.tell(notice{event: &client.Event{Name: "chat", Payload: []byte(`{"runId":"other","sessionKey":"x","seq":1,"state":"final","message":{"role":"assistant","content":[{"type":"text","text":"not ours"}]}}`)}})
		require.NotNil(t, k.run)
		k.event("final", "ours")
		close(k.lines)
		require.NoError(t, <-k.left)
		require.Equal(t, "ours\n", k.out.String())
	})
}
