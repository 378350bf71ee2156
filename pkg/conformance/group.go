package conformance

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
)

// group is the transcripts that ran at the same time on one server: what one
// client did is seen by another. Most transcripts are a group of their own.
type group []*transcript

// named returns the file names.
func (g group) named() []string {
	list := make([]string, len(g))
	for i, t := range g {
		list[i] = t.name
	}
	return list
}

// name is the group's, else the file's.
func (g group) name() string {
	if len(g) > 1 {
		return g[0].info.Group
	}
	return g[0].name
}

// silent reports whether no client of the group says anything.
func (g group) silent() bool {
	return !slices.ContainsFunc(g, func(t *transcript) bool { return !t.silent() })
}

// final reports whether the group ends the gateway.
func (g group) final() bool {
	return slices.ContainsFunc(g, func(t *transcript) bool { return t.info.Action != "" })
}

// restarts reports whether the gateway is restarted in the course of the group.
func (g group) restarts() bool {
	return slices.ContainsFunc(g, func(t *transcript) bool { return slices.Contains(t.info.Needs, "restart") })
}

// moment is one step of one partner.
type moment struct {
	at      int64
	partner *replay
	step    step
}

// stage is what the partners of one timeline share.
type stage struct {
	target   Target
	names    names
	partners []*replay
	// devices are ours by the recorded device id, so that two connections of one
	// recorded device are two of one of ours.
	devices map[string]device
}

// run replays the group against the target, one outcome for each transcript.
func (g group) run(ctx context.Context, target Target) []Outcome {
	if outcomes := g.inapplicable(target); outcomes != nil {
		return outcomes
	}
	st := &stage{target: target, names: names{}, devices: map[string]device{}}
	for _, t := range g {
		st.partners = append(st.partners, newReplay(t, st))
	}
	broken := st.play(ctx)
	outcomes := make([]Outcome, len(g))
	for i, r := range st.partners {
		if broken != nil && broken != r && len(r.failures) == 0 {
			r.fail("", fmt.Sprintf("stopped, because %s went wrong", broken.t.name))
		}
		outcomes[i] = r.outcome(ctx)
	}
	for _, r := range st.partners {
		r.leave()
	}
	return outcomes
}

// inapplicable returns the outcomes of a group for which the target lacks
// something, or nil.
func (g group) inapplicable(target Target) []Outcome {
	note := ""
	for _, t := range g {
		if missing, ok := t.applies(target); !ok {
			note = "needs " + missing
			break
		}
	}
	if len(g) > 1 && note == "" {
		note = g.lacks()
	}
	if note == "" {
		return nil
	}
	outcomes := make([]Outcome, len(g))
	for i, t := range g {
		outcomes[i] = Outcome{Name: t.name, Status: NotApplicable, Note: note}
		if why, ok := t.exceptions.exchanges[t.name][""]; ok {
			outcomes[i].Status, outcomes[i].Note = Excepted, why
		}
	}
	return outcomes
}

// lacks names the methods without which the partners of a group cannot bring about
// what was recorded: those that the manifest does not have and that were answered
// with ok. Refused ones are left out one by one.
func (g group) lacks() string {
	var missing []string
	for _, t := range g {
		for _, s := range t.steps {
			f := s.said
			if s.Dir != "c2s" || f.Method == "" || t.known.has(f.Method) {
				continue
			}
			if answer, ok := t.answer(f.ID); ok && answer.OK {
				missing = append(missing, f.Method)
			}
		}
	}
	return absent(missing)
}

// absent words the methods that the manifest does not have.
func absent(methods []string) string {
	if len(methods) == 0 {
		return ""
	}
	slices.Sort(methods)
	return "no method " + strings.Join(slices.Compact(methods), ", ")
}

// play follows the timeline. It returns the partner that cannot go on, if there is
// one: what the others were told afterwards hangs on it.
func (st *stage) play(ctx context.Context) (broken *replay) {
	for _, m := range st.timeline() {
		if m.partner.over {
			continue
		}
		if err := m.partner.step(ctx, m.step); err != nil {
			m.partner.fail("", err.Error())
			return m.partner
		}
	}
	return nil
}

// timeline orders the steps of all partners by the recorded server's clock: its
// challenge tells when a connection was opened.
func (st *stage) timeline() []moment {
	var all []moment
	for _, r := range st.partners {
		begin := r.t.opened()
		for _, s := range r.t.steps {
			all = append(all, moment{at: begin + s.T, partner: r, step: s})
		}
	}
	slices.SortStableFunc(all, func(a, b moment) int { return cmp.Compare(a.at, b.at) })
	return all
}

// answered lets those read on who were to wait for this answer.
func (st *stage) answered(r *replay, id string) {
	until := strings.TrimSuffix(r.t.name, ".jsonl") + ":" + strings.Trim(id, `"`)
	for _, p := range st.partners {
		if p.t.info.PauseUntil == until && p.conn != nil {
			p.conn.resume()
		}
	}
}

// device returns our device for a recorded one.
func (st *stage) device(recorded string) (device, error) {
	if d, ok := st.devices[recorded]; ok {
		return d, nil
	}
	d, err := newDevice()
	if err != nil {
		return device{}, err
	}
	st.devices[recorded] = d
	if recorded != "" {
		st.names[recorded] = d.id
	}
	return d, nil
}
