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
)

// frame is one message from the gateway, with the members of all three kinds.
type frame struct {
	Type    string          `json:"type"`
	ID      json.RawMessage `json:"id"`
	OK      bool            `json:"ok"`
	Event   string          `json:"event"`
	Payload json.RawMessage `json:"payload"`
	Error   *fault          `json:"error"`
	Seq     *int64          `json:"seq"`
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

// conn is one connection that keeps everything the gateway said. Its reader runs
// until the connection ends; close waits for it.
type conn struct {
	ws       *websocket.Conn
	patience time.Duration
	stop     context.CancelFunc
	done     chan struct{}

	// mu guards the fields below. news is closed and replaced at each change.
	mu     sync.Mutex
	frames []frame
	ended  *closing
	news   chan struct{}
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
	ws.SetReadLimit(-1)
	readCtx, stop := context.WithCancel(ctx)
	c := &conn{ws: ws, patience: target.patience(), stop: stop, done: make(chan struct{}), news: make(chan struct{})}
	go c.read(readCtx)
	return c, nil
}

// read keeps each frame until the connection ends.
func (c *conn) read(ctx context.Context) {
	defer close(c.done)
	for {
		_, raw, err := c.ws.Read(ctx)
		c.mu.Lock()
		if err != nil {
			c.ended = &closing{Code: 1006, Reason: err.Error()}
			var closed websocket.CloseError
			if errors.As(err, &closed) {
				c.ended = &closing{Code: int(closed.Code), Reason: closed.Reason}
			}
		} else {
			var f frame
			if json.Unmarshal(raw, &f) != nil {
				f = frame{Type: "no frame", Payload: raw}
			}
			c.frames = append(c.frames, f)
		}
		close(c.news)
		c.news = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// send writes one text message.
func (c *conn) send(ctx context.Context, raw []byte) error {
	return c.ws.Write(ctx, websocket.MessageText, raw)
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
	_ = c.ws.Close(websocket.StatusNormalClosure, "")
	c.stop()
	<-c.done
}

func sameJSON(a, b json.RawMessage) bool { return string(a) == string(b) }
