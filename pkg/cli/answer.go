package cli

import (
	"strings"
	"sync"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/client"
)

// answer prints a run's text as it grows. Events and results say the whole text so
// far, so a lost event costs nothing. Its methods are safe for concurrent use; text
// after done is ignored.
type answer struct {
	out   *printer
	runID string
	mute  bool // prints nothing, for --json

	mu      sync.Mutex
	block   string // guarded by mu: the text of the block being printed
	printed bool   // guarded by mu: something was printed
	open    bool   // guarded by mu: the last line has no end yet
	over    bool   // guarded by mu
}

// event shows what an event adds, if it is about this run.
func (w *answer) event(e client.Event) {
	switch e.Name {
	case protocol.EventAgent.Name:
		ev, err := protocol.DecodeAgentEventOpen(e.Payload)
		if err != nil || ev.RunID != w.runID || ev.Stream != string(protocol.AgentStreamAssistant) {
			return
		}
		if data, err := protocol.DecodeAgentAssistantDataOpen(ev.Data); err == nil {
			w.update(data.Text)
		}
	case protocol.EventChat.Name:
		ev, err := protocol.DecodeChatEventOpen(e.Payload)
		if err == nil && ev.RunID == w.runID && ev.State == protocol.ChatStateDelta {
			w.update(chatText(ev.Message))
		}
	}
}

// update prints what text has more than was printed. A text that does not go on
// from there begins a new block: the model spoke again after a tool.
func (w *answer) update(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over || w.mute || text == "" || strings.HasPrefix(w.block, text) {
		return
	}
	more, ok := strings.CutPrefix(text, w.block)
	if !ok {
		more = "\n" + text
		if w.open {
			more = "\n" + more
		}
	}
	w.block = text
	w.write(more)
}

// done prints the rest of the final text and ends the line. With an empty text it
// keeps what there is.
func (w *answer) done(text string) {
	w.update(text)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open {
		w.write("\n")
	}
	w.over = true
}

// shown reports whether any text was printed.
func (w *answer) shown() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.printed
}

func (w *answer) write(text string) {
	w.out.printf("%s", safe(text))
	w.printed = true
	w.open = !strings.HasSuffix(text, "\n")
}

// chatText returns the text of a chat message, given as JSON.
func chatText(raw []byte) string {
	m, err := protocol.DecodeChatMessageOpen(raw)
	if err != nil {
		return ""
	}
	return messageText(m)
}

// messageText joins a message's text blocks.
func messageText(m protocol.ChatMessage) string {
	var parts []string
	for _, c := range m.Content {
		if text, ok := c.Text.Get(); ok && c.Type == protocol.ChatContentTypeText {
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, "\n")
}

// payloadText joins the texts of an agent's result.
func payloadText(r protocol.AgentResult) string {
	run, ok := r.Result.Get()
	if !ok {
		return ""
	}
	var parts []string
	for _, p := range run.Payloads {
		if p.Text != "" {
			parts = append(parts, p.Text)
		}
		if url, ok := p.MediaURL.Get(); ok && url != "" {
			parts = append(parts, url)
		}
	}
	return strings.Join(parts, "\n\n")
}
