package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
)

// act is a written conversation of which we play the gateway.
type act struct {
	*house
	c      *Conversation
	vars   variables
	guests map[string]*guest
	// at is the line that is being played.
	at int
	// connects holds the connect request of each connection by name.
	connects map[string]frame
}

// play plays the gateway's side for the clients that come to the house.
func (c *Conversation) play(ctx context.Context, h *house) Outcome {
	a := &act{house: h, c: c, vars: variables{"$profile": "token"}, guests: map[string]*guest{}, connects: map[string]frame{}}
	h.later = a.stillToCome
	for i, l := range c.lines {
		a.at = i
		if err := a.do(ctx, l); err != nil {
			h.fail("line %d: %v", l.number, err)
			break
		}
	}
	a.at = len(c.lines)
	h.bye(ctx)
	return h.judged(c.Name)
}

// stillToCome reports whether a line to come is this request of this guest.
func (a *act) stillToCome(g *guest, f frame) bool {
	return slices.ContainsFunc(a.c.lines[min(a.at, len(a.c.lines)):], func(l line) bool {
		return l.verb == "say" && l.conn == g.name && l.word == f.Method
	})
}

func (a *act) do(ctx context.Context, l line) error {
	switch l.verb {
	case "connect":
		return a.connect(ctx, l)
	case "restart", "stop":
		return a.stop(ctx)
	case "no event":
		return nil
	}
	g := a.guests[l.conn]
	if g == nil {
		return fmt.Errorf("%s is not connected", l.conn)
	}
	switch l.verb {
	case "say":
		return a.listen(ctx, g, l)
	case "ok", "error":
		return a.answer(ctx, g, l)
	case "event":
		a.emit(ctx, g, l)
	case "close":
		code, err := strconv.Atoi(l.word)
		if err != nil {
			return fmt.Errorf("close code %s", l.word)
		}
		g.end(code, l.text)
	case "disconnect":
		return a.until(ctx, "disconnect of "+l.conn, func() bool { return g.over() != nil })
	}
	return nil
}

// connect takes a client in. What it is told next stands in the lines that follow;
// without any, it is hello-ok.
func (a *act) connect(ctx context.Context, l line) error {
	g, err := a.welcome(ctx, l.conn)
	if err != nil {
		return err
	}
	a.guests[l.conn] = g
	g.challengeWith(ctx, challenge{Nonce: newUUID(), TS: time.Now().UnixMilli()})
	f, err := a.take(ctx, g, "connect of "+l.conn, func(frame) bool { return true })
	if err != nil {
		return err
	}
	if f.Method != protocol.MethodConnect.Name {
		return fmt.Errorf("the first request is %s instead of connect", show(string(f.raw)))
	}
	g.last[""], g.methods[""] = string(f.ID), f.Method
	a.connects[l.conn] = f
	refused := l.expected && a.next(l, "error")
	if !refused {
		a.checkConnect(g, f)
		a.checkScopes(l, f)
	}
	if l.expected {
		return nil
	}
	return a.answer(ctx, g, line{conn: l.conn, verb: "ok"})
}

// checkScopes tells when a client does not ask for what the conversation needs.
func (a *act) checkScopes(l line, f frame) {
	var params struct{ Scopes []string }
	_ = json.Unmarshal(orEmpty(f.Params), &params) // params that are none have been told
	for _, need := range strings.Split(l.opts["scopes"], ",") {
		if need != "" && !protocol.ScopeAllows(params.Scopes, need) {
			a.fail("line %d: %s does not ask for %s", l.number, l.conn, need)
		}
	}
}

// next reports whether the next line of the same connection and label has this verb.
func (a *act) next(l line, verb string) bool {
	for _, other := range a.c.lines[a.at+1:] {
		if other.conn == l.conn && (other.verb == "ok" || other.verb == "error") && other.label == l.label {
			return other.verb == verb
		}
	}
	return false
}

// listen waits for a request and holds its params against the line.
func (a *act) listen(ctx context.Context, g *guest, l line) error {
	f, err := a.take(ctx, g, l.word, func(f frame) bool { return f.Method == l.word })
	if err != nil {
		return err
	}
	g.last[l.label], g.methods[l.label] = string(f.ID), f.Method
	if l.value != nil {
		if diff := a.vars.match(l.value, orEmpty(f.Params)); diff != "" {
			a.fail("line %d: params of %s: %s", l.number, l.word, diff)
		}
	}
	m, known := a.words.methods[l.word]
	if known && !m.lenient && a.next(l, "ok") {
		if err := protocol.Validate(m.params.definition(), orEmpty(f.Params)); err != nil {
			a.fail("line %d: invalid %s params: %v", l.number, l.word, err)
		}
	}
	return nil
}

// answer says an ok or error line.
func (a *act) answer(ctx context.Context, g *guest, l line) error {
	id, ok := g.last[l.label]
	if !ok {
		return fmt.Errorf("nothing was asked")
	}
	if l.verb == "error" {
		var details any
		if l.value != nil {
			details = a.vars.fabricate(nil, mustParse(l.value))
		}
		g.refuse(ctx, json.RawMessage(id), l.word, fmt.Sprint(a.vars.fillValue(l.text)), details)
		return nil
	}
	name := g.methods[l.label]
	m := a.words.methods[name]
	payload := a.fill(append(placeOf(m.ack), placeOf(m.result)...), l.value)
	if name == protocol.MethodConnect.Name {
		payload = a.hello(payload, a.connects[l.conn])
		g.welcomed(payload)
	}
	g.accept(ctx, json.RawMessage(id), payload)
	return nil
}

// fill returns a payload for a pattern, which may be absent.
func (a *act) fill(at place, pattern json.RawMessage) any {
	if pattern == nil {
		return at.sample()
	}
	return a.vars.fabricate(at, mustParse(pattern))
}

// emit says an event line. Where the pattern does not say it, the events of a run
// are counted as a gateway counts them.
func (a *act) emit(ctx context.Context, g *guest, l line) {
	e := a.words.events[l.word]
	payload := a.fill(placeOf(e.payload), l.value)
	var pattern map[string]any
	if l.value != nil {
		pattern, _ = mustParse(l.value).(map[string]any)
	}
	if object, ok := payload.(map[string]any); ok && (l.word == protocol.EventAgent.Name || l.word == protocol.EventChat.Name) {
		object["seq"] = g.count(l.word, fmt.Sprint(object["runId"]), pattern["seq"])
	}
	g.tell(ctx, e, l.word, payload)
}

// count returns the seq of the next event of a run, which a pattern may give. Texts
// carry that of the agent's event they belong to.
func (g *guest) count(event, run string, given any) int64 {
	agent, own := protocol.EventAgent.Name+" "+run, event+" "+run
	next := max(g.counts[agent], g.counts[own]+1)
	if n, ok := given.(json.Number); ok {
		next, _ = n.Int64() // a fraction is told by whoever validates the event
	}
	g.counts[own] = next
	return next
}

// stop ends the connections as a gateway does that stops, unless the lines that
// follow spell it out.
func (a *act) stop(ctx context.Context) error {
	shutdown := protocol.EventShutdown.Name
	for name, g := range a.guests {
		if g.over() != nil || a.spelledOut(name) {
			continue
		}
		g.tell(ctx, a.words.events[shutdown], shutdown, placeOf(a.words.events[shutdown].payload).sample())
		g.end(protocol.CloseServiceRestartCode, protocol.CloseServiceRestart)
	}
	return nil
}

// spelledOut reports whether the script says how a connection ends.
func (a *act) spelledOut(name string) bool {
	for _, l := range a.c.lines[a.at+1:] {
		if l.conn != name {
			continue
		}
		switch l.verb {
		case "connect":
			return false
		case "close":
			return true
		}
	}
	return false
}
