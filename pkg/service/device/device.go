// Package device lets operators see and decide who is paired with the gateway: the
// requests that wait, the paired devices, and their tokens.
//
// It keeps nothing and knows no rule of trust: whether the caller may see a device
// and what it may decide is the guard's to say, from what the connection holds.
//
// The rule that surprises: an operator who rotates another device's token is not
// told the new one. A token is for the device alone; that device gets one at its
// next connect with the gateway's secret.
//
// A Service has no state and is safe for concurrent use.
package device

import (
	"context"
	"errors"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/identity"
	"github.com/coderclaw/gateway/pkg/wire"
)

// Guard knows the devices and decides about them. *identity.Guard is one.
//
// Refusals are *wire.Error and name what is unknown or which scope is missing.
type Guard interface {
	PendingRequests() ([]identity.Pending, error)
	Devices() ([]identity.Device, error)
	Approve(ctx context.Context, by identity.Actor, requestID string) (identity.Device, error)
	Reject(ctx context.Context, by identity.Actor, requestID string) (identity.Pending, error)
	Remove(ctx context.Context, by identity.Actor, deviceID string) (identity.Device, error)
	// Rename lets the device name itself again when name is empty.
	Rename(ctx context.Context, by identity.Actor, deviceID, name string) (identity.Device, error)
	// Rotate returns an empty token to whoever it is not for.
	Rotate(ctx context.Context, by identity.Actor, deviceID, role string, scopes []string) (token string, _ identity.TokenSummary, _ error)
	Revoke(ctx context.Context, by identity.Actor, deviceID, role string) (identity.TokenSummary, error)
}

// Config is what the service needs.
type Config struct {
	Guard Guard
}

// Service implements protocol.DeviceService.
type Service struct {
	guard Guard
}

var _ protocol.DeviceService = (*Service)(nil)

// New returns a service over a guard.
func New(cfg Config) (*Service, error) {
	if cfg.Guard == nil {
		return nil, errors.New("device service needs a guard")
	}
	return &Service{guard: cfg.Guard}, nil
}

// actor is the caller as one who decides.
func actor(peer *wire.Peer) identity.Actor { return identity.Actor{Peer: peer} }
