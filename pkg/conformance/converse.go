package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/coderclaw/gateway/gen/protocol"
)

// run holds the conversation with the target.
func (c *Conversation) run(ctx context.Context, target Target) Outcome {
	if missing, ok := target.offers(c.needs); !ok {
		return Outcome{Name: c.Name, Status: NotApplicable, Note: "needs " + missing}
	}
	t := &talk{target: target, known: c.known, speakers: map[string]*speaker{}, vars: variables{
		"$token":   target.secret()[target.profile()],
		"$profile": target.profile(),
		"$session": "agent:main:conformance-" + newUUID()[:8],
	}}
	outcome := Outcome{Name: c.Name, Status: Passed}
	for _, l := range c.lines {
		if err := t.do(ctx, l); err != nil {
			outcome = failed(c.Name, fmt.Sprintf("line %d: %v", l.number, err))
			break
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.speakers)) {
		if err := t.speakers[name].hangUp(ctx); err != nil && outcome.Status == Passed {
			outcome = failed(c.Name, fmt.Sprintf("%s: %v", name, err))
		}
	}
	return outcome
}

// talk is one conversation on its way.
type talk struct {
	target   Target
	known    *vocabulary
	vars     variables
	speakers map[string]*speaker
}

// speaker is one named connection: the device stays, the socket may change.
type speaker struct {
	known       *vocabulary
	device      device
	deviceToken string
	conn        *conn
	// requests maps labels to the id of the last request under that label, methods
	// the ids to their methods, answers counts the responses taken for each id.
	requests, methods map[string]string
	answers           map[string]int
	sent              int
	// welcome is set by hello-ok; leaving when the gateway is stopped on purpose.
	welcome, leaving bool
	// event is where the search for the next event begins.
	event int
}

// hangUp ends the connection, if there is one, and holds what it received against
// the rules of every conversation. What the gateway has said by now is fetched first.
func (s *speaker) hangUp(ctx context.Context) error {
	if s.conn == nil {
		return nil
	}
	var late error
	if s.welcome && s.conn.over() == nil {
		if err := s.conn.fence(ctx); !s.leaving {
			late = err
		}
	}
	// The connection's own deeds come before the end that we give it.
	ended := s.conn.over()
	s.conn.close()
	a := audit{words: s.known, asked: s.conn.asked(), methods: s.methods, ended: ended}
	faults := a.faults(s.conn.received())
	s.conn, s.welcome, s.leaving = nil, false, false
	if len(faults) > 0 {
		return errors.New(strings.Join(faults, "; "))
	}
	return late
}

// do performs one line.
func (t *talk) do(ctx context.Context, l line) error {
	switch l.verb {
	case "connect":
		return t.connect(ctx, l)
	case "restart", "stop":
		for _, s := range t.speakers {
			s.leaving = true
		}
		if l.verb == "stop" {
			return t.target.Stop(ctx)
		}
		return t.target.Restart(ctx)
	}
	s := t.speakers[l.conn]
	if s == nil || s.conn == nil {
		return fmt.Errorf("%s is not connected", l.conn)
	}
	switch l.verb {
	case "say":
		return t.say(ctx, s, l)
	case "ok", "error":
		return t.answered(ctx, s, l)
	case "event":
		return t.happened(ctx, s, l)
	case "no event":
		return t.notHappened(s, l)
	case "close":
		return closedAs(ctx, s, l)
	case "disconnect":
		return s.hangUp(ctx)
	}
	return fmt.Errorf("unknown line %s", l.verb)
}

// connect opens the connection of a speaker and sends the handshake.
func (t *talk) connect(ctx context.Context, l line) error {
	s := t.speakers[l.conn]
	if s == nil {
		d, err := newDevice()
		if err != nil {
			return err
		}
		s = &speaker{known: t.known, device: d}
		t.speakers[l.conn] = s
	}
	if err := s.hangUp(ctx); err != nil {
		return err
	}
	s.requests, s.methods, s.answers, s.event = map[string]string{}, map[string]string{}, map[string]int{}, 0
	var err error
	var header http.Header
	if host := l.opts["host"]; host != "" {
		header = http.Header{"Host": {host}}
	}
	if s.conn, err = dial(ctx, t.target, t.target.URL, header); err != nil {
		return err
	}
	live, err := s.conn.challenge(ctx)
	if err != nil {
		return err
	}
	if err := s.request(ctx, "", protocol.MethodConnect.Name, s.handshake(l.opts, t.target, live)); err != nil {
		return err
	}
	if l.expected {
		return nil
	}
	return t.answered(ctx, s, line{conn: l.conn, verb: "ok"})
}

// handshake builds connect's params from the options of the line.
func (s *speaker) handshake(opts map[string]string, target Target, live challenge) json.RawMessage {
	or := func(name, otherwise string) string {
		if v, ok := opts[name]; ok {
			return v
		}
		return otherwise
	}
	list := func(name string) []string {
		if opts[name] == "" {
			return []string{}
		}
		return strings.Split(opts[name], ",")
	}
	h := handshake{clientID: or("id", "test"), clientMode: or("mode", "test"), role: or("role", "operator"), scopes: list("scopes")}
	auth := target.secret()
	switch token, given := opts["token"]; {
	case token == "device":
		auth = map[string]string{"token": s.deviceToken}
	case token == "none":
		auth = nil
	case given:
		auth = map[string]string{"token": token}
	}
	h.token = auth["token"]
	params := connectParams{}
	params.set("minProtocol", 3)
	params.set("maxProtocol", 3)
	params.set("client", map[string]string{"id": h.clientID, "version": "1.0.0", "platform": "linux", "mode": h.clientMode})
	params.set("role", h.role)
	params.set("scopes", h.scopes)
	params.set("caps", list("caps"))
	if auth != nil {
		params.set("auth", auth)
	}
	if opts["device"] != "none" {
		params.set("device", s.device.prove(h, live, defects{}))
	}
	return encode(params)
}

func (t *talk) say(ctx context.Context, s *speaker, l line) error {
	params := l.value
	if params != nil {
		var err error
		if params, err = t.vars.fill(params); err != nil {
			return err
		}
	}
	return s.request(ctx, l.label, l.word, params)
}

// request sends one request and remembers its id under the label.
func (s *speaker) request(ctx context.Context, label, method string, params json.RawMessage) error {
	s.sent++
	id := "r" + strconv.Itoa(s.sent)
	s.requests[label] = id
	s.methods[strconv.Quote(id)] = method
	message := map[string]any{"type": "req", "id": id, "method": method}
	if params != nil {
		message["params"] = params
	}
	return s.conn.send(ctx, json.RawMessage(strconv.Quote(id)), encode(message))
}

// answered awaits the next response to a request and matches it.
func (t *talk) answered(ctx context.Context, s *speaker, l line) error {
	id, ok := s.requests[l.label]
	if !ok {
		return fmt.Errorf("nothing was asked")
	}
	f, _, err := s.conn.response(ctx, json.RawMessage(strconv.Quote(id)), s.answers[id])
	if err != nil {
		return err
	}
	s.answers[id]++
	if l.verb == "ok" {
		if !f.OK {
			return fmt.Errorf("refused with %s", told(f))
		}
		s.remember(f)
		s.welcome = s.welcome || s.methods[strconv.Quote(id)] == protocol.MethodConnect.Name
		return problem("payload", t.vars.match(l.value, f.Payload))
	}
	if f.OK {
		return fmt.Errorf("accepted with %s instead of refused", f.Payload)
	}
	if f.Error == nil || f.Error.Code != l.word || f.Error.Message != t.vars.fillValue(l.text) {
		return fmt.Errorf("refused with %s", told(f))
	}
	return problem("details", t.vars.match(l.value, f.Error.Details))
}

// remember keeps the device token when the response is a hello-ok.
func (s *speaker) remember(f frame) {
	var hello struct {
		Type string
		Auth struct{ DeviceToken string }
	}
	if json.Unmarshal(f.Payload, &hello) == nil && hello.Type == "hello-ok" && hello.Auth.DeviceToken != "" {
		s.deviceToken = hello.Auth.DeviceToken
	}
}

func problem(where, diff string) error {
	if diff == "" {
		return nil
	}
	return fmt.Errorf("%s: %s", where, diff)
}

// happened awaits the next event of a name that matches. The error tells how the
// last one of that name differed.
func (t *talk) happened(ctx context.Context, s *speaker, l line) error {
	last := ""
	_, at, err := s.conn.await(ctx, "event "+l.word, s.event, func(f frame) bool {
		if f.Event != l.word {
			return false
		}
		last = t.vars.match(l.value, f.Payload)
		return last == ""
	})
	if err != nil {
		if last != "" {
			return fmt.Errorf("%w; the last one differs %s", err, last)
		}
		return err
	}
	s.event = at + 1
	return nil
}

// notHappened proves that no such event has come so far.
func (t *talk) notHappened(s *speaker, l line) error {
	for _, f := range s.conn.received() {
		if f.Event == l.word && t.vars.match(l.value, f.Payload) == "" {
			return fmt.Errorf("event %s came: %s", l.word, f.Payload)
		}
	}
	return nil
}

func closedAs(ctx context.Context, s *speaker, l line) error {
	got, err := s.conn.closedBy(ctx)
	if err != nil {
		return err
	}
	if strconv.Itoa(got.Code) != l.word || got.Reason != l.text {
		return fmt.Errorf("closed with %d %q", got.Code, got.Reason)
	}
	return nil
}
