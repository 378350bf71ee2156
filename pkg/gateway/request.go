package gateway

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

// method is a registered method.
type method struct {
	info    wire.MethodInfo
	handler wire.Handler
}

// handle takes one message after hello-ok. What can be refused at once is
// answered here; the rest runs on a goroutine of its own, so that requests of a
// connection overtake each other.
func (c *conn) handle(message []byte) {
	frame, err := protocol.DecodeRequestFrame(message)
	if err != nil {
		c.refuseFrame(message, err)
		return
	}
	id := rawID(frame.ID)
	switch {
	case len(frame.ID) > requestIDBytes:
		c.answer(unknownID, invalidFrame(tooLong("id", requestIDBytes)))
		return
	case len(frame.Method) > methodNameBytes:
		c.answer(id, invalidFrame(tooLong("method", methodNameBytes)))
		return
	case frame.Method == connectMethod:
		c.answer(id, refusal(protocol.DetailAlreadyConnected, connectMethod+" is only valid as the first request"))
		return
	}
	m, refused := c.g.route(c.peer, frame.Method)
	if refused != nil {
		c.answer(id, refused)
		return
	}
	if frame.Params == nil || string(frame.Params) == "null" {
		frame.Params = wire.Raw("{}")
	}
	size := int64(len(message))
	if !c.inflight.acquire(c.ctx, size, c.g.limits) {
		c.g.metrics.requests.add(m.info.Name, protocol.DetailTooManyRequests)
		c.answer(id, tooManyRequests(c.g.limits.RequestsInFlight))
		return
	}
	c.handlers.Add(1)
	go func() {
		defer c.handlers.Done()
		defer c.inflight.release(size)
		c.call(m, id, frame.Params)
	}()
}

// route finds the method and says whether the peer may call it. That a method
// does not exist is told before anything about roles and scopes.
func (g *Gateway) route(p *wire.Peer, name string) (*method, *wire.Error) {
	m := g.methods[name]
	if m == nil {
		g.metrics.requests.add("", protocol.DetailUnknownMethod)
		return nil, refusal(protocol.DetailUnknownMethod, "unknown method: "+name)
	}
	if m.info.Role != roleAny && m.info.Role != p.Role {
		g.metrics.requests.add(name, protocol.DetailRoleUnauthorized)
		return nil, refusalWith(protocol.ErrorDetails{
			Code: wire.Some(protocol.DetailRoleUnauthorized), Role: wire.Some(p.Role),
		}, "unauthorized role: "+p.Role)
	}
	if !protocol.ScopeAllows(p.Scopes, m.info.Scope) {
		g.metrics.requests.add(name, protocol.DetailMissingScope)
		return nil, refusalWith(protocol.ErrorDetails{
			Code: wire.Some(protocol.DetailMissingScope), Scope: wire.Some(m.info.Scope),
		}, "missing scope: "+m.info.Scope)
	}
	return m, nil
}

// roleAny is the word of wire.MethodInfo.Role for a method that every role may call.
const roleAny = "any"

// outcomeOK is the outcome of a request that succeeded; any other is a code.
const outcomeOK = "ok"

// call runs a handler and sends its last response.
func (c *conn) call(m *method, id wire.Raw, params []byte) {
	start := time.Now()
	ctx, replied := wire.WithAfterReply(c.ctx)
	defer c.settle(m, replied)
	result, err := c.invoke(ctx, m, id, params)
	outcome := outcomeOK
	if err == nil {
		c.out.reply(resultFrame(id, result))
	} else {
		refused := c.refusalFor(m.info.Name, err)
		outcome = refused.Code
		c.out.reply(refusalFrame(id, refused))
	}
	c.g.metrics.requests.add(m.info.Name, outcome)
	c.g.metrics.durations.observe(time.Since(start))
}

// settle runs what a handler left to be done behind its response.
func (c *conn) settle(m *method, replied func()) {
	defer func() {
		if v := recover(); v != nil {
			c.g.unexpected(m.info.Name, c.id, panicked{v, debug.Stack()})
		}
	}()
	replied()
}

// errAckLate answers a handler that acknowledges a second time, or when its
// connection is gone.
var errAckLate = errors.New("the request has been answered or its connection is gone")

// invoke calls the handler. A panic costs this one response.
func (c *conn) invoke(ctx context.Context, m *method, id wire.Raw, params []byte) (result []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicked{v, debug.Stack()}
		}
	}()
	acked := false
	return m.handler(ctx, c.peer, params, func(payload []byte) error {
		if acked || !c.out.reply(resultFrame(id, payload)) {
			return errAckLate
		}
		acked = true
		return nil
	})
}

// panicked is the error of a handler that panicked.
type panicked struct {
	value any
	stack []byte
}

func (p panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// refusalFor turns a handler's error into what the client is told.
func (c *conn) refusalFor(name string, err error) *wire.Error {
	var told *wire.Error
	if errors.As(err, &told) {
		return told
	}
	if isParams(err) {
		return invalidParams(name, err)
	}
	if errors.Is(err, context.Canceled) && c.ctx.Err() != nil {
		return unavailable(protocol.ErrorDetails{Code: wire.Some(protocol.DetailShuttingDown)}, errStopping.Error())
	}
	return c.g.unexpected(name, c.id, err)
}

// isParams reports whether err speaks of the params.
func isParams(err error) bool {
	var invalid wire.ValidationErrors
	var syntax *wire.SyntaxError
	return errors.As(err, &invalid) || errors.As(err, &syntax)
}

// unexpected logs an error that the client must not see and returns what it is
// told instead: an id that finds the line in the log, and whether the disk is to blame.
func (g *Gateway) unexpected(name, connID string, err error) *wire.Error {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	errorID := hex.EncodeToString(b[:])
	attrs := []any{"method", name, "connId", connID, "errorId", errorID, "err", err}
	var p panicked
	if errors.As(err, &p) {
		attrs = append(attrs, "stack", string(p.stack))
	}
	g.config.Log.Error("request failed", attrs...)
	detail := func(code string) protocol.ErrorDetails {
		return protocol.ErrorDetails{Code: wire.Some(code), ErrorID: wire.Some(errorID)}
	}
	switch {
	case errors.Is(err, store.ErrFull), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return unavailable(detail(protocol.DetailStorageFull), "the gateway's disk is full: nothing was stored, id "+errorID)
	case errors.Is(err, store.ErrFailed), errors.Is(err, syscall.EROFS):
		return unavailable(detail(protocol.DetailStorageFailed), "the gateway cannot write to its disk, id "+errorID)
	}
	e := refusalWith(detail(protocol.DetailInternal), "internal error, id "+errorID)
	e.Code = protocol.ErrorUnavailable
	return e
}

// refuseFrame answers a message that is no request. What is not even JSON gets no
// answer and is counted.
func (c *conn) refuseFrame(message []byte, err error) {
	var invalid wire.ValidationErrors
	if errors.As(err, &invalid) {
		c.answer(idOf(message), invalidFrame(err.Error()))
		return
	}
	c.g.floods.warn("message is not json", c.attrs()...)
	if c.garbage.tooMany(time.Now()) {
		c.closeWith(endTooManyInvalid)
	}
}

// answer sends a refusal of the router itself.
func (c *conn) answer(id wire.Raw, e *wire.Error) { c.out.reply(refusalFrame(id, e)) }

// refusal returns INVALID_REQUEST with a finer code.
func refusal(detail, message string) *wire.Error {
	return refusalWith(protocol.ErrorDetails{Code: wire.Some(detail)}, message)
}

func refusalWith(d protocol.ErrorDetails, message string) *wire.Error {
	if step := protocol.DetailNextStep(d.Code.V); step != "" {
		d.RecommendedNextStep = wire.Some(step)
	}
	return &wire.Error{Code: protocol.ErrorInvalidRequest, Message: message, Details: d.AppendJSON(nil)}
}

func invalidParams(name string, err error) *wire.Error {
	return refusal(protocol.DetailInvalidParams, "invalid "+name+" params: "+err.Error())
}

func invalidFrame(text string) *wire.Error {
	return refusal(protocol.DetailInvalidFrame, protocol.CloseInvalidRequestFrame+": "+text)
}

// tooLong is the text of a limit of ours in the words of the schema's validator.
func tooLong(member string, most int) string {
	return fmt.Sprintf("at /%s: must NOT have more than %d characters", member, most)
}

func tooManyRequests(most int) *wire.Error {
	return unavailable(protocol.ErrorDetails{
		Code: wire.Some(protocol.DetailTooManyRequests), Limit: wire.Some(fmt.Sprintf("%d requests in flight", most)),
	}, "too many requests in flight")
}

// unavailable returns UNAVAILABLE for something that may work a little later.
func unavailable(d protocol.ErrorDetails, message string) *wire.Error {
	e := refusalWith(d, message)
	e.Code, e.Retryable = protocol.ErrorUnavailable, new(true)
	return e
}

// listed returns the names of the methods that hello-ok shows, sorted.
func (g *Gateway) listed() []string {
	var names []string
	for name, m := range g.methods {
		if m.info.Listed {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, strings.Compare)
	return names
}

// attrs are the attributes that name the connection in the log.
func (c *conn) attrs(more ...slog.Attr) []slog.Attr {
	return append([]slog.Attr{slog.String("connId", c.id)}, more...)
}
