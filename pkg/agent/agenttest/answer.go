package agenttest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// promptTokens is what the server says it read, as in the recordings.
const promptTokens = 10

// answer is one planned answer of a Model.
type answer struct {
	id         string
	pieces     []string
	interval   time.Duration
	drop, hang int
	tool       string
	comments   bool
}

// chunk is one event of a streamed answer.
type chunk struct {
	ID      string        `json:"id"`
	Object  string        `json:"object"`
	Created int64         `json:"created"`
	Model   string        `json:"model"`
	Choices []chunkChoice `json:"choices"`
	Usage   *usage        `json:"usage,omitempty"`
}

type chunkChoice struct {
	Index        int            `json:"index"`
	Delta        map[string]any `json:"delta"`
	FinishReason *string        `json:"finish_reason"`
}

type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
}

func (a *answer) usage() *usage {
	return &usage{PromptTokens: promptTokens, CompletionTokens: len(a.pieces), TotalTokens: promptTokens + len(a.pieces)}
}

// stream sends the answer as server-sent events until it ends or the client
// leaves.
func (a *answer) stream(w http.ResponseWriter, r *http.Request, withUsage bool) {
	if a.hang < 0 {
		<-r.Context().Done()
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	finish := "stop"
	if a.tool != "" {
		finish = "tool_calls"
		a.send(w, map[string]any{"role": "assistant", "tool_calls": []any{map[string]any{
			"index": 0, "id": "call_1", "type": "function", "function": map[string]any{"name": a.tool, "arguments": "{}"},
		}}}, nil)
	} else if !a.sendPieces(w, r) {
		return
	}
	a.send(w, map[string]any{}, &finish)
	if withUsage {
		a.event(w, chunk{Choices: []chunkChoice{}, Usage: a.usage()})
	}
	_, _ = fmt.Fprint(w, "data: [DONE]\n\n")
}

// sendPieces reports whether the answer went out whole.
func (a *answer) sendPieces(w http.ResponseWriter, r *http.Request) bool {
	for i, piece := range a.pieces {
		if i > 0 && !pause(r, a.interval) {
			return false
		}
		if a.drop > 0 && i == a.drop {
			panic(http.ErrAbortHandler) // net/http cuts the connection without a last chunk
		}
		if a.hang > 0 && i == a.hang {
			<-r.Context().Done()
			return false
		}
		a.send(w, map[string]any{"role": "assistant", "content": piece}, nil)
	}
	return pause(r, a.interval)
}

// pause waits for d and reports whether the client is still there.
func pause(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return r.Context().Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

func (a *answer) send(w http.ResponseWriter, delta map[string]any, finish *string) {
	a.event(w, chunk{Choices: []chunkChoice{{Delta: delta, FinishReason: finish}}})
}

// event writes one event and flushes it. A client that left is noticed by the
// request's context, so write errors say nothing new.
func (a *answer) event(w http.ResponseWriter, c chunk) {
	c.ID, c.Object, c.Created, c.Model = "chatcmpl-mock", "chat.completion.chunk", time.Now().Unix(), a.id
	raw, err := json.Marshal(c)
	if err != nil {
		panic(fmt.Sprintf("agenttest: chunk does not encode: %v", err))
	}
	if a.comments {
		_, _ = fmt.Fprint(w, ": keep-alive\n\nevent: message\n")
	}
	_, _ = fmt.Fprintf(w, "data: %s\n\n", raw)
	_ = http.NewResponseController(w).Flush()
}

// whole sends the answer as one object.
func (a *answer) whole(w http.ResponseWriter) {
	message := map[string]any{"role": "assistant", "content": strings.Join(a.pieces, "")}
	reply(w, http.StatusOK, map[string]any{
		"id": "chatcmpl-mock", "object": "chat.completion", "created": time.Now().Unix(), "model": a.id,
		"choices": []any{map[string]any{"index": 0, "message": message, "finish_reason": "stop"}},
		"usage":   a.usage(),
	})
}
