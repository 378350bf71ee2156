package identity

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

const (
	pendingTTL = 300 * time.Second
	// pendingMax and pendingPerDeviceMax bound the requests that wait; the oldest
	// makes room.
	pendingMax          = 32
	pendingPerDeviceMax = 4
)

// pending holds the pairing requests that wait for a person, by request id.
var pending = store.NewBucket[request]("identity.pending")

// request is a device that asks to be paired, or for a role or scopes that it does
// not have yet. The names of its members are those of device.pair.requested.
type request struct {
	DeviceID     string   `json:"deviceId"`
	PublicKey    string   `json:"publicKey"`
	DisplayName  string   `json:"displayName,omitempty"`
	Platform     string   `json:"platform,omitempty"`
	DeviceFamily string   `json:"deviceFamily,omitempty"`
	ClientID     string   `json:"clientId,omitempty"`
	ClientMode   string   `json:"clientMode,omitempty"`
	Role         string   `json:"role"`
	Scopes       []string `json:"scopes"`
	RemoteIP     string   `json:"remoteIp,omitempty"`
	// IsRepair says that the device is paired already and asks for more.
	IsRepair bool  `json:"isRepair"`
	Ts       int64 `json:"ts"`
}

// admitBySecret finishes a connect that proved the shared secret: it approves what
// may approve itself, mints a token, and has both on disk before it returns.
func (g *Guard) admitBySecret(ctx context.Context, c *claim) (Grant, error) {
	text := newToken()
	var (
		grant    Grant
		refusal  *Refusal
		approved bool
	)
	err := g.db.Update(ctx, func(tx *store.Tx) error {
		refusal, approved = nil, false
		now := time.Now().UnixMilli()
		d, known, err := devices.Get(tx, c.deviceID)
		if err != nil {
			return err
		}
		if !d.approves(c.role, c.scopes) {
			if !c.silent() {
				refusal, err = ask(tx, c, known, now)
				return err
			}
			approved = true
			if !known {
				if err := makeRoom(tx); err != nil {
					return err
				}
				d = device{PublicKey: encodeKey(c.key), Self: true, CreatedAtMs: now, Roles: map[string]*approval{}}
			}
			d.approve(c.role, c.scopes, now)
			if err := pending.Delete(tx, requestID(c)); err != nil {
				return err
			}
		}
		g.overlay(c.deviceID, &d)
		d.describe(c)
		d.LastSeenAtMs = now
		grant = c.grant(c.deviceID)
		grant.Auth = d.Roles[c.role].mint(text, now).hello(text, c.role)
		return devices.Put(tx, c.deviceID, d)
	})
	switch {
	case err != nil:
		return Grant{}, fmt.Errorf("pair device: %w", err)
	case refusal != nil:
		return Grant{}, refusal
	case approved:
		g.log.Info("device paired", "deviceId", c.deviceID, "role", c.role, "scopes", c.scopes, "silent", true)
	}
	return grant, nil
}

// admitByToken finishes a connect whose token is not the shared secret: it must be
// a token of this device and role, and wide enough. It writes nothing unless the
// device asks for what is no longer approved.
func (g *Guard) admitByToken(ctx context.Context, c *claim) (Grant, error) {
	var d device
	err := g.db.View(func(tx *store.Tx) (err error) {
		d, _, err = devices.Get(tx, c.deviceID)
		return err
	})
	if err != nil {
		return Grant{}, fmt.Errorf("look up device: %w", err)
	}
	text, _ := c.auth.Token.Get()
	token := d.Roles[c.role].find(text)
	if token == nil || !covers(token.Scopes, c.scopes) {
		// Also the answer to a wrong shared secret beside a device: the original
		// cannot tell the two apart, and clients drop their stored token at this text.
		return Grant{}, invalid(protocol.DetailAuthDeviceTokenMismatch, "unauthorized: device token mismatch (rotate/reissue device token)")
	}
	if !d.approves(c.role, c.scopes) {
		return Grant{}, g.askOnly(ctx, c)
	}
	g.sight(c.deviceID, token.SHA256, c.clientIP)
	grant := c.grant(c.deviceID)
	grant.Auth = token.hello(text, c.role)
	return grant, nil
}

// askOnly stores the claim as a request and returns the refusal, or the store's error.
func (g *Guard) askOnly(ctx context.Context, c *claim) error {
	var refusal *Refusal
	err := g.db.Update(ctx, func(tx *store.Tx) (err error) {
		refusal, err = ask(tx, c, true, time.Now().UnixMilli())
		return err
	})
	if err != nil {
		return fmt.Errorf("store pairing request: %w", err)
	}
	return refusal
}

// ask leaves a request that a person can approve and returns the refusal that
// names it. A request that is waiting already is left as it is, and costs no write.
func ask(tx *store.Tx, c *claim, known bool, now int64) (*Refusal, error) {
	id := requestID(c)
	detail := detailCode(protocol.DetailPairingRequired)
	detail.RequestID = wire.Some(id)
	refusal := refuse(protocol.ErrorNotPaired, detail, "pairing required")
	waiting, ok, err := pending.Get(tx, id)
	if err != nil || ok && !waiting.expired(now) {
		return refusal, err
	}
	if err := prune(tx, c.deviceID, now); err != nil {
		return nil, err
	}
	var d device
	d.describe(c)
	return refusal, pending.Put(tx, id, request{
		DeviceID: c.deviceID, PublicKey: encodeKey(c.key), DisplayName: d.DisplayName, Platform: d.Platform,
		DeviceFamily: d.DeviceFamily, ClientID: d.ClientID, ClientMode: d.ClientMode,
		Role: c.role, Scopes: c.scopes, RemoteIP: c.clientIP, IsRepair: known, Ts: now,
	})
}

func (r request) expired(now int64) bool { return now-r.Ts >= pendingTTL.Milliseconds() }

// prune drops expired requests, and the oldest where there would be too many.
func prune(tx *store.Tx, deviceID string, now int64) error {
	var all, own []store.Row[request]
	var drop []string
	for row, err := range pending.All(tx) {
		if err != nil {
			return err
		}
		if row.Value.expired(now) {
			drop = append(drop, row.Key)
			continue
		}
		all = append(all, row)
	}
	slices.SortFunc(all, func(a, b store.Row[request]) int { return int(a.Value.Ts - b.Value.Ts) })
	for _, row := range all {
		if row.Value.DeviceID == deviceID {
			own = append(own, row)
		}
	}
	left := len(all)
	if len(own) >= pendingPerDeviceMax {
		drop = append(drop, own[0].Key)
		left--
	}
	for i := 0; left >= pendingMax; i++ {
		if !slices.Contains(drop, all[i].Key) {
			drop = append(drop, all[i].Key)
			left--
		}
	}
	for _, id := range drop {
		if err := pending.Delete(tx, id); err != nil {
			return err
		}
	}
	return nil
}

// requestID is the same for the same device, role and set of scopes, so that what a
// person looked at is what they approve, however often the device asks meanwhile.
func requestID(c *claim) string {
	scopes := slices.Sorted(slices.Values(c.scopes))
	text := strings.Join([]string{"pairing", c.deviceID, c.role, strings.Join(scopes, ",")}, "|")
	const customVersion = 8 // RFC 9562: a UUID whose bits are the application's
	return uuid.NewHash(sha256.New(), uuid.Nil, []byte(text), customVersion).String()
}
