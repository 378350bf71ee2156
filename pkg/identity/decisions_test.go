package identity

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/wire"
)

var local = Actor{Local: true}

// as is the connection of a grant as a handler sees it.
func as(g Grant) Actor {
	return Actor{Peer: &wire.Peer{ConnID: "c", Role: g.Role, Scopes: g.Scopes, DeviceID: g.DeviceID, Principal: g.Principal, BySecret: g.BySecret}}
}

// asks leaves a request of a new device on another machine and returns its id.
func (f *fixture) asks(t *testing.T, d fakeDevice, edits ...func(*Attempt)) string {
	t.Helper()
	a := attempt(append(append([]func(*Attempt){remotely}, edits...), d.signs())...)
	return details(t, f.refusal(t, a))["requestId"].(string)
}

// recorded returns the newest record of an action.
func (f *fixture) recorded(t *testing.T, action string) audit.Record {
	t.Helper()
	require.NoError(t, f.record.Append(context.Background(), audit.Record{Action: "flush", Decision: audit.Allowed}))
	list, err := f.record.List(audit.Query{Action: action, Limit: 1})
	require.NoError(t, err)
	require.Len(t, list, 1, "%s was recorded", action)
	return list[0]
}

func TestApproveLetsTheDeviceIn(t *testing.T) {
	f := newFixture(t, nil)
	admin := as(f.grant(t, attempt(newFakeDevice().signs())))
	f.told.take()
	d := newFakeDevice()
	id := f.asks(t, d, withScopes(protocol.ScopeOperatorRead))
	require.Equal(t, []string{"requested operator [operator.read]"}, f.told.take())
	require.Equal(t, id, f.asks(t, d, withScopes(protocol.ScopeOperatorRead)))
	require.Empty(t, f.told.take(), "asking again is told to nobody")

	list, err := f.PendingRequests()
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, Pending{
		RequestID: id, DeviceID: d.id(), PublicKey: encodeKey(d.public), Platform: "linux", ClientID: "test", ClientMode: "test",
		Role: "operator", Scopes: []string{protocol.ScopeOperatorRead}, RemoteIP: "192.0.2.9", TS: list[0].TS,
	}, list[0])

	out, err := f.Approve(context.Background(), admin, id)
	require.NoError(t, err)
	require.Equal(t, d.id(), out.DeviceID)
	require.Equal(t, []string{protocol.RoleOperator}, out.Roles)
	require.Equal(t, []string{protocol.ScopeOperatorRead}, out.Scopes)
	require.False(t, out.Self)
	require.Len(t, out.Tokens, 1)
	require.Equal(t, []string{"approved operator [operator.read] silent=false"}, f.told.take())
	r := f.recorded(t, audit.ActionPairApprove)
	require.Equal(t, []string{admin.Peer.Principal, d.id(), audit.Allowed}, []string{r.Actor, r.Device, r.Decision})

	_, err = f.Approve(context.Background(), admin, id)
	require.ErrorIs(t, err, ErrUnknownRequest)
	f.restart(t)
	require.Equal(t, []string{protocol.ScopeOperatorRead}, f.grant(t, attempt(remotely, withScopes(protocol.ScopeOperatorRead), d.signs())).Scopes)
	f.asks(t, d, withScopes(protocol.ScopeOperatorRead, protocol.ScopeOperatorWrite))
	f.asks(t, d, withRole(protocol.RoleNode), withScopes())
}

// The token that a device holds stays good for what is approved later.
func TestApproveWidensTheTokenThatIsHeld(t *testing.T) {
	f := newFixture(t, nil)
	d := newFakeDevice()
	token := f.grant(t, attempt(withScopes(protocol.ScopeOperatorRead), d.signs())).Auth.V.DeviceToken
	id := f.asks(t, d, withScopes(protocol.ScopeOperatorWrite))
	_, err := f.Approve(context.Background(), local, id)
	require.NoError(t, err)
	g := f.grant(t, attempt(remotely, withScopes(protocol.ScopeOperatorWrite), withToken(token), d.signs()))
	require.Equal(t, token, g.Auth.V.DeviceToken)
}

// Entries 42 to 45: nobody gives what they do not hold, and a device token without
// admin decides about its own device only.
func TestWhoMayDecide(t *testing.T) {
	const admin, pairing, read, write = protocol.ScopeOperatorAdmin, protocol.ScopeOperatorPairing, protocol.ScopeOperatorRead, protocol.ScopeOperatorWrite
	type deed func(*fixture, Actor, Pending, string) error
	approve := func(f *fixture, by Actor, p Pending, _ string) error {
		_, err := f.Approve(context.Background(), by, p.RequestID)
		return err
	}
	reject := func(f *fixture, by Actor, p Pending, _ string) error {
		_, err := f.Reject(context.Background(), by, p.RequestID)
		return err
	}
	remove := func(f *fixture, by Actor, _ Pending, other string) error {
		_, err := f.Remove(context.Background(), by, other)
		return err
	}
	rename := func(f *fixture, by Actor, _ Pending, other string) error {
		_, err := f.Rename(context.Background(), by, other, "x")
		return err
	}
	rotate := func(f *fixture, by Actor, _ Pending, other string) error {
		_, _, err := f.Rotate(context.Background(), by, other, protocol.RoleOperator, nil)
		return err
	}
	revoke := func(f *fixture, by Actor, _ Pending, other string) error {
		_, err := f.Revoke(context.Background(), by, other, protocol.RoleOperator)
		return err
	}
	everything := map[string]deed{"approve": approve, "reject": reject, "remove": remove, "rename": rename, "rotate": rotate, "revoke": revoke}
	cases := []struct {
		name    string
		holds   []string
		byToken bool
		asked   []string
		deeds   map[string]deed
		missing string
	}{
		{name: "admin", holds: []string{admin}, asked: []string{read}, deeds: everything},
		{name: "admin by device token", holds: []string{admin}, byToken: true, asked: []string{read}, deeds: everything},
		{name: "pairing within its scopes", holds: []string{pairing, read}, asked: []string{read}, deeds: everything},
		{name: "pairing beyond its scopes", holds: []string{pairing, read}, asked: []string{read, write}, missing: "operator.write",
			deeds: map[string]deed{"approve": approve, "remove": remove, "rename": rename, "rotate": rotate, "revoke": revoke}},
		{name: "pairing gives admin", holds: []string{pairing}, asked: []string{admin}, deeds: map[string]deed{"approve": approve}, missing: "operator.admin"},
		{name: "pairing by device token", holds: []string{pairing, read}, byToken: true, asked: []string{read}, deeds: everything, missing: "operator.admin"},
		{name: "no pairing", holds: []string{read, write}, asked: []string{read}, deeds: everything, missing: "operator.pairing"},
	}
	for _, c := range cases {
		for name, do := range c.deeds {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				f := newFixture(t, nil)
				actor := newFakeDevice()
				g := f.grant(t, attempt(withScopes(c.holds...), actor.signs()))
				if c.byToken {
					g = f.grant(t, attempt(withScopes(c.holds...), withToken(g.Auth.V.DeviceToken), actor.signs()))
				}
				require.Equal(t, !c.byToken, g.BySecret)
				other := newFakeDevice()
				f.grant(t, attempt(withScopes(c.asked...), other.signs()))
				id := f.asks(t, newFakeDevice(), withScopes(c.asked...))
				before, _ := f.stored(t, other.id())
				f.told.take()
				err := do(f, as(g), Pending{RequestID: id}, other.id())
				if c.missing == "" {
					require.NoError(t, err)
					return
				}
				var no *wire.Error
				require.ErrorAs(t, err, &no)
				require.Equal(t, protocol.ErrorInvalidRequest, no.Code)
				require.True(t, strings.HasPrefix(no.Message, "missing scope: ") && strings.Contains(no.Message, c.missing), no.Message)
				require.Contains(t, string(no.Details), protocol.DetailMissingScope)
				after, _ := f.stored(t, other.id())
				require.Equal(t, before, after, "nothing changed")
				require.Contains(t, f.waiting(t), id)
				require.Empty(t, f.told.take())
			})
		}
	}
	f := newFixture(t, nil)
	require.Error(t, reject(f, Actor{}, Pending{RequestID: f.asks(t, newFakeDevice())}, ""), "the zero actor may do nothing")
	node := Actor{Peer: &wire.Peer{Role: protocol.RoleNode, Scopes: []string{admin}}}
	require.Error(t, remove(f, node, Pending{}, "x"), "nor may a node")
	require.False(t, node.Sees("x"))
	require.True(t, local.Sees("x"))
}

func TestADeviceDecidesAboutItself(t *testing.T) {
	f := newFixture(t, nil)
	d := newFakeDevice()
	scopes := withScopes(protocol.ScopeOperatorPairing, protocol.ScopeOperatorRead)
	token := f.grant(t, attempt(scopes, d.signs())).Auth.V.DeviceToken
	self := as(f.grant(t, attempt(scopes, withToken(token), d.signs())))
	require.True(t, self.Sees(d.id()))
	require.False(t, self.Sees("another"))

	_, err := f.Approve(context.Background(), self, f.asks(t, d, withScopes(protocol.ScopeOperatorAdmin)))
	require.ErrorContains(t, err, "missing scope: operator.admin")
	_, err = f.Approve(context.Background(), self, f.asks(t, d, withRole(protocol.RoleNode), withScopes()))
	require.ErrorContains(t, err, "missing scope: operator.admin", "a role that it does not have is not its own to give")

	fresh, sum, err := f.Rotate(context.Background(), self, d.id(), protocol.RoleOperator, []string{protocol.ScopeOperatorRead})
	require.NoError(t, err)
	require.Len(t, fresh, 43)
	require.Equal(t, []string{protocol.ScopeOperatorRead}, sum.Scopes)
	f.refusal(t, attempt(withToken(token), withScopes(), d.signs()))
	f.grant(t, attempt(withToken(fresh), withScopes(protocol.ScopeOperatorRead), d.signs()))
	f.refusal(t, attempt(withToken(fresh), withScopes(protocol.ScopeOperatorPairing), d.signs()))
	_, err = f.Remove(context.Background(), self, d.id())
	require.NoError(t, err)
}

// Between the connect of an operator and its decision its device was removed.
func TestAuthorityIsLookedUpAtTheDecision(t *testing.T) {
	f := newFixture(t, nil)
	d := newFakeDevice()
	g := f.grant(t, attempt(d.signs()))
	id := f.asks(t, newFakeDevice())
	_, err := f.Remove(context.Background(), local, d.id())
	require.NoError(t, err)
	_, err = f.Approve(context.Background(), as(g), id)
	require.ErrorContains(t, err, "missing scope")
	require.Contains(t, f.waiting(t), id)
}

func TestRejectRemoveRename(t *testing.T) {
	f := newFixture(t, nil)
	d := newFakeDevice()
	id := f.asks(t, d)
	f.told.take()
	p, err := f.Reject(context.Background(), local, id)
	require.NoError(t, err)
	require.Equal(t, d.id(), p.DeviceID)
	require.Equal(t, []string{"rejected operator [operator.admin operator.approvals operator.pairing] silent=false"}, f.told.take())
	require.Equal(t, "local", f.recorded(t, audit.ActionPairReject).Actor)
	_, err = f.Reject(context.Background(), local, id)
	require.ErrorIs(t, err, ErrUnknownRequest)

	g := f.grant(t, attempt(d.signs()))
	f.asks(t, d, withRole(protocol.RoleNode), withScopes())
	f.told.take()
	named, err := f.Rename(context.Background(), local, d.id(), " Kitchen \x1b[2J")
	require.NoError(t, err)
	require.Equal(t, "Kitchen [2J", named.DisplayName)
	f.grant(t, attempt(func(a *Attempt) { a.Params.Client.DisplayName = wire.Some("my own") }, d.signs()))
	list, err := f.Devices()
	require.NoError(t, err)
	require.Equal(t, "Kitchen [2J", list[0].DisplayName, "it does not rename itself")
	require.True(t, list[0].Self)

	gone, err := f.Remove(context.Background(), local, d.id())
	require.NoError(t, err)
	require.Equal(t, d.id(), gone.DeviceID)
	require.Equal(t, []string{"changed " + d.id()[:4] + ` ""`, "rejected node [] silent=false"}, f.told.take())
	require.Empty(t, f.waiting(t), "what it asked for is gone too")
	f.refusal(t, attempt(withToken(g.Auth.V.DeviceToken), d.signs()))
	_, err = f.Remove(context.Background(), local, d.id())
	require.ErrorIs(t, err, ErrUnknownDevice)
	_, err = f.Rename(context.Background(), local, d.id(), "x")
	require.ErrorIs(t, err, ErrUnknownDevice)
	require.Equal(t, audit.Refused, f.recorded(t, audit.ActionDeviceRename).Decision)
}

func TestRotateAndRevoke(t *testing.T) {
	f := newFixture(t, nil)
	admin := as(f.grant(t, attempt(newFakeDevice().signs())))
	d := newFakeDevice()
	scopes := withScopes(protocol.ScopeOperatorRead, protocol.ScopeOperatorWrite)
	g := f.grant(t, attempt(scopes, d.signs()))
	f.told.take()

	text, sum, err := f.Rotate(context.Background(), admin, d.id(), protocol.RoleOperator, []string{protocol.ScopeOperatorRead, protocol.ScopeOperatorAdmin})
	require.NoError(t, err)
	require.Empty(t, text, "the token is told to its device only")
	require.Equal(t, []string{protocol.ScopeOperatorRead}, sum.Scopes, "rotation gives nothing that was not approved")
	require.NotZero(t, sum.RotatedAtMs)
	require.Equal(t, []string{"changed " + d.id()[:4] + ` "operator"`}, f.told.take())
	holds, err := f.Holds(g)
	require.NoError(t, err)
	require.False(t, holds)

	text, _, err = f.Rotate(context.Background(), local, d.id(), protocol.RoleOperator, nil)
	require.NoError(t, err)
	f.grant(t, attempt(remotely, scopes, withToken(text), d.signs()))
	require.NotContains(t, f.log.String(), text)

	for _, bad := range []struct{ id, role string }{{"zz", protocol.RoleOperator}, {d.id(), protocol.RoleNode}, {d.id(), ""}} {
		_, _, err = f.Rotate(context.Background(), local, bad.id, bad.role, nil)
		require.ErrorIs(t, err, ErrUnknownToken)
		_, err = f.Revoke(context.Background(), local, bad.id, bad.role)
		require.ErrorIs(t, err, ErrUnknownToken)
	}
	_, _, err = f.Rotate(context.Background(), local, d.id(), protocol.RoleOperator, []string{protocol.ScopeOperatorAdmin})
	require.ErrorContains(t, err, "missing scope: operator.admin")

	f.told.take()
	sum, err = f.Revoke(context.Background(), admin, d.id(), protocol.RoleOperator)
	require.NoError(t, err)
	require.NotZero(t, sum.RevokedAtMs)
	require.Equal(t, []string{"changed " + d.id()[:4] + ` "operator"`}, f.told.take())
	f.refusal(t, attempt(scopes, withToken(text), d.signs()))
	f.grant(t, attempt(remotely, scopes, d.signs()))
	stored, _ := f.stored(t, d.id())
	require.Zero(t, stored.Roles[protocol.RoleOperator].RevokedAtMs, "the shared secret mints a new one")
}

func TestHolds(t *testing.T) {
	f := newFixture(t, nil)
	d, other := newFakeDevice(), newFakeDevice()
	bySecret := f.grant(t, attempt(d.signs()))
	byToken := f.grant(t, attempt(withToken(bySecret.Auth.V.DeviceToken), d.signs()))
	bare := f.grant(t, attempt())
	f.grant(t, attempt(other.signs()))
	check := func(want bool, grants ...Grant) {
		t.Helper()
		for _, g := range grants {
			holds, err := f.Holds(g)
			require.NoError(t, err)
			require.Equal(t, want, holds)
		}
	}
	check(true, bySecret, byToken, bare)
	_, err := f.Revoke(context.Background(), local, other.id(), protocol.RoleOperator)
	require.NoError(t, err)
	check(true, bySecret, byToken, bare)
	_, err = f.Remove(context.Background(), local, d.id())
	require.NoError(t, err)
	check(false, bySecret, byToken)
	check(true, bare)
}

func TestExpiredRequestsCannotBeDecided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		id := f.asks(t, newFakeDevice())
		time.Sleep(pendingTTL)
		list, err := f.PendingRequests()
		require.NoError(t, err)
		require.Empty(t, list)
		_, err = f.Approve(context.Background(), local, id)
		require.ErrorIs(t, err, ErrUnknownRequest)
	})
}

// A silent approval is an event and a record too.
func TestSilentPairingIsTold(t *testing.T) {
	f := newFixture(t, nil)
	d := newFakeDevice()
	f.grant(t, attempt(withScopes(protocol.ScopeOperatorRead), d.signs()))
	require.Equal(t, []string{"approved operator [operator.read] silent=true"}, f.told.take())
	require.Equal(t, d.id(), f.recorded(t, audit.ActionPairApprove).Actor)
	f.grant(t, attempt(withScopes(protocol.ScopeOperatorRead), d.signs()))
	require.Empty(t, f.told.take())
}

func TestEveryConnectIsRecorded(t *testing.T) {
	f := newFixture(t, nil)
	d := newFakeDevice()
	f.grant(t, attempt(d.signs()))
	r := f.recorded(t, audit.ActionConnect)
	require.Equal(t, []any{audit.Allowed, d.id(), "127.0.0.1", fullScopes()}, []any{r.Decision, r.Actor, r.Address, r.Scopes})
	f.refusal(t, attempt(remotely, withToken("wrong")))
	r = f.recorded(t, audit.ActionConnect)
	require.Equal(t, []any{audit.Refused, "192.0.2.9", "AUTH_TOKEN_MISMATCH"}, []any{r.Decision, r.Address, r.Code})
	f.asks(t, newFakeDevice())
	require.Equal(t, "192.0.2.9", f.recorded(t, audit.ActionPairRequest).Address)
	require.Equal(t, "PAIRING_REQUIRED", f.recorded(t, audit.ActionConnect).Code)
}
