package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/coderclaw/gateway/gen/protocol"
)

// frame is one message, with the members of all three kinds.
type frame struct {
	Type         string          `json:"type"`
	ID           json.RawMessage `json:"id"`
	Method       string          `json:"method"`
	Params       json.RawMessage `json:"params"`
	OK           bool            `json:"ok"`
	Event        string          `json:"event"`
	Payload      json.RawMessage `json:"payload"`
	Error        *fault          `json:"error"`
	Seq          *int64          `json:"seq"`
	StateVersion *stateVersion   `json:"stateVersion"`

	// raw is the whole message, run what an event tells of its run.
	raw []byte
	run run
}

// notAFrame is the Type of a message that is no JSON object of these members.
const notAFrame = "not a frame"

// readFrame reads a message. What is no frame gets the type notAFrame.
func readFrame(raw []byte) frame {
	var f frame
	if json.Unmarshal(raw, &f) != nil {
		f = frame{Type: notAFrame}
	}
	f.raw = raw
	if f.Type == "event" && json.Unmarshal(f.Payload, &f.run) != nil {
		f.run = run{}
	}
	return f
}

// run is what an event tells of the run it belongs to; nothing when it belongs to
// none.
type run struct {
	RunID  string                 `json:"runId"`
	Stream string                 `json:"stream"`
	State  string                 `json:"state"`
	Seq    int64                  `json:"seq"`
	Data   struct{ Phase string } `json:"data"`
}

// stateVersion is an event's stateVersion.
type stateVersion struct {
	Presence int64 `json:"presence"`
	Health   int64 `json:"health"`
}

// fault is a response's error.
type fault struct {
	Code         string          `json:"code"`
	Message      string          `json:"message"`
	Details      json.RawMessage `json:"details,omitempty"`
	Retryable    *bool           `json:"retryable,omitempty"`
	RetryAfterMs *int64          `json:"retryAfterMs,omitempty"`
}

// closing is how a connection ended.
type closing struct {
	Code   int    `json:"code"`
	Reason string `json:"reason"`
	By     string `json:"by"`
}

// conn is one connection that keeps everything the other side said. Its reader
// runs until the connection ends; close waits for it.
type conn struct {
	ws       *websocket.Conn
	patience time.Duration
	stop     context.CancelFunc
	done     chan struct{}
	// told, if set, is called after each change.
	told func()

	// mu guards the fields below. news is closed and replaced at each change; gate,
	// while it is not nil, keeps the reader from taking the next message.
	mu     sync.Mutex
	frames []frame
	ended  *closing
	news   chan struct{}
	gate   chan struct{}
	sent   []json.RawMessage
}

// dial opens a connection. header may hold Host, which replaces the one of url.
func dial(ctx context.Context, target Target, url string, header http.Header) (*conn, error) {
	opts := &websocket.DialOptions{HTTPClient: target.HTTPClient, HTTPHeader: header, Host: header.Get("Host")}
	ws, resp, err := websocket.Dial(ctx, url, opts)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", url, err)
	}
	if resp != nil && resp.Body != nil {
		resp.Body.Close()
	}
	return attend(ctx, ws, target.patience(), nil), nil
}

// attend keeps what is said on an open connection. told, if not nil, is called
// after each message and at the end.
func attend(ctx context.Context, ws *websocket.Conn, patience time.Duration, told func()) *conn {
	ws.SetReadLimit(-1)
	readCtx, stop := context.WithCancel(ctx)
	c := &conn{ws: ws, patience: patience, stop: stop, told: told, done: make(chan struct{}), news: make(chan struct{})}
	go c.read(readCtx)
	return c
}

// read keeps each frame until the connection ends.
func (c *conn) read(ctx context.Context) {
	defer close(c.done)
	for {
		c.mu.Lock()
		gate := c.gate
		c.mu.Unlock()
		if gate != nil {
			select {
			case <-gate:
			case <-ctx.Done():
			}
		}
		_, raw, err := c.ws.Read(ctx)
		c.mu.Lock()
		if err != nil {
			c.ended = &closing{Code: 1006, Reason: err.Error()}
			var closed websocket.CloseError
			if errors.As(err, &closed) {
				c.ended = &closing{Code: int(closed.Code), Reason: closed.Reason}
			}
		} else {
			c.frames = append(c.frames, readFrame(raw))
		}
		close(c.news)
		c.news = make(chan struct{})
		c.mu.Unlock()
		if c.told != nil {
			c.told()
		}
		if err != nil {
			return
		}
	}
}

// pause keeps the reader from taking more than the message it is about to take,
// until resume.
func (c *conn) pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gate == nil {
		c.gate = make(chan struct{})
	}
}

func (c *conn) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gate != nil {
		close(c.gate)
		c.gate = nil
	}
}

// send writes one text message. id is that of a request, nil when it is none.
func (c *conn) send(ctx context.Context, id json.RawMessage, raw []byte) error {
	if id != nil {
		c.mu.Lock()
		c.sent = append(c.sent, id)
		c.mu.Unlock()
	}
	return c.ws.Write(ctx, websocket.MessageText, raw)
}

// fenceMethod is a method that no gateway has.
const fenceMethod = "conformance.fence"

// fence asks for a method that does not exist and waits for the refusal: what the
// gateway said before is here then. The reader must not be paused.
func (c *conn) fence(ctx context.Context) error {
	id := encode("fence-" + newUUID()) // a recording may hold fences of its own
	if err := c.send(ctx, id, encode(map[string]any{"type": "req", "id": id, "method": fenceMethod})); err != nil {
		return fmt.Errorf("the connection does not last: %w", err)
	}
	_, _, err := c.response(ctx, id, 0)
	return err
}

// over returns how the connection ended, or nil.
func (c *conn) over() *closing {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// asked returns the ids of the requests that were sent.
func (c *conn) asked() []json.RawMessage {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sent
}

// await returns the first frame at or after from that matches, and its position.
// It waits for the target's patience and fails at once when the connection ends.
func (c *conn) await(ctx context.Context, what string, from int, match func(frame) bool) (frame, int, error) {
	timer := time.NewTimer(c.patience)
	defer timer.Stop()
	for {
		c.mu.Lock()
		frames, ended, news := c.frames, c.ended, c.news
		c.mu.Unlock()
		for ; from < len(frames); from++ {
			if match(frames[from]) {
				return frames[from], from, nil
			}
		}
		if ended != nil {
			return frame{}, 0, fmt.Errorf("no %s: the connection ended with %d %q", what, ended.Code, ended.Reason)
		}
		select {
		case <-news:
		case <-timer.C:
			return frame{}, 0, fmt.Errorf("no %s within %s", what, c.patience)
		case <-ctx.Done():
			return frame{}, 0, fmt.Errorf("no %s: %w", what, ctx.Err())
		}
	}
}

// challenge awaits the first frame of a gateway.
func (c *conn) challenge(ctx context.Context) (challenge, error) {
	name := protocol.EventConnectChallenge.Name
	f, _, err := c.await(ctx, name, 0, func(f frame) bool { return f.Event == name })
	if err != nil {
		return challenge{}, err
	}
	var live challenge
	if err := json.Unmarshal(f.Payload, &live); err != nil {
		return challenge{}, fmt.Errorf("%s: %w", name, err)
	}
	return live, nil
}

// response awaits the nth response (from 0) with this id.
func (c *conn) response(ctx context.Context, id json.RawMessage, n int) (frame, int, error) {
	seen := 0
	what := fmt.Sprintf("response %d to %s", n+1, id)
	return c.await(ctx, what, 0, func(f frame) bool {
		if f.Type != "res" || !sameJSON(f.ID, id) {
			return false
		}
		seen++
		return seen > n
	})
}

// closedBy awaits the end of the connection, a little longer than a handshake may take.
func (c *conn) closedBy(ctx context.Context) (closing, error) {
	timer := time.NewTimer(c.patience + 5*time.Second)
	defer timer.Stop()
	select {
	case <-c.done:
		c.mu.Lock()
		defer c.mu.Unlock()
		return *c.ended, nil
	case <-timer.C:
		return closing{}, errors.New("the connection stays open")
	case <-ctx.Done():
		return closing{}, ctx.Err()
	}
}

// received returns what has come so far.
func (c *conn) received() []frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frames
}

// close ends the connection and waits for its reader.
func (c *conn) close() {
	c.resume()
	_ = c.ws.Close(websocket.StatusNormalClosure, "")
	c.stop()
	<-c.done
}

func sameJSON(a, b json.RawMessage) bool { return string(a) == string(b) }
