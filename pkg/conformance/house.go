package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/coderclaw/gateway/gen/protocol"
)

// house is where the clients of one conversation come to.
type house struct {
	words            *vocabulary
	patience, linger time.Duration
	// news holds a token when something has happened since the last look.
	news chan struct{}
	// later reports whether the conversation still waits for such a request.
	later func(*guest, frame) bool
	// failures is what the clients did wrong.
	failures []string
	guests   []*guest

	// mu guards the fields below. closed is set when all is said: who comes now comes
	// to the next conversation.
	mu      sync.Mutex
	arrived []*guest
	closed  bool
}

// guest is one connection of a client.
type guest struct {
	*conn
	name string
	// asked is what the guest said and nobody has looked at, read counts the frames
	// that have been put there.
	asked []frame
	read  int
	// live is the challenge it was given, hello whether it was let in.
	live  challenge
	hello bool
	// seq and version are those of the last event, counts the last event of each run.
	seq     int64
	version stateVersion
	counts  map[string]int64
	// last and methods know the requests by label: id and method.
	last, methods map[string]string
}

func newHouse(cfg ServerConfig) *house {
	return &house{words: words(), patience: cfg.Patience, linger: cfg.Linger, news: make(chan struct{}, 1),
		later: func(*guest, frame) bool { return false }}
}

// hear notes that something has happened. It does not block.
func (h *house) hear() {
	select {
	case h.news <- struct{}{}:
	default:
	}
}

func (h *house) arrive(g *guest) {
	g.counts, g.last, g.methods = map[string]int64{}, map[string]string{}, map[string]string{}
	h.mu.Lock()
	h.arrived = append(h.arrived, g)
	h.mu.Unlock()
	h.hear()
}

// fail notes a fault of the client.
func (h *house) fail(format string, args ...any) {
	h.failures = append(h.failures, fmt.Sprintf(format, args...))
}

// judged returns the outcome.
func (h *house) judged(name string) Outcome {
	if len(h.failures) > 0 {
		return Outcome{Name: name, Status: Failed, Failures: h.failures}
	}
	return Outcome{Name: name, Status: Passed}
}

// until waits for something that a guest does, and answers what is asked besides.
func (h *house) until(ctx context.Context, what string, happened func() bool) error {
	timer := time.NewTimer(h.patience)
	defer timer.Stop()
	for {
		h.besides(ctx)
		if happened() {
			return nil
		}
		select {
		case <-h.news:
		case <-timer.C:
			return fmt.Errorf("no %s within %s%s", what, h.patience, h.waiting())
		case <-ctx.Done():
			return fmt.Errorf("no %s: %w", what, ctx.Err())
		}
	}
}

// waiting tells what has been asked too early, for a message.
func (h *house) waiting() string {
	var list []string
	for _, g := range h.guests {
		for _, f := range g.asked {
			list = append(list, f.Method)
		}
	}
	if len(list) == 0 {
		return ""
	}
	return ", but " + strings.Join(list, ", ")
}

// welcome waits for a new guest.
func (h *house) welcome(ctx context.Context, name string) (*guest, error) {
	var g *guest
	err := h.until(ctx, "connection "+name, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.arrived) == 0 {
			return false
		}
		g, h.arrived = h.arrived[0], h.arrived[1:]
		return true
	})
	if err != nil {
		return nil, err
	}
	g.name = name
	h.guests = append(h.guests, g)
	return g, nil
}

// take waits for a message of the guest. It may be asked before others.
func (h *house) take(ctx context.Context, g *guest, what string, match func(frame) bool) (frame, error) {
	var found frame
	gone := false
	err := h.until(ctx, what, func() bool {
		i := slices.IndexFunc(g.asked, match)
		if i < 0 {
			gone = g.over() != nil
			return gone
		}
		found = g.asked[i]
		g.asked = slices.Delete(g.asked, i, i+1)
		return true
	})
	if err == nil && gone && found.raw == nil {
		ended := g.over()
		return frame{}, fmt.Errorf("no %s: the client left with %d %q%s", what, ended.Code, ended.Reason, h.waiting())
	}
	return found, err
}

// besides reads what the guests have said and answers those requests that the
// conversation does not wait for.
func (h *house) besides(ctx context.Context) {
	for _, g := range h.guests {
		frames := g.received()
		g.asked = append(g.asked, frames[g.read:]...)
		g.read = len(frames)
		if !g.hello {
			continue
		}
		g.asked = slices.DeleteFunc(g.asked, func(f frame) bool {
			if f.Type != "req" || f.Method == "" || h.later(g, f) {
				return false
			}
			g.answerBesides(ctx, h.words, f)
			return true
		})
	}
}

// answerBesides answers with the example of the schema. The guest may be gone.
func (g *guest) answerBesides(ctx context.Context, words *vocabulary, f frame) {
	m, ok := words.methods[f.Method]
	if !ok {
		g.refuse(ctx, f.ID, protocol.ErrorInvalidRequest, "unknown method: "+f.Method, nil)
		return
	}
	if err := protocol.Validate(m.params.definition(), orEmpty(f.Params)); err != nil && !m.lenient {
		g.refuse(ctx, f.ID, protocol.ErrorInvalidRequest, fmt.Sprintf("invalid %s params: %v", f.Method, err), nil)
		return
	}
	g.accept(ctx, f.ID, placeOf(m.result).sample())
}

func orEmpty(params json.RawMessage) json.RawMessage {
	if params == nil {
		return json.RawMessage("{}")
	}
	return params
}

// say writes a message. A guest that has left is noticed where it is waited for.
func (g *guest) say(ctx context.Context, v any) {
	_ = g.ws.Write(ctx, websocket.MessageText, encode(v))
}

func (g *guest) accept(ctx context.Context, id json.RawMessage, payload any) {
	g.say(ctx, map[string]any{"type": "res", "id": id, "ok": true, "payload": payload})
}

func (g *guest) refuse(ctx context.Context, id json.RawMessage, code, message string, details any) {
	e := map[string]any{"code": code, "message": message}
	if details != nil {
		e["details"] = details
	}
	g.say(ctx, map[string]any{"type": "res", "id": id, "ok": false, "error": e})
}

// challengeWith says the challenge of a connection.
func (g *guest) challengeWith(ctx context.Context, live challenge) {
	g.live = live
	g.say(ctx, map[string]any{"type": "event", "event": protocol.EventConnectChallenge.Name, "payload": live})
}

// checkConnect tells what is wrong with a handshake that is going to be accepted.
func (h *house) checkConnect(g *guest, f frame) {
	if err := protocol.Validate(h.words.methods[protocol.MethodConnect.Name].params.definition(), orEmpty(f.Params)); err != nil {
		h.fail("%s: invalid connect params: %v", g.name, err)
		return
	}
	var params connectParams
	if json.Unmarshal(f.Params, &params) != nil {
		return // it has just been valid
	}
	handshake, err := params.handshake()
	if err != nil || handshake.device == nil {
		return
	}
	switch wrong, err := handshake.findDefects(g.live); {
	case err != nil:
		h.fail("%s: connect: %v", g.name, err)
	case wrong.foreignID:
		h.fail("%s: connect: the device id is not the hash of its key", g.name)
	case wrong.foreignNonce, wrong.noNonce:
		h.fail("%s: connect: the nonce is not the one of the challenge", g.name)
	case wrong.badSignature:
		h.fail("%s: connect: the signature does not match", g.name)
	}
}

// hello completes a hello-ok: what there is, and a token for the device.
func (h *house) hello(payload any, request frame) any {
	ok, _ := payload.(map[string]any)
	if ok == nil {
		return payload
	}
	methods := []string{}
	for _, m := range protocol.Methods() {
		if m.Listed {
			methods = append(methods, m.Name)
		}
	}
	events := []string{}
	for _, e := range protocol.Events() {
		events = append(events, e.Name)
	}
	ok["features"] = map[string]any{"methods": methods, "events": events}
	var params struct {
		Device *deviceProof
		Role   string
		Scopes []string
	}
	if json.Unmarshal(orEmpty(request.Params), &params) == nil && params.Device != nil {
		auth, _ := ok["auth"].(map[string]any)
		if auth == nil {
			auth = map[string]any{"scopes": params.Scopes}
			ok["auth"] = auth
		}
		auth["role"] = "operator"
		if params.Role != "" {
			auth["role"] = params.Role
		}
		if auth["deviceToken"] == nil {
			auth["deviceToken"] = strings.ReplaceAll(newUUID()+newUUID(), "-", "")[:43]
		}
		if auth["scopes"] == nil || params.Scopes == nil {
			auth["scopes"] = []string{}
		}
	}
	return ok
}

// welcomed notes that the guest is let in, and the versions that it was told.
func (g *guest) welcomed(payload any) {
	g.hello = true
	if v := snapshotVersion(frame{Payload: encode(payload)}); v != nil {
		g.version = *v
	}
}

// tell sends an event with what a gateway adds to its payload.
func (g *guest) tell(ctx context.Context, e event, name string, payload any) {
	message := map[string]any{"type": "event", "event": name, "payload": payload}
	g.seq++
	message["seq"] = g.seq
	if e.versioned {
		g.version.Presence++
		g.version.Health++
		message["stateVersion"] = g.version
	}
	g.say(ctx, message)
}

// end closes the connection and lets it settle.
func (g *guest) end(code int, reason string) {
	_ = g.ws.Close(websocket.StatusCode(code), reason)
	<-g.done
}

// open reports whether the conversation is still going on.
func (h *house) open() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.closed
}

// bye stays for those who are not done yet, then closes.
func (h *house) bye(ctx context.Context) {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	deadline := time.NewTimer(h.linger)
	defer deadline.Stop()
	for {
		h.besides(ctx)
		if !slices.ContainsFunc(h.guests, func(g *guest) bool { return g.over() == nil }) {
			return
		}
		select {
		case <-h.news:
			continue
		case <-deadline.C:
		case <-ctx.Done():
		}
		for _, g := range h.guests {
			g.end(int(websocket.StatusNormalClosure), "")
		}
		return
	}
}
