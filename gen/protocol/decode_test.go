package protocol_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// TestRefusalText is the text of a refusal as a client of chat.history sees it.
func TestRefusalText(t *testing.T) {
	_, err := protocol.DecodeChatHistoryParams([]byte(`{"foo":1,"limit":0}`))
	require.EqualError(t, err, "must have required property 'sessionKey'; at root: unexpected property 'foo'; at /limit: must be >= 1")
	var list wire.ValidationErrors
	require.ErrorAs(t, err, &list)
	require.Len(t, list, 3)
}

// TestRefusedSyntax holds what JSON.parse would let pass.
func TestRefusedSyntax(t *testing.T) {
	for _, c := range []struct{ name, raw, want string }{
		{"twice", `{"ts":1,"ts":2}`, `member "ts" is named twice`},
		{"twice with an escape", `{"ts":1,"\u0074s":2}`, `member "ts" is named twice`},
		{"beyond 64 bits", `{"ts":9223372036854775808}`, "at /ts: integer beyond 64 bits"},
		{"huge exponent", `{"ts":1e1000000000}`, "at /ts: integer beyond 64 bits"},
		{"invalid UTF-8", "{\"\xff\":1,\"ts\":1}", "invalid UTF-8"},
		{"too deep", `{"ts":1,"x":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `}`, "nests too deep"},
		{"trailing text", `{"ts":1}x`, "malformed JSON"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := protocol.DecodeTickEvent([]byte(c.raw))
			require.EqualError(t, err, c.want)
			var syntax *wire.SyntaxError
			require.ErrorAs(t, err, &syntax)
		})
	}
	for raw, want := range map[string]int64{`{"ts":1.0}`: 1, `{"ts":1e3}`: 1000, ` { "ts" : 9223372036854775807 } `: 9223372036854775807} {
		v, err := protocol.DecodeTickEvent([]byte(raw))
		require.NoError(t, err, raw)
		require.Equal(t, want, v.Ts)
	}
}

// TestOpenDecoding is what a client tolerates of a newer gateway, and what not.
func TestOpenDecoding(t *testing.T) {
	raw := []byte(`{"runId":"r","status":"paused","news":{"a":[1]}}`)
	_, err := protocol.DecodeChatRunStatus(raw)
	require.EqualError(t, err, "at root: unexpected property 'news'; at /status: must be equal to constant; at /status: must match a schema in anyOf")
	v, err := protocol.DecodeChatRunStatusOpen(raw)
	require.NoError(t, err)
	require.Equal(t, protocol.ChatRunState("paused"), v.Status)
	require.False(t, v.Status.Known())

	_, err = protocol.DecodeChatRunStatusOpen([]byte(`{"status":"ok","news":1}`))
	require.EqualError(t, err, "must have required property 'runId'")
}

// TestUnions decodes each variant, and in a client a variant nobody knows yet.
func TestUnions(t *testing.T) {
	frame, err := protocol.DecodeGatewayFrame([]byte(`{"id":"1","method":"m","params":{"a":1},"type":"req"}`))
	require.NoError(t, err)
	require.NotNil(t, frame.RequestFrame)
	require.Equal(t, `{"a":1}`, string(frame.RequestFrame.Params))
	require.Nil(t, frame.ResponseFrame)

	unknown := []byte(`{"type":"new","x":1}`)
	_, err = protocol.DecodeGatewayFrame(unknown)
	require.Error(t, err)
	frame, err = protocol.DecodeGatewayFrameOpen(unknown)
	require.NoError(t, err)
	require.Equal(t, string(unknown), string(frame.AppendJSON(nil)))
	_, err = protocol.DecodeGatewayFrameOpen([]byte(`7`))
	require.Error(t, err)

	// Variants without a discriminator are told apart by what they require, also when
	// a newer gateway adds members.
	for raw, isRun := range map[string]bool{`{"runId":"r","status":"started","x":1}`: true, `{"ok":true,"aborted":false,"runIds":[],"x":1}`: false} {
		v, err := protocol.DecodeChatSendResultOpen([]byte(raw))
		require.NoError(t, err, raw)
		require.Equal(t, isRun, v.ChatRunStatus != nil)
		require.Equal(t, !isRun, v.ChatAbortResult != nil)
	}
}

// TestNull tells absent, null and a value apart, both ways.
func TestNull(t *testing.T) {
	for _, raw := range []string{`{"key":"k"}`, `{"key":"k","label":null}`, `{"key":"k","label":"x"}`} {
		v, err := protocol.DecodeSessionsPatchParams([]byte(raw))
		require.NoError(t, err)
		require.Equal(t, strings.Contains(raw, "label"), v.Label.Set)
		require.Equal(t, strings.Contains(raw, "null"), v.Label.Null)
		require.JSONEq(t, raw, string(v.AppendJSON(nil)))
	}
	last, err := protocol.DecodeLastHeartbeatResult([]byte(`null`))
	require.NoError(t, err)
	require.False(t, last.Valid)
	require.Equal(t, "null", string(last.AppendJSON(nil)))
}

// TestLenient is the decoding of params that the protocol never validated.
func TestLenient(t *testing.T) {
	for _, raw := range []string{``, `null`, `7`, `[]`, `"x"`, `{}`, `{"probe":"yes"}`, `{"probe":{"a":[1]},"more":1}`, `{"probe":true,"probe":1}`} {
		v, err := protocol.MethodHealth.Params.Decode([]byte(raw))
		require.NoError(t, err, raw)
		require.Equal(t, protocol.HealthParams{}, v, raw)
	}
	v, err := protocol.MethodHealth.Params.Decode([]byte(`{"x":[{}],"probe":1,"probe":true}`))
	require.NoError(t, err)
	require.Equal(t, protocol.HealthParams{Probe: wire.Some(true)}, v)

	e, err := protocol.MethodSystemEvent.Params.Decode([]byte(`{"text":"hi","tags":["a",1],"mode":5}`))
	require.NoError(t, err)
	require.Equal(t, "hi", e.Text.Or(""))
	require.Nil(t, e.Tags, "a list with a member of the wrong type counts as absent")
	require.False(t, e.Mode.Set)

	_, err = protocol.MethodHealth.Params.Decode([]byte(`{"probe":`))
	require.EqualError(t, err, "malformed JSON")
}

// TestEncodingJSON checks that the types work in encoding/json as well, and that they
// do not alias its buffer.
func TestEncodingJSON(t *testing.T) {
	raw := []byte(`{"runId":"r","sessionKey":"s","seq":1,"state":"delta","message":{"<b>":1}}`)
	want := string(raw)
	var v protocol.ChatEvent
	require.NoError(t, json.Unmarshal(raw, &v))
	for i := range raw {
		raw[i] = ' '
	}
	require.Equal(t, want, string(v.AppendJSON(nil)))
	out, err := json.Marshal(map[string]protocol.ChatEvent{"e": v})
	require.NoError(t, err)
	require.JSONEq(t, `{"e":`+want+`}`, string(out))
}

// TestRequiredLists are written even when nil, and constants whatever the field says.
func TestRequiredLists(t *testing.T) {
	require.JSONEq(t, `{"ok":true,"aborted":false,"runIds":[]}`, string(protocol.ChatAbortResult{Ok: true}.AppendJSON(nil)))
	require.JSONEq(t, `{"type":"event","event":"x"}`, string(protocol.EventFrame{Event: "x"}.AppendJSON(nil)))
}

func TestScopeAllows(t *testing.T) {
	for _, c := range []struct {
		have string
		need string
		want bool
	}{
		{"", "", true}, {"", protocol.ScopeOperatorRead, false}, {protocol.ScopeOperatorRead, protocol.ScopeOperatorRead, true},
		{protocol.ScopeOperatorWrite, protocol.ScopeOperatorRead, true}, {protocol.ScopeOperatorRead, protocol.ScopeOperatorWrite, false},
		{protocol.ScopeOperatorAdmin, protocol.ScopeOperatorPairing, true}, {protocol.ScopeOperatorAdmin, "operator.of.tomorrow", true},
		{protocol.ScopeOperatorWrite, protocol.ScopeOperatorApprovals, false}, {"operator.unknown", protocol.ScopeOperatorRead, false},
	} {
		require.Equal(t, c.want, protocol.ScopeAllows([]string{c.have}, c.need), "%q for %q", c.have, c.need)
	}
	require.False(t, protocol.ScopeAllows(nil, protocol.ScopeOperatorRead))
}

// TestManifest compares the descriptors with gen/manifest.json and with themselves.
func TestManifest(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range protocol.Methods() {
		require.False(t, seen[m.Name], m.Name)
		seen[m.Name] = true
		require.NotEmpty(t, m.Doc, m.Name)
		require.Contains(t, []string{protocol.RoleOperator, protocol.RoleNode, "any"}, m.Role)
	}
	require.True(t, seen[protocol.MethodChatSend.Name])
	require.True(t, protocol.MethodAgent.Staged)
	require.Equal(t, "required", protocol.MethodChatSend.Idempotency)
	for _, e := range protocol.Events() {
		require.NotEmpty(t, e.Audience, e.Name)
	}
}

// FuzzDecode feeds every definition any bytes: no decoder panics, what is accepted
// survives encoding and decoding unchanged, and a refusal always has its reason.
func FuzzDecode(f *testing.F) {
	names := protocol.Definitions()
	for i, name := range names {
		for _, example := range schemaDefs(f)[name].Examples {
			f.Add(i, []byte(example))
		}
		for _, invalid := range schemaDefs(f)[name].Invalid {
			f.Add(i, []byte(invalid.Value))
		}
	}
	f.Fuzz(func(t *testing.T, i int, raw []byte) {
		name := names[uint(i)%uint(len(names))]
		for mode, again := range map[string]func([]byte) ([]byte, error){"closed": codecs[name].closed, "open": codecs[name].open} {
			out, err := again(raw)
			if err != nil {
				checkReason(t, name, raw, err, mode)
				continue
			}
			if !wire.ValidJSON(out) {
				t.Fatalf("%s %s: %q encodes to bad JSON %q", name, mode, raw, out)
			}
			twice, err := again(out)
			if err != nil || string(twice) != string(out) {
				t.Fatalf("%s %s: %q encodes to %q, then to %q, %v", name, mode, raw, out, twice, err)
			}
		}
	})
}

// checkReason fails when a strict refusal is neither a list of broken rules nor a
// fault of syntax that JSON has.
func checkReason(t *testing.T, name string, raw []byte, err error, mode string) {
	var list wire.ValidationErrors
	var syntax *wire.SyntaxError
	switch {
	case errors.As(err, &list) && len(list) > 0 && list.Error() != "":
	case errors.As(err, &syntax) && (mode == "open" || syntax.Reason != "fits no known variant"):
	default:
		t.Fatalf("%s %s: %q is refused without a reason: %v", name, mode, raw, err)
	}
}

// TestMembersInAnotherCase: names are compared as they are written, so that no two
// readers of one message disagree about which member counts.
func TestMembersInAnotherCase(t *testing.T) {
	_, err := protocol.DecodeTickEvent([]byte(`{"TS":1}`))
	require.EqualError(t, err, "must have required property 'ts'; at root: unexpected property 'TS'")
	v, err := protocol.DecodeTickEventOpen([]byte(`{"ts":1,"Ts":2}`))
	require.NoError(t, err)
	require.EqualValues(t, 1, v.Ts)
}
