package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// unsolicited events come when they come; a replay does not compare them.
var unsolicited = []string{"health", "presence", "tick"}

// run replays the transcript against the target.
func (t *transcript) run(ctx context.Context, target Target) Outcome {
	outcome := Outcome{Name: t.name, Status: Passed}
	why, whole := t.exceptions.exchanges[t.name][""]
	if missing, ok := t.applies(target); !ok {
		outcome.Status, outcome.Note = NotApplicable, "needs "+missing
		if whole {
			outcome.Status, outcome.Note = Excepted, why
		}
		return outcome
	}
	r := &replay{t: t, target: target, kinds: map[string]bool{}, answers: map[string]int{}, known: manifest()}
	if err := r.prepare(ctx); err != nil {
		return failed(t.name, err.Error())
	}
	defer r.conn.close()
	if err := r.walk(ctx); err != nil {
		r.fail("", err.Error())
	}
	r.checkEnds()
	switch {
	case len(r.failures) > 0:
		outcome.Status, outcome.Failures = Failed, r.failures
	case len(r.excepted) > 0:
		outcome.Status, outcome.Note = Excepted, strings.Join(r.excepted, ", ")
	case whole:
		return failed(t.name, "EXCEPTIONS.md lists it, but it passes")
	case r.foreign() != "" && r.exchanges == 0:
		outcome.Status, outcome.Note = NotApplicable, r.foreign()
	default:
		outcome.Note = r.foreign()
	}
	return outcome
}

// applies reports whether the target can serve the transcript, else what it lacks.
func (t *transcript) applies(target Target) (missing string, ok bool) {
	needs := slices.DeleteFunc(slices.Clone(t.info.Needs), func(n string) bool { return n == "main-session" })
	if t.info.Group != "" {
		needs = append(needs, "partners of group "+t.info.Group)
	}
	if t.info.Remote {
		needs = append(needs, "remote")
	}
	if t.info.Action != "" {
		needs = append(needs, "stop")
	} else if t.info.Profile != "token" {
		needs = append(needs, "profile "+t.info.Profile)
	}
	return target.offers(needs)
}

// replay is one transcript on its way.
type replay struct {
	t      *transcript
	target Target
	conn   *conn
	device device
	// recorded is the challenge of the recording, live the one of this connection.
	recorded, live challenge
	// deviceToken is what pairing before the transcript gave.
	deviceToken string
	// kinds are the kinds of events that have been compared.
	kinds map[string]bool
	// answers counts the responses compared for each request id.
	answers map[string]int
	// known are the methods and events of the manifest.
	known vocabulary
	// methods maps request ids to methods; skipped are those that do not apply.
	methods map[string]string
	skipped map[string]bool
	// exchanges counts the requests besides connect that were compared.
	exchanges int
	failures  []string
	excepted  []string
	// connecting is set when the handshake has been sent, over when the rest of the
	// recording cannot follow.
	connecting, over bool
}

// prepare pairs the device, wears out the wrong secrets, and opens the connection.
func (r *replay) prepare(ctx context.Context) error {
	var err error
	if r.device, err = newDevice(); err != nil {
		return err
	}
	r.methods, r.skipped = map[string]string{}, map[string]bool{}
	r.recorded = r.t.recorded()
	if r.t.info.Pair != nil {
		if err := r.pair(ctx); err != nil {
			return fmt.Errorf("pair the device first: %w", err)
		}
	}
	for range r.t.info.BadAuth {
		if err := r.guess(ctx); err != nil {
			return fmt.Errorf("send a wrong secret first: %w", err)
		}
	}
	base := r.target.URL
	if r.t.info.Remote {
		base = r.target.RemoteURL
	}
	u, err := url.Parse(base)
	if err != nil {
		return err
	}
	header := http.Header{}
	for key, value := range r.t.info.Headers {
		header.Set(key, strings.ReplaceAll(value, "{hostport}", u.Host))
	}
	if r.t.info.Path != "" {
		u.Path = r.t.info.Path
	}
	if r.conn, err = dial(ctx, r.target, u.String(), header); err != nil {
		return err
	}
	f, _, err := r.conn.await(ctx, "connect.challenge", 0, func(f frame) bool { return f.Event == "connect.challenge" })
	if err != nil {
		r.conn.close()
		return err
	}
	return json.Unmarshal(f.Payload, &r.live)
}

// walk follows the recording step by step.
func (r *replay) walk(ctx context.Context) error {
	for _, s := range r.t.steps {
		if r.over {
			return nil
		}
		var err error
		switch s.Dir {
		case "c2s":
			err = r.say(ctx, s.Frame)
		case "s2c":
			err = r.hear(ctx, s.Frame)
		case "close":
			return r.end(ctx, s.Frame)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bulk is how the recording shortens long messages.
var bulk = regexp.MustCompile(`^<(\d+) bytes of '(.)'>$`)

// say sends what the recorded client sent, with our signature and secrets.
func (r *replay) say(ctx context.Context, raw json.RawMessage) error {
	var text struct {
		Raw *string `json:"raw"`
	}
	if json.Unmarshal(raw, &text) == nil && text.Raw != nil {
		message := *text.Raw
		if m := bulk.FindStringSubmatch(message); m != nil {
			n, _ := strconv.Atoi(m[1])
			message = strings.Repeat(m[2], n)
		}
		// The gateway may close before it has read all of it: only the close counts.
		_ = r.conn.send(ctx, []byte(message))
		return nil
	}
	var request struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	if err := json.Unmarshal(raw, &request); err != nil {
		return fmt.Errorf("recorded request: %w", err)
	}
	id := string(request.ID)
	r.methods[id] = request.Method
	if request.Method != "" && !r.known.methods[request.Method] && !r.meantUnknown(request.ID) {
		r.skipped[id] = true
		return nil
	}
	if request.Method == "connect" && !r.connecting {
		r.connecting = true
		var err error
		if raw, err = r.resign(raw, request.ID); err != nil {
			return err
		}
	} else {
		r.exchanges++
	}
	if err := r.conn.send(ctx, raw); err != nil {
		return fmt.Errorf("send %s: %w", request.Method, err)
	}
	return nil
}

// recordedAnswer returns the first recorded response to a request.
func (r *replay) recordedAnswer(id json.RawMessage) (frame, bool) {
	for _, s := range r.t.steps {
		var f frame
		if s.Dir == "s2c" && json.Unmarshal(s.Frame, &f) == nil && f.Type == "res" && sameJSON(f.ID, id) {
			return f, true
		}
	}
	return frame{}, false
}

// meantUnknown reports whether the recorded client asked for a method that its
// server did not have either.
func (r *replay) meantUnknown(id json.RawMessage) bool {
	f, ok := r.recordedAnswer(id)
	return ok && f.Error != nil && strings.HasPrefix(f.Error.Message, "unknown method: ")
}

// hear awaits what the recorded client was told next.
func (r *replay) hear(ctx context.Context, raw json.RawMessage) error {
	var want frame
	if err := json.Unmarshal(raw, &want); err != nil {
		return fmt.Errorf("recorded frame: %w", err)
	}
	if want.Type == "event" {
		return r.hearEvent(ctx, want)
	}
	id := string(want.ID)
	if r.skipped[id] {
		return nil
	}
	got, at, err := r.conn.response(ctx, want.ID, r.answers[id])
	if err != nil {
		return err
	}
	r.answers[id]++
	r.compare(id, want, got)
	r.checkOrder(want, at)
	if r.methods[id] == "connect" && want.OK && r.nothingElseApplies() {
		r.over = true
	}
	return nil
}

// nothingElseApplies reports whether every request after the handshake is of a
// method outside the manifest, and notes these methods. What the recording shows
// from there on is their doing.
func (r *replay) nothingElseApplies() bool {
	for _, s := range r.t.steps {
		var request frame
		var method struct{ Method string }
		if s.Dir != "c2s" || json.Unmarshal(s.Frame, &request) != nil || json.Unmarshal(s.Frame, &method) != nil || method.Method == "connect" {
			continue
		}
		if method.Method == "" || r.known.methods[method.Method] || r.meantUnknown(request.ID) {
			return false
		}
		r.skipped[string(request.ID)] = true
		r.methods[string(request.ID)] = method.Method
	}
	return len(r.skipped) > 0
}

// compare holds a response against the recorded one.
func (r *replay) compare(id string, want, got frame) {
	method := r.methods[id]
	name := strings.Trim(id, `"`)
	if want.OK != got.OK {
		if got.OK && (method == "connect" && r.t.info.AltHello || slices.Contains(r.t.info.AltOK, name)) {
			r.over = method == "connect"
			return
		}
		r.differ(name, fmt.Sprintf("%s answers ok:%t (%s) instead of ok:%t (%s)", method, got.OK, told(got), want.OK, told(want)))
		r.over = method == "connect" && r.exchanges == 0
		return
	}
	if want.Error != nil && (got.Error == nil || want.Error.Code != got.Error.Code || want.Error.Message != got.Error.Message) {
		r.differ(name, fmt.Sprintf("%s is refused with %s instead of %s", method, told(got), told(want)))
		return
	}
	if want.Error != nil && want.Error.Details != nil {
		for _, d := range compareShape(want.Error.Details, got.Error.Details, nil) {
			r.differ(name, fmt.Sprintf("error.details of %s: %s", method, d))
		}
	}
	if want.Payload != nil {
		for _, d := range compareShape(want.Payload, got.Payload, r.t.exceptions.members[method]) {
			r.differ(name, fmt.Sprintf("payload of %s: %s", method, d))
		}
	}
}

func told(f frame) string {
	if f.Error == nil {
		return "no error"
	}
	return fmt.Sprintf("%s %q", f.Error.Code, f.Error.Message)
}

// differ notes a difference, which an exception may cover.
func (r *replay) differ(id, text string) {
	if why, ok := r.t.exceptions.of(r.t.name, id); ok {
		if !slices.Contains(r.excepted, why) {
			r.excepted = append(r.excepted, why)
		}
		return
	}
	r.fail(id, text)
}

func (r *replay) fail(id, text string) {
	if id != "" {
		text = id + ": " + text
	}
	r.failures = append(r.failures, text)
}

// eventKind tells apart the events that a conversation must contain at least
// once: by name, run, and where in the run's life they stand.
func eventKind(f frame) string {
	var p struct {
		RunID  string                 `json:"runId"`
		Stream string                 `json:"stream"`
		State  string                 `json:"state"`
		Data   struct{ Phase string } `json:"data"`
	}
	_ = json.Unmarshal(f.Payload, &p)
	if strings.HasPrefix(p.RunID, "inject-") {
		p.RunID = "inject-*"
	}
	return strings.Join([]string{f.Event, p.RunID, p.Stream, p.Data.Phase, p.State}, " ")
}

// hearEvent awaits the first event of a kind and compares its payload. How often
// it comes depends on the clock, so the others of its kind are not awaited.
func (r *replay) hearEvent(ctx context.Context, want frame) error {
	if slices.Contains(unsolicited, want.Event) || !r.known.events[want.Event] {
		return nil
	}
	if want.Event == "shutdown" && r.t.info.Action != "" {
		if err := r.target.Stop(ctx); err != nil {
			return fmt.Errorf("stop the gateway: %w", err)
		}
	}
	key := eventKind(want)
	if r.kinds[key] {
		return nil
	}
	r.kinds[key] = true
	got, _, err := r.conn.await(ctx, "event "+key, 0, func(f frame) bool { return f.Type == "event" && eventKind(f) == key })
	if err != nil {
		return err
	}
	for _, d := range compareShape(want.Payload, got.Payload, r.t.exceptions.members[want.Event]) {
		r.fail("", fmt.Sprintf("payload of event %s: %s", key, d))
	}
	return nil
}

// checkOrder proves for a response that the events which end a run by request,
// and the words that are put in, come before it, as clients count on.
func (r *replay) checkOrder(response frame, at int) {
	var before []string
	for _, s := range r.t.steps {
		var f frame
		if s.Dir != "s2c" || json.Unmarshal(s.Frame, &f) != nil {
			continue
		}
		if f.Type == "res" {
			if sameJSON(f.ID, response.ID) {
				break
			}
			before = nil
			continue
		}
		if key := eventKind(f); strings.HasPrefix(key, "chat ") && (strings.HasSuffix(key, " aborted") || strings.Contains(key, "inject-*")) {
			before = append(before, key)
		}
	}
	frames := r.conn.received()[:at]
	for _, key := range before {
		if !slices.ContainsFunc(frames, func(f frame) bool { return eventKind(f) == key }) {
			r.fail(string(response.ID), fmt.Sprintf("event %s comes after the response", key))
		}
	}
}

// end compares how the connection ends. A connection that the recorded client
// closed is closed by us.
func (r *replay) end(ctx context.Context, raw json.RawMessage) error {
	var want closing
	if err := json.Unmarshal(raw, &want); err != nil {
		return fmt.Errorf("recorded close: %w", err)
	}
	if want.By == "client" || want.Code == 1005 {
		return nil
	}
	got, err := r.conn.closedBy(ctx)
	if err != nil {
		return err
	}
	if got.Code != want.Code || got.Reason != want.Reason {
		r.differ(r.connectID(), fmt.Sprintf("closed with %d %q instead of %d %q", got.Code, got.Reason, want.Code, want.Reason))
	}
	return nil
}

func (r *replay) connectID() string {
	for id, method := range r.methods {
		if method == "connect" {
			return strings.Trim(id, `"`)
		}
	}
	return ""
}

// checkEnds proves that no run ended twice and that the events of each run are
// counted without a gap.
func (r *replay) checkEnds() {
	ends, last := map[string]int{}, map[string]int64{}
	for _, f := range r.conn.received() {
		var p struct {
			RunID string `json:"runId"`
			State string `json:"state"`
			Seq   int64  `json:"seq"`
		}
		if f.Type != "event" || json.Unmarshal(f.Payload, &p) != nil {
			continue
		}
		switch {
		case f.Event == "chat" && p.State != "delta":
			if ends[p.RunID]++; ends[p.RunID] > 1 {
				r.fail("", fmt.Sprintf("run %s ends twice", p.RunID))
			}
		case f.Event == "agent":
			if before, ok := last[p.RunID]; ok && p.Seq != before+1 {
				r.fail("", fmt.Sprintf("run %s jumps from event %d to %d", p.RunID, before, p.Seq))
			}
			last[p.RunID] = p.Seq
		}
	}
}

// foreign lists the methods that the manifest does not have, for the report.
func (r *replay) foreign() string {
	var names []string
	for id := range r.skipped {
		if !slices.Contains(names, r.methods[id]) {
			names = append(names, r.methods[id])
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return "no method " + strings.Join(names, ", ")
}
