package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/stretchr/testify/require"
)

func TestParseConversationRefuses(t *testing.T) {
	const head = "what\nwhy\n-- conversation --\n"
	for name, tt := range map[string]struct{ text, want string }{
		"no section":        {"what\nwhy\n", "no section"},
		"no reason":         {"what\n-- conversation --\nconnect\n", "opens with 1 lines instead of two"},
		"empty":             {head + "# nothing\n", "nothing is said"},
		"unknown line":      {head + "connect\nhello there\n", "x.txtar:5: unknown line: hello there"},
		"nobody connected":  {head + "> health\n", "x.txtar:4: no connection is open"},
		"broken params":     {head + "connect\n> health {\n", "x.txtar:5: params are no JSON"},
		"broken pattern":    {head + "connect\n< ok {]\n", "x.txtar:5: pattern is no JSON"},
		"error unquoted":    {head + "connect\n< error X why\n", "needs a code and a quoted text"},
		"unknown option":    {head + "connect main colour=red\n", "unknown option colour=red"},
		"unknown action":    {head + "connect\n! explode\n", "unknown action explode"},
		"unknown expected":  {head + "connect\n< perhaps\n", "unknown expectation perhaps"},
		"continued, broken": {head + "connect\n> health\n  {]\n", "x.txtar:5: params are no JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseConversation("x.txtar", tt.text)
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestPattern(t *testing.T) {
	for name, tt := range map[string]struct{ pattern, got, want string }{
		"subset":                {`{"a":1}`, `{"a":1,"b":2}`, ""},
		"missing":               {`{"a":{"b":1}}`, `{"a":{}}`, "at /a/b: missing"},
		"other value":           {`{"a":1}`, `{"a":2}`, "at /a: 2 instead of 1"},
		"absent":                {`{"a":"<absent>"}`, `{}`, ""},
		"absent but there":      {`{"a":"<absent>"}`, `{"a":null}`, "at /a: null instead of nothing"},
		"string":                {`"<string>"`, `"x"`, ""},
		"not a string":          {`"<string>"`, `1`, `at root: 1 instead of "<string>"`},
		"int":                   {`"<int>"`, `7`, ""},
		"no int":                {`"<int>"`, `7.5`, `at root: 7.5 instead of "<int>"`},
		"number":                {`"<number>"`, `7.5`, ""},
		"bool":                  {`"<bool>"`, `false`, ""},
		"uuid":                  {`"<uuid>"`, `"ad842786-c286-4f12-91de-f919708b8411"`, ""},
		"no uuid":               {`"<uuid>"`, `"x"`, `at root: "x" instead of "<uuid>"`},
		"any":                   {`{"a":"<any>"}`, `{"a":null}`, ""},
		"regexp":                {`"<~^w.*0$>"`, `"word0"`, ""},
		"regexp differs":        {`"<~^w>"`, `"x"`, `at root: "x" instead of "<~^w>"`},
		"array":                 {`[1,2]`, `[1,2]`, ""},
		"array too short":       {`[1,2]`, `[1]`, "at root: 1 elements instead of more"},
		"array too long":        {`[1]`, `[1,2]`, "at root: 2 elements instead of 1"},
		"last element":          {`["...",3]`, `[1,2,3]`, ""},
		"somewhere":             {`["...",2,"..."]`, `[1,2,3]`, ""},
		"nowhere":               {`["...",9,"..."]`, `[1]`, "at [1:]: 0 elements instead of more"},
		"same variable":         {`{"a":"$x","b":"$x"}`, `{"a":1,"b":1}`, ""},
		"other variable":        {`{"a":"$x","b":"$x"}`, `{"a":1,"b":2}`, `at /b: 2 instead of "$x"`},
		"variable inside":       {`"agent:$known"`, `"agent:k"`, ""},
		"variable found inside": {`{"a":"files-$new","b":"$new"}`, `{"a":"files-7","b":"7"}`, ""},
		"variable inside twice": {`{"a":"files-$new","b":"$new"}`, `{"a":"files-7","b":"8"}`, `at /b: "8" instead of "$new"`},
		"null":                  {`null`, `null`, ""},
		"null is not absent":    {`{"a":null}`, `{}`, "at /a: missing"},
	} {
		t.Run(name, func(t *testing.T) {
			vars := variables{"$known": "k"}
			require.Equal(t, tt.want, vars.match(json.RawMessage(tt.pattern), json.RawMessage(tt.got)))
		})
	}
}

func TestVariablesOfAFailedMatchStayFree(t *testing.T) {
	vars := variables{}
	require.NotEmpty(t, vars.match(json.RawMessage(`{"a":"$x","b":2}`), json.RawMessage(`{"a":1,"b":3}`)))
	require.Empty(t, vars)
	params, err := vars.fill(json.RawMessage(`{"key":"$k","text":"run $k"}`))
	require.NoError(t, err)
	require.JSONEq(t, `{"key":"`+vars["$k"].(string)+`","text":"run `+vars["$k"].(string)+`"}`, string(params))
	require.Regexp(t, uuidShape, vars["$k"])
}

// parrot is a gateway that repeats params, tells them as an event too, and
// refuses the method fail.
func parrot(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	say := func(v any) {
		raw, _ := json.Marshal(v)
		_ = ws.Write(r.Context(), websocket.MessageText, raw)
	}
	seq := 0
	say(map[string]any{"type": "event", "event": "connect.challenge", "payload": map[string]any{"nonce": "n", "ts": 1}})
	for {
		_, raw, err := ws.Read(r.Context())
		if err != nil {
			return
		}
		var req struct {
			ID, Method string
			Params     json.RawMessage
		}
		if json.Unmarshal(raw, &req) != nil {
			return
		}
		switch req.Method {
		case "connect":
			say(map[string]any{"type": "res", "id": req.ID, "ok": true,
				"payload": map[string]any{"type": "hello-ok", "auth": map[string]any{"deviceToken": "d"}, "params": req.Params}})
		case "fail":
			say(map[string]any{"type": "res", "id": req.ID, "ok": false, "error": map[string]any{"code": "X", "message": "no", "details": req.Params}})
		case "skip":
			say(map[string]any{"type": "event", "event": "said", "seq": 4})
			say(map[string]any{"type": "event", "event": "said", "seq": 6})
			say(map[string]any{"type": "res", "id": req.ID, "ok": true})
		case "leave":
			_ = ws.Close(1008, "bye")
			return
		case fenceMethod:
			say(map[string]any{"type": "res", "id": req.ID, "ok": false, "error": map[string]any{"code": "X", "message": "no"}})
		default:
			seq++
			say(map[string]any{"type": "event", "event": "said", "payload": req.Params, "seq": seq})
			say(map[string]any{"type": "res", "id": req.ID, "ok": true, "payload": req.Params})
		}
	}
}

func TestConversation(t *testing.T) {
	for name, tt := range map[string]struct{ script, want string }{
		"hello":              {"connect caps=a,b\n< hello {\"params\":{\"caps\":[\"a\",\"b\"],\"auth\":{\"token\":\"$token\"}}}", ""},
		"device token":       {"connect\nconnect token=device\n< hello {\"params\":{\"auth\":{\"token\":\"d\"}}}", ""},
		"no credentials":     {"connect token=none device=none\n< hello {\"params\":{\"auth\":\"<absent>\",\"device\":\"<absent>\"}}", ""},
		"repeated":           {"connect\n> say {\"a\":\"$k\"}\n< ok {\"a\":\"$k\"}\n< event said {\"a\":\"$k\"}", ""},
		"two open requests":  {"connect\n>1 say {\"a\":1}\n>2 say {\"a\":2}\n<1 ok {\"a\":1}\n<2 ok {\"a\":2}", ""},
		"two connections":    {"connect\nconnect bob\nbob> say {\"a\":1}\nbob< ok\nbob< event said {\"a\":1}\n> say\n< ok\n< no event said {\"a\":1}", ""},
		"refusal":            {"connect\n> fail {\"why\":1}\n< error X \"no\" {\"why\":1}", ""},
		"refusal of $x":      {"connect\n> say {\"a\":\"no\"}\n< ok {\"a\":\"$x\"}\n> fail\n< error X \"$x\"", ""},
		"close":              {"connect\n> leave\n< close 1008 \"bye\"", ""},
		"disconnect":         {"connect\n! disconnect\nconnect\n> say\n< ok", ""},
		"restart":            {"connect\n! restart\nconnect\n> say\n< ok", ""},
		"not refused":        {"connect\n> say {\"a\":1}\n< error X \"no\"", `line 6: accepted with {"a":1} instead of refused`},
		"refused":            {"connect\n> fail\n< ok", `line 6: refused with X "no"`},
		"other refusal":      {"connect\n> fail\n< error X \"yes\"", `line 6: refused with X "no"`},
		"other payload":      {"connect\n> say {\"a\":1}\n< ok {\"a\":2}", "line 6: payload: at /a: 1 instead of 2"},
		"event out of order": {"connect\n> say {\"a\":1}\n< ok\n> say {\"a\":2}\n< ok\n< event said {\"a\":2}\n< event said {\"a\":1}", "line 10: no event said within 1s"},
		"event differs":      {"connect\n> say {\"a\":1}\n< event said {\"a\":3}", "the last one differs at /a: 1 instead of 3"},
		"forbidden event":    {"connect\n> say {\"a\":1}\n< ok\n< no event said", `line 7: event said came: {"a":1}`},
		"other close":        {"connect\n> leave\n< close 1000 \"\"", `line 6: closed with 1008 "bye"`},
		"gap":                {"connect\n> skip\n< ok", "main: seq jumps from 4 to 6 at event said"},
		"gap before leaving": {"connect\n> skip\n< ok\n! disconnect", "line 7: seq jumps from 4 to 6"},
		"not connected":      {"connect\n! disconnect\n> say", "line 6: main is not connected"},
		"nothing asked":      {"connect\n<7 ok", "line 5: nothing was asked"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := ParseConversation(name, "what\nwhy\n-- conversation --\n"+tt.script+"\n")
			require.NoError(t, err)
			c.known = &vocabulary{events: map[string]event{"said": {payload: &node{}}, "connect.challenge": {payload: &node{}}}}
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t)
				outcome := c.run(t.Context(), Target{
					URL: n.serve("parrot", http.HandlerFunc(parrot), func() {}), HTTPClient: n.client(), Token: "t", Patience: time.Second,
					Restart: func(context.Context) error { return nil },
				})
				if tt.want == "" {
					require.Equal(t, Outcome{Name: name, Status: Passed}, outcome)
					return
				}
				require.Equal(t, Failed, outcome.Status)
				require.Contains(t, strings.Join(outcome.Failures, "\n"), tt.want)
			})
		})
	}
}

func TestConversationNeeds(t *testing.T) {
	c, err := ParseConversation("x", "what\nwhy\n-- conversation --\nneeds llm\nconnect\n! restart\n")
	require.NoError(t, err)
	require.Equal(t, Outcome{Name: "x", Status: NotApplicable, Note: "needs llm"}, c.run(t.Context(), Target{}))
	require.Equal(t, Outcome{Name: "x", Status: NotApplicable, Note: "needs restart"}, c.run(t.Context(), Target{Offers: []string{"llm"}}))
}

// TestWrittenConversations reads every file and proves that each method of the
// manifest is called by a conversation in the folder of its domain.
func TestWrittenConversations(t *testing.T) {
	const dir = "../../testdata/conformance"
	cases, err := LoadConversations(os.DirFS(dir))
	require.NoError(t, err)
	require.NotEmpty(t, cases)
	called := map[string][]string{}
	for _, c := range cases {
		raw, err := os.ReadFile(filepath.Join(dir, c.Name))
		require.NoError(t, err)
		conversation, err := ParseConversation(c.Name, string(raw))
		require.NoError(t, err)
		for _, m := range conversation.Methods() {
			called[m] = append(called[m], strings.Split(c.Name, "/")[0])
		}
	}
	for _, m := range protocol.Methods() {
		require.Contains(t, called[m.Name], m.Domain, "no conversation of %s calls %s", m.Domain, m.Name)
	}
}

func TestReport(t *testing.T) {
	ends := func(list ...Outcome) func(context.Context, Target) []Outcome {
		return func(context.Context, Target) []Outcome { return list }
	}
	cases := []Case{
		{Name: "b", names: []string{"b"}, run: ends(Outcome{Name: "b", Status: Passed})},
		{Name: "a", names: []string{"a"}, silent: true, run: ends(failed("a", "it differs"))},
		{Name: "cd", names: []string{"c", "d"}, run: ends(Outcome{Name: "c", Status: NotApplicable, Note: "needs llm"}, Outcome{Name: "d", Status: Excepted, Note: "entry 7"})},
	}
	var told []string
	report := Run(t.Context(), Target{}, cases, func(p Progress) {
		told = append(told, fmt.Sprintf("%s %d/%d %d", p.Case.Name, p.Done, p.Total, len(p.Ended)))
	})
	require.Len(t, told, 6)
	var begun []string // beside the others, so how many had ended by then is open
	for _, line := range told {
		if strings.HasPrefix(line, "b ") && strings.HasSuffix(line, " 0") {
			begun = append(begun, line)
		}
	}
	require.Len(t, begun, 1, "%v", told)
	require.Contains(t, told[5], "3/3")
	require.Equal(t, "passed b\nexcepted d (entry 7)\nnot applicable c (needs llm)\nfailed a\n", report.String())
	require.EqualError(t, report.Err(), "conformance:\na: it differs")
	require.NoError(t, Run(t.Context(), Target{}, cases[:1], nil).Err())

	// What ends the gateway comes last, though it is reported where it stands.
	var order []string
	noting := func(name string) func(context.Context, Target) []Outcome {
		return func(context.Context, Target) []Outcome {
			order = append(order, name)
			return []Outcome{{Name: name, Status: Passed}}
		}
	}
	last := []Case{{Name: "end", final: true, run: noting("end")}, {Name: "again", restarts: true, run: noting("again")}}
	require.Equal(t, "passed end\npassed again\n", Run(t.Context(), Target{}, last, nil).String())
	require.Equal(t, []string{"again", "end"}, order)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorContains(t, Run(ended, Target{}, cases[:1], nil).Err(), "b: not run: context canceled")
}
