package identity

import (
	"unicode/utf8"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

const (
	closeBytesMax = 120
	// echoBytesMax bounds what a refusal repeats of the request.
	echoBytesMax = 256
)

// Refusal is the error of Guard.Connect: what to answer, and how to close after it.
type Refusal struct {
	// Err is the response's error; its details carry a code and a next step.
	Err *wire.Error
	// CloseCode is the WebSocket close code.
	CloseCode int
	// CloseReason is the message, cut to 120 bytes of UTF-8.
	CloseReason string
	// code is the finer code in Err's details, for the record.
	code string
}

// Error returns the text of Err.
func (r *Refusal) Error() string { return r.Err.Error() }

// Unwrap returns Err.
func (r *Refusal) Unwrap() error { return r.Err }

// refuse builds a refusal that closes with 1008. The message is what the
// original's clients know, so it is written here in its words.
func refuse(code string, detail protocol.ErrorDetails, message string) *Refusal {
	if step := protocol.DetailNextStep(detail.Code.V); step != "" {
		detail.RecommendedNextStep = wire.Some(step)
	}
	err := &wire.Error{Code: code, Message: message, Details: detail.AppendJSON(nil)}
	return &Refusal{Err: err, CloseCode: protocol.CloseHandshakeRefusedCode, CloseReason: clip(message, closeBytesMax), code: detail.Code.V}
}

// invalid is refuse with INVALID_REQUEST, which nearly all refusals carry.
func invalid(detail, message string) *Refusal {
	return refuse(protocol.ErrorInvalidRequest, detailCode(detail), message)
}

func detailCode(code string) protocol.ErrorDetails {
	return protocol.ErrorDetails{Code: wire.Some(code)}
}

// clip cuts s to at most n bytes without splitting a rune.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
