package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// audit holds all that one connection received against the rules that every
// conversation obeys, whatever was said in it:
//
//   - The challenge comes first, and no event before the first answer.
//   - Each frame is one as the schema has it, and nothing is in it besides.
//   - Nothing is answered that was not asked, and nothing more often than its
//     method says.
//   - seq counts without a gap, on every event that goes to a whole audience.
//   - stateVersion stands on those events that the schema says, and grows.
//   - A run's events count without a gap, its texts in order, and it ends once.
//   - Results and events have the members that the schema says; with a recording,
//     also those that are recorded.
//   - With a recording: no event of the client's own runs and no kind of event
//     comes that was not recorded.
type audit struct {
	words *vocabulary
	// asked holds the ids that were sent, methods the methods of those that were
	// well-formed requests.
	asked   []json.RawMessage
	methods map[string]string
	// recorded is nil for a written conversation.
	recorded *memory
	// excused are the members that are not compared, by method or event.
	excused map[string][]string
	ended   *closing
}

// memory is what a recording tells of the events that belong to it.
type memory struct {
	kinds map[string]bool
	// loose kinds came without seq.
	loose map[string]bool
	// runs are those whose events were recorded; the value tells whether the end was.
	runs map[string]bool
	// payloads holds the recorded payloads by event.
	payloads map[string][]any
	// answered are the ids that were answered, those of faulty requests included.
	answered []json.RawMessage
}

func remember(t *transcript) (*memory, error) {
	m := &memory{kinds: map[string]bool{}, loose: map[string]bool{}, runs: map[string]bool{}, payloads: map[string][]any{}}
	for _, s := range t.steps {
		if s.Dir != "s2c" {
			continue
		}
		f := s.said
		if f.Type == "res" {
			m.answered = append(m.answered, f.ID)
			continue
		}
		kind := eventKind(f)
		m.kinds[kind] = true
		if f.Seq == nil {
			m.loose[kind] = true
		}
		if f.run.RunID != "" {
			m.runs[f.run.RunID] = m.runs[f.run.RunID] || ends(f)
		}
		payload, err := parse(f.Payload)
		if err != nil {
			return nil, fmt.Errorf("recorded payload of %s: %w", f.Event, err)
		}
		m.payloads[f.Event] = append(m.payloads[f.Event], payload)
	}
	return m, nil
}

// faults lists every rule that is broken.
func (a audit) faults(frames []frame) []string {
	var out []string
	for _, rule := range []func([]frame) []string{a.beginning, a.envelopes, a.answers, a.sequence, a.versions, a.runs, a.events, a.contents} {
		out = append(out, rule(frames)...)
	}
	return out
}

// beginning tells when something came before its time.
func (a audit) beginning(frames []frame) []string {
	if len(frames) == 0 {
		return nil
	}
	challenge := protocol.EventConnectChallenge.Name
	if frames[0].Event != challenge {
		return []string{fmt.Sprintf("the first frame is %s instead of event %s", title(frames[0]), challenge)}
	}
	var out []string
	answered := false
	for _, f := range frames[1:] {
		answered = answered || f.Type == "res"
		switch {
		case f.Event == challenge:
			out = append(out, "the challenge comes twice")
		case f.Type == "event" && !answered:
			out = append(out, title(f)+" comes before the answer to connect")
		}
	}
	return out
}

// envelopes tells what is no frame, or not one of a gateway.
func (a audit) envelopes(frames []frame) []string {
	var out []string
	for _, f := range frames {
		var err error
		switch f.Type {
		case "res":
			err = protocol.Validate("ResponseFrame", f.raw)
			if err == nil && f.OK == (f.Error != nil) {
				err = errors.New("ok and error contradict each other")
			}
		case "event":
			err = protocol.Validate("EventFrame", f.raw)
		default:
			err = errors.New("neither a response nor an event")
		}
		if err != nil {
			out = append(out, fmt.Sprintf("frame of %s: %v", title(f), err))
		}
	}
	return out
}

// answers tells which answers nobody waits for.
func (a audit) answers(frames []frame) []string {
	var out []string
	count := map[string]int{}
	for _, f := range frames {
		if f.Type != "res" {
			continue
		}
		id := string(f.ID)
		mine := func(other json.RawMessage) bool { return sameJSON(other, f.ID) }
		if !slices.ContainsFunc(a.asked, mine) && (a.recorded == nil || !slices.ContainsFunc(a.recorded.answered, mine)) {
			out = append(out, fmt.Sprintf("an answer to %s, which was not asked", id))
			continue
		}
		most := 1
		if a.words.methods[a.methods[id]].ack != nil {
			most = 2
		}
		if count[id]++; count[id] > most {
			out = append(out, fmt.Sprintf("%s is answered %d times", id, count[id]))
		}
	}
	return out
}

// sequence tells where seq does not count.
func (a audit) sequence(frames []frame) []string {
	// Who read too slowly has earned the gaps.
	gapsAllowed := a.ended != nil && a.ended.Reason == protocol.CloseSlowConsumer
	var out []string
	var before *int64
	for _, f := range frames {
		switch {
		case f.Type != "event":
		case f.Seq == nil:
			if a.counts(f) {
				out = append(out, fmt.Sprintf("%s has no seq", title(f)))
			}
		default:
			if f.Event == protocol.EventConnectChallenge.Name {
				out = append(out, fmt.Sprintf("%s has a seq", title(f)))
			}
			if before != nil && (*f.Seq <= *before || *f.Seq != *before+1 && !gapsAllowed) {
				out = append(out, fmt.Sprintf("seq jumps from %d to %d at event %s", *before, *f.Seq, f.Event))
			}
			before = f.Seq
		}
	}
	return out
}

// counts reports whether an event without seq should have one. Those for single
// connections have none: besides the challenge these are known by their recording,
// or are pieces of a run (tools, watches).
func (a audit) counts(f frame) bool {
	if a.recorded != nil {
		kind := eventKind(f)
		return a.recorded.kinds[kind] && !a.recorded.loose[kind]
	}
	switch f.Event {
	case protocol.EventConnectChallenge.Name, protocol.EventAgent.Name, protocol.EventTask.Name,
		protocol.EventSessionsChanged.Name, protocol.EventSessionsMessage.Name:
		return false
	}
	return a.words.hasEvent(f.Event)
}

// versions tells where stateVersion is missing, out of place or going back.
func (a audit) versions(frames []frame) []string {
	var out []string
	var before *stateVersion
	for _, f := range frames {
		if f.Type == "res" && before == nil {
			before = snapshotVersion(f)
		}
		e, known := a.words.events[f.Event]
		if f.Type != "event" || !known {
			continue
		}
		switch now := f.StateVersion; {
		case now == nil && e.versioned:
			out = append(out, fmt.Sprintf("%s has no stateVersion", title(f)))
		case now != nil && !e.versioned:
			out = append(out, fmt.Sprintf("%s has a stateVersion", title(f)))
		case now == nil:
		default:
			if before != nil && (now.Presence < before.Presence || now.Health < before.Health) {
				out = append(out, fmt.Sprintf("stateVersion goes back from %+v to %+v at event %s", *before, *now, f.Event))
			}
			before = now
		}
	}
	return out
}

// snapshotVersion returns the stateVersion of a hello-ok, nil for other answers.
func snapshotVersion(f frame) *stateVersion {
	var hello struct {
		Type     string
		Snapshot struct{ StateVersion *stateVersion }
	}
	if json.Unmarshal(f.Payload, &hello) != nil || hello.Type != "hello-ok" {
		return nil
	}
	return hello.Snapshot.StateVersion
}

// runs tells which runs end twice, go on after their end, or lose count. A copy
// without seq, as subscribed nodes receive, is counted by itself.
func (a audit) runs(frames []frame) []string {
	type copied struct {
		run   string
		loose bool
	}
	var out []string
	ended := map[copied]bool{}
	agent, chat := map[copied]int64{}, map[copied]int64{}
	for _, f := range frames {
		r := f.run
		key := copied{r.RunID, f.Seq == nil}
		switch f.Event {
		case protocol.EventChat.Name:
			switch before, ok := chat[key]; {
			case ended[key] && ends(f):
				out = append(out, fmt.Sprintf("run %s ends twice", r.RunID))
			case ended[key]:
				out = append(out, fmt.Sprintf("run %s goes on after its end", r.RunID))
			case ok && r.Seq <= before:
				out = append(out, fmt.Sprintf("the texts of run %s go from %d to %d", r.RunID, before, r.Seq))
			}
			chat[key] = r.Seq
			ended[key] = ended[key] || ends(f)
		case protocol.EventAgent.Name:
			if before, ok := agent[key]; ok && r.Seq != before+1 {
				out = append(out, fmt.Sprintf("run %s jumps from event %d to %d", r.RunID, before, r.Seq))
			}
			agent[key] = r.Seq
		}
	}
	return out
}

// ends reports whether an event is the end of its run.
func ends(f frame) bool {
	return f.Event == protocol.EventChat.Name && f.run.State != string(protocol.ChatStateDelta)
}

// byThemselves come when they come: by the clock, because of what others do, or
// because a recorded client left before its run had ended.
func (a audit) byThemselves(f frame) bool {
	switch {
	case unsolicited(f.Event), f.Event == protocol.EventHeartbeat.Name:
		return true
	case f.Event == protocol.EventDevicePairRequested.Name, f.Event == protocol.EventDevicePairResolved.Name:
		return true // of the devices of another conversation
	}
	return f.run.RunID != "" && !a.recorded.runs[f.run.RunID]
}

// events tells which events should not have come.
func (a audit) events(frames []frame) []string {
	var out []string
	for _, f := range frames {
		if f.Type != "event" {
			continue
		}
		switch {
		case a.recorded == nil:
			if !a.words.hasEvent(f.Event) {
				out = append(out, fmt.Sprintf("nobody knows %s", title(f)))
			}
		case a.recorded.kinds[eventKind(f)], a.byThemselves(f), droppable(f):
		default:
			out = append(out, fmt.Sprintf("%s was not recorded", title(f)))
		}
	}
	return out
}

// droppable events may come in one replay and not in another: how far a run gets
// between two looks at the clock decides.
func droppable(f frame) bool {
	r := f.run
	return r.State == string(protocol.ChatStateDelta) || r.Stream == string(protocol.AgentStreamAssistant)
}

// contents tells what is in payloads that should not be there; without a
// recording, everything that the schema does not allow.
func (a audit) contents(frames []frame) []string {
	var out []string
	for _, f := range frames {
		for _, fault := range a.content(f) {
			out = append(out, fmt.Sprintf("payload of %s: %s", title(f), fault))
		}
	}
	return out
}

func (a audit) content(f frame) []string {
	if a.recorded != nil {
		e, known := a.words.events[f.Event]
		if f.Type != "event" || !known {
			return nil // the answers are compared one by one
		}
		payload, err := parse(f.Payload)
		if err != nil {
			return []string{err.Error()}
		}
		return shape{excused: a.excused[f.Event]}.strangers(nil, placeOf(e.payload), a.recorded.payloads[f.Event], payload)
	}
	var allowed []*node
	switch f.Type {
	case "event":
		allowed = append(allowed, a.words.events[f.Event].payload)
	case "res":
		m := a.words.methods[a.methods[string(f.ID)]]
		allowed = append(allowed, m.ack, m.result)
	}
	var faults []string
	for _, n := range allowed {
		def := n.definition()
		if def == "" || f.Payload == nil {
			continue
		}
		err := protocol.Validate(def, f.Payload)
		if err == nil {
			return nil
		}
		faults = append(faults, fmt.Sprintf("no %s: %s", def, brief(err)))
	}
	return faults
}

// brief returns the first few faults of a validation.
func brief(err error) string {
	var list wire.ValidationErrors
	const readable = 3
	if !errors.As(err, &list) || len(list) <= readable {
		return err.Error()
	}
	return list[:readable].Error() + "; ..."
}

// title names a frame for a message.
func title(f frame) string {
	switch f.Type {
	case "event":
		return "event " + strings.TrimSpace(eventKind(f))
	case "res":
		return "the answer to " + string(f.ID)
	}
	return show(string(f.raw))
}
