package openai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"unicode"

	client "github.com/sashabaranov/go-openai"

	"github.com/coderclaw/gateway/pkg/agent"
)

// messageRunesMax bounds the service's own words in an error.
const messageRunesMax = 500

// statusError is the service's refusal: an HTTP status, or 0 for an error event
// in mid-stream, and its own words.
type statusError struct {
	status  int
	message string
}

// Error returns "HTTP 401: mock invalid api key", the form of the recorded
// conversations (chat-errors.jsonl).
func (e *statusError) Error() string {
	message := e.message
	if message == "" {
		message = http.StatusText(e.status)
	}
	if e.status == 0 {
		return "the model service broke off its answer: " + message
	}
	return fmt.Sprintf("HTTP %d: %s", e.status, message)
}

// refusal returns the service's refusal within err.
func refusal(err error) (*statusError, bool) {
	var own *statusError
	if errors.As(err, &own) {
		return own, true
	}
	var api *client.APIError
	if errors.As(err, &api) && api.HTTPStatusCode != 0 {
		return &statusError{status: api.HTTPStatusCode, message: clip(api.Message)}, true
	}
	var request *client.RequestError
	if errors.As(err, &request) {
		return &statusError{status: request.HTTPStatusCode, message: messageOf(request.Body)}, true
	}
	return nil, false
}

// refusesMember reports whether err is the service's refusal of a member of the
// request that it names in one of these ways.
func refusesMember(err error, names ...string) bool {
	refused, ok := refusal(err)
	if !ok || (refused.status != http.StatusBadRequest && refused.status != http.StatusUnprocessableEntity) {
		return false
	}
	text := strings.ToLower(refused.message)
	var request *client.RequestError
	if errors.As(err, &request) {
		text += strings.ToLower(string(request.Body))
	}
	for _, name := range names {
		if strings.Contains(text, name) {
			return true
		}
	}
	return false
}

// explain turns an error of the request into one whose text a user can act on.
// The end of the caller's context stays what it is. The key is struck out.
func (b *Backend) explain(ctx context.Context, err error) error {
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	return &serviceError{text: b.strike(b.describe(err)), cause: err, overflow: isOverflow(err), passing: isPassing(err)}
}

// isPassing reports whether the same request may succeed later: the service said that
// it is busy or broken, or nothing was heard of it.
func isPassing(err error) bool {
	if refused, ok := refusal(err); ok {
		switch refused.status {
		case http.StatusRequestTimeout, http.StatusTooManyRequests:
			return true
		}
		return refused.status >= http.StatusInternalServerError
	}
	var timeout net.Error
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		errors.Is(err, errSilent) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// overflows are the words by which services refuse a conversation that is too long for
// the model: those of OpenAI, Anthropic, Google, llama.cpp, Ollama and vLLM.
var overflows = []string{
	"context_length_exceeded", "maximum context length", "context length", "context window", "context size",
	"prompt is too long", "too many tokens", "input token count", "input is too long", "exceeds the available context",
}

// isOverflow reports whether err is the service's refusal of a conversation that is
// too long.
func isOverflow(err error) bool {
	refused, ok := refusal(err)
	if !ok || refused.status == http.StatusUnauthorized || refused.status == http.StatusTooManyRequests {
		return false
	}
	text := strings.ToLower(refused.message)
	var request *client.RequestError
	if errors.As(err, &request) {
		text += strings.ToLower(string(request.Body))
	}
	var api *client.APIError
	if errors.As(err, &api) {
		text += strings.ToLower(fmt.Sprint(api.Code))
	}
	return slices.ContainsFunc(overflows, func(words string) bool { return strings.Contains(text, words) })
}

func (b *Backend) describe(err error) string {
	if refused, ok := refusal(err); ok {
		return refused.Error()
	}
	var (
		dns     *net.DNSError
		timeout net.Error
		syntax  *json.SyntaxError
		shape   *json.UnmarshalTypeError
		request *url.Error
	)
	switch {
	case errors.Is(err, errSilent):
		return fmt.Sprintf("%s (%s)", err, b.baseURL)
	case errors.Is(err, errTooLong):
		return fmt.Sprintf("the model service's answer exceeds %d bytes and was cut", b.cfg.ResponseBytesMax)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Sprintf("the connection to the model service at %s broke off in mid-answer", b.baseURL)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("nothing answers at the model service %s (connection refused): start it, or correct %s", b.baseURL, b.cfg.urlKey())
	case errors.As(err, &dns):
		return fmt.Sprintf("the host of the model service %s cannot be found: correct %s", b.baseURL, b.cfg.urlKey())
	case errors.As(err, &syntax), errors.As(err, &shape):
		return fmt.Sprintf("the model service at %s sent something that is not a chat completion: check that %s is the address of an OpenAI-compatible API", b.baseURL, b.cfg.urlKey())
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("the model service %s cannot be reached in time", b.baseURL)
	case errors.As(err, &request):
		return fmt.Sprintf("the model service %s cannot be used: %s", b.baseURL, clip(request.Err.Error()))
	}
	return fmt.Sprintf("the model service %s cannot be used: %s", b.baseURL, clip(err.Error()))
}

// serviceError is a fault of the service in words for the user.
type serviceError struct {
	text     string
	cause    error
	overflow bool
	passing  bool
}

func (e *serviceError) Error() string { return e.text }
func (e *serviceError) Unwrap() error { return e.cause }

// Is knows a conversation that is too long for the model, and a service that may be
// there again later.
func (e *serviceError) Is(target error) bool {
	return e.overflow && target == agent.ErrContextOverflow || e.passing && target == agent.ErrPassing
}

// strike removes the key from text. Services echo it in their refusals.
func (b *Backend) strike(text string) string {
	if len(b.cfg.APIKey) < 4 {
		return text // so short a key would strike common words
	}
	return strings.ReplaceAll(text, b.cfg.APIKey, "[redacted]")
}

// messageOf finds the service's words in the body of an error: OpenAI's
// {"error":{"message":...}}, Ollama's {"error":"..."}, FastAPI's {"detail":...},
// or plain text. HTML tells a person nothing and yields "".
func messageOf(body []byte) string {
	var shape struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
		Detail  json.RawMessage `json:"detail"`
	}
	if json.Unmarshal(body, &shape) != nil {
		text := strings.TrimSpace(string(body))
		if strings.HasPrefix(text, "<") {
			return ""
		}
		return clip(text)
	}
	for _, raw := range []json.RawMessage{shape.Error, shape.Detail} {
		var text string
		var object struct {
			Message string `json:"message"`
		}
		switch {
		case json.Unmarshal(raw, &text) == nil && text != "":
			return clip(text)
		case json.Unmarshal(raw, &object) == nil && object.Message != "":
			return clip(object.Message)
		case len(raw) > 0 && string(raw) != "null":
			return clip(string(raw))
		}
	}
	return clip(shape.Message)
}

// clip bounds text from the service and takes its control characters away.
func clip(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	text = strings.TrimSpace(text)
	if runes := []rune(text); len(runes) > messageRunesMax {
		return string(runes[:messageRunesMax]) + "..."
	}
	return text
}
