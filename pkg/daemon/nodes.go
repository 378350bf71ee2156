package daemon

import (
	"context"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/identity"
	"github.com/coderclaw/gateway/pkg/service/node"
	"github.com/coderclaw/gateway/pkg/wire"
)

// nodeSeenTimeout bounds how long a node's connection waits for the note of it.
const nodeSeenTimeout = 5 * time.Second

// NodePairRequested tells the operators that a node waits.
func (a *authority) NodePairRequested(p identity.PendingNode) {
	wire.Emit(a.hub, protocol.EventNodePairRequested, node.Requested(p))
}

// NodePairResolved tells the operators that a node's request is gone.
func (a *authority) NodePairResolved(p identity.PendingNode, decision string, ts int64) {
	wire.Emit(a.hub, protocol.EventNodePairResolved, node.Resolved(p, decision, ts))
}

// noteNode writes down that a node came in, under its device id or the id that its
// program goes by.
func (d *Daemon) noteNode(p *wire.Peer) {
	if p.Role != protocol.RoleNode {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), nodeSeenTimeout)
	defer cancel()
	ids := []string{p.DeviceID}
	if p.Client.InstanceID != "" {
		ids = append(ids, p.Client.InstanceID)
	}
	if err := d.guard.NodeConnected(ctx, ids...); err != nil {
		d.log.Warn("a node's connect is not noted", "deviceId", p.DeviceID, "err", err)
	}
}
