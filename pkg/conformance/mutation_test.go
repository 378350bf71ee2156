package conformance

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// mutation changes what a gateway says: one message in, the messages to pass on out.
type mutation func(message string) []string

// mutator is a listener that changes the gateway's messages and the end.
type mutator struct {
	change mutation
	end    func(closing) closing
	// hear is told what the client says.
	hear func(message string)
	// cut ends the client's connections without a word.
	cut func()
}

func (m *mutator) said(byClient bool, message []byte) [][]byte {
	if byClient && m.hear != nil {
		m.hear(string(message))
	}
	if byClient || m.change == nil {
		return [][]byte{message}
	}
	var out [][]byte
	for _, text := range m.change(string(message)) {
		if text == cutHere {
			m.cut()
			return nil
		}
		out = append(out, []byte(text))
	}
	return out
}

func (m *mutator) closed(end closing) closing {
	if m.end == nil || end.By == byClient {
		return end
	}
	return m.end(end)
}

// swap replaces a part of every message.
func swap(old, new string) func() *mutator {
	return func() *mutator {
		return &mutator{change: func(message string) []string { return []string{strings.ReplaceAll(message, old, new)} }}
	}
}

// edit changes the first message that holds all the parts.
func edit(change func(m map[string]any), parts ...string) func() *mutator {
	return func() *mutator {
		done := false
		return &mutator{change: func(message string) []string {
			if done || !holds(message, parts) {
				return []string{message}
			}
			done = true
			return []string{edited(message, change)}
		}}
	}
}

func holds(message string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(message, p) {
			return false
		}
	}
	return true
}

func edited(message string, change func(m map[string]any)) string {
	m := mustParse(json.RawMessage(message)).(map[string]any)
	change(m)
	raw, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// at sets, or with value nil drops, a member below the frame's root.
func at(value any, path ...string) func(map[string]any) {
	return func(m map[string]any) {
		for _, key := range path[:len(path)-1] {
			m = m[key].(map[string]any)
		}
		last := path[len(path)-1]
		if value == nil {
			delete(m, last)
			return
		}
		m[last] = value
	}
}

// drop leaves out, repeat doubles, and late moves behind the next message the first
// message that holds all the parts.
func drop(parts ...string) func() *mutator {
	return first(parts, func(string) []string { return nil })
}

func repeat(parts ...string) func() *mutator {
	return first(parts, func(message string) []string { return []string{message, message} })
}

func insert(extra string, parts ...string) func() *mutator {
	return first(parts, func(message string) []string { return []string{message, extra} })
}

func first(parts []string, change mutation) func() *mutator {
	return func() *mutator {
		done := false
		return &mutator{change: func(message string) []string {
			if done || !holds(message, parts) {
				return []string{message}
			}
			done = true
			return change(message)
		}}
	}
}

func late(parts ...string) func() *mutator {
	return func() *mutator {
		held, done := "", false
		return &mutator{change: func(message string) []string {
			switch {
			case held != "":
				out := []string{message, held}
				held = ""
				return out
			case !done && holds(message, parts):
				held, done = message, true
				return nil
			}
			return []string{message}
		}}
	}
}

// closes changes how the gateway closes.
func closes(code int, reason string) func() *mutator {
	return func() *mutator {
		return &mutator{end: func(closing) closing { return closing{Code: code, Reason: reason} }}
	}
}

const (
	finalEvent = `"state":"final"`
	helloOK    = `"hello-ok"`
	someTool   = `{"type":"event","event":"agent","seq":1,"payload":{"runId":"c1","stream":"tool","seq":1,"ts":1,"data":{}}}`
)

// TestEveryFaultIsSeen lets a gateway that is right but for one fault be graded: by
// recordings and by written conversations. The name of a case is the kind of fault.
func TestEveryFaultIsSeen(t *testing.T) {
	for name, tt := range map[string]struct {
		file  string
		fault func() *mutator
		want  string
	}{
		// Refusals and their ends.
		"code, recorded":             {"connect-bad-token.jsonl", edit(at("UNAVAILABLE", "error", "code"), `"r1"`), `is refused with UNAVAILABLE "unauthorized`},
		"code, written":              {"chat/refused.txtar", edit(at("UNAVAILABLE", "error", "code"), `"ok":false`), `refused with UNAVAILABLE "message or`},
		"text, recorded":             {"chat-errors.jsonl", edit(at("no", "error", "message"), `"ok":false`), `instead of INVALID_REQUEST`},
		"text, written":              {"chat/refused.txtar", edit(at("no", "error", "message"), `"ok":false`), `refused with INVALID_REQUEST "no"`},
		"accepted, recorded":         {"connect-invalid-role.jsonl", edit(func(m map[string]any) { m["ok"] = true; delete(m, "error") }, `"r1"`), "answers ok:true"},
		"accepted, written":          {"chat/refused.txtar", edit(func(m map[string]any) { m["ok"] = true; delete(m, "error") }, `"ok":false`), "instead of refused"},
		"refused, recorded":          {"connect-protocol-range-ok.jsonl", edit(func(m map[string]any) { m["ok"] = false; m["error"] = map[string]any{"code": "X", "message": "x"} }, helloOK), "answers ok:false"},
		"refused, written":           {"agents/list.txtar", edit(func(m map[string]any) { m["ok"] = false; m["error"] = map[string]any{"code": "X", "message": "x"} }, `"defaultId"`), `refused with X "x"`},
		"details lost, recorded":     {"connect-protocol-mismatch.jsonl", edit(at(nil, "error", "details", "expectedProtocol"), `"r1"`), "error.details of connect: at /expectedProtocol: missing"},
		"details changed, written":   {"frames/refusals.txtar", edit(at("Y", "error", "details", "code"), "device token mismatch"), `details: at /code: "Y" instead of`},
		"ok with an error, recorded": {"chat-abort.jsonl", edit(at(map[string]any{"code": "X", "message": "x"}, "error"), `"aborted":true`), "ok and error contradict each other"},
		"close code, recorded":       {"connect-bad-token.jsonl", closes(1002, "unauthorized: gateway token mismatch (provide gateway auth token)"), "closed with 1002"},
		"close code, written":        {"frames/refusals.txtar", closes(1000, "unauthorized: device token mismatch (rotate/reissue device token)"), "closed with 1000"},
		"close reason, recorded":     {"first-frame-bad-shape.jsonl", closes(1008, "no"), `closed with 1008 "no" instead of 1008 "invalid request frame"`},
		"close reason, written":      {"frames/refusals.txtar", closes(1008, "no"), `closed with 1008 "no"`},

		// Members.
		"lost key, recorded":              {"chat-abort.jsonl", edit(at(nil, "payload", "aborted"), `"aborted":true`), "payload of chat.abort: at /aborted: missing"},
		"lost key, written":               {"chat/abort.txtar", edit(at(nil, "payload", "aborted"), `"aborted":true`), "at /aborted: missing"},
		"lost key that no line names":     {"chat/history.txtar", edit(at(nil, "payload", "thinkingLevel"), `"messages"`), "no ChatHistoryResult: must have required property 'thinkingLevel'"},
		"lost key in an event, recorded":  {"agent-run.jsonl", edit(at(nil, "payload", "data", "delta"), `"stream":"assistant"`), "payload of event agent a1 assistant  : at /data/delta: missing"},
		"lost key in an event, written":   {"chat/send.txtar", edit(at(nil, "payload", "sessionKey"), finalEvent), "at /sessionKey: missing"},
		"extra key, recorded":             {"agent-run.jsonl", edit(at(1, "payload", "more"), `"accepted"`), "payload of agent: at /more: unexpected"},
		"extra key, written":              {"agents/list.txtar", edit(at(1, "payload", "more"), `"defaultId"`), "at root: unexpected property 'more'"},
		"extra key, deep":                 {"connect-ok-token-nodevice.jsonl", edit(at(1, "payload", "policy", "more"), helloOK), "payload of connect: at /policy/more: unexpected"},
		"extra key in an event, recorded": {"agent-run.jsonl", edit(at(1, "payload", "more"), `"stream":"assistant"`), "at /more: unexpected"},
		"extra key in an event, written":  {"chat/send.txtar", edit(at(1, "payload", "more"), finalEvent), "unexpected property 'more'"},
		"extra key in a frame, recorded":  {"chat-abort.jsonl", edit(at(1, "more"), `"aborted":true`), "frame of the answer to \"r5\": at root: unexpected property 'more'"},
		"extra key in a frame, written":   {"chat/send.txtar", edit(at(1, "more"), finalEvent), "at root: unexpected property 'more'"},
		"type, recorded":                  {"agent-run.jsonl", edit(at([]any{}, "payload", "acceptedAt"), `"acceptedAt"`), "payload of agent: at /acceptedAt: array instead of number"},
		"type, written":                   {"agent/run.txtar", edit(at("1", "payload", "acceptedAt"), `"acceptedAt"`), `at /acceptedAt: "1" instead of "<int>"`},
		"type that no line names":         {"chat/history.txtar", edit(at(1, "payload", "thinkingLevel"), `"messages"`), "no ChatHistoryResult: at /thinkingLevel: must be string"},
		"null for an object":              {"connect-ok-token-nodevice.jsonl", edit(func(m map[string]any) { m["payload"].(map[string]any)["policy"] = nil }, helloOK), "at /policy: null instead of object"},
		"object for null":                 {"errors-generic.jsonl", edit(at(map[string]any{}, "payload"), `"id":"r7"`), "payload of last-heartbeat: at root: object instead of null"},
		"value that is no choice":         {"health/heartbeats.txtar", edit(at("often", "payload", "status"), `"event":"heartbeat"`), `"often" instead of "skipped"`},

		// Order and number.
		"event behind its answer, recorded": {"chat-abort.jsonl", late(`"state":"aborted"`), "comes after the response"},
		"events of a run, recorded":         {"agent-run.jsonl", late(`"stream":"assistant"`), "seq jumps from"},
		"count of a run, recorded":          {"agent-run.jsonl", edit(at(99, "payload", "seq"), `"stream":"assistant"`), "run a1 jumps from event 1 to 99"},
		"count of a run, written":           {"chat/send.txtar", edit(at(99, "payload", "seq"), `"phase":"end"`), "jumps from event 2 to 99"},
		"texts out of order":                {"chat/send.txtar", edit(at(1, "payload", "seq"), finalEvent), "the texts of run"},
		"events of a run, written":          {"chat/send.txtar", late(`"phase":"start"`), "no event agent within"},
		"answers, recorded":                 {"agent-run.jsonl", late(`"accepted"`), "no response"},
		"answers, written":                  {"agent/run.txtar", late(`"accepted"`), "no response"},
		"event before hello":                {"connect-ok-token-nodevice.jsonl", late(helloOK), "comes before the answer to connect"},
		"challenge not first": {"connect-bad-token.jsonl", first([]string{"connect.challenge"}, func(m string) []string {
			return []string{`{"type":"event","event":"tick","payload":{"ts":1},"seq":1}`, m}
		}), "the first frame is event tick"},
		"two challenges":                  {"connect-bad-token.jsonl", repeat("connect.challenge"), "the challenge comes twice"},
		"no challenge":                    {"connect-bad-token.jsonl", drop("connect.challenge"), "no connect.challenge"},
		"missing final, recorded":         {"chat-send-stream.jsonl", drop(`"runId":"c1"`, finalEvent), "no event chat c1   final"},
		"missing final, written":          {"chat/send.txtar", drop(finalEvent), "no event chat within"},
		"missing second answer, recorded": {"agent-run.jsonl", drop(`"summary"`), "no response 2"},
		"missing second answer, written":  {"agent/run.txtar", drop(`"summary"`), "no response 2"},
		"missing answer, recorded":        {"chat-abort.jsonl", drop(`"aborted":true`), "no response 1"},
		"missing answer, written":         {"agents/list.txtar", drop(`"defaultId"`), "no response 1"},
		"final twice, recorded":           {"chat-send-stream.jsonl", repeat(`"runId":"c1"`, finalEvent), "run c1 ends twice"},
		"final twice, written":            {"chat/send.txtar", repeat(finalEvent), "ends twice"},
		"text after the final":            {"chat/send.txtar", first([]string{finalEvent}, func(m string) []string { return []string{m, strings.Replace(m, finalEvent, `"state":"delta"`, 1)} }), "goes on after its end"},
		"answer twice, recorded":          {"chat-abort.jsonl", repeat(`"aborted":true`), `"r5" is answered 2 times`},
		"answer twice, written":           {"agents/list.txtar", repeat(`"defaultId"`), "is answered 2 times"},
		"three answers":                   {"agent/run.txtar", repeat(`"summary"`), "is answered 3 times"},
		"answer to nobody":                {"agents/list.txtar", insert(`{"type":"res","id":"zz","ok":true}`, `"defaultId"`), `an answer to "zz", which was not asked`},
		"answer to another":               {"chat-abort.jsonl", edit(at("zz", "id"), `"aborted":true`), `no response 1 to "r5"`},

		// Events that should not be.
		"unknown event, recorded": {"chat-abort.jsonl", insert(`{"type":"event","event":"news","seq":9999}`, `"aborted":true`), "event news was not recorded"},
		"unknown event, written":  {"agents/list.txtar", insert(`{"type":"event","event":"news","seq":1}`, `"defaultId"`), "nobody knows event news"},
		"event of another kind":   {"chat-send-stream.jsonl", insert(someTool, `"runId":"c1"`, finalEvent), "event agent c1 tool was not recorded"},
		"forbidden event": {"health/health.txtar", first([]string{"missing scope"}, func(m string) []string {
			return []string{`{"type":"event","event":"health","payload":{},"seq":1,"stateVersion":{"presence":9,"health":9}}`, m}
		}), "event health came"},
		"no frame, recorded":         {"chat-abort.jsonl", insert(`hello`, `"aborted":true`), `frame of "hello": neither a response nor an event`},
		"no frame, written":          {"agents/list.txtar", insert(`[]`, `"defaultId"`), `frame of "[]": neither a response nor an event`},
		"a frame of neither kind":    {"agents/list.txtar", insert(`{"type":"req","id":"1","method":"x"}`, `"defaultId"`), "neither a response nor an event"},
		"connection cut, recorded":   {"chat-abort.jsonl", cut(`"aborted":true`), "the connection ended"},
		"connection cut, written":    {"chat/send.txtar", cut(finalEvent), "the connection ended"},
		"connection cut at the end":  {"chat-errors.jsonl", cut(`"fence-`), "the connection ended"},
		"connection cut unobserved":  {"agents/list.txtar", cut(`"fence-`), "the connection ended"},
		"more bytes than one object": {"agents/list.txtar", insert(`{"type":"event","event":"tick","payload":{"ts":1},"seq":1}{}`, `"defaultId"`), "neither a response nor an event"},

		// seq and stateVersion.
		"seq lost, recorded":               {"agent-run.jsonl", edit(at(nil, "seq"), `"stream":"assistant"`), "has no seq"},
		"seq lost, written":                {"chat/send.txtar", edit(at(nil, "seq"), finalEvent), "has no seq"},
		"seq with a gap, recorded":         {"agent-run.jsonl", edit(func(m map[string]any) { m["seq"] = 100000 }, finalEvent), "seq jumps from"},
		"seq with a gap, written":          {"chat/send.txtar", edit(func(m map[string]any) { m["seq"] = 100000 }, finalEvent), "seq jumps from"},
		"seq twice":                        {"agent-run.jsonl", repeat(`"event":"health"`), "seq jumps from"},
		"seq is text":                      {"agent-run.jsonl", edit(at("1", "seq"), finalEvent), "neither a response nor an event"},
		"seq on the challenge":             {"connect-bad-token.jsonl", edit(at(1, "seq"), "connect.challenge"), "event connect.challenge has a seq"},
		"stateVersion lost, recorded":      {"health-status-presence.jsonl", edit(at(nil, "stateVersion"), `"event":"health"`), "event health has no stateVersion"},
		"stateVersion lost, written":       {"presence/presence.txtar", edit(at(nil, "stateVersion"), `"event":"presence"`), "event presence has no stateVersion"},
		"stateVersion out of place":        {"agent-run.jsonl", edit(at(map[string]any{"presence": 1, "health": 1}, "stateVersion"), finalEvent), "final has a stateVersion"},
		"stateVersion going back":          {"health-status-presence.jsonl", edit(at(map[string]any{"presence": 0, "health": 0}, "stateVersion"), `"event":"health"`), "stateVersion goes back"},
		"stateVersion half":                {"health-status-presence.jsonl", edit(at(nil, "stateVersion", "health"), `"event":"health"`), "at /stateVersion: must have required property 'health'"},
		"stateVersion going back, written": {"presence/presence.txtar", edit(at(map[string]any{"presence": 0, "health": 0}, "stateVersion"), `"event":"presence"`), "stateVersion goes back"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := caseNamed(t, tt.file)
			synctest.Test(t, func(t *testing.T) {
				target, _ := mutated(t, c, tt.fault)
				outcome := c.run(t.Context(), target)[0]
				require.Equal(t, Failed, outcome.Status)
				require.Contains(t, strings.Join(outcome.Failures, "\n"), tt.want)
			})
		})
	}
}

// cut ends the connection without a word instead of passing on a message.
func cut(parts ...string) func() *mutator {
	return func() *mutator {
		return &mutator{change: func(message string) []string {
			if holds(message, parts) {
				return []string{cutHere}
			}
			return []string{message}
		}}
	}
}

// cutHere is what a mutator says to have the connection cut.
const cutHere = "cut here"

func caseNamed(t *testing.T, file string) Case {
	t.Helper()
	if strings.HasSuffix(file, ".jsonl") {
		return group{loadOne(t, file)}.asCase()
	}
	raw, err := os.ReadFile(conversationsDir + "/" + file)
	require.NoError(t, err)
	c, err := ParseConversation(file, string(raw))
	require.NoError(t, err)
	return c.Case()
}
