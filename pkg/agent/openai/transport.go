package openai

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"time"
)

// errSilent is why doer gives up on a service. It is a cause of a context, so it
// tells the service's silence from the end of the caller's context.
var errSilent = errors.New("the model service fell silent")

// errTooLong ends an answer that exceeds the limit in bytes.
var errTooLong = errors.New("the model service's answer is too long")

// newTransport returns the transport for one service. The environment's proxy
// settings hold for services elsewhere, never for one on this machine.
func newTransport(cfg Config, base *url.URL) *http.Transport {
	dial := cfg.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: cfg.DialTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
	t := &http.Transport{
		DialContext:         dial,
		TLSHandshakeTimeout: cfg.DialTimeout,
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     90 * time.Second,
		ForceAttemptHTTP2:   true,
	}
	if !isLoopback(base.Hostname()) {
		t.Proxy = http.ProxyFromEnvironment
	}
	return t
}

// refuseRedirect ends a request that the service sends elsewhere; key is the setting to
// change.
func refuseRedirect(key string) func(*http.Request, []*http.Request) error {
	return func(req *http.Request, _ []*http.Request) error {
		return fmt.Errorf("it redirects to %s://%s; set %s to the final address", req.URL.Scheme, req.URL.Host, key)
	}
}

// doer performs requests for the API client and bounds each in silence and in
// bytes. It also cleans event streams: see eventBody.
type doer struct {
	client          *http.Client
	firstByte, idle time.Duration
	bytesMax        int64
}

// Do sends req. Closing the body ends the request.
func (d *doer) Do(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	body := &boundedBody{
		ctx: ctx, cancel: cancel, idle: d.idle, left: d.bytesMax,
		timer: time.AfterFunc(d.firstByte, func() {
			cancel(fmt.Errorf("%w: no answer within %s", errSilent, d.firstByte))
		}),
	}
	resp, err := d.client.Do(req.WithContext(ctx))
	if err != nil {
		body.stop()
		return nil, body.cause(err)
	}
	body.raw = resp.Body
	resp.Body = body
	if resp.StatusCode < 200 || resp.StatusCode >= 300 {
		body.left = errorBytesMax
		body.cutQuietly = true // the first 64 KiB of an error page tell enough
		return resp, nil
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")) // not all services say text/event-stream
	if req.Header.Get("Accept") == "text/event-stream" && kind != "application/json" {
		resp.Body = &eventBody{lines: bufio.NewReader(body), body: body}
	}
	return resp, nil
}

// boundedBody ends the request when nothing arrives for idle, and fails when
// more than left bytes have come. It has one reader.
type boundedBody struct {
	raw        io.ReadCloser
	ctx        context.Context // the request's own; its cause tells why it ended
	cancel     context.CancelCauseFunc
	timer      *time.Timer
	idle       time.Duration
	left       int64
	cutQuietly bool
	started    bool
}

// Read keeps the timer running only while it waits for the service, so that a
// slow reader of the answer is not taken for a silent service. Until the first
// byte the longer limit goes on.
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		if b.cutQuietly {
			return 0, io.EOF
		}
		return 0, errTooLong
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	if b.started {
		b.timer.Reset(b.idle)
	}
	n, err := b.raw.Read(p)
	if n > 0 && !b.started {
		b.started = true
		b.timer.Stop()
		b.timer = time.AfterFunc(b.idle, func() {
			b.cancel(fmt.Errorf("%w: nothing came for %s in mid-answer", errSilent, b.idle))
		})
	}
	if b.started {
		b.timer.Stop()
	}
	b.left -= int64(n)
	if err != nil && err != io.EOF {
		err = b.cause(err)
	}
	return n, err
}

func (b *boundedBody) Close() error {
	err := b.raw.Close()
	b.stop()
	return err
}

func (b *boundedBody) stop() {
	b.timer.Stop()
	b.cancel(nil)
}

// cause returns why the request was ended from this side, else err.
func (b *boundedBody) cause(err error) error {
	if cause := context.Cause(b.ctx); errors.Is(cause, errSilent) {
		return cause
	}
	return err
}

// eventBody passes only what the API client can read of an event stream. The
// client counts comments and other fields as faults and loses an error that
// follows one, and it takes a broken connection for the end; so this reader
// drops the former, returns a *statusError for an error event, and returns
// io.ErrUnexpectedEOF for a stream of events that ends without [DONE].
type eventBody struct {
	lines   *bufio.Reader
	body    *boundedBody
	pending []byte
	begun   bool
	done    bool
	err     error
}

func (e *eventBody) Read(p []byte) (int, error) {
	for len(e.pending) == 0 {
		if e.err != nil {
			return 0, e.err
		}
		line, err := e.lines.ReadBytes('\n')
		e.err = err
		if err == nil || err == io.EOF { // else the line is torn
			e.take(bytes.TrimSpace(line))
		}
		if e.err == io.EOF && e.begun && !e.done {
			e.err = io.ErrUnexpectedEOF
		}
	}
	n := copy(p, e.pending)
	e.pending = e.pending[n:]
	return n, nil
}

// take keeps a data line for the client.
func (e *eventBody) take(line []byte) {
	data, ok := bytes.CutPrefix(line, []byte("data:"))
	if !ok {
		return
	}
	data = bytes.TrimSpace(data)
	switch {
	case len(data) == 0:
		return
	case string(data) == "[DONE]":
		e.done = true
	case bytes.HasPrefix(data, []byte(`{"error"`)):
		e.err = &statusError{message: messageOf(data)}
		return
	}
	e.begun = true
	e.pending = append(append([]byte("data: "), data...), '\n')
}

func (e *eventBody) Close() error { return e.body.Close() }
