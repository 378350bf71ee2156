package device

import (
	"context"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// DevicePairApprove grants what a request asks for. The caller must hold all of
// it: nothing is narrowed in silence.
func (s *Service) DevicePairApprove(ctx context.Context, peer *wire.Peer, params protocol.DevicePairApproveParams) (protocol.DevicePairApproveResult, error) {
	d, err := s.guard.Approve(ctx, actor(peer), params.RequestID)
	if err != nil {
		return protocol.DevicePairApproveResult{}, err
	}
	return protocol.DevicePairApproveResult{RequestID: params.RequestID, Device: paired(d)}, nil
}

// DevicePairReject removes a request.
func (s *Service) DevicePairReject(ctx context.Context, peer *wire.Peer, params protocol.DevicePairRejectParams) (protocol.DevicePairRejectResult, error) {
	p, err := s.guard.Reject(ctx, actor(peer), params.RequestID)
	return protocol.DevicePairRejectResult{RequestID: p.RequestID, DeviceID: p.DeviceID}, err
}

// DevicePairRemove forgets a device. Unlike the original, its connections close.
func (s *Service) DevicePairRemove(ctx context.Context, peer *wire.Peer, params protocol.DevicePairRemoveParams) (protocol.DevicePairRemoveResult, error) {
	d, err := s.guard.Remove(ctx, actor(peer), params.DeviceID)
	return protocol.DevicePairRemoveResult{DeviceID: d.DeviceID}, err
}

// DevicePairRename gives a device a name that it cannot change itself.
func (s *Service) DevicePairRename(ctx context.Context, peer *wire.Peer, params protocol.DevicePairRenameParams) (protocol.DevicePairRenameResult, error) {
	d, err := s.guard.Rename(ctx, actor(peer), params.DeviceID, params.DisplayName)
	if err != nil {
		return protocol.DevicePairRenameResult{}, err
	}
	return protocol.DevicePairRenameResult{Device: paired(d)}, nil
}

// DeviceTokenRotate replaces the tokens of a device in a role. The scopes are those
// asked for as far as they are approved: the original approved them on the way.
func (s *Service) DeviceTokenRotate(ctx context.Context, peer *wire.Peer, params protocol.DeviceTokenRotateParams) (protocol.DeviceTokenRotateResult, error) {
	token, t, err := s.guard.Rotate(ctx, actor(peer), params.DeviceID, params.Role, params.Scopes)
	if err != nil {
		return protocol.DeviceTokenRotateResult{}, err
	}
	return protocol.DeviceTokenRotateResult{
		DeviceID: params.DeviceID, Role: t.Role, Token: text(token), Scopes: present(t.Scopes), RotatedAtMs: t.RotatedAtMs,
	}, nil
}

// DeviceTokenRevoke ends the tokens of a device in a role.
func (s *Service) DeviceTokenRevoke(ctx context.Context, peer *wire.Peer, params protocol.DeviceTokenRevokeParams) (protocol.DeviceTokenRevokeResult, error) {
	t, err := s.guard.Revoke(ctx, actor(peer), params.DeviceID, params.Role)
	if err != nil {
		return protocol.DeviceTokenRevokeResult{}, err
	}
	return protocol.DeviceTokenRevokeResult{DeviceID: params.DeviceID, Role: t.Role, RevokedAtMs: t.RevokedAtMs}, nil
}
