package identity

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/store"
)

// Imported is a device that another gateway had paired. Times are milliseconds since
// 1970, 0 when it never happened.
type Imported struct {
	DeviceID, PublicKey, DisplayName, Platform, DeviceFamily, ClientID, ClientMode, RemoteIP string
	CreatedAtMs                                                                              int64
	// Roles are what the device was approved for.
	Roles map[string]ImportedRole
}

// ImportedRole is what a device was approved for in one role.
type ImportedRole struct {
	Scopes                                                                 []string
	ApprovedAtMs, RotatedAtMs, RevokedAtMs, TokenCreatedAtMs, LastUsedAtMs int64
	// Token is the token that the device holds, not set when there is none. Only its
	// hash is kept.
	Token settings.Secret
	// TokenScopes are those that the token carries.
	TokenScopes []string
}

// Import pairs a device as another gateway had it, tokens included, so that it need
// not be paired again. A device that is paired here already is left as it is, and
// false returned. Keys that prove nothing are refused, roles and scopes that no
// release knows are dropped. With dry nothing is written.
func (g *Guard) Import(ctx context.Context, in Imported, from string, dry bool) (added bool, err error) {
	key, err := parsePublicKey(in.PublicKey)
	if err != nil {
		return false, err
	}
	if deviceID(key) != in.DeviceID {
		return false, fmt.Errorf("its id is not that of its key")
	}
	d := device{
		PublicKey: encodeKey(key), Platform: label(in.Platform, detailBytesMax), DeviceFamily: label(in.DeviceFamily, detailBytesMax),
		DisplayName: label(in.DisplayName, nameBytesMax), ClientID: label(in.ClientID, detailBytesMax), ClientMode: label(in.ClientMode, detailBytesMax),
		RemoteIP: label(in.RemoteIP, detailBytesMax), Pin: kindOf(in.Platform, in.DeviceFamily), CreatedAtMs: in.CreatedAtMs, Roles: map[string]*approval{},
	}
	for _, role := range []string{protocol.RoleOperator, protocol.RoleNode} {
		if r, ok := in.Roles[role]; ok {
			d.Roles[role] = r.approval(role)
			d.LastSeenAtMs = max(d.LastSeenAtMs, r.LastUsedAtMs, r.TokenCreatedAtMs)
		}
	}
	if len(d.Roles) == 0 {
		return false, fmt.Errorf("it has no role that this gateway knows")
	}
	if dry {
		err := g.db.View(func(tx *store.Tx) error {
			has, err := devices.Has(tx, in.DeviceID)
			added = !has
			return err
		})
		return added, err
	}
	err = g.db.Update(ctx, func(tx *store.Tx) error {
		has, err := devices.Has(tx, in.DeviceID)
		added = !has
		if err != nil || has {
			return err
		}
		if err := makeRoom(tx); err != nil {
			return err
		}
		for role, a := range d.Roles {
			err := g.audit.AppendIn(tx, audit.Record{
				At: time.Now().UnixMilli(), Action: audit.ActionPairApprove, Decision: audit.Allowed, Actor: actorLocal, Device: in.DeviceID,
				Client: d.ClientID, Role: role, Scopes: a.Scopes, Reason: "imported from " + from,
			})
			if err != nil {
				return err
			}
		}
		return devices.Put(tx, in.DeviceID, d)
	})
	if err != nil {
		return false, fmt.Errorf("import device: %w", err)
	}
	return added, nil
}

// approval is the role as it is kept here.
func (r ImportedRole) approval(role string) *approval {
	a := &approval{Scopes: grantable(role, r.Scopes), ApprovedAtMs: r.ApprovedAtMs, RotatedAtMs: r.RotatedAtMs, RevokedAtMs: r.RevokedAtMs}
	if text := r.Token.Reveal(); strings.TrimSpace(text) == text && len(text) >= importedTokenBytesMin && r.RevokedAtMs == 0 {
		a.Tokens = []deviceToken{{
			SHA256: tokenHash(text), Scopes: grantable(role, r.TokenScopes), CreatedAtMs: r.TokenCreatedAtMs, LastUsedAtMs: r.LastUsedAtMs,
		}}
		for _, scope := range a.Tokens[0].Scopes {
			if !covers(a.Scopes, []string{scope}) {
				a.Scopes = append(a.Scopes, scope)
			}
		}
	}
	return a
}

// importedTokenBytesMin is the length below which a token can be guessed; those of
// the original have 43 characters.
const importedTokenBytesMin = 32
