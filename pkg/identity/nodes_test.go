package identity

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/audit"
	"github.com/coderclaw/gateway/pkg/store"
	"github.com/coderclaw/gateway/pkg/wire"
)

// asksNode leaves a request for a node and returns its id.
func (f *fixture) asksNode(t *testing.T, id string, commands ...string) string {
	t.Helper()
	p, created, err := f.RequestNode(context.Background(), local, NodeClaim{NodeID: id, Commands: commands})
	require.NoError(t, err)
	require.True(t, created)
	return p.RequestID
}

func TestNodeIsPaired(t *testing.T) {
	f := newFixture(t, nil)
	ctx := context.Background()
	claim := NodeClaim{NodeID: " lamp ", DisplayName: "La\x1bmp", Platform: strings.Repeat("p", 200), Caps: []string{"camera"}, Commands: []string{"camera.snap"}}
	p, created, err := f.RequestNode(ctx, local, claim)
	require.NoError(t, err)
	require.True(t, created)
	require.Equal(t, []string{"lamp", "Lamp", strings.Repeat("p", detailBytesMax)}, []string{p.NodeID, p.DisplayName, p.Platform})
	require.False(t, p.Repair)
	again, created, err := f.RequestNode(ctx, local, NodeClaim{NodeID: "lamp", Commands: []string{"system.run"}})
	require.NoError(t, err)
	require.False(t, created)
	require.Equal(t, p, again, "what a person looked at is what they approve")
	require.Equal(t, []string{"node requested lamp"}, f.told.take())
	f.restart(t)

	n, token, err := f.ApproveNode(ctx, local, p.RequestID)
	require.NoError(t, err)
	require.Len(t, token, 43)
	require.Equal(t, p.NodeClaim, n.NodeClaim)
	require.Equal(t, []string{"node approved lamp"}, f.told.take())
	r := f.recorded(t, audit.ActionNodeApprove)
	require.Equal(t, []string{"local", "lamp", audit.Allowed, protocol.RoleNode}, []string{r.Actor, r.Device, r.Decision, r.Role})
	_, _, err = f.ApproveNode(ctx, local, p.RequestID)
	require.ErrorIs(t, err, ErrUnknownRequest)
	require.Equal(t, audit.Refused, f.recorded(t, audit.ActionNodeApprove).Decision)

	f.restart(t)
	raw, err := os.ReadFile(filepath.Join(f.dir, store.FileName))
	require.NoError(t, err)
	require.False(t, bytes.Contains(raw, []byte(token)), "the token is not kept")
	require.NotContains(t, f.log.String(), token)
	got, ok, err := f.VerifyNode(local, " lamp ", token)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, n, got)
	for _, wrong := range [][2]string{{"lamp", token[1:]}, {"lamp", ""}, {"other", token}, {"other", ""}} {
		got, ok, err := f.VerifyNode(local, wrong[0], wrong[1])
		require.NoError(t, err)
		require.False(t, ok)
		require.Zero(t, got)
	}

	id := f.asksNode(t, "lamp")
	list, err := f.PendingNodes()
	require.NoError(t, err)
	require.True(t, list[0].Repair)
	_, fresh, err := f.ApproveNode(ctx, local, id)
	require.NoError(t, err)
	_, ok, _ = f.VerifyNode(local, "lamp", token)
	require.False(t, ok, "the new token replaces the old one")
	_, ok, _ = f.VerifyNode(local, "lamp", fresh)
	require.True(t, ok)
	all, err := f.Nodes()
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, n.CreatedAtMs, all[0].CreatedAtMs)
}

func TestNodeIsRejectedAndRenamed(t *testing.T) {
	f := newFixture(t, nil)
	ctx := context.Background()
	id := f.asksNode(t, "lamp")
	f.told.take()
	p, err := f.RejectNode(ctx, local, id)
	require.NoError(t, err)
	require.Equal(t, "lamp", p.NodeID)
	require.Equal(t, []string{"node rejected lamp"}, f.told.take())
	_, err = f.RejectNode(ctx, local, id)
	require.ErrorIs(t, err, ErrUnknownRequest)
	_, err = f.RenameNode(ctx, local, "lamp", "Lamp")
	require.ErrorIs(t, err, ErrUnknownNode, "it never came onto the list")

	_, _, err = f.ApproveNode(ctx, local, f.asksNode(t, "lamp"))
	require.NoError(t, err)
	n, err := f.RenameNode(ctx, local, "lamp", " Kitchen \u202e ")
	require.NoError(t, err)
	require.Equal(t, "Kitchen", n.DisplayName)
	_, err = f.RenameNode(ctx, local, "lamp", " \t")
	require.ErrorIs(t, err, ErrNodeUnnamed)
	require.Equal(t, "lamp", f.recorded(t, audit.ActionNodeRename).Device)
}

// What is shown to whoever decides is refused rather than cut.
func TestNodeClaims(t *testing.T) {
	f := newFixture(t, nil)
	long := make([]string, nodeListMax+1)
	for i := range long {
		long[i] = "c"
	}
	for name, c := range map[string]NodeClaim{
		"no id":                {NodeID: " "},
		"a long id":            {NodeID: strings.Repeat("x", nodeIDBytesMax+1)},
		"an id that reorders":  {NodeID: "a\u202eb"},
		"many commands":        {NodeID: "a", Commands: long},
		"a long capability":    {NodeID: "a", Caps: []string{strings.Repeat("x", nodeItemMax+1)}},
		"a command of nothing": {NodeID: "a", Commands: []string{" "}},
	} {
		_, _, err := f.RequestNode(context.Background(), local, c)
		var no *wire.Error
		require.ErrorAs(t, err, &no, name)
		require.Equal(t, protocol.ErrorInvalidRequest, no.Code, name)
	}
	list, err := f.PendingNodes()
	require.NoError(t, err)
	require.Empty(t, list)
}

// Entries 43 and 44: an approver holds what it hands on, and a device token without
// admin decides about nobody else.
func TestWhoMayDecideAboutNodes(t *testing.T) {
	const admin, pairing, write = protocol.ScopeOperatorAdmin, protocol.ScopeOperatorPairing, protocol.ScopeOperatorWrite
	ctx := context.Background()
	for _, c := range []struct {
		name     string
		holds    []string
		byToken  bool
		commands []string
		missing  string
	}{
		{"admin", []string{admin}, false, []string{"system.run"}, ""},
		{"admin by device token", []string{admin}, true, []string{"system.run"}, ""},
		{"pairing alone", []string{pairing}, false, nil, ""},
		{"pairing for commands", []string{pairing}, false, []string{"camera.snap"}, write},
		{"write for commands", []string{pairing, write}, false, []string{"camera.snap"}, ""},
		{"write for the machine", []string{pairing, write}, false, []string{"camera.snap", "system.run"}, admin},
		{"pairing by device token", []string{pairing, write}, true, nil, admin},
		{"no pairing", []string{write}, false, nil, pairing},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, nil)
			d := newFakeDevice()
			g := f.grant(t, attempt(withScopes(c.holds...), d.signs()))
			if c.byToken {
				g = f.grant(t, attempt(withScopes(c.holds...), withToken(g.Auth.V.DeviceToken), d.signs()))
			}
			_, _, err := f.ApproveNode(ctx, as(g), f.asksNode(t, "lamp", c.commands...))
			if c.missing == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "missing scope: ")
			require.ErrorContains(t, err, c.missing)
			list, err := f.Nodes()
			require.NoError(t, err)
			require.Empty(t, list)
			_, _, err = f.ApproveNode(ctx, local, f.asksNode(t, "other", c.commands...))
			require.NoError(t, err)
			if c.missing == write {
				_, err = f.RenameNode(ctx, as(g), "other", "Mine")
				require.ErrorContains(t, err, "missing scope: ")
				return
			}
			if !c.byToken {
				return
			}
			_, _, err = f.RequestNode(ctx, as(g), NodeClaim{NodeID: "third"})
			require.ErrorContains(t, err, "missing scope: ")
			_, _, err = f.VerifyNode(as(g), "other", "x")
			require.ErrorContains(t, err, "missing scope: ")
			pending, err := f.PendingNodes()
			require.NoError(t, err)
			_, err = f.RejectNode(ctx, as(g), pending[0].RequestID)
			require.ErrorContains(t, err, "missing scope: ")
			own, _, err := f.RequestNode(ctx, as(g), NodeClaim{NodeID: d.id()})
			require.NoError(t, err, "its own it may ask for")
			_, _, err = f.ApproveNode(ctx, as(g), own.RequestID)
			require.ErrorContains(t, err, "missing scope: operator.admin", "and not approve")
		})
	}
}

func TestNodeRequestsAreCapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		first := f.asksNode(t, "n0")
		for i := range pendingMax {
			time.Sleep(time.Second)
			f.asksNode(t, fmt.Sprint("n", i+1))
		}
		list, err := f.PendingNodes()
		require.NoError(t, err)
		require.Len(t, list, pendingMax)
		require.Equal(t, fmt.Sprint("n", pendingMax), list[0].NodeID, "the newest is first")
		_, err = f.RejectNode(context.Background(), local, first)
		require.ErrorIs(t, err, ErrUnknownRequest, "the oldest made room")

		time.Sleep(pendingTTL)
		_, _, err = f.ApproveNode(context.Background(), local, list[0].RequestID)
		require.ErrorIs(t, err, ErrUnknownRequest, "requests expire")
		list, err = f.PendingNodes()
		require.NoError(t, err)
		require.Empty(t, list)
		f.asksNode(t, "n1")
		require.NoError(t, f.db.View(func(tx *store.Tx) error {
			count := 0
			for range pendingNodes.All(tx) {
				count++
			}
			require.Equal(t, 1, count, "expired requests leave the disk")
			return nil
		}))
	})
}

func TestNodesAreCapped(t *testing.T) {
	f := newFixture(t, nil)
	require.NoError(t, f.db.Update(context.Background(), func(tx *store.Tx) error {
		for i := range nodesMax {
			id := fmt.Sprint("n", i)
			if err := nodes.Put(tx, id, nodeRecord{NodeClaim: NodeClaim{NodeID: id}, ApprovedAtMs: int64(i + 1)}); err != nil {
				return err
			}
		}
		return nil
	}))
	require.NoError(t, f.NodeConnected(context.Background(), "n0"))
	_, _, err := f.ApproveNode(context.Background(), local, f.asksNode(t, "new"))
	require.NoError(t, err)
	list, err := f.Nodes()
	require.NoError(t, err)
	require.Len(t, list, nodesMax)
	var ids []string
	for _, n := range list {
		ids = append(ids, n.NodeID)
	}
	require.Contains(t, ids, "n0", "it was here a moment ago")
	require.NotContains(t, ids, "n1")
}

func TestNodeConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		ctx := context.Background()
		_, _, err := f.ApproveNode(ctx, local, f.asksNode(t, "lamp"))
		require.NoError(t, err)
		at := func() int64 {
			list, err := f.Nodes()
			require.NoError(t, err)
			return list[0].LastConnectedAtMs
		}
		require.Zero(t, at())
		require.NoError(t, f.NodeConnected(ctx, "stranger", "lamp"))
		first := at()
		require.Equal(t, time.Now().UnixMilli(), first)
		time.Sleep(time.Second)
		require.NoError(t, f.NodeConnected(ctx, "lamp"))
		require.Equal(t, first, at(), "once a minute is enough")
		time.Sleep(nodeSeenEvery)
		require.NoError(t, f.NodeConnected(ctx, "lamp"))
		require.Equal(t, time.Now().UnixMilli(), at())
	})
}
