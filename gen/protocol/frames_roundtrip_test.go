package protocol_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// recordedPart is a line of testdata/mutations/recorded.jsonl: a part of a recorded
// message, its definition, and the members that this definition does not name.
type recordedPart struct {
	ID      string   `json:"id"` // file:line
	At      string   `json:"at"`
	Def     string   `json:"def"`
	Expect  string   `json:"expect"`
	Dropped []string `json:"dropped"`
}

// TestRecordedFrames decodes every recorded frame, then its params or payload where the
// schema has the method or event, and encodes them again: the result is what was
// recorded, without the members that nobody named.
func TestRecordedFrames(t *testing.T) {
	recordings := recordings{}
	count := map[string]int{}
	for line := range jsonLines(t, recordedFile) {
		var part recordedPart
		require.NoError(t, json.Unmarshal(line, &part))
		raw := rawAt(t, recordings.line(t, part.ID), part.At)
		count[part.Expect+" "+part.At]++
		if fault := part.fault(raw); fault != "" {
			t.Errorf("%s%s as %s: %s\n%s", part.ID, part.At, part.Def, fault, raw)
		}
	}
	require.NotZero(t, count["decode /frame/payload"])
	t.Log(count)
}

const recordedFile = "../../testdata/mutations/recorded.jsonl"

// recordings are the lines of testdata/frames by file.
type recordings map[string][]json.RawMessage

// line returns the line called file:number.
func (r recordings) line(t testing.TB, id string) json.RawMessage {
	file, number, _ := strings.Cut(id, ":")
	if r[file] == nil {
		for line := range jsonLines(t, "../../testdata/frames/"+file) {
			r[file] = append(r[file], append(json.RawMessage(nil), line...))
		}
	}
	n, err := strconv.Atoi(number)
	require.NoError(t, err)
	return r[file][n-1]
}

// fault returns what this package does wrong, or an empty string.
func (p recordedPart) fault(raw []byte) string {
	want := tree(raw)
	for _, pointer := range p.Dropped {
		remove(want, strings.Split(pointer[1:], "/"))
	}
	return mutation{Def: p.Def, Frame: string(raw), Expect: p.Expect, Same: printed(want)}.fault()
}

// TestRecordedTypes checks that the expectations name the types that this package gives
// to methods and events, so that a part is decoded as what a client decodes it as.
func TestRecordedTypes(t *testing.T) {
	named := manifestTypes(t)
	recordings := recordings{}
	asked := map[string]string{} // method by file and request id
	checked := 0
	for line := range jsonLines(t, recordedFile) {
		var part recordedPart
		require.NoError(t, json.Unmarshal(line, &part))
		raw := rawAt(t, recordings.line(t, part.ID), "/frame")
		var frame struct {
			Type, Method, Event string
			ID                  any
		}
		if json.Unmarshal(raw, &frame) != nil {
			continue // sent to be refused
		}
		key := fmt.Sprint(strings.Split(part.ID, ":")[0], frame.ID)
		want := []string{"GatewayFrame"}
		switch {
		case part.At == "/frame" && frame.Type == "req":
			asked[key] = frame.Method
		case part.At == "/frame/params":
			want = named["params "+frame.Method]
		case part.At == "/frame/payload" && frame.Type == "res":
			want = named["result "+asked[key]]
		case part.At == "/frame/payload":
			want = named["event "+frame.Event]
		}
		require.Contains(t, want, part.Def, "%s%s", part.ID, part.At)
		checked++
	}
	require.NotZero(t, checked)
}

// manifestTypes reads the types of gen/manifest.json, which the generator writes beside
// this package: of "params chat.send", "result chat.send" (ack included), "event chat".
func manifestTypes(t testing.TB) map[string][]string {
	data, err := os.ReadFile("../manifest.json")
	require.NoError(t, err)
	var manifest struct {
		Methods map[string]struct{ Params, Ack, Result string }
		Events  map[string]struct{ Payload string }
	}
	require.NoError(t, json.Unmarshal(data, &manifest))
	types := map[string][]string{}
	for name, m := range manifest.Methods {
		types["params "+name] = []string{m.Params}
		types["result "+name] = []string{m.Ack, m.Result}
	}
	for name, e := range manifest.Events {
		types["event "+name] = []string{e.Payload}
	}
	return types
}

// rawAt returns the bytes at a pointer of object members.
func rawAt(t testing.TB, raw json.RawMessage, pointer string) json.RawMessage {
	for _, name := range strings.Split(pointer[1:], "/") {
		var members map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(raw, &members))
		require.Contains(t, members, name)
		raw = members[name]
	}
	return raw
}

func tree(raw []byte) any {
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return fmt.Sprint(err)
	}
	return v
}

// remove takes the member at the pointer's tokens away.
func remove(v any, tokens []string) {
	name := strings.NewReplacer("~1", "/", "~0", "~").Replace(tokens[0])
	if list, ok := v.([]any); ok {
		if i, err := strconv.Atoi(name); err == nil && i < len(list) {
			remove(list[i], tokens[1:])
		}
		return
	}
	members, _ := v.(map[string]any)
	if len(tokens) == 1 {
		delete(members, name)
		return
	}
	remove(members[name], tokens[1:])
}
