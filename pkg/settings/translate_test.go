package settings

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTranslate(t *testing.T) {
	for name, c := range map[string]struct {
		raw            string
		taken, unknown []string
		refused        []string
	}{
		"what is the same here": {
			raw: `{gateway: {port: 1234, bind: "lan", tls: {allowPlaintextLan: true}}}`,
			// bind leans on allowPlaintextLan, which comes later.
			taken: []string{"gateway.bind", "gateway.port", "gateway.tls.allowPlaintextLan"},
		},
		"an address to bind": {
			raw:   `{gateway: {bind: "custom", customBindHost: "127.0.0.1"}}`,
			taken: []string{"gateway.bind"},
		},
		"custom without an address":    {raw: `{gateway: {bind: "custom"}}`, refused: []string{"gateway.bind"}},
		"a bind that we do not have":   {raw: `{gateway: {bind: "tailnet"}}`, refused: []string{"gateway.bind"}},
		"no authentication":            {raw: `{gateway: {auth: {mode: "none"}}}`, refused: []string{"gateway.auth.mode"}},
		"a password before its mode":   {raw: `{gateway: {auth: {mode: "password", password: "correct horse battery"}}}`, taken: []string{"gateway.auth.mode", "gateway.auth.password"}},
		"a variable is not a value":    {raw: `{gateway: {auth: {token: "${TOKEN}"}}}`, refused: []string{"gateway.auth.token"}},
		"a value of another type":      {raw: `{gateway: {port: "many"}}`, refused: []string{"gateway.port"}},
		"a value where a group stands": {raw: `{gateway: 7}`, refused: []string{"gateway"}},
		"unknown keys and groups":      {raw: `{retired: {x: {token: "a"}}, gateway: {retired: "local", gone: {mode: "hot"}}}`, unknown: []string{"retired", "gateway.retired", "gateway.gone"}},
		"nothing":                      {raw: `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Translate([]byte(c.raw))
			require.NoError(t, err)
			require.Equal(t, c.taken, got.Taken)
			require.ElementsMatch(t, c.unknown, got.Unknown)
			var refused []string
			for _, r := range got.Refused {
				require.NotEmpty(t, r.Reason)
				refused = append(refused, r.Key)
			}
			require.Equal(t, c.refused, refused)
			require.Equal(t, c.taken != nil, got.JSON != nil)
		})
	}
	for name, raw := range map[string]string{"no JSON5": "{", "a list": "[]", "not UTF-8": "\xff"} {
		t.Run(name, func(t *testing.T) {
			_, err := Translate([]byte(raw))
			require.Error(t, err)
		})
	}
}
