package device

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/identity"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

const testToken = "canary-gateway-token-4f1d"

// room is the service over a real guard and a real store.
type room struct {
	*Service
	guard *identity.Guard
}

func newRoom(t *testing.T) *room {
	t.Helper()
	db, err := store.Open(store.Options{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	guard, err := identity.New(identity.Config{DB: db, Token: settings.NewSecret(testToken), Hostname: "workbench"})
	require.NoError(t, err)
	s, err := New(Config{Guard: guard})
	require.NoError(t, err)
	return &room{Service: s, guard: guard}
}

// gadget is a device with its key.
type gadget struct {
	key   ed25519.PrivateKey
	id    string
	token string // what the last hello gave
}

func newGadget(t *testing.T) *gadget {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	sum := sha256.Sum256(public)
	return &gadget{key: private, id: hex.EncodeToString(sum[:])}
}

// connects shakes hands from this host, or from another one when remote is true.
func (r *room) connects(g *gadget, remote bool, token string, scopes ...string) (identity.Grant, error) {
	const nonce = "bd0cf9c7-9381-448e-b05d-96cb43805862"
	at := time.Now().UnixMilli()
	text := strings.Join([]string{
		"v2", g.id, "test", "test", protocol.RoleOperator, strings.Join(scopes, ","), strconv.FormatInt(at, 10), token, nonce,
	}, "|")
	b64 := base64.RawURLEncoding
	a := identity.Attempt{
		Params: protocol.ConnectParams{
			MinProtocol: protocol.Version, MaxProtocol: protocol.Version,
			Client: protocol.ConnectClient{ID: protocol.GatewayClientIdTest, Version: "1", Platform: "linux", Mode: protocol.GatewayClientModeTest},
			Role:   wire.Some(protocol.RoleOperator), Scopes: scopes,
			Auth: wire.Some(protocol.ConnectAuth{Token: wire.Some(token)}),
			Device: wire.Some(protocol.ConnectDevice{
				ID: g.id, PublicKey: b64.EncodeToString(g.key.Public().(ed25519.PublicKey)),
				Signature: b64.EncodeToString(ed25519.Sign(g.key, []byte(text))), SignedAt: at, Nonce: wire.Some(nonce),
			}),
		},
		Nonce: nonce, RemoteAddr: netip.MustParseAddrPort("127.0.0.1:40000"), LocalAddr: netip.MustParseAddrPort("127.0.0.1:18789"),
		Host: "127.0.0.1:18789", Header: http.Header{},
	}
	if remote {
		a.RemoteAddr, a.Host = netip.MustParseAddrPort("192.0.2.9:4000"), "192.0.2.1:18789"
	}
	grant, err := r.guard.Connect(context.Background(), a)
	if err == nil {
		g.token = grant.Auth.V.DeviceToken
	}
	return grant, err
}

// peer connects from this host by the shared secret.
func (r *room) peer(t *testing.T, g *gadget, scopes ...string) *wire.Peer {
	t.Helper()
	grant, err := r.connects(g, false, testToken, scopes...)
	require.NoError(t, err)
	return &wire.Peer{
		ConnID: "c", Role: grant.Role, Scopes: grant.Scopes, DeviceID: grant.DeviceID, Principal: grant.Principal, BySecret: grant.BySecret,
	}
}

// asks leaves a request from another host.
func (r *room) asks(t *testing.T, g *gadget, scopes ...string) {
	t.Helper()
	_, err := r.connects(g, true, testToken, scopes...)
	refused(t, err, protocol.ErrorNotPaired, "pairing required")
}

func refused(t *testing.T, err error, code, message string) {
	t.Helper()
	var no *wire.Error
	require.ErrorAs(t, err, &no)
	require.Equal(t, []string{code, message}, []string{no.Code, no.Message})
}

func (r *room) list(t *testing.T, peer *wire.Peer) protocol.DevicePairListResult {
	t.Helper()
	list, err := r.DevicePairList(t.Context(), peer, protocol.DevicePairListParams{})
	require.NoError(t, err)
	_, err = protocol.DecodeDevicePairListResult(list.AppendJSON(nil))
	require.NoError(t, err, "the list is what the schema says")
	return list
}

func TestNewNeedsAGuard(t *testing.T) {
	_, err := New(Config{})
	require.EqualError(t, err, "device service needs a guard")
}

func TestListOfAnEmptyHouse(t *testing.T) {
	r := newRoom(t)
	admin := &wire.Peer{Role: protocol.RoleOperator, Scopes: []string{protocol.ScopeOperatorAdmin}, BySecret: true}
	require.JSONEq(t, `{"pending":[],"paired":[]}`, string(r.list(t, admin).AppendJSON(nil)))
}

func TestApprove(t *testing.T) {
	r := newRoom(t)
	admin := r.peer(t, newGadget(t), protocol.ScopeOperatorAdmin)
	phone := newGadget(t)
	r.asks(t, phone, protocol.ScopeOperatorRead)

	waiting := r.list(t, admin).Pending
	require.Len(t, waiting, 1)
	id := waiting[0].RequestID
	require.Equal(t, protocol.DevicePairRequestedEvent{
		RequestID: id, DeviceID: phone.id, PublicKey: waiting[0].PublicKey, Platform: wire.Some("linux"), ClientID: wire.Some("test"),
		ClientMode: wire.Some("test"), Role: wire.Some(protocol.RoleOperator), Roles: []string{protocol.RoleOperator},
		Scopes: []string{protocol.ScopeOperatorRead}, RemoteIP: wire.Some("192.0.2.9"), Silent: wire.Some(false), IsRepair: wire.Some(false),
		Ts: waiting[0].Ts,
	}, waiting[0])
	require.NoError(t, protocol.Validate("DevicePairRequestedEvent", waiting[0].AppendJSON(nil)))

	got, err := r.DevicePairApprove(t.Context(), admin, protocol.DevicePairApproveParams{RequestID: id})
	require.NoError(t, err)
	require.Equal(t, id, got.RequestID)
	require.Equal(t, phone.id, got.Device.DeviceID)
	require.Equal(t, []string{protocol.ScopeOperatorRead}, got.Device.Scopes)
	require.Equal(t, wire.Some(protocol.RoleOperator), got.Device.Role)
	require.Len(t, got.Device.Tokens, 1)
	require.NoError(t, protocol.Validate("DevicePairApproveResult", got.AppendJSON(nil)))
	require.Empty(t, r.list(t, admin).Pending)

	_, err = r.DevicePairApprove(t.Context(), admin, protocol.DevicePairApproveParams{RequestID: id})
	refused(t, err, protocol.ErrorInvalidRequest, "unknown requestId")
	_, err = r.connects(phone, true, testToken, protocol.ScopeOperatorRead)
	require.NoError(t, err)
}

func TestApproveGivesNoMoreThanTheApproverHolds(t *testing.T) {
	r := newRoom(t)
	helper := r.peer(t, newGadget(t), protocol.ScopeOperatorPairing, protocol.ScopeOperatorRead)
	r.asks(t, newGadget(t), protocol.ScopeOperatorRead, protocol.ScopeOperatorWrite)
	id := r.list(t, helper).Pending[0].RequestID
	_, err := r.DevicePairApprove(t.Context(), helper, protocol.DevicePairApproveParams{RequestID: id})
	refused(t, err, protocol.ErrorInvalidRequest, "missing scope: operator.write")
	require.Len(t, r.list(t, helper).Pending, 1, "it still waits")
}

func TestPendingIsNewestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t)
		admin := r.peer(t, newGadget(t), protocol.ScopeOperatorAdmin)
		for range 3 {
			r.asks(t, newGadget(t), protocol.ScopeOperatorRead)
			time.Sleep(time.Second)
		}
		waiting := r.list(t, admin).Pending
		require.Len(t, waiting, 3)
		require.Greater(t, waiting[0].Ts, waiting[1].Ts)
		require.Greater(t, waiting[1].Ts, waiting[2].Ts)
	})
}

func TestReject(t *testing.T) {
	r := newRoom(t)
	admin := r.peer(t, newGadget(t), protocol.ScopeOperatorAdmin)
	phone := newGadget(t)
	r.asks(t, phone, protocol.ScopeOperatorRead)
	params := protocol.DevicePairRejectParams{RequestID: r.list(t, admin).Pending[0].RequestID}
	got, err := r.DevicePairReject(t.Context(), admin, params)
	require.NoError(t, err)
	require.Equal(t, protocol.DevicePairRejectResult{RequestID: params.RequestID, DeviceID: phone.id}, got)
	_, err = r.DevicePairReject(t.Context(), admin, params)
	refused(t, err, protocol.ErrorInvalidRequest, "unknown requestId")
	r.asks(t, phone, protocol.ScopeOperatorRead)
}

func TestRemove(t *testing.T) {
	r := newRoom(t)
	admin := r.peer(t, newGadget(t), protocol.ScopeOperatorAdmin)
	lamp := newGadget(t)
	r.peer(t, lamp, protocol.ScopeOperatorRead)
	require.Len(t, r.list(t, admin).Paired, 2)
	params := protocol.DevicePairRemoveParams{DeviceID: lamp.id}
	got, err := r.DevicePairRemove(t.Context(), admin, params)
	require.NoError(t, err)
	require.Equal(t, protocol.DevicePairRemoveResult{DeviceID: lamp.id}, got)
	require.Len(t, r.list(t, admin).Paired, 1)
	_, err = r.DevicePairRemove(t.Context(), admin, params)
	refused(t, err, protocol.ErrorInvalidRequest, "unknown deviceId")
	_, err = r.connects(lamp, true, lamp.token, protocol.ScopeOperatorRead)
	require.Error(t, err)
}

func TestRotate(t *testing.T) {
	r := newRoom(t)
	admin := r.peer(t, newGadget(t), protocol.ScopeOperatorAdmin)
	lamp := newGadget(t)
	own := r.peer(t, lamp, protocol.ScopeOperatorPairing, protocol.ScopeOperatorRead)
	params := protocol.DeviceTokenRotateParams{
		DeviceID: lamp.id, Role: protocol.RoleOperator, Scopes: []string{protocol.ScopeOperatorRead, protocol.ScopeOperatorWrite},
	}
	got, err := r.DeviceTokenRotate(t.Context(), admin, params)
	require.NoError(t, err)
	require.NotZero(t, got.RotatedAtMs)
	require.Equal(t, protocol.DeviceTokenRotateResult{
		DeviceID: lamp.id, Role: protocol.RoleOperator, Scopes: []string{protocol.ScopeOperatorRead}, RotatedAtMs: got.RotatedAtMs,
	}, got, "approved scopes only, and the token is told to nobody but the device")

	params.Scopes = nil
	got, err = r.DeviceTokenRotate(t.Context(), own, params)
	require.NoError(t, err)
	require.Len(t, got.Token.V, 43)
	require.Equal(t, []string{protocol.ScopeOperatorPairing, protocol.ScopeOperatorRead}, got.Scopes)
	_, err = r.connects(lamp, true, lamp.token, protocol.ScopeOperatorRead)
	require.Error(t, err, "the old token")
	_, err = r.connects(lamp, true, got.Token.V, protocol.ScopeOperatorRead)
	require.NoError(t, err, "the new token")
	listed := string(r.list(t, admin).AppendJSON(nil))
	require.NotContains(t, listed, got.Token.V)
	require.Contains(t, listed, `"rotatedAtMs"`)

	for _, unknown := range []protocol.DeviceTokenRotateParams{
		{DeviceID: "zz", Role: protocol.RoleOperator}, {DeviceID: lamp.id, Role: protocol.RoleNode},
	} {
		_, err = r.DeviceTokenRotate(t.Context(), admin, unknown)
		refused(t, err, protocol.ErrorInvalidRequest, "unknown deviceId/role")
	}
}

func TestRevoke(t *testing.T) {
	r := newRoom(t)
	admin := r.peer(t, newGadget(t), protocol.ScopeOperatorAdmin)
	lamp := newGadget(t)
	r.peer(t, lamp, protocol.ScopeOperatorRead)
	got, err := r.DeviceTokenRevoke(t.Context(), admin, protocol.DeviceTokenRevokeParams{DeviceID: lamp.id, Role: protocol.RoleOperator})
	require.NoError(t, err)
	require.NotZero(t, got.RevokedAtMs)
	require.Equal(t, protocol.DeviceTokenRevokeResult{DeviceID: lamp.id, Role: protocol.RoleOperator, RevokedAtMs: got.RevokedAtMs}, got)
	_, err = r.connects(lamp, true, lamp.token, protocol.ScopeOperatorRead)
	require.Error(t, err)
	_, err = r.DeviceTokenRevoke(t.Context(), admin, protocol.DeviceTokenRevokeParams{DeviceID: lamp.id, Role: protocol.RoleNode})
	refused(t, err, protocol.ErrorInvalidRequest, "unknown deviceId/role")
}

// A device token with operator.pairing sees and decides about its own device only
// (security entry 44).
func TestADeviceTokenSeesItsOwnDeviceOnly(t *testing.T) {
	r := newRoom(t)
	phone, other := newGadget(t), newGadget(t)
	peer := r.peer(t, phone, protocol.ScopeOperatorPairing, protocol.ScopeOperatorRead)
	r.peer(t, other, protocol.ScopeOperatorRead)
	r.asks(t, newGadget(t), protocol.ScopeOperatorRead)
	require.Len(t, r.list(t, peer).Paired, 2)
	require.Len(t, r.list(t, peer).Pending, 1)

	peer.BySecret = false
	list := r.list(t, peer)
	require.Empty(t, list.Pending)
	require.Len(t, list.Paired, 1)
	require.Equal(t, phone.id, list.Paired[0].DeviceID)
	_, err := r.DevicePairRemove(t.Context(), peer, protocol.DevicePairRemoveParams{DeviceID: other.id})
	refused(t, err, protocol.ErrorInvalidRequest, "missing scope: operator.admin")
}

// brokenGuard cannot read its store.
type brokenGuard struct {
	*identity.Guard
	requests, devices error
}

func (g brokenGuard) PendingRequests() ([]identity.Pending, error) { return nil, g.requests }
func (g brokenGuard) Devices() ([]identity.Device, error)          { return nil, g.devices }

func TestListFailsWithTheStore(t *testing.T) {
	broken := errors.New("disk gone")
	for name, guard := range map[string]brokenGuard{"requests": {requests: broken}, "devices": {devices: broken}} {
		t.Run(name, func(t *testing.T) {
			s, err := New(Config{Guard: guard})
			require.NoError(t, err)
			_, err = s.DevicePairList(t.Context(), &wire.Peer{}, protocol.DevicePairListParams{})
			require.ErrorIs(t, err, broken)
		})
	}
}

func TestRename(t *testing.T) {
	r := newRoom(t)
	admin := r.peer(t, newGadget(t), protocol.ScopeOperatorAdmin)
	lamp := newGadget(t)
	helper := r.peer(t, newGadget(t), protocol.ScopeOperatorPairing)
	r.peer(t, lamp, protocol.ScopeOperatorRead)
	got, err := r.DevicePairRename(t.Context(), admin, protocol.DevicePairRenameParams{DeviceID: lamp.id, DisplayName: " Kitchen "})
	require.NoError(t, err)
	require.Equal(t, []string{lamp.id, "Kitchen"}, []string{got.Device.DeviceID, got.Device.DisplayName.V})
	require.NoError(t, protocol.Validate("DevicePairRenameResult", got.AppendJSON(nil)))
	_, err = r.DevicePairRename(t.Context(), helper, protocol.DevicePairRenameParams{DeviceID: lamp.id, DisplayName: "x"})
	refused(t, err, protocol.ErrorInvalidRequest, "missing scope: operator.read")
	_, err = r.DevicePairRename(t.Context(), admin, protocol.DevicePairRenameParams{DeviceID: "zz", DisplayName: "x"})
	refused(t, err, protocol.ErrorInvalidRequest, "unknown deviceId")
}
