package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

const (
	// devicesMax bounds the paired devices: beyond it the one that paired itself
	// and was not seen for longest makes room. One that a person approved stays.
	devicesMax = 1000
	// tokensMax is how many tokens of one device and role are valid at a time, so
	// that processes of a device that connect side by side do not revoke each other.
	tokensMax      = 4
	tokenBytes     = 32
	nameBytesMax   = 120
	detailBytesMax = 64
)

// devices holds every paired device by its id.
var devices = store.NewBucket[device]("identity.devices")

// device is a paired device. All times are milliseconds since 1970.
type device struct {
	PublicKey string `json:"publicKey"`
	// Self says that the device approved itself, by proof of the shared secret on
	// this host, and no person did.
	Self bool `json:"self,omitempty"`
	// Named says that a person named the device, so that it no longer names itself.
	Named        bool   `json:"named,omitempty"`
	DisplayName  string `json:"displayName,omitempty"`
	Platform     string `json:"platform,omitempty"`
	DeviceFamily string `json:"deviceFamily,omitempty"`
	ClientID     string `json:"clientId,omitempty"`
	ClientMode   string `json:"clientMode,omitempty"`
	RemoteIP     string `json:"remoteIp,omitempty"`
	// Pin is the kind of machine that was approved.
	Pin          kind  `json:"pin,omitzero"`
	CreatedAtMs  int64 `json:"createdAtMs"`
	LastSeenAtMs int64 `json:"lastSeenAtMs"`
	// Roles are the approved roles.
	Roles map[string]*approval `json:"roles"`
}

// approval is what a device may be in one role.
type approval struct {
	Scopes       []string `json:"scopes"`
	ApprovedAtMs int64    `json:"approvedAtMs"`
	RotatedAtMs  int64    `json:"rotatedAtMs,omitempty"`
	RevokedAtMs  int64    `json:"revokedAtMs,omitempty"`
	// Tokens are at most tokensMax, oldest first.
	Tokens []deviceToken `json:"tokens,omitempty"`
}

// deviceToken is a token that was given out. Only its hash is kept.
type deviceToken struct {
	SHA256       string   `json:"sha256"`
	Scopes       []string `json:"scopes"`
	CreatedAtMs  int64    `json:"createdAtMs"`
	LastUsedAtMs int64    `json:"lastUsedAtMs"`
}

// approves reports whether the device may be this role with these scopes.
func (d *device) approves(role string, scopes []string) bool {
	a := d.Roles[role]
	return a != nil && covers(a.Scopes, scopes)
}

// approve adds a role, and scopes to those it had. The tokens that the device holds
// already carry them too: it would otherwise lose its token at the first connect
// that uses what was just approved.
func (d *device) approve(role string, scopes []string, now int64) {
	a := d.Roles[role]
	if a == nil {
		a = &approval{Scopes: []string{}}
		d.Roles[role] = a
	}
	for _, scope := range scopes {
		if !slices.Contains(a.Scopes, scope) {
			a.Scopes = append(a.Scopes, scope)
		}
	}
	a.ApprovedAtMs = now
	for i := range a.Tokens {
		a.Tokens[i].Scopes = slices.Clone(a.Scopes)
	}
}

// adopt stores what an approved request said.
func (d *device) adopt(r request) {
	if r.DisplayName != "" && !d.Named {
		d.DisplayName = r.DisplayName
	}
	d.Platform, d.DeviceFamily = r.Platform, r.DeviceFamily
	d.ClientID, d.ClientMode, d.RemoteIP = r.ClientID, r.ClientMode, r.RemoteIP
	d.Pin = r.kind()
}

// public is what may be told of the device.
func (d *device) public(id string) Device {
	out := Device{
		DeviceID: id, PublicKey: d.PublicKey, DisplayName: d.DisplayName, Platform: d.Platform,
		DeviceFamily: d.DeviceFamily, ClientID: d.ClientID, ClientMode: d.ClientMode,
		Roles: slices.Sorted(maps.Keys(d.Roles)), Scopes: []string{}, RemoteIP: d.RemoteIP,
		CreatedAtMs: d.CreatedAtMs, LastSeenAtMs: d.LastSeenAtMs, Self: d.Self,
	}
	for _, role := range out.Roles {
		a := d.Roles[role]
		out.ApprovedAtMs = max(out.ApprovedAtMs, a.ApprovedAtMs)
		out.Tokens = append(out.Tokens, a.summary(role))
		for _, scope := range a.Scopes {
			if !slices.Contains(out.Scopes, scope) {
				out.Scopes = append(out.Scopes, scope)
			}
		}
	}
	return out
}

// summary tells of the tokens. A role without any was approved and not used yet,
// or its tokens were revoked.
func (a *approval) summary(role string) TokenSummary {
	t := TokenSummary{
		Role: role, Scopes: slices.Clone(a.Scopes), CreatedAtMs: a.ApprovedAtMs,
		RotatedAtMs: a.RotatedAtMs, RevokedAtMs: a.RevokedAtMs,
	}
	for i, token := range a.Tokens {
		if i == 0 || token.CreatedAtMs >= t.CreatedAtMs {
			t.Scopes, t.CreatedAtMs = slices.Clone(token.Scopes), token.CreatedAtMs
		}
		t.LastUsedAtMs = max(t.LastUsedAtMs, token.LastUsedAtMs)
	}
	return t
}

// describe stores what the client says of itself. Nothing is decided by it.
func (d *device) describe(c *claim) {
	if name := label(c.client.DisplayName.V, nameBytesMax); name != "" && !d.Named {
		d.DisplayName = name
	}
	d.Platform = label(c.client.Platform, detailBytesMax)
	d.DeviceFamily = label(c.client.DeviceFamily.V, detailBytesMax)
	d.ClientID, d.ClientMode, d.RemoteIP = string(c.client.ID), string(c.client.Mode), c.clientIP
}

// label makes a client's text fit to be stored and shown to whoever decides about
// it: bounded, and without the characters that reorder or overwrite a line.
func label(text string, n int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			return -1
		}
		return r
	}, text)
	return clip(strings.TrimSpace(text), n)
}

// find returns the valid token that text is, or nil. It compares hashes, all of
// them, so that its time tells nothing.
func (a *approval) find(text string) *deviceToken {
	return a.findHash(tokenHash(text))
}

func (a *approval) findHash(sum string) *deviceToken {
	if a == nil {
		return nil
	}
	var found *deviceToken
	for i := range a.Tokens {
		if subtle.ConstantTimeCompare([]byte(a.Tokens[i].SHA256), []byte(sum)) == 1 {
			found = &a.Tokens[i]
		}
	}
	return found
}

// mint adds a token of all approved scopes and forgets the least recently used
// beyond tokensMax.
func (a *approval) mint(text string, now int64) *deviceToken {
	for len(a.Tokens) >= tokensMax {
		oldest := 0
		for i := range a.Tokens {
			if a.Tokens[i].LastUsedAtMs < a.Tokens[oldest].LastUsedAtMs {
				oldest = i
			}
		}
		a.Tokens = slices.Delete(a.Tokens, oldest, oldest+1)
	}
	a.RevokedAtMs = 0
	a.Tokens = append(a.Tokens, deviceToken{
		SHA256: tokenHash(text), Scopes: slices.Clone(a.Scopes), CreatedAtMs: now, LastUsedAtMs: now,
	})
	return &a.Tokens[len(a.Tokens)-1]
}

// hello is what hello-ok tells of a token.
func (t *deviceToken) hello(text, role string) wire.Opt[protocol.HelloAuth] {
	return wire.Some(protocol.HelloAuth{
		DeviceToken: text, Role: role, Scopes: append([]string{}, t.Scopes...), IssuedAtMs: wire.Some(t.CreatedAtMs),
	})
}

func tokenHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// newToken returns 32 random bytes in base64url.
func newToken() string {
	random := make([]byte, tokenBytes)
	_, _ = rand.Read(random) // crypto/rand.Read never fails
	return base64.RawURLEncoding.EncodeToString(random)
}

// makeRoom drops, when the bucket is full, the device that paired itself and was
// not seen for longest.
func makeRoom(tx *store.Tx) error {
	count, victim, seenAt := 0, "", int64(0)
	for row, err := range devices.All(tx) {
		if err != nil {
			return err
		}
		count++
		if row.Value.Self && (victim == "" || row.Value.LastSeenAtMs < seenAt) {
			victim, seenAt = row.Key, row.Value.LastSeenAtMs
		}
	}
	if count < devicesMax || victim == "" {
		return nil
	}
	return devices.Delete(tx, victim)
}
