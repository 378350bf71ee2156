package conformance

import "github.com/coderclaw/gateway/gen/protocol"

// vocabulary is what the protocol can say today. Recordings hold more: exchanges
// of methods outside it do not apply yet.
type vocabulary struct{ methods, events map[string]bool }

func manifest() vocabulary {
	v := vocabulary{methods: map[string]bool{}, events: map[string]bool{}}
	for _, m := range protocol.Methods() {
		v.methods[m.Name] = true
	}
	for _, e := range protocol.Events() {
		v.events[e.Name] = true
	}
	return v
}
