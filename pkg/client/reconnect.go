package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
)

// Waits between two tries to connect: doubled from the first to the last, each
// with up to a fifth more or less, so that many clients of a gateway that
// restarted do not come back at once.
const (
	retryFirst  = time.Second
	retryLast   = 30 * time.Second
	retryJitter = 0.2
)

// Client keeps one connection to a gateway alive. It implements wire.Caller.
type Client struct {
	o    Options
	addr Address

	mu      sync.Mutex
	conn    *Conn         // guarded by mu; nil while there is none
	stopped error         // guarded by mu; set when Run has returned
	changed chan struct{} // guarded by mu; closed and replaced with every change
}

// New checks the options and connects nothing.
func New(o Options) (*Client, error) {
	addr, err := o.check()
	if err != nil {
		return nil, err
	}
	return &Client{o: o, addr: addr, changed: make(chan struct{})}, nil
}

// Run connects, and connects again whenever the connection is lost, until ctx
// ends or the gateway refuses for good (RefusedError.Final). It returns ctx's
// error or the refusal and must be called once. When it returns, the connection
// is closed and no callback runs any more.
//
// A shared secret that was right and is no longer is no refusal for good, if the
// gateway has issued a device token to this device: Run goes on with that.
func (c *Client) Run(ctx context.Context) error {
	var last *Conn
	o := &c.o
	defer func() {
		if last != nil {
			_ = last.Close()
		}
	}()
	for tries := 0; ; tries++ {
		conn, err := dial(ctx, c.addr, o, last)
		if err == nil {
			tries, last = 0, conn
			c.set(conn, nil)
			select {
			case <-conn.Done():
				err = conn.Err()
				c.set(nil, nil)
				conn.drop()
			case <-ctx.Done():
			}
		}
		var refused *RefusedError
		if next, ok := withoutSecret(o, last, err); ok {
			o = next
		} else if errors.As(err, &refused) && refused.Final() {
			c.set(nil, err)
			return err
		}
		wait := backoff(tries)
		if c.o.OnDown != nil && ctx.Err() == nil {
			c.o.OnDown(err, wait)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			// Before the last connection is closed, which waits for callbacks:
			// one of them may be waiting for a connection in Call.
			c.set(nil, ctx.Err())
			return ctx.Err()
		}
	}
}

// refusedSecret is what the refusal of a shared secret begins with, in the words of
// every gateway of protocol 3 (spec 4).
const refusedSecret = "unauthorized"

// withoutSecret returns the options to go on with when err says that the shared
// secret by which last was connected is no longer the gateway's: the device token that
// came with the connection counts from now on.
func withoutSecret(o *Options, last *Conn, err error) (*Options, bool) {
	if last == nil || o.Identity == nil || o.Tokens == nil || o.Token == "" && o.Password == "" {
		return nil, false
	}
	var closed *CloseError
	var refused *RefusedError
	changed := errors.As(err, &closed) && closed.Reason == protocol.CloseGatewaySecretChanged ||
		errors.As(err, &refused) && strings.HasPrefix(refused.Err.Message, refusedSecret)
	auth, ok := last.hello.Auth.Get()
	if !changed || !ok || auth.DeviceToken == "" {
		return nil, false
	}
	next := *o
	next.Token, next.Password, next.issued = "", "", auth.DeviceToken
	return &next, true
}

// backoff returns the wait after the given number of failures in a row.
func backoff(tries int) time.Duration {
	wait := retryLast
	if tries < 5 {
		wait = min(retryFirst<<tries, retryLast)
	}
	return time.Duration(float64(wait) * (1 + retryJitter*(2*rand.Float64()-1)))
}

func (c *Client) set(conn *Conn, stopped error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn, c.stopped = conn, stopped
	close(c.changed)
	c.changed = make(chan struct{})
}

// Call waits for a connection and performs one request on it. A connection that
// is lost meanwhile is a *CloseError: the request is not sent again.
func (c *Client) Call(ctx context.Context, method string, params []byte, ack func(payload []byte)) ([]byte, error) {
	conn, err := c.wait(ctx)
	if err != nil {
		return nil, err
	}
	return conn.Call(ctx, method, params, ack)
}

// wait returns the live connection, waiting for one if need be.
func (c *Client) wait(ctx context.Context) (*Conn, error) {
	for {
		c.mu.Lock()
		conn, stopped, changed := c.conn, c.stopped, c.changed
		c.mu.Unlock()
		switch {
		case stopped != nil:
			return nil, stopped
		case conn != nil:
			return conn, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
