package conformance

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
)

// TestVocabularyIsTheManifest holds what is read from the schema files against
// what was generated from them.
func TestVocabularyIsTheManifest(t *testing.T) {
	v := words()
	require.Len(t, v.defs, len(protocol.Definitions()))
	for _, name := range protocol.Definitions() {
		require.NotNil(t, v.defs[name], name)
	}
	require.Len(t, v.methods, len(protocol.Methods()))
	for _, m := range protocol.Methods() {
		got, ok := v.methods[m.Name]
		require.True(t, ok, m.Name)
		require.NotEmpty(t, got.params.definition(), m.Name)
		require.NotEmpty(t, got.result.definition(), m.Name)
		require.Equal(t, m.Staged, got.ack != nil, m.Name)
	}
	require.Len(t, v.events, len(protocol.Events()))
	for _, e := range protocol.Events() {
		require.Equal(t, e.StateVersion, v.events[e.Name].versioned, e.Name)
		require.NotEmpty(t, v.events[e.Name].payload.definition(), e.Name)
	}
	require.Subset(t, v.secrets, map[string]bool{"token": true, "password": true, "signature": true, "deviceToken": true})
}

func TestStrangers(t *testing.T) {
	for name, tt := range map[string]struct {
		def, recorded, got string
		excused, want      []string
	}{
		"known":                    {def: "ChatSendResult", got: `{"runId":"r","status":"ok"}`},
		"of neither variant":       {def: "ChatSendResult", got: `{"runId":"r","status":"ok","more":1}`, want: []string{"at /more: unexpected"}},
		"recorded":                 {def: "ChatSendResult", recorded: `{"more":2}`, got: `{"runId":"r","more":1}`},
		"recorded and more":        {def: "ChatSendResult", recorded: `{"more":{}}`, got: `{"more":{"x":1}}`},
		"excused":                  {def: "ChatSendResult", got: `{"more":1}`, excused: []string{"/more"}},
		"deep":                     {def: "HelloOk", got: `{"policy":{"maxPayload":1,"x":1}}`, want: []string{"at /policy/x: unexpected"}},
		"in an element":            {def: "ModelsListResult", got: `{"models":[{"id":"a"},{"id":"b","x":1}]}`, want: []string{"at /models/1/x: unexpected"}},
		"recorded in some element": {def: "ModelsListResult", recorded: `{"models":[{"id":"a"},{"x":true}]}`, got: `{"models":[{"x":1}]}`},
		"in a record":              {def: "HealthSummary", got: `{"channels":{"any":{"thing":1}}}`},
		"open object":              {def: "ChatContent", got: `{"type":"text","x":1}`},
		"untyped":                  {def: "Snapshot", got: `{"health":{"x":1}}`},
		"nullable":                 {def: "LastHeartbeatResult", got: `{"ts":1,"status":"sent","x":1}`, want: []string{"at /x: unexpected"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, words().defs, tt.def)
			var recorded []any
			if tt.recorded != "" {
				v, err := parse(json.RawMessage(tt.recorded))
				require.NoError(t, err)
				recorded = []any{v}
			}
			got, err := parse(json.RawMessage(tt.got))
			require.NoError(t, err)
			require.Equal(t, tt.want, shape{excused: tt.excused}.strangers(nil, placeOf(words().defs[tt.def]), recorded, got))
		})
	}
}
