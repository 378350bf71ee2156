package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/pkg/settings"
)

func TestLocalURL(t *testing.T) {
	on := settings.TLS{Enabled: true}
	for want, g := range map[string]settings.Gateway{
		"ws://127.0.0.1:1":      {Bind: "loopback"},
		"wss://127.0.0.1:1":     {Bind: "loopback", TLS: on},
		"wss://127.0.0.1:1 ":    {Bind: "lan", TLS: on},
		"wss://127.0.0.1:1  ":   {Bind: "0.0.0.0", TLS: on},
		"wss://192.0.2.7:1":     {Bind: "::ffff:192.0.2.7", TLS: on},
		"wss://[2001:db8::7]:1": {Bind: "2001:db8::7", TLS: on},
	} {
		require.Equal(t, strings.TrimSpace(want), localURL(g, 1))
	}
}
