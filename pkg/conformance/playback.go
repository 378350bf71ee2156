package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coderclaw/gateway/gen/protocol"
)

// playback is a recorded group of which we play the gateway: it says what the
// recorded one said.
type playback struct {
	*house
	names names
	parts []*part
	// at is the position on the timeline of what is being played.
	timeline []cue
	at       int
}

// part is one recorded connection in a playback.
type part struct {
	t     *transcript
	guest *guest
	// skipped are the ids of requests of methods that the manifest does not have.
	skipped map[string]bool
	over    bool
}

// cue is one step of one part.
type cue struct {
	part *part
	step step
}

// play plays the gateway's side for the clients that come to the house.
func (g group) play(ctx context.Context, h *house) Outcome {
	p := &playback{house: h, names: names{}}
	h.later = p.stillToCome
	st := &stage{}
	parts := map[*transcript]*part{}
	for _, t := range g {
		parts[t] = &part{t: t, skipped: map[string]bool{}}
		p.parts = append(p.parts, parts[t])
		st.partners = append(st.partners, newReplay(t, st))
	}
	for _, m := range st.timeline() {
		p.timeline = append(p.timeline, cue{parts[m.partner.t], m.step})
	}
	for i, c := range p.timeline {
		p.at = i
		if c.part.over {
			continue
		}
		if err := p.step(ctx, c); err != nil {
			h.fail("%s: %v", c.part.t.name, err)
			break
		}
	}
	p.at = len(p.timeline)
	h.bye(ctx)
	return h.judged(g.name())
}

// stillToCome reports whether the recording still holds this request of this guest.
func (p *playback) stillToCome(g *guest, f frame) bool {
	return slices.ContainsFunc(p.timeline[min(p.at, len(p.timeline)):], func(c cue) bool {
		return c.part.guest == g && c.step.Dir == "c2s" && !p.left(c) && meant(c.step.said, f)
	})
}

// left reports whether a request is left out because the manifest lacks its method.
func (p *playback) left(c cue) bool {
	f := c.step.said
	if f.Method == "" || c.part.t.known.has(f.Method) {
		return false
	}
	answer, ok := c.part.t.answer(f.ID)
	return !ok || answer.Error == nil || !strings.HasPrefix(answer.Error.Message, "unknown method: ")
}

func (p *playback) step(ctx context.Context, c cue) error {
	if c.part.guest == nil {
		if err := p.open(ctx, c.part); err != nil {
			return err
		}
	}
	switch c.step.Dir {
	case "c2s":
		return p.listen(ctx, c)
	case "s2c":
		p.repeat(ctx, c)
	case "close":
		c.part.over = true
		p.close(c)
	}
	return nil
}

// open takes the client in, after those connections that go before the recording,
// and says the challenge.
func (p *playback) open(ctx context.Context, part *part) error {
	if part.t.info.Pair != nil {
		if err := p.before(ctx, true); err != nil {
			return fmt.Errorf("pair the device first: %w", err)
		}
	}
	for range part.t.info.BadAuth {
		if err := p.before(ctx, false); err != nil {
			return fmt.Errorf("a wrong secret first: %w", err)
		}
	}
	g, err := p.welcome(ctx, part.t.name)
	if err != nil {
		return err
	}
	part.guest = g
	g.challengeWith(ctx, part.t.recorded())
	return nil
}

// before lets a device in once, or refuses a wrong secret once.
func (p *playback) before(ctx context.Context, pairs bool) error {
	g, err := p.welcome(ctx, "before")
	if err != nil {
		return err
	}
	g.challengeWith(ctx, challenge{Nonce: newUUID(), TS: time.Now().UnixMilli()})
	f, err := p.take(ctx, g, "connect", func(frame) bool { return true })
	if err != nil {
		return err
	}
	if !pairs {
		g.refuse(ctx, f.ID, protocol.ErrorInvalidRequest, "unauthorized", nil)
		return nil
	}
	g.accept(ctx, f.ID, p.hello(placeOf(p.words.methods[protocol.MethodConnect.Name].result).sample(), f))
	return p.until(ctx, "end of the connection that pairs", func() bool { return g.over() != nil })
}

// meant reports whether a client that says got may mean what was recorded.
func meant(recorded, got frame) bool {
	if recorded.Method != "" {
		return got.Method == recorded.Method
	}
	if recorded.Type == "" || recorded.Type == notAFrame {
		return got.Type != "req"
	}
	return got.Type == recorded.Type
}

// listen waits for what the recorded client said.
func (p *playback) listen(ctx context.Context, c cue) error {
	want := c.step.said
	if p.left(c) {
		c.part.skipped[string(want.ID)] = true
		return nil
	}
	got, err := p.take(ctx, c.part.guest, "request "+want.Method+string(want.ID), func(f frame) bool { return meant(want, f) })
	if err != nil {
		if p.onlyLeft(c.part) {
			c.part.over = true
			return nil
		}
		return err
	}
	answer, answered := c.part.t.answer(want.ID)
	if want.ID != nil && got.ID != nil {
		p.rename(want.ID, got.ID, c.part)
	}
	if answered && answer.OK && want.Method == protocol.MethodConnect.Name {
		if !c.part.t.defective() {
			p.checkConnect(c.part.guest, got)
		}
	} else if answered && answer.OK {
		for _, d := range compareShape(want.Params, got.Params, nil) {
			p.fail("%s: params of %s: %s", c.part.t.name, want.Method, d)
		}
	}
	p.learnKeys(want.Params, got.Params)
	p.names.learnJSON(want.Params, got.Params)
	return nil
}

// rename remembers under which id the client asked.
func (p *playback) rename(recorded, got json.RawMessage, part *part) {
	part.guest.last[string(recorded)] = string(got)
}

// learnKeys makes the client's own idempotency key the name of the run.
func (p *playback) learnKeys(recorded, got json.RawMessage) {
	var a, b struct{ IdempotencyKey string }
	if json.Unmarshal(orEmpty(recorded), &a) == nil && json.Unmarshal(orEmpty(got), &b) == nil &&
		a.IdempotencyKey != "" && b.IdempotencyKey != "" && a.IdempotencyKey != b.IdempotencyKey {
		p.names[a.IdempotencyKey] = b.IdempotencyKey
	}
}

// onlyLeft reports whether a part has nothing more to say that applies.
func (p *playback) onlyLeft(part *part) bool {
	return !slices.ContainsFunc(p.timeline[p.at+1:], func(c cue) bool {
		return c.part == part && c.step.Dir == "c2s" && !p.left(c)
	})
}

// repeat says what the recorded gateway said.
func (p *playback) repeat(ctx context.Context, c cue) {
	f := c.step.said
	if f.Event == protocol.EventConnectChallenge.Name || c.part.skipped[string(f.ID)] && f.Type == "res" {
		return
	}
	raw := p.names.put(c.step.Frame)
	if id, ok := c.part.guest.last[string(f.ID)]; ok && f.Type == "res" && id != string(f.ID) {
		raw = withID(raw, id)
	}
	if f.Type == "res" && f.OK {
		c.part.guest.hello = true
	}
	_ = c.part.guest.send(ctx, nil, raw) // a guest that has left is noticed where it is waited for
}

// withID puts another id into a frame.
func withID(raw json.RawMessage, id string) json.RawMessage {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return raw
	}
	members["id"] = json.RawMessage(id)
	return encode(members)
}

// close ends a connection as it was recorded. One that the recorded client ended is
// left to the client.
func (p *playback) close(c cue) {
	var end closing
	if json.Unmarshal(c.step.Frame, &end) != nil || end.By == "client" || end.Code == 1005 {
		return
	}
	c.part.guest.end(end.Code, end.Reason)
}
