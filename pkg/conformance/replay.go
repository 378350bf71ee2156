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

	"github.com/coderclaw/gateway/gen/protocol"
)

// replay is one transcript on its way.
type replay struct {
	*stage
	t      *transcript
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
	known *vocabulary
	// methods maps request ids to methods; skipped are those that do not apply.
	methods map[string]string
	skipped map[string]bool
	// exchanges counts the requests besides connect that were compared.
	exchanges int
	failures  []string
	excepted  []string
	// connecting is set when the handshake has been sent, welcome when it was
	// accepted, over when the rest of the recording cannot follow.
	connecting, welcome, over bool
}

func newReplay(t *transcript, st *stage) *replay {
	return &replay{stage: st, t: t, known: t.known, kinds: map[string]bool{}, answers: map[string]int{},
		methods: map[string]string{}, skipped: map[string]bool{}}
}

// applies reports whether the target can serve the transcript, else what it lacks.
func (t *transcript) applies(target Target) (missing string, ok bool) {
	needs := slices.DeleteFunc(slices.Clone(t.info.Needs), func(n string) bool { return n == "main-session" })
	if t.info.Remote {
		needs = append(needs, "remote")
	}
	if t.info.Action != "" {
		needs = append(needs, "stop")
	} else if t.info.Profile != target.profile() {
		needs = append(needs, "profile "+t.info.Profile)
	}
	return target.offers(needs)
}

// prepare pairs the device, wears out the wrong secrets, and opens the connection.
func (r *replay) prepare(ctx context.Context) error {
	var err error
	if r.device, err = r.stage.device(r.t.device()); err != nil {
		return err
	}
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
	r.live, err = r.conn.challenge(ctx)
	return err
}

// step follows the recording one step further. The connection is opened at the first.
func (r *replay) step(ctx context.Context, s step) error {
	if r.conn == nil {
		if err := r.prepare(ctx); err != nil {
			r.over = true
			return err
		}
	}
	switch s.Dir {
	case "c2s":
		return r.unlessEnded(ctx, s.said, r.say(ctx, s.Frame, s.said))
	case "s2c":
		return r.unlessEnded(ctx, s.said, r.hear(ctx, s.said))
	case "close":
		r.over = true
		return r.end(ctx, s.Frame)
	}
	return nil
}

// unlessEnded forgives the fault of an exchange that is excepted because we ended
// the connection before it.
func (r *replay) unlessEnded(ctx context.Context, f frame, fault error) error {
	id := strings.Trim(string(f.ID), `"`)
	if _, excepted := r.t.exceptions.of(r.t.name, id); fault == nil || id == "" || !excepted {
		return fault
	}
	if _, err := r.conn.closedBy(ctx); err != nil {
		return fault
	}
	r.over = true
	r.differ(id, "the connection has ended")
	return nil
}

// bulk is how the recording shortens long messages.
var (
	bulk   = regexp.MustCompile(`^<(\d+) bytes of '(.)'>$`)
	elided = regexp.MustCompile(`"<elided (\d+) chars>"`)
)

// unelided returns a message at its full length.
func unelided(raw json.RawMessage) json.RawMessage {
	return elided.ReplaceAllFunc(raw, func(short []byte) []byte {
		n, _ := strconv.Atoi(string(elided.FindSubmatch(short)[1]))
		return []byte(`"` + strings.Repeat("x", n) + `"`)
	})
}

// say sends what the recorded client sent, with our signature and secrets.
func (r *replay) say(ctx context.Context, raw json.RawMessage, request frame) error {
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
		_ = r.conn.send(ctx, nil, []byte(message))
		return nil
	}
	id := string(request.ID)
	r.methods[id] = request.Method
	if request.Method != "" && !r.known.has(request.Method) && !r.meantUnknown(request.ID) {
		r.skipped[id] = true
		return nil
	}
	if request.Method == protocol.MethodConnect.Name && !r.connecting {
		r.connecting = true
		var err error
		if raw, err = r.resign(raw, request.ID); err != nil {
			return err
		}
	} else {
		raw = r.names.put(raw)
		r.exchanges++
	}
	if err := r.conn.send(ctx, request.ID, unelided(raw)); err != nil {
		return fmt.Errorf("send %s: %w", request.Method, err)
	}
	return nil
}

// meantUnknown reports whether the recorded client asked for a method that its
// server did not have either.
func (r *replay) meantUnknown(id json.RawMessage) bool {
	f, ok := r.t.answer(id)
	return ok && f.Error != nil && strings.HasPrefix(f.Error.Message, "unknown method: ")
}

// hear awaits what the recorded client was told next.
func (r *replay) hear(ctx context.Context, want frame) error {
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
	r.names.learnJSON(want.Payload, got.Payload)
	if want.Error != nil && got.Error != nil {
		r.names.learnJSON(want.Error.Details, got.Error.Details)
		inOurNames := *want.Error
		inOurNames.Message = r.names.inText(inOurNames.Message)
		want.Error = &inOurNames
	}
	r.compare(id, want, got)
	r.checkOrder(want, at)
	if r.methods[id] == protocol.MethodConnect.Name && got.OK {
		r.welcome = true
		if r.t.info.PauseUntil != "" {
			r.conn.pause()
		}
	}
	r.stage.answered(r, id)
	if r.methods[id] == protocol.MethodConnect.Name && want.OK && r.nothingElseApplies() {
		r.over = true
	}
	return nil
}

// nothingElseApplies reports whether every request after the handshake is of a
// method outside the manifest, and notes these methods. What the recording shows
// from there on is their doing.
func (r *replay) nothingElseApplies() bool {
	for _, s := range r.t.steps {
		request := s.said
		if s.Dir != "c2s" || request.Method == protocol.MethodConnect.Name {
			continue
		}
		if request.Method == "" || r.known.has(request.Method) || r.meantUnknown(request.ID) {
			return false
		}
		r.skipped[string(request.ID)] = true
		r.methods[string(request.ID)] = request.Method
	}
	return len(r.skipped) > 0
}

// compare holds a response against the recorded one.
func (r *replay) compare(id string, want, got frame) {
	method := r.methods[id]
	name := strings.Trim(id, `"`)
	if want.OK != got.OK {
		if got.OK && (method == protocol.MethodConnect.Name && r.t.info.AltHello || slices.Contains(r.t.info.AltOK, name)) {
			r.over = method == protocol.MethodConnect.Name
			return
		}
		r.differ(name, fmt.Sprintf("%s answers ok:%t (%s) instead of ok:%t (%s)", method, got.OK, told(got), want.OK, told(want)))
		r.over = method == protocol.MethodConnect.Name && r.exchanges == 0
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
	for _, d := range r.strangers(method, want, got) {
		r.differ(name, fmt.Sprintf("payload of %s: %s", method, d))
	}
}

// strangers lists what an answer holds that neither the recording nor the schema
// knows.
func (r *replay) strangers(method string, want, got frame) []string {
	m, ok := r.known.methods[method]
	if !ok {
		return nil
	}
	recorded, err := parse(want.Payload)
	if err != nil {
		return []string{"recorded payload: " + err.Error()}
	}
	have, err := parse(got.Payload)
	if err != nil {
		return []string{err.Error()}
	}
	at := append(placeOf(m.ack), placeOf(m.result)...)
	return shape{excused: r.t.exceptions.members[method]}.strangers(nil, at, []any{recorded}, have)
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
		// Of a file that is excepted as a whole, what comes after the first difference
		// belongs to another conversation.
		if _, whole := r.t.exceptions.exchanges[r.t.name][""]; whole {
			r.over = true
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
	p := f.run
	if strings.HasPrefix(p.RunID, "inject-") {
		p.RunID = "inject-*"
	}
	return strings.Join([]string{f.Event, p.RunID, p.Stream, p.Data.Phase, p.State}, " ")
}

// hearEvent awaits the first event of a kind and compares its payload. How often
// it comes depends on the clock, so the others of its kind are not awaited.
func (r *replay) hearEvent(ctx context.Context, want frame) error {
	if unsolicited(want.Event) || !r.known.hasEvent(want.Event) {
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
	r.names.learnJSON(want.Payload, got.Payload)
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
		f := s.said
		if s.Dir != "s2c" {
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
		if method == protocol.MethodConnect.Name {
			return strings.Trim(id, `"`)
		}
	}
	return ""
}

// finish holds all that came against the rules of every conversation. What the
// gateway has said by now is fetched first, if it still talks to us.
func (r *replay) finish(ctx context.Context) {
	if r.welcome && len(r.failures) == 0 && r.conn.over() == nil {
		if err := r.conn.fence(ctx); err != nil {
			r.fail("", err.Error())
		}
	}
	past, err := remember(r.t)
	if err != nil {
		r.fail("", err.Error())
		return
	}
	a := audit{words: r.known, asked: r.conn.asked(), methods: r.methods, recorded: past, excused: r.t.exceptions.members, ended: r.conn.over()}
	for _, fault := range a.faults(r.conn.received()) {
		r.differ("", fault)
	}
}

// outcome ends the replay and judges it.
func (r *replay) outcome(ctx context.Context) Outcome {
	if r.conn != nil {
		r.finish(ctx)
	}
	t := r.t
	outcome := Outcome{Name: t.name, Status: Passed}
	_, whole := t.exceptions.exchanges[t.name][""]
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

// leave closes the connection.
func (r *replay) leave() {
	if r.conn != nil {
		r.conn.close()
	}
}

// foreign lists the methods that the manifest does not have, for the report.
func (r *replay) foreign() string {
	var missing []string
	for id := range r.skipped {
		if r.methods[id] != fenceMethod { // of a recorded run of ours that was cut off
			missing = append(missing, r.methods[id])
		}
	}
	return absent(missing)
}

// unsolicited events come when they come; a replay does not compare them.
func unsolicited(event string) bool {
	switch event {
	case protocol.EventHealth.Name, protocol.EventPresence.Name, protocol.EventTick.Name:
		return true
	}
	return false
}
