package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

// The answers to a decision about what does not exist. They are compared by
// identity and never changed.
var (
	ErrUnknownRequest = wire.Errorf(protocol.ErrorInvalidRequest, "unknown requestId")
	ErrUnknownDevice  = wire.Errorf(protocol.ErrorInvalidRequest, "unknown deviceId")
	ErrUnknownToken   = wire.Errorf(protocol.ErrorInvalidRequest, "unknown deviceId/role")
)

// Pending is a device that asks to be paired, or for a role or scopes that it does
// not have. TS is when it asked, in milliseconds since 1970.
type Pending struct {
	RequestID, DeviceID, PublicKey, DisplayName, Platform, DeviceFamily, ClientID, ClientMode, Role string
	Scopes                                                                                          []string
	RemoteIP                                                                                        string
	// Silent says that the device approved itself, by proof of the shared secret on
	// this host; a waiting request never did. Repair says that the device is paired
	// already and asks for more, or says to be another kind of machine than before.
	Silent, Repair bool
	TS             int64
}

// Device is a paired device. Scopes are those of all its roles. Times are
// milliseconds since 1970, 0 when it never happened.
type Device struct {
	DeviceID, PublicKey, DisplayName, Platform, DeviceFamily, ClientID, ClientMode string
	Roles, Scopes                                                                  []string
	RemoteIP                                                                       string
	CreatedAtMs, ApprovedAtMs, LastSeenAtMs                                        int64
	// Self says that the device approved itself and no person did.
	Self   bool
	Tokens []TokenSummary
}

// TokenSummary tells of a role's tokens without telling them. A device may hold
// several at a time: CreatedAtMs is the newest one's and LastUsedAtMs the latest use.
type TokenSummary struct {
	Role                                                string
	Scopes                                              []string
	CreatedAtMs, RotatedAtMs, RevokedAtMs, LastUsedAtMs int64
}

// PendingRequests returns the requests that wait, the oldest first.
func (g *Guard) PendingRequests() ([]Pending, error) {
	var list []Pending
	now := time.Now().UnixMilli()
	err := g.db.View(func(tx *store.Tx) error {
		for row, err := range pending.All(tx) {
			if err != nil {
				return err
			}
			if !row.Value.expired(now) {
				list = append(list, row.Value.public(row.Key))
			}
		}
		return nil
	})
	slices.SortFunc(list, func(a, b Pending) int {
		if a.TS != b.TS {
			return int(a.TS - b.TS)
		}
		return strings.Compare(a.RequestID, b.RequestID)
	})
	return list, err
}

// Devices returns the paired devices, the latest approved first. When each was
// last seen may be a minute old on disk; here it is not.
func (g *Guard) Devices() ([]Device, error) {
	var list []Device
	err := g.db.View(func(tx *store.Tx) error {
		for row, err := range devices.All(tx) {
			if err != nil {
				return err
			}
			g.overlay(row.Key, &row.Value)
			list = append(list, row.Value.public(row.Key))
		}
		return nil
	})
	slices.SortFunc(list, func(a, b Device) int {
		if a.ApprovedAtMs != b.ApprovedAtMs {
			return int(b.ApprovedAtMs - a.ApprovedAtMs)
		}
		return strings.Compare(a.DeviceID, b.DeviceID)
	})
	return list, err
}

// Approve grants what a request asks for, if the actor holds all of it: a person
// is never shown one thing and grants another, so nothing is narrowed in silence.
func (g *Guard) Approve(ctx context.Context, by Actor, requestID string) (Device, error) {
	var (
		out      Device
		p        Pending
		repinned bool
	)
	now := time.Now().UnixMilli()
	err := g.decide(ctx, by, audit.Record{Action: audit.ActionPairApprove}, func(tx *store.Tx, r *audit.Record) error {
		asked, err := waiting(tx, requestID, now)
		if err != nil {
			return err
		}
		p = asked.public(requestID)
		r.Device, r.Role, r.Scopes = p.DeviceID, p.Role, p.Scopes
		d, known, err := devices.Get(tx, p.DeviceID)
		if err != nil {
			return err
		}
		if err := by.mayGrant(p.DeviceID, p.Role, p.Scopes, d.Roles[p.Role] != nil); err != nil {
			return err
		}
		if !known {
			if err := makeRoom(tx); err != nil {
				return err
			}
			d = device{PublicKey: asked.PublicKey, CreatedAtMs: now, LastSeenAtMs: asked.Ts, Roles: map[string]*approval{}}
		}
		repinned = known && !d.Pin.fits(asked.kind())
		d.Self = false
		d.adopt(asked)
		d.approve(asked.Role, asked.Scopes, now)
		out = d.public(p.DeviceID)
		if err := pending.Delete(tx, requestID); err != nil {
			return err
		}
		return devices.Put(tx, p.DeviceID, d)
	})
	if err != nil {
		return Device{}, err
	}
	g.log.Info("device paired", "deviceId", p.DeviceID, "role", p.Role, "scopes", p.Scopes, "by", by.name())
	if repinned {
		g.took()
		g.events.AuthorityChanged(p.DeviceID, "")
	}
	g.events.PairResolved(p, DecisionApproved, now)
	return out, nil
}

// Reject removes a request. The device may ask again.
func (g *Guard) Reject(ctx context.Context, by Actor, requestID string) (Pending, error) {
	var p Pending
	now := time.Now().UnixMilli()
	err := g.decide(ctx, by, audit.Record{Action: audit.ActionPairReject}, func(tx *store.Tx, r *audit.Record) error {
		asked, err := waiting(tx, requestID, now)
		if err != nil {
			return err
		}
		p = asked.public(requestID)
		r.Device, r.Role, r.Scopes = p.DeviceID, p.Role, p.Scopes
		if err := by.mayTouch(p.DeviceID, nil); err != nil {
			return err
		}
		return pending.Delete(tx, requestID)
	})
	if err != nil {
		return Pending{}, err
	}
	g.log.Info("pairing request rejected", "deviceId", p.DeviceID, "role", p.Role, "by", by.name())
	g.events.PairResolved(p, DecisionRejected, now)
	return p, nil
}

// Remove forgets a device, its tokens and what it asks for. It returns what was
// removed.
func (g *Guard) Remove(ctx context.Context, by Actor, deviceID string) (Device, error) {
	var (
		out  Device
		gone []Pending
	)
	err := g.decide(ctx, by, audit.Record{Action: audit.ActionPairRemove, Device: deviceID}, func(tx *store.Tx, _ *audit.Record) error {
		d, err := paired(tx, deviceID)
		if err != nil {
			return err
		}
		out, gone = d.public(deviceID), nil
		if err := by.mayTouch(deviceID, out.Scopes); err != nil {
			return err
		}
		for row, err := range pending.All(tx) {
			if err != nil {
				return err
			}
			if row.Value.DeviceID == deviceID {
				gone = append(gone, row.Value.public(row.Key))
			}
		}
		for _, p := range gone {
			if err := pending.Delete(tx, p.RequestID); err != nil {
				return err
			}
		}
		return devices.Delete(tx, deviceID)
	})
	if err != nil {
		return Device{}, err
	}
	g.log.Info("device removed", "deviceId", deviceID, "by", by.name())
	g.took()
	g.events.AuthorityChanged(deviceID, "")
	for _, p := range gone {
		g.events.PairResolved(p, DecisionRejected, time.Now().UnixMilli())
	}
	return out, nil
}

// Rename gives a device a name that it cannot change itself. An empty name, or one
// of nothing but unprintable characters, lets the device name itself again.
func (g *Guard) Rename(ctx context.Context, by Actor, deviceID, name string) (Device, error) {
	var out Device
	record := audit.Record{Action: audit.ActionDeviceRename, Device: deviceID}
	err := g.decide(ctx, by, record, func(tx *store.Tx, _ *audit.Record) error {
		d, err := paired(tx, deviceID)
		if err != nil {
			return err
		}
		if err := by.mayTouch(deviceID, d.public(deviceID).Scopes); err != nil {
			return err
		}
		name := label(name, nameBytesMax)
		d.Named = name != ""
		if d.Named {
			d.DisplayName = name
		}
		out = d.public(deviceID)
		return devices.Put(tx, deviceID, d)
	})
	return out, err
}

// Rotate replaces all tokens of a device in a role by a new one. Its scopes are
// those asked for (nil: all approved ones) as far as they are approved, and the
// actor must hold them all. The token itself is told only to the device, and on
// the command line of this host; to anybody else it is empty.
func (g *Guard) Rotate(ctx context.Context, by Actor, deviceID, role string, scopes []string) (token string, _ TokenSummary, _ error) {
	var out TokenSummary
	text, now := newToken(), time.Now().UnixMilli()
	record := audit.Record{Action: audit.ActionTokenRotate, Device: deviceID, Role: role}
	err := g.decide(ctx, by, record, func(tx *store.Tx, r *audit.Record) error {
		d, a, err := pairedAs(tx, deviceID, role)
		if err != nil {
			return err
		}
		granted := a.Scopes
		if scopes != nil {
			if granted = within(a.Scopes, grantable(role, scopes)); len(granted) == 0 && len(scopes) > 0 {
				return missingScopes(scopes)
			}
		}
		if err := by.mayGrant(deviceID, role, granted, true); err != nil {
			return err
		}
		r.Scopes = granted
		a.Tokens = []deviceToken{{SHA256: tokenHash(text), Scopes: slices.Clone(granted), CreatedAtMs: now, LastUsedAtMs: now}}
		a.RotatedAtMs, a.RevokedAtMs = now, 0
		out = a.summary(role)
		return devices.Put(tx, deviceID, d)
	})
	if err != nil {
		return "", TokenSummary{}, err
	}
	g.log.Info("device token rotated", "deviceId", deviceID, "role", role, "by", by.name())
	g.took()
	g.events.AuthorityChanged(deviceID, role)
	if !by.Local && by.Peer.DeviceID != deviceID {
		text = ""
	}
	return text, out, nil
}

// Revoke ends all tokens of a device in a role. The role stays approved: a connect
// that proves the shared secret mints a new token. Remove ends both.
func (g *Guard) Revoke(ctx context.Context, by Actor, deviceID, role string) (TokenSummary, error) {
	var out TokenSummary
	now := time.Now().UnixMilli()
	record := audit.Record{Action: audit.ActionTokenRevoke, Device: deviceID, Role: role}
	err := g.decide(ctx, by, record, func(tx *store.Tx, _ *audit.Record) error {
		d, a, err := pairedAs(tx, deviceID, role)
		if err != nil {
			return err
		}
		if err := by.mayTouch(deviceID, a.Scopes); err != nil {
			return err
		}
		a.Tokens, a.RevokedAtMs = nil, now
		out = a.summary(role)
		return devices.Put(tx, deviceID, d)
	})
	if err != nil {
		return TokenSummary{}, err
	}
	g.log.Info("device token revoked", "deviceId", deviceID, "role", role, "by", by.name())
	g.took()
	g.events.AuthorityChanged(deviceID, role)
	return out, nil
}

// decide makes a change and its record in one transaction, after it has looked up
// what the actor may do now. A refusal is noted and returned.
func (g *Guard) decide(ctx context.Context, by Actor, record audit.Record, change func(*store.Tx, *audit.Record) error) error {
	var r audit.Record
	err := g.db.Update(ctx, func(tx *store.Tx) error {
		r = record
		r.At, r.Decision = time.Now().UnixMilli(), audit.Allowed
		by.describe(&r)
		if err := by.check(tx); err != nil {
			return err
		}
		if err := change(tx, &r); err != nil {
			return err
		}
		return g.audit.AppendIn(tx, r)
	})
	if err == nil {
		return nil
	}
	var no *wire.Error
	if !errors.As(err, &no) {
		return fmt.Errorf("decide about device: %w", err)
	}
	r.Decision, r.Reason = audit.Refused, no.Message
	g.audit.Note(r)
	return no
}

func waiting(tx *store.Tx, requestID string, now int64) (request, error) {
	r, ok, err := pending.Get(tx, requestID)
	if err == nil && (!ok || r.expired(now)) {
		err = ErrUnknownRequest
	}
	return r, err
}

func paired(tx *store.Tx, deviceID string) (device, error) {
	d, ok, err := devices.Get(tx, deviceID)
	if err == nil && !ok {
		err = ErrUnknownDevice
	}
	return d, err
}

func pairedAs(tx *store.Tx, deviceID, role string) (device, *approval, error) {
	d, _, err := devices.Get(tx, deviceID)
	a := d.Roles[role]
	if err == nil && a == nil {
		err = ErrUnknownToken
	}
	return d, a, err
}
