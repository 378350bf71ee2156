package main

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the files anew")

const root = "../../.."

// TestFresh compares the committed files with what the schema and the recordings say
// today. After a change of either: go run ./tools/oracle/mutate.
func TestFresh(t *testing.T) {
	files, err := generate(root)
	require.NoError(t, err)
	if *update {
		require.NoError(t, write(root, files))
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		if string(got) != string(want) {
			t.Errorf("%s is not current; run: go run ./tools/oracle/mutate", name)
		}
		require.Less(t, len(want), 8<<20, "%s grows too big to be kept as text", name)
	}
}

// TestOracle holds the rules of a client's decoding, case by case: the oracle itself
// has to be right.
func TestOracle(t *testing.T) {
	p, err := readProtocol(filepath.Join(root, "schema"))
	require.NoError(t, err)
	for _, c := range []struct{ name, def, in, want, dropped string }{
		{"new member", "ChatAbortParams", `{"sessionKey":"main","x":1}`, `{"sessionKey":"main"}`, "/x"},
		{"new member of an open object", "ChatContent", `{"type":"text","x/y":1}`, `{"type":"text"}`, "/x~1y"},
		{"new enum value", "ChatRunStatus", `{"runId":"r","status":"paused"}`, `{"runId":"r","status":"paused"}`, ""},
		{"enum of another type", "ChatRunStatus", `{"runId":"r","status":1}`, "", ""},
		{"required member", "ChatRunStatus", `{"runId":"r"}`, "", ""},
		{"constant", "AgentAccepted", `{"runId":"r","status":"rejected","acceptedAt":1}`, "", ""},
		{"null where it is allowed", "SessionsPatchParams", `{"key":"k","label":null}`, `{"key":"k","label":null}`, ""},
		{"absent where null is allowed", "SessionsPatchParams", `{"key":"k"}`, `{"key":"k"}`, ""},
		{"null where it is not", "ChatAbortParams", `{"sessionKey":"main","runId":null}`, "", ""},
		{"null definition", "LastHeartbeatResult", `null`, `null`, ""},
		{"null in an untyped member", "RequestFrame", `{"type":"req","id":"1","method":"m","params":null}`, `{"id":"1","method":"m","params":null,"type":"req"}`, ""},
		{"widest integer", "TickEvent", `{"ts":9223372036854775807}`, `{"ts":9223372036854775807}`, ""},
		{"wider than that", "TickEvent", `{"ts":9223372036854775808}`, "", ""},
		{"whole number with a point", "TickEvent", `{"ts":1.0}`, `{"ts":1}`, ""},
		{"fraction", "TickEvent", `{"ts":1.5}`, "", ""},
		{"new variant", "GatewayFrame", `{"type":"new","x":1}`, `{"type":"new","x":1}`, ""},
		{"variant without its name", "GatewayFrame", `{"x":1}`, "", ""},
		{"variant by what fits", "ChatSendResult", `{"ok":true,"aborted":false,"runIds":[],"x":1}`, `{"aborted":false,"ok":true,"runIds":[]}`, "/x"},
		{"fits no variant", "ChatSendResult", `{"ok":true}`, "", ""},
		{"deep", "ChatHistoryResult", `{"sessionKey":"k","messages":[{"role":"bot","content":[{"type":"text","x":1}]}],"thinkingLevel":"off"}`, `{"messages":[{"content":[{"type":"text"}],"role":"bot"}],"sessionKey":"k","thinkingLevel":"off"}`, "/messages/0/content/0/x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := parse([]byte(c.in))
			require.NoError(t, err)
			var dropped []string
			out, err := p.decode(p.defs[c.def], v, "", false, &dropped)
			if c.want == "" {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, text(out))
			require.Equal(t, c.dropped, strings.Join(dropped, " "))
		})
	}
}

// TestKinds checks that each kind means what its name says.
func TestKinds(t *testing.T) {
	lines, err := os.ReadFile(filepath.Join(root, "testdata/mutations/mutations.jsonl"))
	require.NoError(t, err)
	count := map[string]int{}
	ids := map[string]bool{}
	for line := range strings.Lines(string(lines)) {
		var m mutation
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		require.False(t, ids[m.ID], m.ID)
		ids[m.ID] = true
		count[m.Kind+" "+m.Expect]++
	}
	for _, none := range []string{addedMember + " refuse", unknownEnum + " refuse", droppedOptional + " refuse", missingRequired + " decode", wrongType + " decode"} {
		require.Zero(t, count[none], none)
	}
	for _, some := range []string{widerNumber + " decode", widerNumber + " refuse", nullForOptional + " decode", nullForOptional + " refuse"} {
		require.NotZero(t, count[some], some)
	}
	require.Greater(t, len(ids), 2000)
}

// TestEveryMember checks that each member of each definition stands in a text that a
// client has to decode, and keep: else a renamed one would not be noticed.
func TestEveryMember(t *testing.T) {
	p, err := readProtocol(filepath.Join(root, "schema"))
	require.NoError(t, err)
	kept := map[string]bool{}
	lines, err := os.ReadFile(filepath.Join(root, "testdata/mutations/mutations.jsonl"))
	require.NoError(t, err)
	for line := range strings.Lines(string(lines)) {
		var m mutation
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		var members map[string]json.RawMessage
		if m.Expect == expectDecode && json.Unmarshal([]byte(m.Same), &members) == nil {
			for name := range members {
				kept[m.Def+" "+name] = true
			}
		}
	}
	for def, s := range p.defs {
		for name := range s.Properties {
			require.True(t, kept[def+" "+name], "%s.%s is in no text", def, name)
		}
	}
}

// TestExceptions proves that a mistake in the schema is not taken for the new truth: a
// renamed member, required or not, stops the generator, and so does an excuse too many.
func TestExceptions(t *testing.T) {
	for _, c := range []struct{ name, def, member, want string }{
		{"required member renamed", "ChatEvent", "runId", "no longer decodes as ChatEvent"},
		{"optional member renamed", "ChatEvent", "message", "ChatEvent has no member /message"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := readProtocol(filepath.Join(root, "schema"))
			require.NoError(t, err)
			s := p.defs[c.def]
			s.Properties["renamed"] = s.Properties[c.member]
			delete(s.Properties, c.member)
			for i, name := range s.Required {
				if name == c.member {
					s.Required[i] = "renamed"
				}
			}
			require.ErrorContains(t, judged(t, p), c.want)
		})
	}
	p, err := readProtocol(filepath.Join(root, "schema"))
	require.NoError(t, err)
	require.NoError(t, judged(t, p))
	p.defs["ConnectParams"].Properties["bogus"] = &schema{}
	require.ErrorContains(t, judged(t, p), `nothing needs "drop ConnectParams/bogus"`)
}

func judged(t *testing.T, p *protocol) error {
	excused, err := readExceptions(filepath.Join(root, "testdata/mutations/EXCEPTIONS.txt"))
	require.NoError(t, err)
	_, _, err = p.readRecorded(filepath.Join(root, "testdata/frames"), excused)
	return err
}
