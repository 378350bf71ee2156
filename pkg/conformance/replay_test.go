package conformance

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, into))
}

// TestReplayOfTheRecorderPasses holds each recording against itself: a gateway
// that says what was recorded has to pass.
func TestReplayOfTheRecorderPasses(t *testing.T) {
	ran := 0
	for name, tr := range transcripts(t) {
		if tr.info.Group != "" || tr.info.Profile != "token" && tr.info.Action == "" || slices.Contains(tr.info.Needs, "restart") {
			continue
		}
		ran++
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := playback{t: tr}.start(t)
			outcome := tr.run(t.Context(), target)
			require.Empty(t, outcome.Failures)
			require.Contains(t, []Status{Passed, NotApplicable}, outcome.Status)
		})
	}
	require.Greater(t, ran, 40)
}

// TestReplayTellsWhatDiffers changes one thing in what the gateway says.
func TestReplayTellsWhatDiffers(t *testing.T) {
	swap := func(old, new string) func(step) step {
		return func(s step) step {
			return step{Dir: s.Dir, Frame: json.RawMessage(strings.ReplaceAll(string(s.Frame), old, new))}
		}
	}
	mute := func(part string) func(step) step {
		return func(s step) step {
			if strings.Contains(string(s.Frame), part) {
				s.Frame = nil
			}
			return s
		}
	}
	for name, tt := range map[string]struct {
		file   string
		change func(step) step
		want   string
	}{
		"other message":     {"connect-bad-token.jsonl", swap("gateway token mismatch (", "token mismatch ("), "instead of INVALID_REQUEST \"unauthorized: gateway token mismatch"},
		"other close code":  {"connect-bad-token.jsonl", swap("1008", "1002"), "closed with 1002"},
		"other reason":      {"first-frame-bad-shape.jsonl", swap("invalid request frame", "no"), `closed with 1008 "no"`},
		"accepted":          {"connect-invalid-role.jsonl", swap(`"ok":false`, `"ok":true`), "answers ok:true"},
		"refused":           {"connect-protocol-range-ok.jsonl", swap(`"ok":true`, `"ok":false`), "answers ok:false"},
		"missing member":    {"chat-abort.jsonl", swap(`"aborted":true`, `"stopped":true`), "payload of chat.abort: at /aborted: missing"},
		"other type":        {"agent-run.jsonl", swap(`"acceptedAt":`, `"acceptedAt":[],"x":`), "payload of agent: at /acceptedAt: array instead of number"},
		"event without key": {"agent-run.jsonl", swap(`"delta":`, `"new":`), "payload of event agent a1 assistant  : at /data/delta: missing"},
		"no terminal event": {"chat-send-stream.jsonl", mute(`"state":"final"`), "no event chat c1   final"},
		"two terminals":     {"chat-send-stream.jsonl", swap(`"state":"delta"`, `"state":"final"`), "run c1 ends twice"},
		"details gone":      {"connect-protocol-mismatch.jsonl", swap(`"expectedProtocol":3`, ``), "error.details of connect: at /expectedProtocol: missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := loadOne(t, tt.file)
			target := playback{t: tr, change: tt.change}.start(t)
			target.Patience = 200 * time.Millisecond
			outcome := tr.run(t.Context(), target)
			require.Equal(t, Failed, outcome.Status)
			require.Contains(t, strings.Join(outcome.Failures, "\n"), tt.want)
		})
	}
}

// TestReplayOrder moves the aborted event behind the response that reports it.
func TestReplayOrder(t *testing.T) {
	tr := loadOne(t, "chat-abort.jsonl")
	var late *transcript
	for i, s := range tr.steps {
		if strings.Contains(string(s.Frame), `"state":"aborted"`) {
			moved := *tr
			moved.steps = append([]step{}, tr.steps...)
			moved.steps[i], moved.steps[i+1] = tr.steps[i+1], tr.steps[i]
			late = &moved
		}
	}
	require.NotNil(t, late)
	outcome := tr.run(t.Context(), playback{t: late}.start(t))
	require.Equal(t, []string{`"r5": event chat c3   aborted comes after the response`}, outcome.Failures)
}

func TestExceptionsThatPassAreFailures(t *testing.T) {
	tr := loadOne(t, "connect-bad-token.jsonl")
	tr.exceptions = exceptions{exchanges: map[string]map[string]string{tr.name: {"": "entry 0"}}}
	outcome := tr.run(t.Context(), playback{t: tr}.start(t))
	require.Equal(t, []string{"EXCEPTIONS.md lists it, but it passes"}, outcome.Failures)
}

func TestExceptionsCoverDifferences(t *testing.T) {
	tr := loadOne(t, "connect-bad-token.jsonl")
	tr.exceptions = exceptions{exchanges: map[string]map[string]string{tr.name: {"r1": "entry 0"}}}
	change := func(s step) step {
		s.Frame = json.RawMessage(strings.ReplaceAll(string(s.Frame), "mismatch", "wrong"))
		return s
	}
	outcome := tr.run(t.Context(), playback{t: tr, change: change}.start(t))
	require.Equal(t, Outcome{Name: tr.name, Status: Excepted, Note: "entry 0"}, outcome)
}

// TestExceptionsPage proves that every line of EXCEPTIONS.md is read, by loading
// a page with a line of neither kind.
func TestExceptionsPage(t *testing.T) {
	x, err := loadExceptions(framesDir + "/EXCEPTIONS.md")
	require.NoError(t, err)
	require.NotEmpty(t, x.members["connect"])
	why, ok := x.of("connect-device-v1-nononce.jsonl", "r1")
	require.True(t, ok)
	require.Equal(t, "entry 46", why)
	_, ok = x.of("connect-device-v1-nononce.jsonl", "r2")
	require.False(t, ok)

	page := t.TempDir() + "/EXCEPTIONS.md"
	require.NoError(t, os.WriteFile(page, []byte("- something else\n"), 0o600))
	_, err = loadExceptions(page)
	require.ErrorContains(t, err, "neither an exchange nor a member")
}

func TestNotApplicable(t *testing.T) {
	for name, tt := range map[string]struct{ file, want string }{
		"needs a model":    {"chat-abort.jsonl", "needs llm"},
		"needs partners":   {"device-pairing-operator.jsonl", "needs partners of group device-pairing"},
		"other profile":    {"password-bad.jsonl", "needs profile password"},
		"remote address":   {"remote-ip-nodevice.jsonl", "needs remote"},
		"ends the gateway": {"shutdown-sigterm.jsonl", "needs stop"},
	} {
		t.Run(name, func(t *testing.T) {
			outcome := loadOne(t, tt.file).run(t.Context(), Target{URL: "ws://127.0.0.1:1"})
			require.Equal(t, Outcome{Name: tt.file, Status: NotApplicable, Note: tt.want}, outcome)
		})
	}
}

// TestDefectsAreMadeAgain signs each recorded handshake anew and finds the same
// defects in the result as in the recording.
func TestDefectsAreMadeAgain(t *testing.T) {
	defective := map[string]defects{
		"connect-device-bad-nonce.jsonl":           {foreignNonce: true},
		"connect-device-bad-sig.jsonl":             {badSignature: true},
		"connect-device-id-mismatch.jsonl":         {foreignID: true},
		"connect-device-v1-nononce.jsonl":          {noNonce: true},
		"connect-remote-host-device-nononce.jsonl": {noNonce: true},
	}
	stale := "connect-device-stale.jsonl"
	checked := 0
	for name, tr := range transcripts(t) {
		r := &replay{t: tr, recorded: tr.recorded()}
		params, err := r.opening()
		if err != nil || params["device"] == nil {
			continue
		}
		checked++
		h, err := params.handshake()
		require.NoError(t, err)
		wrong, err := h.findDefects(r.recorded)
		require.NoError(t, err)
		if name == stale {
			require.Greater(t, wrong.age, skewMax)
		} else {
			require.Equal(t, defective[name], wrong, name)
		}

		d, err := newDevice()
		require.NoError(t, err)
		live := challenge{Nonce: "0b6f7a2e-live", TS: time.Now().UnixMilli()}
		proof := d.prove(h, live, wrong)
		h.device = &proof
		again, err := h.findDefects(live)
		require.NoError(t, err)
		require.InDelta(t, wrong.age, again.age, float64(time.Minute), name)
		again.age = wrong.age
		require.Equal(t, wrong, again, name)
	}
	require.Greater(t, checked, 20)
}

func TestCompareShape(t *testing.T) {
	for name, tt := range map[string]struct {
		recorded, got string
		excused       []string
		want          []string
	}{
		"equal":                   {`{"a":1}`, `{"a":2}`, nil, nil},
		"more is welcome":         {`{"a":1}`, `{"a":2,"b":3}`, nil, nil},
		"missing":                 {`{"a":{"b":1}}`, `{"a":{}}`, nil, []string{"at /a/b: missing"}},
		"null is a kind":          {`{"a":null}`, `{"a":1}`, nil, []string{"at /a: number instead of null"}},
		"excused":                 {`{"a":{"b":1}}`, `{"a":{}}`, []string{"/a/b"}, nil},
		"excused in each":         {`[{"b":1}]`, `[{},{}]`, []string{"/*/b"}, nil},
		"elements in common":      {`[{"a":1,"b":1},{"a":1}]`, `[{"a":5}]`, nil, nil},
		"each element":            {`[{"a":1}]`, `[{"a":5},{}]`, nil, []string{"at /1/a: missing"}},
		"nothing in common":       {`[1,"x"]`, `[true]`, nil, nil},
		"nothing, then an object": {`[1,"x",{"a":1}]`, `[{}]`, nil, nil},
		"an object, then nothing": {`[{"a":{}},{"a":1},{"a":{}}]`, `[{"a":[]}]`, nil, nil},
		"empty for full":          {`["x"]`, `[]`, nil, []string{"at root: empty"}},
		"full for empty":          {`[]`, `["x"]`, nil, nil},
		"no payload for null":     {`null`, ``, nil, nil},
		"object for null":         {`null`, `{}`, nil, []string{"at root: object instead of null"}},
		"array is not object":     {`{"a":[]}`, `{"a":{}}`, nil, []string{"at /a: object instead of array"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tt.want, compareShape(json.RawMessage(tt.recorded), json.RawMessage(tt.got), tt.excused))
		})
	}
}
