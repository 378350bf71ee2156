// Package wire is the runtime that the generated protocol stands on: what a
// method and an event are, who the peer is that asks, how a handler is bound to
// its descriptor, and how raw JSON is decoded, validated and encoded.
//
// It knows no method, no event and no error code of the protocol by name: those
// are generated from schema/ into gen/protocol, which imports this package and
// nothing else of ours. It opens no socket and keeps no state.
//
// Values are decoded in one pass from the bytes of a frame. A decoded string may
// alias these bytes, so a caller hands over a buffer that is never written again.
package wire

import "context"

// MethodInfo is what the schema's x-methods entry says of one method.
type MethodInfo struct {
	// Name is the wire name, such as "chat.send".
	Name string
	// Domain is the schema file that declares the method, such as "chat".
	Domain string
	// Role is the role a peer needs: "operator", "node" or "any".
	Role string
	// Scope is the operator scope a peer needs; empty means none.
	Scope string
	// Idempotency is "required" when params carry an idempotencyKey, else "".
	Idempotency string
	// Replay says who answers a repeated key: "handler" or "".
	Replay string
	// Staged reports whether the method answers twice (an ack, then a result).
	Staged bool
	// Listed reports whether hello-ok.features.methods names the method.
	Listed bool
	// Since is the protocol version that introduced the method.
	Since string
	// Doc is the schema's one-line description.
	Doc string
}

// EventInfo is what the schema's x-events entry says of one event.
type EventInfo struct {
	// Name is the wire name, such as "chat".
	Name string
	// Domain is the schema file that declares the event.
	Domain string
	// Audience lists who may receive it: "all", "node", or an operator scope.
	Audience []string
	// StateVersion reports whether the frame carries stateVersion.
	StateVersion bool
	// Droppable is "never", "always" or "delta" (only frames marked as a delta).
	Droppable string
	// Since is the protocol version that introduced the event.
	Since string
	// Doc is the schema's one-line description.
	Doc string
}

// Method describes a method that answers once. P and R are generated types.
type Method[P, R any] struct {
	MethodInfo
	Params Codec[P]
	Result Codec[R]
}

// StagedMethod describes a method that answers twice with the same id: an ack
// of type A as soon as the request is accepted, then a result of type R.
type StagedMethod[P, A, R any] struct {
	MethodInfo
	Params Codec[P]
	Ack    Codec[A]
	Result Codec[R]
}

// Event describes an event whose payload is T.
type Event[T any] struct {
	EventInfo
	Payload Codec[T]
}

// Codec converts between a generated type and its JSON. All functions are safe
// for concurrent use.
type Codec[T any] struct {
	// Decode reads a value as a server reads a request: closed objects refuse
	// unknown members. The error is a ValidationErrors that tells every fault
	// in ajv's words and order, or a *SyntaxError.
	Decode func(raw []byte) (T, error)
	// DecodeOpen reads a value as a client reads a result: unknown members are
	// dropped and unknown enum values kept.
	DecodeOpen func(raw []byte) (T, error)
	// Append appends the JSON of v to b and returns the extended slice.
	Append func(b []byte, v T) []byte
}

// Ack sends the first of a staged method's two responses. It must be called at
// most once, before the handler returns.
type Ack func(payload []byte) error

// Handler is a method bound to its service: raw params in, encoded result out.
// An error that is a ValidationErrors or *SyntaxError speaks of the params; a
// *Error goes to the client as it is; any other error stays in the log.
type Handler func(ctx context.Context, peer *Peer, params []byte, ack Ack) ([]byte, error)

// Registry collects bound methods. The gateway's router is one.
type Registry interface {
	// Register adds a method. A name registered twice is a programmer's mistake
	// and panics.
	Register(info MethodInfo, handler Handler)
}

// Handle binds fn to m in r: generated validation and decoding, the call, then
// one encoding of the result.
func Handle[P, R any](r Registry, m Method[P, R], fn func(context.Context, *Peer, P) (R, error)) {
	r.Register(m.MethodInfo, func(ctx context.Context, peer *Peer, raw []byte, _ Ack) ([]byte, error) {
		params, err := m.Params.Decode(raw)
		if err != nil {
			return nil, err
		}
		result, err := fn(ctx, peer, params)
		if err != nil {
			return nil, err
		}
		return m.Result.Append(nil, result), nil
	})
}

// HandleStaged binds fn to a method that answers twice. fn calls ack when it has
// accepted the request; a replayed request may return its result without an ack.
func HandleStaged[P, A, R any](r Registry, m StagedMethod[P, A, R], fn func(ctx context.Context, peer *Peer, params P, ack func(A) error) (R, error)) {
	r.Register(m.MethodInfo, func(ctx context.Context, peer *Peer, raw []byte, send Ack) ([]byte, error) {
		params, err := m.Params.Decode(raw)
		if err != nil {
			return nil, err
		}
		result, err := fn(ctx, peer, params, func(a A) error { return send(m.Ack.Append(nil, a)) })
		if err != nil {
			return nil, err
		}
		return m.Result.Append(nil, result), nil
	})
}

// Emission is one event on its way to the hub, encoded once.
type Emission struct {
	Info    EventInfo
	Payload []byte
	// Delta marks a frame that a droppable:"delta" event may lose.
	Delta bool
	// To names the connections that receive a targeted event. nil means the
	// whole audience. Only events for a whole audience carry seq.
	To []string
}

// Emitter takes events for delivery. Emit never blocks on a slow peer and may be
// called from any goroutine; emissions of one goroutine keep their order.
type Emitter interface {
	Emit(e Emission)
}

// Emit sends payload to everybody in the event's audience.
func Emit[T any](to Emitter, e Event[T], payload T) {
	to.Emit(Emission{Info: e.EventInfo, Payload: e.Payload.Append(nil, payload)})
}

// EmitDelta is Emit for a frame that may be dropped when its reader is slow.
func EmitDelta[T any](to Emitter, e Event[T], payload T) {
	to.Emit(Emission{Info: e.EventInfo, Payload: e.Payload.Append(nil, payload), Delta: true})
}

// EmitTo sends payload to the named connections only, without seq.
func EmitTo[T any](to Emitter, e Event[T], connIDs []string, payload T) {
	to.Emit(Emission{Info: e.EventInfo, Payload: e.Payload.Append(nil, payload), To: connIDs})
}

// Caller performs requests for the generated client.
type Caller interface {
	// Call sends one request and returns the payload of its last response. When
	// ack is not nil it receives the payload of a staged method's first response.
	// An error response is returned as *Error.
	Call(ctx context.Context, method string, params []byte, ack func(payload []byte)) ([]byte, error)
}

// Call performs m with typed params and result.
func Call[P, R any](ctx context.Context, c Caller, m Method[P, R], params P) (R, error) {
	var zero R
	raw, err := c.Call(ctx, m.Name, m.Params.Append(nil, params), nil)
	if err != nil {
		return zero, err
	}
	return m.Result.DecodeOpen(raw)
}

// CallStaged performs m and hands its ack to onAck (which may be nil) before it
// returns the result.
func CallStaged[P, A, R any](ctx context.Context, c Caller, m StagedMethod[P, A, R], params P, onAck func(A)) (R, error) {
	var zero R
	var ackErr error
	raw, err := c.Call(ctx, m.Name, m.Params.Append(nil, params), func(payload []byte) {
		if onAck == nil {
			return
		}
		a, err := m.Ack.DecodeOpen(payload)
		if err != nil {
			ackErr = err
			return
		}
		onAck(a)
	})
	if err != nil {
		return zero, err
	}
	if ackErr != nil {
		return zero, ackErr
	}
	return m.Result.DecodeOpen(raw)
}
