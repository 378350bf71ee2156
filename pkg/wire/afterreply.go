package wire

import (
	"context"
	"sync"
)

// afterReplyKey is the context key of a request's *afterReply.
type afterReplyKey struct{}

// afterReply collects what waits for a response to be on its way.
type afterReply struct {
	mu   sync.Mutex // guards the fields below
	fns  []func()
	done bool
}

// WithAfterReply returns a context for one request, and the function that the
// gateway calls when the request's last response has been queued on its
// connection, or will never be. It must be called, and only its first call counts.
func WithAfterReply(ctx context.Context) (context.Context, func()) {
	a := &afterReply{}
	return context.WithValue(ctx, afterReplyKey{}, a), a.finish
}

// finish runs what has been waiting, in the order it came.
func (a *afterReply) finish() {
	a.mu.Lock()
	fns := a.fns
	a.fns, a.done = nil, true
	a.mu.Unlock()
	for _, fn := range fns {
		fn()
	}
}

// AfterReply calls fn once the response to the request of ctx is on its way, so
// that events which fn lets loose follow the response. Without a request in ctx,
// or after its response, fn is called at once. fn must not block.
func AfterReply(ctx context.Context, fn func()) {
	a, ok := ctx.Value(afterReplyKey{}).(*afterReply)
	if !ok {
		fn()
		return
	}
	a.mu.Lock()
	if !a.done {
		a.fns = append(a.fns, fn)
		fn = nil
	}
	a.mu.Unlock()
	if fn != nil {
		fn()
	}
}
