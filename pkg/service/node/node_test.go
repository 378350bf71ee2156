package node

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/identity"
	"github.com/coderclaw/gateway/pkg/settings"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

const testToken = "canary-gateway-token-4f1d"

var owner = &wire.Peer{ConnID: "c", Role: protocol.RoleOperator, Scopes: []string{protocol.ScopeOperatorAdmin}, BySecret: true}

// newService is the service over a real guard and a real store.
func newService(t *testing.T) *Service {
	t.Helper()
	db, err := store.Open(store.Options{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	guard, err := identity.New(identity.Config{DB: db, Token: settings.NewSecret(testToken), Hostname: "workbench"})
	require.NoError(t, err)
	s, err := New(Config{Guard: guard})
	require.NoError(t, err)
	return s
}

func TestNewNeedsAGuard(t *testing.T) {
	_, err := New(Config{})
	require.EqualError(t, err, "node service needs a guard")
}

func TestListOfAnEmptyHouse(t *testing.T) {
	s := newService(t)
	list, err := s.NodePairList(t.Context(), owner, protocol.NodePairListParams{})
	require.NoError(t, err)
	require.JSONEq(t, `{"pending":[],"paired":[]}`, string(list.AppendJSON(nil)))
}

func TestANodeFromRequestToName(t *testing.T) {
	s := newService(t)
	ctx := t.Context()
	asked, err := s.NodePairRequest(ctx, owner, protocol.NodePairRequestParams{
		NodeID: "lamp", DisplayName: wire.Some("Lamp"), Platform: wire.Some("ios"), Version: wire.Some("1"), CoreVersion: wire.Some("2"),
		UIVersion: wire.Some("3"), DeviceFamily: wire.Some("iPhone"), ModelIdentifier: wire.Some("iPhone16,1"), Caps: []string{"camera"},
		Commands: []string{"camera.snap"}, RemoteIP: wire.Some("192.0.2.9"), Silent: wire.Some(true),
	})
	require.NoError(t, err)
	require.Equal(t, protocol.NodePairRequestResult{Status: "pending", Created: true, Request: protocol.NodePairingPendingRequest{
		RequestID: asked.Request.RequestID, NodeID: "lamp", DisplayName: wire.Some("Lamp"), Platform: wire.Some("ios"), Version: wire.Some("1"),
		CoreVersion: wire.Some("2"), UIVersion: wire.Some("3"), DeviceFamily: wire.Some("iPhone"), ModelIdentifier: wire.Some("iPhone16,1"),
		Caps: []string{"camera"}, Commands: []string{"camera.snap"}, RemoteIP: wire.Some("192.0.2.9"), IsRepair: wire.Some(false), Ts: asked.Request.Ts,
	}}, asked)
	require.NoError(t, protocol.Validate("NodePairRequestResult", asked.AppendJSON(nil)))

	approved, err := s.NodePairApprove(ctx, owner, protocol.NodePairApproveParams{RequestID: asked.Request.RequestID})
	require.NoError(t, err)
	require.NoError(t, protocol.Validate("NodePairApproveResult", approved.AppendJSON(nil)))
	token := approved.Node.Token.V
	require.Len(t, token, 43)
	require.Equal(t, "iPhone16,1", approved.Node.ModelIdentifier.V)

	verified, err := s.NodePairVerify(ctx, owner, protocol.NodePairVerifyParams{NodeID: "lamp", Token: token})
	require.NoError(t, err)
	require.True(t, verified.Ok)
	require.NotContains(t, string(verified.AppendJSON(nil)), token, "it is told once")
	verified, err = s.NodePairVerify(ctx, owner, protocol.NodePairVerifyParams{NodeID: "lamp", Token: "x"})
	require.NoError(t, err)
	require.JSONEq(t, `{"ok":false}`, string(verified.AppendJSON(nil)))

	renamed, err := s.NodeRename(ctx, owner, protocol.NodeRenameParams{NodeID: "lamp", DisplayName: " Kitchen "})
	require.NoError(t, err)
	require.Equal(t, protocol.NodeRenameResult{NodeID: "lamp", DisplayName: "Kitchen"}, renamed)
	list, err := s.NodePairList(ctx, owner, protocol.NodePairListParams{})
	require.NoError(t, err)
	require.NotContains(t, string(list.AppendJSON(nil)), token)
	require.Equal(t, "Kitchen", list.Paired[0].DisplayName.V)
	require.False(t, list.Paired[0].LastConnectedAtMs.Set)
	require.NoError(t, protocol.Validate("NodePairListResult", list.AppendJSON(nil)))

	// An app's device token sees none of it.
	app := &wire.Peer{Role: protocol.RoleOperator, Scopes: []string{protocol.ScopeOperatorPairing}, DeviceID: "app"}
	list, err = s.NodePairList(ctx, app, protocol.NodePairListParams{})
	require.NoError(t, err)
	require.Empty(t, list.Paired)
}

func TestReject(t *testing.T) {
	s := newService(t)
	asked, err := s.NodePairRequest(t.Context(), owner, protocol.NodePairRequestParams{NodeID: "lamp"})
	require.NoError(t, err)
	params := protocol.NodePairRejectParams{RequestID: asked.Request.RequestID}
	got, err := s.NodePairReject(t.Context(), owner, params)
	require.NoError(t, err)
	require.Equal(t, protocol.NodePairRejectResult{RequestID: params.RequestID, NodeID: "lamp"}, got)
	_, err = s.NodePairReject(t.Context(), owner, params)
	require.ErrorIs(t, err, identity.ErrUnknownRequest)
	_, err = s.NodeRename(t.Context(), owner, protocol.NodeRenameParams{NodeID: "lamp", DisplayName: "x"})
	require.ErrorIs(t, err, identity.ErrUnknownNode)
}
