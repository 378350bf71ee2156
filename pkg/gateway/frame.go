package gateway

import (
	"bytes"

	"github.com/coderclaw/gateway/gen/protocol"
	"github.com/coderclaw/gateway/pkg/wire"
)

// frameRoom is what a frame needs besides its payload, in most cases.
const frameRoom = 160

// eventFrame builds the websocket frame of an event.
func eventFrame(e protocol.EventFrame) []byte {
	return seal(e.AppendJSON(make([]byte, headerRoom, frameRoom+len(e.Payload))))
}

// resultFrame builds the websocket frame of a result. id is JSON.
func resultFrame(id wire.Raw, payload []byte) []byte {
	f := protocol.ResponseFrame{ID: id, Ok: true, Payload: payload}
	return seal(f.AppendJSON(make([]byte, headerRoom, frameRoom+len(payload))))
}

// refusalFrame builds the websocket frame of a refusal. id is JSON.
func refusalFrame(id wire.Raw, e *wire.Error) []byte {
	shape := protocol.ErrorShape{Code: e.Code, Message: clip(e.Message, errorTextBytes), Details: e.Details}
	if e.Retryable != nil {
		shape.Retryable = wire.Some(*e.Retryable)
	}
	if e.RetryAfterMs != nil {
		shape.RetryAfterMs = wire.Some(*e.RetryAfterMs)
	}
	f := protocol.ResponseFrame{ID: id, Error: wire.Some(shape), Payload: e.Payload}
	return seal(f.AppendJSON(make([]byte, headerRoom, 2*frameRoom+len(e.Payload))))
}

// rawID is the JSON of a request's id.
func rawID(id string) wire.Raw { return wire.AppendText(make([]byte, 0, len(id)+2), id) }

// unknownID answers a frame that has no id to repeat.
var unknownID = wire.Raw(`"invalid"`)

// idOf returns what a faulty frame holds as its id, which is repeated to the
// client even when it is no string. Only what is short and neither an object
// nor an array comes back.
func idOf(message []byte) wire.Raw {
	d := wire.NewDecoder(message, wire.Open)
	if !d.OpenObject() {
		return unknownID
	}
	for name, ok := d.Member(); ok; name, ok = d.Member() {
		var value wire.Raw
		if !d.Raw(&value) {
			return unknownID
		}
		if name == "id" && len(value) <= requestIDBytes+2 && !bytes.ContainsAny(value[:1], "{[n") {
			return value
		}
	}
	return unknownID
}
