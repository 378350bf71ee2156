// Package node answers for the list of nodes, node.pair.* and node.rename: names
// that operators gave a token to, which programs check with node.pair.verify.
//
// It keeps nothing and knows no rule of trust: what a caller may see and decide is
// the guard's to say. It lets no node connect; nodes come in as paired devices.
//
// The rule that surprises: a token is told once, in the answer to
// node.pair.approve. node.pair.list and node.pair.verify, which told it in the
// original, tell of the node without it.
//
// A Service has no state and is safe for concurrent use.
package node

import (
	"context"
	"errors"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/identity"
	"github.com/coderclaw/gateway/pkg/wire"
)

// Guard keeps the list and decides about it. *identity.Guard is one.
//
// Refusals are *wire.Error and name what is unknown or which scope is missing.
type Guard interface {
	RequestNode(ctx context.Context, by identity.Actor, claim identity.NodeClaim) (p identity.PendingNode, created bool, _ error)
	PendingNodes() ([]identity.PendingNode, error)
	Nodes() ([]identity.Node, error)
	ApproveNode(ctx context.Context, by identity.Actor, requestID string) (_ identity.Node, token string, _ error)
	RejectNode(ctx context.Context, by identity.Actor, requestID string) (identity.PendingNode, error)
	VerifyNode(by identity.Actor, nodeID, token string) (identity.Node, bool, error)
	RenameNode(ctx context.Context, by identity.Actor, nodeID, name string) (identity.Node, error)
}

// Config is what the service needs.
type Config struct {
	Guard Guard
}

// Service implements protocol.NodeService.
type Service struct {
	guard Guard
}

var _ protocol.NodeService = (*Service)(nil)

// New returns a service over a guard.
func New(cfg Config) (*Service, error) {
	if cfg.Guard == nil {
		return nil, errors.New("node service needs a guard")
	}
	return &Service{guard: cfg.Guard}, nil
}

// actor is the caller as one who decides.
func actor(peer *wire.Peer) identity.Actor { return identity.Actor{Peer: peer} }
