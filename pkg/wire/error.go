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
