package daemon

import (
	"context"
	"sync"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/identity"
	"github.com/coderclaw/gateway/pkg/service/device"
	"github.com/coderclaw/gateway/pkg/wire"
)

// hub is what authority needs of the gateway.
type hub interface {
	wire.Emitter
	Sever(match func(*wire.Peer) bool, code int, reason string) int
	Dismiss(match func(*wire.Peer) bool, code int, reason string) int
}

// authority meets identity.Events: it tells operators what was asked and decided,
// and closes the connections whose authority was taken back. A connection that
// takes back its own is answered first.
type authority struct {
	hub hub

	mu sync.Mutex // guards the field below; not held while connections are closed
	// deciding holds, by connection id, the connections that wait for the answer to
	// a decision.
	deciding map[string]*decision
}

// decision is the state of a connection in authority.deciding.
type decision struct {
	requests int  // how many of its requests decide
	ended    bool // it is to be closed behind its answer
}

func newAuthority() *authority { return &authority{deciding: map[string]*decision{}} }

// PairRequested tells the operators that a device waits.
func (a *authority) PairRequested(p identity.Pending) {
	wire.Emit(a.hub, protocol.EventDevicePairRequested, device.Requested(p))
}

// PairResolved tells the operators that a request is gone.
func (a *authority) PairResolved(p identity.Pending, decision string, ts int64) {
	wire.Emit(a.hub, protocol.EventDevicePairResolved, device.Resolved(p, decision, ts))
}

// AuthorityChanged closes the connections of a device in a role, or in all of them.
func (a *authority) AuthorityChanged(deviceID, role string) {
	a.hub.Sever(func(p *wire.Peer) bool {
		return p.DeviceID == deviceID && (role == "" || p.Role == role) && !a.owed(p)
	}, protocol.CloseDeviceAuthorityChangedCode, protocol.CloseDeviceAuthorityChanged)
}

// SecretChanged closes the connections that proved an earlier secret.
func (a *authority) SecretChanged(generation uint64) {
	a.hub.Sever(func(p *wire.Peer) bool { return p.BySecret && p.SecretGeneration < generation },
		protocol.CloseGatewaySecretChangedCode, protocol.CloseGatewaySecretChanged)
}

// owed reports whether a connection waits for the answer to its decision, and
// notes that it ends behind that.
func (a *authority) owed(p *wire.Peer) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	d := a.deciding[p.ConnID]
	if d != nil {
		d.ended = true
	}
	return d != nil
}

// decides notes that the request of ctx decides about devices, until it is answered.
func (a *authority) decides(ctx context.Context, by identity.Actor) {
	if by.Peer == nil {
		return
	}
	id := by.Peer.ConnID
	a.mu.Lock()
	if a.deciding[id] == nil {
		a.deciding[id] = &decision{}
	}
	a.deciding[id].requests++
	a.mu.Unlock()
	wire.AfterReply(ctx, func() { a.answered(id) })
}

func (a *authority) answered(id string) {
	a.mu.Lock()
	d := a.deciding[id]
	d.requests--
	last := d.requests == 0
	if last {
		delete(a.deciding, id)
	}
	a.mu.Unlock()
	if last && d.ended {
		a.hub.Dismiss(func(p *wire.Peer) bool { return p.ConnID == id },
			protocol.CloseDeviceAuthorityChangedCode, protocol.CloseDeviceAuthorityChanged)
	}
}

// decider is the guard as the device service sees it: whoever takes back its own
// authority is answered before it is closed.
type decider struct {
	*identity.Guard
	authority *authority
}

func (d decider) Approve(ctx context.Context, by identity.Actor, requestID string) (identity.Device, error) {
	d.authority.decides(ctx, by)
	return d.Guard.Approve(ctx, by, requestID)
}

func (d decider) Remove(ctx context.Context, by identity.Actor, deviceID string) (identity.Device, error) {
	d.authority.decides(ctx, by)
	return d.Guard.Remove(ctx, by, deviceID)
}

func (d decider) Rotate(ctx context.Context, by identity.Actor, deviceID, role string, scopes []string) (string, identity.TokenSummary, error) {
	d.authority.decides(ctx, by)
	return d.Guard.Rotate(ctx, by, deviceID, role, scopes)
}

func (d decider) Revoke(ctx context.Context, by identity.Actor, deviceID, role string) (identity.TokenSummary, error) {
	d.authority.decides(ctx, by)
	return d.Guard.Revoke(ctx, by, deviceID, role)
}
