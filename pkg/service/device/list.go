package device

import (
	"context"
	"slices"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/identity"
	"github.com/coderclaw/gateway/pkg/wire"
)

// DevicePairList tells of the devices that the caller may decide about.
func (s *Service) DevicePairList(_ context.Context, peer *wire.Peer, _ protocol.DevicePairListParams) (protocol.DevicePairListResult, error) {
	result := protocol.DevicePairListResult{Pending: []protocol.DevicePairRequestedEvent{}, Paired: []protocol.PairedDevice{}}
	by := actor(peer)
	waiting, err := s.guard.PendingRequests()
	if err != nil {
		return result, err
	}
	for _, p := range slices.Backward(waiting) { // the guard's are oldest first
		if by.Sees(p.DeviceID) {
			result.Pending = append(result.Pending, Requested(p))
		}
	}
	devices, err := s.guard.Devices()
	if err != nil {
		return result, err
	}
	for _, d := range devices {
		if by.Sees(d.DeviceID) {
			result.Paired = append(result.Paired, paired(d))
		}
	}
	return result, nil
}

// Requested tells of a request that waits, in a list and as an event.
func Requested(p identity.Pending) protocol.DevicePairRequestedEvent {
	return protocol.DevicePairRequestedEvent{
		RequestID: p.RequestID, DeviceID: p.DeviceID, PublicKey: p.PublicKey, DisplayName: text(p.DisplayName),
		Platform: text(p.Platform), ClientID: text(p.ClientID), ClientMode: text(p.ClientMode), Role: text(p.Role),
		Roles: []string{p.Role}, Scopes: present(p.Scopes), RemoteIP: text(p.RemoteIP),
		Silent: wire.Some(p.Silent), IsRepair: wire.Some(p.Repair), Ts: p.TS,
	}
}

// Resolved tells that a request is gone.
func Resolved(p identity.Pending, decision string, ts int64) protocol.DevicePairResolvedEvent {
	return protocol.DevicePairResolvedEvent{RequestID: p.RequestID, DeviceID: p.DeviceID, Decision: decision, Ts: ts}
}

func paired(d identity.Device) protocol.PairedDevice {
	out := protocol.PairedDevice{
		DeviceID: d.DeviceID, PublicKey: d.PublicKey, DisplayName: text(d.DisplayName), Platform: text(d.Platform),
		DeviceFamily: text(d.DeviceFamily), ClientID: text(d.ClientID), ClientMode: text(d.ClientMode),
		Roles: present(d.Roles), Scopes: present(d.Scopes), RemoteIP: text(d.RemoteIP),
		CreatedAtMs: d.CreatedAtMs, ApprovedAtMs: d.ApprovedAtMs, LastSeenAtMs: moment(d.LastSeenAtMs),
		Tokens: []protocol.DeviceToken{},
	}
	if len(d.Roles) > 0 {
		out.Role = text(d.Roles[0])
	}
	for _, t := range d.Tokens {
		out.Tokens = append(out.Tokens, protocol.DeviceToken{
			Role: t.Role, Scopes: present(t.Scopes), CreatedAtMs: t.CreatedAtMs, RotatedAtMs: moment(t.RotatedAtMs),
			RevokedAtMs: moment(t.RevokedAtMs), LastUsedAtMs: moment(t.LastUsedAtMs),
		})
	}
	return out
}

// text is a member that is absent when empty.
func text(s string) wire.Opt[string] {
	if s == "" {
		return wire.Opt[string]{}
	}
	return wire.Some(s)
}

// moment is a time that is absent when it never came.
func moment(ms int64) wire.Opt[int64] {
	if ms == 0 {
		return wire.Opt[int64]{}
	}
	return wire.Some(ms)
}

// present is a list that is written even when empty.
func present(list []string) []string { return append([]string{}, list...) }
