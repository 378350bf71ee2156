package conformance

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/coderclaw/gateway/gen/protocol"
)

// transcript is one recorded conversation.
type transcript struct {
	name       string
	info       info
	steps      []step
	exceptions exceptions
	// known is what the protocol can say today.
	known *vocabulary
}

// info is what INDEX.json tells of a transcript.
type info struct {
	// Profile is how the server knew its clients: token, password or none.
	Profile string `json:"profile"`
	// Needs are the properties of the server that the transcript counts on.
	Needs []string `json:"needs,omitempty"`
	// Headers, in which {hostport} stands for the server's address, and Path are
	// how the client opened the socket.
	Headers map[string]string `json:"headers,omitempty"`
	Path    string            `json:"path,omitempty"`
	// Methods are those that the client called.
	Methods []string `json:"methods,omitempty"`
	// Pair holds the scopes with which the device was paired before.
	Pair []string `json:"pair,omitempty"`
	// Group names transcripts that ran at the same time on one server.
	Group string `json:"group,omitempty"`
	// PauseUntil makes the client stop reading after hello-ok until a partner has
	// been answered: transcript:id.
	PauseUntil string `json:"pause_until,omitempty"`
	// Remote clients came from another host, after BadAuth wrong secrets.
	Remote  bool `json:"remote,omitempty"`
	BadAuth int  `json:"bad_auth,omitempty"`
	// AltHello and AltOK name the handshake and the requests that may be accepted
	// where the recorded server refused.
	AltHello bool     `json:"alt_hello,omitempty"`
	AltOK    []string `json:"alt_ok,omitempty"`
	// Action is what was done to the server: sigterm.
	Action string `json:"action,omitempty"`
	// Last orders the transcripts that leave the server in another state; 0 means first.
	Last int `json:"last,omitempty"`
}

// step is one line of a transcript.
type step struct {
	// Dir is c2s, s2c, close, error or http.
	Dir string `json:"dir"`
	// T is when, in milliseconds since the client began to connect.
	T     int64           `json:"t"`
	Frame json.RawMessage `json:"frame"`
	// said is Frame, read.
	said frame
}

// What stands for the shared secret of the recorded server; a replay sends the
// target's in its place. Our own recordings never hold it.
const (
	recordedToken    = "tok2"
	recordedPassword = "pw"
	redactedToken    = "<gateway token>"
	redactedPassword = "<gateway password>"
)

// LoadFrames reads the recorded conversations of a directory: INDEX.json and one
// .jsonl file for each conversation. page is the text of EXCEPTIONS.md, which says
// what is not held against the gateway; nil excepts nothing. The cases come in the
// order in which they have to run, transcripts of one group in one case.
func LoadFrames(dir fs.FS, page []byte) ([]Case, error) {
	groups, err := loadGroups(dir, page)
	if err != nil {
		return nil, err
	}
	cases := make([]Case, len(groups))
	for i, g := range groups {
		cases[i] = Case{Name: g.name(), names: g.named(), silent: g.silent(), restarts: g.restarts(), final: g.final(), run: g.run, play: g.play}
	}
	return cases, nil
}

func loadGroups(dir fs.FS, page []byte) ([]group, error) {
	raw, err := fs.ReadFile(dir, "INDEX.json")
	if err != nil {
		return nil, err
	}
	var index struct {
		Transcripts map[string]info `json:"transcripts"`
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("INDEX.json: %w", err)
	}
	excused, err := readExceptions(page)
	if err != nil {
		return nil, err
	}
	for name := range excused.exchanges {
		if _, ok := index.Transcripts[name]; !ok {
			return nil, fmt.Errorf("EXCEPTIONS.md speaks of %s, which INDEX.json does not have", name)
		}
	}
	byName := map[string]group{}
	for name, about := range index.Transcripts {
		t, err := loadTranscript(dir, name, about)
		if err != nil {
			return nil, err
		}
		t.exceptions = excused
		key := cmp.Or(about.Group, name)
		byName[key] = append(byName[key], t)
	}
	var groups []group
	for _, g := range byName {
		slices.SortFunc(g, earlier)
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b group) int { return earlier(a[0], b[0]) })
	return groups, nil
}

// earlier orders transcripts: those that leave the server in another state last,
// the others as they were recorded, because their state builds up.
func earlier(a, b *transcript) int {
	return cmp.Or(cmp.Compare(a.info.Last, b.info.Last), cmp.Compare(a.recorded().TS, b.recorded().TS), cmp.Compare(a.name, b.name))
}

func loadTranscript(dir fs.FS, name string, about info) (*transcript, error) {
	raw, err := fs.ReadFile(dir, name)
	if err != nil {
		return nil, err
	}
	return readTranscript(name, raw, about)
}

func readTranscript(name string, raw []byte, about info) (*transcript, error) {
	t := &transcript{name: name, info: about, known: words()}
	for n, line := range bytes.Split(bytes.TrimSpace(raw), []byte("\n")) {
		var s step
		if err := json.Unmarshal(line, &s); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n+1, err)
		}
		s.said = readFrame(s.Frame)
		t.steps = append(t.steps, s)
	}
	return t, nil
}

// recorded returns the challenge of the recording. Its time tells in which order
// the recordings were taken, and so how the state of their server built up.
func (t *transcript) recorded() challenge {
	var ch challenge
	for _, s := range t.steps {
		if s.Dir == "s2c" && s.said.Event == protocol.EventConnectChallenge.Name {
			_ = json.Unmarshal(s.said.Payload, &ch) // a recording without one is told by its failing replay
			break
		}
	}
	return ch
}

// opened is when the client began to connect, by the recorded server's clock.
func (t *transcript) opened() int64 {
	for _, s := range t.steps {
		if s.Dir == "s2c" && s.said.Event == protocol.EventConnectChallenge.Name {
			return t.recorded().TS - s.T
		}
	}
	return 0
}

// answer returns the first recorded response to a request.
func (t *transcript) answer(id json.RawMessage) (frame, bool) {
	for _, s := range t.steps {
		if s.Dir == "s2c" && s.said.Type == "res" && sameJSON(s.said.ID, id) {
			return s.said, true
		}
	}
	return frame{}, false
}

// silent reports whether the client of the recording said nothing.
func (t *transcript) silent() bool {
	return !slices.ContainsFunc(t.steps, func(s step) bool { return s.Dir == "c2s" })
}

// exceptions is EXCEPTIONS.md as far as the replay needs it.
type exceptions struct {
	// exchanges maps a transcript and a request id to the reason; the id "" stands
	// for the whole transcript.
	exchanges map[string]map[string]string
	// members maps a method or event to the payload members that are not compared.
	members map[string][]string
}

// The two kinds of lines of EXCEPTIONS.md that a program reads:
//
//   - `name.jsonl` r1 (entry): reason
//   - `method` member `/path`: reason
var (
	exchangeLine = regexp.MustCompile("^- `([^`]+\\.jsonl)`(?: ([^ (]+))? \\(([^)]+)\\): (.+)$")
	memberLine   = regexp.MustCompile("^- `([^`]+)` member `(/[^`]+)`: (.+)$")
)

func readExceptions(page []byte) (exceptions, error) {
	x := exceptions{exchanges: map[string]map[string]string{}, members: map[string][]string{}}
	for n, line := range strings.Split(string(page), "\n") {
		if !strings.HasPrefix(line, "- ") {
			continue
		}
		if m := exchangeLine.FindStringSubmatch(line); m != nil {
			if x.exchanges[m[1]] == nil {
				x.exchanges[m[1]] = map[string]string{}
			}
			x.exchanges[m[1]][m[2]] = m[3]
			continue
		}
		m := memberLine.FindStringSubmatch(line)
		if m == nil {
			return x, fmt.Errorf("EXCEPTIONS.md:%d: neither an exchange nor a member: %s", n+1, line)
		}
		x.members[m[1]] = append(x.members[m[1]], m[2])
	}
	return x, nil
}

// of returns the reason why an exchange of a transcript is excepted.
func (x exceptions) of(name, id string) (string, bool) {
	if why, ok := x.exchanges[name][""]; ok {
		return why, true
	}
	why, ok := x.exchanges[name][id]
	return why, ok
}
