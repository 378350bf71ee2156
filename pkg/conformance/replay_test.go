package conformance

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const framesDir = "../../testdata/frames"

func exceptionsPage(t *testing.T) []byte {
	t.Helper()
	page, err := os.ReadFile(framesDir + "/EXCEPTIONS.md")
	require.NoError(t, err)
	return page
}

// recordings returns the recordings without their exceptions. Megabytes are made
// kilobytes: here nobody is slow, and no frame too large.
func recordings(t *testing.T) []group {
	t.Helper()
	groups, err := loadRecordings()
	require.NoError(t, err)
	out := make([]group, len(groups))
	for i, g := range groups {
		for _, tr := range g {
			clone := *tr
			out[i] = append(out[i], &clone)
		}
	}
	return out
}

var loadRecordings = sync.OnceValues(func() ([]group, error) {
	groups, err := loadGroups(os.DirFS(framesDir), nil)
	shorter := strings.NewReplacer("<elided 14000000 chars>", "<elided 1400 chars>", "<26214401 bytes", "<2621 bytes")
	for _, g := range groups {
		for _, tr := range g {
			for i, s := range tr.steps {
				tr.steps[i].Frame = json.RawMessage(shorter.Replace(string(s.Frame)))
			}
		}
	}
	return groups, err
})

func transcripts(t *testing.T) map[string]*transcript {
	t.Helper()
	all := map[string]*transcript{}
	for _, g := range recordings(t) {
		for _, tr := range g {
			all[tr.name] = tr
		}
	}
	return all
}

func loadOne(t *testing.T, name string) *transcript {
	t.Helper()
	tr := transcripts(t)[name]
	require.NotNil(t, tr)
	return tr
}

func (g group) asCase() Case { return Case{Name: g.name(), names: g.named(), run: g.run, play: g.play} }

// playedBy starts a server that plays the case on loopback, and returns a target for
// it and a function that waits for the verdict of the server on its client.
func playedBy(t *testing.T, c Case) (Target, func() Outcome) {
	t.Helper()
	s, played := player(c)
	ctx, cancel := context.WithCancel(context.Background())
	server := httptest.NewUnstartedServer(s)
	server.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	server.Start()
	t.Cleanup(func() { cancel(); server.Close(); s.handlers.Wait() })
	return targetAt(strings.Replace(server.URL, "http", "ws", 1)), played
}

// mutated starts a server that plays the case on a network in memory, behind a relay
// where a fault is put in, and returns a target for it.
func mutated(t *testing.T, c Case, fault func() *mutator) (Target, func() Outcome) {
	t.Helper()
	n := newNetwork(t)
	s, played := player(c)
	behind := n.serve("gateway", s, s.handlers.Wait)
	y, err := newRelay(behind, func(*http.Request) listener {
		m := fault()
		m.cut = func() { n.cut("relay") }
		return m
	})
	require.NoError(t, err)
	y.client = n.client()
	var relayed sync.WaitGroup
	target := targetAt(n.serve("relay", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		relayed.Add(1)
		defer relayed.Done()
		y.ServeHTTP(w, r)
	}), relayed.Wait))
	target.HTTPClient = n.client()
	return target, played
}

func player(c Case) (*Server, func() Outcome) {
	ended := make(chan Outcome, 1)
	s := NewServer(ServerConfig{Cases: []Case{c}, Ended: func(o Outcome) { ended <- o }})
	return s, func() Outcome { return <-ended }
}

func targetAt(url string) Target {
	return Target{
		URL: url, RemoteURL: url, Token: "the target's token", Offers: []string{"llm", "trusted-proxy", "rate-limit", "insecure-auth"},
		Stop:    func(context.Context) error { return nil },
		Restart: func(context.Context) error { return nil },
	}
}

// TestReplayOfTheRecorderPasses holds each recording against itself: a gateway
// that says what was recorded has to pass, and so has a client that says it.
func TestReplayOfTheRecorderPasses(t *testing.T) {
	ran := 0
	for _, g := range recordings(t) {
		if g[0].info.Profile == "none" && g[0].info.Action == "" || slices.Contains(g[0].info.Needs, "restart") {
			continue
		}
		ran++
		t.Run(g.name(), func(t *testing.T) {
			t.Parallel()
			target, played := playedBy(t, g.asCase())
			if g[0].info.Profile == "password" {
				target.Password = "the target's password"
			}
			for _, outcome := range g.run(t.Context(), target) {
				require.Empty(t, outcome.Failures)
				require.Contains(t, []Status{Passed, NotApplicable}, outcome.Status, outcome.Name)
				if outcome.Status == NotApplicable && len(g) > 1 {
					return // nobody came
				}
			}
			require.Equal(t, Outcome{Name: g.name(), Status: Passed}, played())
		})
	}
	require.Greater(t, ran, 55)
}

func TestExceptionsThatPassAreFailures(t *testing.T) {
	tr := loadOne(t, "connect-bad-token.jsonl")
	tr.exceptions = exceptions{exchanges: map[string]map[string]string{tr.name: {"": "entry 0"}}}
	target, _ := playedBy(t, group{tr}.asCase())
	outcome := group{tr}.run(t.Context(), target)[0]
	require.Equal(t, []string{"EXCEPTIONS.md lists it, but it passes"}, outcome.Failures)
}

func TestExceptionsCoverDifferences(t *testing.T) {
	tr := loadOne(t, "connect-bad-token.jsonl")
	tr.exceptions = exceptions{exchanges: map[string]map[string]string{tr.name: {"r1": "entry 0"}}}
	synctest.Test(t, func(t *testing.T) {
		target, _ := mutated(t, group{tr}.asCase(), swap("mismatch", "wrong"))
		outcome := group{tr}.run(t.Context(), target)[0]
		require.Equal(t, Outcome{Name: tr.name, Status: Excepted, Note: "entry 0"}, outcome)
	})
}

// TestExceptionsPage proves that every line of EXCEPTIONS.md is read, by loading
// a page with a line of neither kind.
func TestExceptionsPage(t *testing.T) {
	x, err := readExceptions(exceptionsPage(t))
	require.NoError(t, err)
	require.NotEmpty(t, x.members["connect"])
	why, ok := x.of("connect-device-v1-nononce.jsonl", "r1")
	require.True(t, ok)
	require.Equal(t, "entry 46", why)
	_, ok = x.of("connect-device-v1-nononce.jsonl", "r2")
	require.False(t, ok)

	_, err = LoadFrames(os.DirFS(framesDir), []byte("- something else\n"))
	require.ErrorContains(t, err, "neither an exchange nor a member")
	_, err = LoadFrames(os.DirFS(framesDir), []byte("- `nobody.jsonl` (entry 1): gone\n"))
	require.ErrorContains(t, err, "speaks of nobody.jsonl")
	cases, err := LoadFrames(os.DirFS(framesDir), nil)
	require.NoError(t, err)
	require.NotEmpty(t, cases)
}

func TestNotApplicable(t *testing.T) {
	for name, tt := range map[string]struct{ file, want string }{
		"needs a model":    {"chat-abort.jsonl", "needs llm"},
		"other profile":    {"password-bad.jsonl", "needs profile password"},
		"remote address":   {"remote-ip-nodevice.jsonl", "needs remote"},
		"ends the gateway": {"shutdown-sigterm.jsonl", "needs stop"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, g := range recordings(t) {
				if slices.Contains(g.named(), tt.file) {
					outcomes := g.run(t.Context(), Target{URL: "ws://127.0.0.1:1"})
					require.Contains(t, outcomes, Outcome{Name: tt.file, Status: NotApplicable, Note: tt.want})
				}
			}
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
		params, err := tr.opening()
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
