package node

import (
	"context"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/identity"
	"github.com/coderclaw/gateway/pkg/wire"
)

const statusPending = "pending"

// NodePairRequest leaves a request for a decision, or returns the one that waits.
func (s *Service) NodePairRequest(ctx context.Context, peer *wire.Peer, params protocol.NodePairRequestParams) (protocol.NodePairRequestResult, error) {
	p, created, err := s.guard.RequestNode(ctx, actor(peer), identity.NodeClaim{
		NodeID: params.NodeID, DisplayName: params.DisplayName.V, Platform: params.Platform.V, Version: params.Version.V,
		CoreVersion: params.CoreVersion.V, UIVersion: params.UIVersion.V, DeviceFamily: params.DeviceFamily.V,
		ModelIdentifier: params.ModelIdentifier.V, Caps: params.Caps, Commands: params.Commands, RemoteIP: params.RemoteIP.V,
	})
	if err != nil {
		return protocol.NodePairRequestResult{}, err
	}
	return protocol.NodePairRequestResult{Status: statusPending, Request: Requested(p), Created: created}, nil
}

// NodePairList tells of the nodes that the caller may decide about.
func (s *Service) NodePairList(_ context.Context, peer *wire.Peer, _ protocol.NodePairListParams) (protocol.NodePairListResult, error) {
	result := protocol.NodePairListResult{Pending: []protocol.NodePairingPendingRequest{}, Paired: []protocol.PairedNode{}}
	by := actor(peer)
	waiting, err := s.guard.PendingNodes()
	if err != nil {
		return result, err
	}
	for _, p := range waiting {
		if by.Sees(p.NodeID) {
			result.Pending = append(result.Pending, Requested(p))
		}
	}
	nodes, err := s.guard.Nodes()
	if err != nil {
		return result, err
	}
	for _, n := range nodes {
		if by.Sees(n.NodeID) {
			result.Paired = append(result.Paired, paired(n))
		}
	}
	return result, nil
}

// NodePairApprove puts a node on the list and tells its token, this once.
func (s *Service) NodePairApprove(ctx context.Context, peer *wire.Peer, params protocol.NodePairApproveParams) (protocol.NodePairApproveResult, error) {
	n, token, err := s.guard.ApproveNode(ctx, actor(peer), params.RequestID)
	if err != nil {
		return protocol.NodePairApproveResult{}, err
	}
	out := paired(n)
	out.Token = wire.Some(token)
	return protocol.NodePairApproveResult{RequestID: params.RequestID, Node: out}, nil
}

// NodePairReject removes a request.
func (s *Service) NodePairReject(ctx context.Context, peer *wire.Peer, params protocol.NodePairRejectParams) (protocol.NodePairRejectResult, error) {
	p, err := s.guard.RejectNode(ctx, actor(peer), params.RequestID)
	return protocol.NodePairRejectResult{RequestID: p.RequestID, NodeID: p.NodeID}, err
}

// NodePairVerify tells whether a token is the node's. An unknown node and a wrong
// token get the same answer.
func (s *Service) NodePairVerify(_ context.Context, peer *wire.Peer, params protocol.NodePairVerifyParams) (protocol.NodePairVerifyResult, error) {
	n, ok, err := s.guard.VerifyNode(actor(peer), params.NodeID, params.Token)
	if err != nil || !ok {
		return protocol.NodePairVerifyResult{}, err
	}
	return protocol.NodePairVerifyResult{Ok: true, Node: wire.Some(paired(n))}, nil
}

// NodeRename names a node on the list. A node that is paired as a device is
// unknown here, as in the original.
func (s *Service) NodeRename(ctx context.Context, peer *wire.Peer, params protocol.NodeRenameParams) (protocol.NodeRenameResult, error) {
	n, err := s.guard.RenameNode(ctx, actor(peer), params.NodeID, params.DisplayName)
	if err != nil {
		return protocol.NodeRenameResult{}, err
	}
	return protocol.NodeRenameResult{NodeID: n.NodeID, DisplayName: n.DisplayName}, nil
}

// Requested tells of a request that waits, in a list and as an event.
func Requested(p identity.PendingNode) protocol.NodePairingPendingRequest {
	return protocol.NodePairingPendingRequest{
		RequestID: p.RequestID, NodeID: p.NodeID, DisplayName: text(p.DisplayName), Platform: text(p.Platform), Version: text(p.Version),
		CoreVersion: text(p.CoreVersion), UIVersion: text(p.UIVersion), DeviceFamily: text(p.DeviceFamily),
		ModelIdentifier: text(p.ModelIdentifier), Caps: p.Caps, Commands: p.Commands, RemoteIP: text(p.RemoteIP),
		IsRepair: wire.Some(p.Repair), Ts: p.TS,
	}
}

// Resolved tells that a request is gone.
func Resolved(p identity.PendingNode, decision string, ts int64) protocol.NodePairResolvedEvent {
	return protocol.NodePairResolvedEvent{RequestID: p.RequestID, NodeID: p.NodeID, Decision: decision, Ts: ts}
}

// paired tells of a node on the list, without its token.
func paired(n identity.Node) protocol.PairedNode {
	return protocol.PairedNode{
		NodeID: n.NodeID, DisplayName: text(n.DisplayName), Platform: text(n.Platform), Version: text(n.Version),
		CoreVersion: text(n.CoreVersion), UIVersion: text(n.UIVersion), DeviceFamily: text(n.DeviceFamily),
		ModelIdentifier: text(n.ModelIdentifier), Caps: n.Caps, Commands: n.Commands, RemoteIP: text(n.RemoteIP),
		CreatedAtMs: n.CreatedAtMs, ApprovedAtMs: n.ApprovedAtMs,
		LastConnectedAtMs: wire.Opt[int64]{V: n.LastConnectedAtMs, Set: n.LastConnectedAtMs != 0},
	}
}

func text(s string) wire.Opt[string] { return wire.Opt[string]{V: s, Set: s != ""} }
