package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/wire"
)

// askTimeout is how long a command that asks one thing waits.
const askTimeout = 30 * time.Second

// ask connects, runs fn under the command's timeout and disconnects.
func (a *App) ask(c *cli.Context, fn func(ctx context.Context, conn *client.Conn) error) error {
	if err := noArgs(c); err != nil {
		return err
	}
	return a.connected(c, fn)
}

// connected is ask for a command that takes arguments.
func (a *App) connected(c *cli.Context, fn func(ctx context.Context, conn *client.Conn) error) error {
	limit, err := timeout(c, askTimeout)
	if err != nil {
		return err
	}
	ctx, cancel := within(c.Context, limit)
	defer cancel()
	conn, _, err := a.dial(ctx, c, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	return fn(ctx, conn)
}

// within bounds ctx; 0 is no bound.
func within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, limit)
}

func noArgs(c *cli.Context) error {
	if c.NArg() > 0 {
		return usagef("%s takes no argument, got %q; see: coderclaw %s --help", c.Command.Name, c.Args().First(), c.Command.Name)
	}
	return nil
}

// fetch performs a method and returns its result both decoded and as it came.
func fetch[P, R any](ctx context.Context, to wire.Caller, m wire.Method[P, R], params P) (R, []byte, error) {
	var none R
	raw, err := to.Call(ctx, m.Name, m.Params.Append(nil, params), nil)
	if err != nil {
		return none, nil, err
	}
	result, err := m.Result.DecodeOpen(raw)
	if err != nil {
		return none, raw, fmt.Errorf("read the answer to %s: %w", m.Name, err)
	}
	return result, raw, nil
}

// keep runs body beside a connection that comes back when it is lost. A first
// connection that fails ends the command; later losses are only noted. The end of
// ctx, which is the user's wish, ends the command in good order.
func (a *App) keep(ctx context.Context, c *cli.Context, change func(*client.Options), body func(ctx context.Context, gateway *client.Client) error) error {
	t, err := a.target(c)
	if err != nil {
		return err
	}
	o, err := a.options(c, t)
	if err != nil {
		return err
	}
	change(&o)
	if err := a.introduce(ctx, o, t); err != nil {
		return err
	}
	wished := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	var connected atomic.Bool
	onHello := o.OnHello
	o.OnHello = func(hello protocol.HelloOk) {
		if connected.Swap(true) {
			a.out.note("connected again")
		}
		if onHello != nil {
			onHello(hello)
		}
	}
	o.OnDown = func(err error, wait time.Duration) {
		if !connected.Load() {
			cancel(t.wrap(err))
			return
		}
		a.out.note("connection lost: %s; next try in %s", t.loss(err), wait.Round(time.Second/10))
	}
	gateway, err := client.New(o)
	if err != nil {
		return t.wrap(err)
	}
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		cancel(t.wrap(gateway.Run(ctx)))
	}()
	err = body(ctx, gateway)
	cancel(err)
	<-ran
	return outcome(ctx, wished, err)
}

// loss words why a connection ended or does not come back. One that breaks off has no
// words of its own.
func (t target) loss(err error) string {
	if closed, ok := err.(*client.CloseError); ok && closed.Code == closeAbnormal { //nolint:errorlint // a handshake wraps it
		return "the gateway hung up without a word"
	}
	return describe(t.wrap(err)).Message
}

// closeAbnormal is the code of a connection that ended without a close frame.
const closeAbnormal = 1006

// untilInterrupt is keep for a command that Ctrl-C ends.
func (a *App) untilInterrupt(c *cli.Context, change func(*client.Options), body func(ctx context.Context, gateway *client.Client) error) error {
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt)
	defer stop()
	return a.keep(ctx, c, change, body)
}

// outcome picks what a command that was cut short has to tell: what ended its
// context, unless that was the user.
func outcome(ctx, wished context.Context, err error) error {
	if err == nil || !errors.Is(err, context.Canceled) {
		return err
	}
	if wished.Err() != nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}
