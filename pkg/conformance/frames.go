package conformance

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// transcript is one recorded conversation.
type transcript struct {
	name       string
	info       info
	steps      []step
	exceptions exceptions
}

// info is what INDEX.json tells of a transcript.
type info struct {
	Profile string            `json:"profile"`
	Needs   []string          `json:"needs"`
	Headers map[string]string `json:"headers"`
	Path    string            `json:"path"`
	// Pair holds the scopes with which the device was paired before.
	Pair []string `json:"pair"`
	// Group names transcripts that ran at the same time on one server.
	Group    string   `json:"group"`
	Remote   bool     `json:"remote"`
	BadAuth  int      `json:"bad_auth"`
	AltHello bool     `json:"alt_hello"`
	AltOK    []string `json:"alt_ok"`
	Action   string   `json:"action"`
	// Last orders the transcripts that leave the server in another state; 0 means first.
	Last int `json:"last"`
}

// step is one line of a transcript.
type step struct {
	// Dir is c2s, s2c, close, error or http.
	Dir   string          `json:"dir"`
	Frame json.RawMessage `json:"frame"`
}

// recordedToken is the shared secret of the recorded server; a replay sends the
// target's in its place.
const recordedToken = "tok2"

// LoadFrames reads the recorded conversations of a directory: INDEX.json, one
// .jsonl file for each conversation, and EXCEPTIONS.md. The cases come in the
// order in which they have to run.
func LoadFrames(dir string) ([]Case, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "INDEX.json"))
	if err != nil {
		return nil, err
	}
	var index struct {
		Transcripts map[string]info `json:"transcripts"`
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "INDEX.json"), err)
	}
	excused, err := loadExceptions(filepath.Join(dir, "EXCEPTIONS.md"))
	if err != nil {
		return nil, err
	}
	var all []*transcript
	for name, about := range index.Transcripts {
		t, err := loadTranscript(filepath.Join(dir, name), about)
		if err != nil {
			return nil, err
		}
		t.exceptions = excused
		all = append(all, t)
	}
	for name := range excused.exchanges {
		if _, ok := index.Transcripts[name]; !ok {
			return nil, fmt.Errorf("EXCEPTIONS.md speaks of %s, which INDEX.json does not have", name)
		}
	}
	slices.SortFunc(all, func(a, b *transcript) int {
		return cmp.Or(cmp.Compare(a.info.Last, b.info.Last), cmp.Compare(a.recorded().TS, b.recorded().TS), cmp.Compare(a.name, b.name))
	})
	cases := make([]Case, len(all))
	for i, t := range all {
		cases[i] = Case{Name: t.name, silent: t.silent(), final: t.info.Action != "", run: t.run}
	}
	return cases, nil
}

func loadTranscript(path string, about info) (*transcript, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t := &transcript{name: filepath.Base(path), info: about}
	for n, line := range bytes.Split(bytes.TrimSpace(raw), []byte("\n")) {
		var s step
		if err := json.Unmarshal(line, &s); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n+1, err)
		}
		t.steps = append(t.steps, s)
	}
	return t, nil
}

// recorded returns the challenge of the recording. Its time tells in which order
// the recordings were taken, and so how the state of their server built up.
func (t *transcript) recorded() challenge {
	var ch challenge
	for _, s := range t.steps {
		var f frame
		if s.Dir == "s2c" && json.Unmarshal(s.Frame, &f) == nil && f.Event == "connect.challenge" {
			_ = json.Unmarshal(f.Payload, &ch) // a recording without one is told by its failing replay
		}
	}
	return ch
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

func loadExceptions(path string) (exceptions, error) {
	x := exceptions{exchanges: map[string]map[string]string{}, members: map[string][]string{}}
	raw, err := os.ReadFile(path)
	if err != nil {
		return x, err
	}
	for n, line := range strings.Split(string(raw), "\n") {
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
			return x, fmt.Errorf("%s:%d: neither an exchange nor a member: %s", path, n+1, line)
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
