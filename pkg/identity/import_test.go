package identity

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/settings"
)

// importedToken has the form and length of the original's tokens.
var importedToken = strings.Repeat("imported-token-", 3)

// imported is a phone that another gateway had paired as an operator.
func imported(d fakeDevice, scopes ...string) Imported {
	return Imported{
		DeviceID: d.id(), PublicKey: encodeKey(d.public), Platform: "linux", CreatedAtMs: 5,
		Roles: map[string]ImportedRole{protocol.RoleOperator: {
			Scopes: scopes, ApprovedAtMs: 6, Token: settings.NewSecret(importedToken), TokenScopes: scopes, TokenCreatedAtMs: 7, LastUsedAtMs: 8,
		}},
	}
}

func TestImportedDeviceConnectsWithTheTokenItHas(t *testing.T) {
	f := newFixture(t, nil)
	d := newFakeDevice()
	added, err := f.Import(t.Context(), imported(d, protocol.ScopeOperatorRead), "/there", false)
	require.NoError(t, err)
	require.True(t, added)
	g := f.grant(t, attempt(remotely, withToken(importedToken), withScopes(protocol.ScopeOperatorRead), d.signs()))
	require.Equal(t, d.id(), g.DeviceID)
	require.Equal(t, importedToken, g.Auth.V.DeviceToken)
	r := f.refusal(t, attempt(remotely, withToken(importedToken), withScopes(protocol.ScopeOperatorAdmin), d.signs()))
	require.Contains(t, r.Err.Message, "device token mismatch", "no more than it was approved for")
	r = f.refusal(t, attempt(remotely, withToken(importedToken), withScopes(protocol.ScopeOperatorRead), newFakeDevice().signs()))
	require.Contains(t, r.Err.Message, "device token mismatch", "and no other device")
	stored, _ := f.stored(t, d.id())
	require.Equal(t, tokenHash(importedToken), stored.Roles[protocol.RoleOperator].Tokens[0].SHA256)
	require.False(t, stored.Self, "a person has approved it, so it does not make room for others")
}

func TestImportLeavesAKnownDeviceAlone(t *testing.T) {
	f := newFixture(t, nil)
	d := newFakeDevice()
	f.grant(t, attempt(withScopes(protocol.ScopeOperatorRead), d.signs()))
	before, _ := f.stored(t, d.id())
	for _, dry := range []bool{true, false} {
		added, err := f.Import(t.Context(), imported(d, protocol.ScopeOperatorAdmin), "/there", dry)
		require.NoError(t, err)
		require.False(t, added)
	}
	after, _ := f.stored(t, d.id())
	require.Equal(t, before, after)
}

func TestImportRefuses(t *testing.T) {
	f := newFixture(t, nil)
	d := newFakeDevice()
	for name, c := range map[string]struct {
		edit func(*Imported)
		want string
	}{
		"another id":               {func(i *Imported) { i.DeviceID = newFakeDevice().id() }, "not that of its key"},
		"a key of small order":     {func(i *Imported) { i.PublicKey = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" }, "small order"},
		"no key":                   {func(i *Imported) { i.PublicKey = "" }, "32 bytes"},
		"a role that nobody knows": {func(i *Imported) { i.Roles = map[string]ImportedRole{"root": {}} }, "no role"},
	} {
		t.Run(name, func(t *testing.T) {
			in := imported(d, protocol.ScopeOperatorRead)
			c.edit(&in)
			_, err := f.Import(t.Context(), in, "/there", false)
			require.ErrorContains(t, err, c.want)
		})
	}
	_, ok := f.stored(t, d.id())
	require.False(t, ok)
}

func TestImportDropsTokensThatProveNothing(t *testing.T) {
	for name, edit := range map[string]func(*ImportedRole){
		"revoked": func(r *ImportedRole) { r.RevokedAtMs = 9 },
		"short":   func(r *ImportedRole) { r.Token = settings.NewSecret("undefined") },
		"padded":  func(r *ImportedRole) { r.Token = settings.NewSecret(importedToken + " ") },
		"none":    func(r *ImportedRole) { r.Token = settings.Secret{} },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			d := newFakeDevice()
			in := imported(d, protocol.ScopeOperatorRead)
			role := in.Roles[protocol.RoleOperator]
			edit(&role)
			in.Roles[protocol.RoleOperator] = role
			_, err := f.Import(t.Context(), in, "/there", false)
			require.NoError(t, err)
			stored, ok := f.stored(t, d.id())
			require.True(t, ok)
			require.Empty(t, stored.Roles[protocol.RoleOperator].Tokens)
		})
	}
}
