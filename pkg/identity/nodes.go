package identity

import (
	"cmp"
	"context"
	"crypto/subtle"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

// The older list of nodes, node.pair.*: names that operators gave a token to. It
// lets nobody connect, a node comes in as a paired device with role node; programs
// that keep their own nodes use it to ask whether a token is still good.
const (
	// nodesMax bounds the paired nodes; beyond it the one that was approved or
	// connected longest ago makes room, because nothing on the wire removes one.
	nodesMax        = 1000
	nodeIDBytesMax  = 256
	nodeListMax     = 256 // entries of caps and of commands
	nodeItemMax     = 120 // bytes of an entry
	nodeSeenEvery   = time.Minute
	nodeSystemSpace = "system." // commands that act on the node's machine itself
)

// What node.pair.* and node.rename answer about what does not exist or cannot be.
// They are compared by identity and never changed.
var (
	ErrUnknownNode  = wire.Errorf(protocol.ErrorInvalidRequest, "unknown nodeId")
	ErrNodeUnnamed  = wire.Errorf(protocol.ErrorInvalidRequest, "displayName required")
	errNodeID       = wire.Errorf(protocol.ErrorInvalidRequest, "nodeId must be 1 to %d bytes of printable text; send another one", nodeIDBytesMax)
	errNodeListLong = wire.Errorf(protocol.ErrorInvalidRequest, "caps and commands must be at most %d entries of %d printable bytes; send fewer or shorter ones", nodeListMax, nodeItemMax)
)

// pendingNodes and nodes hold what asks to be on the list, by request id, and what
// is on it, by node id.
var (
	pendingNodes = store.NewBucket[nodeRequest]("identity.nodes.pending")
	nodes        = store.NewBucket[nodeRecord]("identity.nodes")
)

// NodeClaim is what is said of a node. Nothing in it is proven. Texts are bounded
// and printable once the claim is stored.
type NodeClaim struct {
	NodeID          string   `json:"nodeId"`
	DisplayName     string   `json:"displayName,omitempty"`
	Platform        string   `json:"platform,omitempty"`
	Version         string   `json:"version,omitempty"`
	CoreVersion     string   `json:"coreVersion,omitempty"`
	UIVersion       string   `json:"uiVersion,omitempty"`
	DeviceFamily    string   `json:"deviceFamily,omitempty"`
	ModelIdentifier string   `json:"modelIdentifier,omitempty"`
	Caps            []string `json:"caps,omitempty"`
	Commands        []string `json:"commands,omitempty"`
	RemoteIP        string   `json:"remoteIp,omitempty"`
}

// PendingNode is a node that waits for a person. TS is when it first asked, in
// milliseconds since 1970; Repair says that it is on the list already.
type PendingNode struct {
	RequestID string
	NodeClaim
	Repair bool
	TS     int64
}

// Node is a node on the list. Times are milliseconds since 1970, 0 for never.
type Node struct {
	NodeClaim
	CreatedAtMs, ApprovedAtMs, LastConnectedAtMs int64
}

type nodeRequest struct {
	NodeClaim
	IsRepair bool  `json:"isRepair"`
	Ts       int64 `json:"ts"`
}

func (r nodeRequest) expired(now int64) bool { return now-r.Ts >= pendingTTL.Milliseconds() }

func (r nodeRequest) public(id string) PendingNode {
	return PendingNode{RequestID: id, NodeClaim: r.NodeClaim, Repair: r.IsRepair, TS: r.Ts}
}

type nodeRecord struct {
	NodeClaim
	// TokenSHA256 is all that is kept of the token.
	TokenSHA256       string `json:"tokenSha256"`
	CreatedAtMs       int64  `json:"createdAtMs"`
	ApprovedAtMs      int64  `json:"approvedAtMs"`
	LastConnectedAtMs int64  `json:"lastConnectedAtMs,omitempty"`
}

func (n nodeRecord) public() Node {
	return Node{NodeClaim: n.NodeClaim, CreatedAtMs: n.CreatedAtMs, ApprovedAtMs: n.ApprovedAtMs, LastConnectedAtMs: n.LastConnectedAtMs}
}

// RequestNode leaves a request that a person can approve within five minutes. A
// node that asks again meanwhile keeps its request as it was: what a person looked
// at is what they approve. created reports whether the request is new.
func (g *Guard) RequestNode(ctx context.Context, by Actor, claim NodeClaim) (p PendingNode, created bool, _ error) {
	claim, err := plainClaim(claim)
	if err != nil {
		return PendingNode{}, false, err
	}
	if err := by.mayTouch(claim.NodeID, nil); err != nil {
		return PendingNode{}, false, err
	}
	now := time.Now().UnixMilli()
	var found bool
	find := func(tx *store.Tx) (err error) {
		p, found, err = waitingNode(tx, claim.NodeID, now)
		return err
	}
	if err := g.db.View(find); err != nil || found {
		return p, false, err
	}
	record := audit.Record{Action: audit.ActionNodeRequest, Device: claim.NodeID, Role: protocol.RoleNode}
	err = g.decide(ctx, by, record, func(tx *store.Tx, _ *audit.Record) error {
		if err := find(tx); err != nil || found {
			return err
		}
		if err := pruneNodes(tx, now); err != nil {
			return err
		}
		known, err := nodes.Has(tx, claim.NodeID)
		if err != nil {
			return err
		}
		r := nodeRequest{NodeClaim: claim, IsRepair: known, Ts: now}
		p = r.public(uuid.NewString())
		return pendingNodes.Put(tx, p.RequestID, r)
	})
	if err != nil || found {
		return p, false, err
	}
	g.log.Info("node asks to be paired", "nodeId", p.NodeID, "requestId", p.RequestID)
	g.events.NodePairRequested(p)
	return p, true, nil
}

// PendingNodes returns the requests that wait, the newest first.
func (g *Guard) PendingNodes() ([]PendingNode, error) {
	var list []PendingNode
	now := time.Now().UnixMilli()
	err := g.db.View(func(tx *store.Tx) error {
		for row, err := range pendingNodes.All(tx) {
			if err != nil {
				return err
			}
			if !row.Value.expired(now) {
				list = append(list, row.Value.public(row.Key))
			}
		}
		return nil
	})
	slices.SortFunc(list, func(a, b PendingNode) int {
		return cmp.Or(cmp.Compare(b.TS, a.TS), strings.Compare(a.RequestID, b.RequestID))
	})
	return list, err
}

// Nodes returns the nodes on the list, the latest approved first.
func (g *Guard) Nodes() ([]Node, error) {
	var list []Node
	err := g.db.View(func(tx *store.Tx) error {
		for row, err := range nodes.All(tx) {
			if err != nil {
				return err
			}
			list = append(list, row.Value.public())
		}
		return nil
	})
	slices.SortFunc(list, func(a, b Node) int {
		return cmp.Or(cmp.Compare(b.ApprovedAtMs, a.ApprovedAtMs), strings.Compare(a.NodeID, b.NodeID))
	})
	return list, err
}

// ApproveNode puts a node on the list and returns its token, which is told this
// once and kept as its hash. The actor must hold what it hands on: nodeScopes.
func (g *Guard) ApproveNode(ctx context.Context, by Actor, requestID string) (_ Node, token string, _ error) {
	var (
		p PendingNode
		n nodeRecord
	)
	token = newToken()
	now := time.Now().UnixMilli()
	err := g.decide(ctx, by, audit.Record{Action: audit.ActionNodeApprove, Role: protocol.RoleNode}, func(tx *store.Tx, r *audit.Record) error {
		asked, err := requestOfNode(tx, requestID, now)
		if err != nil {
			return err
		}
		p = asked.public(requestID)
		r.Device = p.NodeID
		if err := by.mayGrant(p.NodeID, protocol.RoleNode, nodeScopes(p.Commands), false); err != nil {
			return err
		}
		old, known, err := nodes.Get(tx, p.NodeID)
		if err != nil {
			return err
		}
		n = nodeRecord{NodeClaim: p.NodeClaim, TokenSHA256: tokenHash(token), CreatedAtMs: now, ApprovedAtMs: now}
		if known {
			n.CreatedAtMs, n.LastConnectedAtMs = old.CreatedAtMs, old.LastConnectedAtMs
		} else if err := makeRoomForNode(tx); err != nil {
			return err
		}
		if err := pendingNodes.Delete(tx, requestID); err != nil {
			return err
		}
		return nodes.Put(tx, p.NodeID, n)
	})
	if err != nil {
		return Node{}, "", err
	}
	g.log.Info("node paired", "nodeId", p.NodeID, "by", by.name())
	g.events.NodePairResolved(p, DecisionApproved, now)
	return n.public(), token, nil
}

// RejectNode removes a request. The node may ask again.
func (g *Guard) RejectNode(ctx context.Context, by Actor, requestID string) (PendingNode, error) {
	var p PendingNode
	now := time.Now().UnixMilli()
	err := g.decide(ctx, by, audit.Record{Action: audit.ActionNodeReject, Role: protocol.RoleNode}, func(tx *store.Tx, r *audit.Record) error {
		asked, err := requestOfNode(tx, requestID, now)
		if err != nil {
			return err
		}
		p = asked.public(requestID)
		r.Device = p.NodeID
		if err := by.mayTouch(p.NodeID, nil); err != nil {
			return err
		}
		return pendingNodes.Delete(tx, requestID)
	})
	if err != nil {
		return PendingNode{}, err
	}
	g.log.Info("node rejected", "nodeId", p.NodeID, "by", by.name())
	g.events.NodePairResolved(p, DecisionRejected, now)
	return p, nil
}

// VerifyNode reports whether a token is the one that the node was last given.
func (g *Guard) VerifyNode(by Actor, nodeID, token string) (Node, bool, error) {
	nodeID = strings.TrimSpace(nodeID)
	if err := by.mayTouch(nodeID, nil); err != nil {
		return Node{}, false, err
	}
	var n nodeRecord
	err := g.db.View(func(tx *store.Tx) (err error) {
		n, _, err = nodes.Get(tx, nodeID)
		return err
	})
	if err != nil || subtle.ConstantTimeCompare([]byte(n.TokenSHA256), []byte(tokenHash(token))) != 1 {
		return Node{}, false, err
	}
	return n.public(), true, nil
}

// RenameNode gives a node on the list another name, at most 120 bytes of it.
func (g *Guard) RenameNode(ctx context.Context, by Actor, nodeID, name string) (Node, error) {
	name = label(name, nameBytesMax)
	if name == "" {
		return Node{}, ErrNodeUnnamed
	}
	nodeID = strings.TrimSpace(nodeID)
	var n nodeRecord
	record := audit.Record{Action: audit.ActionNodeRename, Device: nodeID, Role: protocol.RoleNode}
	err := g.decide(ctx, by, record, func(tx *store.Tx, _ *audit.Record) (err error) {
		if n, err = pairedNode(tx, nodeID); err != nil {
			return err
		}
		if err := by.mayTouch(nodeID, nodeScopes(n.Commands)); err != nil {
			return err
		}
		n.DisplayName = name
		return nodes.Put(tx, nodeID, n)
	})
	return n.public(), err
}

// NodeConnected notes that a node came in under these ids. What is on the list is
// written at most once a minute; anything else costs one look.
func (g *Guard) NodeConnected(ctx context.Context, ids ...string) error {
	now := time.Now().UnixMilli()
	var due []string
	look := func(tx *store.Tx) error {
		due = due[:0]
		for _, id := range ids {
			n, ok, err := nodes.Get(tx, id)
			if err != nil {
				return err
			}
			if ok && now-n.LastConnectedAtMs >= nodeSeenEvery.Milliseconds() && !slices.Contains(due, id) {
				due = append(due, id)
			}
		}
		return nil
	}
	if err := g.db.View(look); err != nil || len(due) == 0 {
		return err
	}
	return g.db.Update(ctx, func(tx *store.Tx) error {
		if err := look(tx); err != nil {
			return err
		}
		for _, id := range due {
			n, err := pairedNode(tx, id)
			if err != nil {
				return err
			}
			n.LastConnectedAtMs = now
			if err := nodes.Put(tx, id, n); err != nil {
				return err
			}
		}
		return nil
	})
}

// nodeScopes are what an approver hands on with a node: operator.write for a node
// that takes commands, because operator.write is what sends them, and operator.admin
// when they reach into the node's machine.
func nodeScopes(commands []string) []string {
	scopes := []string{protocol.ScopeOperatorPairing}
	if len(commands) > 0 {
		scopes = append(scopes, protocol.ScopeOperatorWrite)
	}
	if slices.ContainsFunc(commands, func(c string) bool { return strings.HasPrefix(c, nodeSystemSpace) }) {
		scopes = append(scopes, protocol.ScopeOperatorAdmin)
	}
	return scopes
}

// plainClaim makes a claim fit to be stored and shown. What a person decides by,
// the id and the lists, is refused rather than cut.
func plainClaim(c NodeClaim) (NodeClaim, error) {
	id := strings.TrimSpace(c.NodeID)
	if id == "" || id != label(id, nodeIDBytesMax) {
		return c, errNodeID
	}
	c.NodeID = id
	c.DisplayName = label(c.DisplayName, nameBytesMax)
	for _, text := range []*string{&c.Platform, &c.Version, &c.CoreVersion, &c.UIVersion, &c.DeviceFamily, &c.ModelIdentifier, &c.RemoteIP} {
		*text = label(*text, detailBytesMax)
	}
	for _, list := range [][]string{c.Caps, c.Commands} {
		if len(list) > nodeListMax {
			return c, errNodeListLong
		}
		for _, item := range list {
			if item == "" || item != label(item, nodeItemMax) {
				return c, errNodeListLong
			}
		}
	}
	c.Caps, c.Commands = slices.Clone(c.Caps), slices.Clone(c.Commands)
	return c, nil
}

func waitingNode(tx *store.Tx, nodeID string, now int64) (PendingNode, bool, error) {
	for row, err := range pendingNodes.All(tx) {
		if err != nil {
			return PendingNode{}, false, err
		}
		if row.Value.NodeID == nodeID && !row.Value.expired(now) {
			return row.Value.public(row.Key), true, nil
		}
	}
	return PendingNode{}, false, nil
}

func requestOfNode(tx *store.Tx, requestID string, now int64) (nodeRequest, error) {
	r, ok, err := pendingNodes.Get(tx, requestID)
	if err == nil && (!ok || r.expired(now)) {
		err = ErrUnknownRequest
	}
	return r, err
}

func pairedNode(tx *store.Tx, nodeID string) (nodeRecord, error) {
	n, ok, err := nodes.Get(tx, nodeID)
	if err == nil && !ok {
		err = ErrUnknownNode
	}
	return n, err
}

// pruneNodes drops expired requests, and the oldest where one more would be too many.
func pruneNodes(tx *store.Tx, now int64) error {
	var all []store.Row[nodeRequest]
	for row, err := range pendingNodes.All(tx) {
		if err != nil {
			return err
		}
		all = append(all, row)
	}
	slices.SortFunc(all, func(a, b store.Row[nodeRequest]) int { return cmp.Compare(b.Value.Ts, a.Value.Ts) })
	for i, row := range all {
		if i < pendingMax-1 && !row.Value.expired(now) {
			continue
		}
		if err := pendingNodes.Delete(tx, row.Key); err != nil {
			return err
		}
	}
	return nil
}

// makeRoomForNode drops, when the list is full, the node that was approved or
// connected longest ago.
func makeRoomForNode(tx *store.Tx) error {
	count, victim, lastAt := 0, "", int64(0)
	for row, err := range nodes.All(tx) {
		if err != nil {
			return err
		}
		count++
		if at := max(row.Value.ApprovedAtMs, row.Value.LastConnectedAtMs); victim == "" || at < lastAt {
			victim, lastAt = row.Key, at
		}
	}
	if count < nodesMax {
		return nil
	}
	if err := nodes.Delete(tx, victim); err != nil {
		return fmt.Errorf("make room for a node: %w", err)
	}
	return nil
}
