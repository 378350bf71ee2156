package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// sample is a value that crossed the wire, or an example of the schema.
type sample struct {
	id    string
	def   string
	value any
	// whole tells that value was made up and has every member.
	whole bool
}

// recorded is a line of recorded.jsonl: what a client makes of one part of a recorded
// message.
type recorded struct {
	// ID is file:line of the recording.
	ID string `json:"id"`
	// At is a JSON pointer into that line.
	At  string `json:"at"`
	Def string `json:"def"`
	// Expect is decode or refuse.
	Expect string `json:"expect"`
	// Dropped are pointers, below At, to the members that Def does not name.
	Dropped []string `json:"dropped,omitempty"`
}

// message is a line of a recording.
type message struct {
	Dir   string          `json:"dir"`
	Frame json.RawMessage `json:"frame"`
}

// readRecorded goes through the recordings in dir. The samples are those parts that a
// client decodes; the others have to be excused.
func (p *protocol) readRecorded(dir string, excused *exceptions) ([]recorded, []sample, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(files) == 0 {
		return nil, nil, fmt.Errorf("no recordings in %s: %w", dir, err)
	}
	slices.Sort(files)
	var lines []recorded
	var samples []sample
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			return nil, nil, err
		}
		conversation := reader{p, map[string]method{}}
		for n, line := range bytes.Split(bytes.TrimSpace(raw), []byte("\n")) {
			id := fmt.Sprintf("%s:%d", filepath.Base(name), n+1)
			var m message
			if err := json.Unmarshal(line, &m); err != nil {
				return nil, nil, fmt.Errorf("%s: %w", id, err)
			}
			if m.Dir != "c2s" && m.Dir != "s2c" {
				continue
			}
			frame, err := parse(m.Frame)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", id, err)
			}
			for _, part := range conversation.parts(frame) {
				r := recorded{ID: id, At: part.at, Def: part.def, Expect: expectDecode}
				_, err := p.decode(p.defs[part.def], part.value, "", false, &r.Dropped)
				if excused.judge(r, err); err != nil {
					r.Expect, r.Dropped = expectRefuse, nil
				} else {
					samples = append(samples, sample{id: id + part.at, def: part.def, value: part.value})
				}
				lines = append(lines, r)
			}
		}
	}
	return lines, samples, excused.done()
}

// reader follows one conversation, to know which method a response belongs to.
type reader struct {
	*protocol
	asked map[string]method
}

type part struct {
	at, def string
	value   any
}

// parts returns the frame and what it carries, where the schema knows it.
func (r reader) parts(frame any) []part {
	list := []part{{"/frame", "GatewayFrame", frame}}
	members, _ := frame.(map[string]any)
	add := func(at string, s *schema) {
		if v, ok := members[at]; ok {
			list = append(list, part{"/frame/" + at, s.target(), v})
		}
	}
	id, _ := members["id"].(string)
	switch members["type"] {
	case "req":
		name, _ := members["method"].(string)
		if m, ok := r.methods[name]; ok {
			r.asked[id] = m
			add("params", m.Params)
		}
	case "res":
		m, ok := r.asked[id]
		if !ok {
			break
		}
		result := m.Result
		if m.Ack != nil {
			// An accepted run is told by its ack's constant.
			if _, err := r.decode(m.Ack, members["payload"], "", false, nil); err == nil {
				result = m.Ack
			}
		}
		add("payload", result)
	case "event":
		name, _ := members["event"].(string)
		if e, ok := r.events[name]; ok {
			add("payload", e.Payload)
		}
	}
	return list
}

// examples returns the examples of every definition.
func (p *protocol) examples() ([]sample, error) {
	var list []sample
	for _, name := range sortedKeys(p.defs) {
		for i, raw := range p.defs[name].Examples {
			v, err := parse(raw)
			if err != nil {
				return nil, fmt.Errorf("example of %s: %w", name, err)
			}
			if _, err := p.decode(p.defs[name], v, "", false, nil); err != nil {
				return nil, fmt.Errorf("example of %s: %w", name, err)
			}
			list = append(list, sample{id: fmt.Sprintf("%s#%d", name, i), def: name, value: v})
		}
	}
	return list, nil
}
