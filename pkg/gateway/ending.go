package gateway

import "github.com/coderclaw/gateway/gen/protocol"

// ending is how the gateway ends a connection: the close frame it sends. Code 0
// stands for an end without one, because the peer is gone.
type ending struct {
	code   int
	reason string
}

// Error tells the ending as the cause of a context.
func (e ending) Error() string { return "connection closed: " + e.reason }

// The endings that do not depend on a refusal. What clients make of them is told in
// schema/errors.json.
var (
	endHandshakeTimeout = ending{protocol.CloseHandshakeTimeoutCode, protocol.CloseHandshakeTimeout}
	endNotJSON          = ending{protocol.CloseFirstFrameNotJSONCode, protocol.CloseFirstFrameNotJSON}
	endInvalidFrame     = ending{protocol.CloseInvalidRequestFrameCode, protocol.CloseInvalidRequestFrame}
	endTooManyInvalid   = ending{protocol.CloseTooManyInvalidFramesCode, protocol.CloseTooManyInvalidFrames}
	endSlowConsumer     = ending{protocol.CloseSlowConsumerCode, protocol.CloseSlowConsumer}
	endMessageTooBig    = ending{protocol.CloseMessageTooBigCode, protocol.CloseMessageTooBig}
	endServiceRestart   = ending{protocol.CloseServiceRestartCode, protocol.CloseServiceRestart}
	endProtocolError    = ending{protocol.CloseProtocolErrorCode, protocol.CloseProtocolError}
	endInternal         = ending{protocol.CloseInternalErrorCode, protocol.CloseInternalError}
	endAuthorityChanged = ending{protocol.CloseDeviceAuthorityChangedCode, protocol.CloseDeviceAuthorityChanged}
	endTooMany          = ending{protocol.CloseTooManyConnectionsCode, protocol.CloseTooManyConnections}
)
