package task

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Request asks for a task. Description and Input are the original's; the rest has
// defaults.
type Request struct {
	// ID is chosen by the engine when it is empty.
	ID          string
	Description string
	Input       string
	AgentID     string
	Model       string
	Thinking    string
	SessionID   string
	// Concurrent keeps the task out of its session's line.
	Concurrent   bool
	ParentTaskID string
	Detach       bool
	DependsOn    []string
	OnFailure    OnFailure
	NotBefore    time.Time
	Deadline     time.Time
	// Timeout bounds one attempt; 0 is no bound.
	Timeout  time.Duration
	Priority int
	// MaxAttempts is 1 to AttemptsMax; 0 means AttemptsDefault. Lost leases count.
	MaxAttempts int
	// Key makes the request idempotent; ParamsHash tells whether a second request
	// with the key asks the same, and is required with it.
	Key          Key
	ParamsHash   []byte
	RequestedBy  Actor
	RetryOf      string
	Repo         string
	Capabilities []string
	// Metadata is a JSON object or empty.
	Metadata json.RawMessage
	// Payload is for the worker alone.
	Payload []byte
}

// Check returns ErrInvalid with the rule that the request breaks, or nil. Whether
// the parent and the dependencies exist is the engine's to say.
func (q *Request) Check() error {
	switch {
	case len(q.Description) > DescriptionBytesMax:
		return invalid("the description has %d bytes; at most %d are allowed", len(q.Description), DescriptionBytesMax)
	case len(q.Input) > InputBytesMax:
		return invalid("the input has %d bytes; at most %d are allowed", len(q.Input), InputBytesMax)
	case len(q.Payload) > InputBytesMax:
		return invalid("the payload has %d bytes; at most %d are allowed", len(q.Payload), InputBytesMax)
	case len(q.Key.Key) > KeyBytesMax:
		return invalid("the idempotency key has %d bytes; at most %d are allowed", len(q.Key.Key), KeyBytesMax)
	case q.Key.Key != "" && len(q.ParamsHash) == 0:
		return invalid("a request with an idempotency key needs the hash of its params")
	case len(q.DependsOn) > DependsOnMax:
		return invalid("it depends on %d tasks; at most %d are allowed", len(q.DependsOn), DependsOnMax)
	case q.MaxAttempts < 0 || q.MaxAttempts > AttemptsMax:
		return invalid("maxAttempts is %d; use 1 to %d, or 0 for the default", q.MaxAttempts, AttemptsMax)
	case q.Timeout < 0:
		return invalid("the timeout is negative")
	case len(q.Metadata) > MetadataBytesMax:
		return invalid("the metadata has %d bytes; at most %d are allowed", len(q.Metadata), MetadataBytesMax)
	case len(q.Metadata) > 0 && (!json.Valid(q.Metadata) || bytes.TrimSpace(q.Metadata)[0] != '{'):
		return invalid("the metadata is not a JSON object")
	}
	switch q.OnFailure {
	case "", OnFailureFail, OnFailureSkip, OnFailureRun:
	default:
		return invalid("the dependency policy is %q; use fail, skip or run", q.OnFailure)
	}
	return nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// CheckProgress returns ErrInvalid unless percent is a whole number from 0 to 100;
// NaN and the infinities are none.
func CheckProgress(percent float64) (int, error) {
	if !(percent >= 0 && percent <= 100) || percent != float64(int(percent)) {
		return 0, invalid("progress %v is not a whole number from 0 to 100", percent)
	}
	return int(percent), nil
}

// Again returns the request that does an ended task once more, with all that it was
// asked: input and payload (images, additions to the system prompt) as Get returns
// them. It has no key, no parent and no dependencies, since those have had their end,
// and neither Deadline nor NotBefore, which are past.
func Again(t Task) Request {
	return Request{
		Description: t.Description, Input: t.Input, AgentID: t.AgentID, Model: t.Model, Thinking: t.Thinking,
		SessionID: t.SessionID, Concurrent: t.Concurrent, Timeout: time.Duration(t.TimeoutMs) * time.Millisecond,
		Priority: t.Priority, MaxAttempts: t.MaxAttempts, RequestedBy: t.RequestedBy, RetryOf: t.ID, Repo: t.Repo,
		Capabilities: t.Capabilities, Metadata: t.Metadata, Payload: t.Payload,
	}
}
