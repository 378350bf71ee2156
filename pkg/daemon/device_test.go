package daemon

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/identity"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/wire"
)

// guestHouse is a house that is known as gw.example.com, too.
func guestHouse(t *testing.T) *house {
	t.Helper()
	h := prepare(t, nil)
	require.NoError(t, os.MkdirAll(h.dir, 0o700))
	config := `{gateway: {allowedHosts: ["gw.example.com"]}}`
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "coderclaw.json"), []byte(config), 0o600))
	h.start()
	return h
}

// abroad makes a visit look like one from another host: it addresses the gateway by
// a name that is not local.
func (h *house) abroad(o *client.Options) {
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, h.url()[len("ws://"):])
	}
	o.URL, o.AllowPlaintext = "ws://gw.example.com", true
	o.HTTPClient = &http.Client{Transport: &http.Transport{DialContext: dial}}
}

// as makes a visit with a known device, by the gateway's secret and with these scopes.
func as(id *client.Identity, scopes ...string) func(*client.Options) {
	return func(o *client.Options) { o.Identity, o.Scopes = id, scopes }
}

func byToken(token string) func(*client.Options) {
	return func(o *client.Options) { o.Token = token }
}

func newIdentity(t *testing.T) *client.Identity {
	t.Helper()
	id, err := client.LoadIdentity(filepath.Join(t.TempDir(), "device"))
	require.NoError(t, err)
	return id
}

// refused connects and returns the refusal.
func (h *house) refused(edit ...func(*client.Options)) *wire.Error {
	h.t.Helper()
	o := client.Options{
		URL: h.url(), Token: testToken,
		Client: protocol.ConnectClient{ID: protocol.GatewayClientIdTest, Version: "1", Platform: "linux", Mode: protocol.GatewayClientModeTest},
	}
	for _, e := range edit {
		e(&o)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := client.Dial(ctx, o)
	if err == nil {
		_ = c.Close()
	}
	var no *wire.Error
	require.ErrorAs(h.t, err, &no)
	return no
}

// event waits for the newest event of a kind and returns it.
func event[T any](v *visitor, e wire.Event[T], ok func(T) bool) (found T) {
	v.t.Helper()
	v.until(e.Name, func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		for _, got := range v.events {
			if got.Name != e.Name {
				continue
			}
			payload, err := e.Payload.DecodeOpen(got.Payload)
			require.NoError(v.t, err)
			if ok(payload) {
				found = payload
				return true
			}
		}
		return false
	})
	return found
}

// ended waits for the end of the connection and returns how the gateway closed it.
func (v *visitor) ended() client.CloseError {
	v.t.Helper()
	select {
	case <-v.Done():
	case <-time.After(10 * time.Second):
		v.t.Fatal("the connection stays open")
	}
	var end *client.CloseError
	require.ErrorAs(v.t, v.Err(), &end)
	return client.CloseError{Code: end.Code, Reason: end.Reason}
}

// alive proves that the connection is served.
func (v *visitor) alive() {
	v.t.Helper()
	_, err := v.Health(v.t.Context(), protocol.HealthParams{})
	require.NoError(v.t, err)
}

var takenBack = client.CloseError{Code: protocol.CloseDeviceAuthorityChangedCode, Reason: protocol.CloseDeviceAuthorityChanged}

func TestADeviceFromElsewhereIsApproved(t *testing.T) {
	h := guestHouse(t)
	admin := h.visit("admin")
	id := newIdentity(t)
	phone := []func(*client.Options){h.abroad, as(id, protocol.ScopeOperatorRead)}

	no := h.refused(phone...)
	require.Equal(t, []string{protocol.ErrorNotPaired, "pairing required"}, []string{no.Code, no.Message})
	asked := event(admin, protocol.EventDevicePairRequested, func(e protocol.DevicePairRequestedEvent) bool { return e.DeviceID == id.DeviceID })
	require.Contains(t, string(no.Details), asked.RequestID)
	require.Equal(t, []string{protocol.ScopeOperatorRead}, asked.Scopes)

	// An operator without pairing is not told, one with it cannot give what it lacks.
	reader := h.visit("reader", as(newIdentity(t), protocol.ScopeOperatorRead))
	helper := h.visit("helper", as(newIdentity(t), protocol.ScopeOperatorPairing))
	_, err := helper.DevicePairApprove(t.Context(), protocol.DevicePairApproveParams{RequestID: asked.RequestID})
	require.ErrorContains(t, err, "missing scope: operator.read")
	_, err = reader.DevicePairApprove(t.Context(), protocol.DevicePairApproveParams{RequestID: asked.RequestID})
	require.ErrorContains(t, err, "missing scope: operator.pairing")

	got, err := admin.DevicePairApprove(t.Context(), protocol.DevicePairApproveParams{RequestID: asked.RequestID})
	require.NoError(t, err)
	require.Equal(t, id.DeviceID, got.Device.DeviceID)
	for _, v := range []*visitor{admin, helper} {
		event(v, protocol.EventDevicePairResolved, func(e protocol.DevicePairResolvedEvent) bool {
			return e.RequestID == asked.RequestID && e.Decision == "approved"
		})
	}
	require.NotContains(t, reader.dump(), "device.pair")

	v := h.visit("phone", phone...)
	token := v.Hello().Auth.V.DeviceToken
	require.NotEmpty(t, token)
	v.alive()
	h.visit("phone", append(phone, byToken(token))...).alive()
}

func TestTakingBackAuthorityClosesLiveConnections(t *testing.T) {
	cases := map[string]func(*testing.T, *visitor, string) error{
		"remove": func(t *testing.T, by *visitor, id string) error {
			_, err := by.DevicePairRemove(t.Context(), protocol.DevicePairRemoveParams{DeviceID: id})
			return err
		},
		"rotate": func(t *testing.T, by *visitor, id string) error {
			_, err := by.DeviceTokenRotate(t.Context(), protocol.DeviceTokenRotateParams{DeviceID: id, Role: protocol.RoleOperator})
			return err
		},
		"revoke": func(t *testing.T, by *visitor, id string) error {
			_, err := by.DeviceTokenRevoke(t.Context(), protocol.DeviceTokenRevokeParams{DeviceID: id, Role: protocol.RoleOperator})
			return err
		},
	}
	h := guestHouse(t)
	admin := h.visit("admin")
	for name, takeBack := range cases {
		t.Run(name, func(t *testing.T) {
			id := newIdentity(t)
			first := h.visit("lamp", as(id, protocol.ScopeOperatorRead))
			token := first.Hello().Auth.V.DeviceToken
			second := h.visit("lamp", as(id, protocol.ScopeOperatorRead), byToken(token))
			bystander := h.visit("bystander")
			require.NoError(t, takeBack(t, admin, id.DeviceID))
			require.Equal(t, takenBack, first.ended())
			require.Equal(t, takenBack, second.ended())
			no := h.refused(as(id, protocol.ScopeOperatorRead), byToken(token))
			require.Contains(t, no.Message, "device token mismatch")
			admin.alive()
			bystander.alive()
		})
		t.Run(name+" oneself", func(t *testing.T) {
			id := newIdentity(t)
			own := h.visit("lamp", as(id, protocol.ScopeOperatorPairing, protocol.ScopeOperatorRead))
			other := h.visit("lamp", as(id, protocol.ScopeOperatorRead))
			require.NoError(t, takeBack(t, own, id.DeviceID), "the answer comes before the close")
			require.Equal(t, takenBack, own.ended())
			require.Equal(t, takenBack, other.ended())
		})
	}
}

func TestANewSecretClosesWhoProvedTheOldOne(t *testing.T) {
	h := guestHouse(t)
	id := newIdentity(t)
	bySecret := h.visit("lamp", as(id, protocol.ScopeOperatorRead))
	token := bySecret.Hello().Auth.V.DeviceToken
	byDevice := h.visit("lamp", as(id, protocol.ScopeOperatorRead), byToken(token))
	require.NoError(t, h.d.guard.SetSecret(t.Context(), settings.NewSecret(testToken+"-next")))
	require.Equal(t, client.CloseError{
		Code: protocol.CloseGatewaySecretChangedCode, Reason: protocol.CloseGatewaySecretChanged,
	}, bySecret.ended())
	byDevice.alive()
	require.Contains(t, h.refused(as(newIdentity(t))).Message, "unauthorized")
}

// The record tells of every connect, refusal and decision, also after a restart.
func TestTheRecordTellsWhoDecidedWhat(t *testing.T) {
	h := guestHouse(t)
	admin := h.visit("admin")
	id := newIdentity(t)
	no := h.refused(h.abroad, as(id, protocol.ScopeOperatorRead))
	require.Equal(t, protocol.ErrorNotPaired, no.Code)
	list, err := admin.DevicePairList(t.Context(), protocol.DevicePairListParams{})
	require.NoError(t, err)
	require.Len(t, list.Pending, 1)
	helper := h.visit("helper", as(newIdentity(t), protocol.ScopeOperatorPairing))
	_, err = helper.DevicePairApprove(t.Context(), protocol.DevicePairApproveParams{RequestID: list.Pending[0].RequestID})
	require.Error(t, err)
	_, err = admin.DevicePairApprove(t.Context(), protocol.DevicePairApproveParams{RequestID: list.Pending[0].RequestID})
	require.NoError(t, err)
	h.visit("phone", h.abroad, as(id, protocol.ScopeOperatorRead))
	_, err = admin.DeviceTokenRotate(t.Context(), protocol.DeviceTokenRotateParams{DeviceID: id.DeviceID, Role: protocol.RoleOperator})
	require.NoError(t, err)
	_, err = admin.DeviceTokenRevoke(t.Context(), protocol.DeviceTokenRevokeParams{DeviceID: id.DeviceID, Role: protocol.RoleOperator})
	require.NoError(t, err)
	_, err = admin.DevicePairRemove(t.Context(), protocol.DevicePairRemoveParams{DeviceID: id.DeviceID})
	require.NoError(t, err)

	by := admin.Hello().Server.ConnID
	h.restart()
	records, err := h.d.audit.List(audit.Query{Device: id.DeviceID})
	require.NoError(t, err)
	told := map[string][]string{}
	for _, r := range records {
		told[r.Action] = append(told[r.Action], r.Decision)
		if r.Action == audit.ActionTokenRotate {
			require.Equal(t, by, r.ConnID)
		}
	}
	require.ElementsMatch(t, []string{audit.Allowed, audit.Refused}, told[audit.ActionConnect])
	require.ElementsMatch(t, []string{audit.Allowed, audit.Refused}, told[audit.ActionPairApprove])
	for _, action := range []string{audit.ActionTokenRotate, audit.ActionTokenRevoke, audit.ActionPairRemove} {
		require.Equal(t, []string{audit.Allowed}, told[action], action)
	}
	for _, r := range records {
		require.NotContains(t, r.Reason, testToken)
	}
}

// fakeHub notes what authority asks of the gateway.
type fakeHub struct {
	wire.Emitter
	peers              []*wire.Peer
	severed, dismissed []string
}

func (h *fakeHub) matching(match func(*wire.Peer) bool) (ids []string) {
	for _, p := range h.peers {
		if match(p) {
			ids = append(ids, p.ConnID)
		}
	}
	return ids
}

func (h *fakeHub) Sever(match func(*wire.Peer) bool, _ int, _ string) int {
	h.severed = append(h.severed, h.matching(match)...)
	return 0
}

func (h *fakeHub) Dismiss(match func(*wire.Peer) bool, _ int, _ string) int {
	h.dismissed = append(h.dismissed, h.matching(match)...)
	return 0
}

func TestAuthorityEndsTheRoleThatChanged(t *testing.T) {
	hub := &fakeHub{peers: []*wire.Peer{
		{ConnID: "desk", DeviceID: "d", Role: protocol.RoleOperator, BySecret: true},
		{ConnID: "node", DeviceID: "d", Role: protocol.RoleNode},
		{ConnID: "other", DeviceID: "e", Role: protocol.RoleOperator},
		{ConnID: "bare", Role: protocol.RoleOperator, BySecret: true},
		{ConnID: "fresh", Role: protocol.RoleOperator, BySecret: true, SecretGeneration: 1},
	}}
	a := newAuthority()
	a.hub = hub
	a.AuthorityChanged("d", protocol.RoleNode)
	require.Equal(t, []string{"node"}, hub.severed)
	hub.severed = nil
	a.AuthorityChanged("d", "")
	require.Equal(t, []string{"desk", "node"}, hub.severed)
	hub.severed = nil
	a.SecretChanged(1)
	require.Equal(t, []string{"desk", "bare"}, hub.severed, "not who has proved the new one already")
}

// Two decisions of one connection are both answered before it ends, and one that
// keeps its authority goes on.
func TestAuthorityAnswersBeforeItEnds(t *testing.T) {
	own := &wire.Peer{ConnID: "own", DeviceID: "d", Role: protocol.RoleOperator}
	hub := &fakeHub{peers: []*wire.Peer{own}}
	a := newAuthority()
	a.hub = hub
	one, oneAnswered := wire.WithAfterReply(t.Context())
	two, twoAnswered := wire.WithAfterReply(t.Context())
	a.decides(one, identity.Actor{Peer: own})
	a.decides(two, identity.Actor{Peer: own})
	a.AuthorityChanged("d", "")
	require.Empty(t, hub.severed)
	oneAnswered()
	require.Empty(t, hub.dismissed)
	twoAnswered()
	require.Equal(t, []string{"own"}, hub.dismissed)

	three, threeAnswered := wire.WithAfterReply(t.Context())
	a.decides(three, identity.Actor{Peer: own})
	threeAnswered()
	require.Equal(t, []string{"own"}, hub.dismissed)
	require.Empty(t, a.deciding)
	a.AuthorityChanged("d", "")
	require.Equal(t, []string{"own"}, hub.severed)
}
