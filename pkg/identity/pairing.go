package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/audit"
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
	// IsRepair says that the device is paired already and asks for more, or for the
	// same as another kind of machine.
	IsRepair bool  `json:"isRepair"`
	Ts       int64 `json:"ts"`
}

// admitBySecret finishes a connect that proved the shared secret: it approves what
// may approve itself, mints a token, and has both on disk before it returns.
func (g *Guard) admitBySecret(ctx context.Context, c *claim) (Grant, error) {
	text := newToken()
	var (
		grant  Grant
		asked  asking
		silent *Pending
	)
	now := time.Now().UnixMilli()
	err := g.db.Update(ctx, func(tx *store.Tx) error {
		asked, silent = asking{}, nil
		d, known, err := devices.Get(tx, c.deviceID)
		if err != nil {
			return err
		}
		if fits := d.Pin.fits(c.kind); !fits || !d.approves(c.role, c.scopes) {
			id := requestID(c, !fits)
			if !c.silent() {
				asked, err = g.ask(tx, c, id, known, now)
				return err
			}
			p := newRequest(c, known, now).public(id)
			p.Silent, silent = true, &p
			if err := g.approveSilently(tx, c, &d, known, p); err != nil {
				return err
			}
		}
		if c.origin.unattributed {
			asked.refusal = unattributed()
			return nil
		}
		g.overlay(c.deviceID, &d)
		d.describe(c)
		if d.Pin == (kind{}) || d.Pin.Family == "" {
			d.Pin = c.kind // it fits, or there was none
		}
		d.LastSeenAtMs = now
		token := d.Roles[c.role].mint(text, now)
		grant = c.grant(c.deviceID)
		grant.Auth, grant.tokenHash, grant.Platform = token.hello(text, c.role), token.SHA256, d.Pin.Platform
		return devices.Put(tx, c.deviceID, d)
	})
	if errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrFailed) {
		if grant, ok := g.admitUnwritten(c); ok {
			return grant, nil
		}
	}
	switch {
	case err != nil:
		return Grant{}, fmt.Errorf("pair device: %w", err)
	case asked.refusal != nil:
		return Grant{}, g.told(asked)
	case silent != nil:
		g.log.Info("device paired", "deviceId", c.deviceID, "role", c.role, "scopes", c.scopes, "silent", true)
		g.events.PairResolved(*silent, DecisionApproved, now)
	}
	return grant, nil
}

// admitUnwritten lets in, without a new token, a device that is approved for what it
// asks: where nothing can be stored, its owner has to be able to look at the gateway.
func (g *Guard) admitUnwritten(c *claim) (Grant, bool) {
	var d device
	err := g.db.View(func(tx *store.Tx) (err error) {
		d, _, err = devices.Get(tx, c.deviceID)
		return err
	})
	if err != nil || !d.Pin.fits(c.kind) || !d.approves(c.role, c.scopes) || c.origin.unattributed {
		return Grant{}, false
	}
	g.log.Warn("device let in without a new token: nothing can be stored", "deviceId", c.deviceID)
	grant := c.grant(c.deviceID)
	grant.Platform = d.Pin.Platform
	return grant, true
}

// approveSilently approves what a claim asks for because it proved the secret on
// this very host.
func (g *Guard) approveSilently(tx *store.Tx, c *claim, d *device, known bool, p Pending) error {
	if !known {
		if err := makeRoom(tx); err != nil {
			return err
		}
		*d = device{PublicKey: encodeKey(c.key), Self: true, CreatedAtMs: p.TS, Roles: map[string]*approval{}}
	}
	d.Pin = c.kind
	d.approve(c.role, c.scopes, p.TS)
	if err := pending.Delete(tx, p.RequestID); err != nil {
		return err
	}
	return g.audit.AppendIn(tx, audit.Record{
		At: p.TS, Action: audit.ActionPairApprove, Decision: audit.Allowed, Actor: c.deviceID, Client: string(c.client.ID),
		Role: c.role, Scopes: c.scopes, Reason: "local, with the shared secret",
	})
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
	v := g.limiter.judge(c.source(tokenCredential), token != nil)
	if !v.right {
		// What is no device token was a guess at the shared secret too. It is counted
		// as one whatever became of it here, or the count of tokens would pay for it.
		if c.proof.uncounted {
			c.proof.locked = g.limiter.judge(c.source(sharedCredential), false).locked
		}
		if !v.weighed || v.locked || c.proof.locked {
			return Grant{}, rateLimited(v.retryAfter)
		}
		return Grant{}, tokenMismatch()
	}
	if !covers(token.Scopes, c.scopes) {
		return Grant{}, tokenMismatch()
	}
	if fits := d.Pin.fits(c.kind); !fits || !d.approves(c.role, c.scopes) {
		return Grant{}, g.askOnly(ctx, c, requestID(c, !fits))
	}
	if c.origin.unattributed {
		return Grant{}, unattributed() // as late as with the secret
	}
	g.sight(c.deviceID, token.SHA256, c.clientIP)
	grant := c.grant(c.deviceID)
	grant.Auth, grant.tokenHash, grant.Platform = token.hello(text, c.role), token.SHA256, d.Pin.Platform
	if grant.Platform == "" {
		grant.Platform = c.kind.Platform
	}
	return grant, nil
}

// tokenMismatch is also the answer to a wrong shared secret beside a device: the
// original cannot tell the two apart, and clients drop their stored token at this
// text.
func tokenMismatch() *Refusal {
	return invalid(protocol.DetailAuthDeviceTokenMismatch, "unauthorized: device token mismatch (rotate/reissue device token)")
}

// asking is what came of a request: the refusal that names it and, when it was not
// waiting yet, the request.
type asking struct {
	refusal *Refusal
	created *Pending
}

// told announces a new request and returns the refusal.
func (g *Guard) told(a asking) error {
	if a.created != nil {
		g.log.Info("device asks to be paired", "deviceId", a.created.DeviceID, "role", a.created.Role, "scopes", a.created.Scopes, "requestId", a.created.RequestID)
		g.events.PairRequested(*a.created)
	}
	return a.refusal
}

// askOnly stores the claim as a request and returns the refusal, or the store's error.
func (g *Guard) askOnly(ctx context.Context, c *claim, id string) error {
	var asked asking
	err := g.db.Update(ctx, func(tx *store.Tx) (err error) {
		asked, err = g.ask(tx, c, id, true, time.Now().UnixMilli())
		return err
	})
	if err != nil {
		return fmt.Errorf("store pairing request: %w", err)
	}
	return g.told(asked)
}

// ask leaves a request that a person can approve. A request that is waiting already
// is left as it is, and costs no write.
func (g *Guard) ask(tx *store.Tx, c *claim, id string, known bool, now int64) (asking, error) {
	detail := detailCode(protocol.DetailPairingRequired)
	detail.RequestID = wire.Some(id)
	out := asking{refusal: refuse(protocol.ErrorNotPaired, detail, "pairing required")}
	old, ok, err := pending.Get(tx, id)
	if err != nil || ok && !old.expired(now) {
		return out, err
	}
	if err := prune(tx, c.deviceID, now); err != nil {
		return asking{}, err
	}
	r := newRequest(c, known, now)
	p := r.public(id)
	out.created = &p
	if err := pending.Put(tx, id, r); err != nil {
		return asking{}, err
	}
	return out, g.audit.AppendIn(tx, audit.Record{
		At: now, Action: audit.ActionPairRequest, Decision: audit.Refused, Actor: c.deviceID, Client: string(c.client.ID),
		Role: c.role, Scopes: c.scopes, Address: addressText(c.origin.addr), Reason: out.refusal.Err.Message, Code: out.refusal.code,
	})
}

// newRequest is what the claim asks for.
func newRequest(c *claim, known bool, now int64) request {
	var d device
	d.describe(c)
	return request{
		DeviceID: c.deviceID, PublicKey: encodeKey(c.key), DisplayName: d.DisplayName, Platform: d.Platform,
		DeviceFamily: d.DeviceFamily, ClientID: d.ClientID, ClientMode: d.ClientMode,
		Role: c.role, Scopes: c.scopes, RemoteIP: c.clientIP, IsRepair: known, Ts: now,
	}
}

// kind is the kind of machine that the request came from.
func (r request) kind() kind { return kindOf(r.Platform, r.DeviceFamily) }

// public is what may be told of the request.
func (r request) public(id string) Pending {
	return Pending{
		RequestID: id, DeviceID: r.DeviceID, PublicKey: r.PublicKey, DisplayName: r.DisplayName,
		Platform: r.Platform, DeviceFamily: r.DeviceFamily, ClientID: r.ClientID, ClientMode: r.ClientMode,
		Role: r.Role, Scopes: append([]string{}, r.Scopes...), RemoteIP: r.RemoteIP, Repair: r.IsRepair, TS: r.Ts,
	}
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
// It is another one for each kind of machine that a paired device claims to be.
func requestID(c *claim, otherKind bool) string {
	scopes := slices.Sorted(slices.Values(c.scopes))
	parts := []string{"pairing", c.deviceID, c.role, strings.Join(scopes, ",")}
	if otherKind {
		parts = append(parts, c.kind.Platform, c.kind.Family)
	}
	const customVersion = 8 // RFC 9562: a UUID whose bits are the application's
	return uuid.NewHash(sha256.New(), uuid.Nil, []byte(strings.Join(parts, "|")), customVersion).String()
}
