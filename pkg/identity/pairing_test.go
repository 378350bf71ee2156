package identity

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

// A device token is answered with that same string, so that the other processes of
// the device, which hold it too, are not locked out.
func TestDeviceTokenComesBackUnchanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		d := newFakeDevice()
		first := f.grant(t, attempt(d.signs()))
		token := first.Auth.V.DeviceToken
		commits := f.db.Stats().Commits
		time.Sleep(time.Hour)
		for _, edits := range [][]func(*Attempt){
			{},             // connect-device-token-only
			{withScopes()}, // asks for nothing
			{withScopes(protocol.ScopeOperatorPairing)}, // asks for less
			{withScopes(protocol.ScopeOperatorRead)},    // admin includes it
			{remotely},                                  // from anywhere
		} {
			g := f.grant(t, attempt(append(edits, withToken(token), d.signs())...))
			require.Equal(t, first.Auth, g.Auth)
			require.Equal(t, d.id(), g.Principal)
		}
		require.Equal(t, commits, f.db.Stats().Commits, "connecting by device token waits for no disk")
	})
}

func TestDeviceTokenIsBoundToItsDeviceAndRole(t *testing.T) {
	f := newFixture(t, nil)
	mine, other := newFakeDevice(), newFakeDevice()
	f.grant(t, attempt(other.signs()))
	token := f.grant(t, attempt(mine.signs())).Auth.V.DeviceToken
	node := f.grant(t, attempt(withRole("node"), mine.signs())).Auth.V.DeviceToken
	for name, a := range map[string]Attempt{
		"another device's":        attempt(withToken(token), other.signs()),
		"an unknown device's":     attempt(withToken(token), newFakeDevice().signs()),
		"another role's":          attempt(withToken(node), mine.signs()),
		"operator's for the node": attempt(withRole("node"), withToken(token), mine.signs()),
		"its hash":                attempt(withToken(tokenHash(token)), mine.signs()),
	} {
		require.Equal(t, "unauthorized: device token mismatch (rotate/reissue device token)", f.refusal(t, a).Err.Message, name)
	}
	r := f.refusal(t, attempt(withToken(token)))
	require.Equal(t, "unauthorized: gateway token mismatch (provide gateway auth token)", r.Err.Message, "without the device it is no token at all")
	require.False(t, f.isSecret(token))
}

// What a person took back later is gone from the tokens given out before.
func TestDeviceTokenIsNoWiderThanWhatIsApprovedNow(t *testing.T) {
	f := newFixture(t, nil)
	d := newFakeDevice()
	token := f.grant(t, attempt(d.signs())).Auth.V.DeviceToken
	require.NoError(t, f.db.Update(context.Background(), func(tx *store.Tx) error {
		stored, _, err := devices.Get(tx, d.id())
		if err != nil {
			return err
		}
		stored.Roles[protocol.RoleOperator].Scopes = []string{protocol.ScopeOperatorRead}
		return devices.Put(tx, d.id(), stored)
	}))
	r := f.refusal(t, attempt(withToken(token), d.signs()))
	require.Equal(t, "NOT_PAIRED", r.Err.Code)
	require.Contains(t, f.waiting(t), details(t, r)["requestId"])
	f.grant(t, attempt(withScopes(protocol.ScopeOperatorRead), withToken(token), d.signs()))
}

// Clients overwrite their stored token from every hello-ok, so it is never narrower
// than what was approved.
func TestMintedTokenCarriesAllApprovedScopes(t *testing.T) {
	f := newFixture(t, nil)
	d := newFakeDevice()
	f.grant(t, attempt(d.signs()))
	narrow := f.grant(t, attempt(withScopes(protocol.ScopeOperatorRead), d.signs()))
	require.Equal(t, []string{protocol.ScopeOperatorRead}, narrow.Scopes)
	require.Equal(t, fullScopes(), narrow.Auth.V.Scopes)
	wide := f.grant(t, attempt(withToken(narrow.Auth.V.DeviceToken), d.signs()))
	require.Equal(t, fullScopes(), wide.Scopes)
}

func TestFourTokensAreValidAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		d := newFakeDevice()
		mint := func() string {
			time.Sleep(time.Second)
			return f.grant(t, attempt(d.signs())).Auth.V.DeviceToken
		}
		use := func(token string) error {
			time.Sleep(time.Second)
			_, err := f.Connect(context.Background(), attempt(withToken(token), d.signs()))
			return err
		}
		tokens := []string{mint(), mint(), mint(), mint()}
		for _, token := range tokens {
			require.NoError(t, use(token))
		}
		require.NoError(t, use(tokens[0])) // tokens[1] is now the least recently used
		fifth := mint()
		require.Error(t, use(tokens[1]))
		for _, token := range []string{tokens[0], tokens[2], tokens[3], fifth} {
			require.NoError(t, use(token))
		}
	})
}

func TestRestartKeepsDevicesAndRequests(t *testing.T) {
	f := newFixture(t, nil)
	d, stranger := newFakeDevice(), newFakeDevice()
	first := f.grant(t, attempt(d.signs()))
	asked := details(t, f.refusal(t, attempt(remotely, stranger.signs())))["requestId"]
	f.restart(t)
	g := f.grant(t, attempt(remotely, withToken(first.Auth.V.DeviceToken), d.signs()))
	require.Equal(t, first.Auth, g.Auth)
	require.Contains(t, f.waiting(t), asked)
	require.Equal(t, asked, details(t, f.refusal(t, attempt(remotely, stranger.signs())))["requestId"])
}

func TestRequestIsStableWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		d := newFakeDevice()
		ask := func(edits ...func(*Attempt)) string {
			a := attempt(append(append([]func(*Attempt){remotely}, edits...), d.signs())...)
			return details(t, f.refusal(t, a))["requestId"].(string)
		}
		id := ask()
		first := f.waiting(t)[id]
		commits := f.db.Stats().Commits
		time.Sleep(pendingTTL - time.Millisecond)
		require.Equal(t, id, ask(withScopes(protocol.ScopeOperatorPairing, protocol.ScopeOperatorAdmin, protocol.ScopeOperatorApprovals)), "the order of scopes makes no other request")
		require.Equal(t, commits, f.db.Stats().Commits, "asking again writes nothing")
		require.Equal(t, first, f.waiting(t)[id])

		require.NotEqual(t, id, ask(withScopes(protocol.ScopeOperatorRead)))
		require.NotEqual(t, id, ask(withRole("node")))
		require.Len(t, f.waiting(t), 3)

		time.Sleep(time.Millisecond)
		require.Equal(t, id, ask())
		require.Greater(t, f.waiting(t)[id].Ts, first.Ts, "after five minutes it is asked anew")
	})
}

func TestRequestsAreCapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		ask := func(d fakeDevice, edits ...func(*Attempt)) string {
			time.Sleep(time.Millisecond)
			a := attempt(append(append([]func(*Attempt){remotely}, edits...), d.signs())...)
			return details(t, f.refusal(t, a))["requestId"].(string)
		}
		one := newFakeDevice()
		var own []string
		for _, scope := range []string{protocol.ScopeOperatorAdmin, protocol.ScopeOperatorRead, protocol.ScopeOperatorWrite, protocol.ScopeOperatorApprovals, protocol.ScopeOperatorPairing} {
			own = append(own, ask(one, withScopes(scope)))
		}
		require.Len(t, f.waiting(t), pendingPerDeviceMax)
		require.NotContains(t, f.waiting(t), own[0], "the device's oldest made room")

		var others []string
		for range 2 * pendingMax {
			others = append(others, ask(newFakeDevice()))
		}
		waiting := f.waiting(t)
		require.Len(t, waiting, pendingMax)
		for _, id := range others[pendingMax:] {
			require.Contains(t, waiting, id)
		}
		time.Sleep(pendingTTL)
		ask(one)
		require.Len(t, f.waiting(t), 1, "what expired is gone")
	})
}

func TestSilentApprovalAnswersTheWaitingRequest(t *testing.T) {
	f := newFixture(t, nil)
	d := newFakeDevice()
	f.refusal(t, attempt(remotely, d.signs()))
	require.Len(t, f.waiting(t), 1)
	f.grant(t, attempt(d.signs()))
	require.Empty(t, f.waiting(t))
	f.grant(t, attempt(remotely, d.signs()))
}

func TestTextsOfClientsAreBoundedAndPlain(t *testing.T) {
	f := newFixture(t, nil)
	d := newFakeDevice()
	f.refusal(t, attempt(remotely, func(a *Attempt) {
		a.Params.Client.DisplayName = wire.Some("\x1b[2Jphone\u202e\n" + strings.Repeat("ö", 500))
		a.Params.Client.Platform = strings.Repeat("x", 500)
	}, d.signs()))
	for _, r := range f.waiting(t) {
		require.True(t, strings.HasPrefix(r.DisplayName, "[2Jphoneö"), "%q", r.DisplayName)
		require.LessOrEqual(t, len(r.DisplayName), nameBytesMax)
		require.Len(t, r.Platform, detailBytesMax)
		require.Equal(t, "192.0.2.9", r.RemoteIP)
		require.Equal(t, encodeKey(d.public), r.PublicKey)
	}
}

func TestDevicesAreCapped(t *testing.T) {
	f := newFixture(t, nil)
	require.NoError(t, f.db.Update(context.Background(), func(tx *store.Tx) error {
		for i := range devicesMax {
			// The first was approved by a person and seen never.
			d := device{Self: i > 0, LastSeenAtMs: int64(i), Roles: map[string]*approval{}}
			if err := devices.Put(tx, fmt.Sprintf("device-%04d", i), d); err != nil {
				return err
			}
		}
		return nil
	}))
	d := newFakeDevice()
	f.grant(t, attempt(d.signs()))
	_, kept := f.stored(t, "device-0000")
	require.True(t, kept)
	_, kept = f.stored(t, "device-0001")
	require.False(t, kept, "the self-approved device that was away longest makes room")
	_, kept = f.stored(t, "device-0002")
	require.True(t, kept)
}

// When a device was seen is written by Run, once a minute and at the end.
func TestSightings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		d := newFakeDevice()
		token := f.grant(t, attempt(d.signs())).Auth.V.DeviceToken
		connect := func() int64 {
			time.Sleep(time.Second)
			f.grant(t, attempt(remotely, withToken(token), d.signs()))
			return time.Now().UnixMilli()
		}
		seenAt := func() int64 {
			stored, _ := f.stored(t, d.id())
			require.Equal(t, stored.LastSeenAtMs, stored.Roles[protocol.RoleOperator].Tokens[0].LastUsedAtMs)
			return stored.LastSeenAtMs
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- f.Run(ctx) }()

		commits := f.db.Stats().Commits
		for range 10 {
			connect()
		}
		last := connect()
		require.Less(t, seenAt(), last)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, last, seenAt())
		require.Equal(t, commits+1, f.db.Stats().Commits)
		stored, _ := f.stored(t, d.id())
		require.Equal(t, "192.0.2.9", stored.RemoteIP)

		time.Sleep(time.Hour)
		require.Equal(t, commits+1, f.db.Stats().Commits, "an idle hour writes nothing")

		last = connect()
		cancel()
		require.NoError(t, <-done)
		require.Equal(t, last, seenAt())
	})
}

func TestSightingsAreBounded(t *testing.T) {
	f := newFixture(t, nil)
	for i := range sightingsMax + 10 {
		f.sight(fmt.Sprint(i), "hash", "")
	}
	require.Len(t, f.seen, sightingsMax)
	for i := range 100 {
		f.sight("1", fmt.Sprint(i), "")
	}
	require.Len(t, f.seen["1"].tokens, 2*tokensMax)
}
