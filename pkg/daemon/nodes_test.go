package daemon

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/wire"
)

// A node on the older list is noted when it comes in, under the id that its program
// goes by; operators without operator.pairing hear nothing of the list.
func TestConnectOfANodeIsNoted(t *testing.T) {
	h := open(t, nil)
	admin := h.visit("admin")
	reader := h.visit("reader", func(o *client.Options) { o.Scopes = []string{protocol.ScopeOperatorRead} })
	asked, err := admin.NodePairRequest(t.Context(), protocol.NodePairRequestParams{NodeID: "kitchen-lamp"})
	require.NoError(t, err)
	_, err = admin.NodePairApprove(t.Context(), protocol.NodePairApproveParams{RequestID: asked.Request.RequestID})
	require.NoError(t, err)
	list := func() protocol.PairedNode {
		list, err := admin.NodePairList(t.Context(), protocol.NodePairListParams{})
		require.NoError(t, err)
		require.Len(t, list.Paired, 1)
		return list.Paired[0]
	}
	require.False(t, list().LastConnectedAtMs.Set)
	h.visit("lamp", func(o *client.Options) {
		o.Role, o.Scopes = protocol.RoleNode, nil
		o.Client.InstanceID = wire.Some("kitchen-lamp")
	})
	require.Eventually(t, func() bool { return list().LastConnectedAtMs.Set }, 20*time.Second, 10*time.Millisecond)
	admin.until("both events", func() bool {
		admin.mu.Lock()
		defer admin.mu.Unlock()
		told := map[string]int{}
		for _, e := range admin.events {
			told[e.Name]++
		}
		return told[protocol.EventNodePairRequested.Name] == 1 && told[protocol.EventNodePairResolved.Name] == 1
	})
	require.NotContains(t, reader.dump(), "node.pair")
}
