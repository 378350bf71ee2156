package client

import (
	"encoding/json"
	"strconv"

	"github.com/coderclaw/gateway/pkg/wire"
)

// inbound is any frame that a gateway sends: a response or an event. Unknown
// members are ignored.
type inbound struct {
	Type    string          `json:"type"`
	ID      string          `json:"id"`
	OK      bool            `json:"ok"`
	Payload json.RawMessage `json:"payload"`
	Error   *errorShape     `json:"error"`
	Event   string          `json:"event"`
	Seq     *int64          `json:"seq"`
}

type errorShape struct {
	Code         string          `json:"code"`
	Message      string          `json:"message"`
	Details      json.RawMessage `json:"details"`
	Retryable    *bool           `json:"retryable"`
	RetryAfterMs *int64          `json:"retryAfterMs"`
}

// err returns the refusal of a response with ok false.
func (f *inbound) err() *wire.Error {
	if f.Error == nil {
		return &wire.Error{Message: "the gateway refused without a reason", Payload: f.Payload}
	}
	return &wire.Error{
		Code: f.Error.Code, Message: f.Error.Message, Details: f.Error.Details,
		Retryable: f.Error.Retryable, RetryAfterMs: f.Error.RetryAfterMs, Payload: f.Payload,
	}
}

// event returns the frame as an Event.
func (f *inbound) event() Event {
	e := Event{Name: f.Event, Payload: f.Payload}
	if f.Seq != nil {
		e.Seq, e.Sequenced = *f.Seq, true
	}
	return e
}

// The kinds of frame (spec 1), and what the ack of a staged method says.
const (
	frameResponse  = "res"
	frameEvent     = "event"
	statusAccepted = "accepted"
)

// appendRequest encodes a request frame. params is JSON or empty.
func appendRequest(b []byte, id uint64, method string, params []byte) []byte {
	b = append(b, `{"type":"req","id":"`...)
	b = strconv.AppendUint(b, id, 10)
	b = append(b, `","method":`...)
	name, _ := json.Marshal(method) // a string always encodes
	b = append(b, name...)
	if len(params) > 0 {
		b = append(b, `,"params":`...)
		b = append(b, params...)
	}
	return append(b, '}')
}
