package identity

import (
	"strings"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

// actorLocal is what the record calls the command line on the state directory.
const actorLocal = "local"

// Actor is who decides about a device. The zero Actor may do nothing.
//
// An operator with operator.admin decides about every device. One with
// operator.pairing alone decides within the scopes it holds: about its own device,
// and about others only on a connection that proved the shared secret. A device
// token with operator.pairing, which lies in some app's storage, is not worth the
// others' pairings.
type Actor struct {
	// Peer is the connection that asks.
	Peer *wire.Peer
	// Local is the command line on the state directory, which whoever can read and
	// write the database may be: it may do everything.
	Local bool
}

// Sees reports whether the actor is told of a device or of its requests.
func (a Actor) Sees(deviceID string) bool { return a.mayTouch(deviceID, nil) == nil }

// mayTouch refuses a decision about a device that holds the scopes held. What an
// actor takes from its own device needs no scope.
func (a Actor) mayTouch(deviceID string, held []string) error {
	switch {
	case a.Local:
		return nil
	case a.Peer == nil || a.Peer.Role != protocol.RoleOperator:
		return missingScopes([]string{protocol.ScopeOperatorPairing})
	case protocol.ScopeAllows(a.Peer.Scopes, protocol.ScopeOperatorAdmin):
		return nil
	case !protocol.ScopeAllows(a.Peer.Scopes, protocol.ScopeOperatorPairing):
		return missingScopes([]string{protocol.ScopeOperatorPairing})
	case a.Peer.DeviceID != "" && a.Peer.DeviceID == deviceID:
		return nil
	case !a.Peer.BySecret:
		return missingScopes([]string{protocol.ScopeOperatorAdmin})
	}
	return a.holds(held)
}

// mayGrant refuses to give a device what the actor does not hold itself. A role
// that the device does not have yet is not the device's own to give.
func (a Actor) mayGrant(deviceID, role string, scopes []string, hasRole bool) error {
	if err := a.mayTouch(deviceID, scopes); err != nil || a.Local {
		return err
	}
	if a.Peer.DeviceID == deviceID && !hasRole {
		return a.holds([]string{protocol.ScopeOperatorAdmin})
	}
	return a.holds(scopes)
}

func (a Actor) holds(scopes []string) error {
	var missing []string
	for _, scope := range scopes {
		if !protocol.ScopeAllows(a.Peer.Scopes, scope) {
			missing = append(missing, scope)
		}
	}
	return missingScopes(missing)
}

// check looks up whether the actor's own device still has the authority that its
// connection was granted: it may have been removed while the request waited.
func (a Actor) check(tx *store.Tx) error {
	if a.Local || a.Peer == nil || a.Peer.DeviceID == "" {
		return nil
	}
	d, _, err := devices.Get(tx, a.Peer.DeviceID)
	if err != nil {
		return err
	}
	if !d.approves(a.Peer.Role, a.Peer.Scopes) {
		return missingScopes([]string{protocol.ScopeOperatorPairing})
	}
	return nil
}

// name is what logs call the actor.
func (a Actor) name() string {
	if a.Local || a.Peer == nil {
		return actorLocal
	}
	return a.Peer.Principal
}

func (a Actor) describe(r *audit.Record) {
	r.Actor = a.name()
	if a.Peer != nil {
		r.Address, r.Client, r.ConnID = a.Peer.RemoteIP, a.Peer.Client.ID, a.Peer.ConnID
	}
}

// missingScopes is the refusal that names the scopes that are missing; nil when
// none is.
func missingScopes(scopes []string) error {
	if len(scopes) == 0 {
		return nil
	}
	detail := detailCode(protocol.DetailMissingScope)
	detail.Scope = wire.Some(clip(scopes[0], echoBytesMax))
	if step := protocol.DetailNextStep(protocol.DetailMissingScope); step != "" {
		detail.RecommendedNextStep = wire.Some(step)
	}
	err := wire.Errorf(protocol.ErrorInvalidRequest, "missing scope: %s", clip(strings.Join(scopes, ", "), echoBytesMax))
	return err.WithDetails(detail.AppendJSON(nil))
}

// within returns those of asked that have allows.
func within(have, asked []string) []string {
	out := []string{}
	for _, scope := range asked {
		if protocol.ScopeAllows(have, scope) {
			out = append(out, scope)
		}
	}
	return out
}
