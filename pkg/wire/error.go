package wire

import "fmt"

// Error is a refusal that a client sees: a code from the error catalogue and a
// message in the protocol's words. Handlers return it; the gateway sends it.
type Error struct {
	// Code is one of the generated protocol.Error... constants.
	Code string
	// Message is shown to people and compared by some clients: see the
	// conformance files before changing one.
	Message string
	// Details is optional JSON for programs.
	Details []byte
	// Retryable says whether the same request may succeed later; nil says nothing.
	Retryable *bool
	// RetryAfterMs is how long to wait before a retry, in milliseconds.
	RetryAfterMs *int64
	// Payload is an optional JSON payload that goes with the refusal (the final
	// response of a failed agent run carries one).
	Payload []byte
}

// Error returns "CODE: message".
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Errorf returns an Error with a formatted message.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// WithDetails returns a copy of e that carries details, which must be JSON.
func (e *Error) WithDetails(details []byte) *Error {
	c := *e
	c.Details = details
	return &c
}

// ErrorKind tells which list of the catalogue an entry stands in.
type ErrorKind string

// The lists of the catalogue: codes of error.code, codes of error.details.code, and
// reasons for which the gateway closes a connection.
const (
	KindCode   ErrorKind = "error.code"
	KindDetail ErrorKind = "error.details.code"
	KindClose  ErrorKind = "close"
)

// ErrorInfo is what the catalogue of errors says of one code or close reason.
type ErrorInfo struct {
	Kind ErrorKind `json:"kind"`
	// Name is the code, or what the close is called. No two entries share a name.
	Name string `json:"name"`
	// Meaning, Cause and Fix are texts for people. A command in Fix stands between
	// backticks.
	Meaning string `json:"meaning"`
	Cause   string `json:"cause"`
	Fix     string `json:"fix"`
	// Retryable reports whether the same again may succeed later.
	Retryable bool `json:"retryable"`
	// Error is the error.code that a details code travels under.
	Error string `json:"error,omitempty"`
	// NextStep is the recommendedNextStep that goes with a details code.
	NextStep string `json:"recommendedNextStep,omitempty"`
	// CloseCode is the WebSocket code of a close, or of the close that follows the
	// refusal; 0 when the connection stays open.
	CloseCode int `json:"closeCode,omitempty"`
	// CloseReason is the text of a close on the wire, which may be empty.
	CloseReason string `json:"closeReason,omitempty"`
}
