package daemon

import (
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
	"github.com/coderclaw/gateway/pkg/wire"
)

// satisfied is what a single scope gives, written out a second time: admin everything,
// write also read, any other itself.
func satisfied(have, need string) bool {
	return need == "" || have == need || have == "operator.admin" || have == "operator.write" && need == "operator.read"
}

// TestEveryMethodUnderEverySingleScope calls every method of the manifest as a device
// that holds one scope, as one that holds none, and as a node. Params that no method
// takes make sure that nothing happens when a call is let through.
func TestEveryMethodUnderEverySingleScope(t *testing.T) {
	raw, err := os.ReadFile("../../gen/manifest.json")
	require.NoError(t, err)
	var manifest struct {
		Methods map[string]struct{ Role, Scope string }
	}
	require.NoError(t, json.Unmarshal(raw, &manifest))
	require.NotEmpty(t, manifest.Methods)
	delete(manifest.Methods, protocol.MethodConnect.Name)
	h := open(t, nil)
	call := func(role, scope string) {
		v := h.visit(role+scope, func(o *client.Options) {
			o.Role, o.Scopes = role, nil
			if scope != "" {
				o.Scopes = []string{scope}
			}
		})
		for name, m := range manifest.Methods {
			_, err := v.Conn.Call(t.Context(), name, []byte(`[1]`), nil)
			var refused *wire.Error
			errors.As(err, &refused)
			want := ""
			switch {
			case m.Role != "any" && m.Role != role:
				want = "unauthorized role: " + role
			case role == protocol.RoleOperator && !satisfied(scope, m.Scope), role == protocol.RoleNode && m.Scope != "":
				want = "missing scope: " + m.Scope
			}
			if want != "" {
				require.NotNil(t, refused, "%s as %s with %q", name, role, scope)
				require.Equal(t, want, refused.Message, "%s as %s with %q", name, role, scope)
			} else if refused != nil {
				require.NotRegexp(t, "^(missing scope|unauthorized role|unknown method): ", refused.Message, "%s as %s with %q", name, role, scope)
			}
		}
	}
	for _, scope := range []string{"", protocol.ScopeOperatorRead, protocol.ScopeOperatorWrite, protocol.ScopeOperatorAdmin, protocol.ScopeOperatorApprovals, protocol.ScopeOperatorPairing} {
		call(protocol.RoleOperator, scope)
	}
	call(protocol.RoleNode, "")
}
